"""Every GPU check in one run of at most 8 minutes: is the CUDA path correct, and what does it cost?

    python benchmarks/gpu.py --out gpu.json                       # from the root of the repository
    PYTHONPATH=. python3 benchmarks/gpu.py --out gpu.json         # where the package, Jupyter and ONNX are not installed
    python benchmarks/gpu.py --device cpu --small --out gpu.json  # a minute on one core: does the script itself run?

The JSON has a status, seconds and figures for each section, and for each bar its goal, value and whether it is met. With
--small that is null for bars on speed, memory and accuracy, which say nothing about tiny networks. The file is rewritten
after each section. A section that fails or runs out of time is a missed bar, and the others still run.
The exit status is the number of missed bars. No network is needed: images are random, and the digits come with scikit-learn.
"""

import gc
import io
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
import traceback
import warnings
from collections import Counter
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import replace
from functools import partial
from inspect import getclosurevars
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch.autograd import DeviceType
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

import proxyless_lite as pl
from memory import peak
from proxyless_lite import data, objective, presets, rules, runtime, spaces, training
from proxyless_lite.runtime import cli
from proxyless_lite.latency.clocks import Cuda
from proxyless_lite.search.timing import timed
from proxyless_lite.training.loop import sgd
from proxyless_lite.search.forecast import made_up
from report import at_least, at_most, command_line

SEED, CPU = 0, torch.device("cpu")
RESERVED = 12  # seconds that a section leaves for each later one
TARGET = 1e5   # MACs, of the objectives
QUICK = presets.search("quick")
heuristics = partial(torch.backends.cudnn.flags, enabled=True, benchmark=False)  # where cuDNN must not try algorithms


class Report:
    """The sections' results, the bars, and the file for both; sizes, and the time left."""

    def __init__(self, args):
        self.args, self.small, self.end = args, args.small, time.monotonic() + args.seconds
        self.device = runtime.engine(args.device).device
        self.on_gpu = self.device.type == "cuda"
        self.half = runtime.Engine(self.device, "bfloat16" if self.on_gpu else "float32")
        self.mobile = (spaces.mobile(0.25, 10, 32), 8) if self.small else (spaces.mobile(), 256)  # space and batch
        self.tree = (spaces.tree(1, 72, 10, 8), 8) if self.small else (spaces.tree(), 64)
        self.needed = 6000  # images/s that a loader must give; section mobile sets what its weight steps take
        self.bars, self.sections = {}, {}

    def bar(self, name, outcome, always=False):
        """Add a bar, judged at full size or `always`."""
        self.bars[name] = outcome if always or not self.small else outcome | {"met": None}

    def run(self, section, later):
        """Run a section, leaving time for `later` others, and write the file. Results from before an error are kept."""
        name, began, known = section.__name__, time.monotonic(), len(self.bars)
        found = self.sections[name] = {"status": "done"}
        if section in NEEDS_GPU and not self.on_gpu:
            found["status"] = "needs a GPU"
            return self.write()
        try:
            signal.setitimer(signal.ITIMER_REAL, max(1e-3, self.end - began - RESERVED * later))
            section(self, found)
        except Exception as error:
            found["status"], found["traceback"] = f"{type(error).__name__}: {error}"[:200], traceback.format_exc().splitlines()[-12:]
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        found["seconds"] = time.monotonic() - began
        self.bar(f"{name}: runs", {"goal": "done", "value": found["status"], "met": found["status"] == "done"}, always=True)
        self.write()
        print(f"{name}: {found['seconds']:.1f} s, {max(0, self.end - time.monotonic()):.0f} s left", flush=True)
        for told, bar in list(self.bars.items())[known:]:
            print(f"  {MARKS[bar['met']]:6} {told}: {bar['value']}, goal {bar['goal']}", flush=True)
        gc.collect()
        torch.cuda.empty_cache()

    def write(self):
        content = {"command": shlex.join(sys.argv), "seed": SEED, "small": self.small, "machine": runtime.describe(),
                   "bars": self.bars, "sections": self.sections}
        runtime.write_atomically(self.args.out, json.dumps(content, indent=1, default=float, ensure_ascii=False).encode())

    def stream(self, step, n=8):
        """Seconds per step of n steps in a row without waits, after one to warm up."""
        n = 1 if self.small else n
        step()
        return timed(self.device, lambda: [step() for _ in range(n)]) / n

    def seconds_of(self, step):
        """Median seconds of a step by itself."""
        return median(self.stream(step, 1) for _ in range(5))


def late(*_):
    raise TimeoutError("no time left")


@contextmanager
def repeatable(tf32=False):
    """A context of deterministic algorithms, in full float32 unless `tf32`."""
    with heuristics(deterministic=True, allow_tf32=tf32), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # from operations without a deterministic form
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(False)


# -- what is run -------------------------------------------------------------------------------------------------------


def search_of(space, batch, engine, rule=None, config=QUICK, out=None):
    """A Search with the same weights, α and random images on every engine; a given rule has an objective, the default has none."""
    torch.manual_seed(SEED)
    images = made_up(space.settings["classes"], space.input_size, 4 * batch)
    config = replace(config, batch_size=batch, alpha_batch_size=batch)
    return pl.Search(pl.SuperNet(space), images, rule and rule(), config, out, engine, rule and objective_of(rule, space))


def objective_of(rule, space):
    costs = objective.costs(space, "macs")
    penalty, reward = objective.LatencyPenalty(costs, 0.1, TARGET, "mul#log"), objective.Reward(costs, TARGET)
    return {rules.Reinforce: reward, rules.Combined: (penalty, reward)}.get(rule, penalty)


def training_of(space, batch, engine):
    """A compact training on random images."""
    torch.manual_seed(SEED)
    images = made_up(space.settings["classes"], space.input_size, 4 * batch)
    config = replace(presets.train("paper"), batch_size=batch)
    return training.Training(example(space).build(), images, config, None, engine, str(space), "training")


def example(space):
    """A network of the space that takes the candidates in turn."""
    return pl.Architecture(space, tuple(edge.candidates[i % len(edge.candidates)] for i, edge in enumerate(space.edges())))


def losses(run, steps):
    """Losses of the first steps of a training, with the random numbers that Loop would give them."""
    for run.loop.done in range(steps):
        torch.manual_seed(runtime.seed(SEED, 0, run.loop.done))
        run.step(0, run.loop.done)
    return [loss.item() for _, loss in run.loop.meters.values["train_loss"]]


class Steps:
    """Steps of a search, and plain training steps of the networks it samples. Step k always draws the same paths."""

    def __init__(self, report, space, batch, engine):
        self.report, self.engine, self.search = report, engine, search_of(space, batch, engine)
        self.net = self.search.net
        self.edges, self.matrix = self.net.mixed_ops.values(), self.net.alpha_matrix()
        (self.images, self.labels), self.valid = self.search.weight_batches[0], self.search.alpha_batches[0]

    def weight(self, k, n=None):
        """A weight step, on the first n images."""
        self.search.loop.done = k
        self.search.weight_step(0, (self.images[:n], self.labels[:n]))

    def alpha(self, k):
        """An α step; α is then restored."""
        self.search.alpha_steps = k
        self.search.alpha_step(self.valid)
        self.net.set_alpha(self.matrix)

    def plain(self, k):
        """A training step of the network that weight step k samples, as a function."""
        self.weight(k)
        network = pl.Architecture(self.net.space, tuple(op.names[op.gate.active] for op in self.edges))
        model = self.engine.prepare(network.build()).train()
        optimizer = sgd(model.parameters(), QUICK, self.engine.device)

        def step():
            F.cross_entropy(self.engine.run(model, self.images), self.labels).backward()
            optimizer.step()
            optimizer.zero_grad()
        return step

    def all_paths(self, n):
        """Forward and backward through every path of every edge, on the first n images."""
        for op in self.edges:
            op.gate = pl.Softmax()
        F.cross_entropy(self.net(self.images[:n]), self.labels[:n]).backward()
        self.net.zero_grad()

    def meet_every_shape(self):
        """Run every candidate in a weight step and in an α step: cuDNN tries its algorithms at each new shape."""
        for k in range(max(len(op.names) for op in self.edges)):
            paths = [k % len(op.names) for op in self.edges]
            self.net.activate(paths)
            self.search.trainer.train_step((self.images, self.labels), self.net.active_parameters())
            rules.probe(self.net, training.batch_loss(self.net, self.valid, engine=self.engine), paths, [[(k + 1) % len(op.names)] for op in self.edges])

    def compare(self, draws):
        """Weight steps and plain steps of the same sampled networks, in turn: medians."""
        pairs = []
        for k in range(draws):
            kinds = partial(self.weight, k), self.plain(k)
            pairs += [[self.report.stream(step) for step in kinds] for _ in range(2)]
        weight, plain = map(median, zip(*pairs))
        return {"weight step s": weight, "plain step s": plain, "weight / plain": median(w / p for w, p in pairs),
                "images/s": len(self.labels) / weight}

    def alpha_seconds(self, draws):
        return median(self.report.stream(partial(self.alpha, k)) for k in range(draws))


# -- is it right -------------------------------------------------------------------------------------------------------


def machine(report, found):
    """Bounds to compare other figures with."""
    driver = Path("/proc/driver/nvidia/version")
    found |= {"driver": driver.read_text().splitlines()[0] if driver.exists() else None, "cuda": torch.version.cuda,
              "cudnn": torch.backends.cudnn.version(), "cores": os.cpu_count()}
    source = torch.empty(1 << (20 if report.small else 31), dtype=torch.uint8, device=report.device)
    target = torch.empty_like(source)
    found["copy TB/s"] = 2 * len(source) / report.seconds_of(lambda: target.copy_(source)) / 1e12
    side = 256 if report.small else 8192
    x = torch.randn(side, side, device=report.device, dtype=torch.bfloat16)
    found["bfloat16 matmul TFLOP/s"] = 2 * side ** 3 / report.seconds_of(lambda: x @ x) / 1e12
    row = x[0]
    found["µs per eager launch"] = 1e6 * report.stream(lambda: row.add_(1), 2000)


def starts(report, found):
    """The default engine, and weight steps on different paths with a newly made optimizer."""
    engine = runtime.engine(None if report.on_gpu else "cpu")
    report.bar("starts: the default device is the one asked for", at_least(1, int(engine.device == report.device)), always=True)
    run = search_of(spaces.chain(3, 16), 32, engine)
    for run.loop.done in range(4):
        run.weight_step(0, run.weight_batches[run.loop.done])
    finite = sum(loss.isfinite().item() for _, loss in run.loop.meters.values["train_loss"])
    report.bar("starts: weight steps with a finite loss", at_least(4, finite), always=True)


def parity(report, found):
    """The GPU against the CPU in float64, and ways to save memory against none."""
    chain, here, engine = spaces.chain(3, 16), runtime.Engine(report.device), partial(runtime.Engine, report.device)

    def compare(name, ours, theirs, **goals):
        for what, goal in goals.items():
            report.bar(f"parity: {what}, {name}, relative difference", at_most(goal, relative(ours[what], theirs[what])), always=True)
    with repeatable():
        for name, space in {"chain": chain, "tree": spaces.tree(1, 72, 10, 8), "mobile": spaces.mobile(0.25, 10, 32)}.items():
            compare(name, in_float64(space, here), in_float64(space, runtime.Engine(CPU)), gates=1e-7, weights=1e-7)
        for name, rule in rules.BY_NAME.items():
            compare(name, in_float64(chain, here, rule), in_float64(chain, runtime.Engine(CPU), rule), alpha=1e-6)
        plain, fixed = in_float64(chain, here), in_float64(chain, here, statistics=False)
        compare("recomputed", in_float64(chain, engine(activation_checkpointing=True)), plain, weights=1e-7)
        compare("micro-batches without batch statistics", in_float64(chain, engine(grad_accumulation=2), statistics=False), fixed, weights=1e-7)
        found["weights, micro-batches, relative difference"] = relative(in_float64(chain, engine(grad_accumulation=2))["weights"], plain["weights"])


def in_float64(space, engine, rule=None, statistics=True):
    """∂L/∂g, ∂L/∂α, and what a weight step adds to the weights: normalised by the batch's `statistics` or by fixed ones."""
    run = search_of(space, 16, engine, rule)
    run.net.double().train(statistics)
    images, labels = run.alpha_batches[0]  # not augmented: a GPU would draw different crops
    alpha, _ = run.rule.estimate(run.net, training.batch_loss(run.net, (images.double(), labels), engine=engine), runtime.generator("cpu", SEED), run.objective)
    gates = run.net.gate_gradients() if rule is None else None  # TwoPath
    before = flat(run.net.weight_parameters())
    run.weight_step(0, (images.double(), labels))
    return {"gates": gates, "alpha": alpha, "weights": flat(run.net.weight_parameters()) - before}


def flat(tensors):
    return torch.cat([tensor.detach().cpu().double().flatten() for tensor in tensors])


def relative(found, expected):
    found, expected = flat([found]), flat([expected])
    return ((found - expected).norm() / expected.norm()).item()


def resume(report, found):
    """A search stopped after an epoch and resumed, on the GPU and on the CPU, against one never stopped."""
    config = replace(QUICK, epochs=2, warmup_epochs=0, alpha_every=2)

    def run(out, device=report.device, stop=False):
        one = search_of(spaces.chain(3, 16), 32, runtime.Engine(device), config=config, out=out)
        step = one.step
        one.step = lambda epoch, index: (step(epoch, index), stop and index + 1 == one.loop.steps_per_epoch and signal.raise_signal(signal.SIGTERM))
        with suppress(runtime.Stopped):
            one.run()
        return one
    with TemporaryDirectory() as folder, repeatable(), runtime.silently():
        whole, stopped = run(None), run(f"{folder}/gpu", stop=True)
        shutil.copytree(f"{folder}/gpu", f"{folder}/cpu")
        resumed, on_cpu = run(f"{folder}/gpu"), run(f"{folder}/cpu", CPU)
    states = [flat(one.net.state_dict().values()) for one in (resumed, on_cpu, whole)]
    found |= {"stopped after steps": stopped.loop.done, "resumed on the CPU, relative difference": relative(*states[1:])}
    report.bar("resume: weights and α against a search never stopped, relative difference", at_most(1e-6, relative(*states[::2])), always=True)
    report.bar("resume: epochs of a search that went to the CPU", at_least(2, len(on_cpu.loop.rows)), always=True)


def waits(report, found):
    """Where the host waits for the GPU, once a step has warmed up."""
    space = spaces.mobile(0.25, 10, 32)
    for name, rule in rules.BY_NAME.items():
        run = search_of(space, 16, report.half, rule)
        for run.loop.done in range(2):
            weight, alpha = run.weight_batches[run.loop.done], run.alpha_batches[run.loop.done]
            found[f"weight step, {name}"] = waits_of(lambda: run.weight_step(0, weight))
            found[f"α step, {name}"] = waits_of(lambda: (run.alpha_step(alpha), run.loop.check_finite(0)))
    compact = training_of(spaces.tree(1, 72, 10, 16), 16, report.half)
    losses(compact, 5)
    found["compact training step"] = waits_of(lambda: compact.step(0, 5))
    found["resident batches"] = waits_of(lambda: [run.weight_batches[i] for i in (3, 9)])  # of this pass, and of a new one
    for name, places in list(found.items())[1:]:
        report.bar(f"waits: {name}", at_most(int(name.startswith("α")), sum(places.values())), always=True)


def waits_of(step):
    """"file.py:line" -> how often the host waits there."""
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return Counter(f"{Path(w.filename).name}:{w.lineno}" for w in caught if "called a synchronizing" in str(w.message))


def gates(report, found):
    """Rounding errors of ∂L/∂g in an α step, in units of its standard deviation between batches."""
    space, batch = (spaces.chain(2, 8), 8) if report.small else (spaces.mobile(1.0, 10, 128), 256)
    run = search_of(space, batch, runtime.Engine(report.device))
    pairs = rules.draw(run.net.alpha_matrix(), 2, runtime.generator("cpu", SEED))

    def gradients(precision, tf32, autocast=False):
        engine = runtime.Engine(report.device, precision)
        with repeatable(tf32), torch.autocast(report.device.type, torch.bfloat16, enabled=autocast):
            probed = [rules.probe(run.net, training.batch_loss(run.net, run.alpha_batches[i], engine=engine), pairs[:, 0].tolist(), pairs[:, 1:].tolist())[0] for i in range(4)]
        return torch.stack([one.cpu().gather(1, pairs) for one in probed])
    exact = gradients("float32", tf32=False)
    for name, values in {"α step": gradients("bfloat16", tf32=True), "all in bfloat16": gradients("float32", True, autocast=True)}.items():
        found[name] = ((values - exact).square().mean() / exact.var(0).mean()).sqrt().item()
    report.bar("gates: error of an α step / standard deviation between batches", at_most(0.33, found["α step"]), always=True)
    report.bar("gates: error of an α step / error in bfloat16", at_most(0.5, found["α step"] / found["all in bfloat16"]), always=True)


# -- what does it cost -------------------------------------------------------------------------------------------------


def mobile(report, found):
    """Steps on the ImageNet space: time, memory, kernels; also in other precisions."""
    (space, batch), draws = report.mobile, 1 if report.small else 6
    steps = Steps(report, space, batch, report.half)
    found["first sight of every shape, s"] = timed(report.device, steps.meet_every_shape)
    found |= steps.compare(draws) | {"images/s hoped for": 8000, "α step s": steps.alpha_seconds(draws)}
    report.bar("mobile: weight step / plain step", at_most(1.03, found["weight / plain"]))
    report.bar("mobile: images/s of weight steps", at_least(report.needed, found["images/s"]))
    report.bar("mobile: α step / weight step", at_most(1.3, found["α step s"] / found["weight step s"]))
    report.needed = found["images/s"]
    kinds = {"plain": steps.plain(0), "weight": partial(steps.weight, 0), "α": partial(steps.alpha, 0)}
    sizes, few = {kind: peak(report.device, step) for kind, step in kinds.items()}, max(2, batch // 8)
    with heuristics():  # trying algorithms would take memory too
        sizes |= {"all paths, fewer images": peak(report.device, partial(steps.all_paths, few)),
                  "weight, fewer images": peak(report.device, partial(steps.weight, 0, few))}
    found["GB"] = {kind: size / 1e9 for kind, size in sizes.items()}
    report.bar("mobile: memory of a weight step / plain step", at_most(1.05, sizes["weight"] / sizes["plain"]))
    report.bar("mobile: memory of all paths / weight step", at_least(4, sizes["all paths, fewer images"] / sizes["weight, fewer images"]))
    if report.on_gpu:
        float16 = Steps(report, space, batch, runtime.Engine(report.device, "float16"))
        found["float16, images/s"] = batch / median(report.stream(partial(float16.weight, k)) for k in range(2))
        with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False):
            found["α step without TF32 / weight step"] = steps.alpha_seconds(2) / found["weight step s"]
        found["kernels"] = {kind: kernels(step) for kind, step in kinds.items()}


def kernels(step):
    """Kernels that a step launches, and the milliseconds they take. Fails where CUPTI is missing; with the CPU's activities it would crawl."""
    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        step()
        torch.cuda.synchronize()
    times = [event.time_range.elapsed_us() for event in profiled.events()
             if event.device_type == DeviceType.CUDA and not event.is_user_annotation and not event.name.startswith(("Memcpy", "Memset"))]
    return {"count": len(times), "busy ms": sum(times) / 1e3}


def forecast(report, found):
    """The forecast of a search, against the steps of section mobile."""
    measured = report.sections["mobile"]
    found |= search_of(*report.mobile, report.half).forecast()
    for kind, told in (("weight", "weight_step_seconds"), ("α", "alpha_step_seconds")):
        ratio = found[told] / measured[f"{kind} step s"]
        report.bar(f"forecast: {kind} step and the measured one, the larger over the smaller", at_most(1.3, max(ratio, 1 / ratio)))


def tree(report, found):
    """Steps on the CIFAR-10 space, whose many small kernels the host must launch; and the compact training's CUDA graph."""
    def graphed_and_eager():
        graphed, eager = (training_of(*report.tree, report.half) for _ in range(2))
        eager.trainer.graphed = None
        return {"graphed": graphed, "eager": eager}
    with heuristics():  # too many shapes to try algorithms for each
        found |= Steps(report, *report.tree, report.half).compare(1 if report.small else 2)
        with repeatable():
            found["losses"] = {kind: losses(run, 8) for kind, run in graphed_and_eager().items()}
        for kind, run in graphed_and_eager().items():
            losses(run, 5)
            found[f"{kind} training step s"] = report.stream(partial(run.step, 0, 5))
    report.bar("tree: images/s of weight steps", at_least(1500, found["images/s"]))
    report.bar("tree: graphed training step / eager one", at_most(0.5, found["graphed training step s"] / found["eager training step s"]))
    difference = max(abs(ours / theirs - 1) for ours, theirs in zip(*found["losses"].values()))
    report.bar("tree: losses of graphed steps and of eager ones, relative difference", at_most(1e-3, difference), always=True)


def clock(report, found):
    """The latency clock: what it adds to a replay, and whether blocks add up to their network."""
    space = spaces.mobile()
    network = example(space)
    blocks = [replays(block.module(), block.in_channels, block.input_size) for block in space.blocks(network.choices)]
    whole, _ = replays(network.build(), 3, space.input_size)
    single, in_a_row = map(sum, zip(*blocks))
    found |= {"network s": whole, "sum of blocks s": single, "sum of blocks, replays in a row, s": in_a_row}
    report.bar("clock: its own µs per replay", at_most(2, 1e6 * median(one - many for one, many in blocks)))
    report.bar("clock: |sum of blocks / network − 1|", at_most(0.1, abs(single / whole - 1)))


def replays(module, channels, size, n=50):
    """Seconds of a replay by the clock, and as one of n in a row."""
    run = Cuda().prepare(module, (Cuda.batch, channels, size, size))
    graph = getclosurevars(run).nonlocals["graph"]
    one = median(run() for _ in range(30))
    began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    began.record()
    for _ in range(n):
        graph.replay()
    ended.record()
    ended.synchronize()
    return one, began.elapsed_time(ended) / 1e3 / n


# -- data, and whole runs ----------------------------------------------------------------------------------------------


def rate(report, images, batch, skipped, n):
    """Images/s of n augmented batches after `skipped` others."""
    batches = images.to(report.device).batches(images.train, batch, SEED, 0, augment=True)
    for i in range(skipped):
        batches[i]
    return n * batch / timed(report.device, lambda: [batches[i] for i in range(skipped, skipped + n)])


def resident(report, found):
    """Images that stay on the GPU and are augmented there."""
    side, crop, batch = (40, 32, 8) if report.small else (256, 224, 256)
    images = made_up(10, side, 4 * batch).to(report.device)
    for name, kind in {"shifted": dict(padding=side // 8), "resized and distorted": dict(crop=crop, color_jitter=True)}.items():
        found[f"{name}, images/s"] = rate(report, replace(images, **kind), batch, 2, 16)
        report.bar(f"resident: images/s, {name}", at_least(report.needed, found[f"{name}, images/s"]))


def packed(report, found):
    """Images decoded into a file, gathered from there."""
    with jpegs(report) as (folder, crop, batch):
        began = time.monotonic()
        images = data.load(folder, crop=crop, pack=folder / "pack")
        found["seconds to pack"] = time.monotonic() - began
        found["images/s"] = rate(report, images, batch, 4, 16)
    report.bar("packed: images/s", at_least(report.needed, found["images/s"]))


def streamed(report, found):
    """JPEG files decoded in every epoch, by a process per core."""
    with jpegs(report) as (folder, crop, batch):
        found["workers"] = workers = 1 if report.small else os.cpu_count()
        found["images/s"] = rate(report, data.load(folder, crop=crop, workers=workers), batch, workers, 2 * workers)


@contextmanager
def jpegs(report):
    """A folder of JPEG files of ImageNet's usual size, the crop to take of them, and a batch size."""
    crop, batch = (32, 8) if report.small else (224, 256)
    noise = np.random.default_rng(SEED).integers(256, size=(47, 63, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((500, 375), Image.Resampling.BICUBIC).save(file := io.BytesIO(), "jpeg", quality=92)
    with TemporaryDirectory() as folder:
        for part, count in (("train", 10 * batch), ("test", 8)):
            for i in range(count):
                path = Path(folder, part, str(i % 4), f"{i}.jpg")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(file.getvalue())
        yield Path(folder), crop, batch


def quick(report, found):
    """The quick search on the digits, from the command line."""
    shorter = ["--epochs", "1", "--warmup-epochs", "1", "--images", "200"] if report.small else []
    with TemporaryDirectory() as folder:
        done = subprocess.run([sys.executable, "-m", "proxyless_lite.search", "--preset", "quick", "--data", "digits", "--out", folder,
                               "--device", str(report.device), *shorter], cwd=Path(pl.__file__).parents[1], capture_output=True, text=True)
        found["end of its output"] = (done.stdout + done.stderr)[-300:]
        report.bar("quick: exit status of the search", at_most(0, abs(done.returncode)), always=True)
        history = pd.read_csv(Path(folder, "history.csv"))
    report.bar("quick: validation accuracy of the found network", at_least(0.8, float(history.derived_accuracy.iloc[-1])))


def together(report, found):
    """Compact trainings of the tree space that share the GPU: images/s of all."""
    for n in (1, 4):
        start = get_context("spawn").Barrier(n, timeout=120)
        found[f"images/s, {n} at a time"] = sum(runtime.pool(partial(trainer, report.args, start), range(n), n))


def trainer(args, start):
    """What each process of `together` does: it trains for 8 s once all are ready, and reports its images/s."""
    report = Report(args)
    run, seconds = training_of(*report.tree, report.half), []
    with heuristics():
        losses(run, 5)

    def train(_):
        start.wait()
        while sum(seconds) < 8:
            seconds.append(timed(report.device, lambda: [run.step(0, 5) for _ in range(10)]))
        yield 10 * run.config.batch_size * len(seconds) / sum(seconds)
    return train


SECTIONS = {section.__name__: section for section in (machine, starts, parity, resume, waits, mobile, forecast, tree, clock, gates,
                                                      resident, packed, streamed, quick, together)}
NEEDS_GPU = waits, clock, together
MARKS = {True: "met", False: "MISSED", None: "–"}


def main():
    parser = command_line(__doc__)
    parser.add_argument("--out", type=Path, default="gpu.json", help="the JSON file; default: gpu.json")
    parser.add_argument("--device", default="cuda", help="default: cuda; cpu only with --small")
    parser.add_argument("--small", action="store_true", help="tiny networks")
    parser.add_argument("--seconds", type=float, default=460, help="for all sections together; default: 460")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, metavar="SECTION", default=list(SECTIONS),
                        help=f"some of: {', '.join(SECTIONS)}; forecast needs mobile")
    args = parser.parse_args()
    if args.device == "cpu" and not args.small:
        parser.error("--device cpu would take hours; add --small")
    runtime.check_target(args.out)
    report, chosen = Report(args), [section for name, section in SECTIONS.items() if name in args.only]
    signal.signal(signal.SIGALRM, late)
    with redirect_stdout(sys.stderr):
        for later, section in zip(reversed(range(len(chosen))), chosen):
            report.run(section, later)
    sys.exit(sum(bar["met"] is False for bar in report.bars.values()))


if __name__ == "__main__":
    cli.run(main)
