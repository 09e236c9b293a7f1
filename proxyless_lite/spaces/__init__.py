"""Search spaces: each function returns a `Space`."""

from .chain import chain
from .space import Edge, Space
from .tree import read_released as read_released_tree
from .tree import tree

BY_NAME = {"chain": chain, "tree": tree}  # what an architecture file may name
