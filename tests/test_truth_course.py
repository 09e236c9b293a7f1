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
import torch
from scipy.stats import t as student
from test_readme import says as page_says
from truth_runs import MINI

from proxyless_lite import ground_truth, notebook, plots, runtime
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
    setting, sd, page = ground_truth.BY_NAME["cifar10"], ground_truth.seed_sd(truth), README.read_text().split("## The third space")[0]
    assert truth.attrs["setting"] == setting.describe() and set(truth.index) == set(setting.networks()) and not rows.duplicated(["network", "seed"]).any()
    assert (truth.runs == 3).all() and truth.attrs["test_images"] == 10_000
    criteria = ground_truth.verify(truth).set_index("criterion")
    assert criteria.met.all()
    says(f"at least {spreads(truth).spread.min() / sd:.1f} sd", f"τ is {criteria.value['Kendall τ of accuracy with MACs']}")
    ranks = pd.DataFrame([ground_truth.rank(truth, ground_truth.network(setting.space, code)) for code in truth.index])
    best, tied = (truth["mean"] >= truth["mean"].max() - 2 * sd).sum(), ranks.tied.sum()
    page_says("data/ground_truth/README.md", f"{best} of the {len(truth)} are within two sd of the best of all, and {tied} within two sd of the best of those that cost as much")
    bands = [truth["mean"][(truth.macs / macs - 1).abs() <= 0.05] for macs in truth.macs]
    apart = max(band.max() - band.min() for band in bands)
    says(f"up to {100 * apart:.1f} points apart, {apart / sd:.0f} sd between seeds; {best} of the {len(truth)} are tied with the best of all, and {tied} with the best of their cost")
    assert_told(truth, page)
    costs = {code: truth.macs[code] - truth.macs["0000"] for code in ("1000", "2000", "3000")}
    page_says("data/ground_truth/README.md", f"MB7 1x1 has {costs['3000'] / costs['2000']:.1f} times the MACs of conv 3x3")
    says(f"{costs['3000'] / costs['2000']:.1f} times the MACs of the 3×3 convolution")
    four, one = truth["mean"]["2222"], truth["mean"][["3222", "2322", "2232", "2223"]]
    assert (one > four).all() and truth["mean"]["3333"] < four, "one of them in place of a 3×3 convolution helps, four do not"
    says(f"Four 3×3 convolutions reach {100 * four:.1f} %, four large MBConvs {100 * truth['mean']['3333']:.1f} %, and three convolutions with one of them behind {100 * one['2223']:.1f} %")


def assert_told(truth, page):
    """A page has the deviation between seeds, the criteria and the bands of a table."""
    sd = ground_truth.seed_sd(truth)
    assert f"sd between seeds {100 * sd:.2f} points" in page
    for row in ground_truth.verify(truth).itertuples():
        assert f"| {row.criterion} | {row.value} | {row.wanted} | {'yes' if row.met else '**no**'} |" in page
    for band in spreads(truth).itertuples():
        assert (f"| {band.from_macs:,} – {band.to_macs:,} | {band.networks} | {100 * band.spread:.1f} | {band.spread / sd:.1f} | "
                f"`{band.best_network}`, {100 * band.best:.2f} % |") in page


RESULTS = notebook.DATA / "results"
FILES = [("searches", ground_truth.read_searches, ["method", "seed"]), ("search_settings", search_settings.read, ["method", "changed", "seed"])]


def test_the_third_table_on_cifar10_misses_two_criteria():
    path, own = ground_truth.FOLDER / "cifar10_third.csv", README.read_text().split("## The third space")[1]
    truth, (about, rows), (_, today) = ground_truth.load(path), ground_truth.read(path), ground_truth.read(ground_truth.FOLDER / "cifar10.csv")
    setting, criteria = setting_of(truth.attrs), ground_truth.verify(truth).set_index("criterion")
    assert (truth.runs == 3).all() and not rows.duplicated(["network", "seed"]).any() and set(truth.index) == set(setting.networks())
    assert setting == replace(ground_truth.BY_NAME["cifar10"], chain=setting.chain), "only the candidates are others"
    assert criteria[~criteria.met].value.to_dict() == {"least spread of accuracy in a cost band / sd between seeds": "4.7", "Kendall τ of accuracy with MACs": "0.53"}
    assert_told(truth, own)
    sd, tied = ground_truth.seed_sd(truth), sum(ground_truth.rank(truth, ground_truth.network(setting.space, code))["tied"] for code in truth.index)
    page_says("data/ground_truth/README.md", f"{(truth['mean'] >= truth['mean'].max() - 2 * sd).sum()} of its {len(truth)} networks are within two sd of the best of all, {tied} within two sd")
    same = rows.merge(today, on=["network", "seed"], suffixes=("", "_today")).query("not network.str.contains('[13]')")
    assert len(same) == 15 and (same.accuracy == same.accuracy_today).all() and (same.loss == same.loss_today).all()


@pytest.mark.parametrize("space", ["", "_third"])
def test_no_search_is_there_twice_and_each_is_of_its_table(space):
    truth = ground_truth.load(f"cifar10{space}")
    for name, read, run in FILES:
        about, found = read(RESULTS / f"{name}_cifar10{space}.csv")
        assert len(ground_truth.judge(truth, found)) == len(found) and not found.duplicated(run).any() and about["digest"] == truth.attrs["digest"]


def searched(space=""):
    """Table, its runs, the judged searches in it, and the mean regret of random search as a function of the cost, in points."""
    truth, runs = ground_truth.load(f"cifar10{space}"), ground_truth.read(ground_truth.FOLDER / f"cifar10{space}.csv")[1]
    judged = ground_truth.judge(truth, ground_truth.read_searches(RESULTS / f"searches_cifar10{space}.csv")[1])
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
    about, found = ground_truth.read_searches(RESULTS / "searches_cifar10.csv")
    assert about["setting"] == ground_truth.BY_NAME["cifar10"].describe() | {"search": searches.CONFIG["cifar10"]}
    table, noise, of = beside_random(ground_truth.summary(judged), expects), 100 * ground_truth.seed_sd(truth), judged.groupby("method")
    assert table.searches.nunique() == 1 and set(table.index) == set(ground_truth.METHODS) and (table.cost > 0).all()
    n, own, other, band = table.searches.iloc[0], table.loc["two_path"], table.loc["trapezoid"], of.tied_in_band.sum()
    says(f"Each method has {n} searches",
         f"*two_path* ends {own.in_band:.2f} points below the best of its cost band in the median, and {band['two_path']} of its {n} searches are tied with it; *trapezoid*: {other.in_band:.2f} points and {band['trapezoid']}",
         f"cost {own.cost:.1f} and {other.cost:.1f} trainings; 1/50 of the table is {len(runs) / 50:.1f}",
         f"the median of *two_path* is {own['median']:.2f} points below the best, {own['median'] / noise:.1f} sd, that of *trapezoid* {other['median']:.2f}",
         f"{own.tied * n:.0f} and {other.tied * n:.0f} of their searches end in the tie, which is {2 * noise:.2f} points wide")
    assert (of.better.median()[["two_path", "trapezoid"]] <= 0.01).all() and (table.cost[["two_path", "trapezoid"]] <= len(runs) / 50).all()
    blocks = found.network.str.count("[^0]").groupby(found.method)
    says(f"{(blocks.get_group('softmax') <= 2).sum()} of {n} searches end with at most two blocks, {(blocks.get_group('softmax') <= 1).sum()} with one or none")
    assert table["median"].idxmax() == table["mean"].idxmax() == table.worst.idxmax() == "softmax"
    depth = depths(truth, found)
    says(f"Four blocks are truly {depth['truth']:.2f} points better than two", f"of *two_path* searches they are {depth['two_path']:.2f} points better",
         f"with those of one-shot training {depth['one_shot']:.2f}, where α never moved",
         f"keep {blocks.mean()['two_path']:.1f} and {blocks.mean()['trapezoid']:.1f} of 4 blocks")
    assert depth["one_shot"] < depth["two_path"] and table["mean"]["one_shot"] < table["mean"]["two_path"], "weights that know depth no better end closer to the best"
    page_says("docs/measurements.md", "cost is that of the searches on the processor of the table, fifteen or sixteen a method")
    assert set(of.cost.count()) == {15, 16}


def lead(judged, expects):
    """beside_random of searches, the standard errors of their mean regrets, and how many of these they are ahead of random search."""
    table, error = beside_random(ground_truth.summary(judged), expects), 100 * judged.groupby("method").regret.sem()
    return table, error, (table.random - table["mean"]) / error[table.index]


def test_which_methods_beat_random_search_of_their_price():
    truth, _, judged, expects = searched()
    table, error, ahead = lead(judged, expects)
    in_words = lambda which: ", ".join(f"*{method}*" for method in table.index[which]) or "none"
    for method, line in table.iterrows():
        says(f"*{method}* {line['mean']:.1f} ± {error[method]:.1f} ({line.random:.1f})")
    says("the mean regrets of *two_path* and *trapezoid* are within one standard error of each other")
    assert abs(table["mean"]["two_path"] - table["mean"]["trapezoid"]) < min(error["two_path"], error["trapezoid"])
    compared = f"by more than two standard errors: {in_words(ahead > 2)}; worse: {in_words(ahead < -2)}."
    says(f"So better than random search {compared}", f"tied in the median: {in_words(table['median'] <= 200 * ground_truth.seed_sd(truth))}.")
    says("in the median only *combined* ends in the tie. By the mean *one_shot*, which never moves α, is surely better than random search of its price and no other is; *exact* is worse, and DARTS far worse",
         "With the first ten of these searches *one_shot* and *exact* could not be told from chance either", f"in {1 - (1 - 2 * student.sf(2, 19)) ** 7:.0%}".replace("%", " % of cases"))
    assert in_words(table["median"] <= 200 * ground_truth.seed_sd(truth)) == "*combined*" and (in_words(ahead > 2), in_words(ahead < -2)) == ("*one_shot*", "*exact*, *softmax*")
    assert ahead["one_shot"] > 3 and ahead["softmax"] < -5 < -3 < ahead["exact"]
    assert lead(judged[judged.seed < 10], expects)[2][["one_shot", "exact"]].abs().max() < 2
    page_says("docs/measurements.md", f"Better than random search of their price {compared}".replace("errors:", "errors of the mean:").replace("*", "`"))


def test_what_is_won_where_the_shared_weights_choose():
    told, methods = {}, ["exact", "two_path", "trapezoid", "softmax"]
    for space in ("_third", ""):
        _, _, judged, expects = searched(space)
        gain = 100 * (judged.regret - judged.by_shared).groupby(judged.method).agg(["mean", "sem"]).loc[methods]
        assert (gain["mean"] > 2 * gain["sem"]).all()
        told[space] = ["{:.2f} ± {:.2f}".format(*line) for line in gain.to_numpy()]
    judging = json.loads((RESULTS / "judging.json").read_text())
    ratio = np.median([once["judging"] / once["training"] for once in judging["each"]])
    assert ratio == pytest.approx(judging["judging / training"], abs=1e-3) and judging["networks"] == len(ground_truth.load("cifar10"))
    left, price = 100 * judged.groupby("method").by_shared.mean(), ground_truth.summary(judged).cost + ratio
    chance = pd.Series(expects(price), price.index)
    ends = [f"{points[rule]:.2f}" for points in (left, chance) for rule in ("two_path", "exact")]
    older = "gains of {}, {}, {} and {}".format(*told["_third"])
    says("*exact* wins {} points, *two_path* {}, *trapezoid* {} and DARTS {}".format(*told[""]), older,
         "end {} and {} points below the best on average, for {:.2f} trainings more, which it takes to judge 121 networks (`data/results/judging.json`); random search may expect {} and {} for that".format(*ends[:2], ratio, *ends[2:]))
    page_says("docs/measurements.md", "falls by {} points for `exact`, {} for `two_path`, {} for `trapezoid` and {} for DARTS".format(*told[""]), older,
              "to {} for `two_path` and {} for `exact`, for {:.2f} trainings more".format(*ends[:2], ratio), f"median of {len(judging['each'])} on one thread of an Intel Xeon",
              "random search may expect {} and {} for that".format(*ends[2:]))


def test_what_a_blind_choice_is_worth_at_equal_cost():
    """Each network with the chance of a uniform choice of operations: its regret among those of its MACs, in the median, and how often it is tied."""
    truth, space = ground_truth.load("cifar10"), ground_truth.BY_NAME["cifar10"].space
    ranks = {code: ground_truth.rank(truth, ground_truth.network(space, code)) for code in truth.index}
    drawn = [ranks[code] for code, times in truth.members.items() for _ in range(times)]
    assert len(drawn) == 256
    median = f"{100 * np.median([rank['regret'] for rank in drawn]):.2f}"
    says(f"One blind choice, without any search, is {median} points below the best of its cost in the median, and tied in {np.mean([rank['tied'] for rank in drawn]):.0%} of choices".replace("%", " %"))
    page_says("README.md", f"one blind choice {median}")
    page_says("docs/measurements.md", f"one blind choice is {median} points below")
    networks = ground_truth.read_searches(RESULTS / "searches_cifar10.csv")[1].query("method in ['two_path', 'trapezoid']").network
    often = networks.value_counts()
    says(f"{often.iloc[0]} of their {len(networks)} searches end at `{often.index[0]}`, in a band of {ranks[often.index[0]]['networks']}",
         f"{sum(ranks[code]['networks'] <= 3 for code in networks)} in a band of three or fewer")


def test_what_the_text_says_of_the_trials():
    truth, _, _, expects = searched()
    tried = search_settings.read(search_settings.PATH)[1]
    table = beside_random(ground_truth.summary(ground_truth.judge(truth, tried[tried.seed >= search_settings.TRIED]), ["method", "changed"]), expects)
    assert table.searches.unique().tolist() == [4]
    lengths = ["epochs=4 warmup_epochs=4 alpha_every=1", "epochs=6 warmup_epochs=6 alpha_every=2", "nothing"]
    short, middle, long = ([table.loc[rule, length] for rule in ("two_path", "trapezoid")] for length in lengths)
    says("the mean regret is {:.1f} points for *two_path* and {:.1f} for *trapezoid*, where random search may expect {:.1f} and {:.1f}".format(*(r["mean"] for r in short), *(r.random for r in short)),
         "after every 2nd {:.1f} and {:.1f}".format(*(r["mean"] for r in middle)), "after every 4th {:.1f} and {:.1f}".format(*(r["mean"] for r in long)),
         "from {:.2f} over {:.2f} to {:.2f} and from {:.2f} over {:.2f} to {:.2f}".format(*(length[i].tau for i in (0, 1) for length in (short, middle, long))))
    stored = ground_truth.summary(searched()[2])
    flattered = "the twenty stored searches, with fresh seeds, have means of {:.1f} and {:.1f}".format(*stored["mean"][["two_path", "trapezoid"]])
    says("{} instead of {:.1f} and {:.1f}".format(flattered, *(r["mean"] for r in long)))
    page_says("docs/measurements.md", flattered)
    assert (stored.searches == 20).all() and all(stored["mean"][rule] > r["mean"] for rule, r in zip(("two_path", "trapezoid"), long))
    page_says("docs/measurements.md", "short ones ended {:.1f} and {:.1f} points below the best on average, long ones {:.1f} and {:.1f}".format(*(r["mean"] for r in (*short, *long))))


CHANGES = ["no warm-up, 24 epochs of search, α after every 8th step", "4 and 4 epochs instead of 12 and 12", "α after every step instead of every 4th",
           "α learning rate 0.02 instead of 0.06", "α learning rate 0.02 instead of 0.06"]  # search_settings.VARIANTS in words


def test_what_the_text_says_of_single_changes():
    truth, _, judged, expects = searched()
    tried = search_settings.read(search_settings.PATH)[1]
    single = ground_truth.judge(truth, tried[tried.seed < search_settings.TRIED])
    variants = [(method, search_settings.told(changes)) for method, changes in search_settings.VARIANTS]
    assert sorted(zip(single.method, single.changed, single.seed)) == sorted((*variant, seed) for variant in variants for seed in range(20))
    pairs = single.merge(judged, on=["method", "seed"], suffixes=("", "_stored"))
    gain = (100 * (pairs.regret_stored - pairs.regret)).groupby([pairs.method, pairs.changed]).agg(["mean", "sem"]).loc[variants]
    table = beside_random(ground_truth.summary(single, ["method", "changed"]), expects).loc[variants]
    first = ground_truth.summary(single[single.seed < 7], ["method", "changed"]).loc[variants]
    cold, short, often, slow, other = variants
    signed = lambda line: f"{gain['mean'][line]:+.2f} ± {gain['sem'][line]:.2f}".replace("-", "−")
    told = lambda line: signed(line)[1:]
    clear = (gain["mean"] / gain["sem"]).abs() > 2
    assert clear.tolist() == [True, True, False, True, False] and (gain["mean"] < 0).tolist() == [True, True, True, False, True]
    price = table.cost[often] / ground_truth.summary(judged).cost["two_path"]
    chance = f"{1 - (1 - 2 * student.sf(gain['mean'][slow] / gain['sem'][slow], 19)) ** 5:.0%}".replace("%", " % of cases")
    noise = 200 * ground_truth.seed_sd(truth)
    assert (table["median"] > noise).all() and table["median"].idxmin() == slow and first["median"][slow] < noise
    says(f"*two_path* loses {told(cold)} points; with a third of the epochs {told(short)}", f"cost {price:.1f} times as much and win nothing that can be told: {signed(often)}",
         f"*two_path* wins {told(slow)} and ends {table['mean'][slow]:.1f} points below the best on average, where random search may expect {table.random[slow]:.1f}. *trapezoid* does not: {signed(other)}",
         f"chance alone gives one a gain as clear as {told(slow)} in {chance}", f"the best one is {table['median'][slow]:.2f} points below the best of all",
         f"had a mean regret of {first['mean'][slow]:.1f} and a median of {first['median'][slow]:.2f}, inside the tie; with all twenty it is {table['mean'][slow]:.1f} and {table['median'][slow]:.2f}")
    row = lambda line: f"{line['median']:.2f} | {line['mean']:.2f} | {line.cost:.1f} | {line.random:.1f} |"
    stored = beside_random(ground_truth.summary(judged), expects)
    page_says("docs/measurements.md", f"a gain as clear in {chance}", f"had a median of {first['median'][slow]:.2f}, inside the tie",
              *(f"| `{rule}` | nothing | {row(stored.loc[rule])}" for rule in ("two_path", "trapezoid")), *(f"| {change} | {row(table.loc[line])} {signed(line)} |" for line, change in zip(variants, CHANGES)))


UNIFORM = "epochs=28 warmup_epochs=0"


def test_what_the_text_says_of_the_third_space():
    truth, _, judged, expects = searched("_third")
    table, noise = beside_random(ground_truth.summary(judged), expects), 200 * ground_truth.seed_sd(truth)
    assert (table.searches == 20).all() and table.index[table["mean"] < table.random].tolist() == ["one_shot"] and (table["median"] > noise).all()
    tried = search_settings.read(RESULTS / "search_settings_cifar10_third.csv")[1]
    fresh = beside_random(ground_truth.summary(ground_truth.judge(truth, tried[tried.seed >= 4]), ["method", "changed"]), expects)
    long, short = fresh.loc["two_path", "epochs=12 warmup_epochs=12 alpha_every=4"], table.loc["two_path"]
    trapezoid = fresh.loc["trapezoid", "epochs=12 warmup_epochs=12 alpha_every=4"]
    uniform = [ground_truth.summary(ground_truth.judge(truth, rows)).loc["one_shot"] for rows in (tried[(tried.seed < 4) & (tried.changed == UNIFORM)], tried[(tried.seed >= 4) & (tried.changed == UNIFORM)])]
    found = ground_truth.read_searches(RESULTS / "searches_cifar10_third.csv")[1]
    depth = depths(truth, found)
    numbers = (f"*two_path* had a mean of {short['mean']:.1f} (random search {short.random:.1f}), with the long searches {long['mean']:.1f} ({long.random:.1f}; n = {long.searches:.0f}), "
               f"*trapezoid* {table['mean']['trapezoid']:.1f} ({table.random['trapezoid']:.1f}) and {trapezoid['mean']:.1f} ({trapezoid.random:.1f})")
    says(numbers, f"{depth['truth']:.2f} points better than two, with the shared weights {depth['two_path']:.2f}",
         "uniform sampling for 28 epochs ended {:.2f} points below the best in {:.0f} trials (median), and {:.2f} with {:.0f} fresh seeds".format(*(x for rows in uniform for x in (rows["median"], rows.searches))))
    page_says("docs/measurements.md", numbers.replace("*", "`"), f"only `one_shot` was better than random search of its price, {table['mean']['one_shot']:.1f} against {table.random['one_shot']:.1f}")


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
    says("medians of *trapezoid* are from {:.3f} to {:.3f}".format(at.loc["trapezoid"].min(), at.loc["trapezoid"].max()),
         f"the same {at.loc['two_path', 'uniform']:.3f} at uniform α", f"falls to {at.loc['two_path', 'learned']:.2f} at the learned α",
         f"fall to {at.loc['exact', 'learned']:.2f} and {at.loc['softmax', 'learned']:.2f} there", f"*exact* is closer, {at.loc['exact', 'uniform']:.3f}",
         f"closer than *two_path* in {closer[~uniform & of_search].sum()} of {sum(~uniform & of_search)} cases ({closer[~uniform].sum()} of {sum(~uniform)} with the warm-up's weights too)",
         f"missed by {0.98 - at.loc['trapezoid', 'uniform']:.3f}; in the third space it was {before.cosine['trapezoid', 'uniform']:.3f}",
         "The bias, with its length: {:.2f} to {:.2f} for *trapezoid*, {:.2f} to {:.2f} for *two_path*".format(
             *(medians.bias[rule].agg(end) for rule in ("trapezoid", "two_path") for end in ("min", "max"))))
    times, share = (medians.variance[rule] / medians.variance["two_path"] for rule in ("trapezoid", "exact"))
    says(f"variance, {times.min():.1f} to {times.max():.1f} times that of *two_path*", f"*exact* has {share.min():.1f} to {share.max():.1f} of *two_path*'s variance", "pays with two to eight times its variance")
    assert 1.5 < times.min() and times.max() < 8.5
    assert (medians.variance["reinforce"] > medians.variance.drop("reinforce").groupby("alpha").max()).all()
    page_says("docs/measurements.md", f"closer to the true gradient in {closer[~uniform].sum()} of {sum(~uniform)} cases. Its variance is {times.min():.1f} to {times.max():.1f} times that of `TwoPath`",
              f"the goal of 0.98 is missed by {0.98 - at.loc['trapezoid', 'uniform']:.3f} (in the third space, `estimators_cifar10_third.csv`, it was {before.cosine['trapezoid', 'uniform']:.3f})",
              f"The cosine of `Trapezoid` is {at.loc['trapezoid'].min():.3f} to {at.loc['trapezoid'].max():.3f}")


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
                        columns=["method", "seed", "network", "seconds", "shared"]).assign(processor=table.attrs["machine"]["processor"])
    best, other = ground_truth.judge(table, rows).to_dict("records")
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
    judged = ground_truth.judge(table, rows)
    assert judged.cost[0] == 2 and np.isnan(judged.cost[1]) and judged.regret.tolist() == [0, 0]
    assert ground_truth.summary(judged).cost.tolist() == [2]
    assert ground_truth.judge(table, rows, pace=4.0).cost.tolist() == [0.5, 0.5]


def test_the_pace_is_that_of_an_average_training(tmp_path, monkeypatch):
    seconds = dict(zip(sorted(MINI.networks()), (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0)))
    with closing(Writer(tmp_path / "mini.csv", MINI)) as file:
        for code, own in seconds.items():
            file.append(code, 0, 0.5, 1.0, own)
    average, = (code for code, own in seconds.items() if own == 4)
    assert 0 < ground_truth.pace(ground_truth.load(tmp_path / "mini.csv")) < 10, "measured for real"
    monkeypatch.setattr(searches.runtime, "pool", lambda start, tasks, workers: (asked.append((tasks, workers)) or (*tasks[0], 0.5, 1.0, 2.0) for _ in "1"))
    asked = []
    assert ground_truth.pace(ground_truth.load(tmp_path / "mini.csv")) == 0.5 and asked == [([(average, 0)], 1)]


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


def test_a_search_without_a_cost_is_drawn_at_the_median_of_its_method():
    judged = pd.DataFrame({"method": ["two_path"] * 4, "cost": [2.0, np.nan, 4.0, 6.0], "regret": [0.01, 0.02, 0.03, 0.04]})
    chance = pd.DataFrame({"mean": [0.05, 0.04]}, index=[1, 2])
    ax = plots.regret_against_cost(judged, chance, 0.01).axes[0]
    each, median = [line for line in ax.lines if line.get_linestyle() != "--"]
    assert each.get_xdata().tolist() == [2, 4, 4, 6] and each.get_ydata().tolist() == [1, 2, 3, 4]
    assert median.get_xdata().tolist() == [4] and median.get_ydata().tolist() == [2.5]


def test_the_front_of_the_landscape_is_what_nobody_beats(truth):
    ax = plots.landscape(truth, 0.01, truth["mean"] > 0.9).axes[0]
    line = next(line for line in ax.lines if line.get_label() == "Pareto front")
    unbeaten = {(m / 1e3, 100 * a) for m, a in zip(truth.macs, truth["mean"])
                if not ((truth.macs <= m) & (truth["mean"] >= a) & ((truth.macs < m) | (truth["mean"] > a))).any()}
    assert set(zip(line.get_xdata(), line.get_ydata())) == unbeaten
