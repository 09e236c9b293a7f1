"""Operations: the seven candidates of Appendix A, MBConv and Zero of §4.2, and the layers they are made of."""

import math
import re

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

TREE = ("DW 3x3", "DW 5x5", "DW 7x7", "DW 3x3 d2", "avg 3x3", "max 3x3", "identity")  # Appendix A
MBCONV = ("MB3 3x3", "MB3 5x5", "MB3 7x7", "MB6 3x3", "MB6 5x5", "MB6 7x7")  # §4.2

ODD = r"(\d*[13579])"
ANY_SHAPE: dict = {  # name -> (in channels, out channels, stride, what the name says) -> operation
    rf"MB([1-9]\d*) {ODD}x\2": lambda i, o, stride, expansion, k: mbconv(i, o, int(k), stride, int(expansion)),
    rf"conv {ODD}x\1": lambda i, o, stride, k: nn.Sequential(Conv2d(i, o, int(k), stride=stride), batch_norm(o), nn.ReLU6()),
    rf"conv {ODD}x\1 pooled": lambda i, o, stride, k: nn.Sequential(Conv2d(i, o, int(k)), nn.MaxPool2d(stride, ceil_mode=True), batch_norm(o), nn.ReLU6()),
    "linear": lambda i, o, _: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.0), nn.Linear(i, o)),
}
SAME_SHAPE: dict = {  # name -> (channels, what the name says) -> operation
    rf"DW {ODD}x\1(?: d([1-9]\d*))?": lambda c, k, d: depthwise_separable(c, int(k), dilation=int(d or 1)),
    rf"avg {ODD}x\1": lambda c, k: nn.AvgPool2d(int(k), stride=1, padding=int(k) // 2, count_include_pad=False),
    rf"max {ODD}x\1": lambda c, k: nn.MaxPool2d(int(k), stride=1, padding=int(k) // 2),
    "identity": lambda c: nn.Identity(),
    "Zero": lambda c: Zero(),
}


def build(name: str, in_channels: int, out_channels: int, stride: int = 1) -> nn.Module:
    """The operation called `name`, from (B, in_channels, H, W) to (B, out_channels, ⌈H/stride⌉, ⌈W/stride⌉).

    Names: "MB6 7x7" (expansion 6, kernel 7), "DW 3x3" and "DW 3x3 d2" (depthwise-separable, dilation 2),
    "avg 3x3", "max 3x3", "identity", "Zero". Any expansion, dilation and odd kernel is allowed. Outside the edges of the
    mobile space there are "conv 3x3" (with BN and ReLU6), "conv 3x3 pooled" (max pooling instead of a stride) and "linear"
    (after global average pooling and a dropout that is off unless training sets its p).

    Raises ValueError for another name, and for an operation that cannot change the shape when it should.
    """
    for pattern, make in ANY_SHAPE.items():
        if match := re.fullmatch(pattern, name):
            return make(in_channels, out_channels, stride, *match.groups())
    for pattern, make in SAME_SHAPE.items():
        if match := re.fullmatch(pattern, name):
            if stride != 1 or in_channels != out_channels:
                raise ValueError(f"operation {name!r} keeps the shape, but {in_channels}→{out_channels} stride {stride} "
                                 f"was asked for; only MB… and conv … operations change it")
            return make(in_channels, *match.groups())
    raise ValueError(f"unknown operation {name!r}; allowed: {', '.join(TREE + MBCONV)}, Zero, conv 3x3, conv 3x3 pooled, linear, and other kernels")


def depthwise_separable(channels, kernel, dilation=1):
    """BN – ReLU – depthwise k×k – 1×1, the pre-activation form of Appendix A (no BN between the two)."""
    return nn.Sequential(
        BatchNorm2d(channels),
        nn.ReLU(inplace=True),
        Conv2d(channels, channels, kernel, dilation=dilation, groups=channels),
        Conv2d(channels, channels, 1),
    )


def mbconv(in_channels, out_channels, kernel, stride, expansion):
    """MobileNetV2's inverted bottleneck: 1×1 expand – depthwise k×k – 1×1 project, BN after each, ReLU6 after two.

    The expansion is absent where it would be 1. BN as released: momentum 0.1, ε 1e-3.
    """
    middle = round(in_channels * expansion)
    expand = [] if expansion == 1 else [Conv2d(in_channels, middle, 1), batch_norm(middle), nn.ReLU6()]
    return nn.Sequential(
        *expand,
        Conv2d(middle, middle, kernel, stride=stride, groups=middle), batch_norm(middle), nn.ReLU6(),
        Conv2d(middle, out_channels, 1), batch_norm(out_channels),
    )


def batch_norm(channels):
    return BatchNorm2d(channels, eps=1e-3, momentum=0.1)


class ChannelShuffle(nn.ChannelShuffle):
    """nn.ChannelShuffle that keeps channels_last on a GPU too. (On a CPU PyTorch's own does, and is faster.)"""

    def forward(self, x):  # (B, C, H, W) -> the same
        return super().forward(x) if x.device.type == "cpu" else shuffled(x, self.groups)


def shuffled(x, groups):
    """Channels (g, c) of `groups` × C/groups in the order (c, g), read and written pixel by pixel."""
    pixels = x.permute(0, 2, 3, 1).unflatten(3, (groups, -1))             # (B, H, W, groups, C/groups)
    return pixels.transpose(3, 4).flatten(3).permute(0, 3, 1, 2)


class Zero(nn.Module):
    """Drops the block: its output is 0, at no cost in time or memory."""

    def forward(self, x):
        return x.new_zeros(()).expand(x.shape)


class Residual(nn.Module):
    """x + o(x). With Zero as o it is the identity, and the addition is left out."""

    def __init__(self, operation):
        super().__init__()
        self.operation = operation

    def forward(self, x):
        return x if isinstance(self.operation, Zero) else x + self.operation(x)


# -- layers that store and compute less in an α step, when weights and statistics are frozen --------------------------
# With frozen weights only y and ∂L/∂x are needed. In weight steps and in compact networks both are PyTorch's own layers, but for
# the gradients of a depthwise convolution in bfloat16.


class Conv2d(nn.Conv2d):
    """nn.Conv2d without bias, "same" padding, that keeps no activation while its weight is frozen.

    ∂L/∂x of a convolution needs only the weight; ∂L/∂w needs the input. PyTorch stores the input in either case
    (2.15 still does), about a third of what a frozen MBConv would keep.
    A depthwise one in bfloat16 has its gradients in float32 where that is far faster, on a CPU.
    Initialised N(0, √(2 / (k²·out))), as the released code does.
    """

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, dilation=1, groups=1):
        padding = dilation * (kernel_size - 1) // 2
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias=False)

    def reset_parameters(self):
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x):
        function, grad = None, torch.is_grad_enabled()
        if grad and self.weight.requires_grad:
            function = _DepthwiseConv if self.slow_in_half(x) else None
        elif grad and x.requires_grad:
            function = _FrozenConv
        if function is None:
            return super().forward(x)
        return function.apply(x, self.weight, self.stride, self.padding, self.dilation, self.groups)

    def slow_in_half(self, x):
        """Whether backward in bfloat16 would take far longer than in float32: on a CPU, for depthwise ones but 3×3 with stride 1."""
        if self.groups < self.in_channels or x.device.type != "cpu":
            return False
        if (self.kernel_size, self.stride, self.dilation) == ((3, 3), (1, 1), (1, 1)):
            return False
        return (torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype) == torch.bfloat16


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


class _DepthwiseConv(torch.autograd.Function):
    """Forward in the precision of autocast, gradients in float32 from the same rounded tensors."""

    @staticmethod
    def forward(ctx, x, weight, *geometry):
        y = F.conv2d(x, weight, None, *geometry)
        ctx.save_for_backward(x.to(y.dtype), weight.to(y.dtype))
        ctx.geometry, ctx.dtypes = geometry, (x.dtype, weight.dtype)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        (x, weight), (stride, padding, dilation, groups) = ctx.saved_tensors, ctx.geometry
        *grads, _ = torch.ops.aten.convolution_backward(
            grad.float(), x.float(), weight.float(), None, stride, padding, dilation, False, [0, 0], groups, [*ctx.needs_input_grad[:2], False])
        return (*(None if g is None else g.to(dtype) for g, dtype in zip(grads, ctx.dtypes)), *[None] * 4)


class BatchNorm2d(nn.BatchNorm2d):
    """nn.BatchNorm2d that does not count batches. On a CPU it is several times faster while its statistics are frozen and C is
    not a multiple of 8.

    PyTorch needs the count for a momentum of None only; otherwise it is one useless launch per layer.

    PyTorch's CPU kernels vectorise over channels and lose most of their speed where C leaves a remainder, as for most widths of
    the tree space. While frozen, k neighbouring pixels are read as one pixel of k·C channels, a view in channels_last. The same
    kernels then run at full speed, and the k partial means and variances are combined.
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
