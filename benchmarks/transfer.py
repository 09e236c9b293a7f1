"""A new device from few measured networks: how many are enough, and do tables of other devices help?

    python benchmarks/transfer.py --out proxyless_lite/tables/results/transfer.csv

The new device is PyTorch on a CPU: of its 5,000 stored networks some are taken as measured, 1,000 test the predictions. Known are the
tables of five other runtimes. What they say of a block is a further kind of work for the latency model, or all that there is.
"""

import argparse

import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression

import proxyless_lite as pl
from latency_model import DATA, FIT, parts, split
from proxyless_lite.latency.errors import accuracy
from proxyless_lite.latency.features import features
from proxyless_lite.runtime import write_table
from runtimes import RUNTIMES

COUNTS = 20, 50, 200, FIT
MOST = 20  # fits of one kind, on disjoint networks


class Sums:
    """Predicts c₀ + Σ c · (sum of a network's blocks in a table), c ≥ 0: no more than the tables of other devices."""

    def __init__(self, tables):
        self.tables = tables

    def fit(self, networks, times):
        self.line = LinearRegression(positive=True).fit(self.sums(networks), times)
        return self

    def predict(self, networks):
        return self.line.predict(self.sums(networks))

    def sums(self, networks):
        return np.array([[costs.cost_of(network) for costs in self.tables] for network in networks])


def main():
    line = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    line.add_argument("--out", help="CSV to write")
    args = line.parse_args()
    timings = pl.latency.Timings.load(DATA / "mobile_cpu.csv")
    times, networks = np.median(timings.repeats(), axis=1), timings.architectures
    fit, test = split(timings)
    tables = [pl.latency.Table.load(DATA / f"mobile_runtime_{name}.csv") for name in RUNTIMES]

    def with_tables(block):
        work, shape = features(block)
        return [*work, *(table[block] if block in table else 0.0 for table in tables)], shape

    costs = [pl.objective.costs(networks[0].space, table) for table in tables]
    models = {"these alone": pl.latency.Model, "with the tables": lambda: pl.latency.Model(with_tables), "tables alone": lambda: Sums(costs)}
    rows = []
    for label, make in models.items():
        for count in COUNTS:
            for part in parts(fit, count, MOST):
                predicted = make().fit([networks[i] for i in part], times[part]).predict([networks[i] for i in test])
                found = accuracy(predicted, times[test, None])
                rows.append({"by": label, "networks": count, "tau": found["kendall tau"], "rmse": found["rmse/mean"]})
    frame = pd.DataFrame(rows)
    print(frame.groupby(["by", "networks"], sort=False).agg(fits=("tau", "size"), tau=("tau", "mean"), se=("tau", "sem"), rmse=("rmse", "mean")).round(4))
    if args.out:
        write_table(args.out, frame, {"command": "python benchmarks/transfer.py", "networks": timings.metadata, "tables": RUNTIMES}, digits=4)


if __name__ == "__main__":
    main()
