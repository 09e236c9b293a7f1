"""What every candidate costs, in milliseconds, multiply-adds or weights, and what a network of them costs (Eq. 5–6)."""

import math
from functools import lru_cache

import torch
from torch.nn.utils.rnn import pad_sequence

from .architecture import Architecture, count_macs
from .runtime import digest, send
from .spaces import Space


class Costs:
    """What every candidate of every edge costs, and the fixed part: `matrix` (E, N), 0 where an edge has no such path.

    `unit` is "ms", "MACs" or "params". Made by `costs`.
    """

    def __init__(self, space, fixed, rows, unit):
        self.space, self.fixed, self.unit = space, float(fixed), unit
        self.matrix = pad_sequence([torch.tensor(row, dtype=torch.float64) for row in rows], batch_first=True)
        self._copies = {}  # (device, precision) -> the matrix there

    def expected(self, net) -> torch.Tensor:
        """E[cost] of a SuperNet: fixed + Σ_edges Σ_j p_j F(o_j) (Eq. 5–6), a scalar tensor, differentiable in α.

        Raises ValueError for a network of another space.
        """
        self.check(net.space)
        rows = self.matrix_like(net.alpha_matrix())
        return self.fixed + sum((op.probabilities() * row[:len(op.names)]).sum() for op, row in zip(net.mixed_ops.values(), rows))

    def expected_under(self, p: torch.Tensor) -> torch.Tensor:
        """fixed + Σ p_j F(o_j) for probabilities (E, N), a scalar tensor."""
        return self.fixed + (p * self.matrix_like(p)).sum()

    def matrix_like(self, tensor: torch.Tensor) -> torch.Tensor:
        """The matrix with the device and precision of a tensor, copied there only once."""
        kind = tensor.device, tensor.dtype
        if kind not in self._copies:
            self._copies[kind] = send(self.matrix, tensor)
        return self._copies[kind]

    def check(self, space):
        """Raises ValueError unless the costs are for that space."""
        if space != self.space:
            raise ValueError(f"the costs are for {self.space}, not for a network of {space or 'a module of your own'}")

    def cost_of(self, network) -> float:
        """Cost of one network: an Architecture, or the index of its path on every edge; a float."""
        if isinstance(network, Architecture):
            self.check(network.space)
            self.space.check(network.choices)
            network = [edge.candidates.index(name) for edge, name in zip(self.space.edges(), network.choices)]
        sizes = [len(edge.candidates) for edge in self.space.edges()]
        if len(network) != len(sizes) or not all(0 <= i < n for i, n in zip(network, sizes)):
            raise ValueError(f"paths {list(network)} do not fit {self.space}, whose edges have {sizes} candidates")
        return self.fixed + sum(row[i] for row, i in zip(self.matrix.tolist(), network))

    of = cost_of  # the short name

    def bounds(self) -> tuple[float, float]:
        """Costs of the cheapest and of the most expensive network, floats."""
        rows = [row[:len(edge.candidates)] for row, edge in zip(self.matrix.tolist(), self.space.edges())]
        return self.fixed + sum(map(min, rows)), self.fixed + sum(map(max, rows))

    def most_probable(self, p: torch.Tensor, target: float, tolerance: float = 0.05, bins: int = 20_000) -> list[int]:
        """The most probable network under p (E, N) whose cost is within `tolerance` of `target`: the index of its path on every edge.

        Raises ValueError where none is found. `bins` are the steps of the knapsack from 0 to the target.
        """
        slack = (tolerance + 1e-9) * target                                # 1e-9: sums are rounded, tolerance may be 0
        paths = knapsack(p.double().cpu().log(), self.matrix, target - slack - self.fixed, target + slack - self.fixed, target / bins)
        if paths is None:
            least, most = self.bounds()
            raise ValueError(f"no network of {self.space} found that costs {target:.6g} {self.unit} within {100 * tolerance:g}%; "
                             f"they cost from {least:.6g} to {most:.6g}")
        return paths

    def __repr__(self):
        return f"Costs of {self.space} in {self.unit}, from {self.cost_of([0] * len(self.matrix)):.6g} for the first path on every edge, {digest(self.matrix)}"


def knapsack(log_p, cost, least, most, step):
    """One path per edge that maximises Σ log p subject to least ≤ Σ cost ≤ most: E indices, or None where none is found.

    `log_p` and `cost` are (E, N). Dynamic programming, edge by edge, over costs rounded to whole steps: of partial networks with
    equal steps only the most probable is kept, so the result is the best up to rounding. The limits apply to exact costs, kept too.
    """
    steps = (cost / step).round().long()                                   # (E, N)
    rounding = (cost / step - steps).abs().amax(1).sum().item()            # the most that it can add to a network's steps
    size = max(0, math.floor(most / step + rounding)) + 1
    best = torch.full((size,), -math.inf, dtype=torch.float64)             # best[c]: Σ log p of the network kept at c steps
    best[0] = 0
    exact = torch.zeros(size, dtype=torch.float64)                         # exact[c]: what it costs
    taken = []                                                             # per edge: its path there, (size,)
    for edge_log_p, edge_cost, edge_steps in zip(log_p, cost, steps.tolist()):
        options = torch.stack([moved(best, c, -math.inf) for c in edge_steps]) + edge_log_p[:, None]  # (N, size)
        costs = torch.stack([moved(exact, c, 0.0) for c in edge_steps]) + edge_cost[:, None]
        best, path = options.max(0)
        exact = costs.gather(0, path[None])[0]
        taken.append(path)
    best = best.where((exact >= least) & (exact <= most), -math.inf)
    if best.max() == -math.inf:
        return None
    at, paths = best.argmax().item(), []
    for path, edge_steps in zip(reversed(taken), reversed(steps.tolist())):
        paths.append(path[at].item())
        at -= edge_steps[paths[-1]]
    return paths[::-1]


def moved(values, by, fill):
    """Values (size,) moved up by that many places; the freed ones get `fill`."""
    return torch.cat([values.new_full((min(by, len(values)),), fill), values[:max(len(values) - by, 0)]])


def costs(net, source) -> Costs:
    """The Costs of a SuperNet or Space: in ms from a latency.Table or latency.Model, or in "macs" or "params".

    Raises KeyError naming a block that a table lacks; ValueError for a table of another input size, for another source,
    or for a SuperNet made from a module of your own.
    """
    space = net if isinstance(net, Space) else net.space
    if space is None:
        raise ValueError("costs need a space: this SuperNet is made from a module of your own, whose blocks have no known shape")
    edges = space.edges()
    if source in ("macs", "params"):
        price = candidate_macs if source == "macs" else candidate_params
        rows = [[price(edge, name) for name in edge.candidates] for edge in edges]
        first = Architecture(space, tuple(edge.candidates[0] for edge in edges))
        whole = first.macs() if source == "macs" else first.params()
        return Costs(space, whole - sum(row[0] for row in rows), rows, "MACs" if source == "macs" else source)
    if not hasattr(source, "__getitem__") or isinstance(source, str):
        raise ValueError(f"costs from {source!r} are not known; allowed: a latency.Table, a latency.Model, 'macs', 'params'")
    measured_at = source.input_sizes() if hasattr(source, "input_sizes") else []
    if measured_at and space.input_size not in measured_at:
        raise ValueError(f"the latency table is for input size {', '.join(map(str, measured_at))}, but {space} has {space.input_size}; measure that one")
    fixed = sum(source[block] for block in space.fixed_blocks())
    return Costs(space, fixed, [[source[edge.block(name)] for name in edge.candidates] for edge in edges], "ms")


@lru_cache(maxsize=None)
def candidate_macs(edge, name):
    """Multiply-adds of candidate `name` on `edge`, for one image."""
    return count_macs(candidate_on_meta(edge, name), torch.empty(1, edge.in_channels, edge.input_size, edge.input_size, device="meta"))


@lru_cache(maxsize=None)
def candidate_params(edge, name):
    """Number of weights of candidate `name` on `edge`."""
    return sum(p.numel() for p in candidate_on_meta(edge, name).parameters())


def candidate_on_meta(edge, name):
    with torch.device("meta"):
        return edge.operation(name).eval()
