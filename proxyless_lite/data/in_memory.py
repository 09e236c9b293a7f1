"""Data in memory: all images as uint8 tensors on the device, augmented there batch by batch."""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image

from .. import runtime
from . import augment
from .module import ImageData
from .pixels import decode_all, fitted, refusal
from .sampling import BatchSampler, shares


@dataclass(frozen=True)
class Split:
    """Images (n, H, W, C) uint8 and labels (n,) int64, on one device."""

    images: torch.Tensor
    labels: torch.Tensor

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, indices):
        if isinstance(indices, torch.Tensor):
            indices = indices.to(self.images.device, non_blocking=True)
        return Split(self.images[indices], self.labels[indices])

    def __add__(self, other):
        if not len(other):
            return self  # no copy
        return Split(torch.cat([self.images, other.images]), torch.cat([self.labels, other.labels]))

    def to(self, device):
        """The same on `device`."""
        return Split(self.images.to(device), self.labels.to(device))

    def shorter_side(self):
        """Pixels of the shorter side of an image."""
        return min(self.images.shape[1:3])

    def in_memory(self):
        """The split itself; the counterpart in packed.View reads from disk."""
        return self

    def resized(self, side):
        """The same with images side × side, as `decoded` would make them from files."""
        if self.images.shape[1:3] == (side, side):
            return self
        images = [fitted(Image.fromarray(image), side) for image in self.images.numpy()]
        return Split(torch.from_numpy(np.stack(images)), self.labels)


@dataclass(frozen=True, kw_only=True)
class Augmented(ImageData):
    """Splits of stored images (n, H, W, C), and how batches of them are augmented on the device.

    `padding` is that of random crops, in pixels. With `crop` they are random-resized crops of that size instead, or the centre
    without augmentation.
    """

    padding: int

    @property
    def side(self):
        """Pixels per side of the stored images."""
        return self.train.images.shape[1]

    @property
    def shape(self):
        """(C, H, W) of one image as the network gets it."""
        _, height, width, channels = self.train.images.shape
        return (channels, self.crop, self.crop) if self.crop else (channels, height, width)

    def __str__(self):
        usual = self.crop or self.padding == self.shape[1] // 8
        return f"{super().__str__()}{'' if usual else f', shifted by up to {self.padding} pixels'}"

    def batch(self, split, indices, generator=None, part=slice(None)):
        """Images (B, C, H, W) float, normalised, channels_last, and labels (B,), of a Split on the device.

        With a `generator` of the split's device the images are augmented, all at once. Only `part` of the indices are
        processed, with the random numbers they have in the whole batch.
        """
        indices = indices.to(split.images.device, non_blocking=True)
        if generator is None:
            pixels = self.centre(split.images[indices[part]])
        elif self.crop:
            pixels = augment.resized(split.images, indices, self.crop, self.flip, generator, part)
        else:
            pixels = augment.shifted(split.images, indices, self.padding, self.flip, generator, part)
        if self.color_jitter and generator is not None:
            pixels = augment.color_jittered(pixels, len(indices), generator, part)
        return self.normalised(pixels), split.labels[indices[part]]

    def centre(self, images):
        """The central crop × crop pixels of images (B, H, W, C); all of them without a crop."""
        _, height, width = self.shape
        top, left = (images.shape[1] - height) // 2, (images.shape[2] - width) // 2
        return images[:, top:top + height, left:left + width]


@dataclass(frozen=True, kw_only=True)
class InMemoryData(Augmented):
    """Splits whose images are tensors on one device."""

    prefetches = False

    @property
    def device(self):
        return self.train.images.device

    @property
    def digest(self):
        """Fingerprint of the images and of how they are split."""
        return runtime.digest(*(t for s in (self.train, self.valid, self.test) for t in (s.images, s.labels)))

    def to(self, device):
        """The same with all splits on `device`."""
        return replace(self, **{k: getattr(self, k).to(device) for k in ("train", "valid", "test")})

    def batches(self, split, size, seed, purpose, augment, rank=0, world_size=1):
        """See DataModule."""
        return Batches(self, split, BatchSampler(self.name, len(split), size, seed, purpose, rank, world_size, self.device), augment)

    def eval_batches(self, split, size, rank=0, world_size=1):
        """Yields (images, labels) of this rank's share of a split (see `shares`), without augmentation."""
        for indices in shares(len(split), size, rank, world_size, self.device):
            yield self.batch(split, indices)


class Batches:
    """Batches of data in memory; augmentation of batch i is a function of (seed, purpose, i)."""

    def __init__(self, data, split, order, augment):
        self.data, self.split, self.order, self.augment, self.batches_per_epoch = data, split, order, augment, order.batches_per_epoch

    def __getitem__(self, i):
        """Images (size / world_size, C, H, W) and labels of batch i, counted over all epochs."""
        generator = runtime.generator(self.data.device, *self.order.key, 1, i) if self.augment else None
        return self.data.batch(*self.source(i), generator, self.order.part)

    def source(self, i):
        """A Split on the device, and the indices (size,) in it of the images of batch i."""
        return self.split, self.order[i]


def decoded(parts, side):
    """Files -> Splits of images side × side. Raises ValueError that counts and names those that cannot be read, or where they do not fit."""
    count, free = sum(map(len, parts)), runtime.free_memory(torch.device("cpu"))
    if (need := 2 * 3 * side ** 2 * count) > free:  # a training puts training and validation images together once more
        raise ValueError(f"{count:,} images of {side}×{side} take up to {need / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free; "
                         f"give a smaller image_size, or pack or workers, which leave them on the disk")
    images, failed = zip(*(decode_all(files, side) for files in parts))
    problem = refusal([error for errors in failed for error in errors], count)
    if problem:
        raise ValueError(problem)
    return [Split(torch.from_numpy(decoded), files.labels) for decoded, files in zip(images, parts)]


def statistics(split):
    """Mean and standard deviation per channel; of every k-th image where all pixels would take over a GB."""
    every = 1 + len(split) * math.prod(split.images.shape[1:]) // 2 ** 28
    pixels = split[::every].in_memory().images.float().flatten(0, 2)
    return dict(mean=tuple(pixels.mean(0).tolist()), std=tuple(pixels.std(0).clamp_min(1).tolist()))
