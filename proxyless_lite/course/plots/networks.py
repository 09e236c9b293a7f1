"""Networks drawn, as in the paper's Figure 6, and networks of the tree space."""

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from .style import BLACK, BLUE, GREEN, KERNELS, ORANGE, OTHER, PURPLE, RED, described, new_figure

TREE = {"DW 3x3": (BLUE, "3"), "DW 5x5": (ORANGE, "5"), "DW 7x7": (RED, "7"), "DW 3x3 d2": ("#56B4E9", "d"),
        "avg 3x3": (GREEN, "a"), "max 3x3": (PURPLE, "m"), "identity": ("0.92", "i")}


@described
def network(architecture, title=""):
    """Figure 6, one network of MBConv blocks: height is the expansion, colour and hatch the kernel."""
    return networks({title: architecture})


@described
def networks(architectures):
    """Figure 6: networks of MBConv blocks, one row each; height is the expansion, colour and hatch the kernel.

    `architectures` maps a title to an Architecture. Blocks left out have no bar; grey lines mark where the image is halved. Below
    each block are the channels and the size (px) of its output. Raises ValueError for a network of other blocks.
    """
    chains = {title: shown_blocks(architecture) for title, architecture in architectures.items()}
    longest = max(map(len, chains.values()))
    figure, axes = new_figure(len(chains), 1, figsize=(0.42 * longest + 0.6, 2.1 * len(chains) + 0.4), squeeze=False)
    for ax, (title, blocks) in zip(axes.flat, chains.items()):
        for place, block in enumerate(blocks):
            draw_block(ax, place, block)
            if block.stride == 2:
                ax.axvline(place - 0.5, color="0.6", linewidth=1)
        ax.set(ylim=(0, 11), yticks=(1, 3, 6), ylabel="expansion", xticks=(), xlim=(-0.8, longest - 0.2))
        ax.set_title(title, loc="left")
        ax.grid(False)
        ax.text(-0.9, -0.35, "channels\nsize", ha="right", va="top", fontsize=9)
    handles = [Patch(facecolor=colour, hatch=hatch, edgecolor="white", label=f"{kernel}×{kernel}")
               for kernel, (colour, hatch, _) in KERNELS.items()]
    handles.append(Line2D([], [], color="0.6", linewidth=1, label="image halved"))
    figure.legend(handles=handles, ncols=4, title="kernel", loc="outside upper right")
    return figure


def shown_blocks(architecture):
    """The MBConv blocks of a network, in order, without those left out (Zero)."""
    edges = architecture.space.edges()
    blocks = [b for b in architecture.space.fixed if b.operation.startswith("MB")]
    blocks += [edge.block(choice) for edge, choice in zip(edges, architecture.choices) if choice != "Zero"]
    if not blocks or not all(b.operation.startswith("MB") for b in blocks):
        raise ValueError(f"{architecture.space} is not made of MBConv blocks; "
                         f"draw a network of the tree space with plots.tree_network")
    return blocks


def draw_block(ax, place, block):
    """One bar, its operation above it, and its output's shape below it."""
    expansion, kernel = block.operation[2:].split(" ")
    colour, hatch, _ = KERNELS.get(kernel[0], OTHER)
    ax.bar(place, int(expansion), 0.84, color=colour, hatch=hatch, edgecolor="white")
    ax.text(place, int(expansion) + 0.3, block.operation.replace("x", "×"), rotation=90, fontsize=9, ha="center", va="bottom")
    ax.text(place, -0.35, f"{block.out_channels}\n{-(-block.input_size // block.stride)}", ha="center", va="top", fontsize=9)


@described
def tree_network(architecture, title=""):
    """A network of the tree space: one column per block, one cell per edge; colour and letter are the operation."""
    rows = [edges for _, edges in architecture.space.rows]
    remaining = iter(architecture.choices)
    figure, ax = new_figure(figsize=(max(4.5, 0.165 * len(rows) + 1), 3.4))
    cells = np.ones((max(rows), len(rows), 3))
    for x, count in enumerate(rows):
        for y in range(count):
            colour, letter = TREE[next(remaining)]
            cells[y, x] = to_rgb(colour)
            ax.text(x + 1, y + 1, letter, ha="center", va="center", fontsize=9)
    ax.imshow(cells, aspect="auto", interpolation="nearest", extent=(0.5, len(rows) + 0.5, max(rows) + 0.5, 0.5))
    for x, (shape, _) in enumerate(architecture.space.rows):
        ax.axvline(x + 0.5, color=BLACK if " s2 " in shape else "white", linewidth=1.2 if " s2 " in shape else 0.5)
    ax.set(xlabel="block, in network order", ylabel="edge in the block", yticks=(1, 4, 8, 12), title=title)
    ax.grid(False)
    handles = [Patch(facecolor=colour, label=f"{letter}: {name}") for name, (colour, letter) in TREE.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    return figure


@described
def operation_counts(counts, choices):
    """How often a network of the tree space uses each operation, one mark per operation, with what a blind draw would give as a band.

    `counts` maps operations to counts over `choices` edges; the band is the mean ± 2 sd of a uniform choice on each edge."""
    figure, ax = new_figure(figsize=(6, 2.7))
    mean = choices / len(counts)
    sd = (mean * (1 - 1 / len(counts)))**0.5
    counts = counts.sort_values(kind="stable")
    ax.axvspan(mean - 2 * sd, mean + 2 * sd, color="0.85", zorder=0, label="blind draw, mean ± 2 sd")
    ax.axvline(mean, color="0.3", linestyle="--", linewidth=1, zorder=0)
    ax.plot(counts, range(len(counts)), "D", color=BLUE, markersize=8, label="released network")
    for y, count in enumerate(counts):
        ax.text(count + 4, y, f"{count}", va="center", fontsize=9)
    names = counts.index.str.replace(r"(?<=\d)x", "×", regex=True)
    ax.set(xlim=(0, 1.3 * counts.max()), ylim=(-0.6, len(counts) - 0.4), yticks=range(len(counts)), yticklabels=names,
           xlabel=f"edges of {choices} that use the operation")
    ax.grid(axis="y", visible=False)
    figure.legend(loc="outside upper center", ncols=2)
    return figure
