"""Interleaved rounds: a protocol robust to a busy machine.

Wall times drift for minutes and scatter by a tenth. So every item is visited once per round, in a new random order, and a
reference network is timed next to it. What counts is the median over the rounds of the ratio of the two. run.py says how one
visit is made: it also times the networks of a kit on another device.
"""

import logging
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

from .. import runtime
from .run import certain_items, order, visit

log = logging.getLogger(__name__)
COLUMNS = {"round": int, "item": int, "ms": float, "reference_ms": float}


def run_rounds(get, count, reference, rounds, precision, metadata, out=None, label="measure"):
    """Visit items 0 … count − 1 in `rounds` rounds. Returns the visits in measured order, a DataFrame of COLUMNS.

    `get(i)` gives item i as a function that runs it once and returns seconds; `reference` is such a function too. An item is
    left out of further rounds once the standard error of its median ratio is below `precision`, unless that is 0. With a file
    `out` each visit is written next to it at once, and visits already there are not repeated.
    Raises ValueError if the file holds another measurement (`metadata`), or another process is measuring into it.
    """
    with recorded(out, metadata) as (rows, record):
        done = {(r, i) for r, i, _, _ in rows}
        progress = runtime.Progress(rounds * count, len(done), label)
        for r in range(rounds):
            certain = certain_items(rows, precision)
            for i in order(metadata["seed"], r, count):
                if (r, i) in done:
                    continue
                if i not in certain:
                    rows.append((r, i, *visit(get(i), reference)))
                    record(*rows[-1])
                progress.step()
        progress.close()
    return pd.DataFrame(rows, columns=[*COLUMNS])


def corrected(visits):
    """Milliseconds of each visit, corrected for drift by the reference: ms / reference_ms · median reference_ms."""
    return visits.ms / visits.reference_ms * visits.reference_ms.median()


def summarize(visits):
    """One row per item: the median `ms` of its corrected visits, the standard deviation `sd` between them in ms, and their
    number `visits`."""
    groups = corrected(visits).groupby(visits["item"])
    return pd.DataFrame({"ms": groups.median(), "sd": groups.std(), "visits": groups.size()})


# -- the file of visits -----------------------------------------------------------------------------------------------


class Visits(runtime.Rows):
    """The file of the visits of a measurement. It can be resumed on another day, not on another processor or GPU."""

    what, columns, keys = "file of visits", COLUMNS, ()

    @staticmethod
    def check_rows(rows):
        times = rows[["ms", "reference_ms"]].to_numpy()
        bad = ~(np.isfinite(times) & (times > 0)).all(axis=1)
        if bad.any():
            raise ValueError(f"visit {bad.argmax()} is not positive: {times[bad.argmax()].tolist()} ms")

    @staticmethod
    def check(path, saved, ours):
        runtime.check_same(path, what_must_agree(saved, ours), what_must_agree(ours, ours))


def visits_path(out):
    """The file of visits of a measurement `out`: t.csv -> t.visits.csv."""
    return Path(out).with_suffix(".visits.csv")


@contextmanager
def recorded(out, metadata):
    """Yields the visits made so far, a list of tuples, and a function that keeps one more; without `out` nothing is kept."""
    if out is None:
        yield [], lambda *visit: None
        return
    with closing(Visits(visits_path(out), metadata)) as file:
        if len(file.rows):
            log.info(f"resuming after {len(file.rows)} visits in {visits_path(out)}")
        yield list(file.rows[[*COLUMNS]].itertuples(index=False, name=None)), file.append


def what_must_agree(metadata, keys):
    """All but the date, the number of rounds and the versions: the rest of a measurement may run on another day."""
    return {**{key: metadata.get(key) for key in keys if key not in ("date", "rounds", "machine")}, **measured_on(metadata)}


def measured_on(metadata):
    """The hardware behind the milliseconds: {"gpu": its name} for the clock of a GPU, else {"processor": its name}.

    The name is None where a file does not give it; it agrees only with another such file.
    """
    name, entry = ("gpu", "device") if metadata.get("device") == "cuda" else ("processor", "processor")
    machine = metadata.get("machine", {})
    return {name: machine.get(entry) if isinstance(machine, dict) else machine}  # a file written by hand may have only a name
