"""Exercise checks: the right answer is accepted, typical wrong ones get the hint that names the mistake, nothing ever raises."""

import math
from itertools import permutations

import pytest
import torch

import proxyless_lite as pl
from proxyless_lite import checks

NONSENSE = (None, "abc", [], {}, float("nan"), float("inf"), object(), (1, 2, 3), lambda: 0)


def said(capsys, check, *answers):
    """What a check prints for these answers."""
    capsys.readouterr()
    check(*answers)
    return capsys.readouterr().out


# -- 00 start here -----------------------------------------------------------------------------------------------------


HOURS = (200 * 45_000 / 1_000 + 200 * 45_000 / 64 / 5 * 64 / 1_250) / 3600
STEPS_AN_EPOCH = len(range(64, 1_078 + 1, 64))  # whole batches


@pytest.mark.parametrize("check, answers, hint", [
    (checks.entropy, [-sum(p * math.log(p) for p in (0.4, *[0.1] * 6))], "right"),
    (checks.entropy, [-sum(p * math.log2(p) for p in (0.4, *[0.1] * 6))], "bits"),
    (checks.entropy, [math.log(7)], "seven equal"),
    (checks.entropy, [sum(p * math.log(p) for p in (0.4, *[0.1] * 6))], "the sign"),
    (checks.entropy, [-sum(p * math.log(p) for p in (0.4, 0.1))], "six paths"),
    (checks.updates, [10 * STEPS_AN_EPOCH, 8 * STEPS_AN_EPOCH], "weight steps: right\nα steps: right"),
    (checks.updates, [8 * STEPS_AN_EPOCH, 10 * STEPS_AN_EPOCH], "during the warm-up too\nα steps: α rests"),
    (checks.updates, [170, 136], "incomplete batch of an epoch is left out\nα steps: one α step follows"),
    (checks.updates, [16, 32], "one epoch\nα steps: that is the warm-up"),
    (checks.paper_hours, [HOURS], "right"),
    (checks.paper_hours, [2.5], "α steps take time"),
    (checks.paper_hours, [2.5 + 2.0], "alpha_every"),
    (checks.paper_hours, [60 * HOURS], "minutes"),
    (checks.paper_hours, [3.0], "a rate of their own"),
])
def test_start_here(capsys, check, answers, hint):
    assert hint in said(capsys, check, *answers)


@pytest.mark.parametrize("nonsense", NONSENSE)
def test_start_here_never_raises(capsys, nonsense):
    for said_now in (said(capsys, checks.entropy, nonsense), said(capsys, checks.updates, nonsense, nonsense),
                     said(capsys, checks.paper_hours, nonsense)):
        assert said_now and "right" not in said_now


# -- 01 search spaces --------------------------------------------------------------------------------------------------


# -- 02 binary gates ---------------------------------------------------------------------------------------------------


def by_enumeration(p, wanted):
    """How often path `wanted` is active in a two-path step: two draws without replacement, then one of the two by p."""
    share = 0
    for first, second in permutations(range(len(p)), 2):
        share += p[first] * p[second] / (1 - p[first]) * (wanted in (first, second)) * p[wanted] / (p[first] + p[second])
    return share


def by_autograd(p, gate_gradient, path):
    """∂/∂α of Σ_j p_j ∂L/∂g_j with ∂L/∂g held fixed: the middle of Eq. (4)."""
    alpha = torch.tensor(p, dtype=torch.float64).log().requires_grad_()
    (alpha.softmax(0) @ torch.tensor(gate_gradient, dtype=torch.float64)).backward()
    return alpha.grad[path].item()


@pytest.mark.parametrize("check, answer, hint", [
    (checks.zero_gradient, by_autograd([0.2, 0.3, 0.5], [1, 0, 2], 1), "right"),
    (checks.zero_gradient, 0, "∂L/∂g of Zero"),
    (checks.zero_gradient, 0.36, "the sign"),
    (checks.zero_gradient, -1.2, "p of the path itself"),
    (checks.zero_gradient, 0.3 * (0 - 1), "weighted by p"),
    (checks.active_share, by_enumeration((0.6, 0.3, 0.1), 2), "right"),
    (checks.active_share, 0.1, "Eq. (2)"),
    (checks.active_share, 0.6 * 0.1 / 0.4 + 0.1 * 0.6 / 0.9 + 0.3 * 0.1 / 0.7 + 0.1 * 0.3 / 0.9, "in the pair"),
    (checks.active_share, (0.6 * 0.1 / 0.4 + 0.1 * 0.6 / 0.9 + 0.3 * 0.1 / 0.7 + 0.1 * 0.3 / 0.9) / 2, "not with one half"),
    (checks.active_share, 0.6 * 0.1 / 0.4 * 0.1 / 0.7 + 0.3 * 0.1 / 0.7 * 0.1 / 0.4, "two orders"),
])
def test_binary_gates(capsys, check, answer, hint):
    assert hint in said(capsys, check, answer)


class TopTwo:
    def paths(self, op):
        return op.alpha.argsort(descending=True)[:2].tolist()

    def __call__(self, op, x):
        i, j = self.paths(op)
        return self.join(op, op.candidates[i](x), op.candidates[j](x))

    def join(self, op, y, z):
        return (y + z) / 2


class Added(TopTwo):
    def join(self, op, y, z):
        return y + z


class Weighted(TopTwo):
    def join(self, op, y, z):
        p, q = op.probabilities()[self.paths(op)]
        return (p * y + q * z) / (p + q)


class FirstTwo(TopTwo):
    def paths(self, op):
        return 0, 1


class Least(TopTwo):
    def paths(self, op):
        return op.alpha.argsort()[:2].tolist()


class OneNamed(TopTwo):
    def __call__(self, op, x):
        i, j = super().paths(op)
        return (op.candidates[i](x) + op.candidates[j](x)) / 2

    def paths(self, op):
        return super().paths(op)[:1]


class Fails(TopTwo):
    def join(self, op, y, z):
        raise ZeroDivisionError("on purpose")


class NothingReturned(TopTwo):
    def join(self, op, y, z):
        return None


@pytest.mark.parametrize("gate, hint", [
    (TopTwo, "gate: right"), (TopTwo(), "gate: right"), (Added, "take the mean"), (Weighted, "half and half"), (FirstTwo, "the first two"),
    (Least, "least probable"), (OneNamed, "paths(op) gives [1]"), (pl.Path(1), "most probable path alone"), (pl.Sum(), "not yet"),
    (Fails, "ZeroDivisionError: on purpose"), (NothingReturned, "AttributeError"), (None, "no answer yet")])
def test_gate_of_the_two_most_probable(capsys, gate, hint):
    assert hint in said(capsys, checks.top_two, gate)


@pytest.mark.parametrize("nonsense", NONSENSE)
@pytest.mark.parametrize("check", [checks.zero_gradient, checks.active_share, checks.top_two])
def test_binary_gates_never_raises(capsys, check, nonsense):
    assert (line := said(capsys, check, nonsense)) and "right" not in line


# -- 03 CIFAR-10 search ------------------------------------------------------------------------------------------------


def shift_that_keeps_the_third():
    """By bisection: α = (0.3 − s, −0.1 − s, 0) must give the third path 1/3."""
    low, high = -1.0, 1.0
    for _ in range(60):
        s = (low + high) / 2
        third = 1 / (math.exp(0.3 - s) + math.exp(-0.1 - s) + 1)
        low, high = (s, high) if third < 1 / 3 else (low, s)
    return s


RIGHT_OR_WRONG = torch.distributions.Binomial(360, torch.tensor(0.985, dtype=torch.float64))  # right answers among 360


@pytest.mark.parametrize("check, answer, hint", [
    (checks.path_share, sum(1 / 7 for epoch in range(4) for step in range(64, 1_079, 64)), "right"),
    (checks.path_share, 64, "one of its 7 paths"),
    (checks.path_share, 16 / 7, "one epoch"),
    (checks.path_share, 4 * 1_078 / 64 / 7, "incomplete batch"),
    (checks.path_share, 4 * 17 / 7, "incomplete batch"),
    (checks.rescale, shift_that_keeps_the_third(), "right"),
    (checks.rescale, -shift_that_keeps_the_third(), "the sign"),
    (checks.rescale, 0.1, "the mean of the changes"),
    (checks.rescale, math.exp(shift_that_keeps_the_third()), "its logarithm"),
    (checks.rescale, math.log((math.exp(0.3) + math.exp(-0.1) + 1) / 3), "only the two"),
    (checks.standard_error, 100 * RIGHT_OR_WRONG.stddev.item() / 360, "right"),
    (checks.standard_error, 0.0064, "times 100"),
    (checks.standard_error, 100 * math.sqrt(0.985 * 0.015), "of one image"),
    (checks.standard_error, 100 * 0.985 * 0.015 / 360, "its root"),
    (checks.standard_error, 100 / math.sqrt(360), "not 1"),
])
def test_cifar10_search(capsys, check, answer, hint):
    assert hint in said(capsys, check, answer)


@pytest.mark.parametrize("nonsense", NONSENSE)
@pytest.mark.parametrize("check", [checks.path_share, checks.rescale, checks.standard_error])
def test_cifar10_search_never_raises(capsys, check, nonsense):
    assert (line := said(capsys, check, nonsense)) and "right" not in line


# -- 04 latency model --------------------------------------------------------------------------------------------------


# -- 05 latency-aware search -------------------------------------------------------------------------------------------


# -- 06 ImageNet mobile search -----------------------------------------------------------------------------------------


# -- 07 train and evaluate ---------------------------------------------------------------------------------------------


# -- 08 specialisation -------------------------------------------------------------------------------------------------


# -- 09 paper tables and figures ---------------------------------------------------------------------------------------


# -- 10 ground truth ---------------------------------------------------------------------------------------------------
