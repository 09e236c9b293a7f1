"""Losses, and a model's metrics on a split: means over all images and all ranks."""

import torch
from torch.nn import functional as F
from torch.utils._pytree import tree_leaves

from .. import runtime


def cross_entropy(model, batch, label_smoothing: float = 0.0) -> dict[str, torch.Tensor]:
    """The default loss: {"loss": cross-entropy, "accuracy": top-1 in [0, 1]}, scalar tensors, of a batch (images, labels)."""
    images, labels = batch
    logits = model(images)                                                # (B, classes)
    return {"loss": F.cross_entropy(logits, labels, label_smoothing=label_smoothing), "accuracy": (logits.argmax(1) == labels).float().mean()}


def top_1(model, batch):
    """{"accuracy"} of a batch (images, labels), in float64, which holds a fraction exactly enough to count with."""
    images, labels = batch
    return {"accuracy": (model(images).argmax(1) == labels).double().mean()}


def top_k(model, batch):
    """{"accuracy", "top5"} of a batch (images, labels), in float64; top-k if there are only k < 5 classes."""
    images, labels = batch
    logits = model(images)
    best = logits.topk(min(5, logits.shape[1])).indices                   # (B, k), the largest first
    return {"accuracy": (logits.argmax(1) == labels).double().mean(), "top5": (best == labels[:, None]).any(1).double().mean()}


def metrics_of(found):
    """The output of a loss as a dict: a scalar tensor becomes {"loss": it}. Raises ValueError for anything else."""
    if isinstance(found, torch.Tensor):
        found = {"loss": found}
    if not isinstance(found, dict) or not all(isinstance(value, torch.Tensor) and value.dim() == 0 for value in found.values()):
        raise ValueError('a loss must return a scalar tensor, or a dict of scalar tensors with the key "loss"')
    return found


def batch_size(batch):
    """How many examples a batch has: the length of its first tensor."""
    return len(next(leaf for leaf in tree_leaves(batch) if isinstance(leaf, torch.Tensor)))


@torch.no_grad()
def evaluate(model, data, split, loss=top_k, size: int = 250, engine=runtime.Engine()) -> dict[str, float]:
    """The mean of every metric of `loss` over a split, without augmentation, in the model's present mode: a dict of floats.

    Each rank evaluates its share of the batches of `size` by itself.
    """
    def run(*inputs):
        return engine.run(model, *inputs)
    found, counts = [], []
    with engine.alone(model):
        for batch in data.eval_batches(split, size, engine.rank, engine.world_size):
            found.append(metrics_of(loss(run, batch)))
            counts.append(batch_size(batch))
    names = engine.from_first(lambda: list(found[0]))
    values = runtime.fetch(*(torch.stack([metrics[name] for metrics in found]) for name in names)) if found else []
    # A fraction of n examples times n is a whole number, up to rounding in float64.
    n = torch.tensor(counts, dtype=torch.float64)
    sums = [(value.double() * n).round(decimals=9).sum() for value in values] or [torch.zeros((), dtype=torch.float64)] * len(names)
    *sums, total = engine.sum(torch.stack([*sums, n.sum()])).tolist()
    return {name: value / total for name, value in zip(names, sums)}
