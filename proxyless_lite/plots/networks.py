"""Networks drawn."""

from .style import BLUE, GREEN, ORANGE, RED, described, new_figure


@described
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
