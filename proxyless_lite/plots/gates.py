"""What gates cost and what their gradients are worth."""

import numpy as np

from .style import BLACK, BLUE, GREEN, ORANGE, PURPLE, described, new_figure


@described
def memory_by_candidates(counts, series, unit="saved for backward (MB)"):
    """Memory against the number of candidates N, one line a kind of gate."""
    figure, ax = new_figure(figsize=(5.2, 3))
    for (label, values), colour, marker, line in zip(series.items(), (BLUE, GREEN, ORANGE, PURPLE), "os^D", ("-", "--", ":", "-.")):
        ax.plot(counts, values, marker=marker, linestyle=line, color=colour, label=label)
    ax.set(xlabel="candidates N on every edge", ylabel=unit, ylim=(0, None))
    ax.legend()
    return figure


@described
def estimators(true, means, standard_errors=None):
    """Bars of ∂J/∂α_k: the true gradient beside the mean of each estimator."""
    figure, ax = new_figure(figsize=(6, 2.8))
    kinds = {"true ∂J/∂α": true, **means}
    width, hatches = 0.8 / len(kinds), ("", "//", "..", "xx", "\\\\")
    for i, ((label, values), colour) in enumerate(zip(kinds.items(), (BLACK, BLUE, ORANGE, GREEN, PURPLE))):
        error = (standard_errors or {}).get(label)
        ax.bar(np.arange(len(true)) + (i - len(kinds) / 2 + 0.5) * width, values, width, yerr=error, label=label,
               color=colour if i == 0 else "white", edgecolor=colour, hatch=hatches[i])
    ax.axhline(0, color=BLACK, linewidth=0.8)
    ax.set_xticks(range(len(true)), [f"path {k}" for k in range(len(true))])
    ax.set(ylabel="gradient")
    ax.legend(ncols=2)
    return figure
