"""The networks that the paper's authors found and released, as data."""

from . import spaces
from .architecture import Architecture

# Widths: stem, first block, six stages, head. Blocks: expansion and kernel, "35" for MB3 5x5; "-" for Zero.
GPU = (40, 24, 32, 56, 112, 128, 256, 432, 1728), "35 - - - 37 - - 33 67 - - 35 65 - 33 35 67 67 67 65 67"
CPU = (40, 24, 32, 48, 88, 104, 216, 360, 1432), "63 33 33 33 63 33 33 35 63 - - 33 65 33 33 33 65 35 35 33 65"
MOBILE = (32, 16, 32, 40, 80, 96, 192, 320, 1280), "35 33 - - 37 33 35 35 67 35 35 35 65 35 35 35 67 67 37 37 67"
MOBILE_14 = (48, 24, 40, 56, 112, 136, 256, 448, 1792), MOBILE[1]  # the same blocks, wider


def network(widths, blocks):
    """The Architecture in the mobile space with these widths and blocks."""
    names = ["Zero" if code == "-" else f"MB{code[0]} {code[1]}x{code[1]}" for code in blocks.split()]
    return Architecture(spaces.mobile(widths=widths), tuple(names))


def proxyless_gpu():
    """Found for the V100: 75.1 % top-1."""
    return network(*GPU)


def proxyless_cpu():
    """Found for a Xeon: 75.3 % top-1."""
    return network(*CPU)


def proxyless_mobile():
    """Found for the Pixel 1: 74.6 % top-1 at 78 ms there."""
    return network(*MOBILE)


def proxyless_mobile_14():
    """The mobile network 1.4 times as wide: 76.7 % top-1 at 147 ms on the Pixel 1."""
    return network(*MOBILE_14)
