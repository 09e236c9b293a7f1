"""Too many images for memory: decoded and augmented batch by batch in worker processes."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torchvision.transforms import v2

from .. import runtime
from .augment import AREA, BRIGHTNESS, RATIO, SATURATION
from .module import ImageData
from .pixels import Unreadable, fitted, read, refusal
from .workers import WorkerData, generators_kept, seed_generators


@dataclass(frozen=True, kw_only=True)
class StreamingData(WorkerData, ImageData):
    """Splits of folders.Files, read by `workers` processes (0: in this one).

    Without augmentation, the shorter side is resized to `resize` and the centre kept, as pixels.fitted does.
    """

    resize: int

    @property
    def side(self):
        """Pixels of the shorter side of an image before it is cropped."""
        return self.resize

    @property
    def shape(self):
        """(C, H, W) of one image."""
        return 3, self.crop, self.crop

    @property
    def digest(self):
        """Fingerprint of the files' names, labels, split and sizes; not of the pixels, which would take a full read."""
        parts = [part for s in (self.train, self.valid, self.test) for part in (s.paths.tobytes(), s.labels)]
        return runtime.digest(*parts, self.crop, self.resize)

    def reader(self, split, augment, key):
        return Reader(split, self.transform(augment), self.crop, key)

    def transform(self, augment):
        """From a PIL image to the pixels, or a PIL image, of crop × crop."""
        if not augment:
            return partial(centred, resize=self.resize, crop=self.crop)
        crop, flip = v2.RandomResizedCrop(self.crop, AREA, RATIO), v2.RandomHorizontalFlip()
        return v2.Compose([crop, *[flip] * self.flip, *[v2.ColorJitter(brightness=BRIGHTNESS, saturation=SATURATION)] * self.color_jitter])

    def received(self, batch):
        """(images, labels) on the device, from a Reader's output. Raises ValueError naming files that cannot be read."""
        pixels, labels, problem = batch
        if problem:
            raise ValueError(problem)
        pixels, labels = runtime.upload([pixels, labels], self.device)()
        return self.normalised(pixels), labels


def centred(image, resize, crop):
    """The central crop × crop pixels of a PIL image whose shorter side is resized: the pixels that an exported network is given."""
    edge = (resize - crop) // 2
    return fitted(image, resize)[edge:edge + crop, edge:edge + crop]


class Reader(torch.utils.data.Dataset):
    """Reads one batch: (indices, first position) -> pixels (B, H, W, 3) uint8, labels (B,), and what was wrong or "".

    Random numbers of an image depend only on `key` and its position, not on the worker or the other images.
    """

    def __init__(self, files, transform, crop, key):
        self.files, self.transform, self.crop, self.key = files, transform, crop, key

    def __getitem__(self, task):
        indices, first = task
        pixels, broken = torch.empty(len(indices), self.crop, self.crop, 3, dtype=torch.uint8), []
        with generators_kept():
            for k, path in enumerate(map(self.files.path, indices.tolist())):
                seed_generators(*self.key, 1, first + k)
                try:
                    pixels[k] = torch.from_numpy(np.array(self.transform(read(path))))
                except Unreadable as error:
                    broken.append(error)
        return pixels, self.files.labels[indices], refusal(broken, len(indices))
