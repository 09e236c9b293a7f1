"""Weights: those the paper's authors released, under their names, and our own state dicts."""

from torch import nn

from ..runtime import default_root, fill, read_weights
from ..spaces.tree import TreeNet
from . import download

URL = "https://raw.githubusercontent.com/han-cai/files/master/proxylessnas/"
NETWORKS = ("proxyless_gpu", "proxyless_cpu", "proxyless_mobile", "proxyless_mobile_14", "proxyless_cifar")

KINDS = {nn.Conv2d: "conv", nn.BatchNorm2d: "bn", nn.Linear: "linear"}  # the layers with weights
PARTS = {  # the layers of a part of our network, in order -> their names in the same part of the released one
    "": "",  # Zero, pooling, identity
    "linear": "linear",
    "conv bn": "conv bn",
    "bn conv": "bn conv",
    "bn conv conv": "bn depth_conv point_conv",
    "conv bn conv bn": "depth_conv.conv depth_conv.bn point_linear.conv point_linear.bn",
    "conv bn conv bn conv bn": "inverted_bottleneck.conv inverted_bottleneck.bn "
                               "depth_conv.conv depth_conv.bn point_linear.conv point_linear.bn",
}
TREE_EDGES = ("edges.0", "edges.1", *(f"child_nodes.{i}.edges.{j}" for i in range(2) for j in range(2)))  # as in spaces.tree.Tree


def load_released_weights(model: nn.Module, state_dict: dict):
    """Load weights under released names into a network that Architecture.build() gave, in the mobile or the tree space.

    Strict: raises ValueError naming the first key that is missing, unexpected or of another shape; then nothing is loaded.
    """
    names = released_names(model)
    if not names:
        raise ValueError(f"{type(model).__name__} has no released form; give a network that Architecture.build() made in the "
                         f"mobile or the tree space")
    fill(model, state_dict, names)


def fetch(name):
    """The path of the released weights of network `name`, below $PROXYLESS_DATA or ./data; downloaded if they are missing.

    Raises ValueError for a network without any, FileNotFoundError in one line when the download fails.
    """
    if name not in NETWORKS:
        raise ValueError(f"no weights were released for {name}; allowed: {', '.join(f'zoo.{n}()' for n in NETWORKS)}")
    path = default_root() / "released" / f"{name}.pth"
    return path if path.exists() else download.fetch(f"{URL}{name}.pth", path, check=read_weights)


# -- the released names of our layers ---------------------------------------------------------------------------------

def released_names(model):
    """Released key -> our key of the same tensor, in network order; empty for networks without released weights."""
    ours = {layer: name for name, layer in model.named_modules()}
    return {f"{released}.{key}": f"{ours[layer]}.{key}" for released, layer in layers(model) for key in layer.state_dict()}


def layers(model):
    """(released name, our layer) of every layer with weights."""
    if isinstance(model, TreeNet):
        return tree_layers(model)
    if [name for name, _ in model.named_children()] == ["stem", "first", "blocks", "mix", "classifier"]:
        return mobile_layers(model)
    return ()


def mobile_layers(model):
    yield from part("first_conv", model.stem)
    for i, block in enumerate((model.first, *model.blocks)):
        yield from part(f"blocks.{i}.mobile_inverted_conv", block)
    yield from part("feature_mix_layer", model.mix)
    yield from part("classifier", model.classifier)


def tree_layers(model):
    last = len(model.blocks) + 1
    yield from zip(("blocks.0.layers.0.conv", "blocks.0.layers.1.bn"), weighted(model.stem), strict=True)
    for i, block in enumerate(model.blocks, 1):
        yield from block_layers(f"blocks.{i}", block)
    yield from zip((f"blocks.{last}.layers.0.bn", "classifier.linear"), weighted(model.head), strict=True)


def block_layers(name, block):
    yield from part(f"{name}.in_bottle", block.in_bottle)
    yield from part(f"{name}.cell.edges.0", block.grow)
    for half, tree in enumerate((block.left, block.right)):
        for edge, operation in zip(TREE_EDGES, tree.edges, strict=True):
            yield from part(f"{name}.cell.child_nodes.0.child_nodes.{half}.{edge}", operation)
        yield f"{name}.cell.child_nodes.0.branch_bns.{half}", tree.norm
    yield from part(f"{name}.out_bottle", block.out_bottle[:-1])
    yield f"{name}.final_bn", block.out_bottle[-1]


def part(name, module):
    """(released name, layer) within the released part called `name`. Raises ValueError for layers that do not match."""
    found = weighted(module)
    kinds = " ".join(found.values())
    if kinds not in PARTS:
        raise ValueError(f"released part {name} cannot stand for layers {kinds}; give a network that Architecture.build() made")
    return [(f"{name}.{layer_name}", layer) for layer_name, layer in zip(PARTS[kinds].split(), found, strict=True)]


def weighted(module):
    """Layer -> its kind, of the layers with weights in `module`, in order."""
    return {layer: kind for layer in module.modules() for cls, kind in KINDS.items() if isinstance(layer, cls)}
