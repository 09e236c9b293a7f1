"""Which settings improve a search in the CIFAR-10 ground-truth space? Searches with settings other than the stored ones.

    python benchmarks/search_settings.py              # two hours on two cores, resumable
    python benchmarks/search_settings.py --summary

The table also holds trials with seeds from 100 up. The settings of searches.CONFIG were chosen by them, which makes them look
too good. Other searches share the seeds of the unchanged ones, in proxyless_lite/tables/results/searches_cifar10.csv.
"""

import shlex
import sys
from contextlib import closing
from functools import partial
from itertools import product

from proxyless_lite import ground_truth, runtime
from proxyless_lite.runtime.cli import OneLineParser, run
from proxyless_lite.ground_truth import searches

PATH = runtime.TABLES / "results" / "search_settings_cifar10.csv"
SETTING = ground_truth.BY_NAME["cifar10"]

SLOW = dict(alpha_lr=0.02)  # a third of the learning rate of α
VARIANTS = [  # a method, and fields of SearchConfig in place of those of searches.CONFIG["cifar10"]
    ("two_path", dict(epochs=24, warmup_epochs=0, alpha_every=8)),  # no warm-up: α moves from the first epoch, with as many steps of both
    ("two_path", dict(epochs=4, warmup_epochs=4)),                  # a third of the epochs
    ("two_path", dict(alpha_every=1)),                              # four times as many α steps, one per weight step
    ("two_path", SLOW),
    ("trapezoid", SLOW),
]
TRIED = 100  # seeds from here up belong to the trials


read = searches.Trials.read


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
    """One row per search: every variant with every seed, all variants of one seed before the next seed."""
    metadata = {"command": command, "setting": SETTING.describe() | {"search": searches.CONFIG[SETTING.name]},
                "digest": SETTING.load().digest, "machine": {**runtime.describe(), "device": "CPU, 1 thread a search"}}
    with closing(searches.Trials(path, metadata)) as table:
        done = set(zip(table.rows["method"], table.rows["changed"], table.rows["seed"]))
        missing = [(method, changes, seed) for seed, (method, changes) in product(range(seeds), VARIANTS)
                   if (method, told(changes), seed) not in done]
        total = seeds * len(VARIANTS)
        table.fill(partial(start, SETTING), missing, workers, total - len(missing), total, "searches,")


def summary(path):
    """ground_truth.summary, one line per variant; those of the trials apart, `trial` True."""
    scored = ground_truth.score(ground_truth.load(SETTING.name), read(path))
    return ground_truth.summary(scored.assign(trial=scored.seed >= TRIED).sort_values("trial"), ["trial", "method", "changed"])


def parser():
    cli = OneLineParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    cli.add_argument("--seeds", type=int, default=20, help="searches per variant, with seeds from 0 up")
    cli.add_argument("--workers", type=int, default=2, help="single-threaded processes")
    cli.add_argument("--table", default=str(PATH), help="the rows (CSV)")
    cli.add_argument("--summary", action="store_true", help="only summarise the rows so far")
    return cli


def main(arguments=None):
    args = parser().parse_args(arguments)
    if not args.summary:
        command = shlex.join(["python", "benchmarks/search_settings.py", *(sys.argv[1:] if arguments is None else arguments)])
        build(args.table, args.seeds, args.workers, command)
    print(summary(args.table).round(2).to_string())


if __name__ == "__main__":
    run(main)
