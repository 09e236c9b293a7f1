"""Marks from the verdicts of the checks, for the hidden tests of make assignments. What is printed does not count."""

import importlib
import inspect
import io
from contextlib import redirect_stderr, redirect_stdout
from functools import cache

from .answers import verdicts

WORTH = {"right": 1.0, "hinted": 0.5}  # hinted: a usual mistake, one for which the check has a hint of its own


def share(name, *answers):
    """The share of an exercise's points that `answers` to the check `name` earn: the mean over all that it asks for."""
    check = getattr(importlib.import_module(__package__), name)
    return sum(WORTH.get(verdict, 0.0) for verdict in decided(check, answers)) / asked_by(check)


@cache
def asked_by(check):
    """How many answers a check asks for."""
    return len(decided(check, [None] * len(inspect.signature(check).parameters)))


def decided(check, answers):
    """The verdicts of a check. What it or the student's code prints goes nowhere: nbgrader takes a warning for a failure."""
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()), verdicts() as heard:
        check(*answers)
    return heard
