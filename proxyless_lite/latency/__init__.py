"""Latency as data: measure it, look it up, predict it (§3.3, App. B)."""

from .measure import compare, measure, networks
from .model import Model
from .table import Entry, Table
from .timed import time_networks
from .timings import Timings
from .verify import first_within, is_of_this_machine
