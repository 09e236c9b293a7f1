"""Notebooks 09 to 12: the paper's results, the truth, the choice among whole networks, and why methods differ."""

import math

from ... import ground_truth
from .answers import report

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


def draws_for_the_top(draws):
    """Notebook 10, exercise 2: the least k with 1 − 0.95^k ≥ 0.95."""
    report("draws", draws, math.ceil(math.log(0.05) / math.log(0.95)), {
        20.0: "20 draws hold one on average; the chance of none is 0.95^20 = 36 %", 58.0: "one more: 1 − 0.95^58 is still below 95 %",
        19.0: "draws are independent: the chances of none multiply"}, tolerance=1e-6, nearly="a whole number of draws; round up")


# -- 11 search and choose ----------------------------------------------------------------------------------------------


def choice_price(trainings):
    """Notebook 11, exercise 1: (12 + 16 · 1 + 4 · 8) / 8 trainings of 8 epochs."""
    report("trainings", trainings, 7.5, {60.0: "those are epochs; divide by the 8 of a training", 6.0: "the supernet costs its 12 epochs too",
                                         3.5: "and the 4 from scratch cost one training each", 21.5: "a training of one epoch costs an eighth",
                                         5.5: "and the 16 short trainings cost one epoch each"})


def best_of_four(probability):
    """Notebook 11, exercise 2: 1 − 0.9⁴."""
    report("probability", probability, 1 - 0.9 ** 4, {0.4: "that counts twice where two of the four are in the best tenth", 0.1: "that is of a single network",
                                                      0.9 ** 4: "that is of none being in the best tenth", 0.1 ** 4: "that is of all four being in the best tenth"})


# -- 12 why methods differ ---------------------------------------------------------------------------------------------


def extrapolated(two_path, trapezoid):
    """Notebook 12, exercise 1: outputs 1 and 3, loss o³, p = 0.9: extrapolations −6 and −54, weighed by p or equally."""
    report("two_path", two_path, 0.9 * -6 + 0.1 * -54, {
        -49.2: "the other way round: path 1 is active with probability 0.9", -30.0: "that weighs both slopes alike, as the trapezoid rule does",
        10.8: "the sign: L₁ is the smaller one, and o₁ − o₂ is negative", -6.0: "that is from path 1 alone", -54.0: "that is from path 2 alone",
        -26.0: "that is the true difference"})
    report("trapezoid", trapezoid, -30.0, {
        -60.0: "take the mean of the two, not their sum", 30.0: "the sign: L₁ is the smaller one, and o₁ − o₂ is negative",
        -26.0: "that is the true difference; the rule is exact for a quadratic loss only", -10.8: "that is weighed by p, as two_path does"})


def how_lucky(points):
    """Notebook 12, exercise 2: of the digits' best network by the mean of seeds 0 and 1, that mean minus its accuracy with seed 2, in points."""
    rows = ground_truth.read(ground_truth.FOLDER / "digits.csv")
    a = rows.pivot(index="network", columns="seed", values="accuracy")
    two = a[[0, 1]].mean(axis=1)
    winner = two.idxmax()
    wanted = 100 * (two[winner] - a[2][winner])
    three = a.mean(axis=1)
    report("luck", points, wanted, {
        -wanted: "the sign: what it promised, minus what it did", wanted / 100: "that is a fraction; in points it is 100 times as much",
        100 * (two[winner] - three[winner]): "the mean of three contains the two that chose it; take seed 2 alone",
        100 * (a.max().max() - a[2][winner]): "choose by the mean of seeds 0 and 1, not by the best single run"}, tolerance=5e-3)
