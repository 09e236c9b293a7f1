"""Bias and variance of every estimator of ∂J/∂α on a real network, by enumerating all its paths. Nothing is sampled.

S networks are the paths through E edges of N candidates, S = N^E; L (S,) is the loss of each on one batch and G (S, E, N)
its ∂L/∂g (Eq. 9). With p (E, N) the true gradient is that of J = Σ_s P(s) L_s: ∂J/∂α_k = Σ_s P(s) (L_s − J) (δ_ks − p_k).
"""

from itertools import product

import pandas as pd
import torch
from torch.nn import functional as F

from .. import rules, runtime
from ..data import shuffled
from ..training import batch_loss
from .competitors import AllPaths
from .searches import search


def all_paths(net, images, labels):
    """Run every network of a supernet on one batch: its paths (S, E), L (S,) and G (S, E, N)."""
    edges, n = net.alpha_matrix().shape
    paths, losses, gates = list(product(range(n), repeat=edges)), [], []
    loss = batch_loss(net, (images, labels))
    for path in paths:
        gate, metrics = rules.probe(net, loss, path, [[j for j in range(n) if j != i] for i in path])
        losses.append(metrics["loss"])
        gates.append(gate)
    return torch.tensor(paths), torch.stack(losses), torch.stack(gates)


def true_gradient(p, paths, L):
    """∂J/∂α (E, N)."""
    taken, chance = one_hot(p, paths)
    J = chance @ L
    return torch.einsum("s,sen->en", chance * (L - J), taken - p)


def one_hot(p, paths):
    """The paths as δ (S, E, N), and P(s) (S,)."""
    taken = F.one_hot(paths, p.shape[1]).to(p)
    return taken, (taken * p).sum(2).prod(1)


def two_path(p, paths, L, G):
    i, j, drawn = p[:, :, None], p[:, None, :], in_order(p)
    joint = (drawn + drawn.mT) * i / (i + j)                              # either order gives the pair; i is active
    return pair_moments(joint, i * j / (i + j) ** 2, p, paths, G)         # Eq. (4) on two: q_i q_j


def trapezoid(p, paths, L, G):
    return pair_moments(in_order(p), 0.5 * (1 - p[:, :, None]), p, paths, G)


def exact(p, paths, L, G):
    return network_moments(torch.stack([rules.eq4(g, p) for g in G]), p, paths)


def reinforce(p, paths, L, G):
    taken, chance = one_hot(p, paths)
    return network_moments((L - chance @ L)[:, None, None] * (taken - p), p, paths)


# for each rule, from p, paths, L and G: the mean (E, N) of its estimate and the variance summed over all entries, a scalar tensor
MOMENTS = {"two_path": two_path, "trapezoid": trapezoid, "exact": exact, "reinforce": reinforce}
NAMES = (*MOMENTS, "softmax")


def in_order(p):
    """P(i is drawn, then j without replacement) = p_i p_j / (1 − p_i), (E, N, N), 0 where they are the same."""
    i, j = p[:, :, None], p[:, None, :]
    return (1 - torch.eye(p.shape[1]).to(p)) * i * j / (1 - i)


def pair_moments(joint, factor, p, paths, G):
    """Moments of a rule that draws two paths per edge, i active and j its partner, by joint[e, i, j].

    Where the network s is active and j the partner on edge e, its estimate there is step[s, e, j] · (e_i − e_j), with
    step = factor[e, i, j] · (g_i − g_j). `joint` and `factor` are (E, N, N).
    """
    taken, _ = one_hot(p, paths)                                          # (S, E, N): 1 at the active path i
    weight = chance_of_partners(taken, joint)
    step = at_active(taken, factor) * ((taken * G).sum(2, keepdim=True) - G)
    weighted = weight * step
    mean = (taken * weighted.sum(2, keepdim=True)).sum(0) - weighted.sum(0)  # + at the active path, − at each partner
    return mean, (weight * 2 * step ** 2).sum() - (mean ** 2).sum()       # |e_i − e_j|² = 2


def chance_of_partners(taken, joint):
    """P(the network s is active and j the partner of its path on edge e), (S, E, N). Edges draw independently."""
    active = (taken * joint.sum(2)).sum(2)                                # (S, E): P(this path is active)
    return active.prod(1)[:, None, None] * at_active(taken, joint) / active[:, :, None]


def at_active(taken, values):
    """values[e, i, j] at the active path i of every edge, (S, E, N)."""
    return torch.einsum("sei,eij->sej", taken, values)


def network_moments(values, p, paths):
    """Moments of a rule that draws a network by P(s) and estimates values[s], (S, E, N)."""
    _, chance = one_hot(p, paths)
    mean = torch.einsum("s,sen->en", chance, values)
    return mean, (chance * ((values - mean) ** 2).sum((1, 2))).sum()


def score(net, alpha, images, labels, enumerated):
    """One row per rule, a list of dicts: `cosine` of its mean to the true gradient, `bias` and `variance` of one estimate, in units
    of the true gradient's norm and of its square. `alpha` (E, N); `enumerated` is what `all_paths` gave for this batch.

    For reinforce one sample is one estimate, with the mean loss J, the limit of the moving one, as baseline. softmax is the
    gradient of DARTS, which is deterministic.
    """
    paths, L, G = enumerated
    p = alpha.softmax(1)
    true, rows = true_gradient(p, paths, L), []
    for rule in NAMES:
        if rule == "softmax":
            net.set_alpha(alpha)
            mean, variance = AllPaths().estimate(net, batch_loss(net, (images, labels)))[0], torch.zeros(())
        else:
            mean, variance = MOMENTS[rule](p, paths, L, G)
        rows.append({"rule": rule, "cosine": F.cosine_similarity(mean.flatten(), true.flatten(), dim=0).item(),
                     "bias": ((mean - true).norm() / true.norm()).item(), "variance": (variance / true.norm() ** 2).item()})
    return rows


def measure(setting, path, seeds=3, batches=4, batch_size=64):
    """Score all estimators on batches of real images, at several α, with weights from searches: one row each, written to `path`.

    Columns: `weights`, "warm-up" (trained on uniform paths only) or "searched" (a whole search by two_path); `seed` of these and
    of the random α; `batch`, validation images; `alpha`, uniform, normal with standard deviation 0.5, 1 or 2, or learned.
    Raises ValueError for more batches than there are validation images, OSError where `path` cannot be written.
    """
    images, rows = setting.load().to("cpu"), []
    if not 0 < batches * batch_size <= len(images.valid):
        raise ValueError(f"{batches} batches of {batch_size} images: {setting.name} has {len(images.valid)} validation images, "
                         f"enough for 1 to {len(images.valid) // batch_size} batches")
    runtime.check_target(path)
    validation = shuffled(images.valid)
    progress = runtime.Progress(2 * seeds * batches, 0, f"{setting.name}: batches,")
    for seed in range(seeds):
        for weights, changes in (("warm-up", {"alpha_delay": 10 ** 6}), ("searched", {})):
            _, net, _ = search(setting, "two_path", seed, images, **changes)
            net, learned = net.double(), net.alpha_matrix().double()
            normal = torch.randn(learned.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
            alphas = {"uniform": 0 * normal, **{f"normal, sd {sd}": sd * normal for sd in (0.5, 1, 2)}}
            if weights == "searched":
                alphas["learned"] = learned
            for batch in range(batches):
                x, labels = images.batch(validation, torch.arange(batch * batch_size, (batch + 1) * batch_size))
                enumerated = all_paths(net, x.double(), labels)
                rows += [{"weights": weights, "seed": seed, "batch": batch, "alpha": label, **row} for label, alpha in alphas.items()
                         for row in score(net, alpha, x.double(), labels, enumerated)]
                progress.step()
    progress.close()
    metadata = {"command": f"python -m proxyless_lite.ground_truth estimators {setting.name} --seeds {seeds} --batches {batches}",
                "setting": setting.describe(), "batch_size": batch_size, "digest": images.digest, "machine": runtime.describe()}
    runtime.write_table(path, pd.DataFrame(rows), metadata, digits=4)
