"""The latency table that the paper's authors released: measured on a Pixel 1 with TensorFlow-Lite, one thread, batch 1."""

import math
import re
from pathlib import Path

from ..zoo import download, weights
from ..runtime import default_root
from ..spaces import Block

URL = weights.URL + "mobile_trim.yaml"
SHA256 = "087e855ea77f9b257e72f3637333a3e0938f6df77f579520f16d057ac45380aa"
ABOUT = {"device": "Pixel 1", "threads": 1, "batch": 1, "source": "released"}

SIZE = r"(\d+)x\d+x(\d+)"  # H x W x C
KEY = re.compile(rf"(Conv|Conv_1|Logits|expanded_conv)-input:{SIZE}-output:(?:{SIZE}|(\d+))"
                 r"(?:-expand:(\d+)-kernel:(\d+)-stride:(\d+)-idskip:([01]))?")


def fetch(root=None, url=URL):
    """The path of mobile_trim.yaml in `root`, by default $PROXYLESS_DATA or ./data; downloaded there if it is missing.

    Raises FileNotFoundError in one line when that fails.
    """
    path = Path(root or default_root()) / "mobile_trim.yaml"
    return path if path.exists() else download.fetch(url, path, SHA256)


def read(content):
    """Block -> (mean, standard deviation, count) in ms, from the parsed file. Raises ValueError naming an invalid entry."""
    if not isinstance(content, dict) or not content:
        raise ValueError("expected one entry per block, each with count, mean and var")
    rows = {}
    for key, value in content.items():
        if not isinstance(value, dict) or not {"count", "mean", "var"} <= set(value):
            raise ValueError(f"entry {key!r} must hold count, mean and var")
        rows[block_of(str(key))] = float(value["mean"]), math.sqrt(float(value["var"])), int(value["count"])
    return rows


def block_of(key):
    """The Block that a key of the released table names. Raises ValueError for another key."""
    match = KEY.fullmatch(key)
    if match is None or (match[1] == "expanded_conv") != (match[7] is not None):
        raise ValueError(f"key {key!r} names no block of the released tables")
    kind, size, channels, _, out, classes, expansion, kernel, stride, residual = match.groups()
    size, channels, out = int(size), int(channels), int(out or classes)
    if kind == "expanded_conv":
        return Block(f"MB{expansion} {kernel}x{kernel}", channels, out, size, int(stride), residual == "1")
    operation, stride = {"Conv": ("conv 3x3", 2), "Conv_1": ("conv 1x1", 1), "Logits": ("linear", 1)}[kind]
    return Block(operation, channels, out, size, stride)
