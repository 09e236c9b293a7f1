"""Notebooks 04 to 08: latency, the real run, devices."""

import math

from .answers import report

# -- 04 latency model --------------------------------------------------------------------------------------------------


def model_error(ms):
    """Notebook 04, exercise 3: √(0.50² − 0.40²)."""
    report("model error", ms, 0.3, {0.1: "errors that are independent add up as squares", 0.64: "take the difference of the squares, not their sum",
                                    0.09: "that is the square; take its root"})


# -- 05 latency-aware search -------------------------------------------------------------------------------------------


def price_on_the_front(never, price):
    """Notebook 05, exercise 4: latencies 1, 2, 3, 4 ms, CE 0.50, 0.42, 0.30, 0.27; which is never preferred; from what price is 1 ms."""
    report("never preferred", never, 2.0, {1.0: "a high price prefers the fastest", 4.0: "at a price of 0 only the cross-entropy counts",
                                           3.0: "between 0.03 and 0.10 nats/ms that one is preferred"})
    report("price", price, 0.1, {0.08: "there it beats the network of 2 ms; the one of 3 ms is still better",
                                 0.23 / 3: "there it beats the network of 4 ms; the one of 3 ms is still better",
                                 0.12: "that is the step from 2 to 3 ms; compare the 1 ms network with every other one",
                                 0.2: "divide by the 2 ms between them", 0.03: "that is where 4 ms gives way to 3 ms"})


# -- 06 ImageNet mobile search -----------------------------------------------------------------------------------------


def search_hours(hours, gpu_hours):
    """Notebook 06, exercise 1: 160 · 1,281,167 / 8,000 images/s."""
    wanted = 160 * 1_281_167 / 8_000 / 3600
    report("hours", hours, wanted, {8 * wanted: "that is one GPU alone; eight share the images", 60 * wanted: "that is minutes",
                                    3600 * wanted: "that is seconds", 120 / 160 * wanted: "the warm-up of 40 epochs counts too"}, tolerance=1e-2)
    report("GPU-hours", gpu_hours, 8 * wanted, {wanted: "that is wall-clock time; eight GPUs are busy throughout",
                                                wanted / 8: "multiply by the number of GPUs, do not divide"}, tolerance=1e-2)


def rank_factor(factor):
    """Notebook 06, exercise 2: the mean of two means of equally many images."""
    report("factor", factor, 0.5, {1.0: "each gradient is already that of a mean over 16; their sum is twice too large",
                                   1 / 32: "the losses are means over images already, not sums", 2.0: "the other way round",
                                   1 / 16: "the losses are means over images already, not sums"}, tolerance=1e-4)


def zero_wins(expected, share):
    """Notebook 06, exercise 3: 0.7 · 5 ms, and z > (1 − z) / 6."""
    report("expected", expected, 3.5, {1.5: "that is Zero's share of 5 ms; Zero costs nothing", 3.5 / 6: "that is one MBConv alone; all six add to E",
                                       5.0: "weight every cost by its p"})
    report("share", share, 1 / 7, {1 / 6: "the six share what is left: solve z = (1 − z) / 6", 0.5: "it need not have the majority, only the largest single share",
                                   0.3: "that is the example; look for the limit", 6 / 7: "that is what is left for the six"})


# -- 07 train and evaluate ---------------------------------------------------------------------------------------------


def smoothed_target(target, floor):
    """Notebook 07, exercise 1: the target of the right class, 1 − ε + ε / 1000 with ε = 0.1, and the entropy of all targets."""
    right, wrong = 0.9 + 0.1 / 1000, 0.1 / 1000
    report("target", target, right, {0.9: "the right class gets its share of the ε spread over all classes too",
                                     0.9 + 1 / 1000: "the classes share ε: each gets ε / 1000, not 1 / 1000",
                                     1.0: "without smoothing", wrong: "that is the target of a wrong class"}, tolerance=2e-5)
    entropy = -right * math.log(right) - 999 * wrong * math.log(wrong)
    report("floor", floor, entropy, {-right * math.log(right): "that is the right class alone; the other 999 have a target too",
                                     entropy / math.log(2): "that is in bits; PyTorch's loss is in nats", 0.0: "that is the floor without smoothing",
                                     -math.log(right): "that is the loss on one-hot labels; the targets are smoothed too"}, tolerance=2e-3)


def width_macs(factor):
    """Notebook 07, exercise 2: 1×1 convolutions when all channels are 1.4 times as many."""
    report("factor", factor, 1.96, {1.4: "both the input and the output channels grow", 2.8: "multiply the two, do not add them",
                                    2.744: "the image does not grow, only channels in and out"})


def difference_error(points):
    """Notebook 07, exercise 3: the variances of 74.6 % and 72.0 % of 50,000 images, added."""
    ours, theirs = (100 * math.sqrt(a * (1 - a) / 50_000) for a in (0.746, 0.72))
    wanted = math.hypot(ours, theirs)
    single = "that is the error of one of the two; the difference has that of both"
    report("standard error", points, wanted, {
        ours: single, theirs: single, ours + theirs: "errors that are independent add up as squares", wanted ** 2: "that is the variance; take the root",
        math.sqrt(theirs ** 2 - ours ** 2): "the variances add up, also those of a difference",
        wanted / 100: "far too small; is it the root, and in points, so 100 times the fraction?"}, tolerance=3e-3)


# -- 08 specialisation -------------------------------------------------------------------------------------------------


def away_from_home(factor):
    """Notebook 08, exercise 1: geometric mean over Table 4 of (network on a foreign device) / (that device's own network)."""
    own = 5.1, 138.7, 78
    foreign = (7.4, 7.2), (204.9, 164.1), (124, 116)
    ratios = [time / home for times, home in zip(foreign, own) for time in times]
    wanted = math.prod(ratios) ** (1 / 6)
    report("factor", factor, wanted, {
        sum(ratios) / 6: "that is the arithmetic mean; take the sixth root of the product", 1 / wanted: "the other way round: how much slower",
        math.prod(ratios) ** (1 / 9): "leave out the three at home", math.prod(ratios): "that is the product; take its sixth root",
        wanted - 1: "a factor is asked for: add 1"})


def opposite_pairs(pairs):
    """Notebook 08, exercise 2: pairs of the zoo that the two files of proxyless_lite/tables/results/ put in opposite order."""
    report("pairs", pairs, 3, {75: "those are the pairs in the same order", 78: "those are all pairs", 6: "count each pair once",
                               72 / 78: "that is Kendall's τ; the number of pairs is asked for", 3 / 78: "that is their share; how many are there?"}, tolerance=1e-6)


def least_time(ms):
    """Notebook 08, exercise 3: the fastest network of at least 400 million MACs, by the onnxruntime table."""
    report("time", ms, 8.9207, {
        7.7214: "the fixed part (stem, first block, head) takes time too", 9.9183: "the fixed part has MACs too: the edges need fewer",
        19.4247: "that is by PyTorch's table (a); take that of onnxruntime", 14.9250: "that is by PyTorch's table (b); take that of onnxruntime"},
        tolerance=5e-3, nearly="close; take finer steps of MACs")
