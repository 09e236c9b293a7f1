"""Data sets as uint8 tensors on the device, augmented in batches: digits, CIFAR-10, any folder of images."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torchvision import datasets

from . import runtime

CIFAR10_MEAN, CIFAR10_STD = (125.3, 123.0, 113.9), (63.0, 62.1, 66.7)  # of 255


@dataclass(frozen=True)
class Split:
    """Images (n, H, W, C) uint8 and labels (n,) int64, on one device."""

    images: torch.Tensor
    labels: torch.Tensor

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, indices):
        return Split(self.images[indices], self.labels[indices])

    def to(self, device):
        """The same on `device`."""
        return Split(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True)
class Data:
    """Three splits and how to feed them: `train` for weights, `valid` for α (drawn from training), `test` for the end.

    `mean` and `std` are per channel, of 255. `shift` is the padding of random crops in pixels, `flip` mirrors half of
    the images; both only where a batch is asked for with a generator.
    """

    name: str
    classes: tuple
    train: Split
    valid: Split
    test: Split
    mean: tuple
    std: tuple
    shift: int
    flip: bool

    @property
    def shape(self):
        """(C, H, W) of one image."""
        n, height, width, channels = self.train.images.shape
        return channels, height, width

    @property
    def full_train(self):
        """Training and validation images together, for retraining the found network."""
        return Split(torch.cat([self.train.images, self.valid.images]), torch.cat([self.train.labels, self.valid.labels]))

    @property
    def digest(self):
        """Fingerprint of the images and of how they are split."""
        return runtime.digest(*(t for s in (self.train, self.valid, self.test) for t in (s.images, s.labels)))

    def to(self, device):
        """The same with all splits on `device`."""
        return replace(self, **{k: getattr(self, k).to(device) for k in ("train", "valid", "test")})

    def batch(self, split, indices, generator=None):
        """Images (B, C, H, W) float, normalised, channels_last, and labels (B,).

        With a `generator` of the split's device the images are augmented, all at once: one gather crops, flips and
        leaves them in channels_last order.
        """
        indices = indices.to(split.images.device)
        images = split.images[indices] if generator is None else self._augmented(split.images, indices, generator)
        mean, std = (torch.tensor(v, dtype=torch.float32, device=images.device) for v in (self.mean, self.std))
        normal = (images.float() - mean) / std                            # (B, H, W, C)
        return normal.permute(0, 3, 1, 2), split.labels[indices]

    def _augmented(self, images, indices, generator):
        n, (channels, height, width), device = len(indices), self.shape, images.device
        offset = torch.randint(-self.shift, self.shift + 1, (2, n, 1), generator=generator, device=device)
        rows = torch.arange(height, device=device) + offset[0]            # (B, H), in the source image
        columns = torch.arange(width, device=device) + offset[1]          # (B, W)
        if self.flip:
            mirrored = torch.rand(n, 1, generator=generator, device=device) < 0.5
            columns = torch.where(mirrored, columns.flip(1), columns)
        inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
        rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
        crops = images[indices[:, None, None], rows[:, :, None], columns[:, None, :]]  # (B, H, W, C)
        return crops * inside[..., None]                                  # black outside, as in torchvision's RandomCrop

    def batches(self, *a, **k):
        return Batches(self, *a, **k)

    def once(self, split, size, rank=0, ranks=1):
        for indices in torch.arange(rank, len(split), ranks).split(size):
            yield self.batch(split, indices)

    def __str__(self):
        return (f"{self.name}: {len(self.train):,} train, {len(self.valid):,} valid, {len(self.test):,} test images, "
                f"{len(self.classes)} classes, {'×'.join(map(str, self.shape))}")


def load(name, root=None, valid=None, limit=None, image_size=None, seed=0, download=True):
    """The data set called `name`: "digits", "cifar10", or the path of a folder of images.

    An image folder holds train/ and test/ (or val/), each with one folder a class. `root` is where named data sets lie
    ($PROXYLESS_DATA, else ./data); "cifar10" is taken from root/cifar10/{train,test}/<class>/ if that exists, else from
    torchvision's files, downloaded when they are missing. `valid` is the fraction of the training images that learns α
    (default 0.1; digits 0.25), drawn per class with `seed`. `limit` keeps at most so many training images, per class alike.
    `image_size` resizes images of a folder; by default all take the size of the first.

    Raises ValueError in one line for an unknown name, and for a folder without images, with one class or with an image
    that cannot be read; FileNotFoundError when CIFAR-10 is neither there nor to be had.
    """
    root = Path(root) if root else runtime.default_root()
    if name == "digits":
        train, test, classes = digits()
        style = dict(shift=1, flip=False)                                 # a mirrored 2 is no digit
    elif name == "cifar10":
        train, test, classes = cifar10(root, download, limit, seed)
        style = dict(shift=4, flip=True, mean=CIFAR10_MEAN, std=CIFAR10_STD)
    elif Path(name).is_dir():
        train, test, classes = image_folder(Path(name), image_size, limit, seed)
        style = dict(shift=train.images.shape[1] // 8, flip=True)
    else:
        raise ValueError(f"unknown data set {name!r}; allowed: digits, cifar10, or the path of a folder with train/ and test/")
    if limit is not None:
        train = train[at_most(train.labels, limit, seed)]
    fraction = valid if valid is not None else 0.25 if name == "digits" else 0.1
    if not 0 < fraction < 1:
        raise ValueError(f"valid={valid!r} must be a fraction of the training images between 0 and 1")
    weights, alpha = balanced(train.labels, len(train) - round(len(train) * fraction), seed)
    if "mean" not in style:
        pixels = train.images[weights].float().flatten(0, 2)
        style |= dict(mean=tuple(pixels.mean(0).tolist()), std=tuple(pixels.std(0).clamp_min(1).tolist()))
    return Data(Path(name).name, tuple(classes), train[weights], train[alpha], test, **style)


def balanced(labels, count, seed):
    """Indices of `count` images with equal shares of every class, and those of the rest, each in order.

    Raises ValueError when a part would lack a class.
    """
    classes = len(set(labels.tolist()))
    if not classes <= count <= len(labels):
        raise ValueError(f"{count} images asked for, of {len(labels)} in {classes} classes; allowed: {classes} to {len(labels)}")
    everything = np.arange(len(labels))
    if count == len(labels):
        return everything, everything[:0]
    try:
        kept, rest = train_test_split(everything, train_size=count, stratify=labels.numpy(), random_state=seed)
    except ValueError as error:
        raise ValueError(f"{len(labels)} images of {classes} classes cannot be split into {count} and the rest: {error}") from None
    return np.sort(kept), np.sort(rest)


def at_most(labels, limit, seed):
    """Indices of `limit` images with equal shares of every class; of all of them where (nearly) no more are there."""
    if limit > len(labels) - len(set(labels.tolist())):
        return np.arange(len(labels))
    return balanced(labels, limit, seed)[0]


def digits():
    """scikit-learn's 1,797 handwritten digits, 8×8, grey repeated to three channels; a fixed fifth of them is the test set."""
    raw = load_digits()
    grey = torch.from_numpy(raw.images * (255 / 16)).round().to(torch.uint8)
    everything = Split(grey[..., None].repeat(1, 1, 1, 3), torch.from_numpy(raw.target).long())
    train, test = balanced(everything.labels, 1437, seed=0)
    return everything[train], everything[test], [str(d) for d in range(10)]


def cifar10(root, download=True, limit=None, seed=0):
    """CIFAR-10: the image folder root/cifar10 if it exists, else torchvision's files below root."""
    if (root / "cifar10").is_dir():
        return image_folder(root / "cifar10", limit=limit, seed=seed)
    try:
        sets = [datasets.CIFAR10(str(root), train=train, download=download) for train in (True, False)]
    except (OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise FileNotFoundError(f"CIFAR-10 is not in {root.resolve()} and could not be downloaded ({reason}); put it there, "
                                f"or set PROXYLESS_DATA to the folder that holds cifar10/ or cifar-10-batches-py/") from None
    train, test = (Split(torch.from_numpy(s.data), torch.tensor(s.targets)) for s in sets)
    return train, test, sets[0].classes


def image_folder(root, size=None, limit=None, seed=0):
    """Splits train/ and test/ (or val/) of a folder of images, decoded once to uint8; all get the size of the first one.

    Of the training images only `limit` are decoded, per class alike.
    """
    held_out = next((root / d for d in ("test", "val") if (root / d).is_dir()), None)
    if not (root / "train").is_dir() or held_out is None:
        raise ValueError(f"{root} is no image folder: it must hold train/ and test/ (or val/)")
    found = []
    for folder in (root / "train", held_out):
        try:
            found.append(datasets.ImageFolder(str(folder)))
        except FileNotFoundError as error:
            raise ValueError(f"{folder} holds no images, or a class without any: {str(error).splitlines()[0]}") from None
    train, test = found
    if len(train.classes) < 2:
        raise ValueError(f"{root / 'train'} has one class ({train.classes[0]}); a classifier needs at least two")
    if train.classes != test.classes:
        differing = sorted({*train.classes} ^ {*test.classes})
        raise ValueError(f"{root}: classes differ between train/ and {held_out.name}/: {', '.join(differing[:5])}")
    samples = train.samples
    if limit is not None:
        samples = [samples[i] for i in at_most(torch.tensor(train.targets), limit, seed)]
    size = size or decode(samples[0][0]).shape[0]
    return decode_all(samples, size), decode_all(test.samples, size), train.classes


def decode_all(samples, size):
    """(path, label) pairs -> Split; decoding runs in threads, as Pillow frees the interpreter while it works."""
    with ThreadPoolExecutor() as pool:
        images = np.stack(list(pool.map(lambda sample: decode(sample[0], size), samples, chunksize=64)))
    return Split(torch.from_numpy(images), torch.tensor([label for _, label in samples]))


def decode(path, size=None):
    """One image as (size, size, 3) uint8: the shorter side resized, the centre kept. Raises ValueError naming the file."""
    try:
        with Image.open(path) as image:
            image = image.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"image {path} cannot be read ({error}); mend or remove it") from None
    size = size or min(image.size)
    if image.size != (size, size):
        scale = size / min(image.size)
        width, height = (max(size, round(s * scale)) for s in image.size)
        left, top = (width - size) // 2, (height - size) // 2
        image = image.resize((width, height), Image.Resampling.BILINEAR).crop((left, top, left + size, top + size))
    return np.asarray(image)


class Batches:
    """Batches of a split in a fresh order every pass, as a function of (seed, pass): there is nothing to save."""

    def __init__(self, data, split, size, seed, purpose, augment, rank=0, ranks=1):
        if len(split) < size:
            raise ValueError(f"a batch of {size} images asked for, but {data.name} has only {len(split)} to draw from; "
                             f"give a smaller batch size")
        self.data, self.split, self.size, self.key, self.augment = data, split, size, (seed, purpose), augment
        self.rank, self.ranks = rank, ranks
        self.per_pass = len(split) // size
        self._pass = self._order = None

    def __getitem__(self, i):
        """Images (size, C, H, W) and labels (size,) of batch i, counted over all passes."""
        number, index = divmod(i, self.per_pass)
        if number != self._pass:
            self._pass = number
            self._order = torch.randperm(len(self.split), generator=runtime.generator("cpu", *self.key, 0, number))
        device = self.split.images.device
        generator = runtime.generator(device, *self.key, 1, i) if self.augment else None
        x, y = self.data.batch(self.split, self._order[index * self.size:(index + 1) * self.size], generator)
        k = self.size // self.ranks
        return x[self.rank * k:(self.rank + 1) * k], y[self.rank * k:(self.rank + 1) * k]
