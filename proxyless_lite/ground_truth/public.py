"""NAS-Bench-201's table of trained networks (Dong & Yang, ICLR 2020), by which a search of its space can be scored.

    truth = public.read("nasbench201.csv")                                # you bring the file
    result = Search(SuperNet(spaces.nasbench201()), …).run()
    regret = truth["mean"].max() - truth["mean"][result.architecture.code]

The authors' API writes this CSV. It unpickles its own files, which can run code: use it only on files that come from them.

    api, runs = nats_bench.create("NATS-tss-v1_0-3ffb9-simple", "tss", fast_mode=True, verbose=False), []  # pip install nats_bench
    for i in range(len(api)):
        for run in api.query_by_index(i, "cifar10", "200").values():      # runs of 200 epochs
            runs.append((api[i], run.get_eval("ori-test")["accuracy"] / 100, run.get_train()["all_time"]))
        api.arch2infos_dict.clear()                                       # else it would take 30 GB of memory
    pandas.DataFrame(runs, columns=["arch", "accuracy", "seconds"]).to_csv("nasbench201.csv", index=False)
"""

import math
import re
from pathlib import Path

import pandas as pd
import torch

from .. import runtime
from ..architecture import Architecture
from ..costs import costs
from ..spaces import nasbench201
from ..spaces.nasbench201 import OPERATIONS

STRING = "|{}~0|+|{}~0|{}~1|+|{}~0|{}~1|{}~2|"  # op~i reads node i; "+" separates nodes 1, 2 and 3
EXPORT = "export a CSV as help(proxyless_lite.ground_truth.public) shows"


def to_string(choices) -> str:
    """The name of a cell in NAS-Bench-201, from its operations in network order. Raises ValueError like `Space.check`."""
    nasbench201().check(choices)
    return STRING.format(*choices)


def from_string(arch) -> tuple[str, ...]:
    """The operations, in network order, of the cell called `arch` in NAS-Bench-201. Raises ValueError for another string."""
    choices = tuple(re.findall(r"\w+(?=~)", str(arch)))
    if len(choices) != 6 or not set(choices) <= set(OPERATIONS) or STRING.format(*choices) != arch:
        raise ValueError(f"{str(arch)[:60]!r} is no cell; write {STRING.format(*['op'] * 6)}, op one of {', '.join(OPERATIONS)}")
    return choices


def canonical(choices) -> str:
    """What a cell computes of its input x, as a sum of terms: the same for cells that compute the same, 4,930 in all.

    A skip is its input, none adds nothing, and an operation of nothing is nothing: the constant that batch norm makes of zeros
    is neglected. The authors' 6,466 counts strings, in which x + 0 is not x. Raises ValueError like `Space.check`.
    """
    nasbench201().check(choices)
    nodes, names = [["x"]], iter(choices)
    while len(nodes) < 4:
        terms = [node if name == "skip_connect" else [f"{name}({' + '.join(node)})"]
                 for node, name in zip(nodes, names) if node and name != "none"]
        nodes.append(sorted(sum(terms, [])))
    return " + ".join(nodes[3]) or "0"


def read(path, epochs: int = 200) -> pd.DataFrame:
    """The table in a file: one row per cell trained on CIFAR-10, much as `ground_truth.load` gives it.

    Index: Architecture.code in `nasbench201()`. Columns: `choices`; `macs`, counted here (the authors' flops have 10 more, for a
    bias); `runs`; `mean` and `sd` of their top-1 test accuracy in [0, 1]; `seconds` per training, NaN if not given.

    A .csv or .json has a row per run with `arch`, `accuracy` and perhaps `seconds`. The authors' NAS-Bench-201-v1_1 .pth has runs
    of 200 and of 12 `epochs`; its 4.7 GB take an estimated 15 minutes and 30 GB of memory, unlike the CSV. Raises ValueError for
    another file or content, FileNotFoundError for no file.
    """
    path, readers = Path(path), {".csv": runtime.read_table, ".json": pd.read_json}
    if path.suffix not in (*readers, ".pth"):
        raise ValueError(f"{path} is none of .csv, .json, .pth; a pickle, as of NATS-Bench, can run code: {EXPORT}")
    if epochs not in (12, 200):
        raise ValueError(f"epochs={epochs!r}: NAS-Bench-201 has runs of 12 and 200; give one of them")
    content = safely_loaded(path) if path.suffix == ".pth" else None
    with runtime.refusing(path, "table of NAS-Bench-201"):
        return summary(runs_of(content, epochs) if path.suffix == ".pth" else readers[path.suffix](path))


class Ignored:
    """Stands for NumPy's numbers in a .pth, `params` and `latency`, so that a file reaches nothing of NumPy."""

    __init__ = __setstate__ = lambda self, *_: None


def safely_loaded(path):
    """The plain data in a .pth, without running code."""
    path.stat()  # raises FileNotFoundError
    numpy = [(Ignored, f"numpy.{name}") for name in ("dtype", "core.multiarray.scalar", "_core.multiarray.scalar")]  # _core: since 2.0
    try:
        with torch.serialization.safe_globals(numpy):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can fail anywhere in zipfile, pickle or torch
        raise ValueError(f"{path} cannot be read without running code ({type(error).__name__}); {EXPORT}") from None


def runs_of(content, epochs):
    """The rows of the CSV, from the content of NAS-Bench-201-v1_1: runs on all training images of CIFAR-10."""
    cells = [info["full" if epochs == 200 else "less"] for info in content["arch2infos"].values()]
    return pd.DataFrame([
        {"arch": cell["arch_str"], "accuracy": run["eval_acc1es"][f"ori-test@{run['epochs'] - 1}"] / 100,
         "seconds": sum((run["train_times"] or {0: math.nan}).values())}
        for cell in cells for (images, _), run in cell["all_results"].items() if images == "cifar10"])


def summary(rows):
    """The table of `read`, from a row per run."""
    rows = rows.reindex(columns=["arch", "accuracy", "seconds"])
    if rows.empty or not rows.accuracy.between(0, 1).all():
        raise ValueError("it needs a run at least, and of each the arch and an accuracy from 0 to 1, not in percent")
    found = {arch: Architecture(nasbench201(), from_string(arch)) for arch in rows.arch.unique()}
    table = rows.groupby(rows.arch.map(lambda arch: found[arch].code).rename("network")).agg(
        arch=("arch", "first"), runs=("accuracy", "size"), mean=("accuracy", "mean"), sd=("accuracy", "std"), seconds=("seconds", "mean"))
    networks, macs = [found[arch] for arch in table.pop("arch")], costs(nasbench201(), "macs")
    table.insert(0, "choices", [network.choices for network in networks])
    table.insert(1, "macs", [int(macs.cost_of(network)) for network in networks])
    return table
