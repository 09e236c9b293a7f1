"""The paper's schematic figures, drawn: 2 (binary gates) and 3 (latency made differentiable)."""

import numpy as np
from matplotlib.patches import FancyBboxPatch

from .style import BLACK, BLUE, GREEN, KERNELS, ORANGE, PURPLE, RED, described, new_figure

PATHS = (("conv\n3×3", BLUE), ("conv\n5×5", ORANGE), ("identity", "0.55"), ("pool\n3×3", PURPLE))  # the candidates of Figure 2


@described
def binary_gates():
    """Figure 2: a weight step runs one path of a mixed operation, an α step weighs two paths against each other."""
    figure, axes = new_figure(1, 2, figsize=(9, 4))
    weight = {1: "active"}
    alpha = {1: "active", 3: "probed"}
    titles = "weight step: training images", "α step: validation images"
    below = ("one path is drawn with probability p; its weights move,\nα is frozen, the other paths do not run",
             "two paths are drawn; their α move, all weights are frozen;\n"
             "the probed path (dashed) is computed in backward and dropped")
    for ax, paths, title, told in zip(axes, (weight, alpha), titles, below):
        mixed_operation(ax, paths, learns_alpha="probed" in paths.values())
        ax.set_title(title)
        ax.text(0.5, -0.14, told, ha="center", va="top", fontsize=9.5)
        ax.set(xlim=(-0.08, 1.08), ylim=(-0.3, 1.12))
        ax.axis("off")
    return figure


def mixed_operation(ax, paths, learns_alpha):
    """Input, candidates, gates and output; `paths` maps the index of a path that runs to "active" or "probed"."""
    looks = {"active": dict(color=BLACK, linewidth=2.2, linestyle="-"), "probed": dict(color=RED, linewidth=1.8, linestyle="--"),
             None: dict(color="0.75", linewidth=1, linestyle=":")}
    node(ax, 0.5, 0.0, "x")
    node(ax, 0.5, 1.0, "y")
    for k, (name, colour) in enumerate(PATHS):
        x, role = 0.1 + 0.8 * k / 3, paths.get(k)
        for start, end in (((0.5, 0.06), (x, 0.26)), ((x, 0.46), (x, 0.6)), ((x, 0.72), (0.5, 0.94))):
            ax.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 0, **looks[role]})
        ax.add_patch(FancyBboxPatch((x - 0.085, 0.27), 0.17, 0.18, boxstyle="round,pad=0.01", edgecolor=colour, linewidth=1.5,
                                    facecolor=colour if role else "white", alpha=0.45 if role == "probed" else 1,
                                    hatch="//" if role == "probed" else None))
        ax.text(x, 0.36, name, ha="center", va="center", fontsize=9.5)
        node(ax, x, 0.66, "1" if role == "active" else "0", filled=role == "active")
        moved = learns_alpha and role
        ax.text(x + 0.07, 0.66, rf"$\alpha_{k + 1}$" + (r"$\,\updownarrow$" if moved else ""), va="center", fontsize=10,
                color=RED if moved else "0.4")
    if learns_alpha:
        eq9 = r"$\partial L/\partial g_j = \langle\nabla_y L,\ o_j(x)\rangle$"
        ax.text(1.06, 0.88, eq9, ha="right", fontsize=10, color=RED)


def node(ax, x, y, text, filled=False):
    ax.plot(x, y, "o", markersize=22, color=BLACK if filled else "white", markeredgecolor=BLACK, zorder=3)
    ax.text(x, y, text, ha="center", va="center", fontsize=10, color="white" if filled else BLACK, zorder=4)


@described
def latency_loss(names, probabilities, latencies, unit="ms"):
    """Figure 3: the expected latency of a block is Σ p F(o), that of the network the sum over blocks; it is added to the loss.

    `names`, `probabilities` and `latencies` (N,) belong to the candidates of one block, drawn as bars."""
    figure, axes = new_figure(2, 3, figsize=(9, 4.6), height_ratios=(1, 1.25))
    grid = axes[0, 0].get_gridspec()
    for ax in axes[0]:
        ax.remove()
    chain(figure.add_subplot(grid[0, :]))
    products = np.asarray(probabilities) * latencies
    places = np.arange(len(names))
    titles = (r"path weights $p_j = \mathrm{softmax}(\alpha)_j$", r"× latency $F(o_j)$",
              rf"= {products.sum():.2f} {unit}: $E[\mathrm{{latency}}_i]$")                             # Eq. (5)
    for ax, values, title, label in zip(axes[1], (probabilities, latencies, products), titles, ("probability", unit, unit)):
        for y, name, value in zip(places, names, values):
            colour, hatch, _ = KERNELS.get(name.split(" ")[-1][0], ("0.6", "", ""))
            ax.barh(y, value, 0.7, color=colour, hatch=hatch, edgecolor="white")
            ax.text(value, y, f" {value:.2f}", va="center", fontsize=9)
        ax.set(title=title, xlabel=label, xlim=(0, 1.25 * max(values)), yticks=places)
        ax.set_yticklabels([name.replace("x", "×") for name in names] if ax is axes[1, 0] else [])
        ax.invert_yaxis()
        ax.grid(axis="y", visible=False)
    return figure


def chain(ax):
    """Blocks in a row, each with its expected latency, their sum, and the loss."""
    latency, solid = {"arrowstyle": "-|>", "color": GREEN, "linestyle": "--"}, {"arrowstyle": "-|>", "color": BLACK}
    box = {"boxstyle": "round,pad=0.008", "edgecolor": BLACK}
    for x, text in ((0.02, "block 1"), (0.25, "block i"), (0.48, "block n")):
        ax.add_patch(FancyBboxPatch((x, 0.66), 0.13, 0.24, facecolor="0.95", **box))
        ax.text(x + 0.065, 0.78, text, ha="center", va="center", fontsize=10)
        ax.annotate("", (x + 0.065, 0.36), (x + 0.065, 0.64), arrowprops=latency)
    for start, end in ((0.16, 0.185), (0.215, 0.24), (0.39, 0.415), (0.445, 0.47), (0.62, 0.7)):
        ax.annotate("", (end, 0.78), (start, 0.78), arrowprops=solid)
    for x in (0.2, 0.43):
        ax.text(x, 0.78, "…", ha="center", va="center", fontsize=10)
    total = r"$E[\mathrm{latency}] = \sum_i E[\mathrm{latency}_i]$"                                        # Eq. (6)
    ax.text(0.315, 0.24, total, ha="center", va="center", fontsize=11, color=GREEN)
    ax.annotate("", (0.7, 0.34), (0.46, 0.24), arrowprops=latency)
    ax.add_patch(FancyBboxPatch((0.71, 0.22), 0.28, 0.68, facecolor="white", linewidth=1.5, **box))
    for y, text, colour in ((0.78, "Loss = cross-entropy", BLACK), (0.56, r"$+\ \lambda_1\,\|w\|^2$", BLACK),
                            (0.34, r"$+\ \lambda_2\,E[\mathrm{latency}]$", GREEN)):                      # Eq. (7)
        ax.text(0.85, y, text, ha="center", va="center", fontsize=10.5, color=colour)
    ax.set(xlim=(0, 1), ylim=(0.1, 1))
    ax.axis("off")
