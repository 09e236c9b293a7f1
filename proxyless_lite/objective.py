"""What a search aims at beside accuracy: E[latency] and the losses and rewards made of it (§3.3, Eq. 5–7)."""

import math

import torch
from torch.nn.utils.rnn import pad_sequence

from .architecture import Architecture, candidate_macs, candidate_params
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

    def expected(self, net):
        """E[cost] of a SuperNet: fixed + Σ_edges Σ_j p_j F(o_j) (Eq. 5–6), a scalar tensor, differentiable in α.

        Raises ValueError for a network of another space.
        """
        self.check(net.space)
        rows = self.like(net.alpha_matrix())
        return self.fixed + sum((op.probabilities() * row[:len(op.names)]).sum() for op, row in zip(net.mixed_ops.values(), rows))

    def under(self, p):
        """fixed + Σ p_j F(o_j) for probabilities (E, N), a scalar tensor."""
        return self.fixed + (p * self.like(p)).sum()

    def like(self, tensor):
        """The matrix with the device and precision of a tensor, sent there once and not in every step."""
        kind = tensor.device, tensor.dtype
        if kind not in self._copies:
            self._copies[kind] = send(self.matrix, tensor)
        return self._copies[kind]

    def check(self, space):
        """Raises ValueError unless these are the costs of that space."""
        if space != self.space:
            raise ValueError(f"the costs are for {self.space}, not for a network of {space or 'a module of your own'}")

    def of(self, network):
        """Cost of one network: an Architecture, or the index of its path on every edge; a float."""
        if isinstance(network, Architecture):
            self.check(network.space)
            self.space.check(network.choices)
            network = [edge.candidates.index(name) for edge, name in zip(self.space.edges(), network.choices)]
        sizes = [len(edge.candidates) for edge in self.space.edges()]
        if len(network) != len(sizes) or not all(0 <= i < n for i, n in zip(network, sizes)):
            raise ValueError(f"paths {list(network)} do not fit {self.space}, whose edges have {sizes} candidates")
        return self.fixed + sum(row[i] for row, i in zip(self.matrix.tolist(), network))

    def extremes(self):
        """Costs of the cheapest and of the dearest network, floats."""
        rows = [row[:len(edge.candidates)] for row, edge in zip(self.matrix.tolist(), self.space.edges())]
        return self.fixed + sum(map(min, rows)), self.fixed + sum(map(max, rows))

    def most_probable(self, p, target, tolerance=0.05, bins=20_000):
        """The most probable network under p (E, N) whose cost is within `tolerance` of `target`: the index of its path on every edge.

        A knapsack: maximise Σ log p of one path an edge, subject to |cost − target| ≤ tolerance · target. By dynamic
        programming over costs in steps of target / bins: of networks that share a step only the most probable is followed.
        Its true cost goes along, and what is returned keeps the limits by that. Raises ValueError where none is found.
        """
        step = target / bins
        cost = (self.matrix / step).round()                                       # (E, N), in steps
        off = (self.matrix / step - cost).abs().amax(1).sum().item()              # rounding of a whole network, at most
        size = max(0, math.floor((1 + tolerance) * bins - self.fixed / step + off)) + 1
        best, true, taken = torch.full((size,), -math.inf, dtype=torch.float64), torch.zeros(size, dtype=torch.float64), []
        best[0] = 0                                                               # best[c]: log p of the best paths so far in step c,
        for log_p, spent, row in zip(p.double().cpu().log(), cost.long().tolist(), self.matrix.tolist()):  # true[c]: what they cost
            options, trues = torch.full((2, len(row), size), -math.inf, dtype=torch.float64)
            for j, (c, exact) in enumerate(zip(spent, row)):
                options[j, c:] = best[:max(size - c, 0)] + log_p[j]
                trues[j, c:] = true[:max(size - c, 0)] + exact
            best, choice = options.max(0)
            true = trues.gather(0, choice[None])[0]
            taken.append(choice)
        near = (self.fixed + true - target).abs() <= (tolerance + 1e-9) * target  # 1e-9: sums are rounded, tolerance may be 0
        best = best.where(near, -math.inf)
        if best.max() == -math.inf:
            least, most = self.extremes()
            raise ValueError(f"no network of {self.space} found that costs {target:.6g} {self.unit} within {100 * tolerance:g}%; "
                             f"they cost from {least:.6g} to {most:.6g}")
        at, paths = best.argmax().item(), []
        for choice, spent in zip(reversed(taken), reversed(cost.long().tolist())):
            paths.append(choice[at].item())
            at -= spent[paths[-1]]
        return paths[::-1]

    def __repr__(self):
        return f"Costs of {self.space} in {self.unit}, from {self.of([0] * len(self.matrix)):.6g} for the first path on every edge, {digest(self.matrix)}"


def costs(net, source):
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


class LatencyPenalty:
    """The loss of the gradient rules: cross-entropy CE and expected cost E in one, of four forms.

    "linear"      CE + weight · E                                 (Eq. 7: weight is λ₂, in 1/ms)
    "add#linear"  CE + weight · (E − target) / target             (as released, with weight 0.1)
    "abs#linear"  CE + weight · |E − target| / target             (ours: pulls to the target from both sides)
    "mul#log"     scale · CE · (log E / log target)^weight        (as released and their default, with scale 0.2, weight 0.3)

    `over` says under TwoPath which paths E is taken over: "pair", the two sampled ones with their probabilities reset, as
    §3.2.1 does with everything, or "all", every path by its full p as Eq. 5 is written. Other rules always use all.
    "linear" needs no target. Raises ValueError for an unknown form, a target missing or not above 0, and for logarithms that
    are not above 0.
    """

    FORMS = {  # (penalty, CE, E) -> loss
        "linear": lambda self, ce, e: ce + self.weight * e,
        "add#linear": lambda self, ce, e: ce + self.weight * (e - self.target) / self.target,
        "abs#linear": lambda self, ce, e: ce + self.weight * (e - self.target).abs() / self.target,
        "mul#log": lambda self, ce, e: self.scale * ce * (e.log() / math.log(self.target)) ** self.weight,
    }

    def __init__(self, costs, weight, target=None, form="linear", over="pair", scale=0.2):
        if form not in self.FORMS or over not in ("pair", "all"):
            raise ValueError(f"LatencyPenalty(form={form!r}, over={over!r}): form is one of {', '.join(self.FORMS)}, over is pair or all")
        if form != "linear" or target is not None:
            check_target(self, target)
        if not (math.isfinite(weight) and weight >= 0):
            raise ValueError(f"LatencyPenalty(weight={weight}): must be a finite number, not negative")
        cheapest, _ = costs.extremes()
        if form == "mul#log" and min(target, cheapest) <= 1:
            raise ValueError(f"LatencyPenalty(form='mul#log'): its logarithms need costs above 1, but the target is {target:.4g} "
                             f"and the cheapest network {cheapest:.4g} {costs.unit}; use another form")
        self.costs, self.weight, self.target, self.form, self.over, self.scale = costs, weight, target, form, over, scale

    def loss(self, ce, expected):
        """The loss from CE and E, both scalar tensors."""
        return self.FORMS[self.form](self, ce, expected)

    def verdict(self, net, tolerance=0.1):
        """One line: does the network that `net.derive()` gives now cost the target, within `tolerance`, and if not, why not."""
        costs, target = self.costs, self.target
        derived, expected = costs.of(net.best_paths()), costs.expected(net).item()
        if target is None:
            return f"no target: derived network {derived:.4g} {costs.unit}, expected {expected:.4g}"
        told = (f"target {target:.4g} {costs.unit}: derived network {derived:.4g} ({derived / target - 1:+.0%}), "
                f"expected {expected:.4g} ({expected / target - 1:+.0%})")
        if abs(derived / target - 1) <= tolerance:
            return told
        if abs(expected / target - 1) <= tolerance:
            return told + (f"; the expectation is there, but α has not decided (mean entropy {net.entropy():.2f} nats): take the most "
                           f"probable network that costs the target, net.derive(aim), or search longer or with a larger alpha_lr")
        return told + "; accuracy outweighs the penalty or the reverse: change the weight"

    def slopes(self, ce, p):
        """∂loss/∂CE and ∂loss/∂E at CE and at E under probabilities p (E, N)."""
        with torch.enable_grad():
            at = [value.detach().clone().requires_grad_() for value in (ce.to(p), self.costs.under(p))]
            return torch.autograd.grad(self.loss(*at), at, allow_unused=True)

    def __repr__(self):
        scale = f", scale={self.scale}" if self.form == "mul#log" else ""
        return f"LatencyPenalty({self.costs!r}, weight={self.weight}, target={self.target}, form={self.form!r}, over={self.over!r}{scale})"


class Reward:
    """The reward of REINFORCE: accuracy · (cost / target)^exponent, exponent −0.1 as released.

    `sided` 2: a network faster than the target gains, as released (MnasNet's soft form); 1: only slower ones lose.
    """

    def __init__(self, costs, target, exponent=-0.1, sided=2):
        check_target(self, target)
        if sided not in (1, 2) or not (math.isfinite(exponent) and exponent <= 0):
            raise ValueError(f"Reward(exponent={exponent}, sided={sided}): exponent must be 0 or below, sided 1 or 2")
        self.costs, self.target, self.exponent, self.sided = costs, target, exponent, sided

    def __call__(self, accuracy, network):
        """Reward of a network, given as an Architecture or path indices, whose accuracy is a scalar (tensor)."""
        over = self.costs.of(network) / self.target
        return accuracy * (max(over, 1.0) if self.sided == 1 else over) ** self.exponent

    def __repr__(self):
        return f"Reward({self.costs!r}, target={self.target}, exponent={self.exponent}, sided={self.sided})"


def check_target(objective, target):
    if target is None or not (math.isfinite(target) and target > 0):
        raise ValueError(f"{type(objective).__name__}(target={target}): give the cost to aim at, above 0")
