"""Folders of images: which files there are, of which classes, drawn evenly."""

import logging
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torchvision import datasets

from . import pixels

log = logging.getLogger(__name__)


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
            return min(pixels.read(self.path(0)).size)
        except pixels.Unreadable as error:
            raise ValueError(pixels.refusal(pixels.failures(self) or [error], len(self))) from None


HELD = {"valid": ("val", "valid", "validation"), "test": ("test",)}  # what the folders may be called
PARTS = {"train", "training", "test", "testing", "val", "valid", "validation"}  # classes are not called so


def find(root, split=None):
    """(training Files, Files for α or None, test Files, names of the classes) of a folder of images.

    It holds train/ and test/, each with a folder per class; then val/ beside them is for α. With train/ and val/ only, val/ is the
    test set. With the classes alone, or with train/ alone, `split` (default 0.2) of the images of each class, drawn evenly and
    always the same, are the test set; that is logged. What begins with a dot is no class and no image.

    Raises ValueError in one line for a folder without these, a class without images, only one class, classes that differ between
    the parts, and a `split` where there is a test set.
    """
    root = Path(root).absolute()  # "." has no name
    valid, test = (next((name for name in names if (root / name).is_dir()), None) for names in HELD.values())
    valid, test = (None, valid) if test is None else (valid, test)
    whole = "train" if (root / "train").is_dir() else "."
    if test is not None and whole == ".":
        raise ValueError(f"{root} has {test}/ but no train/: it must hold train/ and test/ (or val/), or the classes alone")
    read_too = [root / part for part in (whole, valid, test) if part is not None]  # which a disk may call Train/ as well
    if wrong := [entry.name for entry in root.iterdir() if entry.is_dir() and entry.name.lower() in PARTS
                 and not any(entry.samefile(part) for part in read_too)]:
        raise ValueError(f"{root} has {wrong[0]}/, which is not one of the parts that are read; call them train, val and test")
    if test is not None and split is not None:
        raise ValueError(f"split={split}: {root} has a test set already, {test}/; leave out split")
    everything, held, tested, classes = read(root, whole, valid, test)
    if tested is not None:
        return everything, held, tested, classes
    share, sizes = 0.2 if split is None else split, np.bincount(everything.labels, minlength=len(classes))
    if (few := sizes.min()) < 3:
        raise ValueError(f"{root}: class {classes[sizes.argmin()]} has {few} image{'s' if few > 1 else ''}; without test/ each needs three, to learn the weights, "
                         f"to learn α and to test: add some or remove the class")
    kept, rest = balanced(everything.labels, all_but(len(everything), share, classes), 0, classes)
    log.info(f"{root} has no test/: {len(rest):,} of its {len(everything):,} images, of every class alike, are the test set")
    return everything[kept], None, everything[rest], classes


def read(root, *parts):
    """Files of each of the `parts`, names of folders in `root` or None, and the classes, the same in all. Raises as `find`."""
    images = [part and ImageFolder(root / part) for part in parts]
    classes = images[0].classes
    if len(classes) < 2:
        raise ValueError(f"{images[0].root} has one class ({classes[0]}); a classifier needs at least two")
    for name, part in zip(parts[1:], images[1:]):
        if part is not None and part.classes != classes:
            differing = sorted({*classes} ^ {*part.classes})
            raise ValueError(f"{root}: classes differ between {parts[0]}/ and {name}/: {', '.join(differing[:5])}")
    return *(part and files_of(part) for part in images), classes


class ImageFolder(datasets.ImageFolder):
    """torchvision's, with all files that can be read; those left out are counted by their endings, and logged."""

    def __init__(self, folder):
        self.left_out, self.circles = Counter(), {Path(folder): False}
        try:
            super().__init__(str(folder), is_valid_file=self.is_image)
        except FileNotFoundError as error:
            raise ValueError(f"{folder} holds no images, or a class without any: {str(error).splitlines()[0].rstrip('. ')}"
                             f"{'; these files are no images: ' * bool(self.left_out)}{self.told()}") from None
        if self.left_out:
            log.info(f"{folder}: files that are no images of a class were left out: {self.told()}")

    def find_classes(self, directory):
        entries = [entry for entry in os.scandir(directory) if not entry.name.startswith(".")]
        classes = sorted(entry.name for entry in entries if entry.is_dir())
        if loose := sum(entry.is_file() and Path(entry).suffix.lower() in pixels.ENDINGS for entry in entries):
            self.left_out["beside the folders of the classes"] += loose
        if not classes:
            raise FileNotFoundError("it must hold train/ and test/ (or val/), or one folder per class")
        return classes, {name: i for i, name in enumerate(classes)}

    def is_image(self, path):
        inside = Path(path).relative_to(self.root)
        if any(part.startswith(".") for part in inside.parts):
            return False
        if self.is_circle(Path(path).parent):
            self.left_out["in a link to a folder around it"] += 1
            return False
        if inside.suffix.lower() in pixels.ENDINGS:
            return True
        self.left_out[inside.suffix.lower() or inside.name] += 1
        return False

    def is_circle(self, folder):
        """Whether a link has led from a folder back to one around it: its images would be read again, under other names or classes."""
        if folder not in self.circles:
            self.circles[folder] = self.is_circle(folder.parent) or any(folder.samefile(around) for around in folder.parents if around in self.circles)
        return self.circles[folder]

    def told(self):
        """The files that were left out, by ending: "30 .heic, 1 .txt"."""
        return ", ".join(f"{count:,} {ending}" for ending, count in self.left_out.most_common(5))


def files_of(images):
    """The Files of one ImageFolder; their paths begin with its name."""
    folder = Path(images.root)
    start = len(str(folder)) - len(folder.name)
    paths = np.array([os.fsencode(path[start:]) for path, _ in images.samples])
    return Files(folder.parent, paths, torch.tensor(images.targets))


def balanced(labels, count, seed, names=None):
    """Indices of `count` images with equal shares of every class, and those of the rest, each in order.

    The rest has an image of every class at least; where that takes more images, `count` is less. Raises ValueError for a `count`
    below the number of classes, and naming a class of which there is one image only (`names`: of the classes).
    """
    kinds, sizes = np.unique(labels, return_counts=True)
    if not len(kinds) <= count <= len(labels):
        raise ValueError(f"{count} images asked for, of {len(labels)} in {len(kinds)} classes; allowed: {len(kinds)} to {len(labels)}")
    if (rare := kinds[sizes < 2]).size:
        raise ValueError(f"class {names[rare[0]] if names else rare[0]} has one image; a split needs two, one for each part: add one or remove the class")
    from sklearn.model_selection import train_test_split  # here, since importing scikit-learn takes seconds
    kept, rest = train_test_split(np.arange(len(labels)), train_size=min(count, len(labels) - len(kinds)), stratify=labels.numpy(), random_state=seed)
    labels = labels.numpy()
    for part, other in ((rest, kept), (kept, rest)):
        for kind in np.setdiff1d(kinds, labels[part]):  # rounding gave it none: exchange one
            commonest = np.bincount(labels[part]).argmax()
            give, take = np.flatnonzero(labels[part] == commonest)[-1], np.flatnonzero(labels[other] == kind)[-1]
            part[give], other[take] = other[take], part[give]
    return np.sort(kept), np.sort(rest)


def at_most(labels, limit, seed, names=None):
    """Indices of `limit` images with equal shares of every class, or of all images where there are no more; see `balanced`."""
    return np.arange(len(labels)) if limit >= len(labels) else balanced(labels, limit, seed, names)[0]


def all_but(n, share, classes):
    """How many of n images are left without a `share` of them, for `balanced`: at least one a class."""
    return max(len(classes), n - round(n * share))
