"""Train several networks alike: on a CPU side by side, one single-threaded process each; on a GPU one after another."""

import re
from functools import partial
from pathlib import Path

import torch

from .. import presets, runtime
from ..config import TrainConfig
from ..data import DataModule
from .train import Training, begin, train


def train_all(networks: dict, data: DataModule, config: TrainConfig | None = None, out: str | Path | None = None, device=None,
              workers: int | None = None) -> dict:
    """Train each of `networks`, {label: Architecture or module}, as `train` does; returns {label: Report}.

    On a CPU `workers` processes train side by side, each by one thread: faster than one network at a time by all threads. By
    default there are as many as PyTorch has threads here. With one, on a GPU, and with several ranks the networks are trained
    in this process, one after another. The trained network is the Report's `model`; a given module may stay as it was. `out` is
    a folder; in it every network has its own, named after its label. Raises what `train` does, and ChildProcessError when a
    process dies.
    """
    config, engine = config or presets.train("quick"), runtime.engine(device)
    workers = min(len(networks), torch.get_num_threads()) if workers is None else workers
    folders = {label: out and Path(out) / re.sub(r"\W+", "-", label) for label in networks}
    if workers == 1 or engine.device.type != "cpu" or engine.world_size > 1:
        return {label: train(network, data, config, folders[label], engine, label) for label, network in networks.items()}
    runs = ((label, folders[label], *begin(network, config.seed)) for label, network in networks.items())
    reports = dict(runtime.pool(partial(runner, data, config, engine), runs, workers))
    return {label: reports[label] for label in networks}


def runner(data, config, engine):
    """What a worker does with a run (label, folder, module, identity)."""
    return lambda run: [(run[0], Training(run[2], data, config, run[1], engine, run[3], run[0]).run())]
