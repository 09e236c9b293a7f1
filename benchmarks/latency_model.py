"""How well latency is predicted, from the committed measurements. Prints one JSON object.

    python benchmarks/latency_model.py

Measured here: 5,000 random networks of the mobile space on a CPU, 4,000 to fit and 1,000 to test; two tables of that
space. Released: the Pixel 1 table, downloaded on first use; without it that part is null.
"""

import sys

import numpy as np
import torch

import proxyless_lite as pl
from proxyless_lite.runtime import TABLES
from proxyless_lite.latency.errors import autocorrelation
from report import main

DATA = TABLES / "latency"
FIT = 4000
CURVE = (50, 100, 200, 500, 1000, 2000, 4000)
PUBLIC_BEST = {"rmse/mean": 0.0097, "kendall tau": 0.935, "networks": 4000}  # other machines, see the tables' README.md
PAPER = {"proxyless_mobile": 78.0, "proxyless_mobile_14": 147.0}             # ms, Table 2 and Figure 4


def split(timings, seed=0):
    """Indices of the networks to fit, in random order, and of those to test, in measured order."""
    order = np.random.default_rng(seed).permutation(len(timings.architectures))
    return order[:FIT], np.sort(order[FIT:])


def networks_on_cpu():
    timings = pl.latency.Timings.load(DATA / "mobile_cpu.csv")
    repeats, fit, test = timings.repeats(), *split(timings)
    at = lambda indices: ([timings.architectures[i] for i in indices], repeats[indices])  # noqa: E731
    curve = {n: [pl.latency.Model().fit(*at(part)).report(*at(test))["rmse"] for part in parts(fit, n)] for n in CURVE}
    model = pl.latency.Model().fit(*at(fit))
    report = model.report(*at(test))
    means = {n: float(np.mean(rmse)) for n, rmse in curve.items()}
    return {"machine": timings.metadata, "networks": len(timings.architectures), "visits": len(timings.visits), "test": report,
            "rmse/noise": report["rmse"] / report["noise"],
            "rmse/noise, split-half": report["rmse"] / report["noise, split-half"], "public best": PUBLIC_BEST,
            "rmse by networks": means, "rmse by networks, each fit": curve,
            "rmse with 200 / with 4000": means[200] / means[FIT],
            "autocorrelation of single visits, measured order": visit_autocorrelation(timings, model, test)}


def parts(fit, n, most=5):
    """At most five disjoint parts of n networks."""
    return [fit[i * n:(i + 1) * n] for i in range(min(most, len(fit) // n))]


def visit_autocorrelation(timings, model, test):
    """Lag-1 autocorrelation of the residuals of every visit to a test network: raw ms, and ratio to the reference."""
    visits = timings.visits[timings.visits["item"].isin(test)]
    predicted = dict(zip(test, model.predict([timings.architectures[i] for i in test])))
    expected = visits["item"].map(predicted).to_numpy()
    raw, ratio = visits.ms / expected, visits.ms / visits.reference_ms / expected
    return {"raw": autocorrelation(np.log(raw)), "ratio to the reference": autocorrelation(np.log(ratio))}


def tables_apart():
    """How well two tables of the same space, measured an hour apart, agree: |ratio − 1| after reference correction."""
    a, b = (pl.latency.Table.load(DATA / f"mobile_cpu_table_{which}.csv") for which in "ab")
    ratios = np.array([b[block] / b.metadata["reference_ms"] / (a[block] / a.metadata["reference_ms"]) for block in a])
    raw = np.array([b[block] / a[block] for block in a])
    off = lambda r: {"median": np.median(abs(r - 1)), "90 %": np.quantile(abs(r - 1), 0.9), "worst": abs(r - 1).max()}  # noqa: E731
    return {"blocks": len(a), "after reference correction": off(ratios), "raw": off(raw),
            "median ratio after correction": np.median(ratios)}


def pixel1():
    try:
        table = pl.latency.Table.pixel1()
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return None
    blocks = list(table)
    left_out = {}
    for block in blocks:
        others = [b for b in blocks if b != block]
        left_out[block] = pl.latency.Model().fit(others, [table[b] for b in others]).predict(block) / table[block] - 1
    errors = np.abs(list(left_out.values()))
    worst = max(blocks, key=lambda b: abs(left_out[b]))
    model = pl.latency.Model().fit(table)
    return {"sums": sums(table), "leave one out": {"mean": errors.mean(), "median": np.median(errors), "worst": str(worst),
                                                   "its error": left_out[worst]},
            "predicted": {name: predicted(model, table, getattr(pl.zoo, name)(), PAPER.get(name))
                          for name in ("proxyless_mobile", "proxyless_mobile_14", "proxyless_gpu", "proxyless_cpu")}}


def sums(table):
    """The ten sums that the released table must give, ms."""
    space = pl.spaces.mobile()
    costs = pl.costs.costs(space, table)
    uniform = torch.tensor([[1 / len(e.candidates)] * len(e.candidates) + [0.0] * (7 - len(e.candidates)) for e in space.edges()],
                           dtype=torch.float64)
    least = tuple("Zero" if "Zero" in edge.candidates else min(edge.candidates, key=lambda c: table[edge.block(c)])
                  for edge in space.edges())
    return {"fixed": costs.fixed, "uniform alpha": costs.expected_under(uniform).item(),
            **{name: costs.cost_of(pl.Architecture(space, (name,) * 21)) for name in pl.ops.MBCONV},
            "Zero where allowed, else cheapest": costs.cost_of(pl.Architecture(space, least)),
            "proxyless_mobile, stage 1 at 24": costs.cost_of(pl.Architecture(space, pl.zoo.proxyless_mobile().choices))}


def predicted(model, table, network, paper):
    """The table's rows, with the model's predictions where rows are missing; and the model alone."""
    blocks = [b for b in network.space.blocks(network.choices) if b.operation != "Zero"]
    filled = sum(table[b] if b in table else model[b] for b in blocks)
    return {"label": "prediction", "missing blocks": sum(b not in table for b in blocks), "table and model, ms": filled,
            "model alone, ms": model.predict(network), "sd, ms": model.uncertainty(network), "paper, ms": paper,
            "off": filled / paper - 1 if paper else None}


def measure(_=None):
    return {"cpu": networks_on_cpu(), "tables an hour apart": tables_apart(), "pixel1": pixel1()}


if __name__ == "__main__":
    main(measure, __doc__, rounds=1)
