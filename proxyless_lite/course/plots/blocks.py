"""The parts that the paper's two spaces are made of, drawn: an MBConv block (§4.2) and a block of the tree space (§4.1)."""

from matplotlib.patches import FancyBboxPatch, Polygon

from .style import BLACK, BLUE, KERNELS, OTHER, described, new_figure

FIXED, FLOW = "0.88", {"color": BLACK, "linewidth": 1.1}
SKIP = {"color": "0.4", "linewidth": 1.5, "linestyle": "--"}
RIGHT = 300  # where shortcuts run, in channels from the middle


@described
def building_blocks(block, cell):
    """An MBConv block, narrow – wide – narrow, beside a tree cell with twelve open edges; each box is as wide as its channels.

    `block` is the Block of an MBConv, `cell` the shape of a block of the tree space: its input, cell and output channels.
    """
    figure, axes = new_figure(1, 2, figsize=(9.6, 5.4))
    mbconv(axes[0], block)
    tree_cell(axes[1], *cell)
    for ax in axes:
        ax.set(xlim=(-310, 320), ylim=(-11.3, 0.5))
        ax.axis("off")
    return figure


def mbconv(ax, block):
    """1×1 expand, k×k depthwise, 1×1 project, and the shortcut where the block has one."""
    expansion, kernel = block.operation.removeprefix("MB").replace("x", "×").split(" ")
    narrow, wide, out = block.in_channels, int(expansion) * block.in_channels, block.out_channels
    colour, hatch, _ = KERNELS.get(kernel[0], OTHER)
    ax.set_title("mobile space: an MBConv block")
    arrow(ax, (0, 0.4), (0, 0.0))
    layer(ax, 0.0, -2.4, narrow, wide, f"1×1 conv, expand ×{expansion}\n{narrow} → {wide} channels")
    arrow(ax, (0, -2.4), (0, -3.2))
    layer(ax, -3.2, -5.6, wide, wide, f"{kernel} depthwise conv\n{wide} channels, each by itself", color=colour, hatch=hatch)
    arrow(ax, (0, -5.6), (0, -6.4))
    layer(ax, -6.4, -8.8, wide, out, f"1×1 conv, project\n{wide} → {out} channels")
    finish(ax, -8.8, block.residual)
    told(ax, "1 decision: expansion and kernel" + ",\nor no block at all, only the shortcut" * block.residual)


def tree_cell(ax, entering, cell, leaving):
    """1×1 and 3×3 convolution, two trees of six open edges each, 1×1 convolution, shortcut."""
    ax.set_title("tree space: a block with its tree cell")
    arrow(ax, (0, 0.4), (0, 0.0))
    layer(ax, 0.0, -0.9, entering, cell, f"1×1 conv\n{entering} → {cell} channels", beside=True)
    layer(ax, -1.1, -2.0, cell, 2 * cell, f"3×3 conv\n{cell} → {2 * cell}, in two halves", beside=True)
    ax.add_patch(FancyBboxPatch((-245, -7.6), 490, 5.1, boxstyle="round,pad=0,rounding_size=0.3", facecolor="0.96", edgecolor="none", zorder=-1))
    ax.text(-236, -7.45, "tree cell", va="bottom", fontsize=10)
    for middle in (-125, 125):
        arrow(ax, (middle / 5, -2.0), (middle, -2.9))
        tree(ax, middle, cell)
        ax.text(middle + (cell / 2 + 6) * (1 if middle > 0 else -1), -3.0, cell, ha="left" if middle > 0 else "right", va="center", fontsize=9.5)
        arrow(ax, (middle, -6.95), (middle / 12, -7.35))
    plus(ax, 0, -7.45)
    layer(ax, -7.9, -8.8, cell, leaving, f"1×1 conv\n{cell} → {leaving} channels", beside=True)
    finish(ax, -8.8)
    told(ax, "12 decisions: each ? is one of seven operations;\nthe grey layers are fixed")


def tree(ax, middle, cell):
    """Half a cell: two open edges, each leading to two; their sum, and the half's input, added."""
    top, first, second, bottom = -3.0, -4.1, -5.5, -6.75
    ax.plot([middle - cell / 2, middle + cell / 2], [top, top], color="0.4", linewidth=5, solid_capstyle="butt")
    arrow(ax, (middle, top), (middle, bottom), **SKIP)
    for side in (-55, 55):
        arrow(ax, (middle, top), (middle + side, first + 0.35))
        choice(ax, middle + side, first)
        for leaf in (-26, 26):
            arrow(ax, (middle + side, first - 0.3), (middle + side + leaf, second + 0.35))
            choice(ax, middle + side + leaf, second)
            arrow(ax, (middle + side + leaf, second - 0.3), (middle, bottom))
    plus(ax, middle, bottom)


def layer(ax, top, bottom, entering, leaving, text, color=FIXED, hatch="", beside=False):
    """A layer as wide as its channels: above those that enter, below those that leave. Its text stands in it, or next to it."""
    corners = [(-entering / 2, top), (entering / 2, top), (leaving / 2, bottom), (-leaving / 2, bottom)]
    ax.add_patch(Polygon(corners, facecolor=color, hatch=hatch, edgecolor="white" if hatch else BLACK, linewidth=1))
    ax.add_patch(Polygon(corners, fill=False, edgecolor=BLACK, linewidth=1))
    place = {"x": max(entering, leaving) / 2 + 8, "ha": "left"} if beside else {"x": 0, "ha": "center"}
    ax.text(y=(top + bottom) / 2, s=text, va="center", fontsize=9.5, **place,
            bbox={"boxstyle": "round,pad=0.25", "facecolor": "white", "edgecolor": "none"} if hatch else None)


def choice(ax, x, y):
    """An open edge."""
    ax.add_patch(FancyBboxPatch((x - 14, y - 0.22), 28, 0.44, boxstyle="round,pad=0.0,rounding_size=0.1", facecolor=BLUE, edgecolor=BLACK, zorder=3))
    ax.text(x, y - 0.03, "?", ha="center", va="center", fontsize=10, color="white", weight="bold", zorder=4)


def plus(ax, x, y):
    ax.plot(x, y, "o", markersize=14, color="white", markeredgecolor=BLACK, zorder=3)
    ax.text(x, y, "+", ha="center", va="center", fontsize=11, zorder=4)


def finish(ax, y, shortcut=True):
    """From the last layer to the block's output, where the shortcut joins."""
    arrow(ax, (0, y), (0, y - 0.55))
    if shortcut:
        ax.plot([0, RIGHT, RIGHT, 0], [0.25, 0.25, y - 0.55, y - 0.55], **SKIP, zorder=0)
        ax.text(RIGHT + 4, y / 2, "shortcut", rotation=90, va="center", fontsize=9, color="0.3")
        plus(ax, 0, y - 0.55)
    arrow(ax, (0, y - 0.8), (0, y - 1.25))


def arrow(ax, start, end, **look):
    ax.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 0, **FLOW, **look})


def told(ax, text):
    ax.text(0, -10.2, text, ha="center", va="top", fontsize=10)
