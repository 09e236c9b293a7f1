"""Rivals of a search, played on a table of ground truth at equal cost: what each would answer with, and how good that is.

To train a network is to draw one of its runs. A rival sees the accuracy of that run only; its answer is judged by the mean of the
network's *other* seeds, since the own seed was chosen partly by luck. Costs are in trainings of an average network of the table.
A rival is a generator of a Lab, `rng`, `known` and settings of its own: it yields the number of the network to train next, and then
finds the accuracy in `known`, by number. It answers with the best that it has seen.
"""

from itertools import product

import numpy as np
import pandas as pd
import torch

from ..architecture import Architecture
from ..choose import features, posterior
from ..costs import costs
from .searches import drawn_runs
from .table import alike, setting_of

COSTS = tuple(range(1, 21))
METHODS = "one_shot", "two_path"  # searches whose shared weights are rivals


class Lab:
    """The networks of a `table` with several runs, by number in its order; to train one is to draw from `rows`, the table's runs.

    With `macs`, only networks `within` 5 % of it, and regret is against the best of these. `cost` of each training; `weight` of each
    network among random choices of operations; `untrained`: regret by all seeds. Raises ValueError if no network is left.
    """

    def __init__(self, table, rows, macs=None, within=0.05):
        band = (table if macs is None else alike(table, macs, within)).query("runs > 1")
        if band.empty:
            raise ValueError(f"no network with several runs{'' if macs is None else f' within {within:.0%} of {macs:,.0f} MACs'} in the table")
        self.table, self.band, self.setting = table, band, setting_of(table.attrs)
        self.networks = [Architecture.from_code(self.setting.space, code) for code in band.index]
        self.cost = (band.seconds / table.seconds.mean()).to_numpy()
        self.weight = (band.members / band.members.sum()).to_numpy()
        self.untrained = (band["mean"].max() - band["mean"]).to_numpy()
        runs = drawn_runs(band, rows).groupby("network")
        self.accuracy, self.regret, self.seed = ([runs[column].get_group(code).to_numpy() for code in band.index] for column in ("accuracy", "regret", "seed"))

    def play(self, rival, rng, price=0.0, seen=None, **settings):
        """The trace of a rival: [(cost so far, regret of its answer by then), …], from the `price` that it pays first to above max(COSTS).

        A training is one of the network's runs at random, or that of the seed `seen` (the first, if it has none).
        """
        known, spent, best, trace = {}, price, -np.inf, []
        for i in rival(self, rng, known, **settings):
            trace = trace or [(price, self.untrained[i])]  # until a training has ended, it answers with the first network
            run = rng.integers(len(self.accuracy[i])) if seen is None else (self.seed[i] == seen).argmax()
            spent, known[i] = spent + self.cost[i], self.accuracy[i][run]
            if known[i] > best:
                best, regret = known[i], self.regret[i][run]
            trace.append((spent, regret))
            if spent > COSTS[-1]:
                break
        return trace

    def draw(self, rng, known=()):
        """A random network, by its weight, none of the `known` ones."""
        weight = self.weight.copy()
        weight[list(known)] = 0
        return int(rng.choice(len(weight), p=weight / weight.sum()))


def random_networks(lab, rng, known):
    """Random choices of operations, drawn independently; searches.random_search is its exact regret by number of trainings."""
    while True:
        yield lab.draw(rng)


def best_first(lab, rng, known, scores):
    """The networks of the highest scores, one after the other; equal ones in random order."""
    yield from map(int, np.lexsort((rng.random(len(scores)), -np.asarray(scores))))


def regression(lab, rng, known, X, start, designed=False):
    """Ridge regression on features X: `start` networks, random or `designed` as in choose.rate, then always the best predicted one."""
    while len(known) < len(X):
        if len(known) < start and not designed:
            yield lab.draw(rng, known)
        else:
            mean, variance = posterior(X, list(known), list(known.values()))
            worth = (variance if len(known) < start else mean).numpy()
            worth[list(known)] = -np.inf
            yield int(rng.choice(np.flatnonzero(worth >= worth.max() - 1e-9)))


def by_edge(networks):
    """Features for `regression`: which operation stands on each edge, (n, edges × operations), columns of mean 0."""
    pairs = [(e, name) for e, edge in enumerate(networks[0].space.edges()) for name in edge.candidates]
    X = torch.tensor([[network.choices[e] == name for e, name in pairs] for network in networks], dtype=torch.float64)
    return X - X.mean(0)


def neighbours(lab):
    """Numbers of the networks that differ from each one in one edge, wherever its Zeros stand: a list of lists."""
    space, number = lab.setting.space, {network.choices: i for i, network in enumerate(lab.networks)}
    names, near = [edge.candidates for edge in space.edges()], [set() for _ in number]
    of = {choices: number.get(space.canonical(choices)) for choices in product(*names)}
    for choices, i in of.items():
        if i is not None:
            near[i] |= {of[choices[:e] + (name,) + choices[e + 1:]] for e in range(len(names)) for name in names[e]} - {i, None}
    return [sorted(each) for each in near]


def local_search(lab, rng, known, near):
    """From a random network to the first better one of its neighbours, in random order; where none is better, again from a random one."""
    while len(known) < len(near):
        here = lab.draw(rng, known)
        yield here
        todo = list(rng.permutation(near[here]))
        while todo:
            there = int(todo.pop())
            if there not in known:
                yield there
            if known[there] > known[here]:
                here, todo = there, list(rng.permutation(near[there]))


def evolution(lab, rng, known, near, population=6, sample=3):
    """Regularised evolution (Real et al., 2019): a new neighbour of the best in a random sample of the latest; if there is none, a random one."""
    while len(known) < len(near):
        children = []
        if len(known) >= population:
            parent = max(rng.choice(list(known)[-population:], sample, replace=False), key=known.get)
            children = [i for i in near[parent] if i not in known]
        yield int(rng.choice(children)) if children else lab.draw(rng, known)


def shared_weights(lab, searches, pace=None):
    """Settings of best_first for each of the `searches` of a method, at their median cost; `pace` and processors as in searches.score."""
    comparable = searches if pace else searches[searches.processor == lab.table.attrs["machine"]["processor"]]
    if comparable.empty:
        raise ValueError("none of the searches ran on the processor of the table: give their pace")
    price, codes = comparable.seconds.median() / lab.table.seconds.mean() / (pace or 1), sorted(lab.setting.networks())
    return [{"scores": pd.Series(map(int, row.split()), codes)[lab.band.index], "price": price} for row in searches.shared]


def roster(lab, searches=None, pace=None, scores=None, counts=4, edges=6):
    """Name -> (rival, list of its settings, which take turns). For the arguments see `curves`."""
    near, by_count, on_edge = {"near": neighbours(lab)}, {"X": features(lab.networks), "start": counts}, {"X": by_edge(lab.networks), "start": edges}
    params = costs(lab.setting.space, "params")
    given = {"most MACs": lab.band.macs, "most parameters": [params.cost_of(network) for network in lab.networks],
             **{name: pd.Series(values, lab.table.index)[lab.band.index] for name, values in (scores or {}).items()}}
    stored = {} if searches is None else {name: rows for name, rows in searches.groupby("method") if name in METHODS}
    return {"random": (random_networks, [{}]), "local search": (local_search, [near]), "evolution": (evolution, [near]),
            "ridge on edges": (regression, [on_edge]), "ridge on edges, designed": (regression, [on_edge | {"designed": True}]),
            "ridge on counts": (regression, [by_count]), "ridge on counts, designed": (regression, [by_count | {"designed": True}]),
            **{name: (best_first, [{"scores": values}]) for name, values in given.items()},
            **{name: (best_first, shared_weights(lab, rows, pace)) for name, rows in stored.items()}}


def regret_at(trace):
    """Regret of the answer when spending so far is at most each of COSTS; NaN where there is no answer yet."""
    spent, regret = np.array(trace).T
    at = np.searchsorted(spent, np.array(COSTS) + 1e-9, side="right") - 1
    return np.where(at < 0, np.nan, regret[at])


def curves(table, rows, repetitions=500, seed=0, macs=None, within=0.05, seen=None, **given):
    """Mean regret of every rival by cost: a DataFrame with columns rival, cost (1, 2, … 20), regret in [0, 1], error (its standard error).

    `table` as `load` gives it, `rows` its runs as `read` does; `macs`, `within`: see Lab; `seen`: see Lab.play. Rivals may be `given` the stored `searches`, as
    read_searches reads them, and their `pace`; `scores`, by name, each (n,) for the networks of the table, higher is better; `counts`
    and `edges`: how many networks the two regressions start with. A search has no regret (NaN) before it ends, and is one sample.
    """
    lab, found = Lab(table, rows, macs, within), []
    for name, (rival, settings) in roster(lab, **given).items():
        turns = np.arange(repetitions) % len(settings)
        regret = pd.DataFrame([regret_at(lab.play(rival, np.random.default_rng([seed, r]), seen=seen, **settings[turn])) for r, turn in enumerate(turns)])
        samples = regret.groupby(turns).mean() if len(settings) > 1 else regret
        found.append(pd.DataFrame({"rival": name, "cost": COSTS, "regret": samples.mean(), "error": samples.sem()}))
    return pd.concat(found, ignore_index=True)


def by_seed(table, rows, repetitions=500, **settings):
    """`curves` of rivals that see every network's run of one seed, as a search does, for each seed of the table: one more column, `seen`.

    Regrets of one seed are judged by the same trainings: what their mean over seeds is worth, the scatter between seeds says.
    """
    return pd.concat([curves(table, rows, repetitions, seen=seen, **settings).assign(seen=seen) for seen in range(table.runs.max())], ignore_index=True)


def at_targets(table, rows, macs_target, within=0.05, **settings):
    """`curves` among the networks within 5 % of a MACs target, or of each of several, against the best of these: one more column, `target`."""
    return pd.concat([curves(table, rows, macs=target, within=within, **settings).assign(target=target)
                      for target in np.atleast_1d(macs_target)], ignore_index=True)
