"""The competitor that needs no search: of the networks within each limit of a run of notebook 11 the one with the most MACs.

They are trained and tested like those of the run, on the same images, one after another by one thread; one may serve several limits.
tools/compared.py adds them to its table.

    python tools/most_macs.py runs/x        # the folder of a run; writes runs/x/most_macs.json
"""

import json
from pathlib import Path

from proxyless_lite import Architecture, Limits, costs, data, latency, runtime, train
from proxyless_lite.architecture import named_space
from proxyless_lite.config import TrainConfig
from proxyless_lite.runtime.cli import OneLineParser, run


def most_macs(space, price, limit):
    """The Architecture with the most MACs of those that cost at most `limit` by a Costs `price`. Raises ValueError where none does."""
    found = Limits([(price, limit)]).one_by_one(costs.costs(space, "macs").matrix.numpy(), 1)
    if not found:
        raise ValueError(f"no network of {space} costs at most {limit:,.6g} {price.unit}")
    return Architecture(space, space.canonical(edge.candidates[i] for edge, i in zip(space.edges(), found[0])))


def trained(folder):
    """What most_macs.json holds: for each limit of a run's folder the network, and its accuracy on the run's test images.

    Raises ValueError for images other than those that the run tested on, and OSError where files are missing.
    """
    found = json.loads((folder / "result.json").read_text())
    space = named_space(**found["architecture"]["space"])
    source = folder / "latency.csv" if found["costs"] == "ms" else found["costs"]
    price = costs.costs(space, source if source in ("macs", "params") else latency.Table.load(source))
    networks = {limit: most_macs(space, price, float(limit)) for limit in found["targets"]}
    images = data.load(found["dataset"], **found["images"])
    if len(images.test) != found["test_images"]:
        raise ValueError(f"{folder} tested on {found['test_images']:,} images, but {found['dataset']} now has {len(images.test):,}")
    engine, config = runtime.engine("cpu", precision=found["precision"]), TrainConfig(**found["recipe"])
    with runtime.threads(1):
        accuracy = {network: train(network, images, config, folder / f"most-macs-{network.code}", engine, f"network {network.code}").test_accuracy
                    for network in dict.fromkeys(networks.values())}
    return {limit: {"choices": network.choices, "test_accuracy": accuracy[network]} for limit, network in networks.items()}


def main():
    line = OneLineParser(description="Train the networks with the most MACs within the limits of a run of notebook 11.")
    line.add_argument("folder", type=Path, help="folder of the run, with result.json")
    folder = line.parse_args().folder
    (folder / "most_macs.json").write_text(json.dumps(trained(folder), indent=1))


if __name__ == "__main__":
    run(main)
