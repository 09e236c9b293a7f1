"""A whole search against training the derived network for as many epochs.

`Search.run()` with two-path α steps, and `train` of the network it derives, on the same images in batches of the same
size, so weight steps and training steps are equally many. The search also includes α steps on further images, and an
evaluation of the derived network after every epoch. Each round searches with an α step after every 5th weight step (the
released code), and after every one, each followed by its training. Ratios are medians over the rounds.

Sampled networks cost more or less than the derived one: "over MACs" is the ratio divided by their mean multiply-adds over
those of the derived one.

    python benchmarks/search_cost.py [--rounds 9]
"""

import sys
from dataclasses import replace

import torch
from tqdm import tqdm

import proxyless_lite as pl
from components import images
from report import at_most, main, median

BLOCKS, WIDTH, BATCH, IMAGES, EPOCHS = 2, 96, 64, 720, 2
CADENCES = {"α step every 5th": 5, "α step every one": 1}


def measure(rounds):
    data = images(IMAGES)
    found = {name: [] for name in CADENCES}
    for seed in tqdm(range(rounds), desc="whole searches", file=sys.stderr):
        for name, every in CADENCES.items():
            found[name].append(one(data, every, seed))
    ratios = {name: {"search / training": median(r["ratio"] for r in rows), "over MACs": median(r["ratio"] / r["MACs"] for r in rows),
                     "seconds": median(r["seconds"] for r in rows), "each": [r["ratio"] for r in rows]} for name, rows in found.items()}
    bar = at_most(1.3, ratios["α step every 5th"]["search / training"])
    return {"bars": {"search / training, α step every 5th": bar}, **ratios, "epochs": EPOCHS, "batch": BATCH, "space": str(space())}


def space():
    return pl.spaces.tree(BLOCKS, WIDTH)


def one(data, every, seed):
    """Search, then train what was found: the ratio of their seconds, and of the MACs drawn and derived."""
    torch.manual_seed(seed)
    net = pl.SuperNet(space())
    config = pl.SearchConfig(epochs=EPOCHS, batch_size=BATCH, alpha_batch_size=BATCH, alpha_every=every, seed=seed)
    result = pl.Search(net, data, config=config).run()
    seen = replace(data, valid=data.valid[:0])  # training takes train and valid together
    training = pl.train(result.architecture, seen, pl.TrainConfig(epochs=EPOCHS, batch_size=BATCH, cutout=0, drop_path=0.0, seed=seed))
    macs = pl.objective.costs(net, "macs")
    drawn = sum(macs.expected_under(torch.tensor(p)).item() for p in result.history.probabilities) / EPOCHS
    return {"ratio": result.seconds / training.seconds, "MACs": drawn / macs.of(result.architecture), "seconds": result.seconds}


if __name__ == "__main__":
    main(measure, __doc__, rounds=9)
