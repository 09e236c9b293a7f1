"""The competitor that needs no search: of the networks within the highest limit of a run of notebook 11 the one with the most MACs.

It is trained and tested like those of the run, on the same images; that takes one training, by one thread. tools/compared.py adds it to its table.

    python tools/most_macs.py runs/x        # the folder of a run whose data need no settings of their own; writes runs/x/most_macs.json
"""

import json
from pathlib import Path

from proxyless_lite import Architecture, costs, data, latency, presets, runtime, train
from proxyless_lite.architecture import named_space
from proxyless_lite.config import TrainConfig
from proxyless_lite.runtime.cli import OneLineParser, run


def most_macs(space, price, limit):
    """The Architecture with the most MACs of those that cost at most `limit` by a Costs `price`. Raises ValueError where none does."""
    macs = costs.costs(space, "macs")
    worth = (macs.matrix / macs.matrix.max()).exp()                        # (E, N): the knapsack adds their logarithms
    found = price.at_most(worth, limit * (1 + 1e-9))                       # sums are rounded
    if not found:
        raise ValueError(f"no network of {space} costs at most {limit:,.6g} {price.unit}")
    return Architecture(space, space.canonical(edge.candidates[i] for edge, i in zip(space.edges(), found[0])))


def trained(folder):
    """What most_macs.json holds: the network of a run's folder, and its accuracy on the run's test images.

    Raises ValueError for images other than those that the run tested on, and OSError where files are missing.
    """
    found = json.loads((folder / "result.json").read_text())
    space, limit = named_space(**found["architecture"]["space"]), max(map(float, found["targets"]))
    source = found["unit"].lower() if found["unit"] != "ms" else latency.Table.load(folder / "latency.csv")
    network, own = most_macs(space, costs.costs(space, source), limit), presets.choice(found["preset"])
    images = data.load(found["dataset"], limit=own.images, image_size=space.settings["input_size"], padding=own.padding, seed=found["seed"])
    if len(images.test) != found["test_images"]:
        raise ValueError(f"{folder} tested on {found['test_images']:,} images, but {found['dataset']} has {len(images.test):,}; only runs with the preset's images")
    engine = runtime.engine("cpu", precision=found["precision"])
    with runtime.threads(1):
        report = train(network, images, TrainConfig(**found["recipe"]), folder / "most-macs", engine, f"most MACs, seed {found['seed']}")
    return {"target": limit, "choices": network.choices, "test_accuracy": report.test_accuracy}


def main():
    line = OneLineParser(description="Train the network with the most MACs within the highest limit of a run of notebook 11.")
    line.add_argument("folder", type=Path, help="folder of the run, with result.json")
    folder = line.parse_args().folder
    (folder / "most_macs.json").write_text(json.dumps(trained(folder), indent=1))


if __name__ == "__main__":
    run(main)
