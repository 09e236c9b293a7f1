"""What a step of the search costs, relative to a plain training step of the same active network built as a static module.

Times are medians over rounds; every round draws another active network, warms it up, and times the kinds of step (see
steps.py) in random order. Bytes are what autograd keeps for backward (parameters, buffers and the batch not counted).
docs/measurements.md has the table.

    python benchmarks/step_cost.py [--rounds 15] [--space mobile]
"""

import sys

import torch
from tqdm import tqdm

import proxyless_lite as pl
from proxyless_lite.search.timing import timed
from report import command_line, count, median, show
from steps import Bench

SPACES = {  # name -> (space, images in a batch)
    "tree": (lambda: pl.spaces.tree(2, 96), 64),
    "chain": (lambda: pl.spaces.chain(12, 24, input_size=64, candidates=pl.ops.MBCONV), 8),
    "mobile": (pl.spaces.mobile, 8),
}
NEW = ("plain", "weight", "two_path")  # what a new active network must warm up


def measure(rounds, names=None):
    found = {}
    for name in names or SPACES:
        space, batch = SPACES[name]
        found[name] = compare(Bench(space(), batch), rounds, name)
    return found


def compare(bench, rounds, label):
    """Ratios to the plain step, medians over `rounds`: {kind: {"time", "bytes"}}, and the seconds of the plain step."""
    times, sizes = {}, {}
    for round_ in tqdm(range(rounds), desc=f"steps, {label}", file=sys.stderr):
        steps = bench.steps()
        for kind, step in steps.items():
            if round_ == 0 or kind in NEW:
                sizes.setdefault(kind, []).append(bench.saved(step))
        for i in torch.randperm(len(steps)).tolist():
            kind = list(steps)[i]
            times.setdefault(kind, []).append(timed(bench.device, steps[kind]))
    ratios = {kind: {"time": median(a / b for a, b in zip(times[kind], times["plain"])),
                     "bytes": median(a / b for a, b in zip(sizes[kind], sizes["plain"]))} for kind in steps if kind != "plain"}
    return {"of a plain step": ratios, "plain seconds": median(times["plain"]), "batch": len(bench.labels), "space": str(bench.space)}


if __name__ == "__main__":
    cli = command_line(__doc__)
    cli.add_argument("--rounds", type=count, default=15, help="default: 15")
    cli.add_argument("--space", nargs="+", choices=SPACES, default=list(SPACES), help="only these: " + ", ".join(SPACES))
    args = cli.parse_args()
    show(lambda: {**measure(args.rounds, args.space), "rounds": args.rounds})
