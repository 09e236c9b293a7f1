"""Memory of a step: against the number of candidates, and on the ImageNet space, where DARTS is compared with ours.

Two numbers for every kind of step (see steps.py), both in bytes:

  saved  what autograd keeps for backward, each storage once; parameters, buffers and the batch not counted
  peak   the most that is allocated at one moment of the step, beyond what was allocated before it: activations,
         gradients, temporary tensors. On CUDA torch.cuda.max_memory_allocated; on a CPU the running total that PyTorch's
         allocator tells the profiler. Memory that a library (oneDNN) allocates by itself is not counted.

They do not depend on how busy the machine is. "by candidates": N = 2 … 8, one active network for all. "mobile": one
sampled network, 224 px. The bars: DARTS's larger step over our larger one with recomputation, and the largest difference
of gradients with and without recomputation, over the largest gradient.

    python benchmarks/memory.py
"""

import json
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch.profiler import ProfilerActivity, profile
from tqdm import tqdm

import proxyless_lite as pl
from report import at_least, at_most, main
from steps import Bench

os.environ.setdefault("KINETO_LOG_LEVEL", "10")  # else the profiler writes two lines per step
EIGHT = (*pl.ops.MBCONV, "MB4 3x3", "MB4 5x5")
EDGES, WIDTH, SIZE, BATCH = 12, 24, 64, 2
MOBILE = dict(input_size=224)
MOBILE_BATCH = 8


def measure(_=None):
    by_candidates = {kind: {"saved": {}, "peak": {}} for kind in ("all_paths", "darts", "two_path", "exact", "two_path again", "exact again")}
    for n in tqdm(range(2, len(EIGHT) + 1), desc="memory by candidates", file=sys.stderr):
        bench = Bench(pl.spaces.chain(EDGES, WIDTH, input_size=SIZE, candidates=EIGHT[:n]), BATCH)
        for kind, found in sizes(bench, bench.steps(active=[0] * EDGES), by_candidates):
            for what, size in found.items():
                by_candidates[kind][what][str(n)] = size
    bench = Bench(pl.spaces.mobile(**MOBILE), MOBILE_BATCH)
    steps = bench.steps()
    mobile = dict(sizes(bench, steps, tqdm(steps, desc="memory, mobile", file=sys.stderr)))
    return {"bars": bars(mobile) | {"gradients with and without recomputation": at_most(1e-6, difference(bench))},
            "by candidates": by_candidates, "mobile": mobile, "batch": {"by candidates": BATCH, "mobile": MOBILE_BATCH}}


def sizes(bench, steps, kinds):
    """(kind, {"saved", "peak"}) of each of these kinds of step."""
    for kind in kinds:
        saved = bench.saved(steps[kind])  # this first step also creates the optimizers' state
        yield kind, {"saved": saved, "peak": peak(bench.device, steps[kind])}


def bars(mobile):
    """DARTS's memory over ours with recomputation; a search needs the larger of its weight step and its α step."""
    darts, ours = ({what: max(mobile[kind][what] for kind in kinds) for what in ("saved", "peak")}
                   for kinds in (("all_paths", "darts"), ("weight again", "two_path again")))
    return {f"DARTS / ours with recomputation, {what} bytes, mobile": at_least(14, darts[what] / ours[what]) for what in ours}


def peak(device, run):
    """Peak bytes allocated during run(), beyond those before it."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        run()
    with TemporaryDirectory() as folder:
        profiled.export_chrome_trace(f"{folder}/trace.json")
        events = json.loads(Path(folder, "trace.json").read_text())["traceEvents"]
    told = sorted((event for event in events if event["name"] == "[memory]"), key=lambda event: event["ts"])
    totals = [event["args"]["Total Allocated"] for event in told]
    return max(totals) - (totals[0] - told[0]["args"]["Bytes"])


def difference(bench):
    """The largest difference of a gradient with and without recomputation, over the largest gradient; of weights and of ∂L/∂g."""
    found = []
    for wanted in (False, True):
        bench.activation_checkpointing(wanted)
        torch.manual_seed(1)
        bench.net.sample()
        bench.backward(bench.net)
        weights = torch.cat([p.grad.flatten() for p in bench.net.active_parameters()])
        gates, _ = pl.rules.TwoPath().estimate(bench.net, pl.training.batch_loss(bench.net, (bench.images, bench.labels)))
        found.append((weights, gates))
        bench.sgd.zero_grad()
    bench.activation_checkpointing(False)
    return max(((a - b).abs().max() / a.abs().max()).item() for a, b in zip(*found))


if __name__ == "__main__":
    main(measure, __doc__, rounds=1)
