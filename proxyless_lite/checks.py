"""Answers to the exercises: each check prints what is right, or a hint that names the likely mistake, and never raises."""

import math


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


# -- 01 search spaces --------------------------------------------------------------------------------------------------


# -- 02 binary gates ---------------------------------------------------------------------------------------------------


def zero_gradient(gradient):
    """Notebook 02, exercise 1: Eq. (4) for p = (0.2, 0.3, 0.5), ∂L/∂g = (1, 0, 2); ∂L/∂α of path 2."""
    report("∂L/∂α", gradient, 0.5 * (2 - 1.2), {
        2.0: "that is ∂L/∂g; Eq. (4) needs p and the mean over paths too", 1.0: "p · ∂L/∂g alone: subtract the mean Σ p_j ∂L/∂g_j",
        -0.4: "the sign: δ_ij − p_i", 0.8: "still to be multiplied by p of the path itself"})


def two_path_scale(factor):
    """Notebook 02, exercise 2: N / (2 (N − 1)) for N = 7."""
    report("factor", factor, 7 / 12, {
        7 / 6: "each pair has p = ½, ½: the factor ½ · ½ stands in Eq. (4)", 2 / 7: "that is how often a path is drawn at all",
        0.5: "that is the limit for many candidates", 12 / 7: "the other way round"})


# -- 03 CIFAR-10 search ------------------------------------------------------------------------------------------------


def tree_space(decisions, alphas):
    """Notebook 03, exercise 1."""
    report("decisions", decisions, 648, {216: "that is one stage; there are three", 54: "that counts blocks; each has 12 edges",
                                        4536: "that counts α; a decision is one edge"})
    report("α", alphas, 4536, {648: "every decision has one α for each of its 7 candidates",
                                      1512: "that is one stage; there are three"})


def rescale(shift):
    """Notebook 03, exercise 2: log((e^0.3 + e^−0.1) / 2)."""
    wanted = math.log((math.exp(0.3) + math.exp(-0.1)) / 2)
    report("shift", shift, wanted, {
        -wanted: "the sign: α ← α − log(Σ exp α_new / Σ exp α_old)", 0.1: "that is the mean of the changes; take the sums of exp α",
        math.exp(wanted): "that is the ratio itself; α changes by its logarithm",
        math.log((math.exp(0.3) + math.exp(-0.1) + 1) / 3): "only the two updated paths belong in the sums"})


# -- 04 latency model --------------------------------------------------------------------------------------------------


def model_error(ms):
    """Notebook 04, exercise 1: √(0.50² − 0.40²)."""
    report("model error", ms, 0.3, {0.1: "errors that are independent add up as squares", 0.64: "take the difference of the squares, not their sum"})


def reference_correction(ms):
    """Notebook 04, exercise 2: 21 / 24 · 20."""
    report("time", ms, 17.5, {21.0: "the machine was slow just then: the reference took 24 instead of 20 ms",
                              0.875: "that is the ratio; times the reference's median it becomes ms",
                              25.2: "the other way round: the machine was slower than usual, so the time must come down"})


# -- 05 latency-aware search -------------------------------------------------------------------------------------------


def cost_gradient(gradient):
    """Notebook 05, exercise 1: p = (0.5, 0.3, 0.2), F = (2, 4, 0) ms; ∂E/∂α of path 1."""
    report("∂E/∂α", gradient, 0.3 * (4 - 2.2), {4.0: "that is ∂E/∂p; α moves all p at once", 1.2: "p · F alone: subtract the mean Σ p_j F_j",
                                                2.2: "that is E itself", 1.8: "still to be multiplied by p of the path itself"})


def released_weight(weight):
    """Notebook 05, exercise 2: λ₂ = 0.1 / 80 ms."""
    report("λ₂", weight, 0.1 / 80, {8.0: "divide by the target", 0.1: "in the released form E is divided by the target",
                                   800.0: "the other way round"}, tolerance=1e-5)


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
