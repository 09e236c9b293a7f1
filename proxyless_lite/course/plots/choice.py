"""What one search chooses for several targets, over what else there is."""

from matplotlib.ticker import EngFormatter

from .style import BLACK, ORANGE, described, new_figure


@described
def chosen(others, found, blind=None, unit="MACs", label="every network of the space, trained"):
    """The network chosen within each limit (stars) over other networks (grey dots), and what a blind choice of equal cost gives.

    `others` and `found` have columns cost, in `unit`, and accuracy (in [0, 1]), `found` also target, its limit; `blind` as `others`,
    one row for each of `found`. The worst tenth of the others may lie below the axes.
    """
    figure, ax = new_figure(figsize=(7.2, 4.2))
    for limit, cost, accuracy in zip(found.target, found.cost, 100 * found.accuracy):
        ax.axvline(limit, color="0.4", linestyle=":", linewidth=1, label="the limits" if limit == found.target.iloc[0] else None)
        ax.annotate("", (cost, accuracy), (limit, accuracy), arrowprops={"arrowstyle": "-", "color": "0.4", "linestyle": ":"})
    ax.plot(others.cost, 100 * others.accuracy, "o", color="0.78", markersize=5, label=label)
    if blind is not None:
        ax.plot(blind.cost, 100 * blind.accuracy, "_", color=BLACK, markeredgewidth=2, markersize=16, label="a blind choice of that cost, on average")
        for cost, low, high in dict.fromkeys(zip(blind.cost, 100 * blind.accuracy, 100 * found.accuracy)):  # one may serve several limits
            ax.annotate(f"{high - low:+.1f}".replace("-", "−"), (cost, min(low, high)), (0, -5), textcoords="offset points", ha="center", va="top", fontsize=9)
        ax.vlines(blind.cost, 100 * blind.accuracy, 100 * found.accuracy, color=ORANGE, linewidth=2.5, label="what the search gains", zorder=1)
    ax.plot(found.cost, 100 * found.accuracy, "*", color=ORANGE, markeredgecolor=BLACK, markersize=20, label="chosen by one search")
    accuracies = 100 * others.accuracy
    low = min(100 * found.accuracy.min(), accuracies.quantile(0.1), *([] if blind is None else 100 * blind.accuracy))  # of no others: NaN, which never wins
    high = max(100 * found.accuracy.max(), accuracies.max())
    room = 0.08 * max(high - low, 1)  # all may be equal
    if hidden := (accuracies < low - room).sum():
        ax.text(0.01, 0.01, f"↓ {hidden} networks below", transform=ax.transAxes, va="bottom", fontsize=9)
    ax.set(xlabel="latency (ms)" if unit == "ms" else unit, ylabel="test accuracy (%)", ylim=(low - room, high + room))
    if others.cost.max() > 1e4:
        ax.xaxis.set_major_formatter(EngFormatter(sep=""))  # 80k, 25M
    ax.legend(loc="best")
    return figure
