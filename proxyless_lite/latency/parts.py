"""What is timed of a space, and how the times of its blocks add up to networks.

In a runtime that computes whole networks, a block alone costs a call, which a network pays once, and a network's blocks find their input in
the cache. So a network that does next to nothing and a few whole ones are timed beside the blocks, and

    network ≈ factor · (call + Σ (block − call)).
"""

import itertools
import random

import pandas as pd
import torch

from ..architecture import Architecture
from ..costs import costs
from ..spaces import Block
from .table import Entry, Table

WHOLE = 4                                          # random networks beside the reference
NOTHING = torch.nn.AvgPool2d(2), (8, 2, 2)         # a module, and the shape of its input


def blocks_of(space):
    """The distinct blocks of a space that cost something, the fixed ones first."""
    candidates = [edge.block(name) for edge in space.edges() for name in edge.candidates if name != "Zero"]
    return list(dict.fromkeys([*space.fixed_blocks(), *candidates]))


def random_networks(space, count, seed):
    """`count` different networks, every candidate equally likely on every edge. Raises ValueError if there are too few."""
    if not 1 <= count <= space.size():
        raise ValueError(f"{count} networks asked for; {space} has 1 to {space.size()}")
    draw, edges, found = random.Random(seed), space.edges(), {}
    for _ in range(1000 * count):
        choices = tuple(draw.choice(edge.candidates) for edge in edges)
        found.setdefault(space.canonical(choices), choices)  # wherever its Zeros stand
        if len(found) == count:
            return [Architecture(space, choices) for choices in found.values()]
    raise ValueError(f"{count} networks asked for; {space} has {len(found)} that differ, or hardly more")


def reference(space):
    """The network timed next to everything: candidate e mod N on edge e, so that every candidate is included."""
    return Architecture(space, tuple(edge.candidates[e % len(edge.candidates)] for e, edge in enumerate(space.edges())))


def parts(space, seed=0):
    """What is timed for a table of a space: its blocks, NOTHING, the reference network, and WHOLE random ones."""
    return [*blocks_of(space), NOTHING, reference(space), *random_networks(space, whole(space), seed)]


def whole(space):
    """How many random networks are timed for a table of a space: WHOLE, or all of a tiny one."""
    if space.size() > 100:
        return WHOLE
    return min(WHOLE, len({space.canonical(choices) for choices in itertools.product(*(edge.candidates for edge in space.edges()))}))


def table_of(space, timed, found, metadata):
    """The Table of the blocks among `timed`, which are `parts` and perhaps more networks, and a Series of predicted ms, by place.

    `found` has a row for each: ms, sd, visits. The first block, which is in every network, keeps the call. Only the networks of `parts`
    correct the table, so that it can be judged by the others.
    """
    fixed = {block: block for block in space.fixed_blocks()}
    ms, sd, visits = (found[column].tolist() for column in ("ms", "sd", "visits"))
    places = [i for i, part in enumerate(timed) if isinstance(part, Block)]
    call = ms[next(i for i, part in enumerate(timed) if part is NOTHING)]
    alone = {timed[i]: max(ms[i] - (call if number else 0.0), 0.0) for number, i in enumerate(places)}
    price = costs(space, Table({block: Entry(each) for block, each in alone.items()}, metadata))
    summed = pd.Series({i: price.cost_of(part) for i, part in enumerate(timed) if isinstance(part, Architecture) and part.space == space})
    factor = (found.ms.iloc[summed.index].to_numpy() / summed)[:1 + whole(space)].median()
    entries = {fixed.get(timed[i], timed[i]): Entry(factor * alone[timed[i]], factor * sd[i], visits[i]) for i in places}
    return Table(entries, {**metadata, "call_ms": call, "factor": factor}), factor * summed
