"""Data sets: digits, CIFAR-10, ImageNet or any folder of images; as tensors on the device, packed on a fast disk, or streamed."""

import os
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision import datasets

from .. import runtime
from . import folders, packed
from .folders import Files, all_but, at_most, balanced
from .in_memory import InMemoryData, Split, decoded, statistics
from .module import DataModule
from .packed import Packed
from .streaming import StreamingData

CIFAR10 = dict(mean=(125.3, 123.0, 113.9), std=(63.0, 62.1, 66.7))         # of 255
PARTS = "train", "valid", "test"
NAMED = "digits", "cifar10", "imagenet"
ARCHIVES = "ILSVRC2012_devkit_t12.tar.gz", "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"
IMAGENET = dict(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))


def load(name: str | Path, root: str | Path | None = None, valid: float | None = None, limit: int | None = None, image_size: int | None = None,
         seed: int = 0, download: bool = True, crop: int | None = None, color_jitter: bool = False, workers: int | None = None,
         pack: str | Path | None = None, padding: float | None = None, split: float | None = None,
         flip: bool | None = None) -> DataModule:
    """The data set called `name`: "digits", "cifar10", "imagenet", or the path of a folder of images.

    An image folder holds train/ and test/, each with one folder per class, and perhaps val/, which then trains α; without test/,
    val/ is tested on. Without any of these it holds the classes, and `split` of the images (default 0.2) are the test set, an equal
    share of every class, always the same. pixels.read says how files become pixels. `root` is where named data sets are
    ($PROXYLESS_DATA, else ./data); "cifar10" is taken from root/cifar10/{train,test}/<class>/ if that exists, else from
    torchvision's files, downloaded when they are missing; "imagenet" from root/imagenet, see `imagenet`. `valid` is the
    fraction of the training images that train α, drawn per class with `seed` (default 0.1, but for ImageNet at most
    50,000 images; digits 0.25); every class has one there at least. `limit` keeps at most that many training images, an equal
    share of every class.

    Of an image the shorter side is resized to `image_size` pixels (default: that of the first) and the central square kept; only the
    digits always stay 8×8. Half of the training images are mirrored: with flip=False none, where left and right differ, as in letters;
    of the digits none by default. With `crop` the network gets random-resized crops of that size, or the centre without augmentation; `image_size` is
    then by default crop / 0.875. `color_jitter` also changes brightness and saturation at random. Without `crop` training images
    are shifted by up to `padding` pixels, below 1 a share of the side: by default 1/8, 4 of 32; half of that is better for a few epochs.

    All images are decoded once and kept as tensors, unless `workers` is given. Then that many processes (0: this one) read
    them batch by batch, always cropped (without `crop`: to `image_size`, from images resized to image_size / 0.875). ImageNet
    is streamed by default, to `image_size` or 224 pixels by up to 8 workers; give its folder's path to keep it in memory.

    `pack` names a folder on a fast disk, for images that do not fit into memory and take too long to decode every epoch. All
    are decoded into it once; the next call finds or resumes it. Batches are the same as from memory. One pack serves every
    `limit`, `valid`, `seed` and `color_jitter`, and any `crop` with the same `image_size` (default: as above). It takes
    3 · image_size² bytes per image. "imagenet" is cropped as when it is streamed.

    Raises ValueError in one line for an unknown name, a setting out of range or without meaning, a folder without images or with
    only one class, and a class of one image where it must be split. Also for images that cannot be read: streamed ones when
    their batch is read; data.unreadable(data.train) finds all. FileNotFoundError when CIFAR-10 or ImageNet is missing. With `pack`
    also ValueError if it holds other images, if the data set is already in memory or `workers` is given; OSError if the disk has
    too little room.
    """
    given = dict(valid=valid, limit=limit, image_size=image_size, crop=crop, workers=workers, padding=padding, split=split, flip=flip,
                 pack=None if pack is None else str(Path(pack).resolve()))
    known = str(name) if isinstance(name, str) and name in NAMED else ""  # a Path is a folder, whatever it is called
    loaded = {"name": known or str(Path(name).resolve()), "root": root and str(Path(root).resolve()), "seed": seed,
              "color_jitter": color_jitter, **{setting: value for setting, value in given.items() if value is not None}}
    root = Path(root) if root else runtime.default_root()
    for setting, share in (("valid", valid), ("split", split)):
        if share is not None and not 0 < share < 1:
            raise ValueError(f"{setting}={share!r} must be a share of the images between 0 and 1")
    held = None
    if split is not None and known:
        raise ValueError(f"split={split!r} is for a folder of images without a test set; leave it out for {name}")
    if name == "digits":
        train, test, classes = digits()
    elif name == "cifar10":
        train, held, test, classes = cifar10(root, download)
    elif name == "imagenet":
        train, _, test, classes = imagenet(root)
        crop = crop or (None if image_size else 224)
        workers = min(8, os.cpu_count() or 1) if workers is None and pack is None else workers
    elif Path(name).is_dir():
        train, held, test, classes = folders.find(Path(name), split)
    else:
        raise ValueError(f"unknown data set {name!r}; allowed: digits, cifar10, imagenet, or the path of a folder with "
                         f"train/ and test/, or with the classes alone")
    if held is not None and valid is not None:
        raise ValueError(f"valid={valid!r}: {name} has images for that, its val/; leave out valid")
    fraction = valid or {"digits": 0.25, "imagenet": min(0.1, 50_000 / min(limit or len(train), len(train)))}.get(known, 0.1)
    try:
        weights, alpha = drawn(train.labels, held, limit, fraction, seed, classes)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    train = train if held is None else train + held
    if padding is not None and (padding < 0 or crop or workers is not None):
        raise ValueError(f"padding={padding!r}: must not be negative, and is for images that are not cropped; leave out crop and workers")
    kept = np.sort(np.concatenate([weights, alpha]))
    crop, side = sizes(name, train[kept] if pack is None else train, crop, image_size, workers, pack)
    if pack is not None:
        (train, test), source = packed.pack(pack, (train, test), side)
    parts = [train[weights], train[alpha], test]
    style: dict = dict(name=Path(name).name or Path(name).absolute().name, classes=tuple(classes), crop=crop, color_jitter=color_jitter, loaded=loaded,
                       flip=Path(name).name != "digits" if flip is None else flip)  # a mirrored 2 is no digit
    if workers is not None:
        scale: dict = CIFAR10 if name == "cifar10" else IMAGENET
        return StreamingData(**style, **dict(zip(PARTS, parts)), **scale, resize=side, workers=workers)
    if pack is None:
        parts = decoded(parts, side) if isinstance(train, Files) else [part.resized(side) for part in parts]
    scale = {"cifar10": CIFAR10, "imagenet": IMAGENET}.get(known) or statistics(parts[0])
    padding = 1 / 8 if padding is None else padding
    style |= dict(padding=int(padding if padding >= 1 else padding * side))
    kind = InMemoryData if pack is None else partial(Packed, source=source)
    return kind(**style, **dict(zip(PARTS, parts)), **scale)


def drawn(labels, held, limit, fraction, seed, classes):
    """Indices of the images for weights and of those for α: of the training images, or of these followed by those `held` for α."""
    kept = np.arange(len(labels)) if limit is None else at_most(labels, limit, seed, classes)
    if held is None:
        weights, alpha = balanced(labels[kept], all_but(len(kept), fraction, classes), seed, classes)
        return kept[weights], kept[alpha]
    enough = max(len(classes), round(len(held) * len(kept) / len(labels)))
    return kept, len(labels) + at_most(held.labels, enough, seed, classes)


def sizes(name, train, crop, image_size, workers, pack):
    """(crop or None, side to which images are resized), from the arguments of `load`. Raises ValueError."""
    for setting, value, least in (("image_size", image_size, 1), ("crop", crop, 1), ("workers", workers, 0)):
        if value is not None and value < least:
            raise ValueError(f"{setting}={value!r} must be at least {least}")
    for setting, value in (("workers", workers), ("pack", pack)):
        if value is not None and not isinstance(train, Files):
            raise ValueError(f"{name} is not a folder of images and is already in memory; leave out {setting}={value}")
    if None not in (workers, pack):
        raise ValueError(f"packed images need no workers; leave out workers={workers} or pack={pack}")
    if name == "digits":
        side = train.shorter_side()
    elif crop is None and (workers is not None or name == "imagenet"):
        crop = image_size or train.shorter_side()
        side = round(crop / 0.875)
    else:
        side = image_size or (round(crop / 0.875) if crop else train.shorter_side())
    if crop and crop > side:
        raise ValueError(f"crop={crop} is larger than the images of {name}, {side}×{side}; give a smaller crop or a larger "
                         f"image_size")
    return crop, side


def digits():
    """scikit-learn's 1,797 handwritten digits, 8×8, grey repeated to three channels; a fixed fifth of them is the test set."""
    from sklearn.datasets import load_digits  # here, since importing scikit-learn takes seconds
    raw = load_digits()
    grey = torch.from_numpy(raw.images * (255 / 16)).round().to(torch.uint8)
    everything = Split(grey[..., None].repeat(1, 1, 1, 3), torch.from_numpy(raw.target).long())
    train, test = balanced(everything.labels, 1437, seed=0)
    return everything[train], everything[test], [str(d) for d in range(10)]


def digits_as_images(folder):
    """Write the digits as a folder of images, folder/{train,test}/<digit>/<number>.png. Returns the folder."""
    train, test, _ = digits()
    for part, split in (("train", train), ("test", test)):
        for i, (pixels, label) in enumerate(zip(split.images.numpy(), split.labels.tolist())):
            path = Path(folder) / part / str(label) / f"{i:04d}.png"
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                partial = path.with_suffix(".partial")  # loaders ignore this suffix, so a kill here leaves no truncated image
                Image.fromarray(pixels).save(partial, "png")
                os.replace(partial, path)
    return Path(folder)


def cifar10(root, download=True):
    """CIFAR-10, as folders.find: the image folder root/cifar10 if it exists, else torchvision's files below root."""
    if (root / "cifar10").is_dir():
        return folders.find(root / "cifar10")
    try:
        sets = torchvisions(root, download)
    except (OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise FileNotFoundError(f"CIFAR-10 is not in {root.resolve()} and could not be downloaded ({reason}); put it there, "
                                f"or set PROXYLESS_DATA to the folder that holds cifar10/ or cifar-10-batches-py/") from None
    train, test = (Split(torch.from_numpy(s.data), torch.tensor(s.targets)) for s in sets)
    return train, None, test, sets[0].classes


def torchvisions(root, download):
    """torchvision's CIFAR10, training and test. Raises RuntimeError or OSError where it is missing and cannot be downloaded."""
    make = partial(datasets.CIFAR10, str(root))
    try:
        return make(train=True), make(train=False)
    except RuntimeError:
        if not download:
            raise
    root.mkdir(parents=True, exist_ok=True)
    with runtime.lock(root, wait=True):  # of ranks that start together, the first downloads it
        return make(train=True, download=True), make(train=False)


def imagenet(root):
    """ImageNet, as folders.find: root/imagenet with train/ and val/, where official archives are unpacked to that.

    val/ is the test set, whatever else is there: the official test/ has no labels. Classes are WordNet ids. Raises FileNotFoundError naming what to put where, ValueError after an interrupted unpacking.
    """
    folder = root / "imagenet"
    if not all((folder / part).is_dir() for part in ("train", "val")) or loose(folder):
        with runtime.lock(folder, wait=True) if folder.is_dir() else nullcontext():  # of ranks that start together, one unpacks
            unpack(folder)
    return folders.read(folder.absolute(), "train", None, "val")


def loose(folder):
    """Files next to the class folders of train/ and val/, there only while ImageNet is being unpacked."""
    return [path for part in ("train", "val") for pattern in ("*.tar", "*.JPEG") for path in (folder / part).glob(pattern)]


def unpack(folder):
    """Unpack ImageNet's archives in `folder`, where train/ and val/ are missing. Raises as `imagenet`."""
    if not all((folder / part).is_dir() for part in ("train", "val")):
        try:
            for part in ("train", "val"):
                datasets.ImageNet(str(folder), part)
        except (OSError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise FileNotFoundError(f"ImageNet is not in {folder.resolve()}: put train/ and val/ there, with one folder per class, "
                                    f"or its archives {', '.join(ARCHIVES)} ({reason})") from None
    if found := loose(folder):
        raise ValueError(f"{found[0]} is next to the class folders: unpacking was interrupted; move {found[0].parent} away, "
                         f"and load again to unpack it again")
