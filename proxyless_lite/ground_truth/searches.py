"""Searches in the space of a setting, to be ranked against its table."""

import time
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import product
from statistics import median

import pandas as pd
import torch
from scipy.stats import kendalltau

from .. import presets, rules, runtime
from ..architecture import Architecture
from ..config import SearchConfig
from ..search import Search
from ..supernet import SuperNet
from . import competitors
from .builder import trainer
from .settings import SettingRows
from .table import alike, seed_sd, setting_of

CONFIG = {  # fields of SearchConfig; those of a single method under its name
    "digits": dict(epochs=12, warmup_epochs=4, alpha_every=1, alpha_lr=0.05),    # a whole search costs a few trainings
    # Chosen by trials, see tables/results. softmax runs all four paths: each is trained as often as by sampling.
    "cifar10": dict(epochs=12, warmup_epochs=12, alpha_every=4, alpha_lr=0.06, alpha_batch_size=256,
                    softmax=dict(epochs=3, warmup_epochs=3, alpha_every=1)),
}


def by_rule(rule, setting, net, images, config):
    """search.Result of a search by a rule of pl.rules."""
    return Search(net, images, rule(), config, device="cpu").run()


METHODS = {**{name: partial(by_rule, rule) for name, rule in rules.BY_NAME.items()},
           "softmax": competitors.darts, "one_shot": competitors.one_shot}


def config_of(setting, method):
    """The SearchConfig of a method in a setting, without a seed."""
    fields = CONFIG[setting.name]
    common = {name: value for name, value in fields.items() if name not in METHODS}
    config = SearchConfig(**common | fields.get(method, {}))
    return presets.for_reinforce(config) if method == "reinforce" else config


def search(setting, method, seed, images=None, **changes):
    """(search.Result, SuperNet, CPU seconds) of one search in a setting, by one of METHODS, on one CPU thread.

    `images` are the setting's, loaded if not given; `changes` override fields of its SearchConfig. It prints nothing.
    Raises ValueError for an unknown method.
    """
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; allowed: {', '.join(METHODS)}")
    images, config = images or setting.load(), replace(config_of(setting, method), **changes, seed=seed)
    torch.manual_seed(seed)
    net, began = SuperNet(setting.space), time.process_time()
    with runtime.silently(), runtime.threads(1):  # like the networks of the table: more threads take more CPU seconds
        result = METHODS[method](setting, net, images, config)
    return result, net, time.process_time() - began


class Searches(SettingRows):
    """A table that grows by a row per search."""

    what = "table of searches"
    columns = {"method": str, "seed": int, "network": str, "seconds": float, "shared": str}


class Trials(Searches):
    """The same with a column `changed`: what differs from the settings in CONFIG."""

    columns = {"method": str, "changed": str} | Searches.columns


read_searches, read_trials = Searches.read, Trials.read  # of a path: the rows, a DataFrame, with the metadata in its attrs


def sweep(setting, methods, seeds, path, workers=2):
    """Search by every method with every seed, and append what the table at `path` lacks: one row per search, see Searches.

    `shared` are the accuracies of all networks of the setting on the validation images with the search's shared weights, in
    thousandths, in order of their codes.
    """
    metadata = {"command": f"python -m proxyless_lite.ground_truth search {setting.name} --methods {' '.join(methods)} --seeds {seeds}",
                "setting": setting.describe() | {"search": CONFIG[setting.name]}, "digest": setting.load().digest,
                "machine": {**runtime.describe(), "device": "CPU, 1 thread a search"}}
    with closing(Searches(path, metadata)) as table:
        done = set(zip(table.rows["method"], table.rows["seed"]))
        missing = [run for run in product(methods, range(seeds)) if run not in done]
        total = len(methods) * seeds
        by_seed = sorted(missing, key=lambda run: run[1])
        table.fill(partial(searcher, setting), by_seed, workers, total - len(missing), total, f"{setting.name}: searches,")


def searcher(setting):
    """What a worker does with a run (method, seed)."""
    images = setting.load()

    def one(run):
        yield *run, *outcome(setting, *run, images)
    return one


def outcome(setting, method, seed, images, **changes):
    """Cells `network`, `seconds` and `shared` of a search, as `search` does it."""
    result, net, seconds = search(setting, method, seed, images, **changes)
    shared = competitors.shared_accuracy(setting, net, images).mul(1000).round().astype(int)
    found = Architecture(setting.space, setting.space.canonical(result.architecture.choices))
    return found.code, f"{seconds:.2f}", " ".join(map(str, shared))


def pace(table, workers=1, rounds=3):
    """Time of training an average network here, on one thread, over its time where the table was made.

    The median of `rounds` trainings in each of so many `workers` at once: alone on the machine one would be faster.
    """
    code = (table.seconds - table.seconds.mean()).abs().idxmin()
    runs = [(code, k) for k in range(rounds * workers)]
    return median(row[-1] for row in runtime.pool(partial(trainer, setting_of(table.attrs)), runs, workers)) / table.seconds[code]


def score(table, searches, pace=None):
    """What the ground-truth table says of each search: a DataFrame with its method, seed, network and further columns.

    `cost` of the search in trainings of an average network; `regret` and whether it is `tied`, within 2 sd between seeds, both
    against the best of all networks. `in_band`, `tied_in_band`: the same among networks within 5 % of its MACs; `better`: the
    share of these that are better by more than 2 sd. `tau`: Kendall's, of shared and true accuracies; `by_shared`: regret of
    the network that the shared weights rate highest. Searches that ended at a network missing from the table are left out. CPU
    seconds on different processors are not comparable: a search on another processor than the table's has no cost (NaN),
    unless the `pace` of all of them is given. Raises ValueError for searches in another setting than the table's.
    """
    ours, theirs = table.attrs["setting"], searches.attrs.get("setting", table.attrs["setting"])
    if other := [key for key in ours if ours[key] != theirs.get(key)]:  # theirs also has the search settings
        raise ValueError(f"the searches are in setting {theirs['name']}, the table is about {ours['name']}, "
                         f"with another {', '.join(other)}; give the table of their setting")
    setting, sd, best = setting_of(table.attrs), seed_sd(table), table["mean"].max()
    codes, known, rows = sorted(setting.networks()), searches[searches.network.isin(table.index)], []
    for run in known.itertuples():
        own = table.loc[run.network]
        band = alike(table, own.macs)["mean"]
        shared = pd.Series([int(value) for value in run.shared.split()], codes)[table.index]
        rows.append({"regret": best - own["mean"], "tied": best - own["mean"] <= 2 * sd, "in_band": band.max() - own["mean"],
                     "tied_in_band": band.max() - own["mean"] <= 2 * sd, "better": (band > own["mean"] + 2 * sd).mean(),
                     "tau": kendalltau(shared, table["mean"]).statistic, "by_shared": best - table["mean"][shared.idxmax()]})
    cost = known.seconds / table.seconds.mean()
    cost = cost / pace if pace else cost.where(known.processor == table.attrs["machine"]["processor"])
    return known.drop(columns=["seconds", "shared"]).assign(cost=cost, **pd.DataFrame(rows, known.index))


def summary(scored, by="method"):
    """The output of `score` summarised in one row per method, or per `by`, as a DataFrame.

    The number of `searches`; the median `cost` of those that have one; `median`, `mean` and `worst` regret in points of accuracy;
    medians of `in_band`, `by_shared` and `tau`; the share that is `tied`; the number of networks `found`.
    """
    rows = scored.groupby(by, sort=False).agg(
        searches=("seed", "size"), cost=("cost", "median"), median=("regret", "median"), mean=("regret", "mean"), worst=("regret", "max"),
        tied=("tied", "mean"), in_band=("in_band", "median"), found=("network", "nunique"), tau=("tau", "median"),
        by_shared=("by_shared", "median"))
    return rows.assign(**{column: 100 * rows[column] for column in ("median", "mean", "worst", "in_band", "by_shared")})


def random_search(table, rows, counts):
    """Regret of random search: of k uniform choices of operations, each trained once, keep the best. Exact, without sampling.

    `table` as `load` gives it, `rows` its runs as `read` does, `counts` the numbers k. Returns a DataFrame: `mean` and `median`
    regret, indexed by k. Networks with one run are left out.
    """
    runs = drawn_runs(table, rows)
    return pd.DataFrame({k: regret_of_best(runs, k) for k in counts}).T


def drawn_runs(table, rows):
    """The runs that random search may draw, a DataFrame: `accuracy`, `weight` (how often it is drawn), `regret` of its network.

    A run is drawn by the share of choices that give its network. Its regret is that of the *other* seeds' mean, since its own
    seed won partly by luck.
    """
    runs = rows.merge(table[["members", "mean", "runs"]], left_on="network", right_index=True).query("runs > 1")
    others = (runs["mean"] * runs.runs - runs.accuracy) / (runs.runs - 1)
    return runs.assign(weight=runs.members / runs.runs, regret=table["mean"].max() - others)


def regret_of_best(runs, k):
    """Mean and median regret of the best of k runs, a dict. The draws are independent: P(best ≤ a) = P(a run ≤ a)^k."""
    by_accuracy = runs.weight.groupby(runs.accuracy).sum()
    at_most = (by_accuracy.cumsum() / by_accuracy.sum()) ** k
    best = at_most.diff().fillna(at_most.iloc[0])                           # P(the best run has this accuracy)
    share = runs.weight / by_accuracy[runs.accuracy].to_numpy()             # of a run, among those of its accuracy
    chance = pd.Series((share * best[runs.accuracy].to_numpy()).to_numpy(), runs.regret).sort_index()
    return {"mean": (chance * chance.index).sum(), "median": chance.index[(chance.cumsum() >= 0.5 - 1e-12).argmax()]}
