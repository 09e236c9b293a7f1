"""What makes a search in the CIFAR-10 space of ground truth better? Searches with other settings than the stored ones.

    python benchmarks/search_settings.py              # two hours on two cores, resumes
    python benchmarks/search_settings.py --summary

The table also holds trials with seeds from 100 up, among which the settings of searches.CONFIG were chosen: so what they say
flatters. The searches here have the seeds of those with nothing changed, which are in data/results/searches_cifar10.csv.
"""

import shlex
import sys
from contextlib import closing
from functools import partial
from itertools import product
from pathlib import Path

from proxyless_lite import ground_truth, runtime
from proxyless_lite.cli import OneLineParser, run
from proxyless_lite.ground_truth import searches

PATH = Path(__file__).parents[1] / "data" / "results" / "search_settings_cifar10.csv"
COLUMNS = ["method", "changed", *searches.COLUMNS[1:]]
read = partial(runtime.read_rows, columns=COLUMNS, what="table of search_settings.py", text=["network"])
SETTING = ground_truth.BY_NAME["cifar10"]

SLOW = dict(alpha_lr=0.02)  # a third of the learning rate of α
VARIANTS = [  # a method, and fields of SearchConfig in place of those of searches.CONFIG["cifar10"]
    ("two_path", dict(epochs=24, warmup_epochs=0, alpha_every=8)),  # no warm-up: α moves from the first epoch, with as many steps of both
    ("two_path", dict(epochs=4, warmup_epochs=4)),                  # a third of the epochs
    ("two_path", dict(alpha_every=1)),                              # four times as many α steps, between them one weight step
    ("two_path", SLOW),
    ("trapezoid", SLOW),
]
TRIED = 100  # seeds from here up belong to the trials


def told(changes):
    """Changes as the column `changed` has them."""
    return " ".join(f"{name}={value}" for name, value in changes.items()) or "nothing"


def start(setting):
    """What a worker does with a task (method, changes, seed)."""
    images = setting.load()

    def one(task):
        method, changes, seed = task
        yield method, told(changes), seed, *searches.outcome(setting, method, seed, images, **changes)
    return one


def build(path, seeds, workers, command):
    """One row a search: every variant with every seed, all variants of one seed before the next seed."""
    about = {"command": command, "setting": SETTING.describe() | {"search": searches.CONFIG[SETTING.name]},
             "digest": SETTING.load().digest, "machine": {**runtime.describe(), "device": "CPU, 1 thread a search"}}
    with closing(runtime.Rows(path, about, COLUMNS, read)) as table:
        done = set(zip(table.rows["method"], table.rows["changed"], table.rows["seed"]))
        missing = [(*variant, seed) for seed, variant in product(range(seeds), VARIANTS) if (variant[0], told(variant[1]), seed) not in done]
        total = seeds * len(VARIANTS)
        table.fill(partial(start, SETTING), missing, workers, total - len(missing), total, "searches,")


def summary(path):
    """ground_truth.summary, a line a variant; those of the trials apart, `trial` True."""
    judged = ground_truth.judge(ground_truth.load(SETTING.name), read(path)[1])
    return ground_truth.summary(judged.assign(trial=judged.seed >= TRIED).sort_values("trial"), ["trial", "method", "changed"])


def parser():
    cli = OneLineParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    cli.add_argument("--seeds", type=int, default=20, help="searches a variant, with seeds from 0 up")
    cli.add_argument("--workers", type=int, default=2, help="processes of one thread each")
    cli.add_argument("--table", default=str(PATH), help="the rows (CSV)")
    cli.add_argument("--summary", action="store_true", help="only say what the rows tell so far")
    return cli


def main(arguments=None):
    args = parser().parse_args(arguments)
    if not args.summary:
        command = shlex.join(["python", "benchmarks/search_settings.py", *(sys.argv[1:] if arguments is None else arguments)])
        build(args.table, args.seeds, args.workers, command)
    print(summary(args.table).round(2).to_string())


if __name__ == "__main__":
    run(main)
