"""Exercise checks: the right answer is accepted, typical wrong ones get the hint that names the mistake, nothing ever raises."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

import proxyless_lite as pl
from proxyless_lite import checks, notebook, plots

NONSENSE = (None, "abc", [], {}, float("nan"), float("inf"), object(), (1, 2, 3), lambda: 0)


def said(capsys, check, *answers):
    """What a check prints for these answers."""
    capsys.readouterr()
    check(*answers)
    return capsys.readouterr().out


# -- 00 start here -----------------------------------------------------------------------------------------------------


# -- 01 search spaces --------------------------------------------------------------------------------------------------


# -- 02 binary gates ---------------------------------------------------------------------------------------------------


# -- 03 CIFAR-10 search ------------------------------------------------------------------------------------------------


# -- 04 latency model --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer, told", [((0.5**2 - 0.4**2)**0.5, "right"), (0.5 - 0.4, "squares"), (math.hypot(0.5, 0.4), "not their sum"),
                                          (0.5**2 - 0.4**2, "root"), (7, "not yet")])
def test_model_error(answer, told, capsys):
    assert told in said(capsys, checks.model_error, answer)


@pytest.mark.parametrize("answer, told", [(20 * 21 / 24, "right"), (21, "machine was slow"), (21 / 24, "ratio"), (21 * 24 / 20, "other way round")])
def test_reference_correction(answer, told, capsys):
    assert told in said(capsys, checks.reference_correction, answer)


@pytest.fixture(scope="module")
def kernels():
    """All edges MB6 3x3 and all MB6 7x7: MACs, ms by the model, ms by the table of blocks timed alone."""
    space, folder = pl.spaces.mobile(), notebook.DATA / "latency"
    timings = pl.latency.Timings.load(folder / "mobile_cpu.csv")
    model = pl.latency.Model().fit(timings.architectures[:1000], timings.repeats()[:1000])
    alone = pl.objective.costs(space, pl.latency.Table.load(folder / "mobile_cpu_table_a.csv"))
    networks = [pl.Architecture(space, (name,) * 21) for name in ("MB6 3x3", "MB6 7x7")]
    return [[price(a) for a in networks] for price in (pl.Architecture.macs, model.predict, alone.of)]


def test_kernel_price(kernels, capsys):
    macs, ms, alone = ([a, b, 100 * (b / a - 1)] for a, b in kernels)
    assert said(capsys, checks.kernel_price, macs[2], ms[2]).count("right") == 2
    assert "ratio" in said(capsys, checks.kernel_price, macs[1] / macs[0], None)
    assert "not less" in said(capsys, checks.kernel_price, 100 * (1 - macs[0] / macs[1]), None)
    for wrong, hint in ((macs[2], "what MACs"), (alone[2], "timed alone"), (ms[1] / ms[0], "ratio"), (100 * ms[1] / ms[0], "whole"),
                        (100 * (1 - ms[0] / ms[1]), "not less")):
        assert hint in said(capsys, checks.kernel_price, None, wrong)


# -- 05 latency-aware search -------------------------------------------------------------------------------------------


def test_cost_gradient(capsys):
    alpha, F = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64).log().requires_grad_(), torch.tensor([2.0, 4.0, 0.0], dtype=torch.float64)
    expected = (alpha.softmax(0) * F).sum()
    (gradient,) = torch.autograd.grad(expected, alpha)
    assert "right" in said(capsys, checks.cost_gradient, gradient[1])
    for wrong, hint in ((4, "∂E/∂p"), (0.3 * 4, "subtract the mean"), (expected.item(), "E itself"), (4 - 2.2, "multiplied by p")):
        assert hint in said(capsys, checks.cost_gradient, wrong)


def test_price_on_the_front(capsys):
    networks = pd.DataFrame({"latency": [1.0, 2.0, 3.0, 4.0], "cross_entropy": [0.50, 0.42, 0.30, 0.27]})
    prices = np.linspace(0, 1, 1001)
    chosen = np.array([plots.preferred(networks, price).latency for price in prices])
    (never,) = set(networks.latency) - set(chosen)
    assert said(capsys, checks.price_on_the_front, never, prices[chosen == 1].min()).count("right") == 2
    for wrong, hint in ((1, "fastest"), (3, "is preferred"), (4, "price of 0")):
        assert hint in said(capsys, checks.price_on_the_front, wrong, None)
    for wrong, hint in ((0.50 - 0.42, "still better"), (0.23 / 3, "4 ms"), (0.42 - 0.30, "step from 2 to 3"), (0.50 - 0.30, "divide"), (0.03, "gives way")):
        assert hint in said(capsys, checks.price_on_the_front, None, wrong)


def test_released_price(capsys):
    costs = pl.objective.costs(pl.spaces.chain(edges=1), "macs")  # any costs above 1: only the form counts
    penalty = pl.objective.LatencyPenalty(costs, 0.3, 80.0, "mul#log")
    ce, expected = (torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (1.0, 80.0))
    by_ce, by_expected = torch.autograd.grad(penalty.loss(ce, expected), (ce, expected))
    assert "right" in said(capsys, checks.released_price, by_expected / by_ce)
    for wrong, hint in ((by_expected, "0.2"), (0.3 / 80, "log T"), (0.3 / math.log(80), "1 / E"), (0.1 / 80, "add#linear"),
                        (by_ce / by_expected, "other way"), (0.3 / 80 / math.log10(80), "natural")):
        assert hint in said(capsys, checks.released_price, wrong)


@pytest.mark.parametrize("check, count", [(checks.model_error, 1), (checks.reference_correction, 1), (checks.kernel_price, 2), (checks.cost_gradient, 1),
                                          (checks.price_on_the_front, 2), (checks.released_price, 1)])
def test_checks_of_04_and_05_never_raise(check, count, capsys):
    assert said(capsys, check, *[None] * count).count("no answer yet") == count
    for answer in NONSENSE:
        assert "right" not in said(capsys, check, *[answer] * count)


# -- 06 ImageNet mobile search -----------------------------------------------------------------------------------------


# -- 07 train and evaluate ---------------------------------------------------------------------------------------------


# -- 08 specialisation -------------------------------------------------------------------------------------------------


# -- 09 paper tables and figures ---------------------------------------------------------------------------------------


# -- 10 ground truth ---------------------------------------------------------------------------------------------------
