"""Notebooks 04 and 05: functions that a student writes, against the package's."""

from functools import cache
from itertools import cycle

import numpy as np
import pandas as pd
import torch
from torch.nn.functional import one_hot

from ...costs import Costs
from ...latency.errors import accuracy
from ...latency.rounds import summarize
from ...limits import Limits
from ...objective import LatencyPenalty
from ...rules import Reinforce
from ...spaces import chain
from ...supernet import SuperNet
from .written import compare

DRAW = torch.Generator()  # of its own: a check must not change what the page draws next


def uniform(low, high, *shape):
    return low + (high - low) * torch.rand(shape, generator=DRAW, dtype=torch.float64)


def integers(high, *shape):
    return torch.randint(high, shape, generator=DRAW)


def latencies(edges):
    """F (E, 7) in ms, whose last path is Zero."""
    return torch.cat([uniform(0.5, 3, edges, 6), torch.zeros(edges, 1, dtype=torch.float64)], 1)


def alphas(edges):
    return torch.randn(edges, 7, generator=DRAW, dtype=torch.float64)


def costs_of(fixed, F):
    return Costs(chain(edges=len(F), width=4), fixed, F.tolist(), "ms")


@cache
def supernet_of(edges):
    return SuperNet(chain(edges=edges, width=4), seed=0).double()


def supernet(alpha):
    """A supernet with these α (E, 7)."""
    net = supernet_of(len(alpha))
    net.set_alpha(alpha)
    return net


def on_arrays(function):
    """The function, called with NumPy arrays in place of tensors, as notebook 04 has them."""
    return None if function is None else lambda *inputs: function(*[each.numpy() for each in inputs])


# -- 04 latency model --------------------------------------------------------------------------------------------------


def network_latency(written):
    """Notebook 04: ms of a network from `fixed`, F (E, N) and its paths, a list of E, as Costs.cost_of."""
    def draw():
        edges = 3 + int(integers(4, 1))
        return float(uniform(1, 4)), latencies(edges), integers(7, edges).tolist()
    each = lambda F, paths: F[range(len(paths)), paths]  # noqa: E731 - (E,)
    compare("network latency", written, lambda fixed, F, paths: costs_of(fixed, F).cost_of(paths), draw, [
        ("the fixed part, stem and head, takes time too", lambda fixed, F, paths: each(F, paths).sum()),
        ("F[:, paths] takes these columns of every row; one path per edge is F[range(E), paths]", lambda fixed, F, paths: fixed + F[:, paths].sum()),
        ("that is the sum of all candidates; an edge runs only its own path", lambda fixed, F, paths: fixed + F.sum()),
        ("the fixed part counts once, not once per edge", lambda fixed, F, paths: (fixed + each(F, paths)).sum()),
        ("blocks run one after the other: add them up, do not average", lambda fixed, F, paths: fixed + each(F, paths).mean()),
        ("blocks run one after the other: add them up, do not take the slowest", lambda fixed, F, paths: fixed + each(F, paths).max())])


def reference_correction(written):
    """Notebook 04: ms (n,) from ms (n, R) and reference_ms (n, R), as rounds.summarize."""
    def draw():
        own, slow = uniform(10, 30, 6, 1), uniform(1, 1.6, 6, 5)
        return own * slow * uniform(0.9, 1.1, 6, 5), 20 * slow * uniform(0.95, 1.05, 6, 5)

    def right(ms, reference):
        item, number = np.indices(ms.shape)
        return summarize(pd.DataFrame({"round": number.ravel(), "item": item.ravel(), "ms": ms.numpy().ravel(),
                                       "reference_ms": reference.numpy().ravel()})).ms.tolist()
    median = lambda values, dim=None: torch.as_tensor(np.median(values.numpy(), dim))  # noqa: E731 - of an even number the mean of two
    compare("corrected times", on_arrays(written), right, draw, [
        ("the machine was slower in some visits; divide each by the reference's time next to it", lambda ms, ref: median(ms, 1)),
        ("those are ratios; times the reference's median they become ms", lambda ms, ref: median(ms / ref, 1)),
        ("divide visit by visit, then take the median: each visit has its own slow minute",
         lambda ms, ref: median(ms, 1) / median(ref, 1) * median(ref)),
        ("the other way round: where the reference was slow, the time must come down", lambda ms, ref: median(ms * ref, 1) / median(ref)),
        ("the other way round: network / reference, not reference / network", lambda ms, ref: median(ref / ms, 1) * median(ref)),
        ("a mean over rounds follows single slow visits; take the median", lambda ms, ref: (ms / ref).mean(1) * median(ref)),
        ("one median of the reference for all: that of all visits, not of each network's own", lambda ms, ref: median(ms / ref, 1) * median(ref, 1)),
        ("take the median of the reference, not its mean", lambda ms, ref: median(ms / ref, 1) * ref.mean())])


def relative_rmse(written):
    """Notebook 04: RMSE over the mean of the measured times, from predicted (n,) and measured (n,), as errors.accuracy."""
    def draw():
        measured = uniform(10, 30, 9)
        return measured * uniform(0.9, 1.12, 9), measured
    square = lambda a, b: ((a - b)**2).mean()  # noqa: E731
    compare("relative RMSE", on_arrays(written), lambda a, b: accuracy(a.numpy(), b.numpy()[:, None])["rmse/mean"], draw, [
        ("that is the RMSE in ms; divide by the mean of the measured times", lambda a, b: square(a, b).sqrt()),
        ("that is the mean of absolute errors; take the root of the mean square", lambda a, b: (a - b).abs().mean() / b.mean()),
        ("errors of both signs cancel; square them before the mean", lambda a, b: (a - b).mean() / b.mean()),
        ("divide by the mean once, after the root; here every network is divided by its own time", lambda a, b: (a / b - 1).square().mean().sqrt()),
        ("take the root of the mean square", lambda a, b: square(a, b) / b.mean()),
        ("the mean of the squares, not their sum", lambda a, b: ((a - b)**2).sum().sqrt() / b.mean()),
        ("divide by the mean of what was measured, not of what was predicted", lambda a, b: square(a, b).sqrt() / a.mean()),
        ("divide by the mean of the measured times, not by their standard deviation", lambda a, b: square(a, b).sqrt() / b.std(correction=0)),
        ("that is in per cent; leave out the factor 100", lambda a, b: 100 * square(a, b).sqrt() / b.mean())])


def kendall_tau(written):
    """Notebook 04: Kendall's τ of predicted (n,) and measured (n,), as errors.accuracy."""
    def draw():
        measured = uniform(10, 30, 9)
        return measured + uniform(-6, 6, 9), measured
    signs = lambda a, b: ((a[:, None] - a) * (b[:, None] - b)).sign()  # noqa: E731 - (n, n), 0 on the diagonal
    ranks = lambda a: a.argsort().argsort().double()  # noqa: E731
    pearson = lambda a, b: torch.corrcoef(torch.stack([a, b]))[0, 1]  # noqa: E731
    pairs = lambda a: len(a) * (len(a) - 1) / 2  # noqa: E731
    compare("Kendall's τ", on_arrays(written), lambda a, b: accuracy(a.numpy(), b.numpy()[:, None])["kendall tau"], draw, [
        ("that is Pearson's correlation of the values; τ only asks which of two is larger", pearson),
        ("that is Spearman's correlation of the ranks; count pairs instead", lambda a, b: pearson(ranks(a), ranks(b))),
        ("that is the share of pairs in the same order; subtract the share in opposite order", lambda a, b: (signs(a, b) > 0).sum() / 2 / pairs(a)),
        ("that is the share of pairs in opposite order; τ is the share in the same order minus it",
         lambda a, b: (signs(a, b) < 0).sum() / 2 / pairs(a)),
        ("a network makes no pair with itself: divide by n (n − 1), not by n²", lambda a, b: signs(a, b).mean()),
        ("each pair counts once; here (i, j) and (j, i) both do", lambda a, b: signs(a, b).sum() / pairs(a)),
        ("divide by the number of pairs, n (n − 1) / 2", lambda a, b: signs(a, b).sum() / 2)], times=6)


# -- 05 latency-aware search -------------------------------------------------------------------------------------------


def expected_latency(written):
    """Notebook 05: E[latency] (Eq. 5–6) from alpha (E, N), F (E, N) and `fixed`, as Costs.expected."""
    def draw():
        edges = 2 + int(integers(3, 1))
        return alphas(edges), latencies(edges), float(uniform(1, 4))
    compare("E[latency]", written, lambda alpha, F, fixed: costs_of(fixed, F).expected(supernet(alpha)), draw, [
        ("the fixed part takes time whatever α is: add it", lambda alpha, F, fixed: (alpha.softmax(1) * F).sum()),
        ("the fixed part counts once, not once per edge", lambda alpha, F, fixed: (fixed + (alpha.softmax(1) * F).sum(1)).sum()),
        ("α is no probability; p = softmax(α)", lambda alpha, F, fixed: fixed + (alpha * F).sum()),
        ("softmax over the paths of an edge, which is dim 1; here it runs over the edges",
         lambda alpha, F, fixed: fixed + (alpha.softmax(0) * F).sum()),
        ("softmax over each edge's paths alone; here all entries of the matrix share one",
         lambda alpha, F, fixed: fixed + (alpha.flatten().softmax(0) * F.flatten()).sum()),
        ("edges run one after the other: add up over them, do not average", lambda alpha, F, fixed: fixed + (alpha.softmax(1) * F).sum(1).mean()),
        ("that is the latency of the most probable path of every edge; weight all paths by p",
         lambda alpha, F, fixed: fixed + F.gather(1, alpha.argmax(1, keepdim=True)).sum()),
        ("that gives all paths the same weight; weight them by p", lambda alpha, F, fixed: fixed + F.mean(1).sum())])


def latency_gradient(written):
    """Notebook 05: ∂E/∂α (E, N) from alpha (E, N) and F (E, N), as autograd through Costs.expected."""
    def draw():
        edges = 2 + int(integers(3, 1))
        return alphas(edges), latencies(edges)

    def right(alpha, F):
        net = supernet(alpha)
        return torch.stack(torch.autograd.grad(costs_of(1.0, F).expected(net), net.architecture_parameters()))
    p, mean = lambda alpha: alpha.softmax(1), lambda alpha, F: (alpha.softmax(1) * F).sum(1, keepdim=True)  # noqa: E731
    compare("∂E/∂α", written, right, draw, [
        ("that is p · F; a path slower than its edge's mean is pushed down, a faster one up: subtract E of the edge", lambda alpha, F: p(alpha) * F),
        ("still to be multiplied by p of the path itself", lambda alpha, F: F - mean(alpha, F)),
        ("the sign: E grows with α of a path slower than the mean", lambda alpha, F: p(alpha) * (mean(alpha, F) - F)),
        ("that is ∂E/∂p; α moves all p of its edge at once", lambda alpha, F: F),
        ("subtract the mean weighted by p, Σ p F, not the plain one", lambda alpha, F: p(alpha) * (F - F.mean(1, keepdim=True))),
        ("each edge has its own mean: sum over dim 1 only, keepdim=True", lambda alpha, F: p(alpha) * (F - (p(alpha) * F).sum())),
        ("that treats each p alone, p (1 − p) F; α of one path also moves the p of all others", lambda alpha, F: p(alpha) * (1 - p(alpha)) * F)])


def penalised_loss(abs_linear, mul_log):
    """Notebook 05: two forms of the loss, each from (ce, E, T, weight), as LatencyPenalty.loss."""
    sides = cycle((0.6, 1.4))                                                                      # E below T, and above

    def draw():
        T = float(uniform(5, 8))
        return uniform(0.5, 2), T * next(sides) * uniform(0.9, 1.1), T, float(uniform(0.1, 0.8))
    some = costs_of(2.0, torch.ones(1, 7))
    right = lambda form: lambda ce, E, T, weight: LatencyPenalty(some, weight, T, form).loss(ce, E)  # noqa: E731
    compare("abs#linear", abs_linear, right("abs#linear"), draw, [
        ("that is add#linear: below T it still pulls E down; take |E − T|", lambda ce, E, T, w: ce + w * (E - T) / T),
        ("divide by T, so that the weight has no unit", lambda ce, E, T, w: ce + w * (E - T).abs()),
        ("that pulls from above T only; take |E − T|", lambda ce, E, T, w: ce + w * (E - T).clamp_min(0) / T),
        ("divide by the target T, not by E", lambda ce, E, T, w: ce + w * (E - T).abs() / E),
        ("the penalty alone; the cross-entropy is to be added", lambda ce, E, T, w: w * (E - T).abs() / T),
        ("the penalty is added to the cross-entropy, not multiplied with it", lambda ce, E, T, w: ce * (1 + w * (E - T).abs() / T)),
        ("|E − T|, not its square", lambda ce, E, T, w: ce + w * ((E - T) / T)**2),
        ("the weight belongs to the penalty; the cross-entropy has none", lambda ce, E, T, w: w * (ce + (E - T).abs() / T))])
    log = lambda x: torch.as_tensor(x, dtype=torch.float64).log()  # noqa: E731
    compare("mul#log", mul_log, right("mul#log"), draw, [
        ("the factor 0.2 is missing", lambda ce, E, T, w: ce * (log(E) / log(T))**w),
        ("a ratio of logarithms, log E / log T; here there are none", lambda ce, E, T, w: 0.2 * ce * (E / T)**w),
        ("log E / log T, not log (E / T)", lambda ce, E, T, w: 0.2 * ce * log(E / T)**w),
        ("the weight is the exponent, not a factor", lambda ce, E, T, w: 0.2 * ce * w * log(E) / log(T)),
        ("the ratio multiplies the cross-entropy, it is not added", lambda ce, E, T, w: ce + 0.2 * (log(E) / log(T))**w),
        ("the other way round: a larger E must make the loss larger", lambda ce, E, T, w: 0.2 * ce * (log(T) / log(E))**w),
        ("the exponent belongs to the ratio alone, not to CE", lambda ce, E, T, w: 0.2 * (ce * log(E) / log(T))**w),
        ("the factor is 0.2; the weight is the exponent", lambda ce, E, T, w: w * ce * (log(E) / log(T))**w)])


def pair_expectation(written):
    """Notebook 05: E of one edge over two sampled paths from alpha (N,), F (N,) and pair, as TwoPath takes it: the others masked."""
    def draw():
        pair = torch.randperm(6, generator=DRAW)[:2].tolist()
        return alphas(1)[0], latencies(1)[0], pair

    def right(alpha, F, pair):
        masked = torch.full_like(alpha, -torch.inf)                                                # as if the others did not exist
        masked[pair] = alpha[pair]
        return costs_of(0.0, F[None]).expected_under(masked.softmax(0)[None])
    q = lambda alpha, pair: alpha.softmax(0)[pair] / alpha.softmax(0)[pair].sum()  # noqa: E731
    compare("E over a pair", written, right, draw, [
        ("these two p do not add up to 1; divide by their sum", lambda alpha, F, pair: (alpha.softmax(0)[pair] * F[pair]).sum()),
        ("that is Eq. (5), over all paths; the sampled two stand for the edge", lambda alpha, F, pair: alpha.softmax(0) @ F),
        ("half and half; the two keep the ratio of their p", lambda alpha, F, pair: F[pair].mean()),
        ("softmax of α, not of p", lambda alpha, F, pair: alpha.softmax(0)[pair].softmax(0) @ F[pair]),
        ("α is no probability; renormalise p = softmax(α)", lambda alpha, F, pair: alpha[pair] @ F[pair] / alpha[pair].sum()),
        ("each path by its own q; here the two are exchanged", lambda alpha, F, pair: q(alpha, pair).flip(0) @ F[pair]),
        ("that is the latency of the more probable one; weight both by q", lambda alpha, F, pair: F[pair][alpha[pair].argmax()])])


def reinforce(written):
    """Notebook 05: the gradient (E, N) of Eq. (8) and the next baseline, from p (E, N), paths (M, E), rewards (M,), b, as Reinforce."""
    def draw():
        edges, samples = 2 + int(integers(3, 1)), 6
        return alphas(edges).softmax(1), integers(7, samples, edges), uniform(0.3, 1, samples), float(uniform(0.4, 0.8))

    def right(p, paths, rewards, b):
        rule = Reinforce(samples=len(paths))
        rule.load_state_dict({"mean": torch.tensor(b, dtype=torch.float64)})
        before = rule._baseline(rewards)
        return rule.gradient(p, paths, rewards - before), rule.state_dict()["mean"]
    new = lambda rewards, b, keep=0.99: keep * b + (1 - keep) * rewards.mean()  # noqa: E731
    hot = lambda p, paths: one_hot(paths, 7).to(p)  # noqa: E731 - (M, E, N)

    def of(score, advantages, sign=-1):
        return sign * (advantages[:, None, None] * score).mean(0)
    compare("gradient and baseline", written, right, draw, [
        ("the sign: the rewards are to grow, and the optimizer descends", lambda p, paths, R, b: (of(hot(p, paths) - p, R - b, 1), new(R, b))),
        ("subtract the baseline b from the rewards", lambda p, paths, R, b: (of(hot(p, paths) - p, R), new(R, b))),
        ("∇ log p_i is e_i − p; here the −p is missing", lambda p, paths, R, b: (of(hot(p, paths), R - b), new(R, b))),
        ("∇ by α is e_i − p; here it is by p, e_i / p", lambda p, paths, R, b: (of(hot(p, paths) / p, R - b), new(R, b))),
        ("the mean over the M networks, not the sum", lambda p, paths, R, b: (len(R) * of(hot(p, paths) - p, R - b), new(R, b))),
        ("b keeps 0.99 of itself and takes 0.01 of the mean reward; here it is the reverse",
         lambda p, paths, R, b: (of(hot(p, paths) - p, R - b), new(R, b, 0.01))),
        ("subtract b as it was before this batch, or it depends on these rewards",
         lambda p, paths, R, b: (of(hot(p, paths) - p, R - new(R, b)), new(R, b))),
        ("the gradient is right; b is still the old one", lambda p, paths, R, b: (of(hot(p, paths) - p, R - b), b)),
        ("that is the mean of this batch; a moving average keeps 0.99 of b", lambda p, paths, R, b: (of(hot(p, paths) - p, R - b), R.mean()))])


def within_limit(written):
    """Notebook 05: the paths of the most probable network of at most `limit` ms, from p (2, N) and F (2, N), as Limits."""
    def right(p, F, limit):
        return torch.tensor(Limits([(costs_of(0.0, F), limit)]).most_probable(supernet(p.log()))[0])

    def pick(p, F, limit, score, allowed=None):
        """Of all pairs the allowed one with the largest score; both are (N, N)."""
        allowed = F[0][:, None] + F[1] <= limit if allowed is None else allowed
        return torch.tensor(divmod(torch.where(allowed, score, -torch.inf).argmax().item(), p.shape[1]))

    def greedy(p, F, limit, first):
        other, paths = 1 - first, [0, 0]
        paths[first] = torch.where(F[first] + F[other].min() <= limit, p[first], 0).argmax().item()
        paths[other] = torch.where(F[other] <= limit - F[first][paths[first]], p[other], 0).argmax().item()
        return torch.tensor(paths)
    chance = lambda p: p[0][:, None] * p[1]  # noqa: E731 - (N, N)
    mistakes = [
        ("that is the most probable path of each edge; their latencies exceed the limit", lambda p, F, limit: p.argmax(1)),
        ("that is the fastest network; a more probable one is within the limit too", lambda p, F, limit: F.argmin(1)),
        ("a network's probability is the product of its paths' p, not the sum", lambda p, F, limit: pick(p, F, limit, p[0][:, None] + p[1])),
        ("that uses the limit up; take the most probable of all that are within it", lambda p, F, limit: pick(p, F, limit, F[0][:, None] + F[1])),
        ("half of the limit for each edge is too strict; only their sum is limited",
         lambda p, F, limit: pick(p, F, limit, chance(p), (F[0] <= limit / 2)[:, None] & (F[1] <= limit / 2))),
        ("edge 0 takes what it likes best, edge 1 what is left over; compare all pairs", lambda p, F, limit: greedy(p, F, limit, 0)),
        ("edge 1 takes what it likes best, edge 0 what is left over; compare all pairs", lambda p, F, limit: greedy(p, F, limit, 1)),
        ("`limit` ms exactly are allowed: at most", lambda p, F, limit: pick(p, F, limit, chance(p), F[0][:, None] + F[1] < limit))]
    firsts, ties = cycle((5, 6)), cycle((False,) * 4 + (True,))

    def draw():
        """Numbers for which all mistakes show; edge 0 and edge 1 first are told from the sum by turns. Every fifth limit is met exactly."""
        first, tie = next(firsts), next(ties)
        while True:
            p, F, limit = alphas(2).softmax(1), latencies(2), float(uniform(1.5, 4))
            wrong, best = (mistake(p, F, limit) for _, mistake in mistakes[:-1]), pick(p, F, limit, chance(p))
            if not any(torch.equal(best, each) for each in wrong) and not torch.equal(*(mistakes[i][1](p, F, limit) for i in (2, first))):
                return p, F, sum(F[[0, 1], best].tolist()) if tie else limit
    compare("paths", written, right, draw, mistakes, times=5)
