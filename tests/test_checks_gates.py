"""Checks of functions that students write in notebooks 02 and 03: right ones pass, and each usual mistake gets the hint that names it."""

import itertools
import math

import pytest
import torch
from torch.nn import functional as F

import proxyless_lite as pl
from proxyless_lite.course import checks
from proxyless_lite.course.checks import gates


@pytest.fixture(params=[torch.float32, torch.float64], ids=["float32", "float64"], autouse=True)
def dtype(request):
    """Notebook 02 computes in float64, notebook 03 in float32."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(request.param)
    yield request.param
    torch.set_default_dtype(before)


def said(capsys, check, function):
    capsys.readouterr()
    check(function)
    line, *more = capsys.readouterr().out.splitlines()
    assert not more, "one line for each check"
    return line.partition(": ")[2]


# -- what students write, right and wrong ------------------------------------------------------------------------------


def one_hot(i, n):
    g = torch.zeros(n)
    g[i] = 1
    return g


def first_above(values, u):
    return next(i for i, value in enumerate(values) if value > u)


def gate(p, u):
    total = 0.0
    for i, p_i in enumerate(p.tolist()):
        total += p_i
        if u < total:
            return one_hot(i, len(p))


def softmax_of_two(by_g, p, pair, divide=True, factor=True, sign=1):
    i, j = pair.tolist()
    q = {k: p[k] / (p[i] + p[j]) if divide else p[k] for k in (i, j)}
    mean = q[i] * by_g[i] + q[j] * by_g[j]
    out = torch.zeros(len(p))
    for k in (i, j):
        out[k] = sign * (q[k] if factor else 1) * (by_g[k] - mean)
    return out


def jacobian(by_g, p):
    return (torch.diag(p) - torch.outer(p, p)) @ by_g


def halves(by_g, p, pair):
    return torch.zeros(len(p)).index_add(0, pair, 0.5 * (by_g[pair] - by_g[pair].mean()))


def only(values, pair):
    out = torch.zeros(len(values))
    out[pair] = values[pair]
    return out


def minus(after, pair, shift):
    out = after.clone()
    out[pair] -= shift
    return out


def grown(before, after, pair):
    return after[pair].exp().sum() / before[pair].exp().sum()


def entropy(p):
    return -sum(p_i * math.log(p_i) for row in p.tolist() for p_i in row)


def best(p, k, score, reverse=True):
    pairs = sorted(itertools.product(range(p.shape[1]), repeat=2), key=lambda ij: score(p[0, ij[0]].item(), p[1, ij[1]].item()), reverse=reverse)
    return torch.tensor(pairs[:k])


def product(a, b):
    return a * b


def rate(lr, done, total):
    return lr * math.cos(math.pi * done / total / 2) ** 2


RIGHT = {
    checks.sample_gate: gate,
    checks.mixed_output: lambda g, paths, x: next(path(x) for g_i, path in zip(g, paths) if g_i == 1),
    checks.gate_gradient: lambda grad_y, outputs: torch.einsum("bc,nbc->n", grad_y, outputs),
    checks.alpha_gradient: jacobian,
    checks.two_path_gradient: softmax_of_two,
    checks.rescale: lambda before, after, pair: minus(after, pair, grown(before, after, pair).log()),
    checks.trained_weights: lambda weights, outside, active: outside + sum(row[i] for row, i in zip(weights.tolist(), active.tolist())),
    checks.alpha_entropy: lambda alpha: entropy(alpha.softmax(1)) / len(alpha),
    checks.derived: lambda alpha: torch.tensor([max(range(len(row)), key=row.__getitem__) for row in alpha.tolist()]),
    checks.learning_rate: rate,
    checks.most_probable: lambda p, k: best(p, k, product),
}
WRONG = {  # check -> a piece of the hint, and the function that must get it
    checks.sample_gate: {
        "that is p itself": lambda p, u: p,
        "always the most probable": lambda p, u: one_hot(p.argmax(), len(p)),
        "p_1 exactly": lambda p, u: one_hot(int((p.cumsum(0) < u).sum()), len(p)),
        "all paths are equally likely": lambda p, u: one_hot(math.floor(u * len(p)), len(p)),
        "not with each p_i": lambda p, u: one_hot(first_above(p, u) if (p > u).any() else 0, len(p)),
        "several entries are 1": lambda p, u: torch.where(p.cumsum(0) > u, 1.0, 0.0),
        "too far": lambda p, u: one_hot((first_above(p.cumsum(0), u) + 1) % len(p), len(p)),
        "too early": lambda p, u: one_hot(first_above(p.cumsum(0), u) - 1, len(p))},
    checks.mixed_output: {
        "more than one path ran": lambda g, paths, x: sum(g[i] * path(x) for i, path in enumerate(paths)),
        "first path whatever": lambda g, paths, x: paths[0](x),
        "a path whose g is 0 ran": lambda g, paths, x: paths[g.tolist().index(0)](x),
        "no path has run": lambda g, paths, x: x,
        "nothing to divide": lambda g, paths, x: paths[g.tolist().index(1)](x) / 4},
    checks.gate_gradient: {
        "mean over all elements": lambda grad_y, outputs: torch.stack([(grad_y * o).mean() for o in outputs]),
        "number of images": lambda grad_y, outputs: torch.stack([(grad_y * o).sum(1).mean() for o in outputs]),
        "the sign": lambda grad_y, outputs: torch.stack([(-grad_y * o).sum() for o in outputs]),
        "multiply by ∇_y L": lambda grad_y, outputs: torch.stack([o.sum() for o in outputs]),
        "its own sum": lambda grad_y, outputs: torch.stack([grad_y.sum() * o.sum() for o in outputs]),
        "the size of each": lambda grad_y, outputs: torch.stack([(grad_y * o).sum().abs() for o in outputs])},
    checks.alpha_gradient: {
        "the sign": lambda by_g, p: -jacobian(by_g, p),
        "p_i in front": lambda by_g, p: jacobian(by_g, p) / p,
        "part of δ_ij": lambda by_g, p: torch.diag(p) @ by_g,
        "weighted by p": lambda by_g, p: p * (by_g - sum(by_g) / len(p)),
        "j = i alone": lambda by_g, p: by_g * p * (1 - p),
        "not δ_ij − p_j": lambda by_g, p: torch.stack([sum(by_g[j] * p[j] * (float(i == j) - p[j]) for j in range(len(p))) for i in range(len(p))]),
        "that is ∂L/∂g": lambda by_g, p: by_g},
    checks.two_path_gradient: {
        "divided by its sum": lambda *given: softmax_of_two(*given, divide=False),
        "not with ½": halves,
        "as if they did not exist": lambda by_g, p, pair: only(jacobian(by_g, p), pair),
        "over all paths": lambda by_g, p, pair: jacobian(by_g, p),
        "the sign": lambda *given: softmax_of_two(*given, sign=-1),
        "q_i in front": lambda *given: softmax_of_two(*given, factor=False)},
    checks.rescale: {
        "nothing was subtracted": lambda before, after, pair: after,
        "the sign": lambda before, after, pair: minus(after, pair, -grown(before, after, pair).log()),
        "from the two alone": lambda before, after, pair: after - grown(before, after, pair).log(),
        "mean of the two changes": lambda before, after, pair: minus(after, pair, (after[pair] - before[pair]).mean()),
        "the ratio itself": lambda before, after, pair: minus(after, pair, grown(before, after, pair)),
        "not all paths": lambda before, after, pair: minus(after, pair, (after.exp().sum() / before.exp().sum()).log()),
        "compares sums of p": lambda before, after, pair: minus(after, pair, (after.softmax(0)[pair].sum() / before.softmax(0)[pair].sum()).log()),
        "multiply exp α": lambda before, after, pair: torch.where(only(torch.ones(len(after)), pair) > 0, after / grown(before, after, pair), after)},
    checks.trained_weights: {
        "outside the edges": lambda weights, outside, active: RIGHT[checks.trained_weights](weights, 0, active),
        "all weights": lambda weights, outside, active: outside + weights.sum(),
        "that is the mean": lambda weights, outside, active: outside + weights.sum() / weights.shape[1],
        "pair them": lambda weights, outside, active: outside + weights[:, active].sum(),
        "paths that did not run": lambda weights, outside, active: outside + weights.sum() - RIGHT[checks.trained_weights](weights, 0, active)},
    checks.alpha_entropy: {
        "softmax over": lambda alpha: entropy(alpha.softmax(0)) / len(alpha),
        "in bits": lambda alpha: entropy(alpha.softmax(1)) / len(alpha) / math.log(2),
        "the sign": lambda alpha: -entropy(alpha.softmax(1)) / len(alpha),
        "sum over the edges": lambda alpha: entropy(alpha.softmax(1)),
        "the mean of both": lambda alpha: entropy(alpha.softmax(1)) / alpha.numel(),
        "with weight p": lambda alpha: -alpha.softmax(1).log().mean(),
        "of the mean p": lambda alpha: entropy(alpha.softmax(1).mean(0)[None])},
    checks.derived: {
        "each column": lambda alpha: alpha.argmax(0),
        "least probable": lambda alpha: alpha.argmin(1),
        "absolute value": lambda alpha: alpha.abs().argmax(1),
        "those are the probabilities": lambda alpha: alpha.softmax(1).max(1).values,
        "the largest α;": lambda alpha: alpha.max(1).values,
        "from 0": lambda alpha: alpha.max(1).indices + 1},
    checks.learning_rate: {
        "half of it": lambda *given: 2 * rate(*given),
        "becomes negative": lambda lr, done, total: lr * math.cos(math.pi * done / total),
        "a quarter": lambda lr, done, total: lr * math.cos(math.pi * done / total / 2),
        "straight line": lambda lr, done, total: lr * (total - done) / total,
        "rises from 0": lambda lr, done, total: lr * math.sin(math.pi * done / total / 2) ** 2,
        "whole wave": lambda lr, done, total: lr * math.cos(math.pi * done / total) ** 2,
        "the first step": lambda lr, done, total: rate(lr, done + 1, total)},
    checks.most_probable: {
        "do not add": lambda p, k: best(p, k, lambda a, b: a + b),
        "falling": lambda p, k: best(p, k, product, reverse=False),
        "exchanged": lambda p, k: best(p, k, product)[:, [1, 0]],
        "to the best": lambda p, k: torch.tensor(best(p, k, product).tolist()[::-1]),
        "on one edge only": lambda p, k: p.sort(descending=True).indices[:, :k].T},
}


# -- what is said ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("check", RIGHT, ids=lambda check: check.__name__)
def test_a_right_function_passes_on_every_new_draw(capsys, check):
    assert {said(capsys, check, RIGHT[check]) for _ in range(5)} == {"right"}


def test_networks_may_be_listed_as_pairs(capsys):
    pairs = lambda p, k: sorted(itertools.product(range(p.shape[1]), repeat=2), key=lambda ij: -product(p[0, ij[0]], p[1, ij[1]]))[:k]  # noqa: E731
    checks.most_probable(pairs)
    checks.most_probable(lambda p, k: [list(pair) for pair in pairs(p, k)])
    assert capsys.readouterr().out == 2 * "networks: right\n"


@pytest.mark.parametrize("check, piece", [(check, piece) for check, wrong in WRONG.items() for piece in wrong],
                         ids=lambda value: value if isinstance(value, str) else value.__name__)
def test_a_usual_mistake_gets_its_hint(capsys, check, piece):
    for _ in range(20):
        hint = said(capsys, check, WRONG[check][piece])
        assert piece in hint and "raised" not in hint, hint


@pytest.mark.parametrize("check", RIGHT, ids=lambda check: check.__name__)
def test_every_listed_mistake_is_tested(monkeypatch, check):
    listed = []
    monkeypatch.setattr(gates, "compare", lambda name, written, right, draw, mistakes, **settings: listed.extend(hint for hint, _ in mistakes))
    check(lambda *inputs: None)
    assert len(listed) >= 3 and len(set(listed)) == len(listed)
    for hint in listed:
        assert sum(piece in hint for piece in WRONG[check]) == 1, hint


@pytest.mark.parametrize("check", RIGHT, ids=lambda check: check.__name__)
def test_no_answer_errors_and_other_answers_take_one_line(capsys, check):
    assert said(capsys, check, None) == said(capsys, check, lambda *inputs: None) == "no answer yet"
    assert said(capsys, check, lambda *inputs: 1 / 0) == "your code raised ZeroDivisionError: division by zero"
    assert "asked for" in said(capsys, check, lambda *inputs: torch.zeros(7, 7)) and "this is a str" in said(capsys, check, lambda *inputs: "g")
    assert "not yet" in said(capsys, check, lambda *inputs: torch.as_tensor(RIGHT[check](*inputs)) * 0 + 0.123)
    assert "right" not in said(capsys, check, "text")


def test_a_check_leaves_what_the_page_draws_as_it_is(capsys):
    torch.manual_seed(3)
    wanted = torch.rand(2)
    torch.manual_seed(3)
    for check, function in RIGHT.items():
        said(capsys, check, function)
    assert torch.equal(torch.rand(2), wanted)


# -- what the checks compare with, by what it must do ------------------------------------------------------------------


def right_of(monkeypatch, check):
    """What a check compares with, and its draws."""
    seen = []
    monkeypatch.setattr(gates, "compare", lambda name, written, right, draw, mistakes, **settings: seen.extend((right, draw)))
    check(None)
    return seen


def test_gates_are_drawn_by_p(monkeypatch):
    right, draw = right_of(monkeypatch, checks.sample_gate)
    p, grid = draw()[0], (torch.arange(10_000) + 0.5) / 10_000
    mean = sum(right(p, u) for u in grid.tolist()) / len(grid)
    assert torch.allclose(mean, p, atol=2e-4)


def test_the_rescale_leaves_the_other_paths_where_they_were_and_keeps_the_step_of_the_two(monkeypatch):
    right, draw = right_of(monkeypatch, checks.rescale)
    before, after, pair = draw()
    result, others = right(before, after, pair), [i for i in range(5) if i not in pair.tolist()]
    assert torch.allclose(result.softmax(0)[others], before.softmax(0)[others], atol=1e-6)
    assert torch.allclose(result[pair].diff(), after[pair].diff(), atol=1e-6) and torch.equal(result[others], after[others])


def test_eq_9_and_eq_4_are_the_gradients_of_a_loss_that_is_linear_in_the_output(monkeypatch, dtype):
    by_probe, draw = right_of(monkeypatch, checks.gate_gradient)
    grad_y, outputs = draw()
    alpha = torch.randn(4, requires_grad=True)
    p = alpha.softmax(0)
    (grad_y * (p[:, None, None] * outputs).sum(0)).sum().backward()      # L of the mean output, with ∇_y L the same everywhere
    by_softmax, _ = right_of(monkeypatch, checks.alpha_gradient)
    assert torch.allclose(by_softmax(by_probe(grad_y, outputs), p.detach()), alpha.grad, atol=1e-5 if dtype == torch.float32 else 1e-12)


def test_two_paths_are_an_edge_of_two(monkeypatch):
    right, draw = right_of(monkeypatch, checks.two_path_gradient)
    by_g, p, pair = draw()
    found, q = right(by_g, p, pair), p[pair] / p[pair].sum()
    assert torch.allclose(found[pair], pl.rules.eq4(by_g[pair][None], q[None])[0], atol=1e-6) and found.count_nonzero() == 2


def test_the_weights_of_a_step_are_those_that_get_a_gradient(monkeypatch):
    right, draw = right_of(monkeypatch, checks.trained_weights)
    weights, outside, active = draw()
    net = gates._chain()
    net.activate(active.tolist())
    for parameter in net.parameters():
        parameter.grad = None
    with torch.enable_grad():
        F.cross_entropy(net(torch.randn(2, 3, 8, 8, dtype=net.weight_parameters()[0].dtype)), torch.tensor([0, 1])).backward()
    with_gradient = sum(parameter.numel() for parameter in net.weight_parameters() if parameter.grad is not None)
    assert with_gradient == right(weights, outside, active) < outside + weights.sum().item()
