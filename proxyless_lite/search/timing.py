"""What a search would take on this machine, from a few of its steps."""

import operator
import time
from functools import partial

import torch

from .. import runtime


def forecast(search, steps=3, targets=1):
    """Time a few steps on a copy of a search, along several paths. Returns a dict.

    Seconds of a weight step and of an α step, images/s of both and of the loader, hours, GPU-hours (hours × ranks) and peak memory
    in MB of the whole search; `choice_hours` of them are for its choice among whole networks, for so many targets. Where batches
    are read ahead, the slower of reader and step counts; otherwise their sum.
    """
    device, config = search.engine.device, search.config
    runtime.reset_peak_memory(device)
    with torch.random.fork_rng():
        trial = search.trial()
        weight, alpha, load, alpha_load = timed_steps(trial, steps, device)
        copied = sum(t.numel() * t.element_size() for t in trial.net.state_dict().values()) if device.type == "cuda" else 0
    together = max if search.data.prefetches else operator.add
    weight_steps = search.loop.total
    alpha_steps = max(0, config.epochs - config.alpha_delay) * search.loop.steps_per_epoch // config.alpha_every
    choice_hours = images_of_choice(search, targets) / search.weight_size * together(weight, load) / 3600
    hours = (together(weight, load) * weight_steps + together(alpha, alpha_load) * alpha_steps) / 3600 + choice_hours
    return {"weight_step_seconds": weight, "alpha_step_seconds": alpha, "weight_steps": weight_steps, "alpha_steps": alpha_steps,
            "images_per_second": search.weight_size / weight, "alpha_images_per_second": search.alpha_size / alpha,
            "loader_images_per_second": search.weight_size / load,
            "choice_hours": choice_hours, "hours": hours, "gpu_hours": hours * search.engine.world_size,
            "memory": runtime.peak_memory(device) - copied / 1e6}


def images_of_choice(search, targets):
    """How many training images, counted once an epoch, the choice in the end goes through, if each costs as much as in a weight step."""
    choice = search.choice
    tuned = choice.tuned * choice.tune_epochs if search.choose != "alpha" else 0
    if not choice.from_shared:
        tuned *= choice.train.full_epochs / choice.train.epochs
    trained = targets * choice.trainings * choice.train.full_epochs if search.choose == "trained" else 0
    return (tuned + trained) * len(search.data.train)


def timed_steps(trial, steps, device):
    """Seconds of one weight step, one α step, and of loading a batch for each."""
    batches, others = ([source[i] for i in range(steps)] for source in (trial.weight_batches, trial.alpha_batches))
    alpha = trial.net.alpha_matrix()

    def train_weights():
        trial.net.set_alpha(alpha)
        for trial.loop.done, batch in enumerate(batches):
            trial.weight_step(0, batch)

    def learn_alpha():
        trial.net.set_alpha(alpha)
        for trial.alpha_steps, batch in enumerate(others):
            trial.alpha_step(batch)
    for run in (train_weights, learn_alpha):  # the first run is slower: cuDNN tries its algorithms for each new shape
        trial.loop.within_memory(run)
    weight, alpha_seconds = (timed(device, run) / steps for run in (train_weights, learn_alpha))
    load, alpha_load = (timed(device, lambda: [source[i] for i in range(steps, 2 * steps)]) / steps
                        for source in (trial.weight_batches, trial.alpha_batches))
    return weight, alpha_seconds, load, alpha_load


def timed(device, run):
    """Seconds that `run()` takes on the device, without work queued there before."""
    finish = partial(torch.cuda.synchronize, device) if device.type == "cuda" else lambda: None
    finish()
    began = time.perf_counter()
    run()
    finish()
    return time.perf_counter() - began
