"""What every candidate costs, in milliseconds, multiply-adds or weights, and what a network of them costs (Eq. 5–6)."""

import json
import math
import shlex
from dataclasses import replace
from functools import lru_cache

import torch
from torch.nn.utils.rnn import pad_sequence

from .activations import live
from .architecture import Architecture, count_macs
from .runtime import digest, send
from .spaces import BY_NAME, Space


class Costs:
    """What every candidate of every edge costs, and the fixed part: `matrix` (E, N), 0 where an edge has no such path.

    `unit` is "ms", "MACs", "params" or "bytes". Made by `costs`.
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
        return self.expected_under(pad_sequence([op.probabilities() for op in net.mixed_ops.values()], batch_first=True))

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
        return self.together(row[i] for row, i in zip(self.matrix.tolist(), network))

    of = cost_of  # the short name

    def together(self, costs) -> float:
        """Cost of a network, from that of the chosen path of every edge."""
        return self.fixed + sum(costs)

    def bounds(self) -> tuple[float, float]:
        """Costs of the cheapest and of the most expensive network, floats."""
        rows = [row[:len(edge.candidates)] for row, edge in zip(self.matrix.tolist(), self.space.edges())]
        return self.together(map(min, rows)), self.together(map(max, rows))

    def most_probable(self, p: torch.Tensor, target: float, k: int = 1, tolerance: float = 0.05,
                      bins: int | None = None) -> list[list[int]]:
        """The k most probable networks under p (E, N) whose cost is within `tolerance` of `target`.

        A network is the index of its path on every edge; the best comes first, and there may be fewer than k.
        `bins` are the steps of the knapsack from 0 to the target: by default 20,000, and 2,000 for more than
        one network. Raises ValueError where none is found.
        """
        slack = (tolerance + 1e-9) * target  # 1e-9: sums are rounded, tolerance may be 0
        least, most = target - slack - self.fixed, target + slack - self.fixed
        step = target / (bins or (20_000 if k == 1 else 2_000))
        found = knapsack(p.double().cpu().log(), self.matrix, least, most, step, k)
        if not found:
            least, most = self.bounds()
            raise ValueError(f"no network of {self.space} found that costs {target:.6g} {self.unit} "
                             f"within {100 * tolerance:g}%; they cost from {least:.6g} to {most:.6g}")
        return found

    def at_most(self, p: torch.Tensor, most: float, k: int = 1) -> list[list[int]]:
        """The k most probable networks under p (E, N) that cost `most` or less, the best first; fewer, perhaps none, if there are fewer."""
        return knapsack(p.double().cpu().log(), self.matrix, -math.inf, most - self.fixed, most / 2_000, k)

    def __repr__(self):
        return f"Costs of {self.space} in {self.unit}, from {self.cost_of([0] * len(self.matrix)):.6g} for the first path on every edge, {digest(self.matrix)}"


def most_probable(p: torch.Tensor, k: int) -> list[list[int]]:
    """The k most probable networks under p (E, N), whatever they cost, the best first: of each the path of every edge."""
    log_p = p.double().cpu().log()
    return knapsack(log_p, torch.zeros_like(log_p), 0.0, 0.0, 1.0, k)


def knapsack(log_p, cost, least, most, step, k=1):
    """The k choices of one path per edge with the largest Σ log p, subject to least ≤ Σ cost ≤ most: lists of E indices, the best first.

    `log_p` and `cost` are (E, N). Dynamic programming, edge by edge, over costs rounded to whole steps: of partial networks with
    equal steps only the k most probable are kept, so the result is right up to rounding. The limits apply to exact costs, kept too.
    Fewer than k, perhaps none, where no more are found.
    """
    steps = (cost / step).round().long()                                   # (E, N)
    rounding = (cost / step - steps).abs().amax(1).sum().item()            # the most that it can add to a network's steps
    size = max(0, math.floor(most / step + rounding)) + 1
    best = torch.full((k, size), -math.inf, dtype=torch.float64)           # best[:, c]: Σ log p of the networks kept at c steps
    best[0, 0] = 0
    exact = torch.zeros(k, size, dtype=torch.float64)                      # exact[:, c]: what they cost
    taken = []                                                             # per edge: k · path + rank before it, (k, size)
    for edge_log_p, edge_cost, edge_steps in zip(log_p, cost, steps.tolist()):
        options = torch.cat([moved(best, c, -math.inf) + log for c, log in zip(edge_steps, edge_log_p)])  # (N·k, size)
        costs = torch.cat([moved(exact, c, 0.0) + own for c, own in zip(edge_steps, edge_cost)])
        best, option = options.max(0, keepdim=True) if k == 1 else options.topk(k, 0)
        exact = costs.gather(0, option)
        taken.append(option.int())
    best = best.where((exact >= least) & (exact <= most), -math.inf).flatten()
    order = best.sort(descending=True, stable=True).indices[:k]
    return [path_to(divmod(at, size), taken, steps.tolist(), k) for at in order.tolist() if best[at] > -math.inf]


def path_to(place, taken, steps, k):
    """The E indices of the network kept at a place (rank, steps) of the last edge, followed back to the first."""
    (rank, at), paths = place, []
    for options, edge_steps in zip(reversed(taken), reversed(steps)):
        path, rank = divmod(options[rank, at].item(), k)
        at -= edge_steps[path]
        paths.append(path)
    return paths[::-1]


def moved(values, by, fill):
    """Values (k, size) moved up by that many places; the freed ones get `fill`."""
    size = values.shape[1]
    return torch.cat([values.new_full((len(values), min(by, size)), fill), values[:, :max(size - by, 0)]], 1)


def costs(net, source) -> Costs:
    """The Costs of a SuperNet or Space: in ms from a latency.Table or latency.Model, or in "macs" or "params", or of "memory".

    "memory" is the peak of what a network keeps alive on one image, in bytes (see Peaks).

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
    if source == "memory":
        return peaks(space)
    if not hasattr(source, "__getitem__") or isinstance(source, str):
        raise ValueError(f"costs from {source!r} are not known; allowed: a latency.Table, a latency.Model, 'macs', 'params', 'memory'")
    measured_at = source.input_sizes() if hasattr(source, "input_sizes") else []
    if measured_at and space.input_size not in measured_at:
        raise ValueError(f"the latency table is for input size {', '.join(map(str, measured_at))}, but {space} has {space.input_size}; {measured_by(space)}")
    try:
        fixed = sum(source[block] for block in space.fixed_blocks())
        return Costs(space, fixed, [[source[edge.block(name)] for name in edge.candidates] for edge in edges], "ms")
    except KeyError as error:
        raise KeyError(f"{error.args[0]}; {measured_by(space)}") from None


def measured_by(space):
    """What to do for a latency table of a space."""
    if space.name not in BY_NAME:
        return "measure that one, by latency.measure"
    settings = " ".join(shlex.quote(f"{name}={value if isinstance(value, (int, float, str)) else json.dumps(value)}") for name, value in space.settings.items())
    return f"measure that one: proxyless-latency measure --space {space.name} --set {settings} --out t.csv (or kit, for another device)"


def candidate_macs(edge, name):
    """Multiply-adds of candidate `name` on `edge`, for one image."""
    edge.check(name)
    return macs_of(replace(edge, name=""), name)  # counted once for all edges of one shape and candidates


def candidate_params(edge, name):
    """Number of weights of candidate `name` on `edge`."""
    edge.check(name)
    return params_of(replace(edge, name=""), name)


@lru_cache(maxsize=None)
def macs_of(edge, name):
    return count_macs(candidate_on_meta(edge, name), torch.empty(1, edge.in_channels, edge.input_size, edge.input_size, device="meta"))


@lru_cache(maxsize=None)
def params_of(edge, name):
    return sum(p.numel() for p in candidate_on_meta(edge, name).parameters())


def candidate_on_meta(edge, name):
    with torch.device("meta"):
        return edge.operation(name).eval()


# -- peak memory: the largest over the edges, not their sum -----------------------------------------------------------


class Peaks(Costs):
    """What every candidate's block keeps alive at once, in bytes, while a network runs on one image; a network's is the largest.

    `fixed` is the peak before the first edge.
    """

    def expected_under(self, p):
        """E[max] under independent edges: Σ over the values v of v · (P(max ≤ v) − P(max < v)), P(max ≤ v) = Π_e Σ_{j: m_ej ≤ v} p_ej."""
        matrix = self.matrix_like(p).clamp_min(self.fixed)
        values = matrix.unique()                                               # (V,), ascending
        below = (p * (matrix <= values[:, None, None])).sum(2).prod(1)         # (V,): P(max ≤ v)
        return (values * below.diff(prepend=below.new_zeros(1))).sum()

    def together(self, costs):
        return max([self.fixed, *costs])

    def most_probable(self, p, target, k=1, tolerance=0.05, bins=None):
        raise ValueError("a network's peak memory is that of its largest block, so it has limits but no target; give pl.Limits")


def peaks(space) -> Peaks:
    """The Peaks of a space whose edges follow each other.

    Raises ValueError for one in which several edges run while another's output waits: there ask each network, Architecture.peak_memory.
    """
    sizes = [len(edge.candidates) for edge in space.edges()]
    found = [segments(space, [min(j, n - 1) for n in sizes]) for j in range(max(sizes))]
    rows = [[found[j][1 + e] for j in range(n)] for e, n in enumerate(sizes)]
    made = Peaks(space, max(one[0] for one in found), rows, "bytes")
    for seed in range(3):
        draw = torch.Generator().manual_seed(seed)
        paths = [torch.randint(n, (), generator=draw).item() for n in sizes]
        if max(segments(space, paths)) != made.cost_of(paths):
            raise ValueError(f"in {space} what is alive depends on several edges at once; ask each network, Architecture.peak_memory()")
    return made


def segments(space, paths):
    """Peaks of the network with these paths: before the first edge, and from each edge's operation on until the next one's."""
    found, order = [0.0] * (1 + len(paths)), iter(enumerate(paths))
    current = [0]

    def fill(edge):
        number, path = next(order)
        operation = edge.operation(edge.candidates[path])

        def begin(*_):
            found[current[0]] = max(found[current[0]], counter.restart())
            current[0] = 1 + number
        operation.register_forward_pre_hook(begin)
        return operation
    with torch.device("meta"):
        network, image = space.network(fill).eval(), torch.empty(1, 3, space.input_size, space.input_size)
    with live(image) as counter:
        network(image)
    found[current[0]] = max(found[current[0]], counter.peak)
    return found
