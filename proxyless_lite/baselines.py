"""Random networks of equal cost: what a search result must be compared with."""

import random

from . import objective
from .architecture import Architecture


def random_of_equal_cost(architecture: Architecture, count: int, tolerance: float = 0.05, seed: int = 0, costs=None,
                         at_least: int | None = None) -> list[Architecture]:
    """`count` different random networks of the same space, each within `tolerance` of the architecture's cost.

    Two choices that Zero makes the same network count as one. `costs` is a Costs, MACs by default. Each network starts uniformly
    random; then random edges are redrawn, and only draws that bring the cost nearer are kept. Raises ValueError when fewer than
    `at_least` (default: `count`) such networks are found, for a count below 1, and for an architecture of a module of your own.
    """
    if count < 1:
        raise ValueError(f"random_of_equal_cost(count={count}): ask for at least 1 network")
    space, draw = architecture._space("compare"), random.Random(seed)
    costs = costs or objective.costs(space, "macs")
    edges = space.edges()
    price = [dict(zip(edge.candidates, row)) for edge, row in zip(edges, costs.matrix.tolist())]
    cost = lambda choices: costs.together([at[name] for at, name in zip(price, choices)])  # noqa: E731
    target, own, found = costs.cost_of(architecture), space.canonical(architecture.choices), {}
    for _ in range(200 * count):
        choices = [draw.choice(edge.candidates) for edge in edges]
        for _ in range(20 * len(edges)):
            off = cost(choices) - target
            if abs(off) <= tolerance * target:
                break
            e = draw.randrange(len(edges))
            new = [*choices[:e], draw.choice(edges[e].candidates), *choices[e + 1:]]
            if abs(cost(new) - target) < abs(off):
                choices = new
        else:
            continue
        if (network := space.canonical(choices)) != own:
            found.setdefault(network, Architecture(space, tuple(choices)))
        if len(found) == count:
            break
    if len(found) >= (count if at_least is None else at_least):
        return list(found.values())
    raise ValueError(f"found {len(found)} of {count} random networks within {100 * tolerance:g}% of {target:,.6g} {costs.unit} in {space}; "
                     f"ask for fewer or allow more")


def costs_of_random(costs, count: int = 1000, seed: int = 0) -> list[float]:
    """What `count` uniformly random networks of a space cost, in the unit of `costs`, sorted."""
    draw = random.Random(seed)
    sizes = [len(edge.candidates) for edge in costs.space.edges()]
    return sorted(costs.cost_of([draw.randrange(size) for size in sizes]) for _ in range(count))
