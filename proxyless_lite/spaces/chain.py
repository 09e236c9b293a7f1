"""A plain chain of a few edges: small enough to train every network in it, for tests, class and ground truth."""

from torch import nn

from .. import ops
from .space import Edge, Space, settings_of

CANDIDATES = (*ops.MBCONV, "Zero")


def chain(edges=4, width=16, classes=10, input_size=8, candidates=CANDIDATES, make=ops.build):
    """Stem, `edges` residual blocks x + o(x) of constant `width`, head: len(candidates) ** edges networks.

    Input (batch, 3, input_size, input_size), output (batch, classes). `make(name, in_channels, out_channels, stride)`
    builds a candidate; give your own to try a new operation. Only chains of named operations can be loaded from a file.
    Raises ValueError for a number below 1.
    """
    if min(edges, width, classes, input_size) < 1:
        raise ValueError(f"chain(edges={edges}, width={width}, classes={classes}, input_size={input_size}): all must be at least 1")
    names = tuple(candidates)
    return Space(
        name="chain" if make is ops.build else f"chain of {make.__name__}",
        settings=settings_of(names, CANDIDATES, edges=edges, width=width, classes=classes, input_size=input_size),
        input_size=input_size,
        network=lambda fill: nn.Sequential(
            nn.Sequential(ops.Conv2d(3, width, 3), ops.batch_norm(width), nn.ReLU6()),
            *(Residual(fill(Edge(f"edge{i}", names, width, width, input_size, make=make))) for i in range(edges)),
            nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))),
        rows=tuple((f"{width}→{width} s1 {input_size}x{input_size}", 1) for _ in range(edges)),
    )


class Residual(nn.Module):
    """x + o(x); with Zero as o it is the identity."""

    def __init__(self, operation):
        super().__init__()
        self.operation = operation

    def forward(self, x):
        return x + self.operation(x)
