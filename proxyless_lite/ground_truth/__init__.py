"""Ground truth: every network of a small space, trained; what a search could have found, and what it did find."""

from . import choices, rivals
from .builder import build
from .criteria import verify
from .searches import METHODS, score, pace, random_search, read_searches, read_trials, search, summary, sweep
from .settings import BY_NAME, Setting
from .table import FOLDER, load, rank, read, seed_sd
