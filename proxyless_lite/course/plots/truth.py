"""Where networks and searches lie among all networks of a space that was trained exhaustively."""

from itertools import cycle

import numpy as np
from scipy.stats import kendalltau

from .style import BLACK, BLUE, GREEN, ORANGE, PURPLE, RED, SKY, described, new_figure


def background(table, seed_sd, tied=None):
    """Figure and axes with every network of a table of ground truth, those `tied` marked; `seed_sd` is a bar beside."""
    figure, ax = new_figure(figsize=(6.6, 4))
    x, y = table.macs / 1e3, 100 * table["mean"]
    ax.plot(x, y, "o", color="0.75", markersize=4, label="a network, mean of its seeds")
    if tied is not None:
        ax.plot(x[tied], y[tied], "o", color=BLUE, markersize=5, markeredgecolor=BLACK, markeredgewidth=0.5, label=f"within 2 sd of the best: {tied.sum()} of {len(tied)}")
    ordered = table.sort_values(["macs", "mean"], ascending=[True, False])
    front = ordered[ordered["mean"] > ordered["mean"].cummax().shift(fill_value=-1)]
    ax.step(front.macs / 1e3, 100 * front["mean"], where="post", color=BLACK, linewidth=1, label="Pareto front")
    low, high = y.quantile(0.1) - 100 * seed_sd, y.max() + 50 * seed_sd
    ax.errorbar([1.03], [(low + high) / 2], 100 * seed_sd, color=BLACK, capsize=4, fmt="none", transform=ax.get_yaxis_transform(), clip_on=False)
    ax.text(1.05, (low + high) / 2, "± sd\nbetween\nseeds", transform=ax.get_yaxis_transform(), va="center", fontsize=9)
    ax.text(0.99, 0.01, f"↓ {(y < low).sum()} networks below", transform=ax.transAxes, ha="right", va="bottom", fontsize=9)
    ax.set(xlabel="MACs (thousands)", ylabel="test accuracy (%)", ylim=(low, high))
    return figure, ax


@described
def landscape(table, seed_sd, tied):
    """Test accuracy of every network of a space against its MACs, the Pareto front, and those tied with the best.

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
def regret_by_method(searches, chance, seed_sd):
    """How far below the best network searches end: mean and single searches of each method, and random search of the same cost.

    `searches` has method, cost (in trainings) and regret (accuracy in [0, 1]). `chance` is what ground_truth.random_search gives:
    mean regret by number of trainings. A method costs the median of its searches that have a cost. Methods in the order of their means.
    """
    rows = searches.groupby("method").agg(cost=("cost", "median"), mean=("regret", "mean"), error=("regret", "sem"))
    rows = rows.sort_values("mean", ascending=False, kind="stable")
    random = np.interp(np.log(rows.cost), np.log(chance.index), chance["mean"])
    figure, ax = new_figure(figsize=(7.2, 0.42 * len(rows) + 1))
    ax.axvspan(0, 200 * seed_sd, color="0.92", zorder=0, label="tied with the best (2 sd between seeds)")
    end = 110 * max((rows["mean"] + 2 * rows.error.fillna(0)).max(), random.max(), 2 * seed_sd)  # single searches beyond are written
    for y, method in enumerate(rows.index):
        each = 100 * searches.regret[searches.method == method]
        ax.plot(each, np.full(len(each), y - 0.25), "|", color="0.5", markersize=5, label="one search" * (y == 0))
        if beyond := [f"{value:.1f}" for value in each if value > end]:
            ax.annotate(f"{', '.join(beyond)} →", (1, y - 0.25), xycoords=ax.get_yaxis_transform(), ha="right", va="top", fontsize=9)
    ax.errorbar(100 * rows["mean"], range(len(rows)), xerr=200 * rows.error, fmt="o", color=BLUE, markersize=8, capsize=4,
                label="mean, ± 2 standard errors")
    ax.plot(100 * random, range(len(rows)), "D", color="white", markeredgecolor=BLACK, markersize=7, label="random search of that cost, expected")
    ax.set_yticks(range(len(rows)), [f"{method} ({cost:.1f} trainings)" for method, cost in rows.cost.items()])
    ax.set(xlabel="regret (points of accuracy; less is better)", xlim=(-0.03 * end, end), ylim=(-0.6, len(rows) - 0.4))
    ax.grid(False, axis="y")
    figure.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


@described
def shared_against_true(truth, shared, labels):
    """Accuracy of every network with shared weights against that of the network trained alone, a colour and marker per number of blocks.

    `truth` and `shared` are Series of accuracies (in [0, 1]) by network, `labels` of a number of blocks. On the dashed line both
    differ as much as for the median network. Kendall's τ says how alike both order the networks.
    """
    figure, ax = new_figure(figsize=(6.2, 3.8))
    for count, (marker, colour) in zip(sorted(labels.unique()), cycle(zip("os^Dv", (BLACK, ORANGE, GREEN, SKY, BLUE)))):
        some = labels == count
        ax.plot(100 * truth[some], 100 * shared[some], marker, color=colour, markersize=6, markeredgecolor=BLACK, markeredgewidth=0.5,
                label=str(count))
    ends, apart = np.array([truth.min(), truth.max()]), (shared - truth).median()
    ax.plot(100 * ends, 100 * (ends + apart), color=BLACK, linestyle="--", linewidth=1)
    good = truth >= truth.quantile(0.75)
    ranges = [100 * (accuracies[good].max() - accuracies[good].min()) for accuracies in (truth, shared)]
    ax.text(0.02, 0.98, f"best quarter: {ranges[0]:.1f} points apart alone,\n{ranges[1]:.1f} with shared weights\n"
            f"Kendall's τ of all {kendalltau(truth, shared)[0]:.2f}; dashed: slope 1".replace("-", "−"),
            transform=ax.transAxes, va="top", fontsize=9)
    ax.set(xlabel="accuracy, trained alone (%)", ylabel="accuracy with shared weights (%)")
    figure.legend(*ax.get_legend_handles_labels(), loc="outside right upper", title="blocks")
    return figure


RIVALS = {  # colour, marker and dashes in regret_over_cost
    "random": (BLACK, "o", "--"), "evolution": (BLACK, "P", ":"), "local search": (BLACK, "X", "-."),
    "most MACs": ("0.55", "D", "-"), "most parameters": ("0.55", "d", ":"), "one_shot": (PURPLE, "s", "-."), "two_path": (BLUE, "h", "-."),
    "ridge on edges": (GREEN, "v", "--"), "ridge on edges, designed": (GREEN, "^", "-"),
    "ridge on counts": (RED, "<", "--"), "ridge on counts, designed": (RED, ">", "-")}


def label_ends(ax, ends, low, top):
    """Names next to the right ends of lines, pushed apart. `ends`: name -> (cost, regret, look), a look as in RIVALS."""
    at = low
    for name, (x, y, (colour, marker, dashes)) in sorted(ends.items(), key=lambda end: end[1][1]):
        y = min(y, top)
        at = max(at + 0.053 * (top - low), y)
        ax.plot([x, 1.06 * x, 1.16 * x], [y, at, at], linestyle=dashes, color=colour, linewidth=1.3, marker=marker, markevery=[2], markersize=5, markerfacecolor="white", clip_on=False)
        ax.annotate(name, (1.16 * x, at), (6, 0), textcoords="offset points", va="center", fontsize=9, color=BLACK, annotation_clip=False)


@described
def regret_over_cost(curves, chosen, seed_sd, start=3):
    """Mean regret of rivals over what they have spent, a line each; our searches as stars with ± 2 standard errors, joined by a line.

    `curves` as ground_truth.rivals gives them: rival, cost (in trainings), regret (accuracy in [0, 1]) and its error, also drawn
    twice. `chosen` has one row per search of ours: name, cost, regret, `trainings` (from scratch) and the `seen` seed of the table, as
    choices.by_trainings gives them. A star is the mean of a name and a number of trainings; its error is that of as many means as
    there are seeds. Costs below `start` are left out.
    """
    figure, ax = new_figure(figsize=(7.6, 4.6))
    ax.axhspan(-100, 200 * seed_sd, color="0.92", zorder=0)
    ax.text(0.01, 0.01, "grey: within 2 sd between seeds of the best", transform=ax.transAxes, va="bottom", fontsize=9)
    shown, ends = curves[curves.cost >= start].dropna(subset="regret"), {}
    for i, (name, line) in enumerate(shown.groupby("rival", sort=False)):
        colour, marker, dashes = look = RIVALS.get(name, (SKY, "*", "-."))
        marked = line[line.cost.isin(((4, 7, 11, 17), (5, 8, 13, 19), (6, 9, 15))[i % 3])]  # not all at one place
        ax.plot(line.cost, 100 * line.regret, linestyle=dashes, color=colour, linewidth=1.3)
        ax.errorbar(marked.cost, 100 * marked.regret, 200 * marked.error, fmt=marker, color=colour, markersize=5, elinewidth=0.8, markerfacecolor="white")
        ends[name] = line.cost.iloc[-1], 100 * line.regret.iloc[-1], look
    own, points = chosen.assign(regret=100 * chosen.regret), ["name", "trainings"]
    stars = own.groupby(points, sort=False)[["cost", "regret"]].mean()
    stars["error"] = own.groupby([*points, "seen"]).regret.mean().groupby(points).sem()
    top = 1.05 * max(100 * shown.regret.max(), (stars.regret + 2 * stars.error).max())
    low = min(0, 100 * shown.regret.min(), (stars.regret - 2 * stars.error).min()) - 0.05 * top
    for (name, star), colour in zip(stars.groupby("name", sort=False), cycle((ORANGE, "white", "0.4"))):
        ax.errorbar(star.cost, star.regret, 2 * star.error, fmt="none", ecolor=BLACK, elinewidth=2, capsize=5, zorder=5)
        ax.plot(star.cost, star.regret, "-*", color=BLACK, markerfacecolor=colour, markersize=20, zorder=6, label=f"{name} (± 2 standard errors)")
    label_ends(ax, ends, low, top)
    ticks = [cost for cost in (1, 2, 3, 4, 6, 8, 10, 14, 20) if cost >= start]
    ax.set(xscale="log", xlim=(0.95 * start, 20.5), ylim=(low, top), xlabel="cost (trainings of an average network)", ylabel="mean regret (points of accuracy)")
    ax.set_xticks(ticks, ticks)
    ax.minorticks_off()
    ax.legend(loc="upper right", frameon=True, framealpha=1, borderpad=0.7, labelspacing=1)
    return figure


@described
def bias_and_variance(frame):
    """Left: cosine of each estimator's mean and the true gradient. Right: scatter of a single estimate.

    `frame` has rule, alpha (a label), cosine, and variance in units of the true gradient's norm²; several rows of a rule and an α
    are drawn as their median and quartiles. Estimates that do not scatter have no variance to be drawn.
    """
    figure, axes = new_figure(1, 2, figsize=(8.6, 3.2))
    rules, alphas = list(frame.rule.unique()), list(frame.alpha.unique())
    for ax, column, label in zip(axes, ("cosine", "variance"), ("cosine to ∂J/∂α (1: right direction)", "variance / norm² of ∂J/∂α")):
        for i, (alpha, marker, colour) in enumerate(zip(alphas, "os^Dv", (BLUE, ORANGE, GREEN, PURPLE, BLACK))):
            low, middle, high = (frame[frame.alpha == alpha].groupby("rule")[column].quantile(q)[rules] for q in (0.25, 0.5, 0.75))
            x = np.arange(len(rules)) + 0.14 * (i - (len(alphas) - 1) / 2)
            ax.errorbar(x, middle.where(middle > 0), [middle - low, high - middle], fmt=marker, color=colour, markersize=5, capsize=2,
                        linewidth=0.8, label=f"α {alpha}")
            if ax is axes[1] and i == 0:
                for k in np.flatnonzero(~(middle > 0)):
                    ax.text(k, 0.5, "does not\nscatter", transform=ax.get_xaxis_transform(), ha="center", va="center", fontsize=9)
        ax.set_xticks(range(len(rules)), [rule.replace("_", "_\n") for rule in rules])
        ax.set(ylabel=label, xlim=(-0.5, len(rules) - 0.5))
        ax.grid(False, axis="x")
    axes[1].set_yscale("log")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(alphas))
    return figure
