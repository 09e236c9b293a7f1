"""proxyless_lite: ProxylessNAS (Cai, Zhu, Han, ICLR 2019) to read, teach and run. Read the files in the order below."""

from . import ops
from .mixed_op import MixedOp, Path, Probe, Softmax, Sum
from . import spaces
from .architecture import Architecture
from .supernet import SuperNet
from . import data, rules
