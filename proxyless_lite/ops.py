"""Operations: the seven candidates of Appendix A, MBConv and Zero of §4.2, and the layers around them."""

import re

from torch import nn

from .frozen import BatchNorm2d, Conv2d

TREE = ("DW 3x3", "DW 5x5", "DW 7x7", "DW 3x3 d2", "avg 3x3", "max 3x3", "identity")  # Appendix A
MBCONV = ("MB3 3x3", "MB3 5x5", "MB3 7x7", "MB6 3x3", "MB6 5x5", "MB6 7x7")  # §4.2

ODD = r"(\d*[13579])"
ANY_SHAPE = {  # name -> (in channels, out channels, stride, what the name says) -> operation
    rf"MB([1-9]\d*) {ODD}x\2": lambda i, o, stride, expansion, k: mbconv(i, o, int(k), stride, int(expansion)),
    rf"conv {ODD}x\1": lambda i, o, stride, k: nn.Sequential(Conv2d(i, o, int(k), stride=stride), batch_norm(o), nn.ReLU6()),
    "linear": lambda i, o, _: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.0), nn.Linear(i, o)),
}
SAME_SHAPE = {  # name -> (channels, what the name says) -> operation
    rf"DW {ODD}x\1(?: d([1-9]))?": lambda c, k, d: depthwise_separable(c, int(k), dilation=int(d or 1)),
    rf"avg {ODD}x\1": lambda c, k: nn.AvgPool2d(int(k), stride=1, padding=int(k) // 2, count_include_pad=False),
    rf"max {ODD}x\1": lambda c, k: nn.MaxPool2d(int(k), stride=1, padding=int(k) // 2),
    "identity": lambda c: nn.Identity(),
    "Zero": lambda c: Zero(),
}


def build(name, in_channels, out_channels, stride=1):
    """The operation called `name`, from (B, in_channels, H, W) to (B, out_channels, ⌈H/stride⌉, ⌈W/stride⌉).

    Names: "MB6 7x7" (expansion 6, kernel 7), "DW 3x3" and "DW 3x3 d2" (depthwise-separable, dilation 2),
    "avg 3x3", "max 3x3", "identity", "Zero". Any expansion, dilation and odd kernel may be written. Around the edges of
    the mobile space stand "conv 3x3" (with BN and ReLU6) and "linear" (with global average pooling before it, and a
    dropout that is off unless training sets its p).

    Raises ValueError for another name, and for an operation that cannot change the shape when it should.
    """
    for pattern, make in ANY_SHAPE.items():
        if match := re.fullmatch(pattern, name):
            return make(in_channels, out_channels, stride, *match.groups())
    for pattern, make in SAME_SHAPE.items():
        if match := re.fullmatch(pattern, name):
            if stride != 1 or in_channels != out_channels:
                raise ValueError(f"operation {name!r} keeps the shape, but {in_channels}→{out_channels} stride {stride} "
                                 f"was asked for; only MB… and conv … operations change it")
            return make(in_channels, *match.groups())
    raise ValueError(f"unknown operation {name!r}; allowed: {', '.join(TREE + MBCONV)}, Zero")


def depthwise_separable(channels, kernel, dilation=1):
    """BN – ReLU – depthwise k×k – 1×1, the pre-activation form of Appendix A (no BN between the two)."""
    return nn.Sequential(
        BatchNorm2d(channels),
        nn.ReLU(inplace=True),
        Conv2d(channels, channels, kernel, dilation=dilation, groups=channels),
        Conv2d(channels, channels, 1),
    )


def mbconv(in_channels, out_channels, kernel, stride, expansion):
    """MobileNetV2's inverted bottleneck: 1×1 expand – depthwise k×k – 1×1 project, BN after each, ReLU6 after two.

    The expansion is absent where it would be 1. BN as released: momentum 0.1, ε 1e-3.
    """
    middle = round(in_channels * expansion)
    expand = [] if expansion == 1 else [Conv2d(in_channels, middle, 1), batch_norm(middle), nn.ReLU6()]
    return nn.Sequential(
        *expand,
        Conv2d(middle, middle, kernel, stride=stride, groups=middle), batch_norm(middle), nn.ReLU6(),
        Conv2d(middle, out_channels, 1), batch_norm(out_channels),
    )


def batch_norm(channels):
    return BatchNorm2d(channels, eps=1e-3, momentum=0.1)


class ChannelShuffle(nn.ChannelShuffle):
    """nn.ChannelShuffle that keeps channels_last on a GPU too. (On a CPU it does, and is faster.)"""

    def forward(self, x):  # (B, C, H, W) -> the same
        return super().forward(x) if x.device.type == "cpu" else shuffled(x, self.groups)


def shuffled(x, groups):
    """Channels (g, c) of `groups` × C/groups in the order (c, g), read and written pixel by pixel."""
    pixels = x.permute(0, 2, 3, 1).unflatten(3, (groups, -1))             # (B, H, W, groups, C/groups)
    return pixels.transpose(3, 4).flatten(3).permute(0, 3, 1, 2)


class Zero(nn.Module):
    """Drops the block: its output is 0 and costs nothing, neither time nor memory."""

    def forward(self, x):
        return x.new_zeros(()).expand(x.shape)


class Residual(nn.Module):
    """x + o(x). With Zero as o it is the identity, and the addition is left out."""

    def __init__(self, operation):
        super().__init__()
        self.operation = operation

    def forward(self, x):
        return x if isinstance(self.operation, Zero) else x + self.operation(x)
