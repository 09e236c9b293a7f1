"""Bias and variance of every estimator of ∂J/∂α on a real network, by going through all its paths. Nothing is sampled.

S networks are the paths through E edges of N candidates, S = N^E; L (S,) is the loss of each on one batch and G (S, E, N)
its ∂L/∂g (Eq. 9). With p (E, N) the true gradient is that of J = Σ_s P(s) L_s: ∂J/∂α_k = Σ_s P(s) (L_s − J) (δ_ks − p_k).
"""

import json
from itertools import product

import pandas as pd
import torch
from torch.nn import functional as F

from .. import rules, runtime
from ..batches import mixed
from .rivals import AllPaths
from .searches import search

NAMES = ("two_path", "trapezoid", "exact", "reinforce", "softmax")


def all_paths(net, images, labels):
    """Run every network of a supernet on one batch: its paths (S, E), L (S,) and G (S, E, N)."""
    edges, n = net.alpha_matrix().shape
    paths, losses, gates = list(product(range(n), repeat=edges)), [], []
    for path in paths:
        gate, metrics = rules.probe(net, images, labels, path, [[j for j in range(n) if j != i] for i in path])
        losses.append(metrics["loss"])
        gates.append(gate)
    return torch.tensor(paths), torch.stack(losses), torch.stack(gates)


def true_gradient(p, paths, L):
    """∂J/∂α (E, N)."""
    taken = F.one_hot(paths, p.shape[1]).to(p)                            # (S, E, N)
    chance = (taken * p).sum(2).prod(1)                                   # (S,): P(s)
    J = chance @ L
    return torch.einsum("s,sen->en", chance * (L - J), taken - p)


def pairs(rule, p):
    """For rules that compare two paths: P(active i, partner j) and the factor c_ij of (g_i − g_j)(e_i − e_j), both (E, N, N)."""
    i, j = p[:, :, None], p[:, None, :]
    different = 1 - torch.eye(p.shape[1], dtype=p.dtype)
    if rule == "trapezoid":
        return different * i * j / (1 - i), 0.5 * (1 - i) * different
    either_order = i * j / (1 - i) + i * j / (1 - j)
    return different * either_order * i / (i + j), i * j / (i + j) ** 2   # Eq. (4) on two: q_i q_j


def moments(rule, p, paths, L, G):
    """Mean (E, N) of a rule's estimate and its variance, the sum over all entries, a float tensor."""
    taken = F.one_hot(paths, p.shape[1]).to(p)                            # (S, E, N)
    chance = (taken * p).sum(2).prod(1)                                   # (S,)
    if rule in ("exact", "reinforce"):                                    # one value a network
        score = taken - p
        values = torch.stack([rules.eq4(g, p) for g in G]) if rule == "exact" else (L - chance @ L)[:, None, None] * score
        mean = torch.einsum("s,sen->en", chance, values)
        return mean, (chance * ((values - mean) ** 2).sum((1, 2))).sum()
    joint, factor = pairs(rule, p)
    active = (taken * joint.sum(2)).sum(2)                                # (S, E): P(this path is active)
    given = torch.einsum("sei,eij->sej", taken, joint)                    # (S, E, N): … and j its partner
    weight = active.prod(1)[:, None, None] * given / active[:, :, None]   # edges draw independently
    step = torch.einsum("sei,eij->sej", taken, factor) * ((taken * G).sum(2, keepdim=True) - G)
    mean = (taken * (weight * step).sum(2, keepdim=True)).sum(0) - (weight * step).sum(0)
    return mean, (weight * 2 * step ** 2).sum() - (mean ** 2).sum()


def judge(net, alpha, images, labels, enumerated):
    """One row a rule, a list of dicts: `cosine` of its mean to the true gradient, `bias` and `variance` of one estimate, in units
    of the true gradient's norm and of its square. `alpha` (E, N); `enumerated` is what `all_paths` gave for this batch.

    For reinforce one sample is one estimate, with the best constant baseline J. softmax is the gradient of DARTS, which is not random.
    """
    paths, L, G = enumerated
    p = alpha.softmax(1)
    true, rows = true_gradient(p, paths, L), []
    for rule in NAMES:
        if rule == "softmax":
            net.set_alpha(alpha)
            mean, variance = AllPaths().estimate(net, images, labels)[0], torch.zeros(())
        else:
            mean, variance = moments(rule, p, paths, L, G)
        rows.append({"rule": rule, "cosine": F.cosine_similarity(mean.flatten(), true.flatten(), dim=0).item(),
                     "bias": ((mean - true).norm() / true.norm()).item(), "variance": (variance / true.norm() ** 2).item()})
    return rows


def measure(setting, path, seeds=3, batches=4, batch_size=64):
    """Judge all estimators on batches of real images, at several α, with the weights of searches: one row each, written to `path`.

    Column `weights`: "warm-up", trained by uniform paths only, or "searched", of a whole search by two_path; `seed` of these
    and of the random α; `batch`, validation images. `alpha`: uniform, normal with standard deviation 0.5, 1 or 2, or learned.
    """
    images, rows = setting.load().to("cpu"), []
    judges = mixed(images.valid)
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
                x, labels = images.batch(judges, torch.arange(batch * batch_size, (batch + 1) * batch_size))
                enumerated = all_paths(net, x.double(), labels)
                rows += [{"weights": weights, "seed": seed, "batch": batch, "alpha": label, **row} for label, alpha in alphas.items()
                         for row in judge(net, alpha, x.double(), labels, enumerated)]
                progress.step()
    progress.close()
    about = {"command": f"python -m proxyless_lite.ground_truth estimators {setting.name} --seeds {seeds} --batches {batches}",
             "setting": setting.describe(), "batch_size": batch_size, "digest": images.digest, "machine": runtime.describe()}
    table = pd.DataFrame(rows).to_csv(index=False, float_format="%.4g")
    runtime.write_atomically(path, f"# {json.dumps(about)}\n{table}".encode())
