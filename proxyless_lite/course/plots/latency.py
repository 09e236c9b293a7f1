"""How latency is measured and predicted."""

import numpy as np

from matplotlib.patches import Patch

from .style import BLACK, BLUE, KERNELS, ORANGE, described, new_figure


@described
def sum_of_blocks(networks, table, unit="ms"):
    """Networks as bars: each piece is the latency of one block; the whole bar, their sum, is that of the network.

    `networks` maps a label to an Architecture, `table` is a latency.Table of their blocks."""
    figure, ax = new_figure(figsize=(9, 0.5 * len(networks) + 1))
    for y, network in enumerate(networks.values()):
        end, fixed = 0.0, network.space.fixed_blocks()
        for block in network.space.blocks(network.choices):
            colour, hatch = ("0.6", "") if block in fixed or block.operation == "Zero" else KERNELS[block.operation[-1]][:2]
            ax.barh(y, table[block], 0.6, left=end, color=colour, hatch=hatch, edgecolor="white", linewidth=0.8)
            end += table[block]
        ax.text(end, y, f" {end:.1f} {unit}", va="center")
    ax.set(yticks=range(len(networks)), yticklabels=networks, xlabel=f"latency ({unit})")
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    figure.legend(handles=[Patch(facecolor=colour, hatch=hatch, edgecolor="white", label=label) for colour, hatch, label in (
        *((colour, hatch, f"MBConv {k}×{k}") for k, (colour, hatch, _) in KERNELS.items()), ("0.6", "", "fixed part"))],
        loc="outside upper center", ncols=4)
    return figure


@described
def drift(visits, residuals):
    """Left: the reference network's time in measured order. Right: autocorrelation of residuals, raw and as ratio.

    `visits` has reference_ms; `residuals` maps a label to residuals in measured order."""
    figure, (left, right) = new_figure(1, 2, figsize=(9, 2.8))
    left.plot(visits.reference_ms.to_numpy(), ".", color=BLACK, markersize=0.6, rasterized=True)
    left.set(xlabel="visit, in measured order", ylabel="reference network (ms)", ylim=np.quantile(visits.reference_ms, (0, 0.995)))
    lags = np.unique(np.geomspace(1, 300, 25).astype(int))
    for (label, values), colour, marker in zip(residuals.items(), (ORANGE, BLUE), "so"):
        right.plot(lags, [np.corrcoef(values[:-k], values[k:])[0, 1] for k in lags], marker=marker, markersize=4, color=colour, label=label)
    right.axhline(0, color=BLACK, linewidth=0.8)
    right.set(xscale="log", xlabel="visits later", ylabel="autocorrelation", ylim=(-0.15, 1))
    right.legend()
    return figure


@described
def predicted_against_measured(measured, predicted, noise=None, unit="ms"):
    """Scatter of networks around the diagonal (Figure 5); the band is ± 2 × the noise of a measurement."""
    figure, ax = new_figure(figsize=(4.4, 4))
    ends = np.array([min(measured.min(), predicted.min()), max(measured.max(), predicted.max())])
    if noise:
        ax.fill_between(ends, ends - 2 * noise, ends + 2 * noise, color="0.88", label="± 2 × noise of a measurement")
    ax.plot(ends, ends, color=BLACK, linewidth=0.8)
    ax.plot(predicted, measured, "o", color=BLUE, markersize=2.5, alpha=0.5, label="test networks")
    ax.set(xlabel=f"predicted ({unit})", ylabel=f"measured ({unit})", aspect="equal")
    ax.legend(loc="upper left")
    return figure


@described
def learning_curve(counts, rmse, noise, unit="ms"):
    """Test RMSE against the number of networks fitted on: mean and each fit, over the noise floor."""
    figure, ax = new_figure(figsize=(5.2, 3))
    single = [(n, value) for n, values in zip(counts, rmse) for value in values]
    ax.plot(*zip(*single), "o", color="white", markeredgecolor="0.5", markersize=4, label="each fit")
    ax.plot(counts, [np.mean(values) for values in rmse], "D-", color=BLUE, label="test RMSE, mean of the fits")
    ax.axhline(noise, color=BLACK, linestyle="--", label="noise floor of the measurement")
    ax.set_xscale("log")
    ax.set_xticks(counts, counts, minor=False)
    ax.minorticks_off()
    ax.set(xlabel="networks to fit", ylabel=f"RMSE ({unit})", ylim=(0, None))
    ax.legend()
    return figure
