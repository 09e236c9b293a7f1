"""What a step of the search costs, as ratio to a plain training step of the same active network built as a static module.

Prints one JSON object. Times are medians over rounds; every round draws another active network, warms it up, and times
the kinds of step in random order. Bytes are what autograd saves for backward (each storage once; parameters, buffers
and the batch excluded). Kinds of step:

  weight     forward, backward, SGD on the weights of the active paths
  two_path   α step of rules.TwoPath        exact  α step of rules.Exact
  darts      α step through Softmax gates, which stores all paths (weights frozen as in ours)
  all_paths  weight step through Softmax gates: what DARTS's other step costs, and One-Shot's

"bytes_by_candidates" has the saved bytes of an α step (the larger of two_path and exact) for N = 2 … 8 candidates, one
active network for all; "darts_bytes_by_candidates" the same through Softmax gates.

    python benchmarks/step_cost.py [--rounds 15]
    python benchmarks/step_cost.py --space mobile      # the ImageNet space at 224 px, batch 8
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

        def through_all():
            for op in net.mixed_ops.values():
                op.gate = pl.Softmax()
            F.cross_entropy(net(self.images), self.labels).backward()

        def darts():
            for op in net.mixed_ops.values():
                op.gate = pl.Softmax()  # before frozen() looks which weights are active
            with net.frozen():
                through_all()
            self.adam.step()
            self.adam.zero_grad()

        def all_paths():
            through_all()
            self.sgd.step()
            self.sgd.zero_grad()
            self.adam.zero_grad()

        needed = [*net.parameters(), *net.buffers(), *static.parameters(), *static.buffers(), self.images, self.labels]
        self.bytes = lambda step: runtime.saved_bytes(step, exclude=needed)
        return {"plain": plain, "weight": weight, "two_path": lambda: alpha(pl.rules.TwoPath()),
                "exact": lambda: alpha(pl.rules.Exact()), "darts": darts, "all_paths": all_paths}


def compare(bench, rounds, label):
    """Ratios to the plain step, medians over `rounds`: {kind: {"time", "bytes"}}, and the seconds of the plain step."""
    times, sizes, plain_seconds = {}, {}, []
    for round_ in tqdm(range(rounds), desc=label, file=sys.stderr):
        steps = bench.steps()
        fresh = steps if round_ < 3 else {"plain", "weight", "two_path"}  # what the new active network must warm up
        saved = {kind: bench.bytes(step) for kind, step in steps.items() if kind in fresh}
        seconds = {}
        for i in torch.randperm(len(steps)).tolist():
            kind = list(steps)[i]
            began = time.perf_counter()
            steps[kind]()
            seconds[kind] = time.perf_counter() - began
        plain_seconds.append(seconds["plain"])
        for kind in steps:
            times.setdefault(kind, []).append(seconds[kind] / seconds["plain"])
        for kind in saved:
            sizes.setdefault(kind, []).append(saved[kind] / saved["plain"])
    median = lambda values: round(statistics.median(values), 3)  # noqa: E731
    ratios = {kind: {"time": median(times[kind]), "bytes": median(sizes[kind])} for kind in times if kind != "plain"}
    return ratios | {"plain_seconds": median(plain_seconds), "batch": len(bench.labels)}


def bytes_by_candidates():
    """Saved bytes of an α step, and of DARTS's, for N = 2 … 8 candidates; the active path is the first one."""
    ours, darts = {}, {}
    for n in range(2, len(EIGHT) + 1):
        bench = Bench(pl.spaces.chain(12, 24, input_size=64, candidates=EIGHT[:n]), batch=2)
        steps = bench.steps(active=[0] * 12)
        ours[str(n)] = max(bench.bytes(steps["two_path"]), bench.bytes(steps["exact"]))
        darts[str(n)] = bench.bytes(steps["darts"])
    return ours, darts


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--space", choices=("small", "mobile"), default="small", help="the tree and chain of the README, or the ImageNet space")
    args = parser.parse_args()
    torch.manual_seed(0)
    runtime.device("cpu")
    if args.space == "mobile":
        mobile = compare(Bench(pl.spaces.mobile(), batch=8), args.rounds, "mobile, 224 px")
        print(json.dumps({"mobile": mobile, "rounds": args.rounds, "machine": runtime.describe()}))
        return
    tree = compare(Bench(pl.spaces.tree(2, 96), batch=64), args.rounds, "tree, B = 2, F = 96, 32 px")
    chain = compare(Bench(pl.spaces.chain(12, 24, input_size=64, candidates=pl.ops.MBCONV), batch=8), args.rounds,
                    "chain, 12 MBConv edges, 64 px")
    ours, darts = bytes_by_candidates()
    print(json.dumps({"tree": tree, "chain": chain, "bytes_by_candidates": ours, "darts_bytes_by_candidates": darts,
                      "rounds": args.rounds, "machine": runtime.describe()}))


if __name__ == "__main__":
    main()
