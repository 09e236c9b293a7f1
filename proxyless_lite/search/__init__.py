"""The alternating search of §3.2.1, and its forecast."""

from .search import Result, Search, place
