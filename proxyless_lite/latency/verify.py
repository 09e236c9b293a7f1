"""Does a network keep its limit on latency? Measured on the device of a table; where it does not, the next one is taken."""

from statistics import median

import pandas as pd

from .. import runtime
from ..architecture import named_space
from ..costs import costs
from .measure import compare
from .rounds import measured_on
from .table import Table

TIMES = 5  # that a network is measured, each time from a fresh start


def first_within(networks, most: float, table: Table, precision: float = 0.01, rounds: int = 25, seed: int = 0):
    """The first of several networks that takes at most `most` milliseconds, and a DataFrame of those measured: network, predicted, ms, slowest.

    They are timed one after the other as the `table` was, and reported in its milliseconds: relative to the reference network, which
    may run faster or slower today. A program may be some percent faster or slower for as long as it runs, depending on where its memory
    lies; so each network, and the reference next to it, is prepared and measured TIMES times, or until it breaks the limit. `ms` is the
    median, and the `slowest` must keep the limit. Raises ValueError where none does, and for a table of another machine.
    """
    if not is_of_this_machine(table):
        raise ValueError(f"the table was measured on {', '.join(map(str, measured_on(table.metadata).values()))}, not here; make a kit of the networks, "
                         f"run it there, and import its results with --limit")
    rows = []
    for network in networks:
        ms = []
        while len(ms) < TIMES and max(ms, default=0) <= most:
            ms.append(timed(network, table, precision, rounds, seed + len(ms)))
        rows.append({"network": network.code, "predicted": costs(network.space, table).cost_of(network), "ms": median(ms), "slowest": max(ms)})
        if max(ms) <= most:
            return network, pd.DataFrame(rows)
    raise ValueError(f"none of {len(rows)} networks takes at most {most:.6g} ms whenever it is measured; the fastest needs a limit of at least "
                     f"{min(row['slowest'] for row in rows):.6g}: give that, or more")


def timed(network, table, precision, rounds, seed):
    """Milliseconds of a network, as on the day of the table: beside the reference network of the table's space, not of its own."""
    settings = table.metadata.get("space_settings")
    found = compare([network], **{key: table.metadata[key] for key in ("device", "threads", "batch")}, precision=precision, rounds=rounds, seed=seed,
                    beside=settings and named_space(**settings))
    return found.ms[0] * table.metadata.get("reference_ms", found.attrs["reference_ms"]) / found.attrs["reference_ms"]


def is_of_this_machine(table):
    """Whether a table was measured on this processor or GPU, not by a kit. Its clock may be missing here (see clocks.clock_of)."""
    about = {"device": table.metadata.get("device"), "machine": runtime.describe()}
    return about["device"] is not None and "kit" not in table.metadata and measured_on(table.metadata) == measured_on(about)
