"""Networks so small that every path can be enumerated in float64, shared by the tests."""

from itertools import product

import torch
from torch import nn
from torch.testing import assert_close

import proxyless_lite as pl


def exactly(a, b):
    """To ten digits."""
    assert_close(a, b, rtol=0, atol=1e-10)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def linear(width):
    return nn.Linear(width, width)


def normed(width):
    return nn.Sequential(nn.Linear(width, width), nn.BatchNorm1d(width), nn.Tanh())


class Residual(nn.Module):
    def __init__(self, operation):
        super().__init__()
        self.operation = operation

    def forward(self, x):
        return x + self.operation(x)


class Parallel(nn.Module):
    """The sum of several edges that read the same input: a loss quadratic in the sum is quadratic in each edge."""

    def __init__(self, *edges):
        super().__init__()
        self.edges = nn.ModuleList(edges)

    def forward(self, x):
        return sum(edge(x) for edge in self.edges)


def edge(*names, width=5):
    make = {"linear": linear, "other": linear, "normed": normed, "identity": lambda _: nn.Identity(),
            "Zero": lambda _: pl.ops.Zero()}
    return pl.MixedOp({name: make[name](width) for name in names})


def network(seed=0, dtype=torch.float64):
    """Two edges in a row, of 4 and 3 candidates, the first on the input itself; 3 classes, α not uniform."""
    torch.manual_seed(seed)
    net = pl.SuperNet(nn.Sequential(
        Residual(edge("normed", "identity", "Zero", "linear")), nn.Linear(5, 5), nn.BatchNorm1d(5), nn.Tanh(),
        Residual(edge("Zero", "linear", "normed")), nn.Linear(5, 3))).to(dtype)
    return spread(net)


def parallel(seed=0):
    """Two edges side by side, of 4 and 3 candidates."""
    torch.manual_seed(seed)
    net = pl.SuperNet(Parallel(edge("normed", "identity", "Zero", "linear"), edge("linear", "Zero", "other"))).double()
    return spread(net)


def spread(net, scale=0.7):
    """Replace α by a draw far from uniform."""
    net.set_alpha(scale * torch.randn(net.alpha_matrix().shape, dtype=torch.float64))
    return net


def batch(dtype=torch.float64):
    g = torch.Generator().manual_seed(1)
    return torch.randn(4, 5, generator=g, dtype=dtype), torch.tensor([0, 1, 2, 1])


def on(net, x, labels, loss=pl.training.cross_entropy):
    """What a rule takes: the loss of the net on this batch."""
    return pl.training.batch_loss(net, (x, labels), loss)


def sizes(net):
    return [len(op.names) for op in net.mixed_ops.values()]


def all_paths(net):
    return list(product(*map(range, sizes(net))))


def all_pairs(net):
    """Every (active, partner) on every edge: a list of one pair an edge."""
    return list(product(*([(i, j) for i in range(n) for j in range(n) if i != j] for n in sizes(net))))


def others(net, active):
    return [[j for j in range(n) if j != i] for i, n in zip(active, sizes(net))]


def true_gradient(net, loss):
    """∂J/∂α (E, N) of J = Σ_paths Π_e p_e · loss(paths), by autograd through p alone. Also returns the losses."""
    alphas = [a.detach().clone().requires_grad_() for a in net.architecture_parameters()]
    losses = {paths: loss(paths) for paths in all_paths(net)}
    p = [a.softmax(0) for a in alphas]
    J = sum(torch.stack([p[e][i] for e, i in enumerate(paths)]).prod() * value for paths, value in losses.items())
    return padded(net, torch.autograd.grad(J, alphas)), losses


def padded(net, rows):
    """Rows of different length as a matrix (E, N), 0 where an edge has no such path."""
    matrix = torch.zeros(len(rows), max(sizes(net)), dtype=torch.float64)
    for e, row in enumerate(rows):
        matrix[e, :len(row)] = row
    return matrix


class Stored:
    """The naive gate of Appendix D: all outputs stored, y = Σ_j g_j o_j(x) with g a leaf of 0 and 1."""

    def __init__(self, active, count):
        self.g = torch.zeros(count, dtype=torch.float64)
        self.g[active] = 1
        self.g.requires_grad_()

    def __call__(self, op, x):
        return sum(g * o(x) for g, o in zip(self.g, op.candidates))


def stored_gradient(net, active, loss):
    """∂L/∂g (E, N) by autograd on stored outputs; `loss()` runs the net. Leaves the net's state and gates as they were."""
    gates = [op.gate for op in net.mixed_ops.values()]
    state = {k: v.clone() for k, v in net.state_dict().items()}
    for op, i in zip(net.mixed_ops.values(), active):
        op.gate = Stored(i, len(op.names))
    rows = torch.autograd.grad(loss(), [op.gate.g for op in net.mixed_ops.values()])
    for op, gate in zip(net.mixed_ops.values(), gates):
        op.gate = gate
    net.load_state_dict(state)
    return padded(net, rows)


def probed_gradient(net, active, probed, loss):
    """∂L/∂g (E, N) by Probe gates, with the weights frozen as in an α step."""
    net.probe(active, probed)
    with net.frozen():
        loss().backward()
    return net.gate_gradients()


def finite_differences(f, parameters, step=1e-6):
    """Central differences of the scalar f() in every number of the parameters."""
    rows = []
    with torch.no_grad():
        for p in parameters:
            row = torch.zeros_like(p)
            for i, value in enumerate(p.tolist()):
                p[i] = value + step
                above = f()
                p[i] = value - step
                row[i] = (above - f()) / (2 * step)
                p[i] = value
            rows.append(row)
    return rows


def draws(net, monkeypatch, *paths):
    """Make the next calls of net.sample give these paths."""
    remaining = iter(paths)

    def sample(generator=None):
        net.activate(now := next(remaining))
        return list(now)

    monkeypatch.setattr(net, "sample", sample)
