"""How α moves: estimators of ∂L/∂α and the update made of them (§3.2.1, App. D, Eq. 8)."""

import torch
from torch.nn import functional as F

from .objective import LatencyPenalty, Reward
from .runtime import fetch, send


def eq4(gate_gradient, q):
    """Eq. (4): ∂L/∂α_i = Σ_j ∂L/∂g_j · q_j (δ_ij − q_i) = q_i (∂L/∂g_i − Σ_j q_j ∂L/∂g_j), row by row.

    Both matrices are (E, N); paths with q = 0 take no part.
    """
    return q * (gate_gradient - (q * gate_gradient).sum(1, keepdim=True))


def draw(alpha, count, generator=None):
    """`count` different paths an edge, in the order drawn: the first ~ p, the second ~ p_j / (1 − p_i), … (E, count).

    p = softmax(alpha), and alpha (E, N) is −∞ where an edge has no such path. One batched draw on the CPU. An edge of fewer
    candidates draws absent paths after its own, which `probe` leaves out. Raises ValueError if all edges have fewer.
    """
    p, some = alpha.softmax(1), alpha > -torch.inf
    few = some.sum(1) < count
    if few.all():
        raise ValueError(f"no edge has {count} candidates, but {count} are compared; give at least one edge so many")
    some[few, :count] = True
    p = torch.where(some, p.clamp_min(1e-20), 0)  # neither a path given up nor an absent one must make the draw fail
    return torch.multinomial(p, count, generator=generator)


def accuracy(logits, labels):
    """Fraction of the batch whose largest logit is the label, a scalar tensor."""
    return (logits.argmax(1) == labels).float().mean()


class Rule:
    """One update of α on one validation batch. A rule of your own needs only `estimate`.

    L is the cross-entropy, or with an `objective` the loss or the negative reward made of it and of a cost: a
    LatencyPenalty for rules that use gradients, a Reward for Reinforce, the pair of both for Combined.
    """

    listens_to = LatencyPenalty

    def check(self, objective):
        """Raises ValueError for an objective that this rule cannot follow."""
        if objective is not None and not isinstance(objective, self.listens_to):
            raise ValueError(f"{type(self).__name__} follows a {self.listens_to.__name__}, not {objective!r}")

    def estimate(self, net, images, labels, generator=None, objective=None):
        """An estimate of ∂L/∂α, a matrix (E, N), and {"loss", "accuracy"} as tensors, on any device. Weights stay as they are.

        α and all that is drawn from it are on the CPU; `update` brings the estimate there, and nothing before it should wait.
        """
        raise TypeError(f"{type(self).__name__} has no estimate(net, images, labels, generator, objective=None)")

    def update(self, net, optimizer, images, labels, generator=None, objective=None):
        """Estimate, let `optimizer` (of the α) step, and finish. Returns {"loss", "accuracy"}."""
        gradient, metrics = self.estimate(net, images, labels, generator, *[objective] * (objective is not None))
        gradient, *values = fetch(gradient, *metrics.values())
        metrics = dict(zip(metrics, values))
        before = net.alpha_matrix()
        net.set_alpha_gradient(gradient)
        optimizer.step()
        self.finish(net, before)
        return metrics

    def finish(self, net, before):
        """What the rule does to α after the optimizer's step; `before` is α (E, N) before it."""

    def state_dict(self):
        """What a resumed run must know of the rule."""
        return {}

    def load_state_dict(self, state):
        """Take back what `state_dict` gave."""

    def __repr__(self):
        settings = ", ".join(f"{k}={v!r}" for k, v in vars(self).items() if not k.startswith("_"))
        return f"{type(self).__name__}({settings})"


def probe(net, images, labels, active, others):
    """Forward and backward with Probes and frozen weights: ∂L/∂g (E, N), and the metrics, means over all ranks.

    Absent paths among `others` are left out. The batch may be cut into parts (see runtime.Engine): a Probe adds up what they give.
    """
    net.probe(active, [[j for j in js if j < len(op.names)] for js, op in zip(others, net.mixed_ops.values())])
    logits, loss = [], 0
    with net.frozen():
        for x, y in net.engine.parts(images, labels):
            logits.append(net(x))
            part = F.cross_entropy(logits[-1], y) / net.engine.accumulate
            part.backward()
            logits[-1], loss = logits[-1].detach(), loss + part.detach()
    found = gate_gradient, loss, hits = net.gate_gradients(), loss, accuracy(torch.cat(logits), labels)
    net.engine.mean_all(found)
    return gate_gradient, {"loss": loss, "accuracy": hits}


def with_cost(gradient, metrics, objective, q):
    """Make ∂CE/∂α into the gradient of the objective, with the expected cost E taken under probabilities q (E, N).

    ∂E/∂α_i = q_i (F_i − Σ_j q_j F_j), which is Eq. (4) with the costs F for ∂L/∂g: known for every path, also of an edge
    whose active path is Zero.
    """
    if objective is None:
        return gradient, metrics
    by_ce, by_cost = objective.slopes(metrics["loss"], q)
    return by_ce * gradient + by_cost * eq4(objective.costs.like(gradient), q), metrics


class TwoPath(Rule):
    """§3.2.1: sample two paths by p, mask the others, Eq. (4) on the two, then rescale.

    The rescale adds one number to both α so that the probabilities of all other paths stay what they were. That needs
    an optimizer that leaves α without gradient alone: Adam with β₁ = 0 and no weight decay. With a LatencyPenalty over
    "all" paths every α moves by its cost, and there is no rescale.
    """

    def estimate(self, net, images, labels, generator=None, objective=None):
        alpha = net.alpha_matrix()
        p, pair = alpha.softmax(1), draw(alpha, 2, generator)             # (E, N), (E, 2)
        q = torch.zeros_like(p).scatter_(1, pair, p.gather(1, pair).clamp_min(1e-20))
        q /= q.sum(1, keepdim=True)                                       # p reset to the two paths
        active = torch.multinomial(q, 1, generator=generator)             # (E, 1)
        other = pair.sum(1, keepdim=True) - active
        gate_gradient, metrics = probe(net, images, labels, active[:, 0].tolist(), other.tolist())
        q, p = send(q, gate_gradient), send(p, gate_gradient)
        over_all = objective is not None and objective.over == "all"
        self._pair = None if over_all else pair
        return with_cost(eq4(gate_gradient, q), metrics, objective, p if over_all else q)

    def finish(self, net, before):
        if self._pair is None:
            return
        # Keep Σ exp α over the two: α ← α − log(Σ exp α_new / Σ exp α_old). In float64, since it is done thousands of times.
        after = net.alpha_matrix()
        new, old = (a.double().gather(1, self._pair) for a in (after, before))
        shifted = new - (new.logsumexp(1, keepdim=True) - old.logsumexp(1, keepdim=True))
        net.set_alpha(after.scatter(1, self._pair, shifted.to(after)))


class Exact(Rule):
    """App. D: Eq. (4) over all candidates, each recomputed in backward. Time grows with N, memory does not."""

    def estimate(self, net, images, labels, generator=None, objective=None):
        alpha = net.alpha_matrix()
        p, active = alpha.softmax(1), draw(alpha, 1, generator)[:, 0].tolist()
        others = [[j for j in range(len(op.names)) if j != i] for i, op in zip(active, net.mixed_ops.values())]
        gate_gradient, metrics = probe(net, images, labels, active, others)
        p = send(p, gate_gradient)
        return with_cost(eq4(gate_gradient, p), metrics, objective, p)


class Trapezoid(Rule):
    """Beyond the paper, at the cost of TwoPath: unbiased for every loss quadratic in an edge's output.

    Active i ~ p, partner j ~ p_j / (1 − p_i), g = ½ (1 − p_i) · ⟨∇L(o_i), o_i − o_j⟩ · (e_i − e_j). Its mean is
    ∂J/∂α for J = Σ p_k L_k, because L_i − L_j = ½ ⟨∇L(o_i) + ∇L(o_j), o_i − o_j⟩ for quadratic L.
    """

    def estimate(self, net, images, labels, generator=None, objective=None):
        alpha = net.alpha_matrix()
        p, pair = alpha.softmax(1), draw(alpha, 2, generator)             # (E, N), (E, 2): active, partner
        gate_gradient, metrics = probe(net, images, labels, pair[:, 0].tolist(), pair[:, 1:].tolist())
        p, pair = send(p, gate_gradient), send(pair, gate_gradient)
        return with_cost(self.gradient(gate_gradient, p, pair), metrics, objective, p)

    @staticmethod
    def gradient(gate_gradient, p, pair):
        """The estimate (E, N) from ∂L/∂g (E, N), p (E, N) and the pairs (E, 2) of active path and partner."""
        at_i, at_j = gate_gradient.gather(1, pair).unbind(1)              # ⟨∇L(o_i), o_i⟩ and ⟨∇L(o_i), o_j⟩
        p_i = p.gather(1, pair[:, :1])[:, 0]
        g = 0.5 * (1 - p_i) * (at_i - at_j)
        return torch.zeros_like(gate_gradient).scatter(1, pair, torch.stack([g, -g], 1))


class Reinforce(Rule):
    """Eq. (8): M networks sampled and judged on one validation batch, without any gradient of the loss.

    `samples` is M, `baseline` the decay of the moving baseline b, `reward(logits, labels)` a scalar tensor, accuracy by
    default; a Reward multiplies it by a power of the network's cost, so it must not be negative then. b is the mean of
    earlier batches, so it does not depend on the samples it is subtracted from and the estimate stays unbiased; in the first
    update, each sample gets the mean of the others instead.
    """

    listens_to = Reward

    def __init__(self, samples=10, baseline=0.99, reward=accuracy):
        if samples < 2 or not 0 <= baseline < 1:
            raise ValueError(f"Reinforce(samples={samples}, baseline={baseline}): samples must be at least 2, baseline in [0, 1)")
        self.samples, self.baseline, self._reward = int(samples), float(baseline), reward  # plain: they go into checkpoints
        self._mean = None

    @torch.no_grad()
    def estimate(self, net, images, labels, generator=None, objective=None):
        p = net.probability_matrix()
        paths, rewards, losses, accuracies = [], [], [], []
        for _ in range(self.samples):
            paths.append(net.sample(generator))
            with net.frozen():
                logits = torch.cat([net(x) for x, in net.engine.parts(images)])
            reward = net.engine.mean(self._reward(logits, labels))
            rewards.append(reward if objective is None else objective(reward, paths[-1]))
            losses.append(net.engine.mean(F.cross_entropy(logits, labels)))
            accuracies.append(net.engine.mean(accuracy(logits, labels)))
        rewards = torch.stack(rewards)                                    # (M,)
        advantages = (rewards - self._baseline(rewards)).to(p.dtype)
        gradient = self.gradient(send(p, advantages), send(torch.tensor(paths), advantages), advantages)
        return gradient, {"loss": torch.stack(losses).mean(), "accuracy": torch.stack(accuracies).mean()}

    @staticmethod
    def gradient(p, paths, advantages):
        """−1/M Σ_m (R_m − b) ∇_α log p(g^m), with ∇_α log p_i = e_i − p: descending it ascends the reward.

        p (E, N), paths (M, E), advantages R_m − b (M,).
        """
        score = F.one_hot(paths, p.shape[1]).to(p) - p                    # (M, E, N)
        return -(advantages[:, None, None] * score).mean(0)

    def __repr__(self):
        told = super().__repr__()
        if self._reward is accuracy:
            return told
        return f"{told[:-1]}, reward={getattr(self._reward, '__qualname__', type(self._reward).__name__)})"

    def _baseline(self, rewards):
        mean = rewards.mean()
        if self._mean is None:
            self._mean = mean
            return (rewards.sum() - rewards) / (len(rewards) - 1)
        before = self._mean.to(mean.device)                               # elsewhere only after a checkpoint was read
        self._mean = self.baseline * before + (1 - self.baseline) * mean
        return before

    def state_dict(self):
        return {"mean": self._mean}

    def load_state_dict(self, state):
        self._mean = state["mean"]


class Combined(Rule):
    """A gradient rule and REINFORCE in one update: (1 − weight) · gradient + weight · REINFORCE (end of §3.3.2).

    Both estimate ∂L/∂α of the same α, so their sum is again one step of the optimizer. There is no rescale: REINFORCE
    moves every path of an edge. The paper names this rule and does not try it.
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

    def estimate(self, net, images, labels, generator=None, objective=None):
        penalty, reward = objective or (None, None)
        by_gradient, metrics = self.gradient.estimate(net, images, labels, generator, penalty)
        by_reward, _ = self.reinforce.estimate(net, images, labels, generator, reward)
        return (1 - self.weight) * by_gradient + self.weight * by_reward.to(by_gradient), metrics

    def state_dict(self):
        return {"gradient": self.gradient.state_dict(), "reinforce": self.reinforce.state_dict()}

    def load_state_dict(self, state):
        self.gradient.load_state_dict(state["gradient"])
        self.reinforce.load_state_dict(state["reinforce"])


BY_NAME = {"two_path": TwoPath, "exact": Exact, "trapezoid": Trapezoid, "reinforce": Reinforce, "combined": Combined}
