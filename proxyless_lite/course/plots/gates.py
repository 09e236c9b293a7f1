"""What gates cost and what their gradients are worth."""

import numpy as np

from .style import BLACK, BLUE, GREEN, ORANGE, PURPLE, described, new_figure


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
        ax.set_title(f"active: {names[drawn[-1]]}")
    ax.set_xticks(range(len(names)), names)
    ax.set(xlabel="path", ylabel="probability p", ylim=(0, 1), axisbelow=True)
    ax.grid(False, axis="x")
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure


@described
def memory_by_candidates(counts, series, unit="saved for backward (MB)"):
    """Memory against the number of candidates N, one line per kind of gate."""
    figure, ax = new_figure(figsize=(5.2, 3))
    for (label, values), colour, marker, line in zip(series.items(), (BLUE, GREEN, ORANGE, PURPLE), "os^D", ("-", "--", ":", "-.")):
        ax.plot(counts, values, marker=marker, linestyle=line, color=colour, label=label)
    ax.set(xlabel="candidates N on every edge", ylabel=unit, ylim=(0, None))
    ax.legend()
    return figure


@described
def estimators(true, means, names, standard_errors=None):
    """Bars of ∂J/∂α_k, one group per path: the true gradient next to the mean of each estimator.

    `names` are those of the paths; `means` and `standard_errors` map an estimator's to one value per path."""
    figure, ax = new_figure(figsize=(6, 2.8))
    kinds = {"true ∂J/∂α": true, **means}
    width, hatches = 0.8 / len(kinds), ("", "//", "..", "xx", "\\\\")
    for i, ((label, values), colour) in enumerate(zip(kinds.items(), (BLACK, BLUE, ORANGE, GREEN, PURPLE))):
        error = (standard_errors or {}).get(label)
        ax.bar(np.arange(len(true)) + (i - len(kinds) / 2 + 0.5) * width, values, width, yerr=error, label=label,
               color=colour if i == 0 else "white", edgecolor=colour, hatch=hatches[i])
    ax.axhline(0, color=BLACK, linewidth=0.8)
    ax.set_xticks(range(len(true)), names)
    ax.set(ylabel="gradient")
    ax.legend(ncols=2)
    return figure
