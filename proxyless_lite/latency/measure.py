"""Measure on this machine: every block of a space, many random networks of it, or a few given items."""

import time
from pathlib import Path

from .. import runtime, spaces
from ..architecture import Architecture
from ..spaces import Block
from .clocks import Deployed, timing
from .parts import blocks_of, parts, random_networks, reference, table_of
from .rounds import run_rounds, summarize
from .table import Entry, Table
from .timings import Timings


def measure(space: spaces.Space, device: str = "cpu", threads: int = 1, batch: int | None = None, precision: float = 0.01, rounds: int = 40,
            out=None, seed: int = 0) -> Table:
    """Time every distinct candidate of a space, and its fixed part. Returns a Table in milliseconds.

    `device` is "cpu" or "cuda" (PyTorch), or one of run.RUNTIMES; `batch` is 1 on a CPU and 8 on a GPU by default, as in the paper.
    A runtime that computes whole networks (not PyTorch) is also given some, and the table is corrected by them: see parts.py.
    A block is visited until the standard error of its median is below `precision`, at most `rounds` times. With a file
    `out` the table is written there, and an interrupted measurement is resumed. Raises ValueError for a device this
    machine lacks, or a file that holds another measurement or is being written; OSError where none can be written.
    """
    blocks = blocks_of(space)
    with timing(device, threads) as clock:
        batch = checked(clock, batch, rounds, out)
        timed = parts(space, seed) if isinstance(clock, Deployed) else blocks
        runs = [prepare(clock, part, batch) for part in timed]
        run_reference = prepare(clock, reference(space), batch)
        metadata = {"blocks": len(blocks), **describe(space, clock, batch, seed, rounds)}
        visits = run_rounds(lambda i: runs[i], len(timed), run_reference, rounds, precision, metadata, out,
                            f"{len(blocks)} blocks on {clock.name}")
    found, about = summarize(visits), {**metadata, "reference_ms": visits.reference_ms.median()}
    if timed is blocks:
        table = Table({b: Entry(row.ms, row.sd, row.visits) for b, row in zip(blocks, found.itertuples())}, about)
    else:
        table, _ = table_of(space, timed, found, about)
    if out is not None:
        table.save(out)
    return table


def networks(space, count, device="cpu", threads=1, batch=None, rounds=8, out=None, seed=0):
    """Time `count` random networks of a space. Returns Timings. The same seed gives the same networks.

    With a file `out` they are written there, and an interrupted measurement is resumed. Options and errors as for `measure`.
    """
    drawn = random_networks(space, count, seed)
    with timing(device, threads) as clock:
        batch = checked(clock, batch, rounds, out)
        shape = (batch, 3, space.input_size, space.input_size)
        pool, run_reference = Pool(space, clock), prepare(clock, reference(space), batch)
        metadata = {"networks": count, **describe(space, clock, batch, seed, rounds)}
        visits = run_rounds(lambda i: clock.prepare(pool.network(drawn[i].choices), shape), count, run_reference, rounds, 0.0,
                            metadata, out, f"{count} networks on {clock.name}")
    timings = Timings(drawn, visits, metadata)
    if out is not None:
        timings.save(out)
    return timings


def compare(items, device="cpu", threads=1, batch=None, precision=0.01, rounds=40, seed=0, beside=None):
    """Time a few items against each other: Architectures, Blocks, or pairs (module, input shape without the batch).

    Returns a DataFrame, one row per item in the order given: median `ms`, `sd` between visits, number of `visits`; its
    `attrs` say how they were measured. Options and errors as for `measure`; nothing is written. `beside` is the space whose reference
    network is timed next to them: by default that of the first Architecture, or the mobile one.
    """
    space = beside or next((item.space for item in items if isinstance(item, Architecture)), None) or spaces.mobile()
    with timing(device, threads) as clock:
        batch = checked(clock, batch, rounds)
        runs, run_reference = [prepare(clock, item, batch) for item in items], prepare(clock, reference(space), batch)
        visits = run_rounds(lambda i: runs[i], len(runs), run_reference, rounds, precision, {"seed": seed},
                            label=f"{len(runs)} items on {clock.name}")
        found = summarize(visits)
        found.attrs = {**conditions(clock, batch, seed, rounds), "reference_ms": visits.reference_ms.median()}
    return found


def prepare(clock, item, batch):
    """An Architecture, a Block, or a pair (module, shape), as a function that runs it once and returns seconds."""
    if isinstance(item, Architecture):
        item = item.build(), (3, item.space.input_size, item.space.input_size)
    elif isinstance(item, Block):
        item = item.module(), (item.in_channels, item.input_size, item.input_size)
    module, shape = item
    return clock.prepare(module, (batch, *shape))


def checked(clock, batch, rounds, out=None):
    """`batch`, by default the clock's. Raises ValueError if it or `rounds` is below 1 or `out` is no CSV, OSError if it cannot be written."""
    batch = clock.batch if batch is None else batch
    if min(batch, rounds) < 1:
        raise ValueError(f"batch={batch}, rounds={rounds}: both must be at least 1")
    if out is not None:
        runtime.check_target(out)
        if Path(out).suffix != ".csv":
            raise ValueError(f"{out}: tables are written as CSV; give a name that ends in .csv")
    return batch


def describe(space, clock, batch, seed, rounds):
    """The metadata that identify a file of measurements."""
    return {"space": str(space), "space_settings": {"name": space.name, **space.settings}, "input_size": space.input_size,
            **conditions(clock, batch, seed, rounds)}


def conditions(clock, batch, seed, rounds):
    """Where, when and how something was measured."""
    return {"device": clock.name, "threads": clock.threads, "batch": batch, "seed": seed, "rounds": rounds,
            "machine": {**runtime.describe(), **clock.versions()}, "date": time.strftime("%Y-%m-%d")}


class Pool:
    """Compact networks of a space assembled from one set of candidates, so that no network needs new weights."""

    def __init__(self, space, clock):
        self.operations = [{name: clock.ready(edge.operation(name)) for name in edge.candidates} for edge in space.edges()]
        remaining = iter(self.operations)
        self.whole = clock.ready(space.network(lambda edge: next(remaining)[edge.candidates[0]]))
        name_of = {id(module): name for name, module in self.whole.named_modules()}
        self.slots = [name_of[id(next(iter(operations.values())))] for operations in self.operations]

    def network(self, choices):
        """The network with these choices; the previous one is taken apart."""
        for slot, operations, choice in zip(self.slots, self.operations, choices):
            self.whole.set_submodule(slot, operations[choice])
        return self.whole
