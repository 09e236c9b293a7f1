"""Measure on this machine: every block of a space, many random networks of it, or a few given items."""

import random
import time

from .. import runtime, spaces
from ..architecture import Architecture
from ..spaces import Block
from .clocks import timing
from .rounds import run_rounds, summarize
from .table import Entry, Table
from .timings import Timings


def measure(space: spaces.Space, device: str = "cpu", threads: int = 1, batch: int | None = None, precision: float = 0.01, rounds: int = 40,
            out=None, seed: int = 0) -> Table:
    """Time every distinct candidate of a space, and its fixed part. Returns a Table in milliseconds.

    `device` is "cpu", "cuda" or "onnxruntime"; `batch` is 1 on a CPU and 8 on a GPU by default, as in the paper.
    A block is visited until the standard error of its median is below `precision`, at most `rounds` times. With a file
    `out` the table is written there, and an interrupted measurement is resumed. Raises ValueError for a device this
    machine lacks, or a file that holds another measurement or is being written; OSError where none can be written.
    """
    blocks = blocks_of(space)
    with timing(device, threads) as clock:
        batch = checked(clock, batch, rounds, out)
        runs = [prepare(clock, block, batch) for block in blocks]
        run_reference = prepare(clock, reference(space), batch)
        metadata = {"blocks": len(blocks), **describe(space, clock, batch, seed, rounds)}
        visits = run_rounds(lambda i: runs[i], len(blocks), run_reference, rounds, precision, metadata, out,
                            f"{len(blocks)} blocks on {clock.name}")
    entries = {b: Entry(row.ms, row.sd, row.visits) for b, row in zip(blocks, summarize(visits).itertuples())}
    table = Table(entries, {**metadata, "reference_ms": visits.reference_ms.median()})
    if out is not None:
        table.save(out)
    return table


def blocks_of(space):
    """The distinct blocks of a space that cost something, the fixed ones first."""
    candidates = [edge.block(name) for edge in space.edges() for name in edge.candidates if name != "Zero"]
    return list(dict.fromkeys([*space.fixed_blocks(), *candidates]))


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


def compare(items, device="cpu", threads=1, batch=None, precision=0.01, rounds=40, seed=0):
    """Time a few items against each other: Architectures, Blocks, or pairs (module, input shape without the batch).

    Returns a DataFrame, one row per item in the order given: median `ms`, `sd` between visits, number of `visits`; its
    `attrs` say how they were measured. Options and errors as for `measure`; nothing is written.
    """
    space = next((item.space for item in items if isinstance(item, Architecture)), None) or spaces.mobile()
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
    """`batch`, by default the clock's. Raises ValueError if it or `rounds` is below 1, OSError if `out` cannot be written."""
    batch = clock.batch if batch is None else batch
    if min(batch, rounds) < 1:
        raise ValueError(f"batch={batch}, rounds={rounds}: both must be at least 1")
    if out is not None:
        runtime.check_target(out)
    return batch


def random_networks(space, count, seed):
    """`count` different networks, every candidate equally likely on every edge. Raises ValueError if there are too few."""
    if not 1 <= count <= space.size():
        raise ValueError(f"{count} networks asked for; {space} has 1 to {space.size()}")
    draw, edges, found = random.Random(seed), space.edges(), {}
    while len(found) < count:
        found[tuple(draw.choice(edge.candidates) for edge in edges)] = None
    return [Architecture(space, choices) for choices in found]


def reference(space):
    """The network timed next to everything: candidate e mod N on edge e, so that every candidate is included."""
    return Architecture(space, tuple(edge.candidates[e % len(edge.candidates)] for e, edge in enumerate(space.edges())))


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
