"""Interleaved rounds: the protocol that a busy machine spoils least.

Wall times drift for minutes and scatter by a tenth. So every item is visited once a round, in fresh random order; beside
it a reference network is timed; the ratio of the two is what counts, and its median over the rounds.
"""

import json
import math
import os
import random
import statistics
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from .. import runtime

COLUMNS = ["round", "item", "ms", "reference_ms"]
PASSES = 2        # timed passes of item and reference in a visit, in turn; the shortest of each counts
SHORTEST = 2e-3   # seconds; an item that takes less is repeated within a pass
CERTAIN = 7       # visits before an item may be called certain


def run_rounds(get, count, beside, rounds, precision, about, out=None, label="measure"):
    """Visit items 0 … count − 1 in `rounds` rounds. Returns the visits in measured order, a DataFrame of COLUMNS.

    `get(i)` gives item i as a function that runs it once and returns seconds; `beside` is the reference, likewise.
    An item is left out of further rounds once the standard error of its median ratio is below `precision`, unless that
    is 0. With a file `out` each visit is written beside it at once, and those already there are not repeated.
    Raises ValueError if the file holds another measurement (`about`), or another process is measuring into it.
    """
    with visits_file(out, about) as (file, rows):
        done = {(r, i) for r, i, _, _ in rows}
        progress = runtime.Progress(rounds * count, len(done), label)
        for r in range(rounds):
            certain = certain_items(rows, precision)
            order = random.Random(about["seed"] * 1_000_003 + r).sample(range(count), count)
            for i in order:
                if (r, i) in done:
                    continue
                if i not in certain:
                    rows.append((r, i, *visit(get(i), beside)))
                    file.write(line(rows[-1]))
                    file.flush()
                progress.step()
        progress.close()
    return pd.DataFrame(rows, columns=COLUMNS)


def visit(run, beside):
    """Milliseconds of an item and of the reference: a warm-up, then PASSES turns of both; the shortest of each counts."""
    repeats = math.ceil(SHORTEST / max(run(), 1e-7))
    turns = [(sum(run() for _ in range(repeats)) / repeats, beside()) for _ in range(PASSES)]
    return tuple(1e3 * min(times) for times in zip(*turns))


def certain_items(rows, precision):
    """The items whose median ratio is known to `precision` already."""
    ratios = {}
    for _, i, ms, beside in rows:
        ratios.setdefault(i, []).append(ms / beside)
    return {i for i, seen in ratios.items() if len(seen) >= CERTAIN and standard_error(seen) <= precision}


def standard_error(values):
    """Relative standard error of the median, from the median absolute deviation: 1.2533 · 1.4826 · MAD / √n."""
    middle = statistics.median(values)
    spread = statistics.median(abs(v - middle) for v in values)
    return 1.2533 * 1.4826 * spread / math.sqrt(len(values)) / middle


def corrected(visits):
    """Milliseconds of each visit with what slows item and reference alike taken out: ms / reference_ms · median reference_ms."""
    return visits.ms / visits.reference_ms * visits.reference_ms.median()


def summarize(visits):
    """One row an item: the median `ms` of its corrected visits, the standard deviation `sd` between them in ms, and their
    number `visits`."""
    groups = corrected(visits).groupby(visits["item"])
    return pd.DataFrame({"ms": groups.median(), "sd": groups.std(), "visits": groups.size()})


# -- the file of visits -----------------------------------------------------------------------------------------------


def visits_path(out):
    """Where the visits of a measurement called `out` are kept: t.csv -> t.visits.csv."""
    return Path(out).with_suffix(".visits.csv")


def heading(about):
    return f"# {json.dumps(about)}\n{','.join(COLUMNS)}\n"


def line(row):
    r, i, ms, beside = row
    return f"{r},{i},{ms:.5g},{beside:.5g}\n"


@contextmanager
def visits_file(out, about):
    """Yields the file to append visits to, and those that it holds already; without `out` one that keeps nothing."""
    path = Path(os.devnull) if out is None else visits_path(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as file:
        if out is not None:
            runtime.only_writer(file)
        if path.stat().st_size > 0:
            yield file, resume(path, file, about)
        else:
            file.write(heading(about))
            yield file, []


def resume(path, file, about):
    """The visits in the file of an interrupted measurement; a last line cut short is taken out of it."""
    saved, rows = read_visits(path)
    runtime.check_same(path, what_must_agree(saved, about), what_must_agree(about, about))
    file.truncate(path.read_bytes().rfind(b"\n") + 1)
    print(f"going on after {len(rows)} visits in {path}", flush=True)
    return rows


def what_must_agree(about, keys):
    """All but the date, the number of rounds and the versions: the rest of a measurement may run on another day."""
    return {**{key: about.get(key) for key in keys if key not in ("date", "rounds", "machine")}, **measured_on(about)}


def measured_on(about):
    """What the milliseconds belong to: {"gpu": its name} for the clock of a GPU, else {"processor": its name}.

    The name is None where a file does not say; it agrees only with another such file.
    """
    name, entry = ("gpu", "device") if about.get("device") == "cuda" else ("processor", "processor")
    machine = about.get("machine", {})
    return {name: machine.get(entry) if isinstance(machine, dict) else machine}  # a file written by hand may have a name only


def read_visits(path):
    """Metadata and visits of a file that `run_rounds` wrote. Raises ValueError for another file."""
    try:
        lines = Path(path).read_text().split("\n")
        if len(lines) < 2 or lines[1] != ",".join(COLUMNS):
            raise ValueError("its heading is another")
        fields = (row.split(",") for row in lines[2:-1])  # the last is empty, or cut short
        rows = [(int(r), int(i), float(ms), float(beside)) for r, i, ms, beside in fields]
        bad = next((row for row in rows if not all(math.isfinite(v) and v > 0 for v in row[2:])), None)
        if bad:
            raise ValueError(f"visit {bad} is not positive")
        return json.loads(lines[0].removeprefix("# ")), rows
    except ValueError as error:
        raise ValueError(f"{path} holds no visits of a measurement ({error}); choose another file, or move this one away") from None
