"""What a step of the search costs, as ratio to a plain training step of the same active network built as a static module.

Prints one JSON object: medians over interleaved rounds of time, and bytes saved for backward (saved-tensor hooks, each
storage once, parameters and buffers excluded). Every round draws another active network. Kinds of step:

  weight     forward, backward, SGD on the weights of the active paths
  two_path   α step of rules.TwoPath        exact  α step of rules.Exact
  darts      α step through Softmax gates, which stores all paths (weights frozen as in ours)

    python benchmarks/step_cost.py [--rounds 15] [--batch 32]
"""

import argparse
import json
import statistics
import sys
import time

import torch
from torch.nn import functional as F
from tqdm import tqdm

import proxyless_lite as pl
from proxyless_lite import runtime

ADAM = dict(lr=0.006, betas=(0.0, 0.999))
SGD = dict(lr=0.01, momentum=0.9, nesterov=True, weight_decay=1e-4)
EIGHT = (*pl.ops.MBCONV, "MB4 3x3", "MB4 5x5")


class Bench:
    """A supernet, a batch, and the steps to be compared."""

    def __init__(self, space, batch):
        self.space, self.net = space, pl.SuperNet(space)
        self.images = torch.randn(batch, 3, space.input_size, space.input_size).to(memory_format=torch.channels_last)
        self.labels = torch.randint(10, (batch,))
        self.sgd = torch.optim.SGD(self.net.weight_parameters(), **SGD)
        self.adam = torch.optim.Adam(self.net.architecture_parameters(), foreach=True, **ADAM)

    def steps(self, active=None):
        """Kind -> function; all kinds run one active network, the given one (indices) or one freshly drawn."""
        net = self.net
        net.set_alpha(torch.zeros_like(net.alpha_matrix()))
        active = active or net.sample()
        chosen = tuple(op.names[i] for op, i in zip(net.mixed_ops.values(), active))
        static = self.space.compact(chosen).to(memory_format=torch.channels_last)
        static_sgd = torch.optim.SGD(static.parameters(), **SGD)
        certain = 40 * F.one_hot(torch.tensor(active), net.alpha_matrix().shape[1])  # a draw gives `active`, its partner is uniform

        def plain():
            F.cross_entropy(static(self.images), self.labels).backward()
            static_sgd.step()
            static_sgd.zero_grad()

        def weight():
            net.set_alpha(certain)
            net.sample()
            F.cross_entropy(net(self.images), self.labels).backward()
            runtime.step_only(self.sgd, net.active_parameters())

        def alpha(rule):
            net.set_alpha(certain)
            rule.update(net, self.adam, self.images, self.labels)

        def darts():
            for op in net.mixed_ops.values():
                op.gate = pl.Softmax()
            with net.frozen():
                F.cross_entropy(net(self.images), self.labels).backward()
            self.adam.step()
            self.adam.zero_grad()

        needed = [*net.parameters(), *net.buffers(), *static.parameters(), *static.buffers(), self.images, self.labels]
        self.bytes = lambda step: runtime.saved_bytes(step, exclude=needed)
        return {"plain": plain, "weight": weight, "two_path": lambda: alpha(pl.rules.TwoPath()),
                "exact": lambda: alpha(pl.rules.Exact()), "darts": darts}


def compare(bench, rounds, label):
    """Ratios to the plain step, medians over `rounds`: {kind: {"time", "bytes"}}, and the seconds of the plain step."""
    times, bytes_, plain_seconds = {}, {}, []
    for round_ in tqdm(range(rounds + 1), desc=label, file=sys.stderr):
        steps = bench.steps()
        for step in steps.values():  # warm-up: allocator, oneDNN's kernels for these shapes
            step() if round_ == 0 else None
        seconds, saved = {}, {}
        for kind in torch.randperm(len(steps)).tolist():
            kind, step = list(steps.items())[kind]
            began = time.perf_counter()
            step()
            seconds[kind] = time.perf_counter() - began
        for kind, step in steps.items():
            saved[kind] = bench.bytes(step)
        if round_ == 0:
            continue
        plain_seconds.append(seconds["plain"])
        for kind in steps:
            times.setdefault(kind, []).append(seconds[kind] / seconds["plain"])
            bytes_.setdefault(kind, []).append(saved[kind] / saved["plain"])
    ratios = {kind: {"time": round(statistics.median(times[kind]), 3), "bytes": round(statistics.median(bytes_[kind]), 3)}
              for kind in times if kind != "plain"}
    return ratios | {"plain_seconds": round(statistics.median(plain_seconds), 4)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batch", type=int, default=32)
    args = parser.parse_args()
    torch.manual_seed(0)
    runtime.device("cpu")
    result = {
        "tree": compare(Bench(pl.spaces.tree(2, 96, input_size=32), args.batch), args.rounds, "tree"),
        "chain": compare(Bench(pl.spaces.chain(12, 24, input_size=64, candidates=pl.ops.MBCONV), args.batch), args.rounds, "chain"),
        "machine": runtime.describe(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
