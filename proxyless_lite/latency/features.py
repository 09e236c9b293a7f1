"""What the latency of a block may depend on (App. B): the work its layers do, and its shape."""

import math
import re
from functools import lru_cache

import numpy as np
import torch
from torch import nn

LANES = 16  # channels are padded to this, as in vector units; of 1, 8, 16, 32 it has the highest evidence on the Pixel 1 rows
WORK = ("matrix MACs", "depthwise MACs", "matrix reads", "matrix writes", "depthwise reads", "depthwise writes", "weights",
        "layers", "additions")  # matrix: convolutions that mix channels, and linear layers
SHAPE = ("log in", "log out", "log size in", "log size out", "log expansion", "log kernel", "residual", "log MACs", "log traffic")
KINDS = ("MB", "DW", "conv", "linear", "avg", "max", "identity", "rest")


def features(block):
    """Two arrays: the block's work, one number for each of WORK, and the features of its shape, one for each of SHAPE and KINDS.

    Work adds up: that of a network is the sum over its blocks. Reads and writes are elements of activations, the memory
    traffic. Found by running the block's module on meta tensors, so it works for your own operations too.
    """
    return _features(block, block.make)


@lru_cache(maxsize=None)
def _features(block, make):
    work, kernel, widest = dict.fromkeys(WORK, 0.0), 1, block.in_channels
    size_out = 1

    def see(layer, inputs, output):
        nonlocal kernel, widest, size_out
        x = inputs[0]
        size_out = output.shape[-1] if output.dim() == 4 else 1
        work["layers"] += 1
        work["weights"] += sum(p.numel() for p in layer.parameters())
        if isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels > 1:
            kernel, widest = max(kernel, *layer.kernel_size), max(widest, layer.in_channels)
            work["depthwise MACs"] += layer.weight[0].numel() * output.numel()
            work["depthwise reads"] += x.numel()
            work["depthwise writes"] += output.numel()
        elif isinstance(layer, (nn.Conv2d, nn.Linear)):
            kernel = max(kernel, *getattr(layer, "kernel_size", (1,)))
            inner, outer, pixels = layer.weight[0].numel(), layer.weight.shape[0], output.numel() / layer.weight.shape[0]
            work["matrix MACs"] += pixels * padded(inner) * padded(outer)
            work["matrix reads"] += pixels * padded(inner)
            work["matrix writes"] += pixels * padded(outer)
        elif isinstance(layer, (nn.AvgPool2d, nn.MaxPool2d)):
            sides = layer.kernel_size if isinstance(layer.kernel_size, tuple) else (layer.kernel_size,) * 2
            kernel = max(kernel, *sides)
            work["depthwise MACs"] += math.prod(sides) * output.numel()

    with torch.device("meta"), torch.no_grad():
        module = block.module().eval()
        leaves = [m for m in module.modules() if not list(m.children())]
        handles = [leaf.register_forward_hook(see) for leaf in leaves]
        module(torch.empty(1, block.in_channels, block.input_size, block.input_size))
        for handle in handles:
            handle.remove()
    if block.residual:
        work["additions"] += block.in_channels * block.input_size**2
    macs = sum(work[name] for name in WORK if name.endswith("MACs"))
    traffic = sum(work[name] for name in WORK if name.endswith(("reads", "writes")))
    shape = [math.log(block.in_channels), math.log(max(block.out_channels, 1)), math.log(block.input_size), math.log(size_out),
             math.log(widest / block.in_channels), math.log(kernel), float(block.residual), math.log(1 + macs), math.log(1 + traffic)]
    kind = re.match(r"[A-Za-z]*", block.operation)[0]
    return np.array([work[name] for name in WORK]), np.array(shape + [float(kind == k) for k in KINDS])


def padded(channels):
    return -(-channels // LANES) * LANES
