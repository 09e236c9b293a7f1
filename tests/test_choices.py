"""What searches choose, judged by a table of all networks: against loops over the table."""

import numpy as np
import pandas as pd
import pytest

import proxyless_lite as pl
from proxyless_lite import ground_truth
from proxyless_lite.ground_truth import choices, table
from proxyless_lite.ground_truth.table import FOLDER, setting_of

NAME = "digits"


@pytest.fixture(scope="module")
def truth():
    return ground_truth.load(NAME)


@pytest.fixture(scope="module")
def runs():
    """Accuracies of all runs in points, one row a network, one column a seed."""
    return 100 * table.read(FOLDER / f"{NAME}.csv").pivot(index="network", columns="seed", values="accuracy")


def costs(truth, kind):
    setting = setting_of(truth.attrs)
    price = choices.costs_of(setting, NAME, kind)
    return {code: price.cost_of(pl.Architecture.from_code(setting.space, code)) for code in truth.index}


def row(kind, seed, target, network, trained=""):
    return dict(costs=kind, seed=seed, target=target, network=network, search_seconds=0.0, tuning_seconds=0.0, tuned=0, trained=trained)


def scored(*rows):
    found = pd.DataFrame(rows)
    found.attrs["pace"] = 1.0
    return choices.scored(NAME, found)


@pytest.mark.parametrize("kind", ["macs", "ms"])
def test_a_network_is_judged_among_those_of_its_own_cost_by_other_seeds(truth, runs, kind):
    cost, seeds = costs(truth, kind), len(runs.columns)
    asked = [(code, seed, 1.1 * cost[code]) for seed, code in enumerate(truth.index[::12])]
    for (code, seed, target), got in zip(asked, scored(*(row(kind, seed, target, code) for code, seed, target in asked)).itertuples()):
        fair = runs[[s for s in range(seeds) if s != seed % seeds]].mean(axis=1).to_dict()
        band = [other for other in truth.index if abs(cost[other] / cost[code] - 1) <= 0.05]
        weight = sum(truth.members[other] for other in band)
        assert got.band == len(band) and got.above == pytest.approx(sum(fair[other] > fair[code] for other in band) / len(band))
        assert 100 * got.blind == pytest.approx(sum(fair[other] * truth.members[other] for other in band) / weight)
        assert 100 * got.accuracy == pytest.approx(fair[code])
        best = max(truth["mean"][other] for other in truth.index if cost[other] <= target)
        assert 100 * got.regret == pytest.approx(100 * best - fair[code])


def test_cost_is_the_search_and_the_whole_trainings(truth):
    some = truth.index[:3]
    one = row("none", 0, 0.0, some[0], " ".join(some)) | dict(search_seconds=8.0, tuning_seconds=2.0)
    got, = scored(one).itertuples()
    assert got.cost == pytest.approx((10 + truth.seconds[some].sum()) / truth.seconds.mean())
    macs = truth.macs
    assert got.band == (abs(macs / macs[some[0]] - 1) <= 0.05).sum(), "without a target, those of as many MACs"
    twice, = scored(one | dict(trained=" ".join([*some, *some]))).itertuples()
    assert twice.cost == got.cost, "a network that serves several targets is trained once"


def test_a_choice_with_fewer_trainings_makes_the_first_of_them(truth, runs):
    a, b, c = truth.index[[5, 60, 110]]
    some = pd.DataFrame([row("none", 4, 0.0, max((a, b, c), key=runs[1].get), f"{a} {b} {c}"), row("none", 2, 0.0, max((c, b), key=runs[2].get), f"{c} {b}"),
                         row("macs", 4, 1e6, a, f"{a}")])
    some.attrs["pace"] = 1.0
    found = choices.by_trainings(NAME, some).set_index(["seed", "trainings"])
    for (seed, count), one in found.iterrows():
        first = {4: (a, b, c), 2: (c, b)}[seed][:count]
        assert one.network == max(first, key=runs[seed % 3].get) and one.cost == pytest.approx(truth.seconds[list(first)].sum() / truth.seconds.mean())
    assert len(found) == 6
    for seed, count in ((4, 3), (2, 2)):
        pd.testing.assert_series_equal(found.loc[(seed, count)], choices.scored(NAME, some).set_index("seed").loc[[seed]].query("costs == 'none'").iloc[0], check_names=False)


@pytest.mark.parametrize("kind", ["none", "macs", "ms"])
def test_had_all_been_trained_once_the_best_of_a_seed_is_taken(truth, runs, kind):
    found = choices.all_trained(NAME, [kind])
    cost = costs(truth, kind) if kind != "none" else dict.fromkeys(truth.index, 0.0)
    assert len(found) == len(runs.columns) * {"none": 1, "macs": 5, "ms": 3}[kind]
    for one in found.itertuples():
        kept = [code for code in truth.index if cost[code] <= one.target + 1e-9]
        assert one.network in kept and runs.loc[one.network, one.seed] == runs.loc[kept, one.seed].max()
    assert choices.told(choices.scored(NAME, found)).cost[kind] == pytest.approx(121)


def test_a_summary_counts_wins_where_there_is_something_to_beat(truth):
    best, worst = truth["mean"].idxmax(), truth["mean"].idxmin()
    alone = scored(row("none", 0, 0.0, best), row("none", 1, 0.0, worst))
    alone = pd.concat([alone.assign(band=2), alone.iloc[:1].assign(band=1)])
    told = choices.told(alone).loc["none"]
    assert (told.chosen, told.compared, told.wins) == (3, 2, 50)
    assert told.gain == pytest.approx(100 * (alone.accuracy - alone.blind).iloc[:2].mean())


def test_choices_judged_by_the_same_trainings_are_no_independent_ones(truth):
    some = [row("none", seed, 0.0, code) for seed, code in zip([0, 3, 6, 1, 4, 2], truth.index)]
    found = scored(*some)
    told = choices.told(found).loc["none"]
    means = [found.regret[[0, 1, 2]].mean(), found.regret[[3, 4]].mean(), found.regret[5]]
    assert told.error == pytest.approx(100 * np.std(means, ddof=1) / 3 ** 0.5) and found.seen.tolist() == [0, 0, 0, 1, 1, 2]


def test_what_a_table_cut_between_two_rows_lacks():
    rows = pd.DataFrame([row("none", 0, 0.0, "00"), row("macs", 0, 1e5, "01"), row("macs", 0, 2e5, "02"), *(row("none", 1, 0.0, "00"),),
                         *(row("macs", 1, target, "01") for target in range(5))])
    runs, size = choices.missing(rows, ["none", "macs"], range(3))
    assert runs == [(0, ["macs"], {("none", 0.0), ("macs", 1e5), ("macs", 2e5)}), (2, ["none", "macs"], set())] and size == 3 + 6
