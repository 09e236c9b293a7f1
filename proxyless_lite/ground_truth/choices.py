"""Searches that choose among whole networks, for no target and for several at once, to be ranked against a table."""

import time
from contextlib import closing
from dataclasses import replace
from functools import partial

import pandas as pd

from .. import latency, runtime
from ..architecture import Architecture
from ..config import ChoiceConfig, SearchConfig, described
from ..costs import costs
from ..limits import Limits
from ..search import Search, choosing
from . import table
from .searches import pace

SEARCH = {  # chosen by trials on the table "cifar10_third" with seeds 2000 to 2003
    "digits": dict(epochs=4, warmup_epochs=8, alpha_every=1, alpha_lr=0.05),
    "cifar10": dict(epochs=4, warmup_epochs=4, alpha_every=4, alpha_lr=0.06, alpha_batch_size=256),
    "cifar10_32": dict(epochs=2, warmup_epochs=2, alpha_every=4, alpha_lr=0.06, alpha_batch_size=256),
}
CHOICE = {**dict.fromkeys(("digits", "cifar10"), ChoiceConfig(tuned=16, trainings=4)), "cifar10_32": ChoiceConfig(tuned=12, trainings=3)}
TARGETS = {"none": 1, "macs": 5, "ms": 3}  # number of targets of one choice


class Choices(runtime.Rows):
    """A row per chosen network. `costs`: "macs" or "ms", of which `target` is given; or "none".

    CPU seconds of the search and of training networks briefly from its weights, `tuned` of them; `trained`: the codes of those
    trained from scratch. Rows of one seed come from one search; those of one seed and one kind of costs share all these networks.
    """

    what = "table of choices"
    columns = {"costs": str, "seed": int, "target": float, "network": str, "search_seconds": float, "tuning_seconds": float, "tuned": int,
               "trained": str}


class Simulated(choosing.Chooser):
    """A Chooser whose trainings from scratch are looked up: the accuracy of the run with this `seed`. It notes what it looked at.

    That is an accuracy of test images, after a training on all training images; a search itself compares by its validation images.
    """

    def __init__(self, search, config, runs, seed):
        super().__init__(search, config)
        self.runs = runs[runs.seed == seed % (runs.seed.max() + 1)].set_index("network").accuracy
        self.seconds = {}  # of CPU, by network
        self.forget()

    def forget(self):
        """Start a new list of what is looked at. Earlier results are kept, so that nothing is computed twice."""
        self.used, self.looked_up = set(), []

    def tuned(self, networks):
        began = time.process_time()
        ratings = super().tuned(networks)
        for network in networks:
            self.seconds.setdefault(network.code, (time.process_time() - began) / len(networks))
            self.used.add(network.code)
        return ratings

    def trained(self, networks):
        self.looked_up += [network.code for network in networks]
        return [self.runs[network.code] for network in networks]

    def cells(self):
        """What was looked at since `forget`: CPU seconds, and numbers of networks."""
        return f"{sum(self.seconds[code] for code in self.used):.1f}", len(self.used), " ".join(self.looked_up)


def costs_of(setting, name, kind):
    """The Costs of a kind: "macs", or "ms" from the latency table of the setting. None for "none"."""
    if kind == "none":
        return None
    return costs(setting.space, kind if kind == "macs" else latency.Table.load(runtime.TABLES / f"latency/truth_{name}_cpu.csv"))


def goals(setting, name, kind):
    """What one choice aims at: targets at equal steps between the 10th and the 90th percentile of what networks cost, or [None]."""
    if kind == "none":
        return [None]
    price, space = costs_of(setting, name, kind), setting.space
    low, high = pd.Series([price.cost_of(Architecture.from_code(space, code)) for code in setting.networks()]).quantile([0.1, 0.9])
    return [low + (high - low) * i / (TARGETS[kind] - 1) for i in range(TARGETS[kind])]


def chosen(setting, name, images, seed, kinds):
    """Rows of Choices: what one search chooses for all targets of several kinds of costs."""
    runs, began = table.read(table.FOLDER / f"{name}.csv"), time.process_time()
    with runtime.silently(), runtime.threads(1):
        search = Search(setting.space, images, config=SearchConfig(**SEARCH[name], seed=seed), device=setting.engine)
        search.loop.run()
        searched = time.process_time() - began
        chooser = Simulated(search, replace(CHOICE[name], train=setting.recipe), runs, seed)
        for kind in kinds:
            price, targets = costs_of(setting, name, kind), goals(setting, name, kind)
            chooser.forget()
            found, _ = choosing.front(chooser, [target and Limits([(price, target)]) for target in targets])
            for target, network in zip(targets, found):
                yield kind, seed, f"{target or 0:.6g}", network.code, f"{searched:.1f}", *chooser.cells()


def searcher(setting, name):
    """What a worker does with a run (seed, kinds, {(kind, target) that are there})."""
    images = setting.load()
    return lambda run: [row for row in chosen(setting, name, images, *run[:2]) if (row[0], float(row[2])) not in run[2]]


def sweep(setting, name, kinds, seeds, path, workers=2):
    """Choose for every one of the `kinds` of costs with every one of the `seeds`; append what the table at `path` lacks: see Choices."""
    metadata = {"command": f"python -m proxyless_lite.ground_truth choose {name} --kinds {' '.join(kinds)} --first-seed {seeds[0]} --seeds {len(seeds)}",
                "setting": setting.describe() | {"search": SEARCH[name], "choice": described(CHOICE[name])}, "digest": setting.load().digest,
                "machine": {**runtime.describe(), "device": "CPU, 1 thread a search"}, "pace": round(pace(table.load(name), workers), 3)}
    with closing(Choices(path, metadata)) as rows:
        runs, size = missing(rows.rows, kinds, seeds)
        rows.fill(partial(searcher, setting, name), runs, workers, len(rows.rows), len(rows.rows) + size, f"{name}: chosen networks,")


def missing(rows, kinds, seeds):
    """What `rows` of Choices lack: runs (seed, kinds, {(kind, target) that are there}), and how many rows.

    A kind may be there for some of its targets only: the work may have been killed between two rows.
    """
    runs, size = [], 0
    for seed in seeds:
        of = rows[rows.seed == seed]
        lacks = {kind: TARGETS[kind] - (of.costs == kind).sum() for kind in kinds}
        if any(lacks.values()):
            runs.append((seed, [kind for kind in kinds if lacks[kind]], set(zip(of.costs, of.target))))
            size += sum(lacks.values())
    return runs, size


def scored(name, choices):
    """What the table of a setting says of each chosen network: `choices` with further columns, a DataFrame.

    `regret` against the best of all networks that keep the target, as for rivals (see searches.drawn_runs); `band`: how many networks
    cost what the chosen one does (without a target, in MACs), within 5 %; `above`: the share of the band that is more accurate; `blind`:
    the mean accuracy of the band, by choices of operations. The accuracy of networks is that of the seeds that were not used to choose;
    `seen` is the one that was.
    `cost` in trainings of an average network, of the whole choice: its search, its short trainings, and its trainings from scratch. CPU
    seconds are divided by the `pace` in the metadata of `choices`: what a training took there over what it took where the truth was
    made (see searches.pace). Rows that were added on another processor have no cost (NaN).
    """
    truth, runs = table.load(name), table.read(table.FOLDER / f"{name}.csv")
    setting, count = table.setting_of(truth.attrs), truth.runs.max()
    accuracy, members = runs.pivot(index="network", columns="seed", values="accuracy"), truth.members
    networks = [Architecture.from_code(setting.space, code) for code in truth.index]
    price = {kind: pd.Series(map(costs_of(setting, name, kind).cost_of, networks), truth.index) for kind in {*choices.costs, "macs"} - {"none"}}
    rows = []
    for one in choices.itertuples():
        fair = accuracy.drop(columns=one.seed % count).mean(axis=1)  # of the other seeds
        of, kept = price["macs" if one.costs == "none" else one.costs], pd.Series(True, fair.index)
        if one.costs != "none":
            kept = of <= one.target * (1 + 1e-5)  # the target is stored with six digits
        band = fair[(of / of[one.network] - 1).abs() <= 0.05]
        trained = truth.seconds[list(dict.fromkeys(one.trained.split()))].sum() / truth.seconds.mean()  # each once, however many targets it serves
        rows.append({"seen": one.seed % count, "accuracy": fair[one.network], "regret": truth["mean"][kept].max() - fair[one.network], "band": len(band), "above": (band > fair[one.network]).mean(),
                     "blind": (band * members[band.index]).sum() / members[band.index].sum(),
                     "cost": (one.search_seconds + one.tuning_seconds) / truth.seconds.mean() / choices.attrs["pace"] + trained})
    found = choices.assign(**pd.DataFrame(rows, choices.index))
    return found if "processor" not in choices else found.assign(cost=found.cost.where(choices.processor == choices.attrs["machine"]["processor"]))


def by_trainings(name, choices):
    """`scored` of the choices without a target, had only the first 1, 2, … of their networks been trained from scratch: `trainings` says how many.

    Networks are trained in the order of what is expected of them, so a choice with fewer trainings makes the first of these.
    """
    accuracy, cut = table.read(table.FOLDER / f"{name}.csv").pivot(index="network", columns="seed", values="accuracy"), []
    free = choices[choices.costs == "none"]
    for count in range(1, 1 + free.trained.str.split().str.len().max()):
        trained = [codes.split()[:count] for codes in free.trained]
        best = [accuracy[seed % len(accuracy.columns)][codes].idxmax() for seed, codes in zip(free.seed, trained)]
        cut.append(free.assign(network=best, trained=[*map(" ".join, trained)], trainings=count))
    return scored(name, pd.concat(cut, ignore_index=True))


def all_trained(name, kinds):
    """Rows of Choices had every network been trained once: for each kind of costs, target and seed of the table, the best that keeps it."""
    runs = table.read(table.FOLDER / f"{name}.csv")
    setting, rows = table.setting_of(runs.attrs), []
    every = {code: Architecture.from_code(setting.space, code) for code in setting.networks()}
    for kind in kinds:
        price = costs_of(setting, name, kind)
        for target in goals(setting, name, kind):
            kept = [code for code, network in every.items() if target is None or price.cost_of(network) <= target]
            best = runs[runs.network.isin(kept)].sort_values("accuracy", kind="stable").groupby("seed").network.last()  # as on any processor
            rows += [(kind, seed, target or 0.0, network, 0.0, 0.0, 0, " ".join(every)) for seed, network in best.items()]
    found = pd.DataFrame(rows, columns=list(Choices.columns))
    found.attrs["pace"] = 1.0
    return found


def told(found):
    """One row per kind of costs: of `scored`, how many choices, what they cost, and how good they are, in points of accuracy.

    `wins` and `gain` against a blind choice are of those whose band has other networks: `compared` of them. `error`: choices that saw
    the same seed of the table are judged by the same trainings, so it is the standard error of as many means as there are seeds.
    """
    gain = (found.accuracy - found.blind).where(found.band > 1)
    rows = found.assign(gain=gain, wins=(gain > 0).where(gain.notna())).groupby("costs", sort=False).agg(
        chosen=("network", "size"), cost=("cost", "median"), regret=("regret", "mean"), above=("above", "median"),
        compared=("gain", "count"), wins=("wins", "mean"), gain=("gain", "mean"))
    rows["error"] = found.groupby(["costs", "seen"], sort=False).regret.mean().groupby("costs").sem()
    return rows.assign(**{column: 100 * rows[column] for column in ("regret", "error", "above", "wins", "gain")})
