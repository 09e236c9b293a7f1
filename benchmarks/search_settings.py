"""What makes a search in the CIFAR-10 space of ground truth better? Two-path searches with one thing changed at a time.

    python benchmarks/search_settings.py              # an hour on two cores, resumes
    python benchmarks/search_settings.py --summary

The settings of searches.CONFIG were chosen after the rows with seeds 0 to 3 of several changes at once, which the table holds too.
The searches with nothing changed are also in data/results/searches_cifar10.csv, with twenty seeds.
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
COLUMNS = ["changed", *searches.COLUMNS]
read = partial(runtime.read_rows, columns=COLUMNS, what="table of search_settings.py", text=["network"])
SETTING, METHOD = ground_truth.BY_NAME["cifar10"], "two_path"

VARIANTS = [  # fields of SearchConfig in place of those of searches.CONFIG["cifar10"]
    {},
    dict(alpha_batch_size=64),
    dict(alpha_batch_size=512),
    dict(alpha_lr=0.02),
    dict(alpha_lr=0.2),
    dict(warmup_epochs=0),
    dict(warmup_epochs=8),
    dict(epochs=8),
    dict(epochs=8, warmup_epochs=8),
    dict(epochs=6, warmup_epochs=6, alpha_every=2),
    dict(epochs=12, warmup_epochs=0, alpha_delay=6),  # one cosine for the weights, without the jump after the warm-up
    dict(batch_size=32, alpha_every=2),
]


def told(changes):
    """Changes as the column `changed` has them."""
    return " ".join(f"{name}={value}" for name, value in changes.items()) or "nothing"


def start(setting):
    """What a worker does with a task (changes, seed)."""
    images = setting.load()

    def one(task):
        changes, seed = task
        yield told(changes), METHOD, seed, *searches.outcome(setting, METHOD, seed, images, **changes)
    return one


def build(path, seeds, workers, command):
    """One row a search: every variant with every seed, all variants of a seed before the next."""
    about = {"command": command, "setting": SETTING.describe() | {"search": searches.CONFIG[SETTING.name]},
             "digest": SETTING.load().digest, "machine": {**runtime.describe(), "device": "CPU, 1 thread a search"}}
    with closing(runtime.Rows(path, about, COLUMNS, read)) as table:
        done = set(zip(table.rows["changed"], table.rows["seed"]))
        missing = [(changes, seed) for seed, changes in product(range(seeds), VARIANTS) if (told(changes), seed) not in done]
        progress = runtime.Progress(len(missing), 0, "searches,")
        for row in runtime.pool(partial(start, SETTING), missing, workers):
            table.append(*row)
            progress.step()
        progress.close()


def summary(path):
    """One line a variant, a DataFrame; regrets in points, medians. See ground_truth.judge."""
    _, rows = read(path)
    judged = ground_truth.judge(ground_truth.load(SETTING.name), rows).assign(changed=rows.changed)
    points = judged.assign(**{name: 100 * judged[name] for name in ("regret", "in_band", "by_shared")})
    lines = points.groupby("changed").agg(n=("seed", "size"), cost=("cost", "median"), regret=("regret", "median"), worst=("regret", "max"),
                                          in_band=("in_band", "median"), by_shared=("by_shared", "median"), tau=("tau", "median"))
    names = [told(changes) for changes in VARIANTS]
    return lines.sort_index(key=lambda index: index.map(lambda name: names.index(name) if name in names else len(names)), kind="stable")


def parser():
    cli = OneLineParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    cli.add_argument("--seeds", type=int, default=4, help="searches a variant, with seeds from 0 up")
    cli.add_argument("--workers", type=int, default=2, help="processes of one thread each")
    cli.add_argument("--table", default=str(PATH), help="the rows (CSV)")
    cli.add_argument("--summary", action="store_true", help="only say what the rows tell so far")
    return cli


def main(arguments=None):
    args = parser().parse_args(arguments)
    if not args.summary:
        build(args.table, args.seeds, args.workers, shlex.join(["python", "benchmarks/search_settings.py", *(sys.argv[1:] if arguments is None else arguments)]))
    print(summary(args.table).round(2).to_string())


if __name__ == "__main__":
    run(main)
