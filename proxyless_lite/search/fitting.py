"""Do network, data and loss fit together? Asked before anything long."""

from contextlib import nullcontext

import torch

from ..data import ImageData
from ..training.evaluation import cross_entropy, metrics_of

CHOICES = "alpha", "shared", "trained"


def check_shapes(net, data, loss, engine):
    """Raises ValueError unless the network takes the data's inputs, all candidates fit, and the default loss gets one number per class."""
    if net.space and data.shape and data.shape[1:] != (net.space.input_size,) * 2:
        raise ValueError(f"{net.space} takes images of {net.space.input_size}×{net.space.input_size}, but "
                         f"{data.name} has {'×'.join(map(str, data.shape[1:]))}; give the space input_size={data.shape[1]}")
    classify = loss is cross_entropy
    outputs = net.check(data.shape) if classify and isinstance(data, ImageData) else check_loss(net, data, loss, engine)
    if classify and data.classes and outputs != (len(data.classes),):
        raise ValueError(f"the network gives {outputs} for an image, but {data.name} has {len(data.classes)} classes; "
                         f"give the space classes={len(data.classes)}")


def check_loss(net, data, loss, engine):
    """Shape of what the network last gave for one sample, found by the loss of two samples, as all candidates compute them.

    Raises ValueError where a candidate does not fit (see SuperNet.check), and for a loss without the key "loss".
    """
    trial, outputs = net.checking().to(engine.device), []
    trial.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    with torch.no_grad(), torch.compiler.set_stance("force_eager") if engine.compile else nullcontext():
        metrics = metrics_of(loss(trial, data.to(engine.device).example(2)))
    if "loss" not in metrics:
        raise ValueError(f'the loss gives {", ".join(metrics)}, but nothing with the key "loss" to learn from')
    return tuple(outputs[-1].shape[1:]) if outputs and isinstance(outputs[-1], torch.Tensor) else None


def check_choice(search, data):
    """Raises ValueError for a way to choose that is not known, or that cannot work with this search, its data and its engine."""
    choose, choice, engine = search.choose, search.choice, search.engine
    if choose not in CHOICES:
        raise ValueError(f"choose={choose!r}: must be one of {', '.join(CHOICES)}")
    if choose == "alpha":
        return
    if search.loss is not cross_entropy or search.net.space is None:
        raise ValueError(f"choose={choose!r} trains networks of a space by cross-entropy; with a loss or module of your own give choose='alpha'")
    if choose == "trained" or not choice.from_shared:
        engine.check_batch(engine.batch_size(choice.train.batch_size, len(data.train)))


def check_alpha(net, steps, objective):
    """Raises FloatingPointError where α is not finite: nothing could be drawn from it. α is on the CPU, so nothing waits."""
    if not torch.cat(net.architecture_parameters()).isfinite().all():
        raise FloatingPointError(f"α is not finite after α step {steps}: a loss, a reward or a cost is not, or is too large{f' ({objective})' if objective else ''}; "
                                 f"the last checkpoint, if any, is kept")
