"""Exercise checks: the right answer is accepted, typical wrong ones get the hint that names the mistake, nothing ever raises."""

import inspect
import itertools
import math

import pandas as pd
import pytest

import proxyless_lite as pl
from proxyless_lite import checks
from proxyless_lite.notebook import DATA

NONSENSE = (None, "abc", [], {}, float("nan"), float("inf"), object(), (1, 2, 3), lambda: 0)


def said(capsys, check, *answers):
    """What a check prints for these answers."""
    capsys.readouterr()
    check(*answers)
    return capsys.readouterr().out


# -- 00 start here -----------------------------------------------------------------------------------------------------


# -- 01 search spaces --------------------------------------------------------------------------------------------------


def test_larger_space(capsys):
    space = pl.spaces.mobile(candidates=(*pl.ops.MBCONV, "MB4 3x3"))
    alphas = sum(len(edge.candidates) for edge in space.edges())
    assert said(capsys, checks.larger_space, space.size(), alphas) == "networks: right\nα: right\n"
    assert "Zero is no candidate" in said(capsys, checks.larger_space, 8**21, alphas)
    assert "the space as it was" in said(capsys, checks.larger_space, 6**6 * 7**15, alphas)
    assert "multiply" in said(capsys, checks.larger_space, 7**6 + 8**15, alphas)
    assert "not one for all" in said(capsys, checks.larger_space, space.size(), 142)
    assert "no Zero" in said(capsys, checks.larger_space, space.size(), 8 * 21)


def test_tree_halves(capsys):
    orders = [(0, 1, 2, 3, 4, 5), (1, 0, 4, 5, 2, 3)]                 # branches as they are, and exchanged
    orders += [(a, b, d, c, e, f) for a, b, c, d, e, f in orders] + [(a, b, c, d, f, e) for a, b, c, d, e, f in orders]
    orders += [(a, b, d, c, f, e) for a, b, c, d, e, f in orders[:2]]
    assert len(set(orders)) == 8
    halves = sum(all(choice <= tuple(choice[i] for i in order) for order in orders) for choice in itertools.product(range(7), repeat=6))
    assert said(capsys, checks.tree_halves, halves) == "halves: right\n"
    assert "many are the same" in said(capsys, checks.tree_halves, 7**6)
    assert "the two branches may be exchanged too" in said(capsys, checks.tree_halves, 196**2)
    assert "exchange changes nothing" in said(capsys, checks.tree_halves, 7**6 / 8)
    assert "leaves of a branch" in said(capsys, checks.tree_halves, 343 * 344 // 2)


def test_depth_deviations(capsys):
    chance = [math.comb(15, zeros) * 6 ** (15 - zeros) / 7**15 for zeros in range(16)]
    mean = sum(p * (21 - zeros) for zeros, p in enumerate(chance))
    sd = math.sqrt(sum(p * (21 - zeros - mean) ** 2 for zeros, p in enumerate(chance)))
    right = (mean - sum(c != "Zero" for c in pl.zoo.proxyless_gpu().choices)) / sd
    assert said(capsys, checks.depth_deviations, right) == "deviations: right\n"
    assert "positive" in said(capsys, checks.depth_deviations, -right)
    assert "divide by the standard deviation" in said(capsys, checks.depth_deviations, mean - 13)
    assert "only fifteen edges" in said(capsys, checks.depth_deviations, 5 / math.sqrt(21 * 6 / 49))


# -- 02 binary gates ---------------------------------------------------------------------------------------------------


# -- 03 CIFAR-10 search ------------------------------------------------------------------------------------------------


# -- 04 latency model --------------------------------------------------------------------------------------------------


# -- 05 latency-aware search -------------------------------------------------------------------------------------------


# -- 06 ImageNet mobile search -----------------------------------------------------------------------------------------


# -- 07 train and evaluate ---------------------------------------------------------------------------------------------


# -- 08 specialisation -------------------------------------------------------------------------------------------------


def test_away_from_home(capsys):
    ratios = [7.4 / 5.1, 7.2 / 5.1, 204.9 / 138.7, 164.1 / 138.7, 124 / 78, 116 / 78]
    right = math.exp(sum(map(math.log, ratios)) / 6)
    assert said(capsys, checks.away_from_home, right) == "factor: right\n"
    assert "arithmetic mean" in said(capsys, checks.away_from_home, sum(ratios) / 6)
    assert "at home do not belong" in said(capsys, checks.away_from_home, right ** (6 / 9))
    assert "the other way round" in said(capsys, checks.away_from_home, 1 / right)


def test_opposite_pairs(capsys):
    first, second = (pd.read_csv(DATA / "results" / f"zoo_{clock}.csv", comment="#").ms.to_list() for clock in ("cpu", "onnxruntime"))
    opposite = sum((first[i] < first[j]) != (second[i] < second[j]) for i, j in itertools.combinations(range(len(first)), 2))
    assert said(capsys, checks.opposite_pairs, opposite) == "pairs: right\n"
    assert "same order" in said(capsys, checks.opposite_pairs, 75)
    assert "Kendall" in said(capsys, checks.opposite_pairs, 1 - 2 * opposite / 78)
    assert "once" in said(capsys, checks.opposite_pairs, 6)


def fastest(clock, macs, wanted):
    """The least ms of a network with `wanted` MACs: branch and bound over the pairs (MACs, ms) that no other pair beats."""
    front = [(0.0, 0.0)]
    rest = sum(max(row[:len(edge.candidates)]) for edge, row in zip(clock.space.edges(), macs.matrix.tolist()))
    for edge, prices, values in zip(clock.space.edges(), clock.matrix.tolist(), macs.matrix.tolist()):
        options = sorted(zip(values[:len(edge.candidates)], prices))
        rest -= options[-1][0]
        step = sorted((ms + price, -done - value) for done, ms in front for value, price in options if done + value + rest >= wanted - macs.fixed)
        front, most = [], -1.0
        for ms, done in step:
            if -done > most + 20_000:  # coarser by 20,000 MACs an edge: 0.1 % of 400 million in all
                most = -done
                front.append((most, ms))
    return clock.fixed + min(ms for done, ms in front if done >= wanted - macs.fixed)


def test_least_time(capsys):
    space = pl.spaces.mobile()
    of = lambda name: pl.objective.costs(space, pl.latency.Table.load(DATA / "latency" / f"{name}.csv"))  # noqa: E731
    clock, macs = of("mobile_onnxruntime_table"), pl.objective.costs(space, "macs")
    right = fastest(clock, macs, 400e6)
    assert said(capsys, checks.least_time, right) == "time: right\n"
    assert "fixed part (stem" in said(capsys, checks.least_time, right - clock.fixed)
    assert "EPYC's table (a)" in said(capsys, checks.least_time, fastest(of("mobile_cpu_table_a"), macs, 400e6))
    assert "fixed part has MACs" in said(capsys, checks.least_time, fastest(clock, macs, 400e6 + macs.fixed))


@pytest.mark.parametrize("check", [checks.larger_space, checks.tree_halves, checks.depth_deviations, checks.away_from_home,
                                   checks.opposite_pairs, checks.least_time])
def test_nonsense_is_told_and_nothing_raises_01_and_08(capsys, check):
    for answer in NONSENSE:
        for line in said(capsys, check, *[answer] * len(inspect.signature(check).parameters)).splitlines():
            assert "right" not in line


# -- 09 paper tables and figures ---------------------------------------------------------------------------------------


# -- 10 ground truth ---------------------------------------------------------------------------------------------------
