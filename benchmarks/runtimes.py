"""Does a runtime want its own network? For each, the fastest networks of equal work by its table, and what each takes in all of them.

python benchmarks/runtimes.py choose onnxruntime.csv litert.csv … --out nets      # tables that `proxyless-latency import` wrote
proxyless-latency kit --networks nets/*.json --formats onnx int8 litert ncnn --out kit; python kit/run.py --runtime …
python benchmarks/runtimes.py report results-*.csv --kit kit --out proxyless_lite/tables/results/runtimes.csv
python benchmarks/runtimes.py truth --of cifar10_32 --out runtimes_truth.csv      # where the accuracy of all networks is known

Work stands for accuracy: it needs no training, and all that is asked is whether the device changes the choice. `truth` asks it of accuracy.
"""

import argparse
import itertools
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import LinearConstraint, milp
from scipy.stats import kendalltau, t

import proxyless_lite as pl
from proxyless_lite import ground_truth
from proxyless_lite.latency import kit
from proxyless_lite.runtime import TABLES, write_table

SHARES = 0.1, 0.3, 0.5, 0.7, 0.9  # of random networks that do less work than a target
LIMITS = 0.2, 0.35, 0.5, 0.65, 0.8  # of all networks that are faster than a limit
RUNTIMES = "onnxruntime", "openvino", "onnxruntime-int8", "ncnn", "litert"


def fastest(costs, macs, least):
    """The network of least cost with at least so many MACs, exactly."""
    space, (edges, most) = costs.space, costs.matrix.shape
    there = np.array([[j < len(edge.candidates) for j in range(most)] for edge in space.edges()]).ravel().astype(float)
    price, work = (np.where(there > 0, each.matrix.numpy().ravel(), 0) for each in (costs, macs))
    answer = milp(price, integrality=np.ones(price.size), bounds=(0, there), options={"mip_rel_gap": 0},
                  constraints=[LinearConstraint(np.repeat(np.eye(edges), most, 1), 1, 1), LinearConstraint(work[None], lb=least - macs.fixed)])
    paths = answer.x.reshape(edges, most).argmax(1)
    return pl.Architecture(space, tuple(edge.candidates[path] for edge, path in zip(space.edges(), paths)))


def choose(args):
    """Write nets/<runtime>-<target>.json for every table and target; print how the tables order random networks."""
    tables = {Path(file).stem: pl.latency.Table.load(file) for file in args.tables}
    space = pl.spaces.mobile()
    costs, macs = {name: pl.objective.costs(space, table) for name, table in tables.items()}, pl.objective.costs(space, "macs")
    draw = np.random.default_rng(0)
    drawn = [tuple(draw.integers(len(edge.candidates)) for edge in space.edges()) for _ in range(2_000)]
    work = [macs.of(paths) for paths in drawn]
    sums = {"MACs": work, **{name: [each.of(paths) for paths in drawn] for name, each in costs.items()}}
    print(pd.DataFrame({i: {j: kendalltau(sums[i], sums[j])[0] for j in sums} for i in sums}).round(2))
    Path(args.out).mkdir(parents=True, exist_ok=True)
    for target, (name, cost) in itertools.product(np.quantile(work, SHARES), costs.items()):
        fastest(cost, macs, target).save(Path(args.out) / f"{name}-{target / 1e6:.0f}.json")


def slower(frame):
    """By how many percent the networks chosen for one runtime are slower in another than those chosen for it, of equal work: the mean
    over the amounts of work, with its 95 % interval."""
    wide, rows = frame.pivot_table("ms", ["runtime", "million_macs"], "chosen_for"), []
    for runtime, other in itertools.permutations(wide, 2):
        percent = 100 * np.log(wide.loc[runtime, other] / wide.loc[runtime, runtime])
        half = t.ppf(0.975, len(percent) - 1) * percent.std() / len(percent) ** 0.5
        rows.append({"measured_in": runtime, "chosen_for": other, "slower": percent.mean(), "from": percent.mean() - half, "to": percent.mean() + half})
    return pd.DataFrame(rows)


def report(args):
    """Write a row per runtime and network, measured ms; print what `slower` says."""
    rows, machines = [], {}
    for file in args.results:
        found = kit.results(file, args.kit)
        attrs = found.networks.attrs
        machines[attrs["device"]] = attrs["machine"]
        for name, ms in found.networks.ms.drop("reference").items():
            chosen_for, _, target = Path(name).stem.rpartition("-")
            rows.append({"runtime": attrs["device"], "chosen_for": chosen_for, "million_macs": int(target), "ms": ms})
    frame = pd.DataFrame(rows)
    print(slower(frame).round(1).to_string(index=False))
    if args.out:
        write_table(args.out, frame, {"command": "python benchmarks/runtimes.py", "machines": machines, "threads": attrs["threads"],
                                      "date": attrs["date"], "targets": [round(share, 2) for share in SHARES]}, digits=5)


def truth(args):
    """Write, for every two runtimes and five limits, how much accuracy the network chosen for the other one costs; print means and intervals.

    Both are the most accurate networks of a table of ground truth: the other's within a limit there, the own among those that take no
    longer, in the own runtime, than the other's does. They are chosen by one seed and judged by the others, in turn: a winner is partly lucky.
    """
    path = args.table or str(ground_truth.FOLDER / f"{args.of}.csv")
    table = ground_truth.load(path)
    setting = ground_truth.table.setting_of(table.attrs)
    if missing := setting.seeds * len(setting.networks()) - table.runs.sum():
        raise SystemExit(f"error: {path} lacks {missing} runs: build it first")
    space = setting.space
    networks = [pl.Architecture.from_code(space, code) for code in table.index]
    costs = {name: pl.objective.costs(space, pl.latency.Table.load(TABLES / "latency" / f"truth_{args.of}_{name}.csv")) for name in RUNTIMES}
    ms = pd.DataFrame({name: map(each.cost_of, networks) for name, each in costs.items()}, table.index)
    accuracy = ground_truth.read(path).pivot(index="network", columns="seed", values="accuracy")
    rows = []
    for (own, other), share, seed in itertools.product(itertools.permutations(RUNTIMES, 2), LIMITS, accuracy):
        known, fair = accuracy[seed], accuracy.drop(columns=seed).mean(axis=1)
        theirs = known[ms[other] <= ms[other].quantile(share)].idxmax()
        ours = known[ms[own] <= ms[own][theirs]].idxmax()
        rows.append({"measured_in": own, "chosen_for": other, "share": share, "seed": seed, "theirs": theirs, "ours": ours,
                     "points": 100 * (fair[ours] - fair[theirs])})
    frame = pd.DataFrame(rows)
    print(f"{len(table)} networks; Kendall's τ of their latencies:\n{ms.corr('kendall').round(2)}\npoints of accuracy lost:")
    print(lost(frame).round(2))
    if args.out:
        write_table(args.out, frame, {"command": f"python benchmarks/runtimes.py truth --of {args.of}", "networks": len(table)}, digits=4)


def lost(frame):
    """Of `truth`, for every two runtimes: points of accuracy that the other's network costs, the mean over the limits with its 95 % interval."""
    points = frame.groupby(["measured_in", "chosen_for", "share"], sort=False).points.mean().groupby(level=[0, 1], sort=False)
    half = t.ppf(0.975, len(LIMITS) - 1) * points.sem()
    return pd.DataFrame({"mean": points.mean(), "from": points.mean() - half, "to": points.mean() + half})


def main():
    line = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = line.add_subparsers(dest="command", required=True)
    chooser, reporter, known = (commands.add_parser(name) for name in ("choose", "report", "truth"))
    known.add_argument("--of", default="cifar10_32", help="table of ground truth")
    known.add_argument("--table", help="its file; default: the package's own")
    known.add_argument("--out", help="CSV to write")
    chooser.add_argument("tables", nargs="+", help="latency tables, named after their runtimes")
    chooser.add_argument("--out", required=True, help="folder for the architecture files")
    reporter.add_argument("results", nargs="+", help="what run.py measured of the kit of these networks")
    reporter.add_argument("--kit", required=True)
    reporter.add_argument("--out", help="CSV to write")
    args = line.parse_args()
    return {"choose": choose, "report": report, "truth": truth}[args.command](args)


if __name__ == "__main__":
    sys.exit(main())
