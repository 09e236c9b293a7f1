"""Train several networks alike, side by side where that is faster."""

import logging
import re
from functools import partial
from pathlib import Path

import torch

from .. import presets, runtime
from ..config import TrainConfig
from ..data import DataModule, InMemoryData
from .train import Training, begin, keep, train

log = logging.getLogger(__name__)


def train_all(networks: dict, data: DataModule, config: TrainConfig | None = None, out: str | Path | None = None, device=None,
              workers: int = 1) -> dict:
    """Train each of `networks`, {label: Architecture or module}, as `train` does; returns {label: Report}.

    On a CPU, with images in memory, `workers` processes train side by side, each by one thread: on two cores 1.4 times as fast as
    one network at a time by two threads. There are fewer where memory is short, since they copy the data. They copy the modules too,
    whose classes they must be able to import; in a script call this below `if __name__ == "__main__":`. Otherwise networks are
    trained here, one after another.

    The trained network is the Report's `model`. `out` is a folder; in it every network has its own, named after its label. Raises
    what `train` does, ValueError for labels that name one folder, and ChildProcessError when a process dies.
    """
    config, engine = config or presets.train("quick"), runtime.engine(device)
    folders = {label: out and Path(out) / re.sub(r"\W+", "-", str(label)) for label in networks}
    if out and len({*folders.values()}) < len(folders):
        raise ValueError(f"labels {', '.join(map(str, folders))}: some name the same folder; let letters or digits differ")
    here = engine.device.type != "cpu" or engine.world_size > 1 or not isinstance(data, InMemoryData)
    workers = 1 if here else fitting(data, min(workers, len(networks)))
    if workers == 1:
        return {label: train(network, data, config, folders[label], engine, label) for label, network in networks.items()}
    runs = ((label, folders[label], *begin(network, config.seed)) for label, network in networks.items())
    reports = dict(runtime.pool(partial(runner, data, config, engine), runs, workers))
    for label, network in networks.items():
        keep(network, folders[label])
    return {label: reports[label] for label in networks}


def fitting(data, workers):
    """As many of the workers as have the memory to receive the data, and then to put training and validation images together; at least one."""
    size = sum(t.nbytes for split in (data.train, data.valid, data.test) for t in (split.images, split.labels))
    free = runtime.free_memory(torch.device("cpu"))
    fit = max(1, min(workers, (free - size) // (2 * size)))  # a copy on its way to them, and two in each
    if fit < workers:
        log.warning(f"{fit} of {workers} networks train at a time: for all it takes {(1 + 2 * workers) * size / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free")
    return fit


def runner(data, config, engine):
    """What a worker does with a run (label, folder, module, identity)."""
    return lambda run: [(run[0], Training(run[2], data, config, run[1], engine, run[3], run[0]).run())]
