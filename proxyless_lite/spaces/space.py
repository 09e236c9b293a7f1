"""What a search space is: a network with open edges, written once."""

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Callable

import torch
from torch import nn

from .. import ops
from ..mixed_op import MixedOp


@dataclass(frozen=True)
class Block:
    """One operation with its shape: all that its latency depends on. Blocks of equal shape are equal.

    It gets (B, in_channels, input_size, input_size) and gives (B, out_channels, ⌈input_size / stride⌉, …), or
    (B, out_channels) where it ends the network. With `residual` its input is added to its output.
    """

    operation: str
    in_channels: int
    out_channels: int
    input_size: int
    stride: int = 1
    residual: bool = False
    make: Callable = field(default=ops.build, repr=False, compare=False)

    def module(self):
        """A fresh module that does what the block does, the residual addition included."""
        operation = self.make(self.operation, self.in_channels, self.out_channels, self.stride)
        return ops.Residual(operation) if self.residual else operation

    @property
    def shape(self):
        """The shape in short: "80→96 s1 14x14", with the size of the output."""
        size = -(-self.input_size // self.stride)
        return f"{self.in_channels}→{self.out_channels} s{self.stride} {size}x{size}"

    def __str__(self):
        return f"{self.operation} {self.shape}"


@dataclass(frozen=True)
class Edge:
    """A place in the network where an operation is chosen: its candidates and its shape.

    The operation gets (B, in_channels, input_size, input_size) and gives (B, out_channels, ⌈input_size / stride⌉, …);
    with `residual` the network adds the edge's input to it.
    """

    name: str
    candidates: tuple
    in_channels: int
    out_channels: int
    input_size: int
    stride: int = 1
    residual: bool = False
    make: Callable = ops.build  # (name, in_channels, out_channels, stride) -> nn.Module

    def operation(self, name):
        """A fresh module for the candidate `name`; raises ValueError like `check`."""
        self.check(name)
        return self.make(name, self.in_channels, self.out_channels, self.stride)

    def block(self, name):
        """The Block of candidate `name`; raises ValueError like `check`."""
        self.check(name)
        return Block(name, self.in_channels, self.out_channels, self.input_size, self.stride, self.residual, self.make)

    def check(self, name):
        """Raises ValueError naming the edge if `name` is none of its candidates."""
        if name not in self.candidates:
            raise ValueError(f"edge {self.name!r} has no candidate {name!r}; allowed: {', '.join(self.candidates)}")


@dataclass(frozen=True)
class Space:
    """A family of networks that differ in the operations on their edges.

    `network(fill)` builds the network and calls `fill(edge)` for each edge in network order. Filled with MixedOps it
    is the supernet, filled with the chosen operations it is the compact network: there is no second definition.
    `name` and `settings` say which function of `proxyless_lite.spaces` made it; `rows` groups the edges for
    printing: (shape of the block, number of its edges). `fixed` lists the blocks outside the edges; where a space does not,
    `fixed_blocks` takes all of them as one. `runs` are the lengths of runs of edges, in network order, whose residual blocks have
    one shape and directly follow each other. `make` tells spaces of operations of one's own apart; an Edge's `make` builds them.
    """

    name: str
    settings: dict = field(hash=False)  # a dict has no hash; equal spaces have equal ones without it
    input_size: int
    network: Callable[[Callable[[Edge], nn.Module]], nn.Module] = field(repr=False, compare=False)
    rows: tuple = field(repr=False, compare=False)
    fixed: tuple = field(default=(), repr=False, compare=False)
    runs: tuple = field(default=(), repr=False, compare=False)
    make: Callable = field(default=ops.build, repr=False)

    def __post_init__(self):
        object.__setattr__(self, "settings", {name: plain(value) for name, value in self.settings.items()})

    def __deepcopy__(self, memo):
        return self  # nothing in it changes, and a copy of `make` would be another function

    def supernet(self):
        """The network with a MixedOp of all candidates on every edge."""
        return self.network(lambda edge: MixedOp({name: edge.operation(name) for name in edge.candidates}))

    def compact(self, choices):
        """The network with one operation on every edge; `choices` lists their names in network order.

        Raises ValueError for choices that do not fit (see `check`).
        """
        self.check(choices)
        remaining = iter(choices)
        return self.network(lambda edge: edge.operation(next(remaining)))

    def check(self, choices):
        """Raises ValueError for a wrong number of choices, or naming the edge for one that is not among its candidates."""
        edges = self.edges()
        if len(choices) != len(edges):
            raise ValueError(f"{len(choices)} operations given, but {self} has {len(edges)} edges")
        for edge, name in zip(edges, choices):
            edge.check(name)

    def edges(self):
        """All edges, in network order. Raises ValueError for a network that fills them in another order than that of its modules."""
        return list(self._edges)

    @cached_property
    def _edges(self):
        found = {}  # placeholder -> edge

        def fill(edge):
            placeholder = nn.Identity()
            found[placeholder] = edge
            return placeholder
        with torch.device("meta"):
            network = self.network(fill)
        if [module for module in network.modules() if module in found] != [*found]:
            raise ValueError(f"{self}: network(fill) fills its edges in another order than that of its modules; assign each where it is filled")
        return tuple(found.values())

    def canonical(self, choices):
        """The choices of the same network with the Zeros of each run last: x + 0 = x, so the next blocks move up."""
        found, choices = [], list(choices)
        for length in self.runs or [1] * len(choices):
            found += sorted(choices[len(found):len(found) + length], key=lambda name: name == "Zero")  # stable: the others keep their order
        return tuple(found)

    def fixed_blocks(self):
        """The blocks outside the edges. One block stands for the whole where the space does not name them."""
        classes, rest = self.settings.get("classes", 0), lambda *_: self.network(Bypass)
        return self.fixed or (Block(f"rest of {self}", 3, classes, self.input_size, make=rest),)

    def blocks(self, choices):
        """All blocks of the network with these choices, the fixed ones first. Raises ValueError like `check`."""
        self.check(choices)
        return [*self.fixed_blocks(), *(edge.block(name) for edge, name in zip(self.edges(), choices))]

    def size(self):
        """Number of choices of operations, exact; with Zero some are the same network (see `canonical`)."""
        return math.prod(len(edge.candidates) for edge in self.edges())

    def __str__(self):
        return f"{self.name}({', '.join(f'{k}={v!r}' for k, v in self.settings.items())})"


class Bypass(nn.Module):
    """A placeholder for an edge: a constant of the right shape (1, C, H, W), so that only the rest takes time."""

    def __init__(self, edge):
        super().__init__()
        size = -(-edge.input_size // edge.stride)
        self.register_buffer("output", torch.rand(1, edge.out_channels, size, size))

    def forward(self, x):
        return self.output.expand(len(x), -1, -1, -1)


def plain(value):
    """A setting in Python's own types: a space is known by its printed settings, and NumPy prints numbers in another way."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return type(value)(map(plain, value)) if isinstance(value, (list, tuple)) else value


def named_once(candidates):
    """The candidates as a tuple. Raises ValueError for none or for duplicates."""
    if isinstance(candidates, str) or not (candidates := tuple(candidates)) or len(set(candidates)) != len(candidates):
        raise ValueError(f"candidates {candidates}: give a list of names, at least one, and each once")
    return candidates


def settings_of(candidates, usual, **settings):
    """The settings that identify a space: the candidates only if not the default ones, to keep files short."""
    return settings if tuple(candidates) == usual else settings | {"candidates": list(candidates)}
