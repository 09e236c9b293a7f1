"""Packed data: images are decoded once, into files on a fast disk; a thread gathers batches from there."""

import json
import logging
import mmap
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from .. import runtime
from . import in_memory
from .in_memory import Augmented, Split
from .pixels import decode_all, refusal
from .sampling import BatchSampler, shares

FORMAT = "proxyless_lite pack 2"
log = logging.getLogger(__name__)
CHUNK = 2 ** 27  # bytes decoded, written and recorded at a time: the most that a kill loses


@dataclass(frozen=True)
class View:
    """A split: rows (n,) of the packed images (N, S, S, 3) uint8, which stay on disk, and their labels (n,)."""

    images: np.memmap
    rows: torch.Tensor
    labels: torch.Tensor

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, indices):
        return View(self.images, self.rows[indices], self.labels[indices])

    def __add__(self, other):
        if self.images is not other.images:
            raise ValueError("training and test images are packed in different files; only splits of one file can be joined")
        return View(self.images, torch.cat([self.rows, other.rows]), torch.cat([self.labels, other.labels]))

    def in_memory(self, pinned=False):
        """The same as a Split on the CPU, in pinned memory if it is to be copied to a GPU."""
        images = torch.empty(len(self), *self.images.shape[1:], dtype=torch.uint8, pin_memory=pinned)
        rows, size = self.rows.numpy(), self.images[0].nbytes
        for start in (rows * size).tolist():  # let the disk read many rows at once
            page = start // mmap.PAGESIZE * mmap.PAGESIZE
            self.images.base.madvise(mmap.MADV_WILLNEED, page, start + size - page)
        np.take(self.images, rows, axis=0, out=images.numpy(), mode="clip")  # "raise" copies twice; torch's gather is far slower
        return Split(images, self.labels)


@dataclass(frozen=True, kw_only=True)
class Packed(Augmented):
    """Splits that are Views. Batches equal those of InMemoryData, on the CPU bit by bit."""

    source: str  # fingerprint of the files that were packed
    device: torch.device = torch.device("cpu")
    prefetches = True

    @property
    def digest(self):
        """Fingerprint of the files' names, sizes and splits; hashing the pixels would take a full read."""
        return runtime.digest(self.source, *(t for s in (self.train, self.valid, self.test) for t in (s.rows, s.labels)))

    def to(self, device):
        """The same with batches on `device`."""
        return replace(self, device=torch.device(device))

    def batches(self, split, size, seed, purpose, augment, rank=0, world_size=1):
        """See DataModule."""
        return Batches(self, split, BatchSampler(self.name, len(split), size, seed, purpose, rank, world_size), augment)

    def eval_batches(self, split, size, rank=0, world_size=1):
        """Yields (images, labels) of this rank's share of a split (see `shares`), without augmentation."""
        tasks = shares(len(split), size, rank, world_size)
        sent = runtime.Ahead(lambda i: self.sent(split[tasks[i]]))
        for i, task in enumerate(tasks):
            yield self.batch(sent[i](), torch.arange(len(task), device=self.device))

    def sent(self, view):
        """Gather a view and start copying it to the device. Returns a function that returns it there, a Split."""
        split = view.in_memory(pinned=self.device.type == "cuda")
        arrived = runtime.upload([split.images, split.labels], self.device)
        return lambda: Split(*arrived())


class Batches(in_memory.Batches):
    """Batches of packed data; a thread gathers the next ones."""

    def __init__(self, data, split, order, augment):
        super().__init__(data, split, order, augment)
        self._sent = runtime.Ahead(lambda i: data.sent(split[order[i][order.part]]))

    def source(self, i):
        """This rank's images of batch i, and the index among them of each image of the whole batch (out of range for other ranks')."""
        return self._sent[i](), torch.arange(self.order.size, device=self.data.device) - self.order.part.start


# -- packing -----------------------------------------------------------------------------------------------------------


def pack(folder, parts, side):
    """Decode the training and the test Files into `folder`, side × side, unless they are there. Returns their Views, a fingerprint.

    If several processes call this at once, one packs and the others wait. After an error or a kill, call again to resume.
    Raises ValueError in one line if the folder holds other images or, once all others are packed, if files cannot be read.
    OSError if the disk has too little room or the folder cannot be written to.
    """
    folder = Path(folder)
    shards = [Shard(folder, part, files, side) for part, files in zip(("train", "test"), parts)]
    if not all(shard.good.all() for shard in shards):
        runtime.check_writable(folder)
        with runtime.lock(folder, wait=True):
            for shard in shards:
                shard.read_record()  # another process may have packed meanwhile
            fill(folder, shards, 3 * side ** 2)
    if unreadable := [error for shard in shards for error in shard.unreadable]:
        raise ValueError(f"{refusal(unreadable, sum(map(len, parts)))} (all others are packed in {folder}: once "
                         f"fixed, load again to finish; if you remove any, pack into another folder)")
    views = [View(np.memmap(s.path, np.uint8, "r", shape=(len(s.files), side, side, 3)), torch.arange(len(s.files)), s.files.labels)
             for s in shards]
    return views, runtime.digest(*(shard.identity() for shard in shards))


def fill(folder, shards, row):
    """Pack the missing images, `row` bytes each, after logging how much that is. Raises OSError as `pack`."""
    missing = [np.flatnonzero(~shard.good) for shard in shards]
    whole, needed, free = sum(len(s.good) for s in shards) * row, sum(map(len, missing)) * row, shutil.disk_usage(folder).free
    if not needed:
        return
    sized = (f"packing {whole // row:,} images of {shards[0].side}×{shards[0].side} pixels into {folder}: {whole / 1e9:,.2f} GB, of "
             f"which {needed / 1e9:,.2f} GB are still needed")
    if needed > free:
        raise OSError(f"{sized}, but only {free / 1e9:,.2f} GB are free there; choose another folder or a smaller image_size")
    log.info(f"{sized}; {free / 1e9:,.2f} GB are free there")
    chunks = [(shard, rows) for shard, lacking in zip(shards, missing) if len(lacking)
              for rows in np.array_split(lacking, -(-len(lacking) * row // CHUNK))]
    progress = runtime.Progress(len(chunks), label="packing")
    try:
        for shard, rows in chunks:
            shard.write(rows)
            progress.step()
    except OSError as error:
        raise OSError(f"packing into {folder} failed ({error.strerror}); what is packed is kept, load again to resume") from None
    finally:
        progress.close()


class Shard:
    """One part of the images: a file with a row for each of `files`, in their order, and a record of which rows are `good`.

    The record also identifies the files by their names and, once packed, their sizes on disk. Until then a file may change.
    """

    def __init__(self, folder, part, files, side):
        self.files, self.side, self.path, self.record = files, side, folder / f"{part}.uint8", folder / f"{part}.json"
        self.names, self.sizes = runtime.digest(files.paths.tobytes()), sizes_on_disk(files)
        self.unreadable = []  # of the rows that this process wrote
        self.read_record()

    def identity(self):
        """What the good rows depend on, as a dict."""
        return {"format": FORMAT, "image side": self.side, "number of images": len(self.files),
                "digest of file names": self.names, "digest of file sizes": runtime.digest(torch.from_numpy(self.sizes[self.good]))}

    def read_record(self):
        """Read which rows are good. Raises ValueError if they were made from other files, naming what differs."""
        self.good = np.zeros(len(self.files), bool)
        if not self.record.exists():
            return
        saved = {}
        with suppress(ValueError, TypeError):
            saved = dict(json.loads(self.record.read_bytes()))
        self.good = np.unpackbits(np.array(saved.get("good", []), np.uint8), count=len(self.files)).astype(bool)
        for key, here in self.identity().items():
            if saved.get(key) != here:
                raise ValueError(f"{self.path} holds other images: {key} is {saved.get(key)!r} there and {here!r} here; "
                                 f"choose another folder")
        written = self.path.stat().st_size if self.path.exists() else 0
        self.good[written // (3 * self.side ** 2):] = False  # if the file was cut off

    def write(self, rows):
        """Decode and write these rows. They become good once they are on the disk."""
        self.sizes[rows] = sizes_on_disk(self.files[rows])  # may have changed since the packing began
        images, failed = decode_all(self.files[rows], self.side)
        self.path.touch()
        with open(self.path, "r+b") as file:
            for row, image in zip(rows.tolist(), images):
                file.seek(row * image.nbytes)
                file.write(image)
            file.flush()
            os.fsync(file.fileno())
        self.unreadable += failed
        bad = {error.path for error in failed}
        self.good[rows] = [self.files.path(row) not in bad for row in rows]
        state = {**self.identity(), "good": np.packbits(self.good).tolist()}
        runtime.write_atomically(self.record, runtime.to_json(state))


def sizes_on_disk(files):
    """Bytes of each file (n,), -1 where there is none; in threads, because network drives answer slowly."""
    def size(path):
        try:
            return os.stat(path).st_size
        except OSError:  # a link to nothing: refused by name when it is decoded
            return -1

    def of(paths):
        return [size(os.path.join(os.fsencode(files.root), path)) for path in paths]
    with ThreadPoolExecutor() as pool:
        return np.array(sum(pool.map(of, np.array_split(files.paths, 64)), []))
