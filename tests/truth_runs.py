"""A tiny space to be trained exhaustively, in a file of its own so that other processes can import it."""

import sys

import proxyless_lite as pl
from proxyless_lite import ground_truth

MINI = ground_truth.Setting("digits", dict(name="chain", edges=2, width=2, input_size=8, candidates=("Zero", "MB1 1x1", "DW 3x3")),
                            dict(name="digits", limit=200), seeds=2,
                            recipe=pl.TrainConfig(epochs=1, batch_size=100, lr=0.1, cutout=0, drop_path=0.0))

if __name__ == "__main__":
    ground_truth.build(MINI, sys.argv[1], workers=2)
