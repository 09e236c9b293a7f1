"""What runs of notebook 11 trained: the chosen networks, and random ones that cost as much as the last of them.

    python tools/compared.py runs/*/result.json --csv proxyless_lite/tables/results/compared_cifar10.csv
"""

import json
from pathlib import Path

import pandas as pd
from scipy import stats

from proxyless_lite import Architecture, runtime
from proxyless_lite.architecture import named_space
from proxyless_lite.runtime.cli import OneLineParser, run


def rows(path):
    """One row per network of a run, the chosen ones first. Raises ValueError for a file that is no result of notebook 11."""
    try:
        found = json.loads(path.read_text())
        space = named_space(**found["architecture"]["space"])
        networks = [("chosen", float(target), of["choices"], of["test_accuracy"]) for target, of in found["targets"].items()]
        last = networks[-1][1]
        networks += [("random", last, *each) for each in zip(found["random_choices"], found["random_accuracies"])]
        return [{"seed": found["seed"], "kind": kind, "target": target, "network": Architecture(space, tuple(choices)).code,
                 "macs": Architecture(space, tuple(choices)).macs(), "accuracy": accuracy} for kind, target, choices, accuracy in networks]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not the result of a run of notebook 11 ({error!r})") from None


def setting(path):
    """What all runs of a table have in common."""
    found = json.loads(path.read_text())
    return {**{key: found[key] for key in ("dataset", "preset", "unit", "precision")}, "space": found["architecture"]["space"]}


def gains(table):
    """Per seed: accuracy of the last chosen network minus the mean of the random ones, in points."""
    last = table[table.target == table.groupby("seed").target.transform("max")]
    means = 100 * last.pivot_table(index="seed", columns="kind", values="accuracy")
    return means.chosen - means.random


def told(gain):
    """The mean gain with its 95 % interval (Student's t), in one line."""
    low, high = stats.t.interval(0.95, len(gain) - 1, gain.mean(), gain.sem()) if len(gain) > 1 else (float("nan"),) * 2
    return f"gain over random networks of equal cost: {gain.mean():+.2f} points, 95 % interval {low:+.2f} to {high:+.2f}, n = {len(gain)}"


def main():
    line = OneLineParser(description="Write what runs of notebook 11 trained into a table, and tell the gain over random networks.")
    line.add_argument("results", nargs="+", type=Path, help="result.json of each run, all of one dataset")
    line.add_argument("--csv", required=True, help="file for the table: one row per network")
    args = line.parse_args()
    table = pd.DataFrame([row for path in args.results for row in rows(path)])
    settings, machines = [setting(path) for path in args.results], [json.loads(path.read_text())["machine"] for path in args.results]
    for path, own in zip(args.results, settings):
        runtime.check_same(path, own, settings[0])
    if len({*table.seed}) < len(settings):
        raise ValueError("two of the runs have one seed; give each run once")
    runtime.write_table(args.csv, table, {**settings[0], "machines": [each for i, each in enumerate(machines) if each not in machines[:i]]})
    print(told(gains(table)))


if __name__ == "__main__":
    run(main)
