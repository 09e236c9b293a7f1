"""The mixed operation: N paths, architecture parameters α, and the gate that says which paths run (§3.1–3.2, App. D)."""

from collections.abc import Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial

import torch
from torch import nn
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.utils.checkpoint import checkpoint


class MixedOp(nn.Module):
    """One edge of the over-parameterised network: N candidate paths and α ∈ ℝ^N, with p = softmax(α).

    `candidates` maps a name to any module; all take the same tensors x, one or several, and give the same output shape.
    `gate` decides what `forward` computes: `Path`, `Probe`, `Softmax` or `Sum`. It is set per edge. A candidate must not
    change its input in place, nor the next layer the edge's output: a `Probe` needs both again in backward. α starts at
    N(0, 1e-3), so the first probabilities are nearly uniform. It always stays on the CPU, where paths are drawn: a draw must
    not wait for a GPU. With `activation_checkpointing` only x is kept for backward.

    Raises ValueError without candidates.
    """

    def __init__(self, candidates: Mapping[str, nn.Module]):
        super().__init__()
        if not candidates:
            raise ValueError("MixedOp got no candidates; give a dict of at least one name → module")
        self.names = tuple(candidates)
        self.candidates = nn.ModuleList(candidates.values())
        self.alpha = nn.Parameter(1e-3 * torch.randn(len(self.names), device="cpu"))
        self.list_normalisations()
        self.gate = Path(0)
        self.activation_checkpointing = False

    def forward(self, *x):
        return recomputed(self.gate, self, x) if self.activation_checkpointing else self.gate(self, *x)

    def _apply(self, fn, recurse=True):
        """.to(…) and the like move the candidates; of α they change only the precision, and never below float32: its steps are small."""
        alpha = self._parameters.pop("alpha")
        try:
            super()._apply(fn, recurse)
            alpha.data = alpha.data.to(torch.promote_types(fn(alpha.data).dtype, torch.float32))
        finally:
            self._parameters["alpha"] = alpha
        return self

    def list_normalisations(self):
        """List once the layers in which a probe must leave no trace: probing must be cheap."""
        self.normalisations = [normalisations(o.modules()) for o in self.candidates]

    def probabilities(self) -> torch.Tensor:
        """p_i = exp(α_i) / Σ_j exp(α_j), shape (N,)."""
        return self.alpha.softmax(0)

    def extra_repr(self):
        return f"gate={self.gate}"


class Path:
    """Binary gate, Eq. (3): m(x) = o_i(x) with i the active path. No other path is touched."""

    def __init__(self, active: int):
        self.active = active

    def __call__(self, op, *x):
        return op.candidates[self.active](*x)

    def paths(self, op):
        """Indices of the paths that run with gradients."""
        return (self.active,)

    def __repr__(self):
        return f"Path({self.active})"


class Sum:
    """One-Shot, Eq. (1) left: m(x) = Σ_i o_i(x). Time and memory grow with N."""

    def __call__(self, op, *x):
        return sum(o(*x) for o in op.candidates)

    def paths(self, op):
        return range(len(op.candidates))

    def __repr__(self):
        return f"{type(self).__name__}()"


class Softmax(Sum):
    """DARTS, Eq. (1) right: m(x) = Σ_i p_i o_i(x), and autograd gives ∂L/∂α. Time and memory grow with N."""

    def __call__(self, op, *x):
        return sum(p * o(*x) for p, o in zip(op.probabilities().to(x[0].device), op.candidates))


class Probe(Path):
    """Binary gate that also computes ∂L/∂g of paths not taken, Eq. (4) and (9).

    Forward is `Path(active)`. In backward, given ∇_y L, each of `others` is computed without a graph, used for
    ∂L/∂g_j = Σ ∇_y L ∘ o_j(x) and dropped: memory does not grow with the number of paths probed. Afterwards `grad[j]` holds
    ∂L/∂g_j, a scalar tensor, for the active path and the others, summed when the edge is used more than once. The others
    leave no trace: no gradient, no batch statistics.

    `others` may be empty; a repeated or active index in it is a ValueError.
    """

    def __init__(self, active: int, others: Sequence[int]):
        others = tuple(others)
        if len({active, *others}) != 1 + len(others):
            raise ValueError(f"Probe(active={active}, others={list(others)}): others must be distinct, without the active path")
        super().__init__(active)
        self.others, self.grad = others, {}

    def __call__(self, op, *x):
        if not torch.is_grad_enabled():                 # no backward will come: nothing to probe
            return super().__call__(op, *x)
        y = untouched(op, self.active, x)
        return _Probe.apply(y, op.alpha, op, self, *x)  # α only ensures that backward is called

    def __repr__(self):
        return f"Probe({self.active}, {list(self.others)})"


class _Probe(torch.autograd.Function):
    """The identity on y, whose backward fills gate.grad."""

    @staticmethod
    def forward(ctx, y, alpha, op, gate, *x):
        ctx.save_for_backward(y, *x)
        ctx.op, ctx.gate, ctx.autocast = op, gate, autocast_like_now(y.device.type)
        return y.view_as(y)

    @staticmethod
    def backward(ctx, grad_y):
        (y, *x), op, gate = ctx.saved_tensors, ctx.op, ctx.gate
        record(op, gate, gate.active, grad_y, y)
        with torch.no_grad(), ctx.autocast:
            for j in gate.others:
                with frozen_statistics(op.normalisations[j]):
                    record(op, gate, j, grad_y, untouched(op, j, x))
        return grad_y, None, None, None, *[None] * len(x)


def untouched(op, j, x):
    """o_j(x). Raises ValueError naming the candidate if it changes x in place: the next one would see a different x."""
    versions = [tensor._version for tensor in x]
    y = op.candidates[j](*x)
    if [tensor._version for tensor in x] != versions:
        raise ValueError(f"candidate {op.names[j]!r} changes its input in place; give it a layer that does not (inplace=False)")
    return y


def autocast_like_now(device_type):
    """A context for backward in the precision of forward: backward may be called outside autocast."""
    if not torch.is_autocast_enabled(device_type):
        return nullcontext()
    return torch.autocast(device_type, torch.get_autocast_dtype(device_type))


def record(op, gate, j, grad_y, output):
    """Add Eq. (9), ∂L/∂g_j = reduce_sum(∇_y L ∘ o_j(x)), to gate.grad[j]."""
    if output.shape != grad_y.shape:
        raise ValueError(f"candidate {op.names[j]!r} gives {tuple(output.shape)}, but {op.names[gate.active]!r} gives "
                         f"{tuple(grad_y.shape)}; all candidates of an edge must give one shape")
    value = inner(grad_y, output)
    gate.grad[j] = gate.grad[j] + value if j in gate.grad else value


def inner(a, b):
    """⟨a, b⟩ over all elements: one pass and no temporary where both are dense in memory in the same order."""
    order = sorted(range(a.dim()), key=a.stride, reverse=True)            # channels_last: (0, 2, 3, 1)
    a, b = a.permute(order).flatten(), b.permute(order).flatten()
    wide = torch.promote_types(torch.promote_types(a.dtype, b.dtype), torch.float32)
    return torch.dot(a.to(wide), b.to(wide))


# -- recompute instead of keeping -------------------------------------------------------------------------------------


def recomputed(gate, op, x):
    """gate(op, *x), of which autograd keeps only x: in backward the edge runs again, with the same random numbers."""
    return checkpoint(partial(gate, op), *x, use_reentrant=False, context_fn=lambda: (nullcontext(), spared_statistics(gate, op)))


@contextmanager
def spared_statistics(gate, op):
    """A context in which the edge's batch norms update copies of their running statistics, which are then dropped.

    Without the update, as in `frozen_statistics`, autograd would not keep the same tensors as in the first run.
    """
    layers = [layer for i in gate.paths(op) for layer in op.normalisations[i] if layer.training and layer.track_running_stats]
    kept = [(layer, name, buffer) for layer in layers for name, buffer in layer.named_buffers()]
    for layer, name, buffer in kept:
        setattr(layer, name, buffer.clone())
    try:
        yield
    finally:
        for layer, name, buffer in kept:
            setattr(layer, name, buffer)


# -- batch statistics -------------------------------------------------------------------------------------------------


def normalisations(modules):
    """Those of some modules that keep running statistics."""
    return [m for m in modules if getattr(m, "track_running_stats", False)]


@contextmanager
def frozen_statistics(layers):
    """A context in which these layers still normalise by the batch in training mode, without updating running statistics."""
    tracking = [layer for layer in layers if layer.training and layer.track_running_stats]
    kept = [(layer, dict(layer._buffers)) for layer in tracking if isinstance(layer, _InstanceNorm)]
    for layer in tracking:
        layer.track_running_stats = False
    for layer, buffers in kept:  # an instance norm updates its buffers whatever track_running_stats is
        layer._buffers.update(dict.fromkeys(buffers))
    try:
        yield
    finally:
        for layer in tracking:
            layer.track_running_stats = True
        for layer, buffers in kept:
            layer._buffers.update(buffers)
