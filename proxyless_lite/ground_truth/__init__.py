"""Ground truth: every network of a small space, trained; what a search could have found, and what it did find."""

from .builder import build
from .criteria import verify
from .searches import METHODS, judge, pace, random_search, read_searches, search, summary, sweep
from .settings import BY_NAME, Setting, canonical, network
from .table import FOLDER, load, rank, read, seed_sd
