"""Searches in the space of a setting, to be ranked against its table."""

import time
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import product

import pandas as pd
import torch
from scipy.stats import kendalltau

from .. import presets, rules, runtime
from ..search import Search
from ..supernet import SuperNet
from . import rivals
from .builder import trainer
from .settings import canonical, code
from .table import alike, seed_sd, setting_of

COLUMNS = ["method", "seed", "network", "seconds", "shared"]

CONFIG = {  # fields of SearchConfig; those of a method alone under its name
    "digits": dict(epochs=12, warmup_epochs=4, alpha_every=1, alpha_lr=0.05),    # the whole search for the price of a few trainings
    "cifar10": dict(epochs=12, warmup_epochs=12, alpha_every=4, alpha_lr=0.06, alpha_batch_size=256,  # chosen among trials, see data/results
                    softmax=dict(epochs=3, warmup_epochs=3, alpha_every=1)),     # runs all four paths: each is trained as often as by sampling
}


def by_rule(rule, setting, net, images, config):
    """search.Result of a search by a rule of pl.rules."""
    return Search(net, images, rule(), config, device="cpu").run()


METHODS = {name: partial(by_rule, rule) for name, rule in rules.BY_NAME.items()} | {"softmax": rivals.darts, "one_shot": rivals.one_shot}


def config_of(setting, method):
    """The SearchConfig of a method in a setting, without a seed."""
    fields = CONFIG[setting.name]
    common = {name: value for name, value in fields.items() if name not in METHODS}
    config = presets.SearchConfig(**common | fields.get(method, {}))
    return presets.for_reinforce(config) if method == "reinforce" else config


def search(setting, method, seed, images=None, **changes):
    """(search.Result, SuperNet, seconds of CPU) of one search in a setting, by one of METHODS, on one thread of the CPU.

    `images` are the setting's, loaded if not given; `changes` override fields of its SearchConfig. It prints nothing.
    Raises ValueError for an unknown method.
    """
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; allowed: {', '.join(METHODS)}")
    images, config = images or setting.load(), replace(config_of(setting, method), **changes, seed=seed)
    torch.manual_seed(seed)
    net, began = SuperNet(setting.space), time.process_time()
    with runtime.silently(), runtime.threads(1):  # as the networks of the table were trained: more threads need more seconds of CPU
        result = METHODS[method](setting, net, images, config)
    return result, net, time.process_time() - began


def sweep(setting, methods, seeds, path, workers=2):
    """Search by every method with every seed: one row a search, COLUMNS, appended to the table at `path`, which is gone on with.

    `shared` are the accuracies of all networks of the setting, in order of their codes, with the weights that the search
    shared among them, on the validation images, in thousandths.
    """
    about = {"command": f"python -m proxyless_lite.ground_truth search {setting.name} --methods {' '.join(methods)} --seeds {seeds}",
             "setting": setting.describe() | {"search": CONFIG[setting.name]}, "digest": setting.load().digest,
             "machine": {**runtime.describe(), "device": "CPU, 1 thread a search"}}
    with closing(runtime.Rows(path, about, COLUMNS, read_searches)) as table:
        done = set(zip(table.rows["method"], table.rows["seed"]))
        missing = [run for run in product(methods, range(seeds)) if run not in done]
        total = len(methods) * seeds
        table.fill(partial(searcher, setting), sorted(missing, key=lambda run: run[1]), workers, total - len(missing), total, f"{setting.name}: searches,")


def searcher(setting):
    """What a worker does with a run (method, seed)."""
    images = setting.load()

    def one(run):
        yield *run, *outcome(setting, *run, images)
    return one


def outcome(setting, method, seed, images, **changes):
    """Cells `network`, `seconds` and `shared` of a search, as `search` does it."""
    result, net, seconds = search(setting, method, seed, images, **changes)
    shared = rivals.shared_accuracy(setting, net, images).mul(1000).round().astype(int)
    return code(setting.space, canonical(result.architecture.choices)), f"{seconds:.2f}", " ".join(map(str, shared))


def read_searches(path):
    """(about, rows) of a table of searches, as runtime.read_rows gives them."""
    return runtime.read_rows(path, COLUMNS, "table of searches", text=["network"])


def pace(table):
    """How many times as long a training takes here, on one thread, as where the table was made: that of an average network."""
    code = (table.seconds - table.seconds.mean()).abs().idxmin()
    (*_, seconds), = runtime.pool(partial(trainer, setting_of(table.attrs)), [(code, 0)], workers=1)
    return seconds / table.seconds[code]


def judge(table, searches, pace=None):
    """What the table of ground truth says of each search: a DataFrame with its method, seed, network and further columns.

    `cost` of the search in trainings of an average network; `regret` and whether it is `tied`, within 2 sd between seeds,
    both against the best of all networks; `in_band`, `tied_in_band`: the same among networks within 5 % of its MACs, and
    `better`, the share of these that are better by more than 2 sd. `tau`: Kendall's, of shared and true accuracies;
    `by_shared`: regret of the network that the shared weights rate highest. Searches that ended at a network the table
    lacks are left out. CPU seconds on two processors do not compare: a search has no cost (NaN) where its processor is not
    the table's, unless the `pace` of all of them is given. Raises ValueError for searches whose heading is about another
    setting than the table's.
    """
    ours, theirs = table.attrs["setting"], searches.attrs.get("setting", table.attrs["setting"])
    if other := [key for key in ours if ours[key] != theirs.get(key)]:  # theirs says besides how was searched
        raise ValueError(f"the searches are in setting {theirs['name']}, the table is about {ours['name']}, with another {', '.join(other)}; "
                         f"give the table of their setting")
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


def summary(judged, by="method"):
    """A row a method, or what `by` names, of what `judge` gives, as a DataFrame.

    How many `searches`; the median `cost` of those that have one; of regret in points of accuracy `median`, `mean`, `worst`,
    and the medians of `in_band` and `by_shared`; the share that is `tied`; how many networks were `found`; the median `tau`.
    """
    rows = judged.groupby(by, sort=False).agg(
        searches=("seed", "size"), cost=("cost", "median"), median=("regret", "median"), mean=("regret", "mean"), worst=("regret", "max"),
        tied=("tied", "mean"), in_band=("in_band", "median"), found=("network", "nunique"), tau=("tau", "median"), by_shared=("by_shared", "median"))
    return rows.assign(**{column: 100 * rows[column] for column in ("median", "mean", "worst", "in_band", "by_shared")})


def random_search(table, rows, counts):
    """Regret of random search: of k uniform choices of operations, each trained once, keep the best. Exact, without sampling.

    `table` as `load` gives it, `rows` its runs (the second part of `read`), `counts` the numbers k. A run (network, seed) is
    drawn by the share of choices that give its network, and the k draws are independent, so P(the best has accuracy ≤ a) =
    P(a run has accuracy ≤ a)^k. Its regret is that of the *other* seeds' mean, as the seed that made it win was in part luck.
    Returns a DataFrame: `mean` and `median` regret, indexed by k. Networks with one run are left out.
    """
    runs = rows.merge(table[["members", "mean", "runs"]], left_on="network", right_index=True).query("runs > 1")
    runs = runs.assign(weight=runs.members / runs.runs, regret=table["mean"].max() - (runs["mean"] * runs.runs - runs.accuracy) / (runs.runs - 1))
    by_accuracy = runs.weight.groupby(runs.accuracy).sum()
    at_most = by_accuracy.cumsum() / by_accuracy.sum()
    share = runs.weight / by_accuracy[runs.accuracy].to_numpy()            # of a run, among those of its accuracy
    found = {}
    for k in counts:
        best = (at_most ** k).diff().fillna(at_most.iloc[0] ** k)           # P(the best run has this accuracy)
        chance = pd.Series((share * best[runs.accuracy].to_numpy()).to_numpy(), runs.regret).sort_index()
        found[k] = {"mean": (chance * chance.index).sum(), "median": chance.index[(chance.cumsum() >= 0.5 - 1e-12).argmax()]}
    return pd.DataFrame(found).T
