"""The α of a search as an animation: notebook 03's quick preset on the digits, seed 0.

    python tools/animation.py figures/alpha.gif
"""

from dataclasses import replace

import matplotlib.pyplot as plt
import torch

import proxyless_lite as pl
from proxyless_lite.course import plots
from proxyless_lite.runtime.cli import OneLineParser, run


def main():
    cli = OneLineParser(description="The α of a search as an animation.")
    cli.add_argument("path", help="GIF to write")
    path = cli.parse_args().path
    experiment = pl.presets.experiment("quick")
    data = pl.data.load("digits")
    torch.set_num_threads(1)  # as in the notebook: another number rounds differently, and ends with other networks
    torch.manual_seed(0)
    net = pl.SuperNet(experiment.space(len(data.classes), data.shape[1]))
    history = pl.Search(net, data, pl.rules.TwoPath(), config=replace(experiment.search, seed=0)).run().history
    plt.rcParams.update(plots.STYLE)
    print(plots.animate(history, next(iter(net.mixed_ops.values())).names, path))


if __name__ == "__main__":
    run(main)
