"""Data sets too large for memory: images decoded and augmented batch by batch in worker processes."""

import itertools
import multiprocessing
import os
import signal
import threading
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from . import folders, runtime
from .augment import AREA, BRIGHTNESS, RATIO, SATURATION
from .batches import Order, Splits, shares


@dataclass(frozen=True, kw_only=True)
class Streamed(Splits):
    """Splits of folders.Files, read by `workers` processes (0: in this one).

    Half of the augmented images are mirrored. Others have their shorter side resized to `resize`, of which the centre
    is kept.
    """

    resize: int
    workers: int
    device: torch.device = torch.device("cpu")

    @property
    def shape(self):
        """(C, H, W) of one image."""
        return 3, self.crop, self.crop

    @property
    def ahead(self):
        """See Splits."""
        return self.workers > 0

    @property
    def digest(self):
        """Fingerprint of the files' names, labels, split and sizes; not of the pixels, which would take a full read."""
        parts = [part for s in (self.train, self.valid, self.test) for part in (s.paths.tobytes(), s.labels)]
        return runtime.digest(*parts, self.crop, self.resize)

    def to(self, device):
        """The same with batches on `device`."""
        return replace(self, device=torch.device(device))

    def batches(self, split, size, seed, purpose, augment, rank=0, ranks=1):
        """See Splits. `[i]` raises ValueError naming the files of the batch that cannot be read."""
        order = Order(self.name, len(split), size, seed, purpose, rank, ranks)
        return Batches(self, Reader(split, self.transform(augment), self.crop, order.key), order)

    def once(self, split, size, rank=0, ranks=1):
        """Yields (images, labels) of this rank's share of a split (see `shares`), without augmentation."""
        tasks = [(indices, 0) for indices in shares(len(split), size, rank, ranks)]
        for batch in self.loader(Reader(split, self.transform(False), self.crop), tasks, min(self.workers, len(tasks))):
            yield self.received(batch)

    def transform(self, augment):
        """From a PIL image to one of crop × crop."""
        if not augment:
            return v2.Compose([v2.Resize(self.resize), v2.CenterCrop(self.crop)])
        crop, flip = v2.RandomResizedCrop(self.crop, AREA, RATIO), v2.RandomHorizontalFlip()
        return v2.Compose([crop, flip, *[v2.ColorJitter(brightness=BRIGHTNESS, saturation=SATURATION)] * self.distort])

    def loader(self, reader, tasks, workers, **settings):
        """A DataLoader that does `tasks` in order. Its generator is its own: the global one belongs to dropout."""
        return DataLoader(reader, sampler=tasks, batch_size=None, num_workers=workers, pin_memory=self.device.type == "cuda",
                          worker_init_fn=outlive_signals, generator=torch.Generator(), **settings)

    def received(self, batch):
        """(images, labels) on the device, of what a Reader gives."""
        pixels, labels, problem = batch
        if problem:
            raise ValueError(problem)
        pixels, labels = runtime.upload([pixels, labels], self.device)()
        return self.normalised(pixels), labels


class Batches:
    """Batches of streamed data: asked for in turn they are read ahead; another i starts the reading anew from there."""

    def __init__(self, data, reader, order):
        self.data, self.per_pass, self._tasks, self._next = data, order.per_pass, Tasks(order), None
        self._loader = data.loader(reader, self._tasks, data.workers, persistent_workers=data.workers > 0)

    def __getitem__(self, i):
        """Images (size / ranks, C, crop, crop) and labels of batch i, counted over all passes."""
        if i != self._next:
            self._tasks.start = i
            self._stream = iter(self._loader)
        self._next = None  # unknown until the batch is here
        batch = next(self._stream)
        self._next = i + 1
        return self.data.received(batch)


class Tasks:
    """What there is to read, without end, from batch `start` on: indices of this rank's images, and the position of the
    first among all images of all passes."""

    def __init__(self, order):
        self.order, self.start = order, 0

    def __iter__(self):
        part = self.order.part
        for i in itertools.count(self.start):
            yield self.order[i][part], i * self.order.size + part.start


class Reader(torch.utils.data.Dataset):
    """Reads one batch: (indices, first position) -> pixels (B, H, W, 3) uint8, labels (B,), and what was wrong or "".

    Random numbers of an image are fixed by `key` and its position, whoever reads it and with what other images.
    """

    def __init__(self, files, transform, crop, key=()):
        self.files, self.transform, self.crop, self.key = files, transform, crop, key

    def __getitem__(self, task):
        indices, first = task
        pixels, broken = torch.empty(len(indices), self.crop, self.crop, 3, dtype=torch.uint8), []
        with torch.random.fork_rng(devices=[]):  # transforms draw from the global generator
            for k, path in enumerate(map(self.files.path, indices.tolist())):
                torch.default_generator.manual_seed(runtime.seed(*self.key, 1, first + k))  # torch.manual_seed would seed the GPU's as well
                try:
                    pixels[k] = torch.from_numpy(np.array(self.transform(folders.read(path))))
                except folders.Unreadable:
                    broken.append(path)
        return pixels, self.files.labels[indices], folders.refusal(broken, len(indices))


def outlive_signals(worker):
    """In a worker: end for a SIGTERM of the process it works for, not for others', and never for Ctrl-C.

    A job manager or a terminal sends the signal to all processes at once, but the step at hand still needs its batch.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # not on macOS
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        threading.Thread(target=end_with_parent, daemon=True).start()


def end_with_parent():
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != multiprocessing.parent_process().pid:
        pass
    os._exit(0)
