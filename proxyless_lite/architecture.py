"""A found network as data: the operation on each edge of a space."""

import json
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from . import released, spaces
from .runtime import write_atomically


@dataclass(frozen=True)
class Architecture:
    """One network of a space: `choices[e]` is the name of the operation on edge e, in network order.

    `space` is None for an architecture derived from a module of your own; it can be printed and saved, not built.
    `name` says which of the zoo it is; files do not keep it.
    """

    space: spaces.Space | None
    choices: tuple
    name: str | None = field(default=None, compare=False)

    def build(self, weights=None):
        """The compact network, with fresh weights by default.

        `weights` may be "released" for a network of the zoo, downloaded on first use, or the path of a file: a state dict of
        this network, or one in released names; strictly. Raises ValueError for choices that do not fit the space and for
        weights that are unknown, unreadable or do not fit; FileNotFoundError when the released ones cannot be downloaded.
        """
        model = self._space("build").compact(self.choices)
        if weights == "released":
            released.load(model, released.fetch(self.name))
        elif weights is not None:
            if not Path(weights).is_file():
                raise ValueError(f"unknown weights {str(weights)!r}; allowed: None, \"released\", or the path of a file")
            released.load(model, weights)
        return model

    def params(self):
        """Number of weights of the compact network, batch norm included."""
        return sum(p.numel() for p in self._on_meta().parameters())

    def macs(self, input_size=None):
        """Multiply-adds of convolutions and linear layers for one image of input_size × input_size (the space's by default)."""
        size = input_size or self._space("count").input_size
        return count_macs(self._on_meta(), torch.empty(1, 3, size, size, device="meta"))

    @property
    def signature(self):
        """Space and operations in one line, which tells one network's runs from another's."""
        return f"{self.space}: {', '.join(self.choices)}"

    def save(self, path):
        """Write JSON. The file is complete or absent, never half written."""
        space = self.space and {"name": self.space.name, **self.space.settings}
        write_atomically(path, json.dumps({"space": space, "choices": self.choices}, indent=1).encode())

    @classmethod
    def load(cls, path):
        """Read what `save` wrote. Raises ValueError naming the file and what is wrong in it."""
        try:
            content = json.loads(Path(path).read_text())
            space, choices = content["space"], content["choices"]
            if not isinstance(choices, list) or not all(isinstance(c, str) for c in choices):
                raise ValueError("choices must be a list of names")
        except (ValueError, KeyError, TypeError, IsADirectoryError) as error:
            raise ValueError(f"{path} is no architecture file: expected JSON with \"space\" and \"choices\" ({error!r})") from None
        try:
            found = cls(None if space is None else named_space(**space), tuple(choices))
            if space is not None:
                found.space.check(choices)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}: {error}") from None
        return found

    @classmethod
    def from_released(cls, config):
        """Read a network configuration (a dict) as the paper's authors released it. Raises ValueError for another kind."""
        readers = {"ProxylessNASNets": (spaces.mobile, spaces.read_released_mobile),
                   "PyramidTreeNet": (spaces.tree, spaces.read_released_tree)}
        if config.get("name") not in readers:
            raise ValueError(f"released configuration {config.get('name')!r} is not known; allowed: {', '.join(readers)}")
        space, read = readers[config["name"]]
        settings, choices = read(config)
        return cls(space(**settings), choices)

    def __str__(self):
        if self.space is None:
            return "\n".join(f"edge {i}  {choice}" for i, choice in enumerate(self.choices))
        remaining = iter(self.choices)
        return "\n".join(f"{', '.join(next(remaining) for _ in range(edges))}  {shape}" for shape, edges in self.space.rows)

    def _space(self, verb):
        if self.space is None:
            raise ValueError(f"cannot {verb}: this architecture comes from a module of your own, not from a space; "
                             f"SuperNet.prune() gives that module with one path an edge")
        return self.space

    def _on_meta(self):
        with torch.device("meta"):
            return self.build().eval()


def named_space(name, **settings):
    """The space that a file names. Raises ValueError for an unknown name, TypeError for unknown settings."""
    if name not in spaces.BY_NAME:
        raise ValueError(f"unknown space {name!r}; allowed: {', '.join(spaces.BY_NAME)}")
    return spaces.BY_NAME[name](**settings)


def count_macs(module, x):
    """Multiply-adds of convolutions and linear layers in module(x); one multiply-add is two of PyTorch's FLOPs."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(x)
    return counter.get_total_flops() // 2


@lru_cache(maxsize=None)
def candidate_macs(edge, name):
    """Multiply-adds of candidate `name` on `edge`, for one image."""
    return count_macs(candidate_on_meta(edge, name), torch.empty(1, edge.in_channels, edge.input_size, edge.input_size, device="meta"))


@lru_cache(maxsize=None)
def candidate_params(edge, name):
    """Number of weights of candidate `name` on `edge`."""
    return sum(p.numel() for p in candidate_on_meta(edge, name).parameters())


def candidate_on_meta(edge, name):
    with torch.device("meta"):
        return edge.operation(name).eval()
