"""The paper's figures from data: 1 (search cost), 4 (accuracy against latency), and Table 4 as bars; and figures as files."""

import io
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Image as Shown
from PIL import Image

from .style import BLACK, BLUE, described, new_figure


def save(figure, path):
    """Write `path`.png (in 64 colours, small) and `path`.svg, the same bytes each time. Returns the PNG, to be shown."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # keep the present layout: a second pass would move things a little
    figure.savefig(drawn := io.BytesIO(), format="png")
    Image.open(drawn).convert("RGB").quantize(64).save(png := Path(f"{path}.png"), optimize=True)
    with plt.rc_context({"svg.hashsalt": "proxyless_lite"}):
        figure.savefig(f"{path}.svg", metadata={"Date": None, "Creator": None, "Description": figure.get_label()})
    return Shown(data=png.read_bytes(), width=round(100 * figure.get_figwidth()), metadata={"alt": figure.get_label()})


@described
def search_cost(table):
    """Figure 1: what a search costs in time and memory, as multiples of normal training, the paper's bars next to ours.

    `table` as from paper.figure1: row, quantity, unit, paper, ratio, ours."""
    figure, axes = new_figure(1, 2, figsize=(9, 3), sharey=True)
    rows = table.row.unique()
    places = np.arange(len(rows))
    for ax, (quantity, part) in zip(axes, table.groupby("quantity", sort=False)):
        part = part.set_index("row").loc[rows]
        ax.barh(places - 0.19, part.ratio, 0.36, color=BLUE, label="paper, read off its figure")
        ax.barh(places + 0.19, part.ours, 0.36, color="white", edgecolor=BLACK, hatch="//",
                label="measured here, ratio of a step")
        for y, (_, row) in zip(places, part.iterrows()):
            ax.text(row.ratio * 1.06, y - 0.19, f"{row.ratio:g} ({row.paper:,.0f} {row.unit})", va="center", fontsize=9)
            told = "not measured" if np.isnan(row.ours) else f"{row.ours:.1f}"
            ax.text(1.06 * (0.85 if np.isnan(row.ours) else row.ours), y + 0.19, told, va="center", fontsize=9)
        ax.set(xscale="log", xlim=(0.8, 4000 if quantity == "Search cost" else 60), yticks=places, yticklabels=rows,
               xlabel=f"{quantity.lower()} (multiples of normal training)")
        ax.set_xticks(ticks := [t for t in (1, 10, 100, 1000) if t < ax.get_xlim()[1]], ticks)
        ax.minorticks_off()
        ax.grid(axis="y", visible=False)
    axes[0].invert_yaxis()
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


@described
def accuracy_against_latency(printed, predicted, same=None):
    """Figure 4: ImageNet top-1 accuracy against latency on the Pixel 1, the paper's points and our predictions.

    Both map a name to (ms, top-1 %), `predicted` to (ms, top-1 %, sd of ms); `same` = (ms, ms, top-1 %, text) draws an arrow
    between two networks of equal accuracy."""
    figure, ax = new_figure(figsize=(6.4, 3.8))
    for (name, points), colour, marker in zip(printed.items(), (BLUE, "0.4"), "Do"):
        ax.plot(*points, marker + "-", color=colour, label=f"{name}, paper")
    for (name, (ms, top1, sd)), colour, marker in zip(predicted.items(), (BLUE, "0.4"), "Do"):
        ax.errorbar(ms, top1, xerr=2 * np.asarray(sd), fmt=marker + ":", color=colour, markerfacecolor="white", capsize=2,
                    linewidth=1, label=f"{name}, predicted ± 2 sd")
    if same:
        ax.annotate("", same[1::-1][:1] + same[2:3], same[:1] + same[2:3], arrowprops={"arrowstyle": "<->", "color": BLACK})
        ax.text(0.73 * same[0] + 0.27 * same[1], same[2] - 0.3, same[3], ha="center", va="top", fontsize=9)
    ax.set(xlabel="latency on the Pixel 1, batch 1 (ms)", ylabel="ImageNet top-1 (%)")
    ax.legend(loc="lower right")
    return figure


@described
def platforms(table, labels):
    """Table 4 as bars: three networks on each platform, relative to the fastest there; numbers are milliseconds.

    `table` has a row per platform and a column per network, in ms; `labels` names the networks."""
    figure, ax = new_figure(figsize=(9, 3.2))
    looks = (("0.25", ""), ("0.6", "//"), ("white", ".."))
    for k, (name, (colour, hatch)) in enumerate(zip(table, looks)):
        relative = table[name] / table.min(axis=1)
        places = np.arange(len(table)) + 0.27 * (k - 1)
        ax.bar(places, relative, 0.25, color=colour, hatch=hatch, edgecolor=BLACK, linewidth=0.8, label=labels[name])
        for x, y, ms in zip(places, relative, table[name]):
            ax.text(x, y + 0.02, f"{ms:.3g}", ha="center", fontsize=9)
    ax.axvline(len(table) / 2 - 0.5, color="0.5", linewidth=0.8)
    ax.set_axisbelow(True)
    ax.set_xticks(range(len(table)), table.index)
    ax.set(ylabel="latency over the fastest's", ylim=(0, 1.8))
    ax.grid(axis="x", visible=False)
    figure.legend(*ax.get_legend_handles_labels(), title="found for", ncols=3, loc="outside upper center")
    return figure
