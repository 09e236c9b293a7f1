"""Convolution and batch norm that store and compute less in the α step, when weights and statistics are frozen.

With frozen weights only y and ∂L/∂x are wanted. In weight steps and in compact networks both are PyTorch's own layers.
"""

import math

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


class Conv2d(nn.Conv2d):
    """nn.Conv2d without bias, "same" padding, that keeps no activation while its weight is frozen.

    ∂L/∂x of a convolution needs only the weight; ∂L/∂w needs the input. PyTorch stores the input in either case
    (2.15 still does), about a third of what a frozen MBConv would keep.
    Initialised N(0, √(2 / (k²·out))), as the released code does.
    """

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, dilation=1, groups=1):
        padding = dilation * (kernel_size - 1) // 2
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias=False)

    def reset_parameters(self):
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x):
        if self.weight.requires_grad or not (torch.is_grad_enabled() and x.requires_grad):
            return super().forward(x)
        return _FrozenConv.apply(x, self.weight, self.stride, self.padding, self.dilation, self.groups)


class _FrozenConv(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, *geometry):
        ctx.save_for_backward(weight)
        ctx.like, ctx.geometry = (x.shape, x.stride(), x.dtype), geometry
        return F.conv2d(x, weight, None, *geometry)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        (weight,), (shape, stride_x, dtype) = ctx.saved_tensors, ctx.like
        stride, padding, dilation, groups = ctx.geometry
        unread = grad.new_empty_strided(shape, stride_x)  # stands for x: without ∂L/∂w only its shape and layout matter
        grad_x, _, _ = torch.ops.aten.convolution_backward(
            grad, unread, weight.to(grad.dtype), None, stride, padding, dilation, False, [0, 0], groups,
            [True, False, False])
        return (grad_x.to(dtype), *[None] * 5)


class BatchNorm2d(nn.BatchNorm2d):
    """nn.BatchNorm2d that does not count batches, and is several times faster on a CPU while its statistics are frozen and C is no
    multiple of 8.

    PyTorch counts batches for a momentum of None only; with any other the count is one launch a layer that nobody reads.

    PyTorch's CPU kernels run through channels in vectors and lose most of their speed where C leaves a remainder, as in
    most widths of the tree space. Frozen, k neighbouring pixels are read as one pixel of k·C channels, a view in
    channels_last; the same kernels then run at full speed, and the k partial means and variances are put together.
    """

    def forward(self, x):
        fold = 16 // math.gcd(16, self.num_features)
        frozen = self.training and not self.track_running_stats and not (torch.is_grad_enabled() and self.weight.requires_grad)
        if (frozen and fold > 2 and x.device.type == "cpu" and x.shape[3] % fold == 0 and x.numel() > 1 << 18
                and x.dtype == self.weight.dtype and x.is_contiguous(memory_format=torch.channels_last)):
            return _FoldedBatchNorm.apply(x, self.weight, self.bias, self.eps, fold)
        if self.momentum is None or self.running_mean is None:
            return super().forward(x)
        self._check_input_dim(x)
        running = (self.running_mean, self.running_var) if self.track_running_stats or not self.training else (None, None)
        return F.batch_norm(x, *running, self.weight, self.bias, self.training, self.momentum, self.eps)


class _FoldedBatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias, eps, k):
        folded = pixels(x, k).permute(0, 3, 1, 2)                         # (B, k·C, H, W/k)
        means, variances = (s.view(k, -1) for s in torch.batch_norm_update_stats(folded, None, None, 0.0))
        mean = means.mean(0)                                              # (C,)
        variance = variances.mean(0) + (means - mean).square().mean(0)    # within the parts + between them
        scale = (variance + eps).rsqrt()                                  # 1/σ
        ctx.save_for_backward(x, weight, mean, scale)
        ctx.k = k
        a = weight * scale
        y = torch.empty_like(x)
        torch.addcmul((bias - a * mean).repeat(k), pixels(x, k), a.repeat(k), out=pixels(y, k))  # γ·x̂ + β
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        (x, weight, mean, scale), k = ctx.saved_tensors, ctx.k
        g, z = pixels(grad.contiguous(memory_format=torch.channels_last), k), pixels(x, k)  # (B, H, W/k, k·C)
        _, slope, level = torch.ops.aten.native_batch_norm_backward(      # Σ g·x̂ and Σ g over the pixels of each part
            g.permute(0, 3, 1, 2), z.permute(0, 3, 1, 2), None, None, None, mean.repeat(k), scale.repeat(k), True, 0.0,
            [False, True, True])
        slope, level = (s.view(k, -1).sum(0) * len(mean) / x.numel() for s in (slope, level))
        # ∂L/∂x = γ/σ · (g − mean g − x̂ · mean g·x̂), with x̂ = (x − μ)/σ, written as a·g + b·x + c
        a = weight * scale
        b = -a * scale * slope
        c = -a * level - b * mean
        grad_x = torch.addcmul(c.repeat(k), g, a.repeat(k)).addcmul_(z, b.repeat(k))
        return grad_x.view(pixels(x, 1).shape).permute(0, 3, 1, 2), None, None, None, None


def pixels(x, k):
    """A channels_last tensor (B, C, H, W) seen as (B, H, W/k, k·C), without a copy."""
    batch, channels, height, width = x.shape
    return x.permute(0, 2, 3, 1).view(batch, height, width // k, k * channels)
