"""Folders of images: which files there are, of which classes, drawn evenly; and how a file becomes pixels."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision import datasets


@dataclass(frozen=True)
class Files:
    """Image files below `root` and their labels (n,) int64.

    `paths` (n,) are relative and bytes in one array, which worker processes share; a million strings would be copied.
    """

    root: Path
    paths: np.ndarray
    labels: torch.Tensor

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, indices):
        return Files(self.root, self.paths[indices], self.labels[indices])

    def __add__(self, other):
        return Files(self.root, np.concatenate([self.paths, other.paths]), torch.cat([self.labels, other.labels]))

    def path(self, i):
        """The path of file i."""
        return self.root / os.fsdecode(self.paths[i])

    def shorter_side(self):
        """Pixels of the shorter side of the first image. Raises ValueError if it cannot be read."""
        try:
            return min(read(self.path(0)).size)
        except Unreadable:
            raise ValueError(refusal(unreadable(self), len(self))) from None


def find(root):
    """Files in train/ and in test/ (or val/) of `root`, each with one folder per class, and the classes' names.

    Raises ValueError in one line for a folder without these, a class without images, only one class, and classes that differ
    between the two.
    """
    held_out = next((root / d for d in ("test", "val") if (root / d).is_dir()), None)
    if not (root / "train").is_dir() or held_out is None:
        raise ValueError(f"{root} is not an image folder: it must hold train/ and test/ (or val/)")
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
    return files_of(train), files_of(test), train.classes


def files_of(images):
    """The Files of one ImageFolder; their paths begin with its name."""
    folder = Path(images.root)
    start = len(str(folder)) - len(folder.name)
    paths = np.array([os.fsencode(path[start:]) for path, _ in images.samples])
    return Files(folder.parent, paths, torch.tensor(images.targets))


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
    from sklearn.model_selection import train_test_split  # here, since importing scikit-learn takes seconds
    try:
        kept, rest = train_test_split(everything, train_size=count, stratify=labels.numpy(), random_state=seed)
    except ValueError as error:
        raise ValueError(f"{len(labels)} images of {classes} classes cannot be split into {count} and the rest: {error}") from None
    return np.sort(kept), np.sort(rest)


def at_most(labels, limit, seed):
    """Indices of `limit` images with equal shares of every class, or of all images where there are no more.

    Where the rest would lack a class, as few images more are left out as needed to have one of each.
    """
    if limit >= len(labels):
        return np.arange(len(labels))
    return balanced(labels, min(limit, len(labels) - len(set(labels.tolist()))), seed)[0]


# -- from a file to pixels ---------------------------------------------------------------------------------------------


class Unreadable(ValueError):
    """A file that is not a complete image."""


def read(path):
    """The image in a file, RGB. Raises Unreadable."""
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except Exception as error:  # a damaged file can fail anywhere in Pillow
        raise Unreadable(f"image {path} cannot be read ({error}); fix or remove it") from None


def decode(path, size):
    """One image as (size, size, 3) uint8: the shorter side resized, the centre kept. Raises Unreadable."""
    return fitted(read(path), size)


def fitted(image, size):
    """A PIL image as (size, size, 3) uint8: the shorter side resized, the centre kept."""
    if image.size != (size, size):
        scale = size / min(image.size)
        width, height = (max(size, round(s * scale)) for s in image.size)
        left, top = (width - size) // 2, (height - size) // 2
        image = image.resize((width, height), Image.Resampling.BILINEAR).crop((left, top, left + size, top + size))
    return np.asarray(image)


def decode_all(files, size):
    """All files as one array (n, size, size, 3) uint8, and the paths of those that cannot be read."""
    images = np.empty((len(files), size, size, 3), np.uint8)

    def store(i):
        images[i] = decode(files.path(i), size)
    return images, failed(files, store)


def unreadable(files):
    """Paths of all files that cannot be read, found by reading every one."""
    return failed(files, lambda i: read(files.path(i)))


def failed(files, work):
    """Paths of the files i for which work(i) raises Unreadable; in threads, as Pillow releases the GIL."""
    def attempt(i):
        try:
            work(i)
        except Unreadable:
            return files.path(i)
    with ThreadPoolExecutor() as pool:
        return [path for path in pool.map(attempt, range(len(files))) if path is not None]


def refusal(paths, total):
    """One line that counts and names the unreadable `paths` of `total` images; "" if there are none."""
    if not paths:
        return ""
    named = ", ".join(map(str, paths[:3])) + (", …" if len(paths) > 3 else "")
    return f"{len(paths):,} of {total:,} images cannot be read: {named}; fix or remove {'it' if len(paths) == 1 else 'them'}"
