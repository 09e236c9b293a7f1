"""The ImageNet space of §4.2: MobileNetV2's layout, in which every block may choose its MBConv or be left out."""

import itertools
from collections import OrderedDict

from torch import nn

from .. import ops
from .space import Block, Edge, Space, named_once, settings_of

STEM, FIRST, HEAD = 32, 16, 1280                   # channels
STAGES = ((24, 4, 2), (40, 4, 2), (80, 4, 2), (96, 4, 1), (192, 4, 2), (320, 1, 1))  # channels, blocks, stride: 21 edges


def mobile(width: float = 1.0, classes: int = 1000, input_size: int = 224, widths=None, candidates: tuple = ops.MBCONV, stages=STAGES) -> Space:
    """21 edges over {MB3, MB6} × {3, 5, 7}, and Zero where a block may be left out: 6⁶ · 7¹⁵ networks.

    `width` multiplies all channels, rounded to multiples of 8; or `widths` gives them: stem, first block, every stage,
    head. A multiplier changes no structure: a block may be left out at any width if it may at width 1. `stages` gives
    another layout: (channels, blocks, stride of the first block) of each; the stem halves the input before them.
    Input (batch, 3, input_size, input_size), output (batch, classes).
    Raises ValueError for a number out of range.
    """
    stages = tuple(tuple(stage) for stage in stages)
    count = len(stages) + 3
    if width <= 0 or min(classes, input_size) < 1 or (widths is not None and (len(widths) != count or min(widths) < 1)):
        raise ValueError(f"mobile(width={width}, classes={classes}, input_size={input_size}, widths={widths}): width must be "
                         f"above 0, classes and input_size at least 1, and widths {count} numbers (stem, first, {len(stages)} stages, head)")
    if not stages or any(len(stage) != 3 or min(stage) < 1 or stage[2] > 2 for stage in stages):
        raise ValueError(f"mobile(stages={stages}): give (channels, blocks, stride 1 or 2) of at least one stage")
    if "Zero" in (candidates := named_once(candidates)):
        raise ValueError("the mobile space adds Zero by itself where a block may be left out; leave it out of the candidates")
    unscaled = widths or (STEM, FIRST, *(channels for channels, _, _ in stages), HEAD)
    stem, first, *stage_widths, head = widths or [make_divisible(width * w) for w in unscaled]
    size = halved(input_size)
    before = Block("conv 3x3", 3, stem, input_size, stride=2), Block("MB1 3x3", stem, first, size)
    edges = []
    for stage, (channels, (_, depth, stride)) in enumerate(zip(stage_widths, stages), 1):
        for i in range(depth):
            entering = edges[-1].out_channels if edges else first
            same = i > 0 or (stride == 1 and unscaled[stage] == unscaled[stage + 1])  # unscaled[1] is the first block's
            edges.append(Edge(f"stage{stage}.{i}", candidates + ("Zero",) * same, entering, channels, size, 1 if i else stride, same))
            size = halved(size) if edges[-1].stride == 2 else size
    after = Block("conv 1x1", stage_widths[-1], head, size), Block("linear", head, classes, size)
    named = {"widths": list(widths)} if widths else {"width": width}
    named |= {"stages": [list(stage) for stage in stages]} if stages != STAGES else {}
    return Space(
        name="mobile",
        settings=settings_of(candidates, ops.MBCONV, **named, classes=classes, input_size=input_size),
        input_size=input_size,
        network=lambda fill: nn.Sequential(OrderedDict(
            stem=before[0].module(), first=before[1].module(),
            blocks=nn.Sequential(*(ops.Residual(fill(e)) if e.residual else fill(e) for e in edges)),
            mix=after[0].module(), classifier=after[1].module())),
        rows=tuple((e.block(e.candidates[0]).shape, 1) for e in edges),
        fixed=before + after,
        runs=tuple(runs(edges)),
    )


def runs(edges):
    """How many edges of one shape follow each other, each with a shortcut: those behind the first of a stage."""
    for shape, same in itertools.groupby(edges, lambda e: (e.residual, e.in_channels, e.out_channels, e.input_size)):
        length = len(list(same))
        yield from (length,) if shape[0] else (1,) * length


def halved(size):
    return -(-size // 2)


def make_divisible(channels):
    """The multiple of 8 nearest to `channels`, but at least 8 and never less than 0.9 of it."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def read_released(config):
    """The space settings and operation names of a released ImageNet configuration ("ProxylessNASNets").

    Raises ValueError for an operation that is neither MBConv nor Zero, for another number of blocks, and for one of another shape.
    """
    first, *blocks = (block["mobile_inverted_conv"] for block in config["blocks"])
    depths = [depth for _, depth, _ in STAGES]
    if len(blocks) != sum(depths):
        raise ValueError(f"released configuration has {len(blocks)} blocks after the first; the mobile space has {sum(depths)}")
    starts = [sum(depths[:stage]) for stage in range(len(depths))]
    widths = [config["first_conv"]["out_channels"], first["out_channels"], *(blocks[i]["out_channels"] for i in starts),
              config["feature_mix_layer"]["out_channels"]]
    shapes = (widths[1], 1), *((edge.out_channels, edge.stride) for edge in mobile(widths=widths).edges())
    for number, (block, (width, stride)) in enumerate(zip([first, *blocks], shapes)):
        if block["name"] != "ZeroLayer" and (block["out_channels"], block["stride"]) != (width, stride):
            raise ValueError(f"block {number} of the released configuration gives {block['out_channels']} channels with stride {block['stride']}; "
                             f"the mobile space has {width} with stride {stride} there")
    if released_name(first) != "MB1 3x3":
        raise ValueError(f"the released configuration begins with {released_name(first)}; the mobile space with MB1 3x3")
    return dict(widths=widths, classes=config["classifier"]["out_features"]), tuple(released_name(b) for b in blocks)


def released_name(layer):
    """Our name of a released block, for example {"name": "MBInvertedConvLayer", "expand_ratio": 6, …} -> "MB6 7x7"."""
    if layer["name"] == "ZeroLayer":
        return "Zero"
    if layer["name"] == "MBInvertedConvLayer":
        k = layer["kernel_size"]
        return f"MB{layer['expand_ratio']} {k}x{k}"
    raise ValueError(f"released layer {layer['name']!r} is none of MBInvertedConvLayer, ZeroLayer")
