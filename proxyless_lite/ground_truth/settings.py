"""What is trained exhaustively: a space, the images, the recipe, the seeds; and which of its networks are identical."""

import json
from collections import Counter
from dataclasses import asdict, dataclass, fields
from itertools import product

from .. import data, runtime
from ..architecture import Architecture, named_space
from ..config import TrainConfig, described


@dataclass(frozen=True)
class Setting:
    """Every network of a space is trained by `recipe` on data.load(**images), once per seed, in `precision`.

    `family` is the space as in an architecture file: its "name" and settings.
    """

    name: str
    family: dict
    images: dict
    recipe: TrainConfig
    seeds: int = 3
    precision: str = "float32"

    @property
    def space(self):
        return named_space(**self.family)

    @property
    def engine(self):
        """Where its networks are trained: on the CPU."""
        return runtime.engine("cpu", self.precision)

    def load(self):
        """The images, as searches in this setting use them; a network of the table is trained on train and valid together."""
        return data.load(**self.images)

    def networks(self):
        """Counter: code of a distinct network -> how many choices of operations give it."""
        space = self.space
        choices = product(*(edge.candidates for edge in space.edges()))
        return Counter(Architecture(space, space.canonical(each)).code for each in choices)

    def describe(self):
        """The setting as in JSON: what all rows of a table must have in common."""
        return json.loads(json.dumps(asdict(self) | {"recipe": described(self.recipe)}))

    @classmethod
    def of(cls, description):
        """The Setting that `describe` described, here or in an earlier version; what else is in the description is left out."""
        given = renewed(description)
        known = {field.name: given[field.name] for field in fields(cls) if field.name in given}
        return cls(**known | {"recipe": TrainConfig(**given["recipe"])})


def renewed(description):
    """The description of a Setting as `describe` gives it now: earlier versions knew chains in float32 only. What else is in it is kept."""
    if "chain" not in description:
        return description
    own = {"name": description["name"], "family": {"name": "chain", **description["chain"]},
           "images": {"name": description["name"], **description["images"]}}
    rest = {key: value for key, value in description.items() if key not in ("chain", *own)}
    return {**own, "precision": "float32", **rest}


class SettingRows(runtime.Rows):
    """A table of runs in a Setting, whose metadata are read as they would be written now."""

    @classmethod
    def read(cls, path):
        rows = super().read(path)
        with runtime.refusing(path, cls.what):
            rows.attrs["setting"] = renewed(rows.attrs["setting"])
        return rows


BY_NAME = {
    "cifar10": Setting(  # only conv 3x3 sees more than one pixel, and MB7 1x1 costs more: networks of equal cost differ much
        "cifar10", dict(name="chain", edges=4, width=16, input_size=8, candidates=("Zero", "MB2 1x1", "conv 3x3", "MB7 1x1")),
        images=dict(name="cifar10", limit=20_000, image_size=8),
        recipe=TrainConfig(epochs=5, batch_size=64, lr=0.1, cutout=0, drop_path=0.0)),
    "digits": Setting(  # ten minutes on two cores
        "digits", dict(name="chain", edges=4, width=8, input_size=8, candidates=("Zero", "DW 7x7", "conv 3x3", "MB3 3x3")),
        images=dict(name="digits"),
        recipe=TrainConfig(epochs=8, batch_size=64, lr=0.1, cutout=0, drop_path=0.0)),
    "cifar10_32": Setting(  # candidates that differ in kind, at full resolution, on all training images
        "cifar10_32", dict(name="staged", widths=[32, 64, 128], edges=[1, 2, 0], stride=2, entry="conv 3x3"), images=dict(name="cifar10"),
        recipe=TrainConfig(epochs=4, batch_size=64, lr=0.3, rise=0.25, weight_decay=5e-4, label_smoothing=0.1, cutout=0, drop_path=0.0,
                           decay_norms=False),
        seeds=2, precision="bfloat16"),
}
