"""Numbers of notebooks 10 and 12, and what their statements rest on, recomputed from the committed tables; searches in a setting; random search against enumeration."""

import json
import sys
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import product

import numpy as np
import pandas as pd
import pytest
import search_settings
import torch
from pages import has_numbers
from scipy.stats import t as student
from truth_runs import MINI

import proxyless_lite as pl
from proxyless_lite import ground_truth, runtime
from proxyless_lite.course import notebook, plots
from proxyless_lite.ground_truth import __main__ as cli
from proxyless_lite.ground_truth import competitors, searches
from proxyless_lite.ground_truth.criteria import spreads
from proxyless_lite.ground_truth.table import Runs, setting_of

README = ground_truth.FOLDER / "README.md"
STORED = notebook.DATA / "results" / "searches_digits.csv"


has, why = partial(has_numbers, "10"), partial(has_numbers, "12")
two = "{:.2f}".format
one = "{:.1f}".format


@pytest.fixture(scope="module")
def truth():
    return ground_truth.load("digits")


@pytest.fixture(scope="module")
def runs():
    return ground_truth.read(ground_truth.FOLDER / "digits.csv")


@pytest.fixture(scope="module")
def found():
    return ground_truth.read_searches(STORED)


# -- the committed tables ----------------------------------------------------------------------------------------------

def test_every_network_of_the_digits_is_in_the_table_with_three_seeds(truth, runs):
    setting = ground_truth.BY_NAME["digits"]
    assert set(truth.index) == set(setting.networks()) and (truth.runs == 3).all() and setting.seeds == 3
    assert not runs.duplicated(["network", "seed"]).any() and truth.members.sum() == 4 ** 4
    assert truth.attrs["digest"] == setting.load().digest


def test_the_stored_searches_are_of_twenty_seeds_a_method_with_the_settings_of_today(truth, found):
    metadata = ground_truth.read_searches(STORED).attrs
    assert found.groupby("method").seed.apply(sorted).to_dict() == {method: list(range(20)) for method in ground_truth.METHODS}
    today = ground_truth.BY_NAME["digits"].describe() | {"search": searches.CONFIG["digits"]}
    assert metadata["setting"] == today and metadata["digest"] == truth.attrs["digest"] and metadata["machine"]["processor"]
    assert found.network.isin(truth.index).all() and {len(row.split()) for row in found.shared} == {len(truth)}


def test_what_the_text_says_of_the_table(truth, runs):
    sd, half = ground_truth.seed_sd(truth), truth.nlargest(60, "mean")
    criteria = ground_truth.verify(truth).set_index("criterion")
    failed = criteria[~criteria.met].value.to_dict()
    assert failed == {"test images": "360", "least spread of accuracy in a cost band / sd between seeds": "1.5"}
    assert round(100 * sd, 1) == 1.8 and round(100 * ground_truth.seed_sd(half), 1) == 1.0 and round(100 / 360, 2) == 0.28
    tied = lambda sd: (truth["mean"] >= truth["mean"].max() - 2 * sd).sum()
    assert (tied(sd), tied(ground_truth.seed_sd(half))) == (95, 60)
    ranks = [ground_truth.rank(truth, pl.Architecture.from_code(ground_truth.BY_NAME["digits"].space, code)) for code in truth.index]
    assert np.mean([r["tied"] for r in ranks]) > 0.8
    readme = README.read_text()
    values = criteria.value.drop("operations in the best network of a cost band")
    assert all(f"| {name} | {value} |" in readme for name, value in values.items())


def test_what_the_text_says_of_the_searches(truth, runs, found):
    sd, judged = ground_truth.seed_sd(truth), ground_truth.score(truth, found)
    points = judged.assign(regret=100 * judged.regret)
    medians = judged.groupby("method")[["cost", "tau"]].median()
    regret, cost, tau = points.groupby("method").regret.agg(["median", "mean", "max"]).round(2), medians.cost, medians.tau.round(2)
    alike = ["two_path", "exact", "trapezoid"]
    assert (regret["median"][alike] == 0.56).all() and cost[alike].round(1).between(3.0, 3.5).all() and round(0.56 / (100 * sd), 1) == 0.3 and len(runs) == 363
    chance = 100 * ground_truth.random_search(truth, runs, [2, 3, 4, 5, 6, 8, 100])["mean"]
    assert round(np.interp(np.log(3.2), np.log(chance.index), chance), 1) == 2.0 and round(chance[100], 1) == 1.1
    assert (regret["mean"] < np.interp(np.log(cost), np.log(chance.index), chance)).all(), "all means are better than random search"
    assert tuple(regret.loc["softmax"]) == (0.19, 0.72, 2.78) and cost["softmax"] / cost["two_path"] == pytest.approx(2.2, abs=0.15)
    assert regret["mean"].drop("reinforce").idxmax() == "one_shot" and regret["mean"]["softmax"] > regret["mean"][alike].max()
    assert regret["max"]["reinforce"] == 8.42 and (points.regret[points.method == "reinforce"] > 8).sum() == 1
    assert regret["mean"].idxmin() == "combined" and regret["mean"]["combined"] == 0.48 and cost["combined"] / cost["two_path"] > 2
    shot = judged[judged.method == "one_shot"]
    assert shot.network.nunique() == 18 and len(shot) == 20 and chance[4] > regret["mean"]["one_shot"] > chance[5]
    sampled = judged[~judged.method.isin(["softmax", "one_shot"])]
    has(int((sampled.network == "3333").sum()), len(sampled))
    assert truth.macs["3333"] == truth.macs.max() and set(truth.choices["3333"]) == {"MB3 3x3"} and tau["one_shot"] == tau.min() == 0.26
    assert tau.drop("one_shot").agg(["min", "max"]).tolist() == [0.35, 0.45]
    assert (~judged.tied).groupby(judged.method).sum().to_dict() == dict.fromkeys(ground_truth.METHODS, 0) | {"reinforce": 1, "one_shot": 1}


def test_what_the_text_says_of_cifar10():
    truth = ground_truth.load("cifar10")
    rows = ground_truth.read(ground_truth.FOLDER / "cifar10.csv")
    setting, sd, page = ground_truth.BY_NAME["cifar10"], ground_truth.seed_sd(truth), README.read_text().split("## The third space")[0]
    assert truth.attrs["setting"] == setting.describe() and set(truth.index) == set(setting.networks()) and not rows.duplicated(["network", "seed"]).any()
    assert (truth.runs == 3).all() and truth.attrs["test_images"] == 10_000
    criteria = ground_truth.verify(truth).set_index("criterion")
    assert criteria.met.all()
    has(one(spreads(truth).spread.min() / sd), criteria.value["Kendall τ of accuracy with MACs"])
    best = (truth["mean"] >= truth["mean"].max() - 2 * sd).sum()
    bands = [truth["mean"][(truth.macs / macs - 1).abs() <= 0.05] for macs in truth.macs]
    apart = max(band.max() - band.min() for band in bands)
    has(one(100 * apart), int(best), len(truth))
    assert round(apart / sd) in (9, 10), "ten sd"
    assert_told(truth, page)
    costs = {code: truth.macs[code] - truth.macs["0000"] for code in ("1000", "2000", "3000")}
    assert costs["3000"] == max(costs.values()), "the large MBConv has the most MACs"
    four, mixed = truth["mean"]["2222"], truth["mean"][["3222", "2322", "2232", "2223"]]
    assert (mixed > four).all() and truth["mean"]["3333"] < four, "one of them in place of a 3×3 convolution helps, four do not"
    has(*map(one, (100 * four, 100 * truth["mean"]["3333"], 100 * mixed["2223"])))


def assert_told(truth, page):
    """A page has the deviation between seeds, the criteria and the bands of a table."""
    sd = ground_truth.seed_sd(truth)
    assert f"{100 * sd:.2f}" in page
    for row in ground_truth.verify(truth).itertuples():
        assert f"| {row.criterion} | {row.value} | {row.wanted} | {'yes' if row.met else '**no**'} |" in page
    for band in spreads(truth).itertuples():
        assert (f"| {band.from_macs:,} – {band.to_macs:,} | {band.networks} | {100 * band.spread:.1f} | {band.spread / sd:.1f} | "
                f"`{band.best_network}`, {100 * band.best:.2f} % |") in page


RESULTS = notebook.DATA / "results"
FILES = [("searches", ground_truth.read_searches, ["method", "seed"]), ("search_settings", search_settings.read, ["method", "changed", "seed"])]


def test_the_third_table_on_cifar10_misses_two_criteria():
    path, own = ground_truth.FOLDER / "cifar10_third.csv", README.read_text().split("## The third space")[1]
    truth, rows, today = ground_truth.load(path), ground_truth.read(path), ground_truth.read(ground_truth.FOLDER / "cifar10.csv")
    setting, criteria = setting_of(truth.attrs), ground_truth.verify(truth).set_index("criterion")
    assert (truth.runs == 3).all() and not rows.duplicated(["network", "seed"]).any() and set(truth.index) == set(setting.networks())
    assert setting == replace(ground_truth.BY_NAME["cifar10"], family=setting.family), "only the candidates are others"
    assert criteria[~criteria.met].value.to_dict() == {"least spread of accuracy in a cost band / sd between seeds": "4.7", "Kendall τ of accuracy with MACs": "0.53"}
    assert_told(truth, own)
    same = rows.merge(today, on=["network", "seed"], suffixes=("", "_today")).query("not network.str.contains('[13]')")
    assert len(same) == 15 and (same.accuracy == same.accuracy_today).all() and (same.loss == same.loss_today).all()


@pytest.mark.parametrize("space", ["", "_third"])
def test_no_search_is_there_twice_and_each_is_of_its_table(space):
    truth = ground_truth.load(f"cifar10{space}")
    for name, read, run in FILES:
        found = read(RESULTS / f"{name}_cifar10{space}.csv")
        metadata = found.attrs
        assert len(ground_truth.score(truth, found)) == len(found) and not found.duplicated(run).any() and metadata["digest"] == truth.attrs["digest"]


def searched(space=""):
    """Table, its runs, the judged searches in it, and the mean regret of random search as a function of the cost, in points."""
    truth, runs = ground_truth.load(f"cifar10{space}"), ground_truth.read(ground_truth.FOLDER / f"cifar10{space}.csv")
    judged = ground_truth.score(truth, ground_truth.read_searches(RESULTS / f"searches_cifar10{space}.csv"))
    random = 100 * ground_truth.random_search(truth, runs, [1, 2, 3, 4, 5, 6, 8, 10, 15, 20])["mean"]
    return truth, runs, judged, lambda cost: np.interp(np.log(cost), np.log(random.index), random)


def depths(truth, found):
    """How many points the five truly best networks of four blocks are above those of two: truly, and with the shared weights of each method."""
    shared = pd.DataFrame([map(int, row.split()) for row in found.shared], found.method, sorted(truth.index)) / 10
    means = pd.DataFrame({"truth": 100 * truth["mean"]} | {method: rows.mean() for method, rows in shared.groupby(level=0)})
    blocks = truth.index.str.count("[^0]")
    best = lambda count: means[blocks == count].nlargest(5, "truth").mean()
    return best(4) - best(2)


def beside_random(table, expects):
    """A summary with the mean regret that random search may expect for the cost of each line, as column `random`."""
    return table.assign(random=expects(table.cost))


def test_what_the_text_says_of_the_searches_on_cifar10():
    truth, runs, judged, expects = searched()
    found = ground_truth.read_searches(RESULTS / "searches_cifar10.csv")
    metadata = found.attrs
    assert metadata["setting"] == ground_truth.BY_NAME["cifar10"].describe() | {"search": searches.CONFIG["cifar10"]}
    table, noise, of = beside_random(ground_truth.summary(judged), expects), 100 * ground_truth.seed_sd(truth), judged.groupby("method")
    assert table.searches.nunique() == 1 and set(table.index) == set(ground_truth.METHODS) and (table.cost > 0).all()
    n, own, other, band = table.searches.iloc[0], table.loc["two_path"], table.loc["trapezoid"], of.tied_in_band.sum()
    assert n == 20 and band["two_path"] >= n / 2
    has(two(own.in_band))
    assert other.in_band == own.in_band == 0 and own["median"] > 2 * noise
    assert (of.better.median()[["two_path", "trapezoid"]] <= 0.01).all() and (table.cost[["two_path", "trapezoid"]] <= len(runs) / 50).all()
    blocks = found.network.str.count("[^0]").groupby(found.method)
    assert (blocks.get_group("softmax") <= 2).all(), "all of its searches end with at most two blocks"
    assert table["median"].idxmax() == table["mean"].idxmax() == table.worst.idxmax() == "softmax"
    depth = depths(truth, found)
    why(*(two(depth[of]) for of in ("truth", "two_path", "one_shot")), one(blocks.mean()["two_path"]))
    assert depth["one_shot"] < depth["two_path"] and table["mean"]["one_shot"] < table["mean"]["two_path"], "weights that know depth no better end closer to the best"
    assert set(of.cost.count()) == {15, 16}


def lead(judged, expects):
    """beside_random of searches, the standard errors of their mean regrets, and how many of these they are ahead of random search."""
    table, error = beside_random(ground_truth.summary(judged), expects), 100 * judged.groupby("method").regret.sem()
    return table, error, (table.random - table["mean"]) / error[table.index]


def test_which_methods_beat_random_search_of_their_price():
    truth, _, judged, expects = searched()
    table, error, ahead = lead(judged, expects)
    assert abs(table["mean"]["two_path"] - table["mean"]["trapezoid"]) < min(error["two_path"], error["trapezoid"])
    has(f"{1 - (1 - 2 * student.sf(2, 19)) ** 7:.0%}".replace("%", " %"))
    names = lambda which: table.index[which].tolist()
    assert names(table["median"] <= 200 * ground_truth.seed_sd(truth)) == ["combined"]
    assert (names(ahead > 2), names(ahead < -2)) == (["one_shot"], ["exact", "softmax"])
    assert ahead["one_shot"] > 3 and ahead["softmax"] < -5 < -3 < ahead["exact"]
    assert lead(judged[judged.seed < 10], expects)[2][["one_shot", "exact"]].abs().max() < 2


def test_what_is_won_where_the_shared_weights_choose():
    methods = ["exact", "two_path", "trapezoid", "softmax"]
    for space in ("_third", ""):
        _, _, judged, expects = searched(space)
        gain = 100 * (judged.regret - judged.by_shared).groupby(judged.method).agg(["mean", "sem"]).loc[methods]
        assert (gain["mean"] > 2 * gain["sem"]).all()
    judging = json.loads((RESULTS / "judging.json").read_text())
    ratio = np.median([once["judging"] / once["training"] for once in judging["each"]])
    assert ratio == pytest.approx(judging["judging / training"], abs=1e-3) and judging["networks"] == len(ground_truth.load("cifar10"))
    has(two(ratio))
    means = 100 * judged.groupby("method").by_shared.mean()
    assert (means["two_path"], means["exact"]) < tuple(expects(ground_truth.summary(judged).cost[["two_path", "exact"]] + ratio)), "now better than random search"


def test_what_a_blind_choice_is_worth_at_equal_cost():
    """Each network with the chance of a uniform choice of operations: its regret among those of its MACs, in the median, and how often it is tied."""
    truth, space = ground_truth.load("cifar10"), ground_truth.BY_NAME["cifar10"].space
    ranks = {code: ground_truth.rank(truth, pl.Architecture.from_code(space, code)) for code in truth.index}
    drawn = [ranks[code] for code, times in truth.members.items() for _ in range(times)]
    assert len(drawn) == 256
    has(two(100 * np.median([rank["regret"] for rank in drawn])))


def test_what_the_text_says_of_the_trials():
    truth, _, _, expects = searched()
    tried = search_settings.read(search_settings.PATH)
    table = beside_random(ground_truth.summary(ground_truth.score(truth, tried[tried.seed >= search_settings.TRIED]), ["method", "changed"]), expects)
    assert table.searches.unique().tolist() == [4]
    lengths = ["epochs=4 warmup_epochs=4 alpha_every=1", "epochs=6 warmup_epochs=6 alpha_every=2", "nothing"]
    short, middle, long = ([table.loc[rule, length] for rule in ("two_path", "trapezoid")] for length in lengths)
    assert all(row["mean"] > other["mean"] for rows in (short, middle) for row, other in zip(rows[1:], long[1:])), "chosen in these trials"
    stored = ground_truth.summary(searched()[2])
    why(*(one(row["mean"]) for row in long), *(one(mean) for mean in stored["mean"][["two_path", "trapezoid"]]))
    assert (stored.searches == 20).all() and all(stored["mean"][rule] > r["mean"] for rule, r in zip(("two_path", "trapezoid"), long))


def test_what_the_text_says_of_single_changes():
    truth, _, judged, expects = searched()
    tried = search_settings.read(search_settings.PATH)
    single = ground_truth.score(truth, tried[tried.seed < search_settings.TRIED])
    variants = [(method, search_settings.told(changes)) for method, changes in search_settings.VARIANTS]
    assert sorted(zip(single.method, single.changed, single.seed)) == sorted((*variant, seed) for variant in variants for seed in range(20))
    pairs = single.merge(judged, on=["method", "seed"], suffixes=("", "_stored"))
    gain = (100 * (pairs.regret_stored - pairs.regret)).groupby([pairs.method, pairs.changed]).agg(["mean", "sem"]).loc[variants]
    table = beside_random(ground_truth.summary(single, ["method", "changed"]), expects).loc[variants]
    first = ground_truth.summary(single[single.seed < 7], ["method", "changed"]).loc[variants]
    cold, short, often, slow, other = variants
    told = lambda line: f"{abs(gain['mean'][line]):.2f} ± {gain['sem'][line]:.2f}"
    clear = (gain["mean"] / gain["sem"]).abs() > 2
    assert clear.tolist() == [True, True, False, True, False] and (gain["mean"] < 0).tolist() == [True, True, True, False, True]
    price = table.cost[often] / ground_truth.summary(judged).cost["two_path"]
    chance = f"{1 - (1 - 2 * student.sf(gain['mean'][slow] / gain['sem'][slow], 19)) ** 5:.0%}".replace("%", " %")
    noise = 200 * ground_truth.seed_sd(truth)
    assert (table["median"] > noise).all() and table["median"].idxmin() == slow and first["median"][slow] < noise
    why(two(-gain["mean"][cold]), two(-gain["mean"][short]), told(slow), one(price), chance, one(table["mean"][slow]), one(first["mean"][slow]))


UNIFORM = "epochs=28 warmup_epochs=0"


def test_what_the_text_says_of_the_third_space():
    truth, _, judged, expects = searched("_third")
    table, noise = beside_random(ground_truth.summary(judged), expects), 200 * ground_truth.seed_sd(truth)
    assert (table.searches == 20).all() and table.index[table["mean"] < table.random].tolist() == ["one_shot"] and (table["median"] > noise).all()
    tried = search_settings.read(RESULTS / "search_settings_cifar10_third.csv")
    fresh = beside_random(ground_truth.summary(ground_truth.score(truth, tried[tried.seed >= 4]), ["method", "changed"]), expects)
    long, short = fresh.loc["two_path", "epochs=12 warmup_epochs=12 alpha_every=4"], table.loc["two_path"]
    trapezoid = fresh.loc["trapezoid", "epochs=12 warmup_epochs=12 alpha_every=4"]
    uniform = [ground_truth.summary(ground_truth.score(truth, rows)).loc["one_shot"] for rows in (tried[(tried.seed < 4) & (tried.changed == UNIFORM)], tried[(tried.seed >= 4) & (tried.changed == UNIFORM)])]
    found = ground_truth.read_searches(RESULTS / "searches_cifar10_third.csv")
    depth = depths(truth, found)
    why(*(one(value) for line in (short, long, table.loc["trapezoid"], trapezoid) for value in (line["mean"], line.random)), int(long.searches),
        two(depth["truth"]), two(depth["two_path"]), *(two(rows["median"]) for rows in uniform))


def test_what_the_text_says_of_the_estimators():
    frame, third = (pd.read_csv(RESULTS / f"estimators_cifar10{space}.csv", comment="#") for space in ("", "_third"))
    cosine = frame.pivot_table(index=["alpha", "weights", "seed", "batch"], columns="rule", values="cosine")
    closer, uniform = cosine.trapezoid > cosine.two_path, cosine.index.get_level_values("alpha") == "uniform"
    of_search = cosine.index.get_level_values("weights") == "searched"
    assert (cosine.trapezoid - cosine.two_path)[uniform].abs().max() < 2e-4                # one direction, four digits in the file
    medians, before = (rows[rows.weights == "searched"].groupby(["rule", "alpha"])[["cosine", "bias", "variance"]].median() for rows in (frame, third))
    at = medians.cosine.unstack()
    others = at.drop(["trapezoid", "reinforce"]).max()
    assert (at.loc["trapezoid"] > others).drop("uniform").all() and others["uniform"] == at.loc["exact", "uniform"] > at.loc["trapezoid", "uniform"]
    assert (at.loc["trapezoid"] >= 0.98).drop("uniform").all() and at.loc["trapezoid"].min() == at.loc["trapezoid", "uniform"]
    of_all, of_searches = closer[~uniform], closer[~uniform & of_search]
    why(*(f"{at.loc['trapezoid'].agg(end):.3f}" for end in ("min", "max")), f"{at.loc['exact', 'uniform']:.3f}", two(at.loc["trapezoid", "learned"]),
        *(two(at.loc[rule, "learned"]) for rule in ("two_path", "exact", "softmax")), int(of_searches.sum()), len(of_searches), int(of_all.sum()), len(of_all),
        f"{0.98 - at.loc['trapezoid', 'uniform']:.3f}", f"{before.cosine['trapezoid', 'uniform']:.3f}",
        *(two(medians.bias[rule].agg(end)) for rule in ("trapezoid", "two_path") for end in ("min", "max")))
    times, share = (medians.variance[rule] / medians.variance["two_path"] for rule in ("trapezoid", "exact"))
    why(*map(one, (times.min(), times.max(), share.min(), share.max())))
    assert 1.5 < times.min() and times.max() < 8.5
    assert (medians.variance["reinforce"] > medians.variance.drop("reinforce").groupby("alpha").max()).all()


# -- random search -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("k", [1, 2, 3])
def test_random_search_is_what_enumeration_of_all_draws_gives(k):
    """Ties in accuracy, unequal members, a network without a second run: all k draws written out."""
    rows = pd.DataFrame([("a", 0, 0.8), ("a", 1, 0.6), ("b", 0, 0.6), ("b", 1, 0.7), ("c", 0, 0.9)], columns=["network", "seed", "accuracy"])
    table = rows.groupby("network").agg(runs=("seed", "size"), mean=("accuracy", "mean")).assign(members=[1, 3, 2])
    pool = [(0.8, 0.6, 1), (0.6, 0.8, 1), (0.6, 0.7, 3), (0.7, 0.6, 3)]    # accuracy, the other seed's, weight
    chance = dict.fromkeys((0.1, 0.2, 0.3), 0.0)                          # regret -> probability
    for draws in product(pool, repeat=k):
        best = max(a for a, *_ in draws)
        winners = [(0.9 - other, w) for a, other, w in draws if a == best]
        for regret, w in winners:
            chance[round(regret, 9)] += np.prod([weight for *_, weight in draws]) / 8 ** k / len(winners)
    found = ground_truth.random_search(table, rows, [k]).loc[k]
    assert sum(chance.values()) == pytest.approx(1) and found["mean"] == pytest.approx(sum(r * p for r, p in chance.items()))
    assert found["median"] == pytest.approx(min(r for r in chance if sum(p for q, p in chance.items() if q <= r) >= 0.5 - 1e-9))


def test_one_random_training_has_the_mean_regret_of_a_random_choice(truth, runs):
    regret = np.average(truth["mean"].max() - truth["mean"], weights=truth.members)
    assert ground_truth.random_search(truth, runs, [1])["mean"][1] == pytest.approx(regret)


# -- searches ----------------------------------------------------------------------------------------------------------

@pytest.fixture
def mini(monkeypatch):
    monkeypatch.setitem(searches.CONFIG, "digits", dict(epochs=1, warmup_epochs=0, alpha_every=1, alpha_lr=0.05, batch_size=50))
    monkeypatch.setitem(cli.BY_NAME, "digits", MINI)
    return MINI


def test_a_search_repeats_itself_and_says_nothing(mini, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)  # where progress is a bar
    (one, _, seconds), (again, *_), (other, *_) = (ground_truth.search(mini, "two_path", seed) for seed in (3, 3, 4))
    p, q, r = (x.history.probabilities.iloc[-1] for x in (one, again, other))
    assert (p == q).all() and (p != r).any() and seconds > 0 and tuple(capsys.readouterr()) == ("", "")


def test_a_search_runs_on_one_thread_and_gives_the_others_back(mini, monkeypatch):
    seen, real = [], searches.Search
    monkeypatch.setattr(searches, "Search", lambda *a, **k: seen.append(torch.get_num_threads()) or real(*a, **k))
    with runtime.threads(3):
        ground_truth.search(mini, "two_path", 0)
        assert (seen, torch.get_num_threads()) == ([1], 3)


def test_reinforce_has_the_larger_learning_rate_of_the_paper(mini, monkeypatch):
    seen, real = {}, searches.Search
    monkeypatch.setattr(searches, "Search", lambda net, data, rule, config, **k: seen.setdefault(type(rule).__name__, config) and real(net, data, rule, config, **k))
    for rule in ("trapezoid", "reinforce"):
        ground_truth.search(mini, rule, 0)
    assert seen["Reinforce"].alpha_lr == pytest.approx(seen["Trapezoid"].alpha_lr * 0.01 / 0.006)


def test_a_method_may_have_fields_of_its_own(mini, monkeypatch):
    monkeypatch.setitem(searches.CONFIG, "digits", searches.CONFIG["digits"] | {"softmax": dict(epochs=3, alpha_lr=0.2)})
    common, own = (searches.config_of(mini, method) for method in ("two_path", "softmax"))
    assert (common.epochs, common.alpha_lr) == (1, 0.05) and own == replace(common, epochs=3, alpha_lr=0.2)
    assert searches.config_of(mini, "reinforce").epochs == 1
    result, _, _ = ground_truth.search(mini, "softmax", 0)
    assert len(result.history) == 3


def test_a_learning_rate_that_is_given_is_taken_as_it_is(mini, monkeypatch):
    seen, real = [], searches.Search
    monkeypatch.setattr(searches, "Search", lambda net, data, rule, config, **k: seen.append(config) or real(net, data, rule, config, **k))
    for method in ("reinforce", "two_path"):
        ground_truth.search(mini, method, 3, alpha_lr=0.02)
    assert [(config.alpha_lr, config.seed) for config in seen] == [(0.02, 3)] * 2


def test_an_unknown_method_is_told_with_the_allowed_ones(mini):
    with pytest.raises(ValueError, match="unknown method 'two_paths'; allowed: two_path, exact, .*, one_shot"):
        ground_truth.search(mini, "two_paths", 0)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """The table of the mini setting with one run of each network, accuracies made up."""
    path = tmp_path_factory.mktemp("truth") / "mini.csv"
    with closing(Runs(path, MINI)) as file:
        for i, code in enumerate(sorted(MINI.networks())):
            for seed in range(2):
                file.append(code, seed, 0.5 + 0.02 * i + 0.001 * seed, 1.0, 10.0)
    return ground_truth.load(path)


def test_the_command_writes_what_competitors_reach(tmp_path):
    cli.main(["rivals", "digits", "--repetitions", "2", "--out", str(tmp_path / "r.csv")])
    path = ground_truth.FOLDER / "digits.csv"
    expected = ground_truth.rivals.by_seed(ground_truth.load(path), ground_truth.read(path), 2)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "r.csv", comment="#"), expected, rtol=1e-3, check_dtype=False)


def test_no_seeds_are_refused_in_one_line(tmp_path, capsys):
    with pytest.raises(SystemExit):
        cli.main(["choose", "digits", "--seeds", "0", "--out", str(tmp_path / "c.csv")])
    assert capsys.readouterr().err == "error: argument --seeds: 0 is below 1; see --help\n"


def test_the_command_writes_a_row_a_search_and_goes_on(mini, tmp_path):
    path, command = tmp_path / "searches.csv", ["search", "digits", "--methods", "two_path", "one_shot", "--workers", "1", "--out"]
    sweep = lambda seeds: ground_truth.sweep(mini, ["two_path", "one_shot"], seeds, path, workers=1)
    cli.main([*command, str(path), "--seeds", "1"])
    first = ground_truth.read_searches(path)
    metadata = first.attrs
    assert list(zip(first.method, first.seed)) == [("two_path", 0), ("one_shot", 0)]
    assert metadata["setting"] == json.loads(json.dumps(mini.describe() | {"search": searches.CONFIG["digits"]}))
    sweep(2)
    rows = ground_truth.read_searches(path)
    assert list(zip(rows.method, rows.seed)) == [("two_path", 0), ("one_shot", 0), ("two_path", 1), ("one_shot", 1)]
    assert rows[:2].equals(first) and set(rows.network) <= set(mini.networks()) and (rows.seconds > 0).all()


def test_a_row_holds_what_was_found_and_what_the_shared_weights_say_of_all(mini, monkeypatch):
    monkeypatch.setitem(searches.CONFIG, "digits", searches.CONFIG["digits"] | {"epochs": 20})
    images = MINI.load()
    (method, seed, found, seconds, shared), = searches.searcher(mini)(("two_path", 1))
    result, net, _ = ground_truth.search(mini, "two_path", 1, images)
    assert (method, seed, found) == ("two_path", 1, pl.Architecture(mini.space, mini.space.canonical(result.architecture.choices)).code)
    accuracies = competitors.shared_accuracy(mini, net, images)
    assert shared.split() == [f"{1000 * accuracies[code]:.0f}" for code in sorted(mini.networks())] and len(set(shared.split())) > 1


def test_a_search_is_judged_by_the_table(table):
    codes = sorted(MINI.networks())
    rising, falling = (" ".join(map(str, values)) for values in (range(100, 107), range(106, 99, -1)))
    rows = pd.DataFrame([("two_path", 0, codes[-1], 20.0, rising), ("exact", 3, "12", 40.0, falling), ("exact", 4, "77", 1.0, rising)],
                        columns=["method", "seed", "network", "seconds", "shared"]).assign(processor=table.attrs["machine"]["processor"])
    best, other = ground_truth.score(table, rows).to_dict("records")
    sd = ground_truth.seed_sd(table)
    assert (best["cost"], best["regret"], best["tied"], best["better"], best["tau"]) == (2, 0, True, 0, pytest.approx(1))
    assert (other["method"], other["seed"], other["cost"], other["tau"]) == ("exact", 3, 4, pytest.approx(-1))
    assert other["regret"] == pytest.approx(0.02 * 3) and not other["tied"] and other["regret"] > 2 * sd
    band = table[(table.macs / table.macs["12"] - 1).abs() <= 0.05]["mean"]
    assert 1 < len(band) < len(codes) and other["in_band"] == pytest.approx(band.max() - table["mean"]["12"])
    assert other["better"] == (band > table["mean"]["12"] + 2 * sd).mean() > 0 and not other["tied_in_band"]


def test_a_search_on_another_processor_has_no_cost_unless_its_pace_is_given(table):
    codes = sorted(MINI.networks())
    rows = pd.DataFrame([("two_path", seed, codes[-1], 20.0, "1 2 3 4 5 6 7") for seed in range(2)], columns=["method", "seed", "network", "seconds", "shared"])
    rows["processor"] = [table.attrs["machine"]["processor"], "an abacus"]
    judged = ground_truth.score(table, rows)
    assert judged.cost[0] == 2 and np.isnan(judged.cost[1]) and judged.regret.tolist() == [0, 0]
    assert ground_truth.summary(judged).cost.tolist() == [2]
    assert ground_truth.score(table, rows, pace=4.0).cost.tolist() == [0.5, 0.5]


def test_the_pace_is_that_of_an_average_training(tmp_path, monkeypatch):
    seconds = dict(zip(sorted(MINI.networks()), (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0)))
    with closing(Runs(tmp_path / "mini.csv", MINI)) as file:
        for code, own in seconds.items():
            file.append(code, 0, 0.5, 1.0, own)
    average, = (code for code, own in seconds.items() if own == 4)
    assert 0 < ground_truth.pace(ground_truth.load(tmp_path / "mini.csv")) < 10, "measured for real"
    asked, took = [], [9.0, 2.0, 1.0, 2.0]
    monkeypatch.setattr(searches.runtime, "pool", lambda start, tasks, workers: asked.append((tasks, workers)) or [(*tasks[0], 0.5, 1.0, each) for each in took])
    assert ground_truth.pace(ground_truth.load(tmp_path / "mini.csv"), 2, 2) == 0.5 and asked == [([(average, k) for k in range(4)], 2)], "the median"


def test_tables_put_together_are_judged_row_by_row(truth, found):
    """Their index may hold a number twice."""
    parts = found[:3], found[3:5].reset_index(drop=True)
    together = ground_truth.score(truth, pd.concat(parts))
    expected = pd.concat([ground_truth.score(truth, part) for part in parts])
    assert len(together) == 5 and together.index.tolist() == [0, 1, 2, 0, 1] and together.equals(expected)


def test_searches_are_judged_by_the_table_of_their_own_setting(truth, found):
    tried = search_settings.read(search_settings.PATH)
    for own, table, other in ((found, truth, tried), (tried, ground_truth.load("cifar10"), found)):
        assert own.attrs["setting"]["search"] and len(ground_truth.score(table, own[:2])) == 2
        names = other.attrs["setting"]["name"], table.attrs["setting"]["name"]
        with pytest.raises(ValueError, match="the searches are in setting {}, the table is about {}, with another name, family, ".format(*names)) as caught:
            ground_truth.score(table, other)
        assert "\n" not in str(caught.value)


# -- figures -----------------------------------------------------------------------------------------------------------

def test_the_trajectory_marks_what_was_found_only_where_the_table_has_it(truth):
    expected = pd.DataFrame({"macs": [100_000, 150_000], "mean": [0.92, 0.96]})
    lines = {line.get_label(): line for line in plots.trajectory(truth, 0.01, expected, truth.index[5]).axes[0].lines}
    assert [line.tolist() for line in lines["expected under p, after each epoch"].get_data()] == [[100, 150], [92, 96]]
    assert lines["found"].get_ydata() == [100 * truth["mean"].iloc[5]]
    assert "found" not in {line.get_label() for line in plots.trajectory(truth, 0.01, expected, "9999").axes[0].lines}


def test_methods_are_drawn_by_their_means_next_to_random_search_of_their_cost():
    judged = pd.DataFrame({"method": ["two_path"] * 4 + ["exact"] * 2, "cost": [2.0, np.nan, 4.0, 6.0, 1.0, 1.0], "regret": [0.01, 0.02, 0.03, 0.04, 0.01, 0.01]})
    chance = pd.DataFrame({"mean": [0.05, 0.04, 0.03]}, index=[1, 2, 8])
    ax = plots.regret_by_method(judged, chance, 0.01).axes[0]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["two_path (4.0 trainings)", "exact (1.0 trainings)"], "the best on top"
    lines = {line.get_marker(): line for line in ax.lines}
    assert lines["o"].get_xdata().tolist() == [2.5, 1] and lines["D"].get_xdata().tolist() == pytest.approx([3.5, 5])
    ticks = [line for line in ax.lines if line.get_label() in ("one search", "") or line.get_ydata()[0] in (-0.25, 0.75)]
    assert [1, 2, 3, 4] in [line.get_xdata().tolist() for line in ticks]


def test_shared_weights_are_drawn_against_the_truth_by_number_of_blocks():
    truth, shared = pd.Series([0.4, 0.5, 0.6]), pd.Series([0.3, 0.35, 0.5])
    ax = plots.shared_against_true(truth, shared, pd.Series([1, 2, 2])).axes[0]
    one, two, line = ax.lines
    assert (one.get_xdata().tolist(), two.get_ydata().tolist()) == ([40], [35, 50])
    assert line.get_ydata() == pytest.approx([30, 50]), "off by the median, 10 points"


def test_the_front_of_the_landscape_is_what_nobody_beats(truth):
    ax = plots.landscape(truth, 0.01, truth["mean"] > 0.9).axes[0]
    line = next(line for line in ax.lines if line.get_label() == "Pareto front")
    unbeaten = {(m / 1e3, 100 * a) for m, a in zip(truth.macs, truth["mean"])
                if not ((truth.macs <= m) & (truth["mean"] >= a) & ((truth.macs < m) | (truth["mean"] > a))).any()}
    assert set(zip(line.get_xdata(), line.get_ydata())) == unbeaten
