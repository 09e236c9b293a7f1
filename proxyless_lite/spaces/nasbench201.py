"""NAS-Bench-201's space (Dong & Yang, ICLR 2020): one cell, whose operations are chosen, used 15 times; ground_truth.public reads its table."""

from functools import lru_cache

from torch import nn

from .. import ops
from .space import Block, Edge, Space

OPERATIONS = {"none": "Zero", "skip_connect": "identity", "nor_conv_1x1": 1, "nor_conv_3x3": 3, "avg_pool_3x3": "avg 3x3"}
CELLS = [(channels, size) for channels, size in ((16, 32), (32, 16), (64, 8)) for _ in range(5)]


@lru_cache
def nasbench201(classes: int = 10) -> Space:
    """15,625 cells of 6 edges. A network uses its cell 15 times, (B, 3, 32, 32) → (B, classes).

    An edge is one decision for all cells, with other weights in each; its `costs` are those of all 15 uses. Initial weights are
    drawn as elsewhere in this package, not as in NAS-Bench-201. Raises ValueError for less than one class.
    """
    if classes < 1:
        raise ValueError(f"nasbench201(classes={classes}): give at least 1 class")
    edges = [Edge(f"{i}→{j}", tuple(OPERATIONS), 16, 16, 32, make=EveryCell) for j in (1, 2, 3) for i in range(j)]
    fixed = (Block("stem", 3, 16, 32, make=part), Block("reduction", 16, 32, 32, 2, make=part),
             Block("reduction", 32, 64, 16, 2, make=part), Block("head", 64, classes, 8, make=part))
    return Space("nasbench201", {"classes": classes}, 32, lambda fill: Network([block.module() for block in fixed], map(fill, edges)),
                 rows=(("in all 15 cells", 6),), fixed=fixed)


class Network(nn.Module):
    """Three stages of five cells, each after the stem or a residual block of stride 2; then the head."""

    def __init__(self, fixed, edges):
        super().__init__()
        self.fixed, self.edges = nn.ModuleList(fixed), nn.ModuleList(edges)

    def forward(self, x):  # (B, 3, H, W) -> (B, classes)
        e01, e02, e12, e03, e13, e23 = self.edges
        for i in range(len(CELLS)):
            x = self.fixed[i // 5](x) if i % 5 == 0 else x
            x = x[(None,) * (i + 1)]  # tells the edges that this is cell i
            one = e01(x)
            two = e02(x) + e12(one)
            x = (e03(x) + e13(one) + e23(two)).flatten(0, -4)
        return self.fixed[-1](x)


class EveryCell(nn.Module):
    """One candidate of an edge: the operation `name`, with its own weights in each cell.

    A candidate sees only a tensor, and a Probe calls it again in backward, so the tensor says which cell it is: i + 1 leading
    dimensions of size 1, a view, mean cell i. A plain (B, 16, 32, 32), as costs and clocks give, means every cell once.
    """

    def __init__(self, name, *_):
        super().__init__()
        self.cells = nn.ModuleList(part(name, channels, channels) for channels, _ in CELLS)

    def forward(self, x):  # (1, …, 1, B, C, H, W) -> the same
        if x.dim() > 4:
            return self.cells[x.dim() - 5](x.flatten(0, -4)).reshape(x.shape)
        for operation, (channels, size) in zip(self.cells, CELLS):
            operation(x.new_zeros(len(x), channels, size, size))
        return x


class Sum(nn.ModuleList):
    """Two branches, added."""

    def forward(self, x):
        return self[0](x) + self[1](x)


def part(name, i, o, stride=1):
    """A fresh module from i to o channels: an operation of a cell, "stem", "reduction" (ResNet's basic block) or "head"."""
    if name == "stem":
        return nn.Sequential(ops.Conv2d(i, o, 3), ops.BatchNorm2d(o))
    if name == "reduction":
        convs = nn.Sequential(part("nor_conv_3x3", i, o, stride), part("nor_conv_3x3", o, o))
        return Sum([convs, nn.Sequential(nn.AvgPool2d(stride), ops.Conv2d(i, o, 1))])
    if name == "head":
        return nn.Sequential(ops.BatchNorm2d(i), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(i, o))
    if name.startswith("nor_conv"):
        return nn.Sequential(nn.ReLU(), ops.Conv2d(i, o, OPERATIONS[name], stride), ops.BatchNorm2d(o))
    return ops.build(OPERATIONS[name], i, o)
