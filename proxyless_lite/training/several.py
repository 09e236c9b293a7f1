"""Train several networks alike, side by side where that is faster."""

import re
from functools import partial
from pathlib import Path

from .. import presets, runtime
from ..config import TrainConfig
from ..data import DataModule, InMemoryData
from .train import Training, begin, keep, train


def train_all(networks: dict, data: DataModule, config: TrainConfig | None = None, out: str | Path | None = None, device=None,
              workers: int = 1) -> dict:
    """Train each of `networks`, {label: Architecture or module}, as `train` does; returns {label: Report}.

    On a CPU, with images in memory, `workers` processes train side by side, each by one thread: on two cores 1.4 times as fast as
    one network at a time by two threads. They copy the data and the modules, whose classes they must be able to import; in a
    script call this below `if __name__ == "__main__":`. Otherwise networks are trained here, one after another.

    The trained network is the Report's `model`. `out` is a folder; in it every network has its own, named after its label. Raises
    what `train` does, ValueError for labels that name one folder, and ChildProcessError when a process dies.
    """
    config, engine = config or presets.train("quick"), runtime.engine(device)
    folders = {label: out and Path(out) / re.sub(r"\W+", "-", str(label)) for label in networks}
    if out and len({*folders.values()}) < len(folders):
        raise ValueError(f"labels {', '.join(map(str, folders))}: some name the same folder; let letters or digits differ")
    workers = min(workers, len(networks))
    if workers <= 1 or engine.device.type != "cpu" or engine.world_size > 1 or not isinstance(data, InMemoryData):
        return {label: train(network, data, config, folders[label], engine, label) for label, network in networks.items()}
    runs = ((label, folders[label], *begin(network, config.seed)) for label, network in networks.items())
    reports = dict(runtime.pool(partial(runner, data, config, engine), runs, workers))
    for label, network in networks.items():
        keep(network, folders[label])
    return {label: reports[label] for label in networks}


def runner(data, config, engine):
    """What a worker does with a run (label, folder, module, identity)."""
    return lambda run: [(run[0], Training(run[2], data, config, run[1], engine, run[3], run[0]).run())]
