"""Synchronised batch norm for ranks on the CPU, where PyTorch has none: with it two ranks must compute what one does."""

import sys

import torch
from torch import distributed, nn

import proxyless_lite.runtime  # noqa: F401


def install():
    """Let Engine.prepare use it in this process."""
    sys.modules["proxyless_lite.runtime.engine"].synchronised = synchronised


def synchronised(module, device):
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.__class__ = SyncBatchNorm2d
    return module


class SumOverRanks(torch.autograd.Function):
    """The sum of a tensor over the ranks of a group (None: all); a gradient of it is the sum of the ranks' gradients."""

    @staticmethod
    def forward(ctx, x, group):
        x, ctx.group = x.clone(), group
        distributed.all_reduce(x, group=group)
        return x

    @staticmethod
    def backward(ctx, grad):
        return SumOverRanks.apply(grad, ctx.group), None


class SyncBatchNorm2d(nn.BatchNorm2d):
    """nn.SyncBatchNorm for CPUs, where PyTorch has none: mean and variance over the images of all ranks of its group."""

    process_group = None

    def forward(self, x):
        world_size, axes = distributed.get_world_size(self.process_group), (0, 2, 3)
        if not self.training or world_size == 1:
            return super().forward(x)
        mean = SumOverRanks.apply(x.mean(axes), self.process_group) / world_size     # (C,)
        centred = x - mean[:, None, None]
        variance = SumOverRanks.apply(centred.square().mean(axes), self.process_group) / world_size
        if self.track_running_stats:
            n = x.numel() // x.shape[1] * world_size
            with torch.no_grad():
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(variance * n / (n - 1), self.momentum)
        scale = self.weight * (variance + self.eps).rsqrt()
        return centred * scale[:, None, None] + self.bias[:, None, None]
