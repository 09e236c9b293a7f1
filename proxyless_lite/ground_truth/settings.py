"""What is trained exhaustively: a space, the images, the recipe, the seeds. And which of its networks are the same one."""

import json
from collections import Counter
from dataclasses import asdict, dataclass
from itertools import product

from .. import data, presets, spaces
from ..architecture import Architecture


@dataclass(frozen=True)
class Setting:
    """Every network of spaces.chain(**chain) is trained by `recipe` on data.load(name, **images), once a seed."""

    name: str
    chain: dict
    images: dict
    recipe: presets.TrainConfig
    seeds: int = 3

    @property
    def space(self):
        return spaces.chain(**self.chain)

    def load(self):
        """The images, as searches in this setting use them; a network of the table is trained on train and valid together."""
        return data.load(self.name, **self.images)

    def networks(self):
        """Counter: code of a distinct network -> how many choices of operations give it."""
        edges = self.space.edges()
        return Counter(code(self.space, canonical(choices)) for choices in product(*(edge.candidates for edge in edges)))

    def describe(self):
        """The setting as JSON has it: what all rows of a table must have in common."""
        return json.loads(json.dumps(asdict(self)))


BY_NAME = {
    "cifar10": Setting(  # only conv 3x3 sees more than one pixel, and MB7 1x1 is dearer: networks of one cost differ much
        "cifar10", chain=dict(edges=4, width=16, input_size=8, candidates=("Zero", "MB2 1x1", "conv 3x3", "MB7 1x1")),
        images=dict(limit=20_000, image_size=8),
        recipe=presets.TrainConfig(epochs=5, batch_size=64, lr=0.1, cutout=0, drop_path=0.0)),
    "digits": Setting(  # ten minutes on two cores
        "digits", chain=dict(edges=4, width=8, input_size=8, candidates=("Zero", "DW 7x7", "conv 3x3", "MB3 3x3")), images={},
        recipe=presets.TrainConfig(epochs=8, batch_size=64, lr=0.1, cutout=0, drop_path=0.0)),
}


def canonical(choices):
    """The choices of the same network with its Zeros last.

    All blocks of a chain have one shape, so where Zero leaves a block out, x + 0 = x, the blocks behind it move up: the same
    function of the same weights.
    """
    return tuple(sorted(choices, key=lambda name: name == "Zero"))  # stable: the others keep their order


def code(space, choices):
    """Choices as digits: the index of the candidate on each edge."""
    return "".join(str(edge.candidates.index(name)) for edge, name in zip(space.edges(), choices, strict=True))


def network(space, code):
    """The Architecture of a code."""
    return Architecture(space, tuple(edge.candidates[int(i)] for edge, i in zip(space.edges(), code, strict=True)))
