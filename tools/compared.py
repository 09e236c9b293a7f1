"""What runs of notebook 11 trained: the chosen networks, and random ones that cost as much as the last of them; and what tools/most_macs.py did.

    python tools/compared.py runs/*/result.json --csv proxyless_lite/tables/results/compared_cifar10.csv
"""

import json
from math import comb
from pathlib import Path

import pandas as pd
from scipy import stats

from proxyless_lite import Architecture, runtime
from proxyless_lite.architecture import named_space
from proxyless_lite.runtime.cli import OneLineParser, run


def read(path):
    """The rows of a run; what all runs of a table have in common; the machine.

    Raises ValueError for a file that is no result of notebook 11.
    """
    try:
        found = json.loads(path.read_text())
        setting = {**{key: found[key] for key in ("preset", "unit", "precision")}, "dataset": Path(found["dataset"]).name, "space": found["architecture"]["space"],
                   "recipe": {name: value for name, value in found["recipe"].items() if name != "seed"},
                   "choice": {name: value for name, value in found.get("choice", {}).items() if name != "train"}}  # earlier runs did not say
        space = named_space(**setting["space"])
        networks = [("chosen", float(target), of["choices"], of["test_accuracy"]) for target, of in found["targets"].items()]
        if (other := path.with_name("most_macs.json")).exists():           # by tools/most_macs.py
            networks += [("most MACs", float(target), of["choices"], of["test_accuracy"]) for target, of in json.loads(other.read_text()).items()]
        networks += [("random", max(map(float, found["targets"])), *each) for each in zip(found["random_choices"], found["random_accuracies"])]
        rows = [{"seed": found["seed"], "kind": kind, "target": target, "network": network.code, "macs": network.macs(), "accuracy": accuracy}
                for kind, target, choices, accuracy in networks for network in [Architecture(space, tuple(choices))]]
        return rows, setting, found["machine"]
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not the result of a run of notebook 11 ({error!r})") from None


def gains(table):
    """Per seed: accuracy of the network chosen for the target of the random ones minus their mean, in points."""
    random = table[table.kind == "random"].groupby("seed").agg(target=("target", "first"), accuracy=("accuracy", "mean"))
    chosen = table[table.target == table.seed.map(random.target)].query("kind == 'chosen'").set_index("seed").accuracy
    return 100 * (chosen - random.accuracy)


def told(gain):
    """The mean gain with its 95 % interval (Student's t), in one line; of one run there is no interval."""
    interval = "95 % interval {:+.2f} to {:+.2f}, ".format(*stats.t.interval(0.95, len(gain) - 1, gain.mean(), gain.sem())) if len(gain) > 1 else ""
    return f"Gain over random networks of equal cost: {gain.mean():+.2f} points, {interval}n = {len(gain)}"


def best_of(table, count):
    """How accurate the best of `count` random networks is on average, drawn from those of all seeds and judged by the same test images.

    So random search of that many trainings finds at most this: it would judge by fewer, the validation images. Raises ValueError
    where there are fewer networks.
    """
    accuracy = table[table.kind == "random"].accuracy.sort_values()
    if not 1 <= count <= len(accuracy):
        raise ValueError(f"the best of {count} random networks: the table has {len(accuracy)}")
    # Of all sets of `count` networks, C(i, count - 1) have the network with i worse ones as their best.
    return sum(comb(i, count - 1) * each for i, each in enumerate(accuracy)) / comb(len(accuracy), count)


def main():
    line = OneLineParser(description="Write what runs of notebook 11 trained into a table, and tell the gain over random networks.")
    line.add_argument("results", nargs="+", type=Path, help="result.json of each run, all of one dataset")
    line.add_argument("--csv", required=True, help="file for the table: one row per network")
    args = line.parse_args()
    rows, settings, machines = zip(*map(read, args.results))
    for path, own in zip(args.results, settings):
        runtime.check_same(path, own, settings[0])
    table = pd.DataFrame([row for of in rows for row in of])
    if table.seed.nunique() < len(settings):
        raise ValueError("two of the runs have one seed; give each run once")
    runtime.write_table(args.csv, table, {**settings[0], "machines": [each for i, each in enumerate(machines) if each not in machines[:i]]})
    print(told(gains(table)))


if __name__ == "__main__":
    run(main)
