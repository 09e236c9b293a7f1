"""All benchmarks in one JSON object: "bars", each with its goal and whether it is met, and the results of each part.

    python benchmarks              # the quick form: within 10 minutes on two quiet cores
    python benchmarks --full       # more rounds
    python benchmarks/memory.py    # one part by itself; --help says what it measures
"""

import sys
import time

import torch
from tqdm import tqdm

import components
import latency_model
import memory
import report
import search_cost
import step_cost

PARTS = {  # name -> (part, rounds in the quick form, in the full form, its share of the time)
    "step_cost": (step_cost, 3, 15, 40),
    "components": (components, 10, 50, 5),
    "memory": (memory, 1, 1, 15),
    "search_cost": (search_cost, 3, 9, 30),
    "latency_model": (latency_model, 1, 1, 10),
}


def measure(full):
    found, bars = {}, {}
    began = time.monotonic()
    progress = tqdm(total=sum(share for *_, share in PARTS.values()), desc="all", unit="%", file=sys.stderr)
    for name, (part, quick, many, share) in PARTS.items():
        progress.set_postfix_str(name)
        rounds = many if full else quick
        torch.manual_seed(0)  # each part draws the same numbers as when run alone
        found[name] = {"rounds": rounds, **part.measure(rounds)}
        bars |= found[name].pop("bars", {})
        progress.update(share)
    seconds = time.monotonic() - began
    return {"bars": bars if full else bars | {"seconds of the quick form": report.at_most(600, seconds)}, **found}


if __name__ == "__main__":
    cli = report.command_line(__doc__)
    cli.add_argument("--full", action="store_true", help="more rounds")
    full = cli.parse_args().full
    report.show(lambda: measure(full))
