"""Exercise checks: the right answer is accepted, typical wrong ones get the hint that names the mistake, nothing ever raises."""

import math

import numpy as np
import pytest
import torch

from proxyless_lite import checks

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


# -- 05 latency-aware search -------------------------------------------------------------------------------------------


# -- 06 ImageNet mobile search -----------------------------------------------------------------------------------------


def test_06_search_hours(capsys):
    images = 1_281_167 * (40 + 120)
    hours = images / (8 * 1_000) / 60 / 60
    assert said(capsys, checks.search_hours, hours, 8 * hours).count("right") == 2
    assert "eight share the images" in said(capsys, checks.search_hours, 8 * hours, None)
    assert "warm-up" in said(capsys, checks.search_hours, 1_281_167 * 120 / 8_000 / 3600, None)
    assert "seconds" in said(capsys, checks.search_hours, images / 8_000, None)
    assert "all along" in said(capsys, checks.search_hours, None, hours)
    assert "do not divide" in said(capsys, checks.search_hours, None, hours / 8)


def test_06_rank_factor(capsys):
    x = torch.randn(32, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    w = torch.ones(3, dtype=torch.float64, requires_grad=True)
    whole, first, second = (torch.autograd.grad((part @ w).square().mean(), w)[0] for part in (x, x[:16], x[16:]))
    factor = (whole / (first + second)).mean().item()
    assert "right" in said(capsys, checks.rank_factor, factor)
    assert "twice too large" in said(capsys, checks.rank_factor, 1.0)
    assert "not sums" in said(capsys, checks.rank_factor, 1 / 32)
    assert "other way round" in said(capsys, checks.rank_factor, 2.0)


def test_06_zero_wins(capsys):
    p = torch.tensor([0.3] + 6 * [0.7 / 6], dtype=torch.float64)
    expected = (p * torch.tensor([0.0] + 6 * [5.0], dtype=torch.float64)).sum().item()
    below, above = 0.0, 1.0  # bisect for the least p with which Zero leads
    for _ in range(50):
        z = (below + above) / 2
        below, above = (below, z) if z > (1 - z) / 6 else (z, above)
    assert said(capsys, checks.zero_wins, expected, above).count("right") == 2
    assert "Zero costs nothing" in said(capsys, checks.zero_wins, 1.5, None)
    assert "all six add to E" in said(capsys, checks.zero_wins, 0.7 / 6 * 5, None)
    assert "solve" in said(capsys, checks.zero_wins, None, 1 / 6)
    assert "majority" in said(capsys, checks.zero_wins, None, 0.5)


# -- 07 train and evaluate ---------------------------------------------------------------------------------------------


def test_07_smoothed_target(capsys):
    q = 0.9 * torch.nn.functional.one_hot(torch.tensor(0), 1000) + torch.full((1000,), 0.1 / 1000, dtype=torch.float64)
    floor = torch.special.entr(q).sum().item()
    logits = q.log()[None]  # no logits do better than these
    assert torch.nn.functional.cross_entropy(logits, torch.tensor([0]), label_smoothing=0.1).item() == pytest.approx(floor)
    assert said(capsys, checks.smoothed_target, q[0].item(), floor).count("right") == 2
    assert "its share" in said(capsys, checks.smoothed_target, 0.9, None)
    assert "wrong class" in said(capsys, checks.smoothed_target, q[1].item(), None)
    assert "bits" in said(capsys, checks.smoothed_target, None, floor / math.log(2))
    assert "999" in said(capsys, checks.smoothed_target, None, torch.special.entr(q[0]).item())
    assert "without smoothing" in said(capsys, checks.smoothed_target, None, 0.0)


def test_07_width_macs(capsys):
    macs = {width: torch.nn.Conv2d(round(100 * width), round(100 * width), 1).weight.numel() for width in (1, 1.4)}
    assert "right" in said(capsys, checks.width_macs, macs[1.4] / macs[1])
    assert "input and the output" in said(capsys, checks.width_macs, 1.4)
    assert "multiply" in said(capsys, checks.width_macs, 2.8)
    assert "image does not grow" in said(capsys, checks.width_macs, 1.4 ** 3)


def test_07_standard_error(capsys):
    right = np.random.default_rng(0).binomial(50_000, 0.75, size=400_000) / 500  # % of 50,000 images, many times over
    assert "right" in said(capsys, checks.standard_error, right.std())
    assert "100 times the fraction" in said(capsys, checks.standard_error, right.std() / 100)
    assert "take the root" in said(capsys, checks.standard_error, right.var())
    assert "divide by" in said(capsys, checks.standard_error, 100 * math.sqrt(0.75 * 0.25))


@pytest.mark.parametrize("answer", NONSENSE, ids=repr)
def test_06_and_07_never_raise(answer):
    for check, count in ((checks.search_hours, 2), (checks.rank_factor, 1), (checks.zero_wins, 2), (checks.smoothed_target, 2),
                         (checks.width_macs, 1), (checks.standard_error, 1)):
        check(*[answer] * count)


# -- 08 specialisation -------------------------------------------------------------------------------------------------


# -- 09 paper tables and figures ---------------------------------------------------------------------------------------


# -- 10 ground truth ---------------------------------------------------------------------------------------------------
