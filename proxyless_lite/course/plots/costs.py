"""What blocks and networks cost: per candidate, over a whole space, and on several devices."""

import numpy as np

from .style import BLACK, BLUE, GREEN, KERNELS, ORANGE, OTHER, PURPLE, RED, described, new_figure


@described
def candidate_costs(costs):
    """What each candidate of each edge costs: one marker per candidate, shape and colour for the kernel, filled for expansion 6.

    `costs` is a Costs of the mobile space.
    """
    figure, ax = new_figure(figsize=(9, 3))
    scale, unit = (1e6, "million " + costs.unit) if costs.unit in ("MACs", "params") else (1, costs.unit)
    edges = costs.space.edges()
    for name in edges[0].candidates:
        colour, _, marker = KERNELS.get(name[4], OTHER)
        column = [row[edge.candidates.index(name)] / scale for row, edge in zip(costs.matrix.tolist(), edges)]
        ax.plot(range(len(edges)), column, marker, color=colour, markersize=6, markerfacecolor=colour if name[2] == "6" else "white",
                label=name.replace("x", "×"))
    halved = [e for e, edge in enumerate(edges) if edge.stride == 2]
    ax.vlines([e - 0.5 for e in halved], 0, 1, transform=ax.get_xaxis_transform(), color="0.6", linewidth=1)
    ax.set_xticks(range(len(edges)), [edge.name.removeprefix("stage") for edge in edges])
    ax.set(xlabel="edge (stage.block); grey lines: the image is halved", ylabel=unit, ylim=(0, None))
    figure.legend(loc="outside right center")
    return figure


@described
def cost_distribution(costs, counts, mean, sd, marked, label="million MACs"):
    """Distribution of cost over the networks of a space: exact, a normal one of equal mean and sd, and marked networks.

    `counts[i]` networks cost `costs[i]`; `marked` maps a label to a cost. Costs are drawn in 100 bins.
    """
    figure, ax = new_figure(figsize=(7.5, 3.2))
    share, ends = np.histogram(costs, bins=100, weights=counts / counts.sum(), density=True)
    ax.stairs(share, ends, fill=True, color="0.8", label="all networks, exact")
    x = np.linspace(ends[0], ends[-1], 400)
    ax.plot(x, np.exp(-((x - mean) / sd) ** 2 / 2) / (sd * np.sqrt(2 * np.pi)), "--", color=BLACK, label="normal, same mean and sd")
    for (name, cost), colour, marker, line in zip(marked.items(), (RED, BLUE, GREEN, PURPLE), "^sDv", (":", "-", "--", "-.")):
        ax.axvline(cost, color=colour, linestyle=line, marker=marker, markevery=[1], markersize=8, clip_on=False, label=name)
    ax.set(xlabel=label, ylabel=f"share of networks per {label}", ylim=(0, None))
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure


@described
def cross_latency(ms):
    """Heat map of latencies: one row per network, one column per device, darker the slower than the fastest network there.

    `ms` is a DataFrame in milliseconds; a cell shows the time and its ratio to the column's smallest, which has a star.
    """
    figure, ax = new_figure(figsize=(1.7 * len(ms.columns) + 1, 0.55 * len(ms) + 1.1))
    ratio = (ms / ms.min()).to_numpy()
    ax.imshow(ratio, cmap="Greys", vmin=1, vmax=2.5, aspect="auto")
    for (row, column), value in np.ndenumerate(ratio):
        ax.text(column, row, f"{ms.iat[row, column]:.3g} ms   " + ("★" if value == 1 else f"× {value:.2f}"), ha="center", va="center",
                color="white" if value > 1.75 else BLACK)
    ax.set_xticks(range(len(ms.columns)), ms.columns)
    ax.set_yticks(range(len(ms)), ms.index)
    ax.tick_params(length=0, labeltop=True, labelbottom=False)
    ax.spines[:].set_visible(False)
    ax.set(ylabel="network found for", xlabel="★ the fastest there     × 1.45: 1.45 times as slow")
    ax.set_title("measured on:", loc="left", x=-0.01, ha="right", pad=6, fontsize=9)
    ax.grid(False)
    return figure


@described
def relative_prices(ratios):
    """Bars of a cost relative to the first row's: groups are rows, one bar per column, distinguished by colour and hatch.

    `ratios` is a DataFrame: one row per kind of network, one column per device.
    """
    figure, ax = new_figure(figsize=(7, 2.8))
    width, looks = 0.8 / len(ratios.columns), zip((BLACK, BLUE, ORANGE, GREEN, PURPLE), ("", "//", "..", "xx", "\\\\"))
    for i, (column, (colour, hatch)) in enumerate(zip(ratios, looks)):
        ax.bar(np.arange(len(ratios)) + (i - len(ratios.columns) / 2 + 0.5) * width, ratios[column], width, label=column,
               color="0.6" if i == 0 else "white", edgecolor=colour, hatch=hatch)
    ax.set_xticks(range(len(ratios)), [name.replace("x", "×") for name in ratios.index])
    ax.set(ylabel=f"cost / cost of {ratios.index[0].replace('x', '×')}")
    figure.legend(loc="outside right center")
    return figure
