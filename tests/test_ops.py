"""The operations against torch.nn.functional and torchvision, in float64."""

from functools import partial
from itertools import product

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close
from torchvision.models.mobilenetv2 import InvertedResidual

from proxyless_lite.ops import MBCONV, TREE, BatchNorm2d, Conv2d, build


def images(channels=4, size=7):
    return torch.randn(2, channels, size, size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def weight(conv):
    return conv.weight.detach()


# -- Conv2d -----------------------------------------------------------------------------------------------------------

GEOMETRIES = [dict(kernel_size=3), dict(kernel_size=1), dict(kernel_size=5, stride=2), dict(kernel_size=3, dilation=2),
              dict(kernel_size=3, groups=4), dict(kernel_size=7, stride=2, groups=2)]


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_frozen_conv_has_the_gradient_of_conv2d(geometry):
    conv = Conv2d(4, 8, **geometry).double().requires_grad_(False)
    x = images().requires_grad_()
    options = {k: v for k, v in geometry.items() if k != "kernel_size"}
    padding = geometry.get("dilation", 1) * (geometry["kernel_size"] // 2)
    expected = F.conv2d(x, weight(conv), padding=padding, **options)
    found = conv(x)
    assert_close(found, expected, rtol=0, atol=0)
    direction = torch.randn_like(found)
    assert_close(torch.autograd.grad(found, x, direction), torch.autograd.grad(expected, x, direction), rtol=0, atol=1e-12)
    small = images(size=4)[:1].requires_grad_()
    assert torch.autograd.gradcheck(conv, small)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_frozen_conv_in_either_memory_layout(layout):
    conv = Conv2d(4, 8, 3).double().to(memory_format=layout).requires_grad_(False)
    x = images().to(memory_format=layout).requires_grad_()
    plain = images().requires_grad_()
    conv(x).square().sum().backward()
    F.conv2d(plain, weight(conv), padding=1).square().sum().backward()
    assert_close(x.grad, plain.grad)
    assert x.grad.is_contiguous(memory_format=layout)


def saved_sizes(conv, x):
    sizes = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(tuple(t.shape)) or t, lambda t: t):
        conv(x)
    return sizes


def test_only_a_frozen_conv_saves_no_activation():
    conv = Conv2d(4, 8, 3).double()
    x = images().requires_grad_()
    assert tuple(x.shape) in saved_sizes(conv, x)
    conv.weight.requires_grad_(False)
    assert saved_sizes(conv, x) == [tuple(conv.weight.shape)]


@pytest.mark.parametrize("geometry", [dict(kernel_size=5), dict(kernel_size=3, stride=2), dict(kernel_size=3, dilation=2), dict(kernel_size=7, stride=2)], ids=str)
@pytest.mark.parametrize("cast", [False, True], ids=["float32 weights", "bfloat16 weights"])
def test_a_depthwise_conv_in_bfloat16_has_gradients_as_in_float32(geometry, cast):
    conv = Conv2d(8, 8, groups=8, **geometry).to(memory_format=torch.channels_last)
    if cast:
        conv.bfloat16()
    x = images(8).bfloat16().to(memory_format=torch.channels_last).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=not cast):
        found = conv(x)
        plain = F.conv2d(x, weight(conv), None, conv.stride, conv.padding, conv.dilation, 8)
    assert found.dtype == torch.bfloat16 and torch.equal(found, plain)
    direction = torch.randn(found.shape, generator=torch.Generator().manual_seed(1)).to(found)
    got = torch.autograd.grad(found, [x, conv.weight], direction)
    exact = [t.detach().bfloat16().double().requires_grad_() for t in (x, conv.weight)]
    expected = torch.autograd.grad(F.conv2d(*exact, None, conv.stride, conv.padding, conv.dilation, 8), exact, direction.double())
    for gradient, true, like in zip(got, expected, (x, conv.weight)):
        # bfloat16's rounding, or float32's: PyTorch's own kernel is off by 2e-3 in ∂L/∂w
        rounding = 2 ** -8 if like.dtype == torch.bfloat16 else 1e-5
        assert gradient.dtype == like.dtype and (gradient.double() - true).abs().max() <= rounding * true.abs().max()
    assert got[0].is_contiguous(memory_format=torch.channels_last)


def test_a_conv_that_learns_has_the_gradients_of_conv2d():
    conv = Conv2d(4, 8, 3).double()
    x = images().requires_grad_()
    found = torch.autograd.grad(conv(x).square().sum(), [x, conv.weight])
    w = weight(conv).clone().requires_grad_()
    assert_close(found, torch.autograd.grad(F.conv2d(x, w, padding=1).square().sum(), [x, w]))


def test_conv_is_initialised_as_released():
    torch.manual_seed(0)
    conv = Conv2d(64, 128, 3)
    assert conv.bias is None
    assert conv.weight.std().item() == pytest.approx((2 / (9 * 128)) ** 0.5, rel=0.02)
    assert abs(conv.weight.mean().item()) < 1e-3


# -- the operations ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name, dilation", [("DW 3x3", 1), ("DW 5x5", 1), ("DW 7x7", 1), ("DW 3x3 d2", 2), ("DW 3x3 d12", 12)])
def test_depthwise_separable(name, dilation, training):
    op = build(name, 4, 4).double().train(training)
    norm, depthwise, pointwise = op[0], weight(op[2]), weight(op[3])
    with torch.no_grad():
        for t in (norm.weight, norm.bias, norm.running_mean):
            t.normal_()
        norm.running_var.uniform_(.5, 2)
    x = images()
    kernel = int(name[3])
    assert depthwise.shape == (4, 1, kernel, kernel) and pointwise.shape == (4, 4, 1, 1)
    z = F.batch_norm(x, norm.running_mean.clone(), norm.running_var.clone(), norm.weight, norm.bias, training).relu()
    z = F.conv2d(F.conv2d(z, depthwise, padding=dilation * (kernel // 2), dilation=dilation, groups=4), pointwise)
    kept = x.clone()
    assert_close(op(x), z)
    assert torch.equal(x, kept), "the ReLU in place must not reach the input"
    assert len(list(op.parameters())) == 4


def test_average_pooling_does_not_count_the_padding():
    x, ones = images(), torch.ones(4, 1, 3, 3, dtype=torch.float64)
    total = F.conv2d(x, ones, padding=1, groups=4)
    count = F.conv2d(torch.ones_like(x), ones, padding=1, groups=4)
    assert_close(build("avg 3x3", 4, 4)(x), total / count)
    assert count.min() == 4


def test_max_pooling_and_the_parameterless():
    x = images()
    padded = F.pad(x, (1, 1, 1, 1), value=-torch.inf)
    assert_close(build("max 3x3", 4, 4)(x), padded.unfold(2, 3, 1).unfold(3, 3, 1).amax((4, 5)))
    assert build("identity", 4, 4)(x) is x
    zero = build("Zero", 4, 4)(x)
    assert zero.shape == x.shape and zero.dtype == x.dtype and zero.abs().sum() == 0
    assert zero.untyped_storage().nbytes() == 8, "one number, whatever the shape"


@pytest.mark.parametrize("size, stride", [(8, 2), (9, 2), (9, 3), (8, 1)])
def test_a_pooled_convolution_takes_the_largest_of_each_window(size, stride):
    pooled, x = build("conv 3x3 pooled", 3, 5, stride).double().eval(), images(3, size)
    full = F.conv2d(x, weight(pooled[0]), padding=1) / (1 + 1e-3) ** 0.5  # batch norm as it begins
    for i, j in product(range(-(-size // stride)), repeat=2):
        window = full[:, :, stride * i:stride * (i + 1), stride * j:stride * (j + 1)]
        assert_close(pooled(x)[:, :, i, j], window.amax((2, 3)).clamp(0, 6))
    assert pooled(x).shape == (2, 5, i + 1, j + 1)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", [*MBCONV, "MB1 3x3"])
def test_mbconv_is_torchvisions_inverted_residual(name, stride, training):
    torch.manual_seed(0)
    expansion, kernel = int(name[2]), int(name[4])
    op = build(name, 4, 6, stride).double()
    reference = InvertedResidual(4, 6, stride, expansion, norm_layer=partial(nn.BatchNorm2d, eps=1e-3))
    middle = 4 * expansion
    reference.conv[-3][0] = nn.Conv2d(middle, middle, kernel, stride, kernel // 2, groups=middle, bias=False)
    reference.double()
    with torch.no_grad():
        for t in op.state_dict().values():
            if t.dim() == 1:
                t.uniform_(.5, 1.5)  # batch norm that does something
    assert [t.shape for t in op.state_dict().values()] == [t.shape for t in reference.state_dict().values()]
    reference.load_state_dict(dict(zip(reference.state_dict(), op.state_dict().values())))
    op.train(training), reference.train(training)
    x = 10 * images()
    assert_close(op(x), reference(x))
    assert op(x).shape == (2, 6, -(-7 // stride), -(-7 // stride))
    assert all(m.momentum == 0.1 and m.eps == 1e-3 for m in op.modules() if isinstance(m, nn.BatchNorm2d))


@pytest.mark.parametrize("name", [*TREE, "Zero", "MB6 7x7"])
@pytest.mark.parametrize("size", [4, 7])
def test_every_operation_keeps_the_shape_at_stride_1(name, size):
    x = images(size=size).float()
    assert build(name, 4, 4)(x).shape == x.shape


# -- errors -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", ["MB 3x3", "MB3 3x5", "DW", "conv 3x5", "zero", "", "skip"])
def test_an_unknown_operation_is_named_with_the_allowed_ones(name):
    for shape in ((4, 4, 1), (4, 8, 1), (4, 4, 2)):
        with pytest.raises(ValueError, match=f"unknown operation '{name}'; allowed: DW 3x3.*MB6 7x7, Zero, conv 3x3"):
            build(name, *shape)


@pytest.mark.parametrize("name", [*TREE, "Zero"])
@pytest.mark.parametrize("shape", [(4, 8, 1), (4, 4, 2)])
def test_operations_that_keep_the_shape_say_so(name, shape):
    with pytest.raises(ValueError, match=f"'{name}' keeps the shape, but {shape[0]}→{shape[1]} stride {shape[2]}"):
        build(name, *shape)


@pytest.mark.parametrize("name", ["DW 4x4", "MB3 4x4", "max 2x2", "MB0 3x3", "DW 3x3 d0", "DW 3x5"])
def test_kernels_that_cannot_keep_the_size_are_refused(name):
    with pytest.raises(ValueError, match="unknown operation"):
        build(name, 8, 8)


def test_large_odd_kernels_are_welcome():
    assert build("MB6 11x11", 4, 6, 2)(torch.randn(1, 4, 12, 12)).shape == (1, 6, 6, 6)


@pytest.mark.parametrize("channels, offset", [(18, 0.0), (18, 100.0), (20, 3.0), (22, -5.0)])
def test_frozen_batch_norm_is_batch_norm(channels, offset):
    """The folded form against PyTorch's own layer: output, ∂L/∂x, and no trace in the running statistics."""
    torch.manual_seed(0)
    ours, theirs = BatchNorm2d(channels).double(), nn.BatchNorm2d(channels).double()
    x = (torch.randn(32, channels, 32, 32, dtype=torch.float64) + offset).to(memory_format=torch.channels_last)
    weights = torch.randn_like(x)
    with torch.no_grad():
        ours.weight.uniform_(-1, 1)
        ours.bias.uniform_(-1, 1)
    theirs.load_state_dict(ours.state_dict())
    gradients = []
    for layer in (ours, theirs):
        layer.requires_grad_(False).track_running_stats = False
        z = x.clone().requires_grad_()
        y = layer(z)
        (y * weights).sum().backward()
        gradients.append((y.detach(), z.grad))
    assert "_FoldedBatchNorm" in type(ours(x.clone().requires_grad_()).grad_fn).__name__
    assert_close(gradients[0], gradients[1], rtol=1e-9, atol=1e-9)
    assert ours.num_batches_tracked == 0 and ours(x).is_contiguous(memory_format=torch.channels_last)


def test_batch_norm_is_pytorchs_own_unless_frozen():
    layer, x = BatchNorm2d(18), torch.randn(32, 18, 32, 32).to(memory_format=torch.channels_last)
    theirs = nn.BatchNorm2d(18)
    assert "NativeBatchNorm" in type(layer(x).grad_fn).__name__ and torch.equal(layer(x), theirs(x))
    theirs(x)  # as often
    assert torch.equal(layer.running_mean, theirs.running_mean) and torch.equal(layer.running_var, theirs.running_var)
    assert torch.equal(layer.eval()(x), theirs.eval()(x))
