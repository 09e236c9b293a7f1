"""Random networks of equal cost: what a search result must be compared with."""

import random
from functools import lru_cache

import torch

from .architecture import Architecture, count_macs


@lru_cache(maxsize=None)
def candidate_macs(edge, name):
    """Multiply-adds of candidate `name` on `edge`, for one image."""
    with torch.device("meta"):
        operation = edge.operation(name).eval()
    return count_macs(operation, torch.empty(1, edge.in_channels, edge.input_size, edge.input_size, device="meta"))


def random_of_equal_cost(architecture, count, tolerance=0.05, seed=0):
    """`count` different random networks of the same space, each within `tolerance` of the architecture's MACs.

    Each starts uniformly random; then random edges are redrawn, keeping only draws that bring the cost nearer.
    Raises ValueError when the space has too few such networks.
    """
    space, draw = architecture.space, random.Random(seed)
    edges = space.edges()
    price = [{name: candidate_macs(edge, name) for name in edge.candidates} for edge in edges]
    target = architecture.macs()
    fixed = target - cost(price, architecture.choices)
    found = {}
    for _ in range(200 * count):
        choices = [draw.choice(edge.candidates) for edge in edges]
        for _ in range(20 * len(edges)):
            off = fixed + cost(price, choices) - target
            if abs(off) <= tolerance * target:
                break
            e = draw.randrange(len(edges))
            new = draw.choice(edges[e].candidates)
            if abs(off + price[e][new] - price[e][choices[e]]) < abs(off):
                choices[e] = new
        else:
            continue
        if tuple(choices) != architecture.choices:
            found[tuple(choices)] = Architecture(space, tuple(choices))
        if len(found) == count:
            return list(found.values())
    raise ValueError(f"found {len(found)} of {count} random networks within {tolerance:.0%} of {target:,} MACs in {space}; "
                     f"ask for fewer or allow more")


def cost(price, choices):
    return sum(at[name] for at, name in zip(price, choices))
