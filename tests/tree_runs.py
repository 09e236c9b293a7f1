"""A tiny setting of benchmarks/cifar10_tree.py, on the digits, in a file of its own so that other processes can import it."""

import sys
from pathlib import Path

import proxyless_lite as pl

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import cifar10_tree  # noqa: E402

MINI = cifar10_tree.Setting(pl.presets.Experiment(
    blocks=1, width=72, images=160, random_networks=2,
    search=pl.SearchConfig(epochs=1, warmup_epochs=1, batch_size=32, alpha_batch_size=32, alpha_every=1, alpha_lr=0.05),
    train=pl.TrainConfig(epochs=1, batch_size=32, cutout=2, drop_path=0.0)), samples=2, seeds=1)
cifar10_tree.SETTINGS["mini"] = MINI


def latency_table(path, input_size=8):
    """A table for its space that needs no clock: a millisecond for every 50 kMACs, and 0.01 ms a block."""
    space = pl.spaces.tree(1, 72, input_size=input_size)
    entries = {edge.block(name): 0.01 + pl.costs.candidate_macs(edge, name) / 5e4 for edge in space.edges() for name in edge.candidates}
    entries |= {block: 1.0 for block in space.fixed_blocks()}
    pl.latency.Table({block: pl.latency.table.Entry(ms) for block, ms in entries.items()},
                     {"space_settings": {"name": space.name, **space.settings}}).save(path)
    return path


def arguments(folder, **others):
    """The command line for MINI, with all files in a folder."""
    given = {"preset": "mini", "data": "digits", "latency": folder / "latency.csv", "device": "cpu", "workers": 1,
             "table": folder / "rows.csv", "runs": folder / "runs"} | others
    return [word for name, value in given.items() for word in (f"--{name}", str(value))]


if __name__ == "__main__":
    cifar10_tree.main(arguments(Path(sys.argv[1])))
