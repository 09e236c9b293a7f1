"""Where networks and searches lie among all networks of a space that was trained exhaustively."""

import numpy as np

from .style import BLACK, BLUE, GREEN, ORANGE, PURPLE, RED, SKY, described, new_figure

LOOKS = dict(zip(("two_path", "exact", "trapezoid", "reinforce", "combined", "softmax", "one_shot"),
                 zip("os^DPvX", (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, "0.5"))))


def background(table, seed_sd, tied=None):
    """Figure and axes with every network of a table of ground truth; `seed_sd` is drawn as a bar in the corner."""
    figure, ax = new_figure(figsize=(6.6, 4))
    x, y = table.macs / 1e3, 100 * table["mean"]
    ax.plot(x, y, "o", color="0.75", markersize=4, label="a network, mean of its seeds")
    if tied is not None:
        ax.plot(x[tied], y[tied], "o", color=BLUE, markersize=5, markeredgecolor=BLACK, markeredgewidth=0.5,
                label="tied with the best of its cost")
    ordered = table.sort_values(["macs", "mean"], ascending=[True, False])
    front = ordered[ordered["mean"] > ordered["mean"].cummax().shift(fill_value=-1)]
    ax.step(front.macs / 1e3, 100 * front["mean"], where="post", color=BLACK, linewidth=1, label="Pareto front")
    low, high = y.quantile(0.1) - 100 * seed_sd, y.max() + 50 * seed_sd
    ax.errorbar([x.min()], [low + 150 * seed_sd], 100 * seed_sd, color=BLACK, capsize=4, fmt="none", label="± sd between seeds")
    ax.set(xlabel="MACs (thousands)", ylabel="test accuracy (%)", ylim=(low, high))
    return figure, ax


@described
def landscape(table, seed_sd, tied):
    """Test accuracy of every network of a space against its MACs, the Pareto front, and those tied with the best of their cost.

    `table` as ground_truth.load gives it, `tied` a Series of booleans with its index. The worst networks, up to a tenth, lie
    below the axes.
    """
    figure, ax = background(table, seed_sd, tied)
    ax.legend(loc="upper left")
    return figure


@described
def trajectory(table, seed_sd, expected, found=None):
    """MACs and accuracy that a search expects of a network drawn from its p, epoch by epoch, among all networks of the space.

    `expected` has macs and mean, one row per epoch; `found` is the code of the network derived at the end, marked if it is in the table.
    """
    figure, ax = background(table, seed_sd)
    x, y = expected.macs.to_numpy() / 1e3, 100 * expected["mean"].to_numpy()
    ax.plot(x, y, "-s", color=BLUE, linewidth=1.2, markersize=5, markerfacecolor="white", label="expected under p, after each epoch")
    ax.annotate("uniform p", (x[0], y[0]), (-8, -4), textcoords="offset points", ha="right", fontsize=9)
    if found in table.index:
        ax.plot(table.macs[found] / 1e3, 100 * table["mean"][found], "*", color=ORANGE, markeredgecolor=BLACK, markersize=15,
                linestyle="none", label="found")
    ax.legend(loc="upper left")
    return figure


@described
def regret_against_cost(searches, chance, seed_sd):
    """How far below the best network searches end, against their cost, with random search of the same cost.

    `searches` has method, cost (in trainings) and regret (accuracy in [0, 1]). `chance` is what ground_truth.random_search
    gives: mean and median regret by number of trainings. A search without a cost is drawn at the median of its method.
    Points overlap where searches find the same network.
    """
    figure, ax = new_figure(figsize=(6.6, 3.6))
    ax.axhspan(0, 200 * seed_sd, color="0.92", label="within 2 sd between seeds")
    ax.plot(chance.index, 100 * chance["mean"], color=BLACK, linestyle="--", label="random search, expected")
    for method, rows in searches.groupby("method", sort=False):
        marker, colour = LOOKS[method]
        ax.plot(rows.cost.fillna(rows.cost.median()), 100 * rows.regret, marker, color="white", markeredgecolor=colour, markersize=5)
    for method, rows in searches.groupby("method", sort=False):
        marker, colour = LOOKS[method]
        ax.plot(rows.cost.median(), 100 * rows.regret.median(), marker, color=colour, markeredgecolor=BLACK, markersize=10,
                label=f"{method}: median")
    ax.set(xscale="log", xlabel="cost (trainings of one network)", ylabel="regret (points of accuracy)")
    ax.set_xticks([1, 2, 5, 10, 20, 50, 100], [1, 2, 5, 10, 20, 50, 100])
    ax.minorticks_off()
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure


@described
def bias_and_variance(frame):
    """Direction of the mean of each estimator against that of the true gradient, and how much a single estimate scatters.

    `frame` has rule, alpha (a label), cosine, and variance in units of the true gradient's norm²; several rows of a rule and an α
    are drawn as their median and quartiles. Estimates that do not scatter have no variance to be drawn.
    """
    figure, axes = new_figure(1, 2, figsize=(8.6, 3.2))
    rules, alphas = list(frame.rule.unique()), list(frame.alpha.unique())
    for ax, column, label in zip(axes, ("cosine", "variance"), ("cosine with ∂J/∂α", "variance / norm² of ∂J/∂α")):
        for i, (alpha, marker, colour) in enumerate(zip(alphas, "os^Dv", (BLUE, ORANGE, GREEN, PURPLE, BLACK))):
            low, middle, high = (frame[frame.alpha == alpha].groupby("rule")[column].quantile(q)[rules] for q in (0.25, 0.5, 0.75))
            x = np.arange(len(rules)) + 0.14 * (i - (len(alphas) - 1) / 2)
            ax.errorbar(x, middle.where(middle > 0), [middle - low, high - middle], fmt=marker, color=colour, markersize=5, capsize=2,
                        linewidth=0.8, label=f"α {alpha}")
        ax.set_xticks(range(len(rules)), [rule.replace("_", "_\n") for rule in rules])
        ax.set(ylabel=label, xlim=(-0.5, len(rules) - 0.5))
        ax.grid(False, axis="x")
    axes[1].set_yscale("log")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(alphas))
    return figure
