"""Your own data: any map-style PyTorch datasets, of any samples, as a DataModule."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten
from torch.utils.data import ConcatDataset, Dataset, IterableDataset, Subset, default_collate

from .. import runtime
from .workers import WorkerData, generators_kept, seed_generators

PLAIN = int, float, complex, str, bytes, type(None)  # have a faithful repr


def from_datasets(train: Dataset, valid: Dataset, test: Dataset | None = None, name: str = "own data", classes=(), workers: int = 0,
                  collate=default_collate) -> "OwnData":
    """Datasets with `len(…)` and `[i]`, of any samples, as data for a search or a training.

    `train` is for weights, `valid` for α, `test` may be missing. `collate` makes a batch of a list of samples: by default
    PyTorch's, for tensors, arrays, numbers and tuples or dicts of them. The default loss takes batches (inputs, labels) and
    checks the number of `classes`, if given; a loss of your own takes whatever `collate` gives. `workers` is the number of
    processes that read ahead (0: none).

    A dataset does its own augmentation. The global generators of PyTorch, NumPy and Python are seeded for every sample by the
    seed of the run and the position in it, with any number of workers; an evaluation always draws the same numbers.

    Raises ValueError in one line for an empty dataset and for one without length and index; and, when their batch is read, for
    samples that do not fit together.
    """
    if workers < 0:
        raise ValueError(f"workers={workers!r} must be at least 0")
    splits = {part: samples(dataset, f"{part} of {name}") for part, dataset in (("train", train), ("valid", valid))}
    splits["test"] = splits["valid"][:0] if test is None else samples(test, f"test of {name}")
    return OwnData(name=name, classes=tuple(classes), **splits, workers=workers, collate=collate)


@dataclass(frozen=True)
class Samples:
    """A split: the samples of a dataset at `indices` (n,)."""

    dataset: Dataset
    indices: torch.Tensor

    def __len__(self):
        return len(self.indices)

    def __getitem__(self, indices):
        return Samples(self.dataset, self.indices[indices])

    def __add__(self, other):
        return Samples(ConcatDataset([self.dataset, other.dataset]), torch.cat([self.indices, len(self.dataset) + other.indices]))

    def sample(self, i):
        return self.dataset[self.indices[i].item()]

    def first_leaves(self):
        """The parts of the first sample, always with the same randomness; none for an empty split."""
        with generators_kept():
            seed_generators(0)
            return tree_leaves(self.sample(0)) if len(self) else []


def samples(dataset, what):
    """All Samples of a dataset; a Subset becomes indices of the whole, so that the digest sees them. Raises ValueError."""
    if isinstance(dataset, IterableDataset) or not all(hasattr(dataset, need) for need in ("__len__", "__getitem__")):
        raise ValueError(f"{what} is a {type(dataset).__name__}, which cannot be indexed; give a map-style dataset, with len(…) and [i]")
    if not len(dataset):
        raise ValueError(f"{what} is an empty {type(dataset).__name__}; give at least one sample")
    if type(dataset) is Subset:
        return samples(dataset.dataset, what)[torch.as_tensor(dataset.indices)]
    return Samples(dataset, torch.arange(len(dataset)))


@dataclass(frozen=True, kw_only=True)
class OwnData(WorkerData):
    """Splits that are Samples, read by `workers` processes (0: in this one). `augment` changes nothing: see from_datasets."""

    collate: object

    @cached_property
    def shape(self):
        """Of the first tensor or array of a training sample; None without one."""
        return next((tuple(leaf.shape) for leaf in self.train.first_leaves() if isinstance(leaf, (torch.Tensor, np.ndarray))), None)

    @cached_property
    def digest(self):
        """Fingerprint of the datasets' types, their splits, and their first samples only: all may be too many."""
        splits = self.train, self.valid, self.test
        return runtime.digest(*(part for s in splits for part in (type(s.dataset).__qualname__, s.indices, *map(plain, s.first_leaves()))))

    def example(self, n):
        """The first n training samples, or all if there are fewer."""
        n = min(n, len(self.train))
        return self.received(self.reader(self.train, False, ())[torch.arange(n), 0])

    def reader(self, split, augment, key):
        return Reader(split, self.collate, key)

    def received(self, batch):
        """The batch on the device. Raises ValueError where samples do not fit together."""
        batch, problem = batch
        if problem:
            raise ValueError(f"{self.name}: {problem}")
        leaves, structure = tree_flatten(batch)
        arrived = iter(runtime.upload([leaf for leaf in leaves if isinstance(leaf, torch.Tensor)], self.device)())
        return tree_unflatten([next(arrived) if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves], structure)


class Reader(Dataset):
    """Reads one batch: (indices, first position) -> what `collate` makes of its samples, and what was wrong or "".

    Random numbers of a sample depend only on `key` and its position, not on the worker or the other samples.
    """

    def __init__(self, split, collate, key):
        self.split, self.collate, self.key = split, collate, key

    def __getitem__(self, task):
        indices, first = task
        found = []
        with generators_kept():
            for k, i in enumerate(indices.tolist()):
                seed_generators(*self.key, 1, first + k)
                found.append(self.split.sample(i))
            seed_generators(*self.key, 2, first)
            try:
                return self.collate(found), ""
            except (KeyError, RuntimeError, TypeError) as error:
                if self.collate is not default_collate:
                    raise
                return None, refusal(found, error)


def refusal(found, error):
    """One line: why PyTorch's default_collate failed on these samples."""
    shapes = {str([tuple(leaf.shape) for leaf in tree_leaves(sample) if hasattr(leaf, "shape")]): None for sample in found}
    reason = f"they have shapes {' and '.join([*shapes][:2])}" if len(shapes) > 1 else str(error).splitlines()[0]
    return f"samples do not fit into one batch ({reason}); give them one structure and shape, or give from_datasets a collate(samples)"


def plain(leaf):
    """Something with a faithful repr for a part of a sample; for an unknown object only its type."""
    if hasattr(leaf, "tolist"):
        return str(leaf.dtype), leaf.tolist()
    return leaf if isinstance(leaf, PLAIN) else type(leaf).__qualname__
