"""Notebooks 00 to 03: spaces, gates, a search."""

import math

import torch
from torch import nn

from ...mixed_op import MixedOp
from .answers import report, say

# -- 00 start here -----------------------------------------------------------------------------------------------------


def entropy(nats):
    """Notebook 00, exercise 1: H = −Σ p log p for p = (0.4, and six times 0.1)."""
    wanted = -0.4 * math.log(0.4) - 0.6 * math.log(0.1)
    report("entropy", nats, wanted, {
        wanted / math.log(2): "that is in bits; the natural logarithm gives nats", math.log(7): "that is the entropy of seven equal paths",
        -wanted: "the sign: log p is negative, an entropy is not", -0.4 * math.log(0.4) - 0.1 * math.log(0.1): "there are six paths of 0.1",
        -math.log(0.4): "that is the surprise of the winner alone; take the mean over all paths"})


def updates(weight_steps, alpha_steps):
    """Notebook 00, exercise 2: 10 epochs of 1,078 images in batches of 64, two of them warm-up."""
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
        weight * 1.2: "the α steps run at their own rate", alpha: "that is the α steps alone"}, tolerance=5e-3)


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


def top_two(gate):
    """Notebook 02, exercise 3: a gate that gives the mean of the outputs of the two most probable paths."""
    if gate is None:
        return say("gate", "none", "no answer yet")
    op = MixedOp({"identity": nn.Identity(), "tanh": nn.Tanh(), "sigmoid": nn.Sigmoid(), "ReLU": nn.ReLU()})
    op.alpha.data = torch.tensor([0.1, 0.7, -1.0, 0.2])               # most probable: paths 1 and 3
    x = torch.linspace(-2, 2, 5)
    o, p = [candidate(x) for candidate in op.candidates], op.probabilities().detach()
    hints = {"that is their sum; take the mean": o[1] + o[3], "that is the most probable path alone": o[1],
             "a plain mean, half and half, not weighted by p": (p[1] * o[1] + p[3] * o[3]) / (p[1] + p[3]),
             "that is the mean of all paths; only two should run": sum(o) / 4, "those are the first two paths, whatever α says": (o[0] + o[1]) / 2,
             "those are the two least probable paths; which way are they sorted?": (o[0] + o[2]) / 2}
    try:
        gate, ran = gate() if isinstance(gate, type) else gate, []
        for candidate in op.candidates:
            candidate.register_forward_hook(lambda *_: ran.append(1))
        y, paths = gate(op, x), sorted(map(int, gate.paths(op)))
        same = lambda other: y.shape == other.shape and torch.allclose(y, other, atol=1e-6)  # noqa: E731
        if not same((o[1] + o[3]) / 2):
            hint = next((hint for hint, wrong in hints.items() if same(wrong)), None)
            return say("gate", "hinted" if hint else "wrong", hint or "not yet; compare its output with those of op.candidates")
        if len(ran) > 2:
            return say("gate", "hinted", f"the output is right, but {len(ran)} paths ran; run only the two that count")
        op.alpha.data = torch.tensor([2.0, 0.7, -1.0, 0.9])           # now 0 and 3, of which only path 0 has p > 1/N
        if not torch.allclose(gate(op, x), (o[0] + o[3]) / 2, atol=1e-6):
            return say("gate", "wrong", "right for one α, but not for another; are they always the two most probable paths?")
    except Exception as error:  # the reader's code may raise anything
        return say("gate", "wrong", f"it raises {type(error).__name__}: {error}")
    if paths != [1, 3]:
        return say("gate", "hinted", f"the output is right, but paths(op) gives {paths} where 1 and 3 ran; a weight step trains what it names")
    say("gate", "right", "right")


# -- 03 CIFAR-10 search ------------------------------------------------------------------------------------------------


def standard_error(points):
    """Notebook 03, exercise 3: 100 √(a (1 − a) / n) for a = 0.985 on n = 360 images."""
    wanted = 100 * math.sqrt(0.985 * 0.015 / 360)
    report("standard error", points, wanted, {
        wanted / 100: "in percentage points, please: times 100", 100 * math.sqrt(0.985 * 0.015): "that is of one image; the mean of 360 scatters less",
        100 * 0.985 * 0.015 / 360: "that is the variance; take its root", 100 / 360: "that is the weight of one image",
        100 / math.sqrt(360): "the variance of a right-or-wrong answer is a (1 − a), not 1"}, tolerance=2e-3)
