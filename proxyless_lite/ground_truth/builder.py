"""Train every network of a setting: processes that train, and one file that grows by a row a finished run."""

import random
import time
from contextlib import closing
from dataclasses import replace
from functools import partial

from .. import runtime
from ..training import train
from .settings import network
from .table import Writer


def build(setting, path, workers=2):
    """Train what the table at `path` lacks; call it again to go on after it was stopped or killed.

    Networks come in random order, all seeds of one before the next, so that what is finished is a random sample of the
    space. Each worker is a process of one thread. Raises ValueError for the table of another setting and for one that
    is being built already, ChildProcessError when a worker dies.
    """
    with closing(Writer(path, setting)) as table:
        missing = [run for run in order(setting) if run not in table.done]
        done = len(table.done)
        table.fill(partial(trainer, setting), missing, workers, done, done + len(missing), f"{setting.name}: {len(missing)} runs to do,")


def order(setting):
    """All runs (code, seed), in the order in which they are done."""
    codes = sorted(setting.networks())
    random.Random(0).shuffle(codes)
    return [(code, seed) for code in codes for seed in range(setting.seeds)]


def trainer(setting):
    """What a worker does with a run (code, seed)."""
    images = setting.load()
    return lambda run: [train_one(setting, images, *run)]


def train_one(setting, images, code, seed):
    """(code, seed, test accuracy, training loss of the last epoch, seconds of CPU) of one run."""
    began = time.process_time()
    with runtime.silently():  # the progress of a run of seconds
        report = train(network(setting.space, code), images, replace(setting.recipe, seed=seed), device="cpu")
    return code, seed, report.test_accuracy, report.history["train_loss"].iloc[-1], time.process_time() - began
