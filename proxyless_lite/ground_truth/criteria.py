"""Can the table tell a good search from a lucky one? The criteria and their values."""

import pandas as pd
from scipy.stats import kendalltau

from .table import seed_sd, setting_of

BANDS = 5


def bands(table, count=BANDS):
    """Number of the cost band of every network, a Series: `count` bands with about as many networks each, by MACs.

    Raises ValueError where all networks cost the same.
    """
    if table.macs.nunique() < 2:
        raise ValueError(f"the table has networks of one cost only ({len(table)} of them): finish more runs, there are no cost bands yet")
    return pd.qcut(table.macs, count, labels=False, duplicates="drop")


def spreads(table, count=BANDS):
    """One row per cost band: MACs from and to, networks, `sd` and `spread` of their true accuracies, the best mean and its network.

    The spread is from the 5th to the 95th percentile. The means of n seeds have noise of variance s²/n, with s the standard
    deviation between seeds. It is subtracted from their variance, and the percentiles shrink in proportion to the deviation.
    """
    s, rows = seed_sd(table), []
    for _, band in table.groupby(bands(table, count)):
        observed = band["mean"].var()
        true = max(0.0, observed - (s ** 2 / band.runs).mean())
        low, high = band["mean"].quantile([0.05, 0.95])
        rows.append({"from_macs": band.macs.min(), "to_macs": band.macs.max(), "networks": len(band),
                     "sd": true ** 0.5, "spread": (high - low) * (true / observed) ** 0.5,
                     "best": band["mean"].max(), "best_network": band["mean"].idxmax()})
    return pd.DataFrame(rows)


def verify(table):
    """What the table must satisfy, a DataFrame: `criterion`, `value` so far, `wanted`, `met`.

    An operation wins if the best network of a cost band has it. See `spreads` for the bands. Raises ValueError for a table
    without several costs, or without a network of several seeds.
    """
    setting = setting_of(table.attrs)
    all_networks, s, by_band = setting.networks(), seed_sd(table), spreads(table)
    best = table.loc[table["mean"].idxmax()]
    winners = {name: [band for band, found in enumerate(by_band.best_network) if name in table.choices[found]]
               for name in setting.space.edges()[0].candidates}
    tau = kendalltau(table["mean"], table.macs).statistic
    ratio = by_band.spread.min() / s
    done, planned = int(table.runs.sum()), len(all_networks) * setting.seeds
    checks = [
        ("finished runs", f"{done} of {planned}", "all", done == planned),
        ("test images", f"{table.attrs['test_images']:,}", "10,000", table.attrs["test_images"] >= 10_000),
        ("least spread of accuracy in a cost band / sd between seeds", f"{ratio:.1f}", "≥ 5", ratio >= 5),
        ("Kendall τ of accuracy with MACs", f"{tau:.2f}", "≤ 0.5", tau <= 0.5),
        ("operations in the best network of a cost band",
         ", ".join(f"{name}: {found or 'none'}" for name, found in winners.items()), "each in one", all(winners.values())),
        ("best network", " – ".join(best.choices), "not one operation, not the most MACs",
         len(set(best.choices)) > 1 and best.macs < table.macs.max()),
    ]
    return pd.DataFrame(checks, columns=["criterion", "value", "wanted", "met"])
