"""The cost of scoring every network of the CIFAR-10 ground-truth space with shared weights, in trainings.

Each round trains a network of average cost as for the table, then scores all distinct networks as at the end of a search:
on the validation images, with one supernet's weights. CPU seconds on one thread each; the ratio is a median over rounds.

    python benchmarks/judging.py [--rounds 5] > proxyless_lite/tables/results/judging.json
"""

import sys
import time

from tqdm import trange

import proxyless_lite as pl
from proxyless_lite import ground_truth, runtime
from proxyless_lite.ground_truth import competitors
from report import main, median

SPACE = "cifar10"


def measure(rounds):
    truth, setting = ground_truth.load(SPACE), ground_truth.BY_NAME[SPACE]
    images, net = setting.load(), pl.SuperNet(setting.space)
    seconds = [(judging(setting, net, images), ground_truth.pace(truth) * truth.seconds.mean())
               for _ in trange(rounds, desc="judging and training", file=sys.stderr)]
    return {"judging / training": median(judged / trained for judged, trained in seconds),
            "networks": len(truth), "images": len(images.valid),
            "each": [{"judging": round(judged, 2), "training": round(trained, 2)} for judged, trained in seconds]}


def judging(setting, net, images):
    """CPU seconds of competitors.shared_accuracy on one thread."""
    with runtime.threads(1):
        began = time.process_time()
        competitors.shared_accuracy(setting, net, images)
        return time.process_time() - began


if __name__ == "__main__":
    main(measure, __doc__, rounds=5)
