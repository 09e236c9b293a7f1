"""Figures from data frames and tensors; every function returns a figure.

Colours are Okabe and Ito's, safe for colour-blind readers; markers, line styles and hatches tell the same in grey.
"""

import matplotlib.pyplot as plt
import numpy as np
import seaborn

BLUE, ORANGE, GREEN, RED, PURPLE, BLACK = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#000000"

STYLE = {"figure.dpi": 100, "savefig.dpi": 150, "font.size": 10, "axes.titlesize": 10, "axes.labelsize": 10,
         "legend.fontsize": 9, "xtick.labelsize": 9, "ytick.labelsize": 9, "axes.spines.top": False,
         "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.3, "legend.frameon": False}


def new_figure(*args, **settings):
    """plt.subplots, but closed at once: a notebook then shows the figure as a cell's value, and only once."""
    figure, axes = plt.subplots(*args, layout="constrained", **settings)
    plt.close(figure)
    return figure, axes


def search_history(history):
    """Three panels over epochs: loss, accuracy, mean entropy of p."""
    figure, axes = new_figure(1, 3, figsize=(9, 2.8))
    warm = (history.phase == "warm-up").sum()
    for ax, columns, label in zip(axes, (("train_loss", "valid_loss"), ("train_accuracy", "valid_accuracy", "derived_accuracy"),
                                         ("entropy",)), ("cross-entropy (nats)", "top-1 accuracy", "mean entropy of p (nats)")):
        for column, colour, marker in zip(columns, (BLUE, ORANGE, GREEN), "os^"):
            ax.plot(history.epoch, history[column], color=colour, marker=marker, markersize=3, label=column.replace("_", " "))
        if warm:
            ax.axvspan(-0.5, warm - 0.5, color="0.9", zorder=0)
        ax.set(xlabel="epoch", ylabel=label)
        if len(columns) > 1:
            ax.legend()
    if warm:
        axes[0].text(warm / 2 - 0.5, axes[0].get_ylim()[1], "warm-up", ha="center", va="top", fontsize=9)
    return figure


def training_history(histories):
    """Training loss and accuracy over epochs: `histories` maps a label to the history of a training."""
    figure, axes = new_figure(1, 2, figsize=(7, 2.8))
    looks = zip((BLUE, ORANGE, GREEN, RED, PURPLE, BLACK), "os^Dv*", ("-", "--", ":", "-.", "-", "--"))
    for (label, history), (colour, marker, line) in zip(histories.items(), looks):
        for ax, column in zip(axes, ("train_loss", "train_accuracy")):
            ax.plot(history.epoch, history[column], line, color=colour, marker=marker, markersize=4, label=label)
    axes[0].set(xlabel="epoch", ylabel="training loss (nats)")
    axes[1].set(xlabel="epoch", ylabel="training accuracy, top-1")
    axes[1].legend()
    return figure


def probabilities(p, names, title=""):
    """Heat map of p (E, N): one row an edge, one column a candidate; darker is more probable. The largest is marked."""
    figure, ax = new_figure(figsize=(4.6, 0.6 + 0.13 * max(12, len(p))))
    seaborn.heatmap(p, ax=ax, cmap="Greys", vmin=0, vmax=1, xticklabels=names, yticklabels=max(1, len(p) // 12),
                    cbar_kws={"label": "probability p", "shrink": 0.7})
    ax.plot(np.argmax(p, 1) + 0.5, np.arange(len(p)) + 0.5, ".", color=RED, markersize=4)
    ax.set(xlabel="candidate", ylabel="edge, in network order", title=title)
    ax.grid(False)
    ax.tick_params(axis="x", rotation=40)
    ax.tick_params(axis="y", rotation=0)
    return figure


def against_random(found, random_accuracies, unit="test accuracy (%)"):
    """The found network's accuracy among random networks of equal cost, with their mean and standard deviation."""
    figure, ax = new_figure(figsize=(6, 1.9))
    values = 100 * np.asarray(random_accuracies)
    mean, sd = values.mean(), values.std(ddof=1)
    ax.axvspan(mean - sd, mean + sd, color="0.9", label="random, mean ± sd")
    ax.axvline(mean, color="0.5", linestyle="--")
    ax.plot(values, np.linspace(-0.5, 0.5, len(values)), "o", color="white", markeredgecolor=BLACK, label="random, each")
    ax.plot([100 * found], [0], "D", color=BLUE, markersize=9, label="found")
    ax.set(xlabel=unit, yticks=[], ylim=(-1, 1))
    ax.grid(False)
    ax.legend(loc="upper center", ncols=3, bbox_to_anchor=(0.5, 1.35))
    return figure


def images(data, count=10):
    """The first validation images of `count` classes in turn, with their class below."""
    figure, axes = new_figure(1, count, figsize=(9, 1.4))
    for label, ax in enumerate(axes):
        label %= len(data.classes)
        ax.imshow(data.valid.images[(data.valid.labels == label).nonzero()[0, 0]].cpu())
        ax.set_title(data.classes[label], fontsize=9)
        ax.axis("off")
    return figure


def memory_by_candidates(counts, series, unit="saved for backward (MB)"):
    """Memory against the number of candidates N, one line a kind of gate."""
    figure, ax = new_figure(figsize=(5.2, 3))
    for (label, values), colour, marker, line in zip(series.items(), (BLUE, GREEN, ORANGE, PURPLE), "os^D", ("-", "--", ":", "-.")):
        ax.plot(counts, values, marker=marker, linestyle=line, color=colour, label=label)
    ax.set(xlabel="candidates N on every edge", ylabel=unit, ylim=(0, None))
    ax.legend()
    return figure


def estimators(true, means, standard_errors=None):
    """Bars of ∂J/∂α_k: the true gradient beside the mean of each estimator."""
    figure, ax = new_figure(figsize=(6, 2.8))
    kinds = {"true ∂J/∂α": true, **means}
    width, hatches = 0.8 / len(kinds), ("", "//", "..", "xx", "\\\\")
    for i, ((label, values), colour) in enumerate(zip(kinds.items(), (BLACK, BLUE, ORANGE, GREEN, PURPLE))):
        error = (standard_errors or {}).get(label)
        ax.bar(np.arange(len(true)) + (i - len(kinds) / 2 + 0.5) * width, values, width, yerr=error, label=label,
               color=colour if i == 0 else "white", edgecolor=colour, hatch=hatches[i])
    ax.axhline(0, color=BLACK, linewidth=0.8)
    ax.set_xticks(range(len(true)), [f"path {k}" for k in range(len(true))])
    ax.set(ylabel="gradient")
    ax.legend(ncols=2)
    return figure


def drift(visits, residuals):
    """Left: the reference network's time in measured order. Right: autocorrelation of residuals, raw and as ratio.

    `visits` has reference_ms; `residuals` maps a label to residuals in measured order."""
    figure, (left, right) = new_figure(1, 2, figsize=(9, 2.8))
    left.plot(visits.reference_ms.to_numpy(), ".", color=BLACK, markersize=0.6, rasterized=True)
    left.set(xlabel="visit, in measured order", ylabel="reference network (ms)", ylim=np.quantile(visits.reference_ms, (0, 0.995)))
    lags = np.unique(np.geomspace(1, 300, 25).astype(int))
    for (label, values), colour, marker in zip(residuals.items(), (ORANGE, BLUE), "so"):
        right.plot(lags, [np.corrcoef(values[:-k], values[k:])[0, 1] for k in lags], marker=marker, markersize=4, color=colour, label=label)
    right.axhline(0, color=BLACK, linewidth=0.8)
    right.set(xscale="log", xlabel="visits later", ylabel="autocorrelation", ylim=(-0.15, 1))
    right.legend()
    return figure


def predicted_against_measured(measured, predicted, noise=None, unit="ms"):
    """Scatter of networks around the diagonal (Figure 5); the band is ± 2 noise, what a measurement itself scatters."""
    figure, ax = new_figure(figsize=(4.4, 4))
    ends = np.array([min(measured.min(), predicted.min()), max(measured.max(), predicted.max())])
    if noise:
        ax.fill_between(ends, ends - 2 * noise, ends + 2 * noise, color="0.88", label="± 2 × noise of a measurement")
    ax.plot(ends, ends, color=BLACK, linewidth=0.8)
    ax.plot(predicted, measured, "o", color=BLUE, markersize=2.5, alpha=0.5, label="test networks")
    ax.set(xlabel=f"predicted ({unit})", ylabel=f"measured ({unit})", aspect="equal")
    ax.legend(loc="upper left")
    return figure


def learning_curve(counts, rmse, noise, unit="ms"):
    """Test RMSE against the number of networks fitted on: mean and each fit, over the noise floor."""
    figure, ax = new_figure(figsize=(5.2, 3))
    for n, values in zip(counts, rmse):
        ax.plot([n] * len(values), values, "o", color="white", markeredgecolor="0.5", markersize=4)
    ax.plot(counts, [np.mean(values) for values in rmse], "D-", color=BLUE, label="test RMSE, mean of the fits")
    ax.axhline(noise, color=BLACK, linestyle="--", label="noise floor of the measurement")
    ax.set_xscale("log")
    ax.set_xticks(counts, counts, minor=False)
    ax.minorticks_off()
    ax.set(xlabel="networks to fit", ylabel=f"RMSE ({unit})", ylim=(0, None))
    ax.legend()
    return figure


def latency_against_weight(table, unit="ms"):
    """E[latency] and the derived network's latency against the penalty's weight: mean over seeds, and each seed.

    `table` has columns weight, expected_cost, derived_cost."""
    figure, ax = new_figure(figsize=(5.6, 3))
    weights = sorted(table.weight.unique())
    for column, colour, marker, label in (("expected_cost", BLUE, "o", "E[latency]"), ("derived_cost", ORANGE, "s", "derived network")):
        groups = table.groupby("weight")[column]
        ax.plot(range(len(weights)), groups.mean(), marker=marker, color=colour, label=f"{label}, mean of seeds")
        for x, weight in enumerate(weights):
            values = table.loc[table.weight == weight, column]
            ax.plot([x] * len(values), values, marker, color="white", markeredgecolor=colour, markersize=4)
    ax.set_xticks(range(len(weights)), [f"{w:g}" for w in weights])
    ax.set(xlabel=f"weight λ₂ of the penalty (1/{unit})", ylabel=f"latency ({unit})", ylim=(0, None))
    ax.legend()
    return figure


def accuracy_against_cost(groups, label="latency (ms)", joined=False):
    """Accuracy (%) against a cost, one marker a group: a dict label -> (costs, accuracies); `joined` by lines."""
    figure, ax = new_figure(figsize=(5.6, 3.4))
    for (name, (costs, accuracies)), colour, marker in zip(groups.items(), (BLUE, "0.45", ORANGE, GREEN, PURPLE), "Do^sv"):
        ax.plot(costs, 100 * np.asarray(accuracies), marker + "-" * joined, color=colour, markersize=6, linewidth=1, label=name,
                markerfacecolor="white" if marker == "o" else colour)
    ax.set(xlabel=label, ylabel="test accuracy (%)")
    ax.legend(loc="lower right")
    return figure


def cost_history(history, target, unit="ms", scale=1.0):
    """Expected cost E under p and cost of the most probable network over epochs, times `scale`, beside the target."""
    figure, ax = new_figure(figsize=(5.6, 2.8))
    for column, colour, marker in (("expected_cost", BLUE, "o"), ("derived_cost", ORANGE, "s")):
        ax.plot(history.epoch, scale * history[column], color=colour, marker=marker, markersize=4, label=column.replace("_", " "))
    ax.axhline(scale * target, color="0.4", linestyle="--", linewidth=1, label="target")
    ax.set(xlabel="epoch", ylabel=f"cost of a network ({unit})")
    ax.legend()
    return figure


def network(architecture, title=""):
    """A network of the mobile space drawn as in Figure 6: one bar a block, its height the expansion, its colour the kernel.

    Blocks left out (Zero) have no bar; grey lines mark where the image is halved; numbers below are channels × size.
    """
    figure, ax = new_figure(figsize=(9, 1.9))
    looks = {"3": (BLUE, ""), "5": (ORANGE, "//"), "7": (RED, "xx")}
    place, labelled = 0, set()
    for edge, choice in zip(architecture.space.edges(), architecture.choices):
        if edge.stride == 2:
            ax.axvline(place - 0.5, color="0.6", linewidth=1)
        if choice == "Zero":
            continue
        expansion, kernel = choice[2:].split(" ")
        colour, hatch = looks.get(kernel[0], (GREEN, ".."))
        ax.bar(place, int(expansion), 0.8, color=colour, hatch=hatch, edgecolor="white",
               label=None if kernel in labelled else kernel.replace("x", "×"))
        labelled.add(kernel)
        ax.text(place, -0.3, f"{edge.out_channels}\n{-(-edge.input_size // edge.stride)}", ha="center", va="top", fontsize=9)
        place += 1
    ax.set(ylim=(0, 6.9), yticks=(3, 6), ylabel="expansion", xticks=(), xlim=(-0.8, place - 0.2), title=title)
    ax.text(-0.9, -0.3, "channels\nsize (px)", ha="right", va="top", fontsize=9)
    ax.grid(False)
    handles = dict(sorted(zip(*reversed(ax.get_legend_handles_labels()))))
    ax.legend(handles.values(), handles, title="kernel", loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def loss_forms(forms, costs, target, unit="ms"):
    """What each form of the penalty makes of the expected latency: `forms` maps a label to losses over `costs`."""
    figure, ax = new_figure(figsize=(5.6, 3))
    for (label, losses), colour, line in zip(forms.items(), (BLUE, ORANGE, GREEN, PURPLE), ("-", "--", ":", "-.")):
        ax.plot(costs, losses, line, color=colour, label=label, linewidth=2)
    ax.axvline(target, color="0.6", linewidth=0.8)
    ax.set(xlabel=f"expected latency ({unit})", ylabel="loss − loss at the target")
    ax.legend()
    return figure
