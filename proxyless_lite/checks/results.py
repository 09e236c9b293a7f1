"""Notebooks 09 and 10: the paper's results, and the truth."""


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
