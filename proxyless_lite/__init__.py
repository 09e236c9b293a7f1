"""proxyless_lite: ProxylessNAS (Cai, Zhu, Han, ICLR 2019) to read, teach and run.

The modules read like the paper, in this order: ops, mixed_op, spaces, architecture, supernet, latency,
objective, rules, search, training.
"""

try:
    import torchvision  # noqa: F401
except (ImportError, RuntimeError) as error:
    raise ImportError(f"torch and torchvision do not fit together ({error}); install both from the same index, "
                      f"for example with make setup") from None

from . import baselines, data, latency, objective, ops, presets, rules, runtime, search, spaces, zoo
from .architecture import Architecture
from .export import export
from .mixed_op import MixedOp, Path, Probe, Softmax, Sum
from .released import load_released_weights
from .search import Search
from .supernet import SuperNet
from .training import train
