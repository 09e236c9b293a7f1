"""What a search and a training need of data: splits that give batches. For images also the normalisation of pixels."""

from dataclasses import dataclass, replace
from functools import cached_property

import torch


@dataclass(frozen=True, kw_only=True)
class DataModule:
    """`train` for weights, `valid` for α (drawn from training), `test` for the end; `classes` is empty where there are none.

    A split has a length, `split[indices]` for a tensor of indices, and `split + other`. A batch is any nest of tensors.

    A subclass has `shape`, that of one input of the network without the batch, or None; `device`; `digest`, a fingerprint;
    `to(device)`; `example(n)`, a batch of n samples to try a network on; and two ways to read a split. `prefetches` says
    whether other processes or threads read batches while this one computes.

    `batches(split, size, seed, purpose, augment, rank, world_size)` returns an object with `batches_per_epoch` and `[i]`,
    batch i counted over all epochs. Rank r gets the r-th of `world_size` equal slices of the batch of `size`. The order of each
    epoch is a function of (seed, purpose, epoch), so there is nothing to save. Raises ValueError for a size that the split or
    the ranks cannot give.

    `eval_batches(split, size, rank, world_size)` yields batches without augmentation, every sample once over all ranks. Each
    rank gets whole batches of `size`, not always equally many (see `shares`). Raises ValueError for an empty split.
    """

    unit = "samples"  # what a split counts, in messages

    name: str
    classes: tuple
    train: object
    valid: object
    test: object

    @property
    def full_train(self):
        """Training and validation samples together, for retraining the found network."""
        return self.train + self.valid

    def held_out(self):
        """The same without its test samples: trains on `train` and tests on `valid`, to choose among networks."""
        return replace(self, valid=self.train[torch.arange(0)], test=self.valid)

    def __str__(self):
        described = [f"{self.name}: {len(self.train):,} train", f"{len(self.valid):,} valid", f"{len(self.test):,} test {self.unit}"]
        described += [f"{len(self.classes)} classes"] * bool(self.classes)
        return ", ".join([*described, "×".join(map(str, self.shape))] if self.shape else described)


@dataclass(frozen=True, kw_only=True)
class ImageData(DataModule):
    """Images and labels. `mean` and `std` are per channel, of 255.

    A batch is images (B, C, H, W) float, normalised, channels_last, and labels (B,). With `crop` augmented images are
    random-resized crops of that many pixels; `color_jitter` changes their brightness and saturation at random, `flip` mirrors half
    of them.
    """

    unit = "images"

    mean: tuple
    std: tuple
    crop: int | None
    color_jitter: bool
    flip: bool
    loaded: dict | None = None  # the arguments of data.load that gave these data

    def preprocessing(self):
        """How an image file becomes an input of the network, and the names of its outputs: plain data that go with an exported network.

        The shorter side is resized to `resize` pixels, the centre of size × size is kept; mean and std are of 0 … 255, per channel
        of RGB. pixels.decode does the first part.
        """
        return {"size": self.shape[1], "resize": self.side, "mean": list(self.mean), "std": list(self.std), "channels": "RGB",
                "classes": list(self.classes)}

    def example(self, n):
        """n black images of class 0."""
        images = torch.zeros(n, *self.shape, device=self.device).to(memory_format=torch.channels_last)
        return images, torch.zeros(n, dtype=torch.long, device=self.device)

    @cached_property
    def scale(self):
        """Mean and standard deviation as tensors (C,) on the device, made once: copying them in every step costs time."""
        return [torch.tensor(v, dtype=torch.float32, device=self.device) for v in (self.mean, self.std)]

    def normalised(self, pixels):
        """Pixels (B, H, W, C) of 0 … 255 on the device -> (B, C, H, W) float, channels_last."""
        mean, std = self.scale
        return ((pixels.float() - mean) / std).permute(0, 3, 1, 2)

    def __str__(self):
        mirrored = "" if self.flip == (self.name != "digits") else ", mirrored" if self.flip else ", not mirrored"
        return f"{super().__str__()}{', resized crops' if self.crop else ''}{', distorted' if self.color_jitter else ''}{mirrored}"
