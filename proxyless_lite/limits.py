"""Upper bounds on costs, several at once: the most probable networks that keep all of them, by integer programming."""

import math
from collections.abc import Sequence

import numpy as np
import torch

from .costs import Costs, Peaks, most_probable
from .objective import Objective

ROUNDING = 1e-9  # sums of costs are rounded


class Limits(Objective):
    """At most so much of each of several costs: pairs (Costs, the most allowed). `SuperNet.derive` and the choice among whole networks
    take it like an objective, and give networks that keep all limits; it has no target and does not change a loss.

    Raises ValueError for no limits, for one that is not above 0, and for costs of different spaces.
    """

    def __init__(self, limits: Sequence[tuple[Costs, float]]):
        limits = list(limits)
        if not limits:
            raise ValueError("Limits: give at least one pair (costs, the most allowed)")
        for costs, most in limits:
            if most is None or not (math.isfinite(most) and most > 0):
                raise ValueError(f"Limits: at most {most} {costs.unit} is no limit; give a number above 0")
            costs.check(limits[0][0].space)
        super().__init__(limits[0][0], None)
        self.limits = limits
        self.sums = [(costs, most) for costs, most in limits if not isinstance(costs, Peaks)]
        self.peaks = [(costs, most) for costs, most in limits if isinstance(costs, Peaks)]

    def allows(self, network) -> bool:
        """Whether a network, an Architecture or the path of every edge, keeps all limits."""
        return all(costs.cost_of(network) <= most * (1 + ROUNDING) for costs, most in self.limits)

    def tighter(self, costs: Costs, most: float) -> "Limits":
        """The same with another limit on `costs`, one of its Costs."""
        return Limits([(each, most if each is costs else own) for each, own in self.limits])

    def most_probable(self, net, k: int = 1, tolerance: float | None = None) -> list[list[int]]:
        """The k most probable networks that keep all limits, the best first; fewer if there are fewer. `tolerance` has no meaning here.

        The first is exact, and so are all under limits on several sums. Under a single sum the others come from `costs.knapsack`,
        which is faster, and are right up to its rounding. Raises ValueError where no network keeps all limits, naming what each would
        have to be, and for a SuperNet of another space.
        """
        self.costs.check(net.space)
        p = net.alpha_matrix().double().softmax(1)
        found = self.one_by_one(p.clamp_min(1e-300).log().numpy(), k if len(self.sums) > 1 else 1)
        if not found:
            raise ValueError(f"no network of {net.space} keeps all limits: {Problem(self).conflict()}")
        if len(found) < k and len(self.sums) < 2:
            p = p * torch.from_numpy(Problem(self).allowed)
            more = self.sums[0][0].at_most(p, self.sums[0][1] * (1 + ROUNDING), k) if self.sums else most_probable(p, k)
            found += [paths for paths in more if paths != found[0]][:k - 1]
        return found

    def one_by_one(self, worth, k):
        """The k choices with the largest Σ worth (E, N) that keep all limits, each by a program of its own."""
        problem, found = Problem(self), []
        while len(found) < k and (paths := problem.best(worth)) is not None:
            if self.allows(paths):  # the solver allows a little more
                found.append(paths)
            problem.exclude(paths)
        return found

    def __repr__(self):
        return f"Limits({', '.join(f'{costs!r} <= {most:.6g}' for costs, most in self.limits)})"


class Problem:
    """One path of every edge, so that Σ cost ≤ limit for every sum, and no block above the limit of a peak."""

    def __init__(self, limits):
        self.limits, self.sums, self.peaks = limits.limits, limits.sums, limits.peaks
        self.edges = [len(edge.candidates) for edge in limits.costs.space.edges()]
        allowed = np.array([[j < n for j in range(max(self.edges))] for n in self.edges])                 # (E, N)
        for costs, most in self.peaks:
            allowed &= (costs.matrix.numpy() <= most) & (costs.fixed <= most)
        self.allowed, self.excluded = allowed, []
        self.one_each = np.repeat(np.eye(len(self.edges)), max(self.edges), 1)                            # (E, E·N)

    def best(self, worth, without=None):
        """The choice with the largest Σ worth (E, N), a list of E indices, or None; `without` the limit on one of the sums."""
        from scipy.optimize import LinearConstraint, milp  # here, since importing SciPy takes a second
        rows = [(costs.matrix.numpy().ravel() / most, 1 - costs.fixed / most) for costs, most in self.sums if costs is not without]
        rows += [(chosen, len(self.edges) - 1) for chosen in self.excluded]
        kept = [LinearConstraint(self.one_each, 1, 1)]
        if rows:
            kept.append(LinearConstraint(np.array([row for row, _ in rows]), ub=[most for _, most in rows]))
        answer = milp(-worth.ravel(), integrality=np.ones(worth.size), bounds=(0, self.allowed.ravel().astype(float)),
                      constraints=kept, options={"mip_rel_gap": 0})
        return None if answer.x is None else answer.x.reshape(worth.shape).argmax(1).tolist()

    def exclude(self, paths):
        """Leave a choice out from now on."""
        chosen = np.zeros_like(self.allowed, float)
        chosen[range(len(paths)), paths] = 1
        self.excluded.append(chosen.ravel())

    def conflict(self):
        """In words: what each limit would have to be if the others were kept."""
        told, self.excluded = [], []
        for costs, most in self.peaks:
            edges = np.where([[j < n for j in range(max(self.edges))] for n in self.edges], costs.matrix.numpy(), np.inf)
            least = max(costs.fixed, edges.min(1).max())
            if least > most:
                told.append(f"{least:,.6g} {costs.unit} are needed, {least - most:,.6g} more than the limit of {most:,.6g}")
        for costs, most in self.sums if not told else ():
            paths = self.best(-costs.matrix.numpy(), without=costs)
            if paths is not None and (least := costs.cost_of(paths)) > most:
                told.append(f"with the others at least {least:,.6g} {costs.unit} are needed, {least - most:,.6g} more than the limit of {most:,.6g}")
        return "; ".join(told) or "the limits on " + ", ".join(costs.unit for costs, _ in self.limits) + " exclude each other; loosen more than one"
