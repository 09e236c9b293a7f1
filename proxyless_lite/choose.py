"""The last step of a search: choose among whole networks. α proposes them, a short training from shared weights rates them, a few
trainings from scratch decide.

Shared weights alone rank networks poorly: each is rated with weights that were trained for all. After a short training of its own
a network's rating says far more, for a fraction of a training from scratch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from .architecture import Architecture
from .costs import most_probable

# Variances that the regression assumes, over that of an operation's effect: of the level that all networks share, which is all but
# unknown; of what operations do not explain; and of a result.
LEVEL, SPECIFIC, NOISE = 1e4, 0.1, 0.1
SHARES = 0.97, 0.94, 0.9, 0.85  # of a cost, for networks that shall keep a limit although they cost more than predicted


def propose(net, k: int, objective=None) -> list[Architecture]:
    """The k most probable networks under α, the best first; codes that Zero makes the same network are one, so perhaps fewer.

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


def covariance(X: torch.Tensor) -> torch.Tensor:
    """How alike the ratings of networks are expected to be, (n, n).

    A rating is a level, an effect of each of the network's features X (n, F), and something of its own.
    """
    return LEVEL + X @ X.T + SPECIFIC * torch.eye(len(X), dtype=X.dtype)


def posterior(K: torch.Tensor, known: Sequence[int], ratings: Sequence[float]) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance of all networks' ratings, each (n,), from those of the `known` ones: Bayesian linear regression.

    The variance is relative to that of an operation's effect; it depends on which networks are known, not on their ratings.
    """
    y = torch.tensor(ratings, dtype=K.dtype)
    gain = torch.linalg.solve(K[known][:, known] + NOISE * torch.eye(len(known), dtype=K.dtype), K[known])  # (known, n)
    return gain.T @ y, K.diagonal() - (K[known] * gain).sum(0)


@dataclass(frozen=True)
class Ratings:
    """What is known of `networks`: the `rated` ones (indices, in their order) with their `values`, and the `expected` of all, (n,)."""

    networks: list[Architecture]
    rated: list[int]
    values: list[float]
    expected: torch.Tensor

    def best(self, among: Sequence[int], count: int = 1) -> list[int]:
        """The `count` best expected ones `among` these indices, the best first."""
        return sorted(among, key=lambda i: -self.expected[i])[:count]


def rate(networks: Sequence[Architecture], rating: Callable[[list[Architecture]], list[float]], count: int,
         groups: Sequence[Sequence[int]] = (), together: int = 1) -> Ratings:
    """Rate `count` of the networks, `together` at a time, and expect the ratings of the others by regression.

    The first half are those of which least is known, given the ones before; then always the one that is expected to be best, by
    turns of each of the `groups` (indices; one group of all by default). `rating` is given a list of networks and returns theirs.
    """
    K, count = covariance(features(networks)), min(count, len(networks))
    turns = [set(group) for group in groups] or [set(range(len(networks)))]
    half, rated, values, mean = -(-count // 2), [], [], torch.zeros(len(K))
    while (start := len(rated)) < count:
        for i in range(start, min(start + together, half if start < half else count)):
            worth, left = mean, [j for j in range(len(networks)) if j not in rated]
            if start < half:
                worth = posterior(K, rated, [0.0] * i)[1]  # the variance: whatever their ratings will be
            else:
                left = [j for j in left if j in turns[i % len(turns)]] or left
            rated.append(max(left, key=worth.tolist().__getitem__))
        values += rating([networks[i] for i in rated[start:]])
        mean, _ = posterior(K, rated, values)
    return Ratings(list(networks), rated, values, mean)
