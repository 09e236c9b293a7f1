"""Notebooks 02 and 03: functions that the student writes, against the package's gates, rules and search. Nothing here raises."""

import math
from functools import cache
from itertools import cycle

import torch
from torch import nn
from torch.nn import functional as F

from ... import costs, rules, spaces
from ...mixed_op import MixedOp, Path, Probe
from ...supernet import SuperNet
from ...training.loop import cosine
from .written import compare

_RANDOM = torch.Generator().manual_seed(0)  # of its own: what a page draws must not depend on how often a check ran


def _compare(name, *arguments, **settings):
    with torch.random.fork_rng(devices=[]):  # a MixedOp draws its first α
        compare(name, *arguments, **{"tolerance": 1e-5, **settings})


def _normal(*shape):
    return torch.randn(*shape, generator=_RANDOM)


def _probabilities(*shape):
    return _normal(*shape).softmax(-1)


def _indices(high, count):
    """`count` different indices below `high`."""
    return torch.randperm(high, generator=_RANDOM)[:count]


def _by_autograd(function, p):
    """∂/∂α of a function of α, where p = softmax(α)."""
    alpha = p.log().requires_grad_()
    with torch.enable_grad():
        return torch.autograd.grad(function(alpha), alpha)[0]


class _Alpha:
    """α (E, N) in place of a SuperNet, for its methods that need no more."""

    entropy, best_paths, probability_matrix = SuperNet.entropy, SuperNet.best_paths, SuperNet.probability_matrix

    def __init__(self, alpha):
        self.set_alpha(alpha)

    def alpha_matrix(self):
        return self.alpha

    def set_alpha(self, alpha):
        self.alpha = alpha.detach()


# -- 02 binary gates ---------------------------------------------------------------------------------------------------


def sample_gate(function):
    """Eq. (2): from p (N,) and u in [0, 1) the gate g (N,), one entry 1."""
    one = lambda p, i: F.one_hot(torch.as_tensor(i) % len(p), len(p)).to(p)  # noqa: E731
    place = lambda p, u, right=True: torch.searchsorted(p.cumsum(0), torch.tensor(u).to(p), right=right)  # noqa: E731
    ties = cycle([True] + 39 * [False])
    draw = lambda: (torch.full((4,), 0.25), 0.25) if next(ties) else (_probabilities(4), torch.rand(1, generator=_RANDOM).item())  # noqa: E731
    _compare("gate", function, lambda p, u: one(p, place(p, u)), draw, [
        ("that is p itself; a gate is binary: one entry is 1, the others are 0", lambda p, u: p),
        ("that is always the most probable path; let u decide, so that an unlikely one runs at times", lambda p, u: one(p, p.argmax())),
        ("all paths are equally likely there; give path i a piece of [0, 1) as long as p_i", lambda p, u: one(p, int(u * len(p)))),
        ("compare u with the sums p_1, p_1 + p_2, …, not with each p_i", lambda p, u: one(p, (p > u).int().argmax())),
        ("several entries are 1; only the first sum above u counts", lambda p, u: (p.cumsum(0) > u).to(p)),
        ("where u is p_1 exactly, it belongs to path 2: p_1 ≤ u", lambda p, u: one(p, place(p, u, right=False))),
        ("one path too far: count the sums p_1, p_1 + p_2, … that are at most u", lambda p, u: one(p, place(p, u) + 1)),
        ("one path too early: the first sum above u names the path", lambda p, u: one(p, place(p, u) - 1))], times=40)


def mixed_output(function):
    """Eq. (3): from g (N,), a list of N paths and x the output y; only the active path may run."""
    active = cycle(torch.arange(4))

    def draw():
        return F.one_hot(next(active), 4).to(torch.get_default_dtype()), [_Times(_normal(5, 5)) for _ in range(4)], _normal(3, 5)

    def by_path(g, paths, x):
        op = MixedOp({str(i): path for i, path in enumerate(paths)})
        op.gate = Path(g.argmax().item())
        return op(x)
    several = "more than one path ran; run only the one whose g is 1, because an output times 0 costs as much as any other"
    _compare("output", _alone(function), by_path, draw, [(hint, _alone(wrong)) for hint, wrong in (
        (several, lambda g, paths, x: sum(g_i * path(x) for g_i, path in zip(g, paths))),
        ("that is the first path whatever g says", lambda g, paths, x: paths[0](x)),
        ("a path whose g is 0 ran; the index of the 1 in g names the active one", lambda g, paths, x: paths[g.argmax() - 1](x)),
        ("that is x: no path has run", lambda g, paths, x: x),
        ("only one path runs, so there is nothing to divide by N", lambda g, paths, x: paths[g.argmax()](x) / len(g)))], times=8)


class _Times(nn.Module):
    """x times a matrix."""

    def __init__(self, matrix):
        super().__init__()
        self.matrix = matrix

    def forward(self, x):
        return x @ self.matrix


def _alone(function):
    """The function with paths that note their runs: its output becomes NaN where several ran and infinite where a wrong one did."""
    def noting(g, paths, x):
        ran = []
        y = function(g, [lambda x, i=i, path=path: (ran.append(i), path(x))[1] for i, path in enumerate(paths)], x)
        wrong = math.nan if len(ran) > 1 else math.inf if ran and g[ran[0]] == 0 else None
        return torch.full_like(y, wrong) if wrong is not None and isinstance(y, torch.Tensor) else y
    return function and noting


def gate_gradient(function):
    """Eq. (9): from ∇_y L (B, C) and the outputs (N, B, C) of all paths ∂L/∂g (N,)."""
    def by_probe(grad_y, outputs):
        op = MixedOp({str(i): _Gives(output) for i, output in enumerate(outputs)})
        op.gate = Probe(0, range(1, len(outputs)))
        with torch.enable_grad():
            op(grad_y).backward(grad_y)
        return torch.stack([op.gate.grad[j] for j in range(len(outputs))])
    product = lambda grad_y, outputs: (grad_y * outputs).sum((1, 2))  # noqa: E731
    _compare("∂L/∂g", function, by_probe, lambda: (_normal(3, 5), _normal(4, 3, 5)), [
        ("that is a mean over all elements; the inner product ⟨·, ·⟩ is a sum", lambda grad_y, outputs: product(grad_y, outputs) / 15),
        ("do not divide by the number of images: ∇_y L holds that factor already", lambda grad_y, outputs: product(grad_y, outputs) / 3),
        ("the sign: more of o_j changes L by +⟨∇_y L, o_j⟩", lambda grad_y, outputs: -product(grad_y, outputs)),
        ("that is the sum of each output; multiply by ∇_y L first", lambda grad_y, outputs: outputs.sum((1, 2))),
        ("∇_y L is multiplied by its own sum; multiply element by element, then add up", lambda grad_y, outputs: grad_y.sum() * outputs.sum((1, 2))),
        ("that is the size of each product; a negative ∂L/∂g_j is a good sign for path j", lambda grad_y, outputs: product(grad_y, outputs).abs())], times=8)


class _Gives(nn.Module):
    """A path whose output is given, whatever x is."""

    def __init__(self, output):
        super().__init__()
        self.output = output

    def forward(self, x):
        return self.output


def alpha_gradient(function):
    """Eq. (4): from ∂L/∂g (N,) and p (N,) ∂L/∂α (N,)."""
    right = lambda by_g, p: _by_autograd(lambda alpha: alpha.softmax(0) @ by_g, p)  # noqa: E731
    _compare("∂L/∂α", function, right, lambda: (_normal(4), _probabilities(4)), [
        ("the sign: the mean is subtracted from ∂L/∂g_i, not the other way round", lambda by_g, p: p * (p @ by_g - by_g)),
        ("the factor p_i in front is missing", lambda by_g, p: by_g - p @ by_g),
        ("that is only the part of δ_ij; subtract p_i Σ_j p_j ∂L/∂g_j", lambda by_g, p: p * by_g),
        ("the mean over paths is weighted by p: Σ_j p_j ∂L/∂g_j", lambda by_g, p: p * (by_g - by_g.mean())),
        ("that is the term j = i alone; the sum runs over all j", lambda by_g, p: p * (1 - p) * by_g),
        ("the bracket is δ_ij − p_i, not δ_ij − p_j", lambda by_g, p: p * by_g - p ** 2 @ by_g),
        ("that is ∂L/∂g; α acts on it through the softmax", lambda by_g, p: by_g)])


def two_path_gradient(function):
    """§3.2.1: from ∂L/∂g (N,), p (N,) and the indices of two paths (2,) ∂L/∂α (N,), 0 for the other paths."""
    def within(q):
        return lambda by_g, p, pair: _spread(q(p, pair) * (by_g[pair] - q(p, pair) @ by_g[pair]), pair, p)
    right = lambda by_g, p, pair: _by_autograd(lambda alpha: alpha[pair].softmax(0) @ by_g[pair], p)  # noqa: E731
    everything = lambda by_g, p, pair: rules.eq4(by_g[None], p[None])[0]  # noqa: E731
    _compare("∂L/∂α of two", function, right, lambda: (_normal(5), _probabilities(5), _indices(5, 2)), [
        ("p of the two must be divided by its sum: with the others masked, the two share all probability", within(lambda p, pair: p[pair])),
        ("each of the two counts with p divided by the sum over the pair, not with ½", within(lambda p, pair: torch.full_like(p[pair], 0.5))),
        ("the others are masked as if they did not exist: the mean runs over the two alone",
         lambda *given: _spread(everything(*given)[given[2]], given[2], given[1])),
        ("that is Eq. (4) over all paths; only two of them take part", everything),
        ("the sign: the mean of the two is subtracted", lambda *given: -right(*given)),
        ("the factor q_i in front is missing", lambda by_g, p, pair: _spread(by_g[pair] - p[pair] @ by_g[pair] / p[pair].sum(), pair, p))])


def _spread(values, pair, p):
    """Values (2,) at two places of (N,), 0 elsewhere."""
    return torch.zeros_like(p).scatter(0, pair, values)


def rescale(function):
    """§3.2.1: from α (N,) before and after a step on two paths and their indices (2,) the α (N,) that leaves the other p as they were."""
    def by_rule(before, after, pair):
        rule, net = rules.TwoPath(), _Alpha(after[None])
        rule._pair = pair[None]
        rule.after_step(net, before[None])
        return net.alpha[0]

    def draw():
        before, pair = _normal(5), _indices(5, 2)
        return before, before.scatter_add(0, pair, _normal(2)), pair

    def less(shift, sign=1):
        return lambda before, after, pair: after - sign * _spread(shift(before, after, pair).expand(2), pair, after)
    log_ratio = lambda before, after, pair: after[pair].logsumexp(0) - before[pair].logsumexp(0)  # noqa: E731
    _compare("α", function, by_rule, draw, [
        ("nothing was subtracted: the sum of exp α over the two has changed, and with it every p", lambda before, after, pair: after),
        ("the sign: where the sum of exp α has grown, both α go down", less(log_ratio, -1)),
        ("subtract from the two alone: the same shift of all α changes no p", lambda *given: given[1] - log_ratio(*given)),
        ("that subtracts the mean of the two changes; take the sums of exp α", less(lambda before, after, pair: (after - before)[pair].mean())),
        ("that subtracts the ratio itself; α takes its logarithm", less(lambda *given: log_ratio(*given).exp())),
        ("only the two belong in the sums, not all paths", less(lambda before, after, pair: after.logsumexp(0) - before.logsumexp(0))),
        ("that compares sums of p, whose denominators differ; compare sums of exp α",
         less(lambda before, after, pair: (after.softmax(0)[pair].sum() / before.softmax(0)[pair].sum()).log())),
        ("multiply exp α by the ratio, not α: subtract its logarithm",
         lambda *given: given[1].scatter(0, given[2], given[1][given[2]] / log_ratio(*given).exp()))])


# -- 03 CIFAR-10 search ------------------------------------------------------------------------------------------------


def trained_weights(function):
    """§3.2.1: from weights (E, N) of each path, those outside the edges and the active paths (E,) how many weights a weight step may change."""
    def by_supernet(weights, outside, active):
        _chain().activate(active.tolist())
        return sum(parameter.numel() for parameter in _chain().active_parameters())

    def draw():
        net, size = _chain(), lambda module: sum(parameter.numel() for parameter in module.parameters())
        weights = torch.tensor([[size(path) for path in op.candidates] for op in net.mixed_ops.values()])
        alphas = sum(alpha.numel() for alpha in net.architecture_parameters())
        return weights, size(net) - weights.sum().item() - alphas, torch.randint(6, (len(weights),), generator=_RANDOM)
    of_active = lambda weights, active: weights[torch.arange(len(active)), active].sum()  # noqa: E731
    _compare("weights", function, by_supernet, draw, [
        ("the weights outside the edges learn in every step; add them", lambda weights, outside, active: of_active(weights, active)),
        ("those are all weights; a path that did not run has no gradient", lambda weights, outside, active: outside + weights.sum()),
        ("that is the mean over the paths of an edge; the active one is given",
         lambda weights, outside, active: outside + weights.double().mean(1).sum()),
        ("weights[:, active] takes every active path of every edge; pair them: weights[torch.arange(E), active]",
         lambda weights, outside, active: outside + weights[:, active].sum()),
        ("those are the paths that did not run", lambda weights, outside, active: outside + weights.sum() - of_active(weights, active))], times=5)


@cache
def _chain():
    return SuperNet(spaces.chain(5, 4, input_size=8), seed=0)


def alpha_entropy(function):
    """From α (E, N) the mean entropy of p over the edges, in nats."""
    mean = lambda p: torch.special.entr(p).sum(1).mean()  # noqa: E731
    _compare("entropy", function, lambda alpha: _Alpha(alpha).entropy(), lambda: (_normal(6, 4),), [
        ("softmax over the edges; a row of α is an edge, so its paths are along dim 1", lambda alpha: mean(alpha.softmax(0))),
        ("that is in bits; the natural logarithm gives nats", lambda alpha: mean(alpha.softmax(1)) / math.log(2)),
        ("the sign: log p is negative, an entropy is not", lambda alpha: -mean(alpha.softmax(1))),
        ("that is the sum over the edges; take the mean", lambda alpha: 6 * mean(alpha.softmax(1))),
        ("sum over the paths of an edge, then take the mean over edges; that is the mean of both", lambda alpha: mean(alpha.softmax(1)) / 4),
        ("each −log p counts with weight p", lambda alpha: -alpha.log_softmax(1).mean()),
        ("first the entropy of each edge, then the mean; that is the entropy of the mean p", lambda alpha: mean(alpha.softmax(1).mean(0)[None]))])


def derived(function):
    """§3.2.1: from α (E, N) the index of the path that each edge keeps, (E,)."""
    _compare("paths", function, lambda alpha: torch.tensor(_Alpha(alpha).best_paths()), lambda: (_normal(6, 6),), [
        ("the largest α of each column; a row is an edge, so take the largest along dim 1", lambda alpha: alpha.argmax(0)),
        ("those are the least probable paths", lambda alpha: alpha.argmin(1)),
        ("a large negative α makes a path unlikely: do not take the absolute value", lambda alpha: alpha.abs().argmax(1)),
        ("those are the probabilities of the paths; their indices are asked for", lambda alpha: alpha.softmax(1).amax(1)),
        ("those are the largest α; their indices are asked for", lambda alpha: alpha.amax(1)),
        ("count the paths from 0", lambda alpha: alpha.argmax(1) + 1)])


def learning_rate(function):
    """The cosine rate: from its start lr, the steps done and all steps the rate of the next step."""
    draw = lambda: (_probabilities(4)[0].item(), int(torch.randint(5, 90, (1,), generator=_RANDOM)), 100)  # noqa: E731
    _compare("rate", function, cosine, draw, [
        ("half of it: 1 + cos runs from 2 to 0", lambda lr, done, total: 2 * cosine(lr, done, total)),
        ("that becomes negative after half of the steps; shift the cosine up by 1", lambda lr, done, total: lr * math.cos(math.pi * done / total)),
        ("half a cosine wave, from 0 to π; that is a quarter", lambda lr, done, total: lr * math.cos(math.pi / 2 * done / total)),
        ("that is a straight line; take the cosine of π · done / total", lambda lr, done, total: lr * (1 - done / total)),
        ("that rises from 0; the rate falls", lambda lr, done, total: lr - cosine(lr, done, total)),
        ("that is a whole wave, which ends at lr again", lambda lr, done, total: lr / 2 * (1 + math.cos(2 * math.pi * done / total))),
        ("the first step, with done = 0, has the full rate", lambda lr, done, total: cosine(lr, done + 1, total))])


def most_probable(function):
    """From p (2, N) of two edges the k most probable networks, best first: a tensor (k, 2) of path indices."""
    def best(score, k, n):
        at = score.flatten().argsort(descending=True)[:k]
        return torch.stack([at // n, at % n], 1)
    product, total = lambda p: p[0][:, None] * p[1], lambda p: p[0][:, None] + p[1]  # noqa: E731

    def draw():
        """Probabilities whose sums do not happen to have the order of their products."""
        while True:
            p, k = _probabilities(2, 5), 5 - int(torch.randint(3, (1,), generator=_RANDOM))
            if not torch.equal(best(product(p), k, 5), best(total(p), k, 5)):
                return p, k
    _compare("networks", function, lambda p, k: torch.tensor(costs.most_probable(p, k)), draw, [
        ("the edges are independent: multiply their p, do not add", lambda p, k: best(total(p), k, 5)),
        ("those are the least probable ones; sort by falling probability", lambda p, k: best(-product(p), k, 5)),
        ("the first column is the first edge's path; they are exchanged", lambda p, k: best(product(p), k, 5).flip(1)),
        ("right networks, but from the k-th to the best", lambda p, k: best(product(p), k, 5).flip(0)),
        ("the second best network differs from the best on one edge only, not on both", lambda p, k: p.topk(k).indices.T)], times=8)

