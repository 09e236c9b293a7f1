"""A found network as data: the operation on each edge of a space."""

import json
import string
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from . import spaces
from .activations import peak_memory
from .runtime import load_weights, to_json, write_atomically

DIGITS = string.digits + string.ascii_letters  # of a code: each is the index of a candidate


@dataclass(frozen=True)
class Architecture:
    """One network of a space: `choices[e]` is the name of the operation on edge e, in network order.

    `space` is None for an architecture derived from a module of your own; it can be printed and saved, not built.
    """

    space: spaces.Space | None
    choices: tuple[str, ...]

    def build(self, weights: str | Path | None = None, head: bool = True) -> nn.Module:
        """The compact network, with fresh weights by default; `weights` is the path of a file with its state dict, loaded strictly.

        Without `head` the last linear layer is fresh in any case: so a network learns other classes than the file's. Raises
        ValueError for choices that do not fit the space, and for weights that are missing, unreadable or do not fit.
        """
        model = self._space("build").compact(self.choices)
        if weights is not None:
            if not Path(weights).is_file():
                raise ValueError(f"unknown weights {str(weights)!r}; allowed: None or the path of a file, "
                                 f"for networks of the zoo also \"released\"")
            load_weights(model, weights, head)
        return model

    def params(self) -> int:
        """Number of weights of the compact network, batch norm included."""
        return sum(p.numel() for p in self._on_meta().parameters())

    def macs(self, input_size: int | None = None) -> int:
        """Multiply-adds of convolutions and linear layers for one image of input_size × input_size (the space's by default)."""
        size = input_size or self._space("count").input_size
        return count_macs(self._on_meta(), torch.empty(1, 3, size, size, device="meta"))

    def peak_memory(self, batch: int = 1, input_size: int | None = None) -> int:
        """Bytes that the compact network keeps alive at once on a batch of images, weights left out (see activations.peak_memory)."""
        size = input_size or self._space("count").input_size
        return peak_memory(self._on_meta(), torch.empty(batch, 3, size, size, device="meta"))

    @property
    def signature(self):
        """Space and operations in one line: what identifies the network in a run folder."""
        return f"{self.space}: {', '.join(self.choices)}"

    @property
    def code(self) -> str:
        """The network as a short string: one character per edge, from DIGITS, the index of its operation among the candidates.

        Raises ValueError for choices that do not fit the space, and for an edge of more candidates than there are characters.
        """
        space = self._space("encode")
        space.check(self.choices)
        indices = [edge.candidates.index(name) for edge, name in zip(space.edges(), self.choices)]
        if any(i >= len(DIGITS) for i in indices):
            raise ValueError(f"cannot encode: {space} has an edge with more than {len(DIGITS)} candidates; use signature, or save")
        return "".join(DIGITS[i] for i in indices)

    @classmethod
    def from_code(cls, space: spaces.Space, code: str) -> "Architecture":
        """The network of a space with this `code`. Raises ValueError for an invalid code."""
        edges, code = space.edges(), str(code)
        if len(code) != len(edges):
            raise ValueError(f"code {code!r} has {len(code)} characters, but {space} has {len(edges)} edges; give one for each")
        for edge, character in zip(edges, code):
            if character not in (allowed := DIGITS[:len(edge.candidates)]):
                raise ValueError(f"code {code!r} is not one of {space}: edge {edge.name!r} has no candidate {character!r}; "
                                 f"allowed: {allowed}")
        return cls(space, tuple(edge.candidates[DIGITS.index(character)] for edge, character in zip(edges, code)))

    def save(self, path: str | Path):
        """Write JSON. The file is complete or absent, never half written."""
        write_atomically(path, self.to_json())

    def to_json(self) -> bytes:
        """What `save` writes."""
        space = self.space and {"name": self.space.name, **self.space.settings}
        return to_json({"space": space, "choices": self.choices}, indent=1)

    @classmethod
    def load(cls, path: str | Path) -> "Architecture":
        """Read what `save` wrote. Raises ValueError naming the file and what is wrong in it."""
        try:
            content = json.loads(Path(path).read_bytes())
            space, choices = content["space"], content["choices"]
            if not isinstance(choices, list) or not all(isinstance(c, str) for c in choices):
                raise ValueError("choices must be a list of names")
        except (ValueError, KeyError, TypeError, RecursionError, IsADirectoryError) as error:
            raise ValueError(f"{path} is not an architecture file: expected JSON with \"space\" and \"choices\" ({error!r})") from None
        try:
            named = None if space is None else named_space(**space)
            if named is not None:
                named.check(choices)
        except (ValueError, TypeError, OverflowError) as error:
            raise ValueError(f"{path}: {error}") from None
        return cls(named, tuple(choices))

    @classmethod
    def from_released(cls, config: dict) -> "Architecture":
        """Read a network configuration (a dict) as the paper's authors released it. Raises ValueError for another kind."""
        readers: dict = {"ProxylessNASNets": (spaces.mobile, spaces.read_released_mobile),
                   "PyramidTreeNet": (spaces.tree, spaces.read_released_tree)}
        if config.get("name") not in readers:
            raise ValueError(f"released configuration {config.get('name')!r} is not known; allowed: {', '.join(readers)}")
        space, read = readers[config["name"]]
        try:
            settings, choices = read(config)
            made = space(**settings)
            made.check(choices)
        except (AttributeError, IndexError, KeyError, TypeError) as error:
            raise ValueError(f"released configuration {config['name']!r} lacks a part, or holds another kind there ({error!r})") from None
        return cls(made, choices)

    def __str__(self):
        if self.space is None or len(self.choices) != len(self.space.edges()):
            return "\n".join(f"edge {i}  {choice}" for i, choice in enumerate(self.choices))
        remaining = iter(self.choices)
        return "\n".join(f"{', '.join(next(remaining) for _ in range(edges))}  {shape}" for shape, edges in self.space.rows)

    def _space(self, verb):
        if self.space is None:
            raise ValueError(f"cannot {verb}: this architecture comes from a module of your own, not from a space; "
                             f"SuperNet.prune() gives that module with one path per edge")
        return self.space

    def _on_meta(self):
        with torch.device("meta"):
            return self.build().eval()


def named_space(name, **settings):
    """The space that a file names. Raises ValueError for an unknown name, TypeError for unknown settings."""
    if name not in spaces.BY_NAME:
        raise ValueError(f"unknown space {name!r}; allowed: {', '.join(spaces.BY_NAME)}")
    return spaces.BY_NAME[name](**settings)


def count_macs(module: nn.Module, x: torch.Tensor) -> int:
    """Multiply-adds of convolutions and linear layers in module(x); one multiply-add is two of PyTorch's FLOPs."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(x)
    return counter.get_total_flops() // 2
