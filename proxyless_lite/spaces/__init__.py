"""Search spaces: each function returns a `Space`."""

from .chain import chain
from .mobile import STAGES as MOBILE_STAGES
from .mobile import mobile
from .mobile import read_released as read_released_mobile
from .nasbench201 import nasbench201
from .space import Block, Edge, Space
from .staged import staged
from .tree import read_released as read_released_tree
from .tree import tree

BY_NAME = {"chain": chain, "mobile": mobile, "nasbench201": nasbench201, "staged": staged, "tree": tree}  # what an architecture file may name
