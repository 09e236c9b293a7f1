"""A space for short searches of small images: few fixed layers, dense and depthwise candidates mixed."""

from collections import OrderedDict

from torch import nn

from .. import ops
from .space import Block, Edge, Space, named_once, settings_of

CANDIDATES = ("Zero", "max 3x3", "DW 5x5", "conv 3x3", "MB3 3x3")


def staged(widths: tuple = (16, 32, 64, 128), edges: tuple = (0, 1, 2, 1), stride: int | None = None, entry: str | tuple = "conv 3x3 pooled",
           classes: int = 10, input_size: int = 32, candidates: tuple = CANDIDATES) -> Space:
    """Stages of residual blocks x + o(x).

    Stage i begins with an operation that gives `widths[i]` channels: the first a convolution with a `stride` (by default 1, and
    2 for images of 64 pixels or more, which then cost as much as those of half the side), the others an
    `entry` that halves the resolution (by pooling; by a stride, "conv 3x3", is cheaper and less accurate). Several entries are
    the candidates of one more edge of each of these stages. Then come `edges[i]` blocks to choose among `candidates`.
    Input (batch, 3, input_size, input_size), output (batch, classes). Blocks of a stage have one shape, so a
    block left out by Zero may stand anywhere in it. Raises ValueError for a number out of range.
    """
    widths, edges = tuple(widths), tuple(edges)
    stride = (1 if input_size < 64 else 2) if stride is None else stride
    if not widths or len(edges) != len(widths) or min(*widths, stride, classes, input_size) < 1 or min(edges) < 0 or not sum(edges):
        raise ValueError(f"staged(widths={widths}, edges={edges}, stride={stride}, classes={classes}, input_size={input_size}): give a "
                         f"width of at least 1 and a number of edges for every stage, at least one edge in all")
    names, entries = named_once(candidates), named_once([entry] if isinstance(entry, str) else entry)
    entering, size, stages, runs = 3, input_size, [], ()
    for i, (width, count) in enumerate(zip(widths, edges)):
        if i and len(entries) > 1:
            begin, runs = Edge(f"stage{i}.entry", entries, entering, width, size, stride=2), (*runs, 1)
        else:
            begin = Block(entries[0] if i else "conv 3x3", entering, width, size, 2 if i else stride)
        size, entering, runs = -(-size // begin.stride), width, (*runs, count)
        stages.append([begin, *(Edge(f"stage{i}.{j}", names, width, width, size, residual=True) for j in range(count))])
    head = Block("linear", entering, classes, size)
    parts = [part for stage in stages for part in stage]
    return Space(
        name="staged",
        settings=settings_of(names, CANDIDATES, widths=list(widths), edges=list(edges), stride=stride,
                             entry=entries[0] if len(entries) == 1 else list(entries), classes=classes, input_size=input_size),
        input_size=input_size,
        network=lambda fill: nn.Sequential(OrderedDict(
            [(f"stage{i}", nn.Sequential(*(module(part, fill) for part in stage))) for i, stage in enumerate(stages)]
            + [("classifier", head.module())])),
        fixed=(*(part for part in parts if isinstance(part, Block)), head),
        runs=runs,
        rows=tuple((part.block(part.candidates[0]).shape, 1) for part in parts if isinstance(part, Edge)),
    )


def module(part, fill):
    """The module of a fixed Block, or what `fill` gives for an Edge, with its shortcut."""
    if isinstance(part, Block):
        return part.module()
    return ops.Residual(fill(part)) if part.residual else fill(part)
