"""The CIFAR-10 space of §4.1: PyramidNet whose 3×3 convolutions are replaced by tree-structured cells."""

from torch import nn
from torch.nn import functional as F
from torchvision.ops import StochasticDepth

from .. import ops
from .space import Edge, Space, named_once, settings_of

STAGES = 3
EDGES = 12  # learned edges per block


def tree(blocks: int = 18, width: int = 400, classes: int = 10, input_size: int = 32, candidates: tuple = ops.TREE) -> Space:
    """`blocks` (B) per stage, `width` (F) output channels of the last block; the paper searches tree(18, 400).

    12 · B · 3 decisions. Input (batch, 3, input_size, input_size), output (batch, classes).
    Raises ValueError for an input size that two halvings do not divide, or a width that the last block cannot have.
    """
    if input_size % 4 or input_size < 4:
        raise ValueError(f"tree space cannot take input size {input_size}: it is halved twice, give a multiple of 4")
    if blocks < 1 or width < 72 or width % 8 or classes < 1:
        raise ValueError(f"tree(blocks={blocks}, width={width}, classes={classes}): blocks must be at least 1, "
                         f"width at least 72 and a multiple of 8, classes at least 1")
    candidates = named_once(candidates)
    layout = list(block_layout(blocks, width, input_size))
    return Space(
        name="tree",
        settings=settings_of(candidates, ops.TREE, blocks=blocks, width=width, classes=classes, input_size=input_size),
        input_size=input_size,
        network=lambda fill: TreeNet(layout, classes, candidates, fill),
        rows=tuple((f"{i}→{4 * c} s{s} {size}x{size}", EDGES) for i, c, s, size in layout),
    )


def block_layout(blocks, width, input_size):
    """(in channels, cell channels C_k, stride, output size) of each block: PyramidNet's linear growth.

    4·C_k leaves block k, with C_k the even floor of round(16 + (F/4 − 16)·k / 3B).
    """
    channels, size = 16, input_size
    for k in range(STAGES * blocks):
        cell = round(16 + (width / 4 - 16) * (k + 1) / (STAGES * blocks)) // 2 * 2
        stride = 2 if k in (blocks, 2 * blocks) else 1
        size //= stride
        yield channels, cell, stride, size
        channels = 4 * cell


class TreeNet(nn.Module):
    """Stem, 3·B tree blocks, head. Layers are pre-activation, BN – ReLU – weight, but for the stem (weight – BN) and in-bottles (no ReLU)."""

    def __init__(self, layout, classes, candidates, fill):
        super().__init__()
        self.stem = nn.Sequential(ops.Conv2d(3, 16, 3), ops.BatchNorm2d(16))
        self.blocks = nn.Sequential(*(
            TreeBlock(in_channels, cell, stride,
                      lambda name: fill(Edge(f"block{k}.{name}", tuple(candidates), cell, cell, size)))
            for k, (in_channels, cell, stride, size) in enumerate(layout)))
        width = 4 * layout[-1][1]
        self.head = nn.Sequential(ops.BatchNorm2d(width), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                                  nn.Linear(width, classes))

    def forward(self, x):  # (B, 3, H, W) -> (B, classes)
        return self.head(self.blocks(self.stem(x)))


class TreeBlock(nn.Module):
    """in-bottle 1×1 – grouped 3×3 with shuffle – two trees – out-bottle 1×1, and PyramidNet's padded shortcut."""

    def __init__(self, in_channels, cell, stride, fill):
        super().__init__()
        self.in_bottle = nn.Sequential(ops.BatchNorm2d(in_channels), ops.Conv2d(in_channels, cell, 1))
        self.grow = nn.Sequential(ops.BatchNorm2d(cell), nn.ReLU(inplace=True),
                                  ops.Conv2d(cell, 2 * cell, 3, stride=stride, groups=2), ops.ChannelShuffle(2))
        self.left = Tree(cell, lambda name: fill(f"left.{name}"))
        self.right = Tree(cell, lambda name: fill(f"right.{name}"))
        self.out_bottle = nn.Sequential(ops.BatchNorm2d(cell), nn.ReLU(inplace=True), ops.Conv2d(cell, 4 * cell, 1),
                                        ops.BatchNorm2d(4 * cell))
        self.stride = stride
        self.extra_channels = 4 * cell - in_channels

    def forward(self, x):  # (B, in, H, W) -> (B, 4·cell, H/stride, W/stride)
        left, right = self.grow(self.in_bottle(x)).chunk(2, dim=1)  # 2 × (B, cell, H/stride, W/stride)
        y = self.out_bottle(self.left(left) + self.right(right))
        shortcut = F.avg_pool2d(x, 2) if self.stride == 2 else x
        return y + F.pad(shortcut, (0, 0, 0, 0, 0, self.extra_channels))


class Tree(nn.Module):
    """Half a cell: a root with 2 learned edges, each leading to a node with 2 learned leaf edges; BN and a skip.

    y = BN((l₁₁ + l₁₂)(e₁(x)) + (l₂₁ + l₂₂)(e₂(x))) + x. `drop` is DropPath on single edges, off unless training sets its p.
    """

    def __init__(self, channels, fill):
        super().__init__()
        self.edges = nn.ModuleList(fill(name) for name in ("1", "2", "1.1", "1.2", "2.1", "2.2"))
        self.norm = ops.BatchNorm2d(channels)
        self.drop = StochasticDepth(p=0.0, mode="row")

    def forward(self, x):  # (B, C, H, W) -> (B, C, H, W)
        e1, e2, e11, e12, e21, e22 = (lambda z, edge=edge: self.drop(edge(z)) for edge in self.edges)
        a, b = e1(x), e2(x)
        return self.norm(e11(a) + e12(a) + e21(b) + e22(b)) + x


def read_released(config):
    """The space settings and operation names of a released CIFAR configuration ("PyramidTreeNet").

    Raises ValueError for an operation outside Appendix A or a cell of another structure.
    """
    cells = [block["cell"] for block in config["blocks"][1:-1]]
    choices = []
    for cell in cells:
        halves = cell["child_nodes"][0]["child_nodes"]
        for half in halves:
            nodes = [half, *half["child_nodes"]]
            choices += [released_name(edge) for node in nodes for edge in node["edges"]]
    if len(cells) % STAGES or len(choices) != EDGES * len(cells):
        raise ValueError(f"released configuration has {len(cells)} blocks with {len(choices)} learned edges; "
                         f"a tree space has {EDGES} in each block of {STAGES} equal stages")
    linear = config["classifier"]
    return dict(blocks=len(cells) // STAGES, width=linear["in_features"], classes=linear["out_features"]), tuple(choices)


def released_name(layer):
    """Our name of a released layer, for example {"name": "PoolingLayer", "pool_type": "avg", …} -> "avg 3x3"."""
    kind, k = layer["name"], layer.get("kernel_size")
    if kind == "DepthConvLayer":
        return f"DW {k}x{k}" + (f" d{layer['dilation']}" if layer["dilation"] > 1 else "")
    if kind == "PoolingLayer":
        return f"{layer['pool_type']} {k}x{k}"
    if kind == "IdentityLayer":
        return "identity"
    raise ValueError(f"released layer {kind!r} is none of DepthConvLayer, PoolingLayer, IdentityLayer")
