"""Searches in the tree space of §4.1 on CIFAR-10, each compared with random networks of equal cost, all trained the same way.

Four searches per seed: the gradient rule (two_path) and REINFORCE, each with and without a latency objective. The network
found is trained with Cutout, as are random ones within 5 % of its MACs or predicted latency. One row per finished run. Run
the same command again to resume; each worker starts from its last completed epoch.

    python -m proxyless_lite.latency measure --space tree --set blocks=1 width=72 --out proxyless_lite/tables/latency/tree_cpu.csv
    python benchmarks/cifar10_tree.py --latency proxyless_lite/tables/latency/tree_cpu.csv
    python benchmarks/cifar10_tree.py --latency cuda.csv --preset paper --device cuda --workers 1 --table paper.csv --runs runs/paper
    python benchmarks/cifar10_tree.py --summary

The first command measures a latency table. The second takes hours on two cores; the third is the paper's scale on a GPU.
The last summarises the rows so far.
"""

import io
import shlex
import sys
from contextlib import closing, redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass, replace
from datetime import date
from functools import partial
from pathlib import Path

import torch

from cifar10_tree_rows import COLUMNS, Runs, summary
from proxyless_lite import (Architecture, Search, SearchConfig, SuperNet, TrainConfig, baselines, data, latency, objective, presets,
                            rules, runtime, train)
from proxyless_lite.costs import costs
from proxyless_lite.runtime import TABLES
from proxyless_lite.runtime.cli import OneLineParser, run

ROOT = Path(__file__).parents[1]
CONFIGURATIONS = [(rule, cost) for cost in ("none", "ms") for rule in ("two_path", "reinforce")]


@dataclass(frozen=True)
class Setting:
    """What is compared: the searches and trainings of an Experiment, with seeds from 0 up."""

    experiment: presets.Experiment
    samples: int = 10              # M of REINFORCE; the paper does not give it (ImageNet as released: 10)
    share: float = 0.8             # target latency over that of a uniformly random network (ImageNet: 80 of 114 ms)
    weight: float = 1.0            # of that objective in the loss
    seeds: int = 3


SETTINGS = {
    "quick": Setting(replace(presets.experiment("quick"), random_networks=2), samples=3),
    # An α step after every weight step, at ten times the paper's rate, as α must decide in 45 times fewer steps. With M = 3 a
    # step of REINFORCE takes as long as one of the gradient rule.
    "hours": Setting(presets.Experiment(
        blocks=1, width=72, images=15_000, random_networks=2,
        search=SearchConfig(epochs=3, warmup_epochs=1, alpha_every=1, alpha_lr=0.06),
        train=TrainConfig(epochs=3, cutout=8, drop_path=0.0)), samples=3),
    "paper": Setting(replace(presets.experiment("paper"), random_networks=2)),
}


class Bench:
    """Runs a setting on the data set `name` with a latency table; checkpoints go to the folder `out`.

    Raises ValueError or KeyError for a table of another space, and what data.load raises.
    """

    def __init__(self, setting, name, table, device, out):
        self.experiment, self.setting, self.device, self.out = setting.experiment, setting, runtime.device(device), Path(out)
        self.images = data.load(name, limit=self.experiment.images)
        self.space = self.experiment.space(len(self.images.classes), self.images.shape[1])
        self.macs, self.ms = (costs(self.space, source) for source in ("macs", latency.Table.load(table)))
        self.target = setting.share * (self.ms.fixed + self.ms.matrix.mean(1).sum().item())

    def metadata(self):
        """What all rows have in common, and the machine."""
        on = runtime.describe() | ({"device": "CPU, 1 thread a run"} if self.device.type == "cpu" else {})
        return {"setting": {**asdict(self.setting), "latency": repr(self.ms), "target_ms": round(self.target, 4)}, "data": str(self.images),
                "digest": self.images.digest, "train_images": len(self.images.train), "valid_images": len(self.images.valid),
                "machine": on, "date": date.today().isoformat()}

    def missing(self, rows):
        """Tasks (seed, rule, cost, {role: network} of the finished runs) with runs still missing, seed by seed."""
        for seed in range(self.setting.seeds):
            for rule, cost in CONFIGURATIONS:
                own = rows[(rows.seed == seed) & (rows.rule == rule) & (rows.cost == cost)]
                if len(own) < 2 + self.experiment.random_networks:
                    yield seed, rule, cost, dict(zip(own.role, own.network))

    def __call__(self, task):
        """Yields the missing rows of a task: the search, the network found, the random networks."""
        *run, done = task
        if "search" not in done:
            row = self.search(*run)
            yield row
            done = {"search": row[list(COLUMNS).index("network")]}
        found = Architecture.from_code(self.space, done["search"])
        networks = {"found": found, **{f"random{i}": other for i, other in enumerate(self.others(found, *run), 1)}}
        for role, architecture in networks.items():
            if role not in done:
                yield self.train(architecture, *run, role)

    def others(self, found, seed, rule, cost):
        """Random networks of the same cost as the one found."""
        draw = runtime.seed(seed, CONFIGURATIONS.index((rule, cost)))  # different ones in each configuration
        return baselines.random_of_equal_cost(found, self.experiment.random_networks, seed=draw,
                                              costs=self.ms if cost == "ms" else self.macs)

    def search(self, seed, rule, cost):
        """The row of one search. With a latency objective it finds the most probable network of that latency (± 5 %)."""
        config = replace(self.experiment.search, seed=seed)
        how, goal = rules.TwoPath(), objective.LatencyPenalty(self.ms, self.setting.weight, self.target, "abs#linear", "all")
        if rule == "reinforce":
            config = presets.for_reinforce(config)
            how, goal = rules.Reinforce(self.setting.samples), objective.Reward(self.ms, self.target)
        goal = goal if cost == "ms" else None
        torch.manual_seed(seed)
        net, run = SuperNet(self.space), (seed, rule, cost, "search")
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            result = Search(net, self.images, how, config, self.folder(run), self.device, goal).run()
        last = result.history.iloc[-1]
        return self.row(run, result.architecture, last.derived_accuracy, last.train_loss, result.seconds,
                        f"{last.entropy:.4f}", result.most_probable.code)

    def train(self, architecture, *run):
        """The row of one training."""
        config = replace(self.experiment.train, seed=run[0])
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            report = train(architecture, self.images, config, self.folder(run), self.device)
        return self.row(run, architecture, report.test_accuracy, report.history["train_loss"].iloc[-1], report.seconds)

    def row(self, run, architecture, accuracy, loss, seconds, *of_search):
        """Cells named as in COLUMNS; only a search has the last two."""
        return (*run, architecture.code, architecture.macs(), architecture.params(),
                f"{self.ms.cost_of(architecture):.4f}", f"{accuracy:.4f}", f"{loss:.4f}", f"{seconds:.1f}", *(of_search or ("", "")))

    def folder(self, run):
        return self.out / "-".join(map(str, run))


def build(path, workers, command, *bench):
    """Run what the table at `path` lacks, with Bench(*bench) in each of `workers` single-threaded processes."""
    here = Bench(*bench)
    with closing(Runs(path, {"command": command, **here.metadata()})) as table:
        runs = len(CONFIGURATIONS) * here.setting.seeds * (2 + here.experiment.random_networks)
        table.fill(partial(Bench, *bench), here.missing(table.rows), workers, len(table.rows), runs, f"{runs} runs:")


def parser():
    cli = OneLineParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    cli.add_argument("--preset", default="hours", choices=SETTINGS, help="how long to search and train")
    cli.add_argument("--data", default="cifar10", help="cifar10, digits, or a folder with train/ and test/")
    cli.add_argument("--latency", help="latency table of the search space")
    cli.add_argument("--device", help="cpu or cuda; default: CUDA if available")
    cli.add_argument("--workers", type=int, default=2, help="single-threaded processes")
    cli.add_argument("--table", default=str(TABLES / "results" / "cifar10_tree.csv"), help="the rows (CSV)")
    cli.add_argument("--runs", default="runs/cifar10_tree", help="folder for checkpoints")
    cli.add_argument("--summary", action="store_true", help="only summarise the rows so far")
    return cli


def main(arguments=None):
    args = parser().parse_args(arguments)
    if not args.summary:
        if args.latency is None:
            raise ValueError("no latency table given; measure one (python -m proxyless_lite.latency measure --help) and add --latency FILE")
        if args.workers < 1:
            raise ValueError(f"--workers {args.workers}: at least 1")
        command = shlex.join(["python", "benchmarks/cifar10_tree.py", *(sys.argv[1:] if arguments is None else arguments)])
        build(args.table, args.workers, command, SETTINGS[args.preset], args.data, args.latency, args.device, args.runs)
    print(summary(args.table))


if __name__ == "__main__":
    run(main)
