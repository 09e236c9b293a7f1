"""What several ranks say of networks on sets of many sizes, started by torchrun: writes OUT/<world size>_<rank>.json.

    torchrun --nproc-per-node 4 tests/rank_judges.py OUT
"""

import json
import sys
from pathlib import Path

import torch

import cpu_sync
import proxyless_lite as pl
from proxyless_lite import runtime
from proxyless_lite.search import place
from proxyless_lite.training import evaluate

SIZES = range(1, 37)  # with batches of 8: every remainder, also fewer batches than ranks


@runtime.threads(1)  # with another number sums are rounded otherwise
def accuracies(engine):
    """{"supernet": [...], "trained": [...]}: top-1 and top-5 accuracy on sets of SIZES images, in train mode with frozen statistics, and in eval mode."""
    torch.manual_seed(0)
    images, found = pl.data.load("digits", limit=64), {}
    net = pl.SuperNet(pl.spaces.chain(edges=2, width=4, input_size=8, candidates=("MB3 3x3", "MB3 5x5")))
    net.train().activate([0, 1])
    learn(net, *images.batch(images.train, torch.arange(len(images.train))))
    place(net, engine)
    with net.frozen():
        found["supernet"] = [evaluate(net, images, images.test[torch.arange(n)], size=8, engine=engine) for n in SIZES]
    network = engine.prepare(net.derive().build()).eval()
    found["trained"] = [evaluate(network, images, images.test[torch.arange(n)], size=8, engine=engine) for n in SIZES]
    return found


def learn(net, x, labels):
    """A few steps, the same on every rank, so that what an image is taken for depends on the other images of its batch."""
    optimizer = torch.optim.SGD(net.weight_parameters(), 0.1)
    for _ in range(40):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(x), labels).backward()
        optimizer.step()


def main():
    torch.set_num_threads(1)
    cpu_sync.install()
    engine = runtime.engine("cpu", sync_batch_norm=True)
    found = accuracies(engine)
    (Path(sys.argv[1]) / f"{engine.world_size}_{engine.rank}.json").write_text(json.dumps(found))
    engine.close()


if __name__ == "__main__":
    main()
