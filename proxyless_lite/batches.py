"""What resident and streamed data share: splits, and the order of batches."""

from dataclasses import dataclass
from functools import cached_property

import torch

from . import runtime


@dataclass(frozen=True, kw_only=True)
class Splits:
    """`train` for weights, `valid` for α (drawn from training), `test` for the end; `mean` and `std` per channel, of 255.

    `crop`: augmented images are random-resized crops of so many pixels; `distort`: of random brightness and saturation.

    A subclass has `shape` (C, H, W) of what the network gets, `device`, `digest`, `to(device)`, and
    `batches(split, size, seed, purpose, augment, rank, ranks)`: an object with `per_pass`, the batches in one pass, and
    `[i]`, batch i of all passes as images (size / ranks, C, H, W) float, normalised, channels_last, and labels; rank r
    gets the r-th of `ranks` equal slices of the batch of `size`. Every pass has a fresh order, a function of (seed,
    purpose, pass), so there is nothing to save. Raises ValueError for a size that the split or the ranks cannot give.
    `once(split, size, rank, ranks)` yields (images, labels) without augmentation, every image once over all ranks: each rank gets whole
    batches of `size`, not equally many (see `shares`).
    `ahead` tells whether other processes read batches while this one computes.
    """

    name: str
    classes: tuple
    train: object
    valid: object
    test: object
    mean: tuple
    std: tuple
    crop: int | None
    distort: bool

    @property
    def full_train(self):
        """Training and validation images together, for retraining the found network."""
        return self.train + self.valid

    @cached_property
    def scale(self):
        """Mean and standard deviation as tensors (C,) on the device, made once: a copy to it in every step costs time."""
        return [torch.tensor(v, dtype=torch.float32, device=self.device) for v in (self.mean, self.std)]

    def normalised(self, pixels):
        """Pixels (B, H, W, C) of 0 … 255 on the device -> (B, C, H, W) float, channels_last."""
        mean, std = self.scale
        return ((pixels.float() - mean) / std).permute(0, 3, 1, 2)

    def __str__(self):
        return (f"{self.name}: {len(self.train):,} train, {len(self.valid):,} valid, {len(self.test):,} test images, "
                f"{len(self.classes)} classes, {'×'.join(map(str, self.shape))}"
                f"{', resized crops' if self.crop else ''}{', distorted' if self.distort else ''}")


class Order:
    """Which of `count` images make batch i, in a fresh order every pass, and which `part` of a batch is this rank's."""

    def __init__(self, name, count, size, seed, purpose, rank=0, ranks=1, device="cpu"):
        if count < size:
            raise ValueError(f"a batch of {size} images asked for, but {name} has only {count} to draw from; "
                             f"give a smaller batch size")
        if size % ranks:
            below, above = size // ranks * ranks, (size // ranks + 1) * ranks
            raise ValueError(f"a batch of {size} images cannot be shared equally by {ranks} ranks; the next sizes that can: "
                             f"{f'{below} and ' if below else ''}{above}")
        self.count, self.size, self.key, self.device = count, size, (seed, purpose), device
        self.per_pass = count // size
        self.part = slice(rank * size // ranks, (rank + 1) * size // ranks)
        self._pass = self._order = None

    def __getitem__(self, i):
        """Indices (size,) on the device of the images of batch i, counted over all passes."""
        number, index = divmod(i, self.per_pass)
        if number != self._pass:
            shuffled = torch.randperm(self.count, generator=runtime.generator("cpu", *self.key, 0, number))
            self._pass, self._order = number, shuffled.to(self.device, non_blocking=True)
        return self._order[index * self.size:(index + 1) * self.size]


def mixed(split):
    """The split in a random order, the same in every call. Files come sorted by class, and a batch norm that takes the statistics
    of its batch, as in a supernet that is judged, must not see one class alone."""
    return split[torch.randperm(len(split), generator=runtime.generator("cpu", 0))]


def shares(count, size, rank=0, ranks=1, device="cpu"):
    """Indices of this rank's share of `count` images: whole batches of `size`, every `ranks`-th of them; the last may be smaller.

    A batch is never divided among ranks: judged with the statistics of its batch, an image gets the same answer however many there are.
    An image that would be left alone joins the batch before it: a batch norm in training has no statistics of one value.
    """
    found = list(torch.arange(count, device=device).split(size))
    if len(found) > 1 and len(found[-1]) == 1 < len(found[-2]):
        found[-2:] = [torch.cat(found[-2:])]
    return found[rank::ranks]
