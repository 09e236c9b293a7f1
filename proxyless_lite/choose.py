"""The last step of a search: choose among whole networks. α and chance propose them, short trainings rate some, a regression expects
the ratings of the others, a few trainings from scratch decide.

Shared weights alone rank networks poorly: each is rated with weights that were trained for all. After a short training of its own
a network's rating says far more, for a fraction of a training from scratch.
"""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch.nn.functional import pad

from .architecture import Architecture
from .costs import costs, most_probable

# Variances that the regression assumes, over that of a feature's effect: of the level that all networks share, which is all but
# unknown; of what the features do not explain; and of a rating.
LEVEL, SPECIFIC, NOISE = 1e4, 0.1, 0.1
SHARES = 0.97, 0.94, 0.9, 0.85  # of a cost, for networks that shall keep a limit although they cost more than predicted


def propose(net, k: int, objective=None) -> list[Architecture]:
    """The k most probable networks under α, the best first; fewer where codes are the same network because of Zero.

    With an `objective` that has a target, of those whose cost is within 5 % of it, or of the nearest ones; with Limits, of those that
    keep them.
    """
    space, found = net.space, {}
    names = [op.names for op in net.mixed_ops.values()]
    paths = objective.most_probable(net, k, tolerance=None) if objective else most_probable(net.alpha_matrix().double().softmax(1), k)
    for each in paths:
        choices = space.canonical(name[i] for name, i in zip(names, each))
        found.setdefault(choices, Architecture(space, choices))
    return list(found.values())


def drawn(space, count: int, objective=None, seed: int = 0) -> list[Architecture]:
    """At most `count` random networks that an `objective` allows, of 20 times as many draws. Of a space that has no more, all it allows.

    α may be wrong: after a short search it prefers what needs little training.
    """
    names, draw, found = [edge.candidates for edge in space.edges()], random.Random(seed), {}
    few = space.size() <= 20 * count
    for choices in product(*names) if few else ([*map(draw.choice, names)] for _ in range(20 * count)):
        network = Architecture(space, space.canonical(choices))
        if objective is None or objective.allows(network):
            found.setdefault(network.choices, network)
        if len(found) == count and not few:
            break
    return list(found.values())


def scores(net, networks: Sequence[Architecture]) -> list[torch.Tensor]:
    """What is known of networks before any training: log probability under α, and log MACs; each (n,)."""
    macs = costs(net.space, "macs")
    return [log_probability(net, networks), torch.tensor([macs.cost_of(network) for network in networks], dtype=torch.float64).log()]


def log_probability(net, networks: Sequence[Architecture]) -> torch.Tensor:
    """log P of networks under α, (n,): of each the sum over its codes, since Zeros may stand anywhere in a run of equal edges."""
    rows, total, start = net.alpha_matrix().double().log_softmax(1).tolist(), torch.zeros(len(networks), dtype=torch.float64), 0
    log_p = [dict(zip(op.names, row)) for op, row in zip(net.mixed_ops.values(), rows)]
    for length in net.space.runs or (1,) * len(log_p):
        run = slice(start, start := start + length)
        blocks = [[name for name in network.choices[run] if name != "Zero"] for network in networks]
        ways = torch.tensor([[0.0] + [-torch.inf] * length] * len(networks), dtype=torch.float64)  # ways[:, k]: k blocks placed so far
        for at in log_p[run]:
            place = torch.tensor([[at[name] for name in each] + [-torch.inf] * (length - len(each)) for each in blocks], dtype=torch.float64)
            ways = torch.logaddexp(ways + at.get("Zero", -torch.inf), pad(ways[:, :-1] + place, (1, 0), value=-torch.inf))
        total += ways[range(len(networks)), list(map(len, blocks))]
    return total


def found_and_cheaper(net, found: Architecture, limits, costs) -> list[Architecture]:
    """A found network, and up to four that may take its place if it costs more than predicted: the most probable ones that cost less.

    `limits` are Limits that it keeps. The others cost at most 97, 94, 90 and 85 % of what it does by `costs`, those of one of the limits.
    """
    predicted = costs.cost_of(found)
    networks = {net.space.canonical(found.choices): found}
    for share in SHARES:
        try:
            network = net.derive(limits.tighter(costs, share * predicted))
        except ValueError:  # no network is so cheap
            break
        networks.setdefault(net.space.canonical(network.choices), network)
    return list(networks.values())


def features(networks: Sequence[Architecture]) -> torch.Tensor:
    """How often each operation stands in each run of equal edges, over the root of the run's length: (n, F), columns of mean 0."""
    space, columns, start = networks[0]._space("compare"), [], 0
    for length in space.runs or (1,) * len(space.edges()):
        run = slice(start, start := start + length)
        for name in dict.fromkeys(name for edge in space.edges()[run] for name in edge.candidates):
            columns.append([network.choices[run].count(name) / length ** 0.5 for network in networks])
    X = torch.tensor(columns, dtype=torch.float64).T
    return X - X.mean(0)


def standard(score: torch.Tensor) -> torch.Tensor:
    """A score (n,) as a feature (n, 1) of mean 0 and standard deviation 1; all 0 where networks do not differ in it."""
    return ((score - score.mean()) / score.std(correction=0).clamp_min(1e-9))[:, None]


def posterior(X: torch.Tensor, known: Sequence[int], ratings: Sequence[float]) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance of all networks' ratings, each (n,), from those of the `known` ones: Bayesian linear regression.

    A rating is a level, an effect of each of the network's features X (n, F), and something of its own. The variance is relative to
    that of an effect; it depends on which networks are known, not on their ratings.
    """
    own, y = range(len(known)), torch.tensor(ratings, dtype=X.dtype)
    K = LEVEL + X[known] @ X.T                                             # (known, n): how alike ratings are expected to be
    K[own, known] += SPECIFIC
    gain = torch.linalg.solve(K[:, known] + NOISE * torch.eye(len(known), dtype=K.dtype), K)  # (known, n)
    return gain.T @ y, LEVEL + (X ** 2).sum(1) + SPECIFIC - (K * gain).sum(0)


@dataclass(frozen=True)
class Ratings:
    """What is known of `networks`: the `rated` ones (indices, in their order) with their `values`, and the `expected` of all, (n,)."""

    networks: list[Architecture]
    rated: list[int]
    values: list[float]
    expected: torch.Tensor

    def best(self, among: Sequence[int], count: int = 1) -> list[int]:
        """The `count` of these indices with the highest expected ratings, the highest first."""
        return sorted(among, key=lambda i: -self.expected[i])[:count]


def rate(networks: Sequence[Architecture], rating: Callable[[list[Architecture]], list[float]], count: int,
         groups: Sequence[Sequence[int]] = (), together: int = 1, scores: Sequence[torch.Tensor] = (),
         explored: float = 0.5, first: Sequence[int] = ()) -> Ratings:
    """Rate `count` of the networks, `together` at a time, and expect the ratings of the others by regression on their operations and `scores`.

    Each of the `scores` (n,) is a feature too: the ratings decide what it is worth, and its sign.

    A share of them, `explored`, are the `first` ones (indices) and then those of which least is known, given the ones before; the rest
    are always the one that is expected to be best, by turns of each of the `groups` (indices; one group of all by default). `rating` is
    given a list of networks and returns theirs.
    """
    X, count = torch.cat([features(networks), *map(standard, scores)], 1), min(count, len(networks))
    turns = [set(group) for group in groups] or [set(range(len(networks)))]
    first, rated, values, mean = list(dict.fromkeys(first))[:count], [], [], torch.zeros(len(X))
    early = max(math.ceil(explored * count), len(first))
    while (start := len(rated)) < count:
        for i in range(start, min(start + together, early if start < early else count)):
            worth, left = mean, [j for j in range(len(networks)) if j not in rated]
            if i < len(first):
                left = [first[i]]
            elif i < early:
                worth = posterior(X, rated, [0.0] * i)[1]  # the variance: whatever their ratings will be
            else:
                left = [j for j in left if j in turns[i % len(turns)]] or left
            rated.append(max(left, key=worth.round(decimals=9).tolist().__getitem__))  # rounded: equal ones are tied on any processor
        values += rating([networks[i] for i in rated[start:]])
        mean, _ = posterior(X, rated, values)
    return Ratings(list(networks), rated, values, mean)
