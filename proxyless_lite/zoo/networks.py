"""The networks that the paper's authors found and released, and those they are compared with."""

import logging
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from torch import nn
from torchvision import models

from .. import ops, spaces
from ..architecture import Architecture
from ..runtime import load_weights
from . import weights as released

log = logging.getLogger(__name__)

# Widths: stem, first block, six stages, head. Blocks: expansion and kernel, "35" for MB3 5x5; "-" for Zero.
GPU = (40, 24, 32, 56, 112, 128, 256, 432, 1728), "35 - - - 37 - - 33 67 - - 35 65 - 33 35 67 67 67 65 67"
CPU = (40, 24, 32, 48, 88, 104, 216, 360, 1432), "63 33 33 33 63 33 33 35 63 - - 33 65 33 33 33 65 35 35 33 65"
MOBILE = (32, 16, 32, 40, 80, 96, 192, 320, 1280), "35 33 - - 37 33 35 35 67 35 35 35 65 35 35 35 67 67 37 37 67"
MOBILE_14 = (48, 24, 40, 56, 112, 136, 256, 448, 1792), MOBILE[1]  # the same blocks, wider

# One letter per edge, 12 per block, two lines per stage: depthwise 3, 5, 7, dilated; average, max, identity.
TREE_LETTERS = dict(zip("357dami", ops.TREE, strict=True))
CIFAR = """
    7mdi7m5d5577 aiaa3im7didd 7i3a5a3d3ad5 a55d3dd773i7 ai5dd57m7aim 7m7m35a7d3ii dmim777753ii dd5757m5aa37 7d5miimm3aad
    5i3i373i5757 7a7535diadd3 5da533a577d3 mm737d3ma57i 37md7d5di373 dam3ddai5i5i 5id5aad55573 7555d3idm737 mdii3i7m57id
    dm5aa75a73am 7di7i7dm37m5 mda3idmmm5ia da73a33a7idd dmma7i7ddiam 75m7mimiadm7 i5a5m5dd7adm 3iadddd3aaa3 d7m7immm555d
    3773aim737mm 7577a333ida3 5iaia5a73aam i3adi7ia7mid 7m5i7dm7dm77 37m3i353i35i d7d3d73i3dmi mii55a37aiad 7m75da737555
    aaaada7i5iia m7ia5iiiai7i d37mi5ai3ima 77a5a3mia3mm iia7i7ima5a7 di5im575d7id mmiaamdai53i 77577ad73m7a dadmd37didm5
    adam3mdi7dai mma7335daii3 5d7dimm735mi 773mdam5mm5m m5iad3537377 i3a577i7773a 5m53ai55am5i 3md3mai7md33 773m5i5mm337
"""

# Name -> function that makes the torchvision module for 1000 classes at 224 px, with fresh weights; the number is its width.
BASELINES = {
    **{f"mobilenet_v2_{width}": partial(models.mobilenet_v2, width_mult=width) for width in (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)},
    "mnasnet_1.0": models.mnasnet1_0,
    "resnet_34": models.resnet34,
    "shufflenet_v2_1.5": models.shufflenet_v2_x1_5,
}


@dataclass(frozen=True)
class Released(Architecture):
    """A network of the paper; `name` says which. Equal to any Architecture of the same choices."""

    name: str = field(compare=False)

    def build(self, weights: str | Path | None = None, head: bool = True) -> nn.Module:
        """The compact network, with fresh weights by default.

        `weights` may be "released", downloaded on first use, or the path of a file: a state dict of this network, in its own
        or in released names; loaded strictly. Without `head`, and with released weights for another number of classes, the last
        linear layer is fresh; that is logged. Raises ValueError for weights that are unknown, unreadable or do not fit;
        FileNotFoundError when the released ones cannot be downloaded.
        """
        model = super().build()
        if weights is None:
            return model
        path = released.fetch(self.name) if weights == "released" else weights
        if not Path(path).is_file():
            raise ValueError(f"unknown weights {str(weights)!r}; allowed: None, \"released\", or the path of a file")
        classes = self._space("build").settings["classes"]
        head = head and not (weights == "released" and classes != RELEASED[self.name]()._space("build").settings["classes"])
        load_weights(model, path, head, released.released_names(model))
        if not head:
            log.info(f"{self.name}: weights of {path} but for the last layer, which is new, for {classes} classes")
        return model

    def __eq__(self, other):
        return isinstance(other, Architecture) and (self.space, self.choices) == (other.space, other.choices)

    __hash__ = Architecture.__hash__


def network(name, widths, blocks, classes):
    """The network in the mobile space with these widths and blocks."""
    choices = ["Zero" if code == "-" else f"MB{code[0]} {code[1]}x{code[1]}" for code in blocks.split()]
    return Released(spaces.mobile(classes=classes, widths=widths), tuple(choices), name)


def proxyless_gpu(classes: int = 1000) -> Released:
    """Found for the V100: 75.1 % top-1."""
    return network("proxyless_gpu", *GPU, classes)


def proxyless_cpu(classes: int = 1000) -> Released:
    """Found for a Xeon: 75.3 % top-1."""
    return network("proxyless_cpu", *CPU, classes)


def proxyless_mobile(classes: int = 1000) -> Released:
    """Found for the Pixel 1: 74.6 % top-1 at 78 ms there."""
    return network("proxyless_mobile", *MOBILE, classes)


def proxyless_mobile_14(classes: int = 1000) -> Released:
    """The mobile network 1.4 times as wide: 76.7 % top-1 at 147 ms on the Pixel 1."""
    return network("proxyless_mobile_14", *MOBILE_14, classes)


def proxyless_cifar(classes: int = 10) -> Released:
    """Found on CIFAR-10, in the tree space: 97.92 % top-1 there."""
    return Released(spaces.tree(18, 400, classes), tuple(TREE_LETTERS[code] for code in "".join(CIFAR.split())), "proxyless_cifar")


# Name -> function that makes the Architecture.
RELEASED = {make.__name__: make for make in (proxyless_gpu, proxyless_cpu, proxyless_mobile, proxyless_mobile_14, proxyless_cifar)}


def baseline(name: str) -> nn.Module:
    """The torchvision network called `name`, with fresh weights. Raises ValueError for a name that is not in BASELINES."""
    if name not in BASELINES:
        raise ValueError(f"unknown baseline {name!r}; allowed: {', '.join(BASELINES)}")
    return BASELINES[name]()
