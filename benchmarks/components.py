"""Where the time of a step goes: reading the batch, drawing paths, forward, backward, the optimizer, the rescale of α.

On the tree space, with as many random images as CIFAR-10 has, in memory and augmented. Medians over rounds, in milliseconds
and as shares of the step with its batch. The parts are timed within real steps of `Search`; "other" is the rest. "loader"
is the time to read an augmented batch over that of its weight step.

    python benchmarks/components.py [--rounds 15]
"""

import sys
from contextlib import ExitStack
from functools import partial
from unittest.mock import patch

import torch
from tqdm import tqdm

import proxyless_lite as pl
from proxyless_lite import rules, runtime
from proxyless_lite.data import InMemoryData, Split
from proxyless_lite.search.timing import timed
from report import at_most, main, median

BLOCKS, WIDTH, BATCH, IMAGES = 2, 96, 64, 5_000


def measure(rounds):
    search = pl.Search(pl.SuperNet(pl.spaces.tree(BLOCKS, WIDTH)), images(IMAGES), config=pl.SearchConfig(
        batch_size=BATCH, alpha_batch_size=BATCH))
    kinds = {"weight": (search.weight_batches, partial(search.weight_step, 0)), "two_path": (search.alpha_batches, search.alpha_step)}
    found = {kind: [] for kind in kinds}
    for i in tqdm(range(rounds + 2), desc="components", file=sys.stderr):
        for kind, (batches, step) in kinds.items():
            found[kind].append(dissected(search, batches, i, step))
    found = {kind: shown(rows[2:]) for kind, rows in found.items()}  # the first steps are slower
    loader = found["weight"]["ms"]["reading"] / (found["weight"]["ms"]["step"] - found["weight"]["ms"]["reading"])
    return {"bars": {"reading a batch / weight step": at_most(0.03, loader)}, **found,
            "batch": BATCH, "space": str(search.net.space), "images": search.data.shape}


def dissected(search, batches, i, step):
    """Seconds of each part of one step, and of the whole."""
    net, rule, seconds = search.net, search.rule, {}
    parts = [("draw", net, "sample"), ("draw", rules, "draw"), ("draw", net, "probe"), ("forward", net, "forward"),
             ("backward", torch.Tensor, "backward"), ("optimizer", runtime, "step_only"),
             ("optimizer", search.alpha_optimizer, "step"), ("rescale", rule, "after_step")]

    def clocked(part, function):
        def run(*args, **kwargs):
            kept = []
            seconds[part] = seconds.get(part, 0) + timed(search.engine.device, lambda: kept.append(function(*args, **kwargs)))
            return kept[0]
        return run

    with ExitStack() as patched:
        for part, owner, name in parts:
            patched.enter_context(patch.object(owner, name, clocked(part, getattr(owner, name))))
        seconds["step"] = timed(search.engine.device, lambda: step(clocked("reading", batches.__getitem__)(i)))
    seconds["other"] = 2 * seconds["step"] - sum(seconds.values())
    return seconds


def shown(rows):
    """Medians over the rows, in ms, and each part as a share of the step."""
    ms = {part: median(1000 * row[part] for row in rows) for part in rows[0]}
    return {"ms": ms, "share": {part: median(row[part] / row["step"] for row in rows) for part in ms if part != "step"}}


def images(n, valid=0.1, size=32):
    """n random images of CIFAR-10's size in memory, a share of them for α; few to test."""
    g = torch.Generator().manual_seed(0)
    made = Split(torch.randint(256, (n, size, size, 3), generator=g, dtype=torch.uint8), torch.arange(n) % 10)
    train, few = made[torch.arange(int(valid * n), n)], made[torch.arange(int(valid * n))]
    return InMemoryData(name="random images", classes=tuple("0123456789"), train=train, valid=few, test=few[:10], mean=(128.0,) * 3,
                std=(64.0,) * 3, crop=None, color_jitter=False, padding=4, flip=True)


if __name__ == "__main__":
    main(measure, __doc__, rounds=15)
