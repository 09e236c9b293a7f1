"""A plain chain of a few edges: small enough to train every network in it, for tests, teaching and ground truth."""

from torch import nn

from .. import ops
from .space import Block, Edge, Space, named_once, settings_of

CANDIDATES = (*ops.MBCONV, "Zero")


def chain(edges: int = 4, width: int = 16, classes: int = 10, input_size: int = 8, candidates: tuple = CANDIDATES, make=ops.build) -> Space:
    """Stem, `edges` residual blocks x + o(x) of constant `width`, head: len(candidates) ** edges networks.

    Input (batch, 3, input_size, input_size), output (batch, classes). `make(name, in_channels, out_channels, stride)`
    builds a candidate; give your own to try a new operation. Only chains of named operations can be loaded from a file.
    Raises ValueError for a number below 1 and for a `make` that cannot be called.
    """
    if min(edges, width, classes, input_size) < 1:
        raise ValueError(f"chain(edges={edges}, width={width}, classes={classes}, input_size={input_size}): all must be at least 1")
    if not callable(make):
        raise ValueError(f"chain(make={make!r}): give a function of (name, in_channels, out_channels, stride) that returns a module")
    names = named_once(candidates)
    stem, head = Block("conv 3x3", 3, width, input_size), Block("linear", width, classes, input_size)
    return Space(
        name="chain" if make is ops.build else f"chain of {getattr(make, '__name__', type(make).__name__)}",  # a partial has no name
        settings=settings_of(names, CANDIDATES, edges=edges, width=width, classes=classes, input_size=input_size),
        input_size=input_size,
        network=lambda fill: nn.Sequential(
            stem.module(),
            *(ops.Residual(fill(Edge(f"edge{i}", names, width, width, input_size, residual=True, make=make))) for i in range(edges)),
            head.module()),
        fixed=(stem, head),
        runs=(edges,),
        make=make,
        rows=tuple((f"{width}→{width} s1 {input_size}x{input_size}", 1) for _ in range(edges)),
    )
