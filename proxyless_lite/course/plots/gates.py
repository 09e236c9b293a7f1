"""What gates cost and what their gradients are worth."""

import numpy as np
from matplotlib.patches import Patch, Rectangle

from .style import BLACK, BLUE, GREEN, ORANGE, PURPLE, RED, described, new_figure


@described
def path_probabilities(p, names, drawn=()):
    """Bars of p for the paths of one edge; hatched is the path drawn last, circles are the share of all draws.

    p (N,), `names` of the N paths, `drawn` their indices in the order drawn, if any.
    """
    figure, ax = new_figure(figsize=(5.2, 2.6))
    bars = ax.bar(range(len(names)), p, 0.7, color="0.85", edgecolor=BLACK, label="probability p")
    if len(drawn):
        bars[drawn[-1]].set(facecolor=ORANGE, hatch="//")
        ax.plot(range(len(names)), np.bincount(drawn, minlength=len(names)) / len(drawn), "o", color="white", markeredgecolor=BLUE,
                markeredgewidth=1.5, clip_on=False, label=f"share of {len(drawn)} draw{'s' * (len(drawn) > 1)}")
        ax.set_title(f"drawn last: {names[drawn[-1]]}")
    ax.set_xticks(range(len(names)), names)
    ax.set(xlabel="path", ylabel="probability p", ylim=(0, 1), axisbelow=True)
    ax.grid(False, axis="x")
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure


@described
def memory_by_candidates(counts, series, unit="saved for backward (MB)"):
    """What three kinds of gates keep of four candidates until backward, and memory against the number of candidates N."""
    figure, (kept, ax) = new_figure(1, 2, figsize=(9, 3), width_ratios=(1, 1.1))
    what_is_kept(kept)
    looks = zip((BLUE, GREEN, ORANGE, PURPLE), "os^D", ("-", "--", ":", "-."), (6, 6, 10, 4))  # sizes: one line may lie on another
    for (label, values), (colour, marker, line, size) in zip(series.items(), looks):
        ax.plot(counts, values, marker=marker, linestyle=line, color=colour, markersize=size, label=label)
    ax.set(xlabel="candidates N on every edge", ylabel=unit, ylim=(0, None))
    ax.legend()
    return figure


def what_is_kept(ax):
    """A row per kind of gate, a box per candidate: kept until backward, computed in backward and dropped, or not run."""
    kept, dropped = {"facecolor": "0.35"}, {"facecolor": "white", "hatch": "///", "linestyle": "--"}
    idle = {"facecolor": "white", "linestyle": ":", "alpha": 0.5}
    for y, (gate, boxes) in enumerate((("Probe", (kept, dropped, dropped, dropped)), ("Path", (kept, idle, idle, idle)), ("Softmax", (kept,) * 4))):
        ax.text(-0.3, y, gate, ha="right", va="center")
        for x, look in enumerate(boxes):
            ax.add_patch(Rectangle((x, y - 0.3), 0.8, 0.6, **{"edgecolor": BLACK, **look}))
    ax.legend(handles=[Patch(edgecolor=BLACK, label=label, **look) for label, look in (
        ("kept until backward", kept), ("computed in backward, dropped", dropped), ("does not run", idle))], loc="upper center", bbox_to_anchor=(0.4, 0.02))
    ax.set(xlim=(-1.6, 4), ylim=(-0.6, 2.6), title="outputs of four candidates of an edge")
    ax.axis("off")


@described
def path_strip(frames, names):
    """A strip of steps: bars of p, the path that ran dark and hatched, arrows to where the step moves each p.

    `frames` are pairs, one per step: p (N,), and the index of the path that ran; of the last only p is drawn."""
    figure, axes = new_figure(1, len(frames), figsize=(9, 2.5), sharey=True, squeeze=False)
    for step, (ax, (p, active)) in enumerate(zip(axes[0], frames), 1):
        bars = ax.bar(range(len(names)), p, 0.75, color="0.88", edgecolor=BLACK)
        ax.set_title("then")
        if step < len(frames):
            after = frames[step][0]
            bars[active].set(facecolor=ORANGE, hatch="//", label="path that ran; arrows: what the step does to every p")
            for i, (old, new) in enumerate(zip(p, after)):
                ax.annotate("", (i, new), (i, old), arrowprops={"arrowstyle": "->", "color": BLACK, "linewidth": 1.5, "shrinkA": 0, "shrinkB": 0})
            ax.set_title(f"step {step}: {names[active]} {'↑' if after[active] > p[active] else '↓'}")
        ax.set_xticks(range(len(names)), names, rotation=90)
        ax.grid(False, axis="x")
    axes[0, 0].set(ylabel="probability p", ylim=(0, None))
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper right")
    return figure


@described
def slope_and_chord(g, curves, ends):
    """Loss against a gate g from one path to another: the tangent at the first path beside the chord to the second.

    `g` (S,) are evenly spaced from 0 to 1; `curves` map a title to the loss (S,) along the way, `ends` name the two paths."""
    figure, axes = new_figure(1, len(curves), figsize=(4 * len(curves), 3))
    g = np.asarray(g)
    for ax, (title, loss) in zip(np.atleast_1d(axes), curves.items()):
        slope, chord = np.gradient(loss, g, edge_order=2)[0], loss[-1] - loss[0]
        ax.plot(g, loss, color=BLACK, linewidth=2, label="loss")
        ax.plot(g, loss[0] + chord * g, "--", color=BLUE, label=f"chord: {signed(chord)}")
        ax.plot(g, loss[0] + slope * g, ":", color=RED, linewidth=2.5, label=f"slope at {ends[0]}: {signed(slope)}")
        ax.plot([0, 1], [loss[0], loss[-1]], "o", color=BLACK)
        ax.set(title=title, xlabel="gate g", ylabel="loss L")
        ax.set_xticks([0, 1], [f"0\n{ends[0]}", f"1\n{ends[1]}"])
        ax.legend()
    return figure


def signed(value):
    return f"{value:+.2f}".replace("-", "−")
