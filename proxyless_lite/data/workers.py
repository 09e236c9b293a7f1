"""Batches read by worker processes: in order, ahead of the computation, and the same however many workers there are."""

import itertools
import multiprocessing
import os
import random
import signal
import threading
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.utils.data import DataLoader

from .. import runtime
from .module import DataModule
from .sampling import BatchSampler, shares


@dataclass(frozen=True, kw_only=True)
class WorkerData(DataModule):
    """Splits read batch by batch, by `workers` processes (0: in this one).

    A subclass has `reader(split, augment, key)`, a Dataset whose item (indices, first position) is one batch, and
    `received(batch)`, which puts the reader's output on the device.
    """

    workers: int
    device: torch.device = torch.device("cpu")

    @property
    def prefetches(self):
        """See DataModule."""
        return self.workers > 0

    def to(self, device):
        """The same with batches on `device`."""
        return replace(self, device=torch.device(device))

    def batches(self, split, size, seed, purpose, augment, rank=0, world_size=1):
        """See DataModule. `[i]` raises ValueError where a sample of the batch cannot be used."""
        order = BatchSampler(self.name, len(split), size, seed, purpose, rank, world_size, unit=self.unit)
        return Batches(self, self.reader(split, augment, order.key), order)

    def eval_batches(self, split, size, rank=0, world_size=1):
        """See DataModule."""
        tasks = [(indices, indices[0].item()) for indices in shares(len(split), size, rank, world_size)]
        with signals_held():
            batches = iter(self.loader(self.reader(split, False, ()), tasks, min(self.workers, len(tasks))))
        for batch in batches:
            yield self.received(batch)

    def loader(self, reader, tasks, workers, **settings):
        """A DataLoader that does `tasks` in order. It has its own generator: the global one belongs to dropout."""
        return DataLoader(reader, sampler=tasks, batch_size=None, num_workers=workers, pin_memory=self.device.type == "cuda",
                          worker_init_fn=outlive_signals, generator=torch.Generator(), **settings)


class Batches:
    """Batches that are read ahead when asked for in turn; any other i restarts the reading from there."""

    def __init__(self, data, reader, order):
        self.data, self.batches_per_epoch, self._tasks, self._next = data, order.batches_per_epoch, Tasks(order), None
        self._loader = data.loader(reader, self._tasks, data.workers, persistent_workers=data.workers > 0)

    def __getitem__(self, i):
        """This rank's part of batch i, counted over all epochs."""
        if i != self._next:
            self._tasks.start = i
            with signals_held():
                self._stream = iter(self._loader)
        self._next = None  # unknown until the batch is here
        batch = next(self._stream)
        self._next = i + 1
        return self.data.received(batch)


class Tasks:
    """Endless tasks from batch `start` on: indices of this rank's samples, and the position of the
    first among all samples of all epochs."""

    def __init__(self, order):
        self.order, self.start = order, 0

    def __iter__(self):
        part = self.order.part
        for i in itertools.count(self.start):
            yield self.order[i][part], i * self.order.size + part.start


# -- randomness of samples ---------------------------------------------------------------------------------------------


@contextmanager
def generators_kept():
    """A context after which the global generators of PyTorch (CPU), NumPy and Python are as they were."""
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])


def seed_generators(*key):
    """Seed the global generators, from which transforms draw, with the integers in `key`."""
    seed = runtime.seed(*key)
    torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the GPU's as well
    random.seed(seed)
    np.random.seed(seed % 2 ** 32)


# -- signals -----------------------------------------------------------------------------------------------------------


@contextmanager
def signals_held():
    """A context in which processes start with SIGTERM and SIGINT blocked, until `outlive_signals` is ready for them; here they wait."""
    if not hasattr(signal, "sigwaitinfo"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def outlive_signals(worker):
    """In a worker: end on a SIGTERM from its parent process only, and never on Ctrl-C.

    A job manager or a terminal sends the signal to all processes at once, but the step in progress still needs its batch.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # not on macOS
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        threading.Thread(target=end_with_parent, daemon=True).start()


def end_with_parent():
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != multiprocessing.parent_process().pid:
        pass
    os._exit(0)
