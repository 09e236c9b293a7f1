"""The latency table that the paper's authors released: measured on a Pixel 1 with TensorFlow-Lite, one thread, batch 1."""

import math
import re
from pathlib import Path
from urllib.error import URLError

from torchvision.datasets.utils import download_url

from ..runtime import default_root
from ..spaces import Block

URL = "https://raw.githubusercontent.com/han-cai/files/master/proxylessnas/mobile_trim.yaml"
MD5 = "07b8a4b9e39a7e9c027d4f7e717b7b09"
ABOUT = {"device": "Pixel 1", "threads": 1, "batch": 1, "source": "released"}

SIZE = r"(\d+)x\d+x(\d+)"  # H x W x C
KEY = re.compile(rf"(Conv|Conv_1|Logits|expanded_conv)-input:{SIZE}-output:(?:{SIZE}|(\d+))"
                 r"(?:-expand:(\d+)-kernel:(\d+)-stride:(\d+)-idskip:([01]))?")


def fetch(root=None, url=URL):
    """The path of mobile_trim.yaml in `root`, by default $PROXYLESS_DATA or ./data; downloaded there if it is missing.

    Raises FileNotFoundError in one line when that fails.
    """
    path = Path(root or default_root()) / "mobile_trim.yaml"
    if not path.exists():
        try:
            download_url(url, str(path.parent), path.name, MD5)
        except (URLError, OSError, RuntimeError) as error:
            path.unlink(missing_ok=True)  # of another content
            raise FileNotFoundError(f"{path} is not there and could not be downloaded from {url} ({error}); put it there") from None
    return path


def read(content):
    """Block -> (mean, standard deviation, count) in ms, from the parsed file. Raises ValueError naming a strange entry."""
    if not isinstance(content, dict) or not content:
        raise ValueError("expected one entry a block, each with count, mean and var")
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
