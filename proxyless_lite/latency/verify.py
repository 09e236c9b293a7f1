"""Does a network keep its limit on latency? Measured on the device of a table; where it does not, the next one is taken."""

import math

import pandas as pd

from .. import runtime
from ..costs import costs
from .measure import compare
from .rounds import measured_on
from .table import Table

CERTAIN = 2.0  # standard errors by which a network must stay below its limit


def first_within(networks, most: float, table: Table, precision: float = 0.005, rounds: int = 40, seed: int = 0):
    """The first of several networks that takes at most `most` milliseconds, and a DataFrame of those measured: network, predicted, ms, se.

    They are timed one after the other as the `table` was, and told in its milliseconds: relative to the reference network, which may
    run faster or slower today. ms + CERTAIN · se must keep the limit. Raises ValueError where none does, and for a table of another machine.
    """
    if not is_of_this_machine(table):
        raise ValueError(f"the table was measured on {', '.join(map(str, measured_on(table.metadata).values()))}, not here; make a kit of the networks, "
                         f"run it there, and import its results with --limit")
    rows = []
    for network in networks:
        found = compare([network], **{key: table.metadata[key] for key in ("device", "threads", "batch")}, precision=precision, rounds=rounds, seed=seed)
        today = table.metadata.get("reference_ms", found.attrs["reference_ms"]) / found.attrs["reference_ms"]
        ms, sd, visits = found.loc[0, ["ms", "sd", "visits"]]
        rows.append({"network": network.code, "predicted": costs(network.space, table).cost_of(network), "ms": ms * today,
                     "se": 1.2533 * sd * today / math.sqrt(visits)})
        if rows[-1]["ms"] + CERTAIN * rows[-1]["se"] <= most:
            return network, pd.DataFrame(rows)
    fastest = min(row["ms"] + CERTAIN * row["se"] for row in rows)
    raise ValueError(f"none of {len(rows)} networks takes surely at most {most:.6g} ms when measured; the fastest needs a limit of {fastest:.6g}: "
                     f"give that, or more")


def is_of_this_machine(table):
    """Whether a table was measured on this processor or GPU, with a clock that this machine has."""
    about = {"device": table.metadata.get("device"), "machine": runtime.describe()}
    return about["device"] is not None and "kit" not in table.metadata and measured_on(table.metadata) == measured_on(about)
