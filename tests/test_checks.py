"""Exercise checks: the right answer is accepted, typical wrong ones get the hint that names the mistake, nothing ever raises."""

import math

import pytest

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


# -- 07 train and evaluate ---------------------------------------------------------------------------------------------


# -- 08 specialisation -------------------------------------------------------------------------------------------------


# -- 09 paper tables and figures ---------------------------------------------------------------------------------------


def test_four_networks(capsys):
    paper, ours = (6.1, 7.3, 8.0, 5.1), (11.576, 10.242, 48.243, 14.025)
    pairs = [(i, j) for i in range(4) for j in range(i)]
    same = sum((paper[i] - paper[j]) * (ours[i] - ours[j]) > 0 for i, j in pairs)
    assert "right" in said(capsys, checks.four_networks, (same - (len(pairs) - same)) / len(pairs))
    assert "share of pairs" in said(capsys, checks.four_networks, same / len(pairs))
    assert "counts the pairs" in said(capsys, checks.four_networks, same)
    assert "two by two" in said(capsys, checks.four_networks, 1)
    for nonsense in NONSENSE:
        assert "right" not in said(capsys, checks.four_networks, nonsense)


def test_controller_cost(capsys):
    hours = 8000 * 5 * (100 / 300)
    assert said(capsys, checks.controller_cost, hours, hours / 200).count("right") == 2
    assert said(capsys, checks.controller_cost, 13333, 66.7).count("right") == 2
    wrong = said(capsys, checks.controller_cost, 40000, 200)
    assert "one GPU-hour an epoch" in wrong and "your own hours" in wrong
    wrong = said(capsys, checks.controller_cost, 800_000, 200 / hours)
    assert "5 epochs, not 300" in wrong and "other way round" in wrong
    assert "other way round" in said(capsys, checks.controller_cost, 120_000, None)
    for nonsense in NONSENSE:
        assert "right" not in said(capsys, checks.controller_cost, nonsense, nonsense)


def test_darts_over_ours(capsys):
    ours, darts = (1.01, 0.82), (6.49, 3.45)  # weight step, α step
    assert "right" in said(capsys, checks.darts_over_ours, sum(darts) / sum(ours))
    assert "weight steps alone" in said(capsys, checks.darts_over_ours, darts[0] / ours[0])
    assert "α steps alone" in said(capsys, checks.darts_over_ours, darts[1] / ours[1])
    assert "every five" in said(capsys, checks.darts_over_ours, (darts[0] + darts[1] / 5) / (ours[0] + ours[1] / 5))
    assert "other way" in said(capsys, checks.darts_over_ours, sum(ours) / sum(darts))
    for nonsense in NONSENSE:
        assert "right" not in said(capsys, checks.darts_over_ours, nonsense)


# -- 10 ground truth ---------------------------------------------------------------------------------------------------
