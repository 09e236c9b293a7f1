"""What is trained exhaustively: a space, the images, the recipe, the seeds; and which of its networks are identical."""

import json
from collections import Counter
from dataclasses import asdict, dataclass
from itertools import product

from .. import data, spaces
from ..architecture import Architecture
from ..config import TrainConfig


@dataclass(frozen=True)
class Setting:
    """Every network of spaces.chain(**chain) is trained by `recipe` on data.load(name, **images), once per seed."""

    name: str
    chain: dict
    images: dict
    recipe: TrainConfig
    seeds: int = 3

    @property
    def space(self):
        return spaces.chain(**self.chain)

    def load(self):
        """The images, as searches in this setting use them; a network of the table is trained on train and valid together."""
        return data.load(self.name, **self.images)

    def networks(self):
        """Counter: code of a distinct network -> how many choices of operations give it."""
        space = self.space
        choices = product(*(edge.candidates for edge in space.edges()))
        return Counter(Architecture(space, canonical(each)).code for each in choices)

    def describe(self):
        """The setting as in JSON: what all rows of a table must have in common."""
        return json.loads(json.dumps(asdict(self)))


BY_NAME = {
    "cifar10": Setting(  # only conv 3x3 sees more than one pixel, and MB7 1x1 costs more: networks of equal cost differ much
        "cifar10", chain=dict(edges=4, width=16, input_size=8, candidates=("Zero", "MB2 1x1", "conv 3x3", "MB7 1x1")),
        images=dict(limit=20_000, image_size=8),
        recipe=TrainConfig(epochs=5, batch_size=64, lr=0.1, cutout=0, drop_path=0.0)),
    "digits": Setting(  # ten minutes on two cores
        "digits", chain=dict(edges=4, width=8, input_size=8, candidates=("Zero", "DW 7x7", "conv 3x3", "MB3 3x3")), images={},
        recipe=TrainConfig(epochs=8, batch_size=64, lr=0.1, cutout=0, drop_path=0.0)),
}


def canonical(choices):
    """The choices of the same network with its Zeros last.

    All blocks of a chain have one shape. Where Zero leaves a block out, x + 0 = x, the next blocks move up: the same function of
    the same weights.
    """
    return tuple(sorted(choices, key=lambda name: name == "Zero"))  # stable: the others keep their order
