"""What notebook 10 states, recomputed from the committed tables; searches in a setting; random search against enumeration."""

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
from test_readme import says as page_says
from truth_runs import MINI

from proxyless_lite import ground_truth, notebook, plots
from proxyless_lite.ground_truth import __main__ as cli
from proxyless_lite.ground_truth import rivals, searches
from proxyless_lite.ground_truth.criteria import spreads
from proxyless_lite.ground_truth.table import Writer, setting_of

README = ground_truth.FOLDER / "README.md"
STORED = notebook.DATA / "results" / "searches_digits.csv"


says = partial(page_says, "10")


@pytest.fixture(scope="module")
def truth():
    return ground_truth.load("digits")


@pytest.fixture(scope="module")
def runs():
    return ground_truth.read(ground_truth.FOLDER / "digits.csv")[1]


@pytest.fixture(scope="module")
def found():
    return ground_truth.read_searches(STORED)[1]


# -- the committed tables ----------------------------------------------------------------------------------------------

def test_every_network_of_the_digits_is_in_the_table_with_three_seeds(truth, runs):
    setting = ground_truth.BY_NAME["digits"]
    assert set(truth.index) == set(setting.networks()) and (truth.runs == 3).all() and setting.seeds == 3
    assert not runs.duplicated(["network", "seed"]).any() and truth.members.sum() == 4 ** 4
    assert truth.attrs["digest"] == setting.load().digest


def test_the_stored_searches_are_of_twenty_seeds_a_method_with_the_settings_of_today(truth, found):
    about, _ = ground_truth.read_searches(STORED)
    assert found.groupby("method").seed.apply(sorted).to_dict() == {method: list(range(20)) for method in ground_truth.METHODS}
    today = ground_truth.BY_NAME["digits"].describe() | {"search": searches.CONFIG["digits"]}
    assert about["setting"] == today and about["digest"] == truth.attrs["digest"] and about["machine"]["processor"]
    assert found.network.isin(truth.index).all() and {len(row.split()) for row in found.shared} == {len(truth)}


def test_what_the_text_says_of_the_table(truth, runs):
    sd, half = ground_truth.seed_sd(truth), truth.nlargest(60, "mean")
    criteria = ground_truth.verify(truth).set_index("criterion")
    failed = criteria[~criteria.met].value.to_dict()
    assert failed == {"test images": "360", "least spread of accuracy in a cost band / sd between seeds": "1.5"}
    assert round(100 * sd, 1) == 1.8 and round(100 * ground_truth.seed_sd(half), 1) == 1.0 and round(100 / 360, 2) == 0.28
    tied = lambda sd: (truth["mean"] >= truth["mean"].max() - 2 * sd).sum()
    assert (tied(sd), tied(ground_truth.seed_sd(half))) == (95, 60)
    ranks = [ground_truth.rank(truth, ground_truth.network(ground_truth.BY_NAME["digits"].space, code)) for code in truth.index]
    assert np.mean([r["tied"] for r in ranks]) > 0.8
    readme = README.read_text()
    values = criteria.value.drop("operations in the best network of a cost band")
    assert all(f"| {name} | {value} |" in readme for name, value in values.items())


def test_what_the_text_says_of_the_searches(truth, runs, found):
    sd, judged = ground_truth.seed_sd(truth), ground_truth.judge(truth, found)
    points = judged.assign(regret=100 * judged.regret)
    medians = judged.groupby("method")[["cost", "tau"]].median()
    regret, cost, tau = points.groupby("method").regret.agg(["median", "mean", "max"]).round(2), medians.cost, medians.tau.round(2)
    alike = ["two_path", "exact", "trapezoid"]
    assert (regret["median"][alike] == 0.56).all() and cost[alike].round(1).between(3.0, 3.5).all() and round(0.56 / (100 * sd), 1) == 0.3 and len(runs) == 363
    chance = 100 * ground_truth.random_search(truth, runs, [3, 4, 5, 100])["mean"]
    assert round(np.interp(np.log(3.2), np.log(chance.index), chance), 1) == 2.0 and round(chance[100], 1) == 1.1
    assert tuple(regret.loc["softmax"]) == (0.19, 0.72, 2.78) and cost["softmax"] / cost["two_path"] == pytest.approx(2.2, abs=0.15)
    assert regret["mean"].drop("reinforce").idxmax() == "one_shot" and regret["mean"]["softmax"] > regret["mean"][alike].max()
    assert regret["max"]["reinforce"] == 8.42 and (points.regret[points.method == "reinforce"] > 8).sum() == 1
    assert regret["mean"].idxmin() == "combined" and regret["mean"]["combined"] == 0.48 and cost["combined"] / cost["two_path"] > 2
    shot = judged[judged.method == "one_shot"]
    assert shot.network.nunique() == 18 and len(shot) == 20 and chance[4] > regret["mean"]["one_shot"] > chance[5]
    sampled = judged[~judged.method.isin(["softmax", "one_shot"])]
    assert (sampled.network == "3333").sum() == 66 and len(sampled) == 100 and truth.macs["3333"] == truth.macs.max()
    assert set(truth.choices["3333"]) == {"MB3 3x3"} and tau["one_shot"] == tau.min() == 0.26
    assert tau.drop("one_shot").agg(["min", "max"]).tolist() == [0.35, 0.45]
    assert (~judged.tied).groupby(judged.method).sum().to_dict() == dict.fromkeys(ground_truth.METHODS, 0) | {"reinforce": 1, "one_shot": 1}


def test_what_the_text_says_of_cifar10():
    truth = ground_truth.load("cifar10")
    _, rows = ground_truth.read(ground_truth.FOLDER / "cifar10.csv")
    setting, sd, criteria = ground_truth.BY_NAME["cifar10"], ground_truth.seed_sd(truth), ground_truth.verify(truth).set_index("criterion")
    assert truth.attrs["setting"] == setting.describe() and set(truth.index) == set(setting.networks()) and not rows.duplicated(["network", "seed"]).any()
    assert (truth.runs == 3).all() and truth.attrs["test_images"] == 10_000
    failed = criteria[~criteria.met].value.to_dict()
    assert failed == {"least spread of accuracy in a cost band / sd between seeds": "4.7", "Kendall τ of accuracy with MACs": "0.53"}
    ranks = pd.DataFrame([ground_truth.rank(truth, ground_truth.network(setting.space, code)) for code in truth.index])
    assert (truth["mean"] >= truth["mean"].max() - 2 * sd).sum() == 4 and ranks.tied.sum() == 58
    bands = [truth["mean"][(truth.macs / macs - 1).abs() <= 0.05] for macs in truth.macs]
    apart = max(band.max() - band.min() for band in bands)
    assert round(100 * apart) == 6 and round(apart / sd) == 11
    assert_told(truth, README.read_text())


def assert_told(truth, page):
    """A page has the deviation between seeds, the criteria and the bands of a table."""
    sd = ground_truth.seed_sd(truth)
    assert f"sd between seeds {100 * sd:.2f} points" in page
    for row in ground_truth.verify(truth).itertuples():
        assert f"| {row.criterion} | {row.value} | {row.wanted} | {'yes' if row.met else '**no**'} |" in page
    for band in spreads(truth).itertuples():
        assert (f"| {band.from_macs:,} – {band.to_macs:,} | {band.networks} | {100 * band.spread:.1f} | {band.spread / sd:.1f} | "
                f"`{band.best_network}`, {100 * band.best:.2f} % |") in page


def test_the_next_table_on_cifar10_meets_every_criterion():
    path, own = ground_truth.FOLDER / "cifar10_next.csv", README.read_text().split("## A fourth space")[1]
    truth, (about, rows), (other, third) = ground_truth.load(path), ground_truth.read(path), ground_truth.read(ground_truth.FOLDER / "cifar10.csv")
    sd, setting = ground_truth.seed_sd(truth), setting_of(truth.attrs)
    assert ground_truth.verify(truth).met.all() and set(truth.index) == set(setting.networks())
    assert (truth.runs == 3).all() and not rows.duplicated(["network", "seed"]).any() and about["digest"] == other["digest"]
    assert setting == replace(ground_truth.BY_NAME["cifar10"], chain=setting.chain), "only the candidates are others"
    assert_told(truth, own)
    tied = sum(ground_truth.rank(truth, ground_truth.network(setting.space, code))["tied"] for code in truth.index)
    assert f"{(truth['mean'] >= truth['mean'].max() - 2 * sd).sum()} of the {len(truth)} networks are within two sd of the best of all, and {tied} within two sd" in own
    same = rows.merge(third, on=["network", "seed"], suffixes=("", "_third")).query("not network.str.contains('[13]')")
    assert len(same) == 15 and (same.accuracy == same.accuracy_third).all() and (same.loss == same.loss_third).all()
    conv, mb7 = (truth.macs[code] - truth.macs["0000"] for code in ("2000", "3000"))
    assert f"MB7 1x1 has {mb7 / conv:.1f} times the MACs of conv 3x3" in own
    for name, read, run in (("searches", ground_truth.read_searches, ["method", "seed"]), ("search_settings", search_settings.read, ["method", "changed", "seed"])):
        _, found = read(notebook.DATA / "results" / f"{name}_cifar10_next.csv")
        assert len(ground_truth.judge(truth, found)) == len(found) and not found.duplicated(run).any()


def test_what_the_text_says_of_the_searches_on_cifar10():
    truth, runs = ground_truth.load("cifar10"), ground_truth.read(ground_truth.FOLDER / "cifar10.csv")[1]
    about, found = ground_truth.read_searches(notebook.DATA / "results" / "searches_cifar10.csv")
    today = ground_truth.BY_NAME["cifar10"].describe() | {"search": searches.CONFIG["cifar10"]}
    assert about["setting"] == today and about["digest"] == truth.attrs["digest"]
    noise, judged = 100 * ground_truth.seed_sd(truth), ground_truth.judge(truth, found)
    points = judged.assign(**{name: 100 * judged[name] for name in ("regret", "in_band", "by_shared")})
    of, n = points.groupby("method"), found.method.value_counts()
    median, worst, kept = of[["regret", "in_band", "by_shared", "cost", "better"]].median(), of.regret.max(), found.network.str.count("[^0]").groupby(found.method)
    random = ground_truth.random_search(truth, runs, [1, 2, 3, 4, 5, 6, 8, 10, 15, 20])["mean"]
    expects = lambda method: 100 * np.interp(np.log(median.cost[method]), np.log(random.index), random)
    tied = judged.tied_in_band.groupby(judged.method).sum()
    says(f"{median.in_band['two_path']:.2f} points below the best of its cost band in the median, {median.in_band['two_path'] / noise:.1f} sd between seeds, and {tied['two_path']} of its {n['two_path']} searches are tied",
         f"*trapezoid*: {median.in_band['trapezoid']:.2f} points and {tied['trapezoid']}", f"about {median.cost['trapezoid']:.0f} trainings",
         f"{median.regret['two_path']:.2f} points below the best, {median.regret['two_path'] / noise:.1f} sd",
         f"{judged.tied[judged.method == 'two_path'].sum()} of its {n['two_path']} searches end in the tie",
         f"Its mean, {of.regret.mean()['two_path']:.1f}, is no better than the {expects('two_path'):.1f} that random search",
         "have better medians, {reinforce:.2f} and {combined:.2f}, for three times the price".format(**median.regret), "their means, {reinforce:.1f} and {combined:.1f}".format(**of.regret.mean()),
         f"are above the {expects('reinforce'):.1f} that random search",
         f"has a mean of {of.regret.mean()['trapezoid']:.1f}, the highest of the rules that sample paths",
         f"{(kept.get_group('softmax') <= 2).sum()} of {n['softmax']} searches end with at most two blocks, {(kept.get_group('softmax') <= 1).sum()} with one or none",
         f"({kept.mean()['trapezoid']:.1f} against {kept.mean()['two_path']:.1f} of 4 are kept)")
    assert median.better["two_path"] == 0 and 80 < len(runs) / median.cost["trapezoid"] < 140 and all(2.5 < median.cost[rule] / median.cost["two_path"] < 3.5 and round(expects(rule), 1) == 1.8 for rule in ("reinforce", "combined"))
    below = [method for method in ground_truth.METHODS if of.regret.mean()[method] < expects(method)]
    assert below == ["one_shot"] and median.regret.drop("softmax").between(1.8, 3.4).all() and of.regret.mean().drop("softmax").idxmax() == "trapezoid"
    assert (n == 20).all() and median.regret.idxmax() == median.cost.idxmax() == worst.idxmax() == "softmax"
    five = truth.assign(blocks=truth.index.str.count("[^0]")).sort_values("mean").groupby("blocks").tail(5)
    shared = pd.DataFrame([map(int, row.split()) for row in found.shared], found.method, sorted(truth.index)) / 10
    gain = lambda accuracy: accuracy[five.index[five.blocks == 4]].mean() - accuracy[five.index[five.blocks == 2]].mean()
    says(f"Four blocks are truly {100 * gain(truth['mean']):.2f} points better than two", f"of *two_path* searches they are {gain(shared.loc['two_path'].mean()):.2f} points better",
         f"with those of one-shot training {gain(shared.loc['one_shot'].mean()):.2f}, where α never moved")
    better = (median.regret - median.by_shared).drop("one_shot")
    assert len(better) == 6 and (better > 0).all()
    says(f"*{better.idxmin()}* least ({median.by_shared[better.idxmin()]:.2f} against {median.regret[better.idxmin()]:.2f})")


def test_what_a_blind_choice_is_worth_at_equal_cost():
    """Each network with the chance of a uniform choice of operations: its regret among those of its MACs, in the median, and how often it is tied."""
    truth, space = ground_truth.load("cifar10"), ground_truth.BY_NAME["cifar10"].space
    ranks = {code: ground_truth.rank(truth, ground_truth.network(space, code)) for code in truth.index}
    drawn = [ranks[code] for code, times in truth.members.items() for _ in range(times)]
    assert len(drawn) == 256
    median = f"{100 * np.median([rank['regret'] for rank in drawn]):.2f}"
    says(f"one blind choice, without any search, is {median} points below the best of its cost in the median, and tied in {np.mean([rank['tied'] for rank in drawn]):.0%} of choices".replace("%", " %"))
    page_says("README.md", f"one blind choice {median}")
    page_says("docs/measurements.md", f"so is one blind choice ({median} points)")
    judged = ground_truth.judge(truth, ground_truth.read_searches(notebook.DATA / "results" / "searches_cifar10.csv")[1])
    own = judged[judged.method == "two_path"]
    sizes = own.network.map(lambda code: ranks[code]["networks"])
    alone = own.network[sizes == 1]
    says(f"And {len(alone)} of the {len(own)} searches end at `{alone.iloc[0]}`", f"In the {(sizes > 3).sum()} whose band holds more than three networks the median is {100 * own.in_band[sizes > 3].median():.2f}")
    assert alone.nunique() == 1 and (judged[judged.method == "softmax"].network.map(lambda code: ranks[code]["networks"]) == 1).mean() > 0.5


@pytest.fixture(scope="module")
def settings():
    """What the table says of the stored searches on CIFAR-10, of the fresh ones with other settings, and of the trials before them: (method, changed) -> row."""
    truth, tried = ground_truth.load("cifar10"), search_settings.read(search_settings.PATH)[1]
    stored = ground_truth.read_searches(notebook.DATA / "results" / "searches_cifar10.csv")[1].assign(changed="nothing")
    random = 100 * ground_truth.random_search(truth, ground_truth.read(ground_truth.FOLDER / "cifar10.csv")[1], [1, 2, 3, 4, 5, 6, 8, 10, 15, 20])["mean"]
    parts = (ground_truth.summary(ground_truth.judge(truth, rows), ["method", "changed"]) for rows in (stored, tried[tried.seed >= 4], tried[tried.seed < 4]))
    return [rows.assign(random=np.interp(np.log(rows.cost), np.log(random.index), random)) for rows in parts]


LONG, UNIFORM = "epochs=12 warmup_epochs=12 alpha_every=4", "epochs=28 warmup_epochs=0"


def test_what_the_text_says_of_other_settings(settings):
    stored, fresh, trials = settings
    (n,) = fresh.searches.unique()
    stored_judged = ground_truth.judge(ground_truth.load("cifar10"), ground_truth.read_searches(notebook.DATA / "results" / "searches_cifar10.csv")[1])
    others = stored_judged[(stored_judged.method == "two_path") & (stored_judged.seed >= 4)]
    assert sorted(fresh.index) == [("one_shot", UNIFORM), ("trapezoid", LONG), ("two_path", LONG)] and 45 < trials.searches.sum() < 60
    before, after = stored.droplevel("changed"), fresh.droplevel("changed")
    uniform, long, usual = trials.loc["one_shot", UNIFORM], trials.loc["two_path", LONG], trials.loc["two_path", "nothing"]
    says(f"then searched with {n} seeds that no trial had",
         f"ended {uniform['median']:.2f} points below the best (median of {uniform.searches:.0f}), *two_path* with more weight steps {long['median']:.2f}, with the stored settings {usual['median']:.2f} (of {usual.searches:.0f})",
         f"not used to choose: {after['median'].one_shot:.2f}, {after['median'].two_path:.2f} and (of {len(others)}) {100 * others.regret.median():.2f}",
         f"τ rises from {before.tau.two_path:.2f} to {after.tau.two_path:.2f} for *two_path* and from {before.tau.trapezoid:.2f} to {after.tau.trapezoid:.2f} for *trapezoid*",
         f"of *trapezoid* falls from {before['mean'].trapezoid:.1f} to {after['mean'].trapezoid:.1f} points, that of *two_path* from {before['mean'].two_path:.1f} to {after['mean'].two_path:.1f} only",
         f"may expect for the price, {after.random.trapezoid:.1f} and {after.random.two_path:.1f}",
         f"a mean of {after['mean'].one_shot:.1f} instead of {before['mean'].one_shot:.1f}, for {after.cost.one_shot / before.cost.one_shot:.1f} times the price, at which random search may expect {after.random.one_shot:.1f}",
         f"has a median regret of {before.by_shared.two_path:.2f} points, where the largest α of *two_path* give {before['median'].two_path:.2f}",
         f"it does not help *two_path* ({after.by_shared.two_path:.2f} against {after['median'].two_path:.2f}), and *trapezoid* a little ({after.by_shared.trapezoid:.2f} against {after['median'].trapezoid:.2f})")
    assert (after["mean"] > after.random).to_dict() == {"two_path": True, "trapezoid": True, "one_shot": False}, "only uniform sampling is better than blind choice"
    assert after.by_shared.two_path > after["median"].two_path and after.by_shared.trapezoid < after["median"].trapezoid
    page_says("docs/measurements.md", f"`two_path` {usual['median']:.2f} over four seeds", f"with {n} seeds each",
              f"`two_path` ends {after['median'].two_path:.2f} points below the best in the median (mean {after['mean'].two_path:.2f}, for {after.cost.two_path:.1f} trainings)",
              f"`trapezoid` {after['median'].trapezoid:.2f} (mean {after['mean'].trapezoid:.2f}, {after.cost.trapezoid:.1f} trainings)",
              f"judged by shared weights, {after['median'].one_shot:.2f} (mean {after['mean'].one_shot:.2f}, {after.cost.one_shot:.1f} trainings)",
              "only the last is better than random search of its price ({two_path:.1f}, {trapezoid:.1f} and {one_shot:.1f})".format(**after.random))
    page_says("data/results/README.md", f"three with {n} seeds from 4 up")


def test_what_the_text_says_of_the_estimators():
    frame = pd.read_csv(notebook.DATA / "results" / "estimators_cifar10.csv", comment="#")
    cosine = frame.pivot_table(index=["alpha", "weights", "seed", "batch"], columns="rule", values="cosine")
    closer, uniform = cosine.trapezoid > cosine.two_path, cosine.index.get_level_values("alpha") == "uniform"
    assert closer[~uniform].sum() == 73 and (sum(~uniform), sum(uniform)) == (84, 24)
    assert (cosine.trapezoid - cosine.two_path)[uniform].abs().max() < 2e-4                # one direction, four digits in the file
    medians = frame[frame.weights == "searched"].groupby(["rule", "alpha"])[["cosine", "bias", "variance"]].median()
    at = medians.cosine.unstack()
    assert (round(at.loc["trapezoid"].min(), 3), round(at.loc["trapezoid"].max(), 3), round(at.loc["two_path", "uniform"], 3)) == (0.984, 0.994, 0.984)
    assert [round(at.loc[rule, "learned"], 2) for rule in ("two_path", "exact", "softmax")] == [0.81, 0.78, 0.80]
    assert (at.loc["trapezoid"] >= at.drop(["trapezoid", "reinforce"]).max() - 1e-9).all()
    of_search = cosine.index.get_level_values("weights") == "searched"
    says(f"closer than *two_path* in {closer[~uniform & of_search].sum()} of {sum(~uniform & of_search)} cases ({closer[~uniform].sum()} of {sum(~uniform)} with the warm-up's weights too)")
    says("The bias, with its length: {:.2f} to {:.2f} for *trapezoid*, {:.2f} to {:.2f} for *two_path*".format(
        *(medians.bias[rule].agg(end) for rule in ("trapezoid", "two_path") for end in ("min", "max"))))
    times = medians.variance["trapezoid"] / medians.variance["two_path"]
    assert (round(times.min(), 1), round(times.max(), 1)) == (2.2, 5.5)
    share = medians.variance["exact"] / medians.variance["two_path"]
    assert (round(share.min(), 1), round(share.max(), 1)) == (0.5, 0.8)
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


def test_reinforce_has_the_larger_learning_rate_of_the_paper(mini, monkeypatch):
    seen, real = {}, searches.Search
    monkeypatch.setattr(searches, "Search", lambda net, data, rule, config, **k: seen.setdefault(type(rule).__name__, config) and real(net, data, rule, config, **k))
    for rule in ("trapezoid", "reinforce"):
        ground_truth.search(mini, rule, 0)
    assert seen["Reinforce"].alpha_lr == pytest.approx(seen["Trapezoid"].alpha_lr * 0.01 / 0.006)


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
    with closing(Writer(path, MINI)) as file:
        for i, code in enumerate(sorted(MINI.networks())):
            for seed in range(2):
                file.append(code, seed, 0.5 + 0.02 * i + 0.001 * seed, 1.0, 10.0)
    return ground_truth.load(path)


def test_the_command_writes_a_row_a_search_and_goes_on(mini, tmp_path):
    path, command = tmp_path / "searches.csv", ["search", "digits", "--methods", "two_path", "one_shot", "--workers", "1", "--out"]
    sweep = lambda seeds: ground_truth.sweep(mini, ["two_path", "one_shot"], seeds, path, workers=1)
    cli.main([*command, str(path), "--seeds", "1"])
    about, first = ground_truth.read_searches(path)
    assert list(zip(first.method, first.seed)) == [("two_path", 0), ("one_shot", 0)]
    assert about["setting"] == json.loads(json.dumps(mini.describe() | {"search": searches.CONFIG["digits"]}))
    sweep(2)
    _, rows = ground_truth.read_searches(path)
    assert list(zip(rows.method, rows.seed)) == [("two_path", 0), ("one_shot", 0), ("two_path", 1), ("one_shot", 1)]
    assert rows[:2].equals(first) and set(rows.network) <= set(mini.networks()) and (rows.seconds > 0).all()


def test_a_row_holds_what_was_found_and_what_the_shared_weights_say_of_all(mini, monkeypatch):
    monkeypatch.setitem(searches.CONFIG, "digits", searches.CONFIG["digits"] | {"epochs": 20})
    images = MINI.load()
    (method, seed, found, seconds, shared), = searches.searcher(mini)(("two_path", 1))
    result, net, _ = ground_truth.search(mini, "two_path", 1, images)
    assert (method, seed, found) == ("two_path", 1, searches.code(mini.space, ground_truth.canonical(result.architecture.choices)))
    accuracies = rivals.shared_accuracy(mini, net, images)
    assert shared.split() == [f"{1000 * accuracies[code]:.0f}" for code in sorted(mini.networks())] and len(set(shared.split())) > 1


def test_a_search_is_judged_by_the_table(table):
    codes = sorted(MINI.networks())
    rising, falling = (" ".join(map(str, values)) for values in (range(100, 107), range(106, 99, -1)))
    rows = pd.DataFrame([("two_path", 0, codes[-1], 20.0, rising), ("exact", 3, "12", 40.0, falling), ("exact", 4, "77", 1.0, rising)],
                        columns=["method", "seed", "network", "seconds", "shared"])
    best, other = ground_truth.judge(table, rows).to_dict("records")
    sd = ground_truth.seed_sd(table)
    assert (best["cost"], best["regret"], best["tied"], best["better"], best["tau"]) == (2, 0, True, 0, pytest.approx(1))
    assert (other["method"], other["seed"], other["cost"], other["tau"]) == ("exact", 3, 4, pytest.approx(-1))
    assert other["regret"] == pytest.approx(0.02 * 3) and not other["tied"] and other["regret"] > 2 * sd
    band = table[(table.macs / table.macs["12"] - 1).abs() <= 0.05]["mean"]
    assert 1 < len(band) < len(codes) and other["in_band"] == pytest.approx(band.max() - table["mean"]["12"])
    assert other["better"] == (band > table["mean"]["12"] + 2 * sd).mean() > 0 and not other["tied_in_band"]


def test_tables_put_together_are_judged_row_by_row(truth, found):
    """Their index may hold a number twice."""
    parts = found[:3], found[3:5].reset_index(drop=True)
    together = ground_truth.judge(truth, pd.concat(parts))
    expected = pd.concat([ground_truth.judge(truth, part) for part in parts])
    assert len(together) == 5 and together.index.tolist() == [0, 1, 2, 0, 1] and together.equals(expected)


def test_searches_are_judged_by_the_table_of_their_own_setting(truth, found):
    tried = search_settings.read(search_settings.PATH)[1]
    for own, table, other in ((found, truth, tried), (tried, ground_truth.load("cifar10"), found)):
        assert own.attrs["setting"]["search"] and len(ground_truth.judge(table, own[:2])) == 2
        names = other.attrs["setting"]["name"], table.attrs["setting"]["name"]
        with pytest.raises(ValueError, match="the searches are in setting {}, the table is about {}, with another name, chain, ".format(*names)) as caught:
            ground_truth.judge(table, other)
        assert "\n" not in str(caught.value)


# -- figures -----------------------------------------------------------------------------------------------------------

def test_the_trajectory_marks_what_was_found_only_where_the_table_has_it(truth):
    expected = pd.DataFrame({"macs": [100_000, 150_000], "mean": [0.92, 0.96]})
    lines = {line.get_label(): line for line in plots.trajectory(truth, 0.01, expected, truth.index[5]).axes[0].lines}
    assert [line.tolist() for line in lines["expected under p, after each epoch"].get_data()] == [[100, 150], [92, 96]]
    assert lines["found"].get_ydata() == [100 * truth["mean"].iloc[5]]
    assert "found" not in {line.get_label() for line in plots.trajectory(truth, 0.01, expected, "9999").axes[0].lines}


def test_the_front_of_the_landscape_is_what_nobody_beats(truth):
    ax = plots.landscape(truth, 0.01, truth["mean"] > 0.9).axes[0]
    line = next(line for line in ax.lines if line.get_label() == "Pareto front")
    unbeaten = {(m / 1e3, 100 * a) for m, a in zip(truth.macs, truth["mean"])
                if not ((truth.macs <= m) & (truth["mean"] >= a) & ((truth.macs < m) | (truth["mean"] > a))).any()}
    assert set(zip(line.get_xdata(), line.get_ydata())) == unbeaten
