"""What every part of the benchmark shares: bars with their goals, medians, and a command line that prints one JSON object."""

import argparse
import json
import statistics
import sys
from contextlib import redirect_stdout

import torch

from proxyless_lite import runtime
from proxyless_lite.runtime.cli import OneLineParser


def at_most(goal, value):
    return {"goal": f"≤ {goal}", "value": value, "met": value <= goal}


def at_least(goal, value):
    return {"goal": f"≥ {goal}", "value": value, "met": value >= goal}


def median(values):
    return round(statistics.median(values), 4)


def command_line(text):
    return OneLineParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)


def count(text):
    """A number of at least 1 on a command line, for argparse."""
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: at least 1 is needed")
    return int(text)


def main(measure, text, rounds):
    """Run one part by itself: --rounds N, default `rounds`. `text` is its help."""
    cli = command_line(text)
    cli.add_argument("--rounds", type=count, default=rounds, help=f"default: {rounds}")
    chosen = cli.parse_args().rounds
    show(lambda: {**measure(chosen), "rounds": chosen})


def show(run):
    """Print what run() returns, and the machine, as one JSON object; everything else goes to stderr."""
    torch.manual_seed(0)
    runtime.device()
    with redirect_stdout(sys.stderr):
        found = run()
    print(json.dumps({**found, "machine": runtime.describe()}, indent=1, default=float, ensure_ascii=False))
