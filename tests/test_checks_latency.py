"""The checks of code in notebooks 04 and 05: correct code is right, each usual mistake gets its hint, anything else one line."""

import inspect
import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau, pearsonr, rankdata, spearmanr

import proxyless_lite as pl
from proxyless_lite.course import checks
from proxyless_lite.course.checks import latency as module
from proxyless_lite.course.checks.answers import verdicts

CHECKS = [check.__name__ for check in (
    checks.network_latency, checks.reference_correction, checks.relative_rmse, checks.kendall_tau, checks.expected_latency, checks.latency_gradient,
    checks.penalised_loss, checks.pair_expectation, checks.reinforce, checks.within_limit)]


def said(capsys, name, *answers):
    """What a check prints for these functions."""
    capsys.readouterr()
    getattr(checks, name)(*answers)
    return capsys.readouterr().out


def count(name):
    return len(inspect.signature(getattr(checks, name)).parameters)


# -- student's code, written without a look at the checks --------------------------------------------------------------


def softmax(alpha):
    e = alpha.exp()
    return e / e.sum(-1, keepdim=True)


def expected(alpha, F, fixed):
    return fixed + sum(sum(p * f for p, f in zip(row, ms)) for row, ms in zip(softmax(alpha), F))


def gradient(alpha, F):
    alpha = alpha.requires_grad_()
    (softmax(alpha) * F).sum().backward()
    return alpha.grad


def tau(a, b):
    pairs = list(itertools.combinations(range(len(a)), 2))
    same = sum((a[i] < a[j]) == (b[i] < b[j]) for i, j in pairs)
    return (2 * same - len(pairs)) / len(pairs)


def policy_gradient(p, paths, R, b):
    """Descends −(R − b) log p, by autograd through α."""
    alpha = p.log().requires_grad_()
    log_p = alpha.log_softmax(1)
    loss = -sum((r - b) * sum(log_p[e, j] for e, j in enumerate(path)) for r, path in zip(R, paths)) / len(R)
    loss.backward()
    return alpha.grad, 0.99 * b + 0.01 * R.mean()


def best_pair(p, F, limit, better=lambda p, q: p * q, fits=None):
    fits = fits or (lambda i, j: F[0, i] + F[1, j] <= limit)
    return max((ij for ij in itertools.product(range(p.shape[1]), repeat=2) if fits(*ij)), key=lambda ij: better(p[0, ij[0]], p[1, ij[1]]))


def first_comes_first(p, F, limit):
    i = max((i for i in range(7) if F[0, i] + F[1].min() <= limit), key=lambda i: p[0, i])
    return i, max((j for j in range(7) if F[0, i] + F[1, j] <= limit), key=lambda j: p[1, j])


RIGHT = {
    "network_latency": [lambda fixed, F, paths: fixed + sum(F[e, j] for e, j in enumerate(paths))],
    "reference_correction": [lambda ms, reference: np.median(ms / reference, axis=1) * np.median(reference)],
    "relative_rmse": [lambda predicted, measured: np.sqrt(np.mean((predicted - measured)**2)) / np.mean(measured)],
    "kendall_tau": [tau],
    "expected_latency": [expected],
    "latency_gradient": [gradient],
    "penalised_loss": [lambda ce, E, T, w: ce + w * abs(E - T) / T, lambda ce, E, T, w: 0.2 * ce * (math.log(E) / math.log(T))**w],
    "pair_expectation": [lambda alpha, F, pair: softmax(alpha[pair]) @ F[pair]],
    "reinforce": [policy_gradient],
    "within_limit": [best_pair],
}
WRONG = [  # check, the student's functions, and a piece of the hint
    ("network_latency", [lambda fixed, F, paths: sum(F[e, j] for e, j in enumerate(paths))], "stem and head"),
    ("network_latency", [lambda fixed, F, paths: fixed + F[:, paths].sum()], "F[range(E), paths]"),
    ("network_latency", [lambda fixed, F, paths: fixed + F.sum()], "all candidates"),
    ("network_latency", [lambda fixed, F, paths: sum(fixed + F[e, j] for e, j in enumerate(paths))], "not once per edge"),
    ("reference_correction", [lambda ms, reference: np.median(ms, 1)], "reference's time next to it"),
    ("reference_correction", [lambda ms, reference: np.median(ms / reference, 1)], "times the reference's median"),
    ("reference_correction", [lambda ms, reference: np.median(ms, 1) / np.median(reference, 1) * np.median(reference)], "visit by visit"),
    ("reference_correction", [lambda ms, reference: np.mean(ms / reference, 1) * np.median(reference)], "take the median"),
    ("reference_correction", [lambda ms, reference: np.median(ms / reference, 0) * np.median(reference)], "shape (6,) is asked for, this is shape (5,)"),
    ("relative_rmse", [lambda a, b: np.sqrt(np.mean((a - b)**2))], "RMSE in ms"),
    ("relative_rmse", [lambda a, b: np.mean(abs(a - b)) / b.mean()], "absolute errors"),
    ("relative_rmse", [lambda a, b: np.sqrt(np.mean(((a - b) / b)**2))], "by the mean once"),
    ("relative_rmse", [lambda a, b: np.linalg.norm(a - b) / b.mean()], "not their sum"),
    ("relative_rmse", [lambda a, b: np.sqrt(np.mean((a - b)**2)) / b.std()], "standard deviation"),
    ("kendall_tau", [lambda a, b: pearsonr(a, b)[0]], "Pearson"),
    ("kendall_tau", [lambda a, b: spearmanr(a, b)[0]], "Spearman"),
    ("kendall_tau", [lambda a, b: pearsonr(rankdata(a), rankdata(b))[0]], "Spearman"),
    ("kendall_tau", [lambda a, b: (1 + kendalltau(a, b)[0]) / 2], "subtract the share"),
    ("kendall_tau", [lambda a, b: 2 * kendalltau(a, b)[0]], "each pair counts once"),
    ("kendall_tau", [lambda a, b: kendalltau(a, b)[0] * (len(a) - 1) / len(a)], "not by n²"),
    ("expected_latency", [lambda alpha, F, fixed: expected(alpha, F, 0)], "add it"),
    ("expected_latency", [lambda alpha, F, fixed: expected(alpha.T, F.T, fixed)], "dim 1"),
    ("expected_latency", [lambda alpha, F, fixed: fixed + (alpha * F).sum()], "no probability"),
    ("expected_latency", [lambda alpha, F, fixed: fixed + sum(F[e, j] for e, j in enumerate(alpha.argmax(1)))], "most probable path"),
    ("expected_latency", [lambda alpha, F, fixed: fixed * len(F) + expected(alpha, F, 0)], "not once per edge"),
    ("latency_gradient", [lambda alpha, F: alpha.softmax(1) * F], "subtract E of the edge"),
    ("latency_gradient", [lambda alpha, F: -gradient(alpha, F)], "the sign"),
    ("latency_gradient", [lambda alpha, F: F - (alpha.softmax(1) * F).sum(1)[:, None]], "still to be multiplied"),
    ("latency_gradient", [lambda alpha, F: alpha.softmax(1) * (F - (alpha.softmax(1) * F).sum())], "own mean"),
    ("penalised_loss", [lambda ce, E, T, w: ce + w * (E - T) / T, None], "abs#linear: that is add#linear"),
    ("penalised_loss", [lambda ce, E, T, w: ce + w * max(E - T, 0) / T, None], "above T only"),
    ("penalised_loss", [lambda ce, E, T, w: ce + w * abs(E - T), None], "divide by T"),
    ("penalised_loss", [None, lambda ce, E, T, w: ce * (math.log(E) / math.log(T))**w], "mul#log: the factor 0.2"),
    ("penalised_loss", [None, lambda ce, E, T, w: 0.2 * ce * (E / T)**w], "ratio of logarithms"),
    ("penalised_loss", [None, lambda ce, E, T, w: 0.2 * ce * math.log(E) / math.log(T) * w], "exponent"),
    ("penalised_loss", [None, lambda ce, E, T, w: 0.2 * ce * torch.log(E / T)**w], "not log (E / T)"),
    ("pair_expectation", [lambda alpha, F, pair: (softmax(alpha) * F)[pair].sum()], "divide by their sum"),
    ("pair_expectation", [lambda alpha, F, pair: (F[pair[0]] + F[pair[1]]) / 2], "half and half"),
    ("pair_expectation", [lambda alpha, F, pair: softmax(softmax(alpha)[pair]) @ F[pair]], "softmax of α"),
    ("pair_expectation", [lambda alpha, F, pair: softmax(alpha) @ F], "Eq. (5)"),
    ("reinforce", [lambda p, paths, R, b: (-policy_gradient(p, paths, R, b)[0], policy_gradient(p, paths, R, b)[1])], "the sign"),
    ("reinforce", [lambda p, paths, R, b: (policy_gradient(p, paths, R, 0)[0], policy_gradient(p, paths, R, b)[1])], "subtract the baseline"),
    ("reinforce", [lambda p, paths, R, b: (policy_gradient(p, paths, R, b)[0], 0.01 * b + 0.99 * R.mean())], "the reverse"),
    ("reinforce", [lambda p, paths, R, b: (len(R) * policy_gradient(p, paths, R, b)[0], policy_gradient(p, paths, R, b)[1])], "not the sum"),
    ("reinforce", [lambda p, paths, R, b: (policy_gradient(p, paths, R, b)[0], b)], "still the old one"),
    ("within_limit", [lambda p, F, limit: p.argmax(1)], "exceed the limit"),
    ("within_limit", [lambda p, F, limit: F.argmin(1).tolist()], "fastest network"),
    ("within_limit", [lambda p, F, limit: best_pair(p, F, limit, lambda p, q: p + q)], "not the sum"),
    ("within_limit", [first_comes_first], "edge 0 takes"),
    ("within_limit", [lambda p, F, limit: best_pair(p, F, limit, fits=lambda i, j: F[0, i] + F[1, j] < limit)], "at most"),
    ("reinforce", [lambda p, paths, R, b: policy_gradient(p, paths, R, b)[0]], "2 results are asked for"),
    ("within_limit", [lambda p, F, limit: best_pair(p, F, limit, fits=lambda i, j: max(F[0, i], F[1, j]) <= limit / 2)], "too strict"),
]


@pytest.mark.parametrize("name", CHECKS)
def test_correct_code_is_right(capsys, name):
    for _ in range(5):
        told = said(capsys, name, *RIGHT[name])
        assert told.count(": right\n") == told.count("\n") == count(name), told


@pytest.mark.parametrize("name, answers, hint", WRONG, ids=lambda value: value if isinstance(value, str) else "")
def test_a_usual_mistake_gets_its_hint(capsys, name, answers, hint):
    for _ in range(5):
        told = said(capsys, name, *answers)
        assert hint in told and ": right" not in told, told


@pytest.mark.parametrize("name", CHECKS)
def test_each_check_is_tried_with_three_mistakes_or_more(name):
    assert sum(of == name for of, *_ in WRONG) >= 3 * count(name)


def comparisons(monkeypatch, name):
    """What a check hands to `compare`: name, the package's function, draw, mistakes."""
    seen = []
    monkeypatch.setattr(module, "compare", lambda name, written, *rest, **settings: seen.append((name, *rest, settings)))
    getattr(module, name)(*[None] * count(name))
    monkeypatch.undo()
    return seen


@pytest.mark.parametrize("name", CHECKS)
def test_every_listed_mistake_gets_its_own_hint_and_none_is_taken_for_right(capsys, monkeypatch, name):
    for asked, right, draw, mistakes, settings in comparisons(monkeypatch, name):
        assert len(mistakes) >= 3 and len({hint for hint, _ in mistakes}) == len(mistakes)
        for hint, wrong in [*mistakes] * 3:
            module.compare(asked, wrong, right, draw, mistakes, **settings)
            assert capsys.readouterr().out == f"{asked}: {hint}\n"


@pytest.mark.parametrize("name", CHECKS)
def test_no_answer_yet(capsys, name):
    for nothing in (None, lambda *inputs: None):
        with verdicts() as heard:
            told = said(capsys, name, *[nothing] * count(name))
        assert told.count(": no answer yet\n") == told.count("\n") == count(name) and set(heard) == {"none"}


def raises(*inputs):
    raise KeyError("first line\nsecond line")


@pytest.mark.parametrize("answer", [raises, 3, "abc", [], object(), lambda: 0, lambda *inputs: "abc", lambda *inputs: {}, lambda *inputs: object(),
                                    lambda *inputs: float("nan"), lambda *inputs: (1, "a"), lambda *inputs: np.zeros((2, 3)), lambda *inputs: ()])
@pytest.mark.parametrize("name", CHECKS)
def test_anything_else_is_told_in_one_line(capsys, name, answer):
    told = said(capsys, name, *[answer] * count(name))
    assert told.count("\n") == count(name) and "right\n" not in told and "no answer" not in told
    if answer is raises:
        assert "your code raised KeyError: 'first line" in told


@pytest.mark.parametrize("name", CHECKS)
def test_a_check_changes_nothing_that_the_page_draws(capsys, name):
    torch.manual_seed(0), np.random.seed(0)
    wanted = torch.rand(1).item(), np.random.rand()
    torch.manual_seed(0), np.random.seed(0)
    said(capsys, name, *RIGHT[name])
    assert (torch.rand(1).item(), np.random.rand()) == wanted


# -- the package does what the checks take for right -------------------------------------------------------------------


def test_two_path_takes_the_expectation_that_the_check_asks_for(monkeypatch):
    (_, right, _, _, _), = comparisons(monkeypatch, "pair_expectation")
    space, seen = pl.spaces.chain(edges=2, width=4), []
    F = torch.cat([torch.rand(2, 6, dtype=torch.float64), torch.zeros(2, 1, dtype=torch.float64)], 1)
    costs = pl.costs.Costs(space, 0.0, F.tolist(), "ms")
    monkeypatch.setattr(costs, "expected_under", lambda p: seen.append(pl.costs.Costs.expected_under(costs, p)) or seen[-1])
    torch.manual_seed(0)
    net, rule = pl.SuperNet(space, seed=0).double(), pl.rules.TwoPath()
    net.set_alpha(torch.randn(2, 7, dtype=torch.float64))
    for _ in range(5):
        def loss(backward=False):
            value = net(torch.randn(2, 3, 8, 8, dtype=torch.float64)).square().mean()
            value.backward()
            return {"loss": value.detach()}
        rule.estimate(net, loss, objective=pl.objective.LatencyPenalty(costs, 0.1))
        pairs = rule._pair.tolist()
        by_check = sum(right(alpha, row, pair) for alpha, row, pair in zip(net.alpha_matrix(), F, pairs))
        assert seen[-1].item() == pytest.approx(by_check.item(), rel=1e-9)


def test_the_network_within_a_limit_is_the_one_that_derive_gives(monkeypatch):
    (_, right, draw, _, _), = comparisons(monkeypatch, "within_limit")
    for _ in range(5):
        p, F, limit = draw()
        costs = pl.costs.Costs(pl.spaces.chain(edges=2, width=4), 0.0, F.tolist(), "ms")
        net = SimpleNamespace(space=costs.space, alpha_matrix=p.log)
        assert right(p, F, limit).tolist() == pl.limits.Limits([(costs, limit)]).most_probable(net)[0] == list(best_pair(p, F, limit))
        assert costs.cost_of(right(p, F, limit).tolist()) <= limit < costs.cost_of(p.argmax(1).tolist())
