"""Exercise checks: the right answer is accepted, typical wrong ones get the hint that names the mistake, nothing ever raises."""

import inspect
import itertools
import math

import numpy as np
import pandas as pd
import pytest
import torch

import proxyless_lite as pl
from proxyless_lite.course import checks, plots
from proxyless_lite.runtime import TABLES as DATA

NONSENSE = (None, "abc", [], {}, float("nan"), float("inf"), object(), (1, 2, 3), lambda: 0)


def said(capsys, check, *answers):
    """What a check prints for these answers."""
    capsys.readouterr()
    check(*answers)
    return capsys.readouterr().out


class Awkward:
    """Neither a number nor printable."""

    def __float__(self):
        raise RuntimeError

    __repr__ = __float__


@pytest.mark.parametrize("answer, told", [(7**648, "not yet"), (-10**5000, "not yet"), ([10**5000], "this is a list"), (Awkward(), "this is a Awkward"),
                                          ("abc", "this is a str")], ids=["large", "huge", "list", "awkward", "text"])
def test_whatever_is_answered_is_told_in_one_line(capsys, answer, told):
    line = said(capsys, checks.entropy, answer)
    assert line.startswith("entropy: ") and told in line and line.count("\n") == 1


def test_an_answer_with_too_few_digits_is_nearly_right(capsys):
    nats = -sum(p * math.log(p) for p in (0.4, *[0.1] * 6))
    for factor, told in ((1.0005, "right"), (1.01, "nearly; give more digits"), (0.981, "nearly"), (1.03, "not yet")):
        assert told in said(capsys, checks.entropy, factor * nats)
    assert "gets its share" in said(capsys, checks.smoothed_target, 0.9, None)             # a typical mistake goes before
    networks = 7**6 * 8**15
    assert "networks: nearly" in said(capsys, checks.larger_space, float(f"{networks:.2e}"), None)
    assert "α: not yet" in said(capsys, checks.larger_space, None, 163)                    # a count has no further digits


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
    (checks.paper_hours, [3.0], "at their own rate"),
])
def test_start_here(capsys, check, answers, hint):
    assert hint in said(capsys, check, *answers)


@pytest.mark.parametrize("nonsense", NONSENSE)
def test_start_here_never_raises(capsys, nonsense):
    for said_now in (said(capsys, checks.entropy, nonsense), said(capsys, checks.updates, nonsense, nonsense),
                     said(capsys, checks.paper_hours, nonsense)):
        assert said_now and "right" not in said_now


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


class RunsAll(TopTwo):
    def __call__(self, op, x):
        outputs, (i, j) = [candidate(x) for candidate in op.candidates], self.paths(op)
        return (outputs[i] + outputs[j]) / 2


class Fails(TopTwo):
    def join(self, op, y, z):
        raise ZeroDivisionError("on purpose")


class NothingReturned(TopTwo):
    def join(self, op, y, z):
        return None


class AboveAverage(TopTwo):
    """All paths with p > 1/N: two of them for one α, one for another."""

    def paths(self, op):
        return [i for i, p in enumerate(op.probabilities().tolist()) if p > 1 / len(op.names)]

    def __call__(self, op, x):
        return torch.stack([op.candidates[i](x) for i in self.paths(op)]).mean(0)


@pytest.mark.parametrize("gate, hint", [
    (TopTwo, "gate: right"), (AboveAverage, "for another"), (TopTwo(), "gate: right"), (Added, "take the mean"), (Weighted, "half and half"), (FirstTwo, "the first two"),
    (Least, "least probable"), (OneNamed, "paths(op) gives [1]"), (RunsAll, "4 paths ran"), (pl.Path(1), "most probable path alone"), (pl.Sum(), "not yet"),
    (Fails, "ZeroDivisionError: on purpose"), (NothingReturned, "AttributeError"), (None, "no answer yet")])
def test_gate_of_the_two_most_probable(capsys, gate, hint):
    assert hint in said(capsys, checks.top_two, gate)


@pytest.mark.parametrize("nonsense", NONSENSE)
def test_binary_gates_never_raises(capsys, nonsense):
    assert (line := said(capsys, checks.top_two, nonsense)) and "right" not in line


# -- 03 CIFAR-10 search ------------------------------------------------------------------------------------------------


RIGHT_OR_WRONG = torch.distributions.Binomial(360, torch.tensor(0.985, dtype=torch.float64))  # right answers among 360


@pytest.mark.parametrize("check, answer, hint", [
    (checks.standard_error, 100 * RIGHT_OR_WRONG.stddev.item() / 360, "right"),
    (checks.standard_error, 0.0064, "times 100"),
    (checks.standard_error, 100 * math.sqrt(0.985 * 0.015), "of one image"),
    (checks.standard_error, 100 * 0.985 * 0.015 / 360, "its root"),
    (checks.standard_error, 100 / math.sqrt(360), "not 1"),
])
def test_cifar10_search(capsys, check, answer, hint):
    assert hint in said(capsys, check, answer)


@pytest.mark.parametrize("nonsense", NONSENSE)
def test_cifar10_search_never_raises(capsys, nonsense):
    assert (line := said(capsys, checks.standard_error, nonsense)) and "right" not in line


# -- 04 latency model --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer, told", [((0.5**2 - 0.4**2)**0.5, "right"), (0.5 - 0.4, "squares"), (math.hypot(0.5, 0.4), "not their sum"),
                                          (0.5**2 - 0.4**2, "root"), (7, "not yet")])
def test_model_error(answer, told, capsys):
    assert told in said(capsys, checks.model_error, answer)


# -- 05 latency-aware search -------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("check, count", [(checks.model_error, 1), (checks.price_on_the_front, 2)])
def test_checks_of_04_and_05_never_raise(check, count, capsys):
    assert said(capsys, check, *[None] * count).count("no answer yet") == count
    for answer in NONSENSE:
        assert "right" not in said(capsys, check, *[answer] * count)


# -- 06 ImageNet mobile search -----------------------------------------------------------------------------------------


def test_06_search_hours(capsys):
    images = 1_281_167 * (40 + 120)
    hours = images / (8 * 1_000) / 60 / 60
    assert said(capsys, checks.search_hours, hours, 8 * hours).count("right") == 2
    assert "eight share the images" in said(capsys, checks.search_hours, 8 * hours, None)
    assert "warm-up" in said(capsys, checks.search_hours, 1_281_167 * 120 / 8_000 / 3600, None)
    assert "seconds" in said(capsys, checks.search_hours, images / 8_000, None)
    assert "throughout" in said(capsys, checks.search_hours, None, hours)
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
    assert "not 1 / 1000" in said(capsys, checks.smoothed_target, 0.9 + 1 / 1000, None)
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


def test_07_difference_error(capsys):
    draw = np.random.default_rng(0)
    ours, theirs = (draw.binomial(50_000, a, size=400_000) / 500 for a in (0.746, 0.72))  # % of 50,000 images, many times over
    assert "right" in said(capsys, checks.difference_error, (ours - theirs).std())
    assert "one of the two" in said(capsys, checks.difference_error, ours.std())
    assert "add up as squares" in said(capsys, checks.difference_error, ours.std() + theirs.std())
    assert "take the root" in said(capsys, checks.difference_error, (ours - theirs).var())
    assert "100 times the fraction" in said(capsys, checks.difference_error, (ours - theirs).std() / 100)


@pytest.mark.parametrize("answer", NONSENSE, ids=lambda answer: type(answer).__name__)
def test_06_and_07_never_raise(answer):
    for check, count in ((checks.search_hours, 2), (checks.rank_factor, 1), (checks.zero_wins, 2), (checks.smoothed_target, 2),
                         (checks.width_macs, 1), (checks.difference_error, 1)):
        check(*[answer] * count)


# -- 08 specialisation -------------------------------------------------------------------------------------------------


def test_away_from_home(capsys):
    ratios = [7.4 / 5.1, 7.2 / 5.1, 204.9 / 138.7, 164.1 / 138.7, 124 / 78, 116 / 78]
    right = math.exp(sum(map(math.log, ratios)) / 6)
    assert said(capsys, checks.away_from_home, right) == "factor: right\n"
    assert "arithmetic mean" in said(capsys, checks.away_from_home, sum(ratios) / 6)
    assert "leave out the three at home" in said(capsys, checks.away_from_home, right ** (6 / 9))
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
    of = lambda name: pl.costs.costs(space, pl.latency.Table.load(DATA / "latency" / f"{name}.csv"))  # noqa: E731
    clock, macs = of("mobile_onnxruntime_table"), pl.costs.costs(space, "macs")
    right = fastest(clock, macs, 400e6)
    assert said(capsys, checks.least_time, right) == "time: right\n"
    assert "fixed part (stem" in said(capsys, checks.least_time, right - clock.fixed)
    assert "finer steps" in said(capsys, checks.least_time, 1.01 * right)
    assert "PyTorch's table (a)" in said(capsys, checks.least_time, fastest(of("mobile_cpu_table_a"), macs, 400e6))
    assert "fixed part has MACs" in said(capsys, checks.least_time, fastest(clock, macs, 400e6 + macs.fixed))


@pytest.mark.parametrize("check", [checks.larger_space, checks.tree_halves, checks.depth_deviations, checks.away_from_home,
                                   checks.opposite_pairs, checks.least_time])
def test_nonsense_is_told_and_nothing_raises_01_and_08(capsys, check):
    for answer in NONSENSE:
        for line in said(capsys, check, *[answer] * len(inspect.signature(check).parameters)).splitlines():
            assert "right" not in line


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


def test_same_networks(capsys):
    chains = list(itertools.product(range(5), repeat=6))                    # 0 is Zero
    moved = [tuple(c for c in chain if c) for chain in chains]
    distinct = len(set(moved))
    assert said(capsys, checks.same_networks, distinct, moved.count((1,)) / len(chains)).count("right") == 2
    assert "counts choices" in said(capsys, checks.same_networks, len(chains), None)
    assert "nothing but Zero" in said(capsys, checks.same_networks, distinct - 1, None)
    assert "without Zero" in said(capsys, checks.same_networks, sum(0 not in chain for chain in chains), None)
    assert "any of the six" in said(capsys, checks.same_networks, None, 1 / len(chains))
    assert "equally probable" in said(capsys, checks.same_networks, None, 1 / distinct)
    for nonsense in NONSENSE:
        assert "right" not in said(capsys, checks.same_networks, nonsense, nonsense)


def test_draws_for_the_top(capsys):
    enough = next(k for k in range(1, 200) if 1 - 0.95 ** k >= 0.95)
    assert "right" in said(capsys, checks.draws_for_the_top, enough)
    assert "one on average" in said(capsys, checks.draws_for_the_top, 1 / 0.05)
    assert "one more" in said(capsys, checks.draws_for_the_top, enough - 1)
    for rounded in (math.log(0.05) / math.log(0.95), 58.4, 58.404):
        assert "whole number" in said(capsys, checks.draws_for_the_top, rounded)
    for nonsense in NONSENSE:
        assert "right" not in said(capsys, checks.draws_for_the_top, nonsense)


# -- 11 search and choose ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("check, answer, hint", [
    (checks.choice_price, sum([12, *[1] * 16, *[8] * 4]) / 8, "right"), (checks.choice_price, 60, "epochs"), (checks.choice_price, (12 + 4 * 8) / 8, "short trainings"),
    (checks.choice_price, (12 + 16) / 8, "from scratch"), (checks.choice_price, (16 + 4 * 8) / 8, "supernet"),
    (checks.best_of_four, 1 - math.prod([0.9] * 4), "right"), (checks.best_of_four, 4 * 0.1, "counts twice"), (checks.best_of_four, 0.9 ** 4, "none"),
])
def test_search_and_choose(capsys, check, answer, hint):
    assert hint in said(capsys, check, answer)


@pytest.mark.parametrize("nonsense", NONSENSE)
@pytest.mark.parametrize("check", [checks.choice_price, checks.best_of_four])
def test_search_and_choose_never_raises(capsys, check, nonsense):
    assert (line := said(capsys, check, nonsense)) and "right" not in line


# -- 12 why methods differ ---------------------------------------------------------------------------------------------


def test_extrapolated(capsys):
    slopes = [3 * o ** 2 * (1 - 3) for o in (1, 3)]
    two_path, trapezoid = 0.9 * slopes[0] + 0.1 * slopes[1], sum(slopes) / 2
    assert said(capsys, checks.extrapolated, two_path, trapezoid).count("right") == 2
    assert "other way" in said(capsys, checks.extrapolated, 0.1 * slopes[0] + 0.9 * slopes[1], None)
    assert "alike" in said(capsys, checks.extrapolated, trapezoid, None)
    assert said(capsys, checks.extrapolated, -two_path, -trapezoid).count("the sign") == 2
    assert "path 1 alone" in said(capsys, checks.extrapolated, slopes[0], None) and "path 2 alone" in said(capsys, checks.extrapolated, slopes[1], None)
    assert said(capsys, checks.extrapolated, 1 - 27, 1 - 27).count("true difference") == 2
    assert "not their sum" in said(capsys, checks.extrapolated, None, sum(slopes)) and "weighed by p" in said(capsys, checks.extrapolated, None, two_path)
    for nonsense in NONSENSE:
        assert "right" not in said(capsys, checks.extrapolated, nonsense, nonsense)


def test_how_lucky(capsys):
    runs = {}
    for line in (DATA / "ground_truth" / "digits.csv").read_text().splitlines():
        if line[0].isdigit():
            network, seed, accuracy, *_ = line.split(",")
            runs.setdefault(network, {})[int(seed)] = float(accuracy)
    promised, kept, three = max(((a[0] + a[1]) / 2, a[2], sum(a.values()) / 3) for a in runs.values())
    assert "right" in said(capsys, checks.how_lucky, 100 * (promised - kept))
    assert "the sign" in said(capsys, checks.how_lucky, 100 * (kept - promised))
    assert "fraction" in said(capsys, checks.how_lucky, promised - kept)
    assert "seed 2 alone" in said(capsys, checks.how_lucky, 100 * (promised - three))
    for nonsense in NONSENSE:
        assert "right" not in said(capsys, checks.how_lucky, nonsense)
