"""Rivals of a search: against enumeration and closed forms, on the committed tables and on made-up accuracies."""

from copy import copy

import numpy as np
import pandas as pd
import pytest

import proxyless_lite as pl
from proxyless_lite import choose, ground_truth
from proxyless_lite.course.plots import truth as plots
from proxyless_lite.ground_truth import rivals


@pytest.fixture(scope="module")
def table():
    return ground_truth.load("cifar10_third")


@pytest.fixture(scope="module")
def rows():
    return ground_truth.read(ground_truth.FOLDER / "cifar10_third.csv")


@pytest.fixture(scope="module")
def lab(table, rows):
    return rivals.Lab(table, rows)


@pytest.fixture(scope="module")
def stored():
    return ground_truth.read_searches(ground_truth.FOLDER.parent / "results/searches_cifar10_third.csv")


@pytest.fixture(scope="module")
def near(lab):
    return rivals.neighbours(lab)


def pretended(table, accuracies):
    """The table and its runs if these were the accuracies, (n,) or (n, seeds); by default all seeds alike."""
    accuracies = np.array(accuracies, dtype=float)
    accuracies = accuracies if accuracies.ndim == 2 else np.stack([accuracies] * 3, 1)
    runs = pd.DataFrame([(code, k, a) for code, each in zip(table.index, accuracies) for k, a in enumerate(each)], columns=["network", "seed", "accuracy"])
    made = table.assign(mean=accuracies.mean(1), runs=accuracies.shape[1])
    made.attrs = table.attrs
    return made, runs


def watched(lab, rival, seed=0, **settings):
    """The trace of a rival, and the (network, accuracy) that it got of each training."""
    seen = []

    def spy(lab, rng, known, **settings):
        for i in rival(lab, rng, known, **settings):
            yield i
            seen.append((i, known[i]))
    return lab.play(spy, np.random.default_rng(seed), **settings), seen


def trained(*args, **settings):
    return [i for i, _ in watched(*args, **settings)[1]]


def every(lab, **given):
    return {name: (rival, settings[0]) for name, (rival, settings) in rivals.roster(lab, **given).items()}


# -- the game ----------------------------------------------------------------------------------------------------------

def test_what_a_rival_sees_is_one_run_and_the_other_seeds_judge_it(lab, table, rows):
    by_network = rows.groupby("network").accuracy.apply(list)
    for i, code in enumerate(table.index):
        trace, _ = watched(lab, lambda lab, rng, known: iter([i, i]), seed=i)
        got = []
        lab.play(lambda lab, rng, known: (got.append(known.get(j)) or j for j in (i, i)), np.random.default_rng(i))
        others = list(by_network[code])
        others.remove(got[1])
        assert len(others) == 2 and trace[1][1] == pytest.approx(table["mean"].max() - np.mean(others), abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_a_rival_may_see_one_seed_of_the_table_alone(lab, rows, seed):
    own = rows[rows.seed == seed].set_index("network").accuracy
    _, seen = watched(lab, rivals.random_networks, seed=4, seen=seed)
    assert [accuracy for _, accuracy in seen] == [own[lab.band.index[i]] for i, _ in seen]


def test_curves_of_each_seed_are_of_its_runs(table, rows):
    found = rivals.by_seed(table, rows, 3)
    assert found.groupby("seen").size().to_dict() == dict.fromkeys(range(3), len(found) // 3)
    for seed, of in found.groupby("seen"):
        assert rivals.curves(table, rows, 3, seen=seed).equals(of.drop(columns="seen").reset_index(drop=True))
    assert found.groupby(["rival", "cost"]).regret.nunique().gt(1).any()


def test_no_rival_depends_on_the_runs_that_it_did_not_draw(lab, stored):
    blind = copy(lab)
    blind.regret, blind.untrained = [np.full(3, 9.0)] * len(lab.cost), np.full(len(lab.cost), 9.0)
    for name, (rival, settings) in every(lab, searches=stored).items():
        trace, seen = watched(lab, rival, seed=4, **settings)
        drawn = {}
        for i, accuracy in seen:
            drawn.setdefault(i, set()).add(accuracy)
        blind.accuracy = [np.array([a if a in drawn.get(i, ()) else 0.99 for a in each]) for i, each in enumerate(lab.accuracy)]
        other, same = watched(blind, rival, seed=4, **settings)
        assert same == seen and {regret for _, regret in other} == {9.0}, name
        assert any(regret != 9.0 for _, regret in trace)


def test_costs_add_up_to_the_budget(lab, stored):
    assert lab.cost.mean() == pytest.approx(1)
    for rival, settings in every(lab, searches=stored).values():
        trace, seen = watched(lab, rival, **settings)
        spent = np.cumsum([settings.get("price", 0), *(lab.cost[i] for i, _ in seen)])
        assert np.allclose([cost for cost, _ in trace][:len(spent)], spent) and trace[-2][0] <= 20 < trace[-1][0]


def test_the_answer_is_the_best_seen_so_far(lab):
    trace, seen = watched(lab, rivals.random_networks, seed=2)
    regret_of = {(i, a): r for i in range(len(lab.cost)) for a, r in zip(lab.accuracy[i], lab.regret[i])}
    seen += [(None, -1)] * (len(trace) - 1 - len(seen))  # the last training ends after the budget
    for k in range(1, len(seen)):
        assert trace[k][1] == regret_of[max(seen[:k], key=lambda run: run[1])]


def test_an_answer_counts_from_the_cost_at_which_it_is_known():
    regret = rivals.regret_at([(2.5, 0.4), (4.0, 0.3), (4.2, 0.2), (21.0, 0.1)])
    assert np.isnan(regret[:2]).all() and regret[2:].tolist() == [0.4, 0.3] + [0.2] * 16


def test_a_network_with_one_run_cannot_be_judged_and_is_left_out(table, rows):
    few, runs = table.iloc[:9].copy(), rows[rows.network.isin(table.index[:9])]
    few.attrs = table.attrs
    few.loc[few.index[4], "runs"] = 1
    lab = rivals.Lab(few, runs[(runs.network != few.index[4]) | (runs.seed == 0)])
    assert list(lab.band.index) == [code for k, code in enumerate(few.index) if k != 4] and lab.weight.sum() == pytest.approx(1)
    assert len(rivals.curves(few, runs, 3)) == 9 * 20 and (lab.cost == few.seconds.drop(few.index[4]) / few.seconds.mean()).all()


# -- each rival --------------------------------------------------------------------------------------------------------

def test_random_networks_agree_with_the_exact_regret_of_random_search(lab, table, rows):
    counts = [1, 3, 8]
    exact = ground_truth.random_search(table, rows, counts)["mean"]
    cheap = copy(lab)
    cheap.cost = np.ones(len(lab.cost))
    plays = np.array([[cheap.play(rivals.random_networks, np.random.default_rng([1, r]))[k][1] for k in counts] for r in range(500)])
    error = plays.std(0) / len(plays) ** 0.5
    assert (np.abs(plays.mean(0) - exact) < 3 * error).all() and (error < 0.1 * exact).all()


def test_regression_on_counts_finds_the_best_at_once_where_counts_decide(table):
    worth = {"Zero": 0.0, "conv 1x1": 0.02, "conv 3x3": 0.05, "MB5 1x1": 0.03}
    made = rivals.Lab(*pretended(table, [0.3 + sum(worth[name] for name in choices) for choices in table.choices]))
    best, X = table.index.get_loc("2222"), choose.features(made.networks)
    orders = [trained(made, rivals.regression, seed=seed, X=X, start=12) for seed in range(30)]
    at_once = [order[12] == best for order in orders if best not in order[:12]]
    assert len(at_once) > 10 and all(at_once)


def test_regression_on_edges_finds_the_best_where_it_matters_which_edge(table):
    wanted = "1322"
    made = rivals.Lab(*pretended(table, [0.3 + 0.01 * sum(a == b for a, b in zip(code, wanted)) for code in table.index]))
    best, steps = table.index.get_loc(wanted), {}
    made.cost = np.full(len(table), 0.16)  # so that all of them can be trained
    for name, X in (("edges", rivals.by_edge(made.networks)), ("counts", choose.features(made.networks))):
        steps[name] = [trained(made, rivals.regression, seed=seed, X=X, start=30).index(best) for seed in range(8)]
    assert max(steps["edges"]) <= 32 and np.mean(steps["counts"]) > np.mean(steps["edges"]) + 3


def test_the_designed_start_is_the_one_of_the_search(lab):
    X, rated = choose.features(lab.networks), choose.rate(lab.networks, lambda some: [0.5] * len(some), 8).rated[:4]
    for seed in range(3):
        assert set(trained(lab, rivals.regression, seed=seed, X=X, start=4, designed=True)[:4]) == set(rated)
    assert len({tuple(trained(lab, rivals.regression, seed=seed, X=X, start=4)[:4]) for seed in range(5)}) == 5


def test_no_rival_but_random_search_trains_a_network_twice(lab, stored):
    for name, (rival, settings) in every(lab, searches=stored).items():
        order = trained(lab, rival, seed=3, **settings)
        assert name == "random" or len(set(order)) == len(order)


def test_the_highest_scores_come_first_and_the_highest_is_the_answer_before(lab, table):
    trace, _ = watched(lab, rivals.best_first, scores=table.macs, price=1.5)
    order = trained(lab, rivals.best_first, scores=table.macs)
    assert (np.diff(table.macs.iloc[order]) <= 0).all() and table.macs.iloc[order[0]] == table.macs.max()
    assert trace[0] == (1.5, table["mean"].max() - table["mean"].iloc[order[0]])
    assert len({tuple(trained(lab, rivals.best_first, seed=seed, scores=np.zeros(121))) for seed in range(5)}) == 5, "equal ones in random order"


def test_each_name_of_the_roster_is_the_rival_that_it_says(lab, table, stored):
    found = every(lab, searches=stored, counts=3, edges=5)
    scores = [found[name][1]["scores"] for name in ("most MACs", "most parameters")]
    assert list(scores[0]) == list(table.macs) and [scores[1][i] for i in (0, 60, 120)] == [lab.networks[i].params() for i in (0, 60, 120)]
    for name, X, start in (("ridge on counts", choose.features(lab.networks), 3), ("ridge on edges", rivals.by_edge(lab.networks), 5)):
        for suffix, designed in (("", False), (", designed", True)):
            rival, settings = found[name + suffix]
            assert rival is rivals.regression and settings["X"].equal(X) and settings["start"] == start and settings.get("designed", False) == designed
    assert rivals.by_edge(lab.networks).shape == (121, 16) and set(rivals.METHODS) < set(found) and len(found) == 11


def test_neighbours_differ_in_one_edge_of_some_choice(lab, near, table):
    space = lab.setting.space
    choices = np.array([list(f"{a}{b}{c}{d}") for a in "0123" for b in "0123" for c in "0123" for d in "0123"])
    name = [edge for edge in space.edges()][0].candidates
    code = [pl.Architecture(space, space.canonical(tuple(name[int(x)] for x in each))).code for each in choices]
    pairs = np.argwhere((choices[:, None] != choices[None]).sum(-1) == 1)
    wanted = {(code[i], code[j]) for i, j in pairs if code[i] != code[j]}
    assert {(table.index[i], table.index[j]) for i, each in enumerate(near) for j in each} == wanted
    assert ("2200", "2120") in wanted and ("2200", "2300") in wanted and ("2200", "1300") not in wanted


def test_local_search_stops_at_a_local_optimum_and_starts_again(table, near):
    made, restarts = rivals.Lab(*pretended(table, table["mean"])), 0
    made.cost, truth = np.full(len(table), 0.1), table["mean"].to_numpy()
    for seed in range(10):
        order = trained(made, rivals.local_search, seed=seed, near=near)
        here, seen = order[0], {order[0]}
        for there in order[1:]:
            if there not in near[here]:
                assert set(near[here]) <= seen and truth[here] >= truth[near[here]].max()
                restarts += 1
                break
            here, seen = there if truth[there] > truth[here] else here, seen | {there}
        assert sorted(order) == list(range(len(table)))
    assert restarts > 5


def test_evolution_trains_neighbours_of_the_best_of_the_latest(table, near):
    made, truth = rivals.Lab(*pretended(table, table["mean"])), table["mean"].to_numpy()
    order = trained(made, rivals.evolution, near=near, population=5, sample=5)
    children = 0
    for k in range(5, len(order)):
        parent = max(order[k - 5:k], key=lambda i: truth[i])
        if not set(near[parent]) <= set(order[:k]):
            assert order[k] in near[parent]
            children += 1
    assert children > 8
    made.cost = np.full(len(table), 0.01)
    assert sorted(trained(made, rivals.evolution, near=near)) == list(range(len(table)))


# -- shared weights and scores -----------------------------------------------------------------------------------------

def test_shared_weights_cost_what_their_searches_cost(lab, table, stored):
    own = stored[stored.method == "two_path"]
    settings = rivals.shared_weights(lab, own)
    assert [each["price"] for each in settings] == pytest.approx([ground_truth.score(table, own).cost.median()] * 20)
    assert rivals.shared_weights(lab, own, pace=2.0)[0]["price"] == pytest.approx(ground_truth.score(table, own, pace=2.0).cost.median())
    elsewhere = own.assign(processor=["another", *own.processor[1:]], seconds=[1e6, *own.seconds[1:]])
    assert rivals.shared_weights(lab, elsewhere)[0]["price"] == pytest.approx(ground_truth.score(table, elsewhere).cost.median())
    with pytest.raises(ValueError, match="pace"):
        rivals.shared_weights(lab, own.assign(processor="another"))


def test_shared_accuracies_belong_to_their_networks(lab, table, stored):
    own = stored[stored.method == "one_shot"].iloc[:4]
    scored = ground_truth.score(table, own)
    regret = [lab.untrained[trained(lab, rivals.best_first, **each)[0]] for each in rivals.shared_weights(lab, own)]
    tops = [max(map(int, row.split())) for row in own.shared]
    alone = [row.split().count(str(top)) == 1 for row, top in zip(own.shared, tops)]
    assert any(alone) and all(a == b for a, b, one in zip(regret, scored.by_shared, alone) if one)


def test_each_search_is_one_sample_of_the_error(table, stored):
    made, runs = pretended(table, table["mean"])
    own = stored[stored.method == "one_shot"].iloc[:2]
    found = rivals.curves(made, runs, 12, searches=own).query("rival == 'one_shot'").set_index("cost")
    price = ground_truth.score(table, own).cost.median()
    lab = rivals.Lab(made, runs)
    ends = [watched(lab, rivals.best_first, **each)[0] for each in rivals.shared_weights(lab, own)]
    two = pd.DataFrame([rivals.regret_at(trace) for trace in ends], columns=rivals.COSTS)
    assert found.regret.isna().sum() == int(price) and np.allclose(found.regret[10], two[10].mean(), atol=1e-3)
    assert found.error[10] == pytest.approx(two[10].sem(), rel=0.1) and two[10].sem() > 0


def test_scores_are_of_the_networks_of_the_table(table, rows):
    found = rivals.curves(table, rows, 20, scores={"oracle": table["mean"].to_numpy()}).set_index(["rival", "cost"])
    oracle, random = found.loc["oracle"], found.loc["random"]
    assert oracle.regret[1] == pytest.approx(0, abs=1e-12) and (oracle.regret < random.regret).all() and found.regret.notna().all()
    assert list(oracle.index) == list(range(1, 21)) and (random.error[1:] > 0).all()
    band = rivals.Lab(table, rows, macs=table.macs.median())
    rival, (settings,) = rivals.roster(band, scores={"oracle": table["mean"].to_numpy()})["oracle"]
    assert watched(band, rival, **settings)[0][0] == (0, 0)


def test_the_same_seed_gives_the_same_curves(table, rows):
    one, same, other = (rivals.curves(table, rows, 3, seed) for seed in (1, 1, 2))
    assert one.equals(same) and not one.equals(other)


# -- at equal MACs -----------------------------------------------------------------------------------------------------

def test_at_a_target_only_networks_of_its_cost_play_against_the_best_of_them(table, rows, stored):
    target = float(table.macs.quantile(0.3))
    lab, unit = rivals.Lab(table, rows, target), table.seconds.mean()
    band = table[(table.macs - target).abs() <= 0.05 * target]
    assert list(lab.band.index) == list(band.index) and lab.untrained.min() == 0 and np.allclose(lab.cost, band.seconds / unit)
    assert np.allclose([each.mean() for each in lab.regret], lab.untrained) and lab.weight.sum() == pytest.approx(1)
    for rival, settings in every(lab, searches=stored).values():
        assert set(trained(lab, rival, **settings)) <= set(range(len(band)))
    found = rivals.at_targets(table, rows, [target, float(table.macs.max())], repetitions=5, searches=stored)
    assert found.groupby("target", sort=False).rival.nunique().to_dict() == {target: 11, float(table.macs.max()): 11}
    alone = rivals.curves(table, rows, 5, macs=target, searches=stored)
    assert alone.equals(found[found.target == target].drop(columns="target").reset_index(drop=True))
    with pytest.raises(ValueError, match="within 5% of 3 MACs"):
        rivals.at_targets(table, rows, 3)


# -- the figure --------------------------------------------------------------------------------------------------------

def test_the_figure_has_a_line_for_each_rival_and_a_star_for_each_search_of_ours(table, rows, stored):
    found = rivals.curves(table, rows, 4, searches=stored)
    ours = pd.DataFrame({"name": ["small"] * 4 + ["large"] * 4, "trainings": [1] * 6 + [2] * 2, "seen": [0, 0, 0, 1, 0, 1, 0, 1],
                         "cost": [6, 6, 6, 6, 9, 11, 12, 16], "regret": [0.01, 0.008, 0.012, 0.02, 0.002, 0.004, 0.001, 0.003]})
    figure = plots.regret_over_cost(found, ours, 0.005)
    ax, = figure.axes
    figure.canvas.draw()
    assert figure.get_label().startswith("Mean regret of rivals") and {text.get_text() for text in ax.texts} >= set(found.rival)
    stars = {line.get_label(): np.round(line.get_xydata(), 6).tolist() for line in ax.lines if line.get_marker() == "*"}
    assert stars == {"small (± 2 standard errors)": [[6, 1.25]], "large (± 2 standard errors)": [[10, 0.3], [14, 0.2]]}
    bars = [[y for _, y in segment] for bar in ax.collections if bar.get_linewidth()[0] == 2 for segment in bar.get_segments()]
    assert np.allclose(bars, [[1.25 - 1, 1.25 + 1], [0.3 - 0.2, 0.3 + 0.2], [0.2 - 0.2, 0.2 + 0.2]]), "two seeds of the table: 1.0 and 2.0; 0.2 and 0.4"
    assert len({(plots.RIVALS[name][1]) for name in found.rival}) == found.rival.nunique(), "every rival has its own marker"
    ends = [text.xy[1] for text in ax.texts if text.get_text() in set(found.rival)]
    assert np.diff(sorted(ends)).min() > 0.04 * np.ptp(ax.get_ylim()), "no two names overlap"
