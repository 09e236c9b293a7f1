"""What every preset would take on this machine, from a few timed steps on random images: no data set is needed."""

from dataclasses import replace

import pandas as pd
import torch

from .. import presets, rules, runtime
from ..data import InMemoryData, Split
from ..supernet import SuperNet
from .search import Search

PAPER_GPU_HOURS = 200  # Table 2, on V100
ALL = {"tree": presets.PRESETS, "mobile": presets.MOBILE}


def forecast(experiments, engine=None, batch=None, steps=3, say=print):
    """One row per preset of `experiments` (name -> presets.Experiment or presets.MobileExperiment): a DataFrame.

    Columns: images/s of weight steps and of α steps, GB that a step takes, hours of the search, hours of one training of the
    found network, and GPU-hours of the search (hours × ranks). Steps are timed on `batch` images per rank: by default 8 on a
    CPU, and on a GPU the preset's batch, halved until it fits. Larger batches are extrapolated in proportion.
    """
    engine = runtime.engine(engine)
    rows = []
    for name, experiment in experiments.items():
        say(f"timing {name}: {experiment.space()}", flush=True)
        rows.append({"preset": name, **of_preset(experiment, engine, batch, steps)})
    return pd.DataFrame(rows).set_index("preset")


def of_preset(experiment, engine, batch, steps):
    """One row of `forecast`, as a dict."""
    if batch is None:
        batch = 8 if engine.device.type == "cpu" else max(1, experiment.search.batch_size // (engine.world_size * engine.grad_accumulation))
        return largest_that_fits(lambda size: of_preset(experiment, engine, size, steps), batch)
    space, images = experiment.space(), experiment.images or experiment.all_images
    batch = batch * engine.world_size * engine.grad_accumulation
    data = made_up(space.settings["classes"], space.input_size, (2 * steps + 2) * batch)
    config = replace(experiment.search, batch_size=batch, alpha_batch_size=batch)
    search = Search(SuperNet(space), data, rules.TwoPath(), config, device=engine)
    timed = search.forecast(steps)
    weight, alpha = timed["images_per_second"], timed["alpha_images_per_second"]
    full = experiment.search
    searched = images - min(0.1 * images, 50_000)          # the rest is for α, 50,000 of ImageNet: as data.load splits
    epochs = full.warmup_epochs + full.epochs
    updates = max(0, full.epochs - full.alpha_delay) * searched / full.batch_size / full.alpha_every
    hours = (epochs * searched / weight + updates * full.alpha_batch_size / alpha) / 3600
    return {"images/s": weight, "α images/s": alpha, "GB": memory(search, full.batch_size // engine.world_size) / 1e9, "hours": hours,
            "training hours": experiment.train.full_epochs * images / weight / 3600, "GPU-hours": hours * engine.world_size}


def largest_that_fits(run, batch):
    """run(batch), with the batch halved until it fits into memory."""
    try:
        return run(batch)
    except runtime.OutOfMemory:
        if batch < 2:
            raise
    return largest_that_fits(run, batch // 2)


def memory(search, batch):
    """Bytes of a weight step with `batch` images: weights, gradients, momentum and α, and what is kept for backward.

    The share of each image is what autograd saves for two of them, plus half as much for gradients in flight.
    """
    weights = sum(p.numel() * p.element_size() for p in search.net.parameters())
    return 3 * weights + batch // search.engine.grad_accumulation * search.kept_per_image()


def made_up(classes, size, n):
    """Random images: n to train on, as many to validate, few to test."""
    g = torch.Generator().manual_seed(0)
    images = torch.randint(256, (n, size, size, 3), generator=g, dtype=torch.uint8)
    split = Split(images, torch.arange(n) % classes)
    return InMemoryData(name="made-up images", classes=tuple(map(str, range(classes))), train=split, valid=split, test=split[:2],
                mean=(128.0,) * 3, std=(64.0,) * 3, crop=None, color_jitter=False, padding=0, flip=True)
