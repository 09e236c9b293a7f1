"""What a search optimises besides accuracy: E[latency], and the losses and rewards made of it (§3.3, Eq. 5–7)."""

import math

import torch

from .costs import Costs, Peaks, costs, most_probable  # noqa: F401 - costs also imported from here


class Objective:
    """Accuracy under a cost: `costs`, and the `target` cost or None.

    Raises ValueError for a target that is not above 0, and for one of peak memory, which has limits only (Limits).
    """

    def __init__(self, costs, target):
        if target is not None:
            check_target(self, target)
            if isinstance(costs, Peaks):
                raise ValueError("a network's peak memory is that of its largest block, so it has limits but no target; give pl.Limits")
        self.costs, self.target = costs, target

    def allows(self, network) -> bool:
        """Whether a network, an Architecture or the path of every edge, costs the target within 5 %.

        Without a target none is allowed: only α weighs the accuracy of networks against their costs then.
        """
        return self.target is not None and abs(self.costs.cost_of(network) / self.target - 1) <= 0.05

    def most_probable(self, net, k: int = 1, tolerance: float | None = 0.05) -> list[list[int]]:
        """The k most probable networks, the best first: of each the path of every edge. With a target, of those within `tolerance` of it.

        None means 5 %, doubled until there is such a network. Raises ValueError where no such network is found, and for a SuperNet
        of another space.
        """
        p = net.alpha_matrix().double().softmax(1)                         # in float32 an abandoned path has p = 0, log p = −∞
        if self.target is None:
            return most_probable(p, k)
        self.costs.check(net.space)
        if tolerance is not None:
            return self.costs.most_probable(p, self.target, k, tolerance)
        least, most = self.costs.bounds()
        tolerance, target = 0.05, min(max(self.target, least), most)       # beyond both, the bound is the nearest
        while True:
            try:
                return self.costs.most_probable(p, target, k, tolerance)
            except ValueError:  # no network costs that
                tolerance *= 2


class LatencyPenalty(Objective):
    """The loss of the gradient rules: cross-entropy CE and expected cost E in one, of four forms.

    "linear"      CE + weight · E                                 (Eq. 7: weight is λ₂, in 1/ms)
    "add#linear"  CE + weight · (E − target) / target             (as released, with weight 0.1)
    "abs#linear"  CE + weight · |E − target| / target             (ours: pulls to the target from both sides)
    "mul#log"     scale · CE · (log E / log target)^weight        (as released and their default, with scale 0.2, weight 0.3)

    `over` says which paths E is taken over under TwoPath: "pair", the two sampled ones with renormalised probabilities as in
    §3.2.1, or "all", every path by its full p as in Eq. 5. Other rules always use all. "linear" needs no target. Raises
    ValueError for an unknown form, costs in bytes, a target missing or not above 0, and for logarithms that are not above 0.
    """

    FORMS = {  # (penalty, CE, E) -> loss
        "linear": lambda self, ce, e: ce + self.weight * e,
        "add#linear": lambda self, ce, e: ce + self.weight * (e - self.target) / self.target,
        "abs#linear": lambda self, ce, e: ce + self.weight * (e - self.target).abs() / self.target,
        "mul#log": lambda self, ce, e: self.scale * ce * (e.log() / math.log(self.target)) ** self.weight,
    }

    def __init__(self, costs: Costs, weight: float, target: float | None = None, form: str = "linear", over: str = "pair", scale: float = 0.2):
        if form not in self.FORMS or over not in ("pair", "all"):
            raise ValueError(f"LatencyPenalty(form={form!r}, over={over!r}): form is one of {', '.join(self.FORMS)}, over is pair or all")
        if form != "linear" or target is not None:
            check_target(self, target)
        if not (math.isfinite(weight) and weight >= 0):
            raise ValueError(f"LatencyPenalty(weight={weight}): must be a finite number, not negative")
        if costs.unit == "bytes":
            raise ValueError("the peak memory of a network is not a sum over its edges, as a penalty needs; bound it with Limits instead")
        cheapest, _ = costs.bounds()
        if form == "mul#log" and min(target or 0, cheapest) <= 1:
            raise ValueError(f"LatencyPenalty(form='mul#log'): its logarithms need costs above 1, but the target is {target:.4g} "
                             f"and the cheapest network {cheapest:.4g} {costs.unit}; use another form")
        super().__init__(costs, target)
        self.weight, self.form, self.over, self.scale = weight, form, over, scale
        self.parts: tuple = (self,)  # of a sum of penalties

    def __add__(self, other):
        return Penalties(*self.parts, *other.parts) if isinstance(other, LatencyPenalty) else NotImplemented

    def loss(self, ce, expected):
        """The loss from CE and E, both scalar tensors."""
        return self.FORMS[self.form](self, ce, expected)

    def verdict(self, net, tolerance: float = 0.1) -> str:
        """One line: does the network that `net.derive()` gives now cost the target within `tolerance`, and if not, why."""
        costs, target = self.costs, self.target
        derived, expected = costs.cost_of(net.best_paths()), costs.expected(net).item()
        if target is None:
            return f"no target: derived network {derived:.4g} {costs.unit}, expected {expected:.4g}"
        told = (f"target {target:.4g} {costs.unit}: derived network {derived:.4g} ({derived / target - 1:+.0%}), "
                f"expected {expected:.4g} ({expected / target - 1:+.0%})")
        if abs(derived / target - 1) <= tolerance:
            return told
        if abs(expected / target - 1) <= tolerance:
            return told + (f"; the expected cost is met, but α has not decided (mean entropy {net.entropy():.2f} nats): take the most "
                           f"probable network that costs the target, net.derive(objective), or search longer or with a larger alpha_lr")
        return told + "; accuracy outweighs the penalty or the reverse: change the weight"

    def partials(self, ce, p):
        """∂loss/∂CE, and ∂loss/∂E of each part, at CE and at E under probabilities p (E, N)."""
        with torch.enable_grad():
            at = [value.detach().clone().requires_grad_() for value in (ce.to(p), *(part.costs.expected_under(p) for part in self.parts))]
            return torch.autograd.grad(self.loss(*at), at, allow_unused=True)

    def __repr__(self):
        scale = f", scale={self.scale}" if self.form == "mul#log" else ""
        return f"LatencyPenalty({self.costs!r}, weight={self.weight}, target={self.target}, form={self.form!r}, over={self.over!r}{scale})"


class Penalties(LatencyPenalty):
    """Several LatencyPenalties at once, made by adding them: each takes the loss of the one before for its CE.

    The first one's target is that of the found network; Limits bound the others. Raises ValueError for costs of different spaces and
    where `over` differs.
    """

    def __init__(self, *parts: LatencyPenalty):
        Objective.__init__(self, parts[0].costs, parts[0].target)
        self.parts, self.over = parts, parts[0].over
        for part in parts:
            part.costs.check(self.costs.space)
            if part.over != self.over:
                raise ValueError(f"penalties over {self.over!r} and over {part.over!r} cannot be added; give all the same")

    def loss(self, ce, *expected):
        """The loss from CE and the E of each part, scalar tensors."""
        for part, value in zip(self.parts, expected, strict=True):
            ce = part.loss(ce, value)
        return ce

    def verdict(self, net, tolerance: float = 0.1) -> str:
        """One line: the verdicts of all parts."""
        return "; ".join(part.verdict(net, tolerance) for part in self.parts)

    def __repr__(self):
        return " + ".join(map(repr, self.parts))


class Reward(Objective):
    """The reward of REINFORCE: accuracy · (cost / target)^exponent, exponent −0.1 as released.

    `sided` 2: a network faster than the target gains, as released (MnasNet's soft form); 1: only slower ones lose.
    """

    def __init__(self, costs: Costs, target: float, exponent: float = -0.1, sided: int = 2):
        check_target(self, target)
        if sided not in (1, 2) or not (math.isfinite(exponent) and exponent <= 0):
            raise ValueError(f"Reward(exponent={exponent}, sided={sided}): exponent must be 0 or below, sided 1 or 2")
        super().__init__(costs, target)
        self.exponent, self.sided = exponent, sided

    def __call__(self, accuracy, network):
        """Reward of a network, given as an Architecture or path indices, whose accuracy is a scalar (tensor)."""
        over = self.costs.cost_of(network) / self.target
        return accuracy * (max(over, 1.0) if self.sided == 1 else over) ** self.exponent

    def __repr__(self):
        return f"Reward({self.costs!r}, target={self.target}, exponent={self.exponent}, sided={self.sided})"


def check_target(objective, target):
    if target is None or not (math.isfinite(target) and target > 0):
        raise ValueError(f"{type(objective).__name__}(target={target}): give a target cost above 0")
