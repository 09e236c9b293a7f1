"""How α moves: estimators of ∂L/∂α and the update made of them (§3.2.1, App. D, Eq. 8)."""

from collections.abc import Callable

import torch
from torch.nn import functional as F

from .config import name_of
from .objective import LatencyPenalty, Reward
from .runtime import fetch, send


def eq4(gate_gradient: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """Eq. (4): ∂L/∂α_i = Σ_j ∂L/∂g_j · q_j (δ_ij − q_i) = q_i (∂L/∂g_i − Σ_j q_j ∂L/∂g_j), row by row.

    Both matrices are (E, N); paths with q = 0 take no part.
    """
    return q * (gate_gradient - (q * gate_gradient).sum(1, keepdim=True))


def draw(alpha: torch.Tensor, count: int, generator: torch.Generator | None = None) -> torch.Tensor:
    """`count` distinct paths per edge, in the order drawn: the first ~ p, the second ~ p_j / (1 − p_i), … (E, count).

    p = softmax(alpha), and alpha (E, N) is −∞ where an edge has no such path. One batched draw on the CPU. An edge with fewer
    candidates draws absent paths after its own, which `probe` leaves out. Raises ValueError if all edges have fewer.
    """
    p, some = alpha.softmax(1), alpha > -torch.inf
    few = some.sum(1) < count
    if few.all():
        raise ValueError(f"no edge has {count} candidates, but {count} are compared; at least one edge needs that many")
    some[few, :count] = True
    p = torch.where(some, p.clamp_min(1e-20), 0)  # neither an abandoned path nor an absent one may make the draw fail
    return torch.multinomial(p, count, generator=generator)


class Rule:
    """One update of α on one validation batch. A rule of your own needs only `estimate`.

    A rule sees the network and its loss on the batch, nothing else: `loss(backward=False)` runs the network with its present
    gates and returns {"loss": a scalar tensor, …}; with `backward` it also fills what the gates ask for. L is that loss, or with
    an `objective` a combination of it and a cost: a LatencyPenalty for rules that use gradients, a Reward for Reinforce, the pair
    of both for Combined.
    """

    objective_type = LatencyPenalty

    def check(self, objective):
        """Raises ValueError for an objective that does not suit this rule."""
        if objective is not None and not isinstance(objective, self.objective_type):
            raise ValueError(f"{type(self).__name__} follows a {self.objective_type.__name__}, not {objective!r}")

    def estimate(self, net, loss: Callable, generator=None, objective=None) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """An estimate of ∂L/∂α, a matrix (E, N), and the metrics of `loss`, tensors on any device. Weights stay as they are.

        α and all draws from it are on the CPU; `update` copies the estimate there, and nothing before it should wait.
        """
        raise TypeError(f"{type(self).__name__} has no estimate(net, loss, generator, objective=None)")

    def update(self, net, optimizer, loss: Callable, generator=None, objective=None) -> dict[str, torch.Tensor]:
        """Estimate, step the `optimizer` of α, then `after_step`. Returns the metrics, on the CPU."""
        gradient, metrics = self.estimate(net, loss, generator, *[objective] * (objective is not None))
        gradient, *values = fetch(gradient, *metrics.values())
        metrics = dict(zip(metrics, values))
        before = net.alpha_matrix()
        net.set_alpha_gradient(gradient)
        optimizer.step()
        self.after_step(net, before)
        return metrics

    def after_step(self, net, before):
        """What the rule does to α after the optimizer's step; `before` is α (E, N) before it."""

    def state_dict(self):
        """The state of the rule that a resumed run needs."""
        return {}

    def load_state_dict(self, state):
        """Restore what `state_dict` gave."""

    def __repr__(self):
        settings = ", ".join(f"{k}={name_of(v)}" for k, v in vars(self).items() if not k.startswith("_"))
        return f"{type(self).__name__}({settings})"


def probe(net, loss, active, others):
    """Forward and backward with Probes and frozen weights: ∂L/∂g (E, N), Eq. (9), and the metrics. Absent paths are left out."""
    net.probe(active, [[j for j in js if j < len(op.names)] for js, op in zip(others, net.mixed_ops.values())])
    with net.frozen():
        metrics = loss(backward=True)
    return net.gate_gradients(), metrics


def with_cost(gradient, metrics, objective, q):
    """Turn ∂CE/∂α into the gradient of the objective, with the expected cost E under probabilities q (E, N).

    ∂E/∂α_i = q_i (F_i − Σ_j q_j F_j), which is Eq. (4) with the costs F for ∂L/∂g: known for every path, even where the active
    path is Zero.
    """
    if objective is None:
        return gradient, metrics
    by_ce, *by_costs = objective.partials(metrics["loss"], q)
    of_costs = sum(by_cost * eq4(part.costs.matrix_like(gradient), q) for by_cost, part in zip(by_costs, objective.parts))
    return by_ce * gradient + of_costs, metrics


class TwoPath(Rule):
    """§3.2.1: sample two paths by p, mask the others, Eq. (4) on the two, then rescale.

    The rescale adds one number to both α so that the probabilities of all other paths do not change. That needs an optimizer
    that leaves α without gradient alone: Adam with β₁ = 0 and no weight decay. With a LatencyPenalty over "all" paths every α
    moves by its cost, and there is no rescale.
    """

    def estimate(self, net, loss, generator=None, objective=None):
        alpha = net.alpha_matrix()
        p, pair = alpha.softmax(1), draw(alpha, 2, generator)             # (E, N), (E, 2)
        q = torch.zeros_like(p).scatter_(1, pair, p.gather(1, pair).clamp_min(1e-20))
        q /= q.sum(1, keepdim=True)                                       # p reset to the two paths
        active = torch.multinomial(q, 1, generator=generator)             # (E, 1)
        other = pair.sum(1, keepdim=True) - active
        gate_gradient, metrics = probe(net, loss, active[:, 0].tolist(), other.tolist())
        q, p = send(q, gate_gradient), send(p, gate_gradient)
        over_all = objective is not None and objective.over == "all"
        self._pair = None if over_all else pair
        return with_cost(eq4(gate_gradient, q), metrics, objective, p if over_all else q)

    def after_step(self, net, before):
        if self._pair is None:
            return
        # Keep Σ exp α over the two: α ← α − log(Σ exp α_new / Σ exp α_old). In float64: errors add up over thousands of steps.
        after = net.alpha_matrix()
        new, old = (a.double().gather(1, self._pair) for a in (after, before))
        shifted = new - (new.logsumexp(1, keepdim=True) - old.logsumexp(1, keepdim=True))
        net.set_alpha(after.scatter(1, self._pair, shifted.to(after)))


class Exact(Rule):
    """App. D: Eq. (4) over all candidates, each recomputed in backward. Time grows with N, memory does not."""

    def estimate(self, net, loss, generator=None, objective=None):
        alpha = net.alpha_matrix()
        p, active = alpha.softmax(1), draw(alpha, 1, generator)[:, 0].tolist()
        others = [[j for j in range(len(op.names)) if j != i] for i, op in zip(active, net.mixed_ops.values())]
        gate_gradient, metrics = probe(net, loss, active, others)
        p = send(p, gate_gradient)
        return with_cost(eq4(gate_gradient, p), metrics, objective, p)


class Trapezoid(Rule):
    """Not in the paper; costs the same as TwoPath and is unbiased for every loss quadratic in an edge's output.

    Active i ~ p, partner j ~ p_j / (1 − p_i), g = ½ (1 − p_i) · ⟨∇L(o_i), o_i − o_j⟩ · (e_i − e_j). Its mean is
    ∂J/∂α for J = Σ p_k L_k, because L_i − L_j = ½ ⟨∇L(o_i) + ∇L(o_j), o_i − o_j⟩ for quadratic L.
    """

    def estimate(self, net, loss, generator=None, objective=None):
        alpha = net.alpha_matrix()
        p, pair = alpha.softmax(1), draw(alpha, 2, generator)             # (E, N), (E, 2): active, partner
        gate_gradient, metrics = probe(net, loss, pair[:, 0].tolist(), pair[:, 1:].tolist())
        p, pair = send(p, gate_gradient), send(pair, gate_gradient)
        return with_cost(self.gradient(gate_gradient, p, pair), metrics, objective, p)

    @staticmethod
    def gradient(gate_gradient, p, pair):
        """The estimate (E, N) from ∂L/∂g (E, N), p (E, N) and the pairs (E, 2) of active path and partner."""
        at_i, at_j = gate_gradient.gather(1, pair).unbind(1)              # ⟨∇L(o_i), o_i⟩ and ⟨∇L(o_i), o_j⟩
        p_i = p.gather(1, pair[:, :1])[:, 0]
        g = 0.5 * (1 - p_i) * (at_i - at_j)
        return torch.zeros_like(gate_gradient).scatter(1, pair, torch.stack([g, -g], 1))


def accuracy(metrics):
    """The reward of Eq. (8). Raises ValueError where the loss does not give it."""
    if "accuracy" not in metrics:
        raise ValueError(f"the loss gives {', '.join(metrics)}, but no accuracy to reward; give Reinforce a reward(metrics) of your own")
    return metrics["accuracy"]


class Reinforce(Rule):
    """Eq. (8): M networks sampled and evaluated on one validation batch, without any gradient of the loss.

    `samples` is M, `baseline` the decay of the moving baseline b, `reward(metrics)` a scalar tensor from the loss's metrics, their
    "accuracy" by default. A Reward multiplies it by a power of the network's cost; then it must not be negative. b is the mean of
    earlier batches: independent of the samples it is subtracted from, it keeps the estimate unbiased. In the first update, each
    sample gets the mean of the others instead.
    """

    objective_type = Reward

    def __init__(self, samples: int = 10, baseline: float = 0.99, reward: Callable = accuracy):
        if samples < 2 or not 0 <= baseline < 1:
            raise ValueError(f"Reinforce(samples={samples}, baseline={baseline}): samples must be at least 2, baseline in [0, 1)")
        self.samples, self.baseline, self._reward = int(samples), float(baseline), reward  # plain numbers: their text is part of a run's identity
        self._mean = None

    @torch.no_grad()
    def estimate(self, net, loss, generator=None, objective=None):
        p = net.probability_matrix()
        paths, rewards, metrics = [], [], []
        for _ in range(self.samples):
            paths.append(net.sample(generator))
            with net.frozen():
                metrics.append(loss())
            reward = self._reward(metrics[-1])
            rewards.append(reward if objective is None else objective(reward, paths[-1]))
        rewards = torch.stack(rewards)                                    # (M,)
        advantages = (rewards - self._baseline(rewards)).to(p.dtype)
        gradient = self.gradient(send(p, advantages), send(torch.tensor(paths), advantages), advantages)
        return gradient, {name: torch.stack([one[name] for one in metrics]).mean() for name in metrics[0]}

    @staticmethod
    def gradient(p, paths, advantages):
        """−1/M Σ_m (R_m − b) ∇_α log p(g^m), with ∇_α log p_i = e_i − p: descending it increases the reward.

        p (E, N), paths (M, E), advantages R_m − b (M,).
        """
        score = F.one_hot(paths, p.shape[1]).to(p) - p                    # (M, E, N)
        return -(advantages[:, None, None] * score).mean(0)

    def __repr__(self):
        told = super().__repr__()
        if self._reward is accuracy:
            return told
        return f"{told[:-1]}, reward={name_of(self._reward)})"

    def _baseline(self, rewards):
        mean = rewards.mean()
        if self._mean is None:
            self._mean = mean
            return (rewards.sum() - rewards) / (len(rewards) - 1)
        before = self._mean.to(mean.device)                               # on another device only after resuming
        self._mean = self.baseline * before + (1 - self.baseline) * mean
        return before

    def state_dict(self):
        return {"mean": self._mean}

    def load_state_dict(self, state):
        self._mean = state["mean"]


class Combined(Rule):
    """A gradient rule and REINFORCE in one update: (1 − weight) · gradient + weight · REINFORCE (end of §3.3.2).

    Both estimate ∂L/∂α of the same α, so their sum is again one step of the optimizer. There is no rescale: REINFORCE
    moves every path of an edge. The paper mentions this rule without trying it.
    """

    def __init__(self, gradient=None, reinforce=None, weight=0.5):
        if not 0 <= weight <= 1:
            raise ValueError(f"Combined(weight={weight}): the weight of REINFORCE must be in [0, 1]")
        self.gradient = gradient or TwoPath()
        self.reinforce = reinforce or Reinforce()
        self.weight = float(weight)

    def check(self, objective):
        if objective is not None:
            if not (isinstance(objective, tuple) and len(objective) == 2):
                raise ValueError(f"Combined follows a pair (LatencyPenalty, Reward), not {objective!r}")
            self.gradient.check(objective[0])
            self.reinforce.check(objective[1])

    def estimate(self, net, loss, generator=None, objective=None):
        penalty, reward = objective or (None, None)
        by_gradient, metrics = self.gradient.estimate(net, loss, generator, penalty)
        by_reward, _ = self.reinforce.estimate(net, loss, generator, reward)
        return (1 - self.weight) * by_gradient + self.weight * by_reward.to(by_gradient), metrics

    def state_dict(self):
        return {"gradient": self.gradient.state_dict(), "reinforce": self.reinforce.state_dict()}

    def load_state_dict(self, state):
        self.gradient.load_state_dict(state["gradient"])
        self.reinforce.load_state_dict(state["reinforce"])


BY_NAME = {"two_path": TwoPath, "exact": Exact, "trapezoid": Trapezoid, "reinforce": Reinforce, "combined": Combined}
