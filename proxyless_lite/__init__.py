"""proxyless_lite: ProxylessNAS (Cai, Zhu, Han, ICLR 2019) to read, teach and run.

The modules read like the paper, in this order: ops, mixed_op, spaces, architecture, supernet, costs, latency,
objective, limits, rules, search, training.
"""

import importlib.metadata

try:
    import torchvision  # noqa: F401
except (ImportError, RuntimeError) as error:
    raise ImportError(f"torch and torchvision do not fit together ({error}); install both from the same index, "
                      f"for example with make setup") from None

from . import baselines, data, objective, ops, presets, rules, runtime, search, spaces, zoo
from .architecture import Architecture
from .config import SearchConfig, TrainConfig
from .export import export
from .limits import Limits
from .mixed_op import MixedOp, Path, Probe, Softmax, Sum
from .search import Search
from .supernet import SuperNet
from .training import train, train_all
from .zoo import load_released_weights

try:
    __version__ = importlib.metadata.version("proxyless_lite")
except importlib.metadata.PackageNotFoundError:  # not installed: run from a checkout
    __version__ = "unknown"


def __getattr__(name):
    """Import `proxyless_lite.latency` on first use: its libraries take seconds."""
    if name == "latency":
        return importlib.import_module(".latency", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
