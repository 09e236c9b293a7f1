"""Train every network of a setting in several processes; one file grows by a row per finished run."""

import random
import time
from contextlib import closing
from dataclasses import replace
from functools import partial

from .. import runtime
from ..architecture import Architecture
from ..training import train
from .table import Runs


def build(setting, path, workers=2):
    """Train what the table at `path` lacks; call it again to resume after a stop or a kill.

    Networks come in random order, all of them with one seed before the next seed: every network is known early, if less well.
    Each worker is a single-threaded process. Raises ValueError for the table of another setting and for one that another
    process is building, ChildProcessError when a worker dies.
    """
    with closing(Runs(path, setting)) as table:
        missing = [run for run in order(setting) if run not in table.done]
        done = len(table.done)
        table.fill(partial(trainer, setting), missing, workers, done, done + len(missing), f"{setting.name}: {len(missing)} runs to do,")


def order(setting):
    """All runs (code, seed), in the order of training."""
    codes = sorted(setting.networks())
    random.Random(0).shuffle(codes)
    return [(code, seed) for seed in range(setting.seeds) for code in codes]


def trainer(setting):
    """What a worker does with a run (code, seed)."""
    images = setting.load()
    return lambda run: [train_one(setting, images, *run)]


def train_one(setting, images, code, seed):
    """(code, seed, test accuracy, training loss of the last epoch, seconds of CPU) of one run."""
    began = time.process_time()
    with runtime.silently():  # runs take seconds: no progress lines
        report = train(Architecture.from_code(setting.space, code), images, replace(setting.recipe, seed=seed), device=setting.engine)
    return code, seed, report.test_accuracy, report.history["train_loss"].iloc[-1], time.process_time() - began
