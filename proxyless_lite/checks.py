"""Answers to the exercises: each check prints what is right, or a hint that names the likely mistake, and never raises."""

import math

import torch
from torch import nn

from . import ground_truth
from .mixed_op import MixedOp


def report(name, answer, wanted, hints, tolerance=1e-3):
    """Print whether the number `answer` is `wanted`, or the hint beside the wrong number it equals."""
    if answer is None:
        return print(f"{name}: no answer yet")
    try:
        value = float(answer)
    except (TypeError, ValueError):
        return print(f"{name}: {answer!r} is no number")
    close = lambda other: math.isclose(value, other, rel_tol=tolerance, abs_tol=tolerance)  # noqa: E731
    if close(wanted):
        return print(f"{name}: right")
    hint = next((hint for wrong, hint in hints.items() if close(wrong)), "not yet; read the text above once more")
    print(f"{name}: {hint}")


# -- 00 start here -----------------------------------------------------------------------------------------------------


def entropy(nats):
    """Notebook 00, exercise 1: H = −Σ p log p for p = (0.4, and six times 0.1)."""
    wanted = -0.4 * math.log(0.4) - 0.6 * math.log(0.1)
    report("entropy", nats, wanted, {
        wanted / math.log(2): "that is in bits; the natural logarithm gives nats", math.log(7): "that is the entropy of seven equal paths",
        -wanted: "the sign: log p is negative, an entropy is not", -0.4 * math.log(0.4) - 0.1 * math.log(0.1): "there are six paths of 0.1",
        -math.log(0.4): "that is the surprise of the winner alone; take the mean over all paths"})


def updates(weight_steps, alpha_steps):
    """Notebook 00, exercise 2: 10 epochs of 1,078 images in batches of 64, two of the epochs warm-up."""
    steps = 1_078 // 64
    report("weight steps", weight_steps, 10 * steps, {
        8 * steps: "the weights learn during the warm-up too", 10 * (steps + 1): "the last, incomplete batch of an epoch is left out",
        10 * 1_078 / 64: "a step is a whole one; the last, incomplete batch of an epoch is left out", steps: "that is one epoch"})
    report("α steps", alpha_steps, 8 * steps, {
        10 * steps: "α rests during the warm-up", 8 * (steps + 1): "one α step follows each weight step; count those first",
        steps: "that is one epoch", 2 * steps: "that is the warm-up, in which α rests"})


def paper_hours(hours):
    """Notebook 00, exercise 3: 200 epochs of 45,000 images at 1,000 images/s; a fifth as many in α steps at 1,250 images/s."""
    weight, alpha = 200 * 45_000 / 1_000 / 3600, 200 * 45_000 / 5 / 1_250 / 3600
    report("hours", hours, weight + alpha, {
        weight: "the α steps take time too", weight + 5 * alpha: "α moves in every fifth step only: alpha_every",
        60 * (weight + alpha): "that is minutes", 3600 * (weight + alpha): "that is seconds",
        weight * 1.2: "the α steps run at a rate of their own", alpha: "that is the α steps alone"}, tolerance=5e-3)


# -- 01 search spaces --------------------------------------------------------------------------------------------------


def larger_space(networks, alphas):
    """Notebook 01, exercise 1: the mobile space with a seventh MBConv."""
    report("networks", networks, 7**6 * 8**15, {
        8**21: "six edges change the shape; Zero is no candidate there", 7**21: "fifteen edges have Zero as a candidate too",
        6**6 * 8**15: "the six edges that change the shape get the new candidate too", 6**6 * 7**15: "that is the space as it was",
        7**6 + 8**15: "choices on different edges multiply"}, tolerance=1e-9)
    report("α", alphas, 6 * 7 + 15 * 8, {141: "that is the space as it was", 142: "every edge gets a new α, not one for all",
                                        168: "six edges have no Zero", 147: "every edge gets a new α, not only six"}, tolerance=1e-9)


def tree_halves(count):
    """Notebook 01, exercise 2: unordered pairs of 7 leaves, times 7, and unordered pairs of those branches."""
    pairs = lambda n: n * (n + 1) // 2  # noqa: E731
    report("halves", count, pairs(7 * pairs(7)), {
        7**6: "that is all ways; many are the same", (7 * pairs(7))**2: "the two branches may be exchanged too",
        pairs(7**3): "the leaves of a branch may be exchanged too", 7**6 / 8: "a pair of equal operations has no double: exchange changes nothing",
        7 * 21 * (7 * 21 + 1) // 2: "two leaves may be equal: 28 unordered pairs of seven, not 21",
        math.comb(7 * pairs(7), 2): "the two branches may be equal"}, tolerance=1e-9)


def depth_deviations(deviations):
    """Notebook 01, exercise 3: blocks kept are 6 + a binomial of 15 with probability 6/7; 13 in units of its deviations."""
    mean, sd = 6 + 15 * 6 / 7, math.sqrt(15 * 6 / 49)
    report("deviations", deviations, (mean - 13) / sd, {
        (13 - mean) / sd: "the number of deviations below is asked for: positive", mean - 13: "those are blocks; divide by the standard deviation",
        (mean - 13) / sd**2: "divide by the standard deviation, not by the variance",
        (18 - 13) / math.sqrt(21 * 6 / 49): "only fifteen edges have Zero as a candidate",
        mean: "that is the mean itself", sd: "that is the standard deviation itself"}, tolerance=5e-3)


# -- 02 binary gates ---------------------------------------------------------------------------------------------------


def zero_gradient(gradient):
    """Notebook 02, exercise 1: Eq. (4) for p = (0.2, 0.3, 0.5), ∂L/∂g = (1, 0, 2); ∂L/∂α of path 1, which is Zero."""
    report("∂L/∂α", gradient, 0.3 * (0 - 1.2), {
        0.0: "that is ∂L/∂g of Zero; Eq. (4) compares it with the mean over all paths", 0.36: "the sign: δ_ij − p_i",
        -1.2: "still to be multiplied by p of the path itself", -0.3: "the mean over paths is one weighted by p",
        -0.24: "the mean is Σ p_j ∂L/∂g_j over all three paths"})


def active_share(share):
    """Notebook 02, exercise 2: p = (0.6, 0.3, 0.1); how often the last path is the active one of a two-path step."""
    p = (0.6, 0.3, 0.1)
    pair = [p[i] * p[2] / (1 - p[i]) + p[2] * p[i] / (1 - p[2]) for i in (0, 1)]
    wanted = sum(drawn * p[2] / (p[2] + p[i]) for i, drawn in enumerate(pair))
    report("share", share, wanted, {
        0.1: "that is Eq. (2); here a pair is drawn first, and the active path is one of the two",
        sum(pair): "that is how often it is in the pair; it must also be the active one of the two",
        sum(pair) / 2: "of a pair, each path is active with p reset to the two, not with one half",
        sum(p[i] * p[2] / (1 - p[i]) * p[2] / (p[2] + p[i]) for i in (0, 1)): "it may also be drawn first: two orders lead to the same pair"})


def top_two(gate):
    """Notebook 02, exercise 3: a gate that gives the mean of the outputs of the two most probable paths."""
    if gate is None:
        return print("gate: no answer yet")
    op = MixedOp({"identity": nn.Identity(), "tanh": nn.Tanh(), "sigmoid": nn.Sigmoid(), "ReLU": nn.ReLU()})
    op.alpha.data = torch.tensor([0.1, 0.7, -1.0, 0.2])               # most probable: paths 1 and 3
    x = torch.linspace(-2, 2, 5)
    o, p = [candidate(x) for candidate in op.candidates], op.probabilities().detach()
    hints = {"that is their sum; take the mean": o[1] + o[3], "that is the most probable path alone": o[1],
             "a plain mean, half and half, not weighted by p": (p[1] * o[1] + p[3] * o[3]) / (p[1] + p[3]),
             "that is the mean of all paths; only two should run": sum(o) / 4, "those are the first two paths, whatever α says": (o[0] + o[1]) / 2,
             "those are the two least probable paths; which way are they sorted?": (o[0] + o[2]) / 2}
    try:
        gate = gate() if isinstance(gate, type) else gate
        y, paths = gate(op, x), sorted(map(int, gate.paths(op)))
        same = lambda other: y.shape == other.shape and torch.allclose(y, other, atol=1e-6)  # noqa: E731
        if not same((o[1] + o[3]) / 2):
            hint = next((hint for hint, wrong in hints.items() if same(wrong)), "not yet; compare its output with those of op.candidates")
            return print(f"gate: {hint}")
    except Exception as error:  # whatever the reader's code may do
        return print(f"gate: it stops with {type(error).__name__}: {error}")
    if paths != [1, 3]:
        return print(f"gate: the output is right, but paths(op) gives {paths} where 1 and 3 ran; a weight step trains what it names")
    print("gate: right")


# -- 03 CIFAR-10 search ------------------------------------------------------------------------------------------------


def path_share(steps):
    """Notebook 03, exercise 1: weight steps of one path in a warm-up of 4 epochs of 16 steps, 7 paths equally probable."""
    report("steps", steps, 4 * 16 / 7, {
        64: "that is all weight steps; in each, an edge trains one of its 7 paths", 16 / 7: "that is one epoch; the warm-up has 4",
        4 * 1_078 / 64 / 7: "the last, incomplete batch of an epoch is left out", 4 * 17 / 7: "the last, incomplete batch of an epoch is left out",
        2 * 4 * 16 / 7: "a weight step trains one path an edge, not two", 4 * 1_078 / 7: "that counts images; a step takes 64"}, tolerance=1e-2)


def rescale(shift):
    """Notebook 03, exercise 2: log((e^0.3 + e^−0.1) / 2)."""
    wanted = math.log((math.exp(0.3) + math.exp(-0.1)) / 2)
    report("shift", shift, wanted, {
        -wanted: "the sign: α ← α − log(Σ exp α_new / Σ exp α_old)", 0.1: "that is the mean of the changes; take the sums of exp α",
        math.exp(wanted): "that is the ratio itself; α changes by its logarithm",
        math.log((math.exp(0.3) + math.exp(-0.1) + 1) / 3): "only the two updated paths belong in the sums"})


def standard_error(points):
    """Notebook 03, exercise 3: 100 √(a (1 − a) / n) for a = 0.985 on n = 360 images."""
    wanted = 100 * math.sqrt(0.985 * 0.015 / 360)
    report("standard error", points, wanted, {
        wanted / 100: "in percentage points, please: times 100", 100 * math.sqrt(0.985 * 0.015): "that is of one image; the mean of 360 scatters less",
        100 * 0.985 * 0.015 / 360: "that is the variance; take its root", 100 / 360: "that is the weight of one image",
        100 / math.sqrt(360): "the variance of a right-or-wrong answer is a (1 − a), not 1"}, tolerance=2e-3)


# -- 04 latency model --------------------------------------------------------------------------------------------------


def model_error(ms):
    """Notebook 04, exercise 1: √(0.50² − 0.40²)."""
    report("model error", ms, 0.3, {0.1: "errors that are independent add up as squares", 0.64: "take the difference of the squares, not their sum",
                                    0.09: "that is the square; take its root"})


def reference_correction(ms):
    """Notebook 04, exercise 2: 21 / 24 · 20."""
    report("time", ms, 17.5, {21.0: "the machine was slow just then: the reference took 24 instead of 20 ms",
                              0.875: "that is the ratio; times the reference's median it becomes ms",
                              25.2: "the other way round: the machine was slower than usual, so the time must come down"})


def kernel_price(macs, ms):
    """Notebook 04, exercise 3: MB6 7x7 against MB6 3x3 on all 21 edges in per cent, MACs exactly, ms by the model of 4,000 networks."""
    report("MACs", macs, 28.35, {1.2835: "that is the ratio; how many per cent more is it?", 22.09: "more than the network of 3x3, not less than that of 7x7",
                                 128.35: "that is the whole, not how much more"})
    report("ms", ms, 17.1, {28.35: "that is what MACs would say; ask the model", 19.03: "that is the sum of blocks timed alone; ask the model",
                            1.171: "that is the ratio; how many per cent more is it?", 14.6: "more than the network of 3x3, not less than that of 7x7",
                            117.1: "that is the whole, not how much more"}, tolerance=0.01)


# -- 05 latency-aware search -------------------------------------------------------------------------------------------


def cost_gradient(gradient):
    """Notebook 05, exercise 1: p = (0.5, 0.3, 0.2), F = (2, 4, 0) ms; ∂E/∂α of path 1."""
    report("∂E/∂α", gradient, 0.3 * (4 - 2.2), {4.0: "that is ∂E/∂p; α moves all p at once", 1.2: "p · F alone: subtract the mean Σ p_j F_j",
                                                2.2: "that is E itself", 1.8: "still to be multiplied by p of the path itself"})


def price_on_the_front(never, price):
    """Notebook 05, exercise 2: latencies 1, 2, 3, 4 ms, CE 0.50, 0.42, 0.30, 0.27; who is never preferred, and the price from which 1 ms is."""
    report("never preferred", never, 2.0, {1.0: "a high price prefers the fastest", 4.0: "at a price of 0 only the cross-entropy counts",
                                           3.0: "between 0.03 and 0.10 nats/ms that one is preferred"})
    report("price", price, 0.1, {0.08: "there it beats the network of 2 ms; the one of 3 ms is still better",
                                 0.23 / 3: "there it beats the network of 4 ms; the one of 3 ms is still better",
                                 0.12: "that is the step from 2 to 3 ms; compare the network of 1 ms with each other one",
                                 0.2: "divide by the 2 ms between them", 0.03: "that is where 4 ms gives way to 3 ms"})


def released_price(weight):
    """Notebook 05, exercise 3: (∂loss/∂E) / (∂loss/∂CE) of mul#log at E = T = 80 ms, CE = 1: 0.3 / (80 log 80)."""
    wanted = 0.3 / (80 * math.log(80))
    report("λ₂", weight, wanted, {0.2 * wanted: "the factor 0.2 scales CE as well: divide by ∂loss/∂CE", 0.3 / 80: "the derivative of log E / log T: log T stays below",
                                  0.3 / math.log(80): "the derivative of log E is 1 / E", 0.1 / 80: "that is add#linear with 0.1",
                                  1 / wanted: "the other way round", wanted * math.log(80) / math.log10(80): "log is the natural logarithm"}, tolerance=1e-5)


# -- 06 ImageNet mobile search -----------------------------------------------------------------------------------------


def search_hours(hours, gpu_hours):
    """Notebook 06, exercise 1: 160 · 1,281,167 / 8,000 images/s."""
    wanted = 160 * 1_281_167 / 8_000 / 3600
    report("hours", hours, wanted, {8 * wanted: "that is one GPU alone; eight share the images", 60 * wanted: "that is minutes",
                                    3600 * wanted: "that is seconds", 120 / 160 * wanted: "the warm-up of 40 epochs counts too"}, tolerance=1e-2)
    report("GPU-hours", gpu_hours, 8 * wanted, {wanted: "that is the time on the clock; eight GPUs are busy all along",
                                                wanted / 8: "multiply by the GPUs, do not divide"}, tolerance=1e-2)


def rank_factor(factor):
    """Notebook 06, exercise 2: the mean of two means of equally many images."""
    report("factor", factor, 0.5, {1.0: "each gradient is that of a mean over 16 already; their sum is twice too large",
                                   1 / 32: "the losses are means over images already, not sums", 2.0: "the other way round",
                                   1 / 16: "the losses are means over images already, not sums"}, tolerance=1e-4)


# -- 07 train and evaluate ---------------------------------------------------------------------------------------------


def smoothed_target(target):
    """Notebook 07, exercise 1: the target of the right class, 1 − ε + ε / 1000 with ε = 0.1."""
    report("target", target, 0.9 + 0.1 / 1000, {0.9: "the right class gets its share of the ε spread over all classes too",
                                                 1.0: "without smoothing", 0.1 / 1000: "that is the target of a wrong class"}, tolerance=2e-5)


def width_macs(factor):
    """Notebook 07, exercise 2: 1×1 convolutions when all channels are 1.4 times as many."""
    report("factor", factor, 1.96, {1.4: "both the input and the output channels grow", 2.8: "multiply the two, do not add them",
                                    2.744: "the image does not grow, only channels in and out"})


# -- 08 specialisation -------------------------------------------------------------------------------------------------


def away_from_home(factor):
    """Notebook 08, exercise 1: geometric mean over Table 4 of (network on a foreign device) / (that device's own network)."""
    own = 5.1, 138.7, 78
    foreign = (7.4, 7.2), (204.9, 164.1), (124, 116)
    ratios = [time / home for times, home in zip(foreign, own) for time in times]
    wanted = math.prod(ratios) ** (1 / 6)
    report("factor", factor, wanted, {
        sum(ratios) / 6: "that is the arithmetic mean; take the sixth root of the product", 1 / wanted: "the other way round: how much slower",
        math.prod(ratios) ** (1 / 9): "the three networks at home do not belong in the mean", math.prod(ratios): "that is the product; take its sixth root",
        wanted - 1: "a factor is asked for: add 1", math.prod(time / home for row, home in zip(
            ((204.9, 124), (7.4, 116), (7.2, 164.1)), own) for time in row) ** (1 / 6): "divide by another network on the same device"})


def opposite_pairs(pairs):
    """Notebook 08, exercise 2: pairs of the zoo that the two files of data/results/ put in opposite order."""
    report("pairs", pairs, 3, {75: "those are the pairs in the same order", 78: "those are all pairs", 6: "count each pair once",
                               72 / 78: "that is Kendall's τ; the number of pairs is asked for", 3 / 78: "that is their share; how many are there?"}, tolerance=1e-6)


def least_time(ms):
    """Notebook 08, exercise 3: the fastest network of at least 400 million MACs, by the onnxruntime table."""
    report("time", ms, 6.1903, {
        4.9641: "the fixed part (stem, first block, head) takes time too", 6.9166: "the fixed part has MACs too: fewer are left for the edges",
        19.4247: "that is by the EPYC's table (a); take that of onnxruntime", 14.9250: "that is by the EPYC's table (b); take that of onnxruntime"},
        tolerance=5e-3)


# -- 09 paper tables and figures ---------------------------------------------------------------------------------------


def four_networks(tau):
    """Notebook 09, exercise 1: paper 6.1, 7.3, 8.0, 5.1 ms; ours 11.6, 10.2, 48.2, 14.0 ms: 3 pairs agree, 3 do not."""
    report("τ", tau, 0.0, {0.5: "that is the share of pairs in the same order; subtract the others", 3.0: "that counts the pairs in the same order",
                           1.0: "the orders differ: compare the networks two by two", -1.0: "ResNet-34 is the slowest in both"})


def controller_cost(hours, times):
    """Notebook 09, exercise 2: 8,000 · 5 epochs at 100 / 300 GPU-hours each."""
    wanted = 8_000 * 5 * 100 / 300
    report("GPU-hours", hours, wanted, {40_000.0: "that is the paper's figure: one GPU-hour an epoch; take a third of an hour",
                                        800_000.0: "each network is trained for 5 epochs, not 300", 8_000 * 100 / 300: "each network is trained for 5 epochs",
                                        120_000.0: "the other way round: 300 epochs cost 100 GPU-hours"})
    report("times", times, wanted / 200, {200.0: "that is the paper's 40,000 / 200; take your own hours", 200 / wanted: "the other way round",
                                          wanted / 140: "divide by the 200 GPU-hours of Table 2"})


def darts_over_ours(ratio):
    """Notebook 09, exercise 3: (6.49 + 3.45) / (1.01 + 0.82)."""
    report("ratio", ratio, 9.94 / 1.83, {6.49 / 1.01: "those are the weight steps alone", 3.45 / 0.82: "those are the α steps alone",
                                         7.18 / 1.174: "that is one α step every five weight steps", 1.83 / 9.94: "the other way round",
                                         9.94: "that is DARTS over plain training; divide by ours",
                                         (3.09 + 1.00) / (1.00 + 0.77): "those are figures of another space"}, tolerance=5e-3)


# -- 10 ground truth ---------------------------------------------------------------------------------------------------


def same_networks(distinct, probability):
    """Notebook 10, exercise 1: a chain of 6 edges with 5 operations, Zero among them; Σ 4^k networks, one of them in 6 of 5⁶ choices."""
    report("distinct", distinct, sum(4 ** k for k in range(7)), {
        5 ** 6: "that counts choices; a Zero may stand anywhere and the network is the same", 4 ** 6: "those are the networks without Zero; add the shorter ones",
        sum(4 ** k for k in range(1, 7)): "the network of nothing but Zero is one, too"}, tolerance=1e-6)
    report("probability", probability, 6 / 5 ** 6, {
        1 / 5 ** 6: "the one operation may stand on any of the six edges", 1 / sum(4 ** k for k in range(7)): "distinct networks are not equally probable",
        6.0: "that is the number of choices; divide by all of them"}, tolerance=1e-6)


def how_lucky(points):
    """Notebook 10, exercise 2: of the digits' best network by the mean of seeds 0 and 1, that mean minus its accuracy with seed 2, in points."""
    _, rows = ground_truth.read(ground_truth.FOLDER / "digits.csv")
    a = rows.pivot(index="network", columns="seed", values="accuracy")
    two = a[[0, 1]].mean(axis=1)
    winner = two.idxmax()
    wanted = 100 * (two[winner] - a[2][winner])
    three = a.mean(axis=1)
    report("luck", points, wanted, {
        -wanted: "the sign: what it promised, minus what it did", wanted / 100: "that is a fraction; in points it is 100 times as much",
        100 * (two[winner] - three[winner]): "the mean of three contains the two that chose it; take seed 2 alone",
        100 * (a.max().max() - a[2][winner]): "choose by the mean of seeds 0 and 1, not by the best single run"}, tolerance=5e-3)


def draws_for_the_top(draws):
    """Notebook 10, exercise 3: the least k with 1 − 0.95^k ≥ 0.95."""
    report("draws", draws, math.ceil(math.log(0.05) / math.log(0.95)), {
        20.0: "20 draws hold one on average; the chance of none is 0.95^20 = 36 %", 58.0: "one more: 1 − 0.95^58 is still below 95 %",
        19.0: "draws are independent: the chances of none multiply", math.log(0.05) / math.log(0.95): "a whole number of draws; round up"}, tolerance=1e-6)
