"""Advice when a step does not fit into memory: how many images would, and how to cut a batch."""

import math
from contextlib import contextmanager

import torch

from .. import runtime
from ..data import ImageData


@contextmanager
def room_for(data, device):
    """A context in which data are put on a device. Raises runtime.OutOfMemory, saying what helps, where they do not fit."""
    try:
        yield
    except RuntimeError as error:
        if not runtime.is_out_of_memory(error):
            raise
        raise runtime.OutOfMemory(f"the {data.unit} of {data.name} do not fit onto {device}; load them with workers or pack, which leave them on the "
                                  f"disk, or with a smaller image_size") from None


def what_fits(engine, batch_size, can_cut, kept_per_image, data):
    """One line: how many images of `data` would fit into memory, by the bytes that a few of them keep.

    `can_cut(parts)` says whether every batch may be cut into that many micro-batches, `kept_per_image()` the bytes of one image.
    """
    share = batch_size // engine.world_size
    if engine.device.type == "cuda":
        torch.cuda.empty_cache()
    free, kept = runtime.free_memory(engine.device), or_inf(kept_per_image)
    fits = min(share // engine.grad_accumulation - 1, int(0.8 * free / kept))
    sized = isinstance(data, ImageData)
    images, smaller = (f"images of {data.shape[2]}×{data.shape[1]} pixels", ", or a smaller image_size") if sized else ("images", "")
    if fits < 1:
        return (f"out of memory on {engine.device}: not even two {images} fit; take a smaller network{smaller} or "
                f"activation_checkpointing=True")
    parts = next((k for k in range(engine.grad_accumulation + 1, share + 1) if can_cut(k) and share // k <= fits), None)
    return (f"out of memory in a step of {share // engine.grad_accumulation} {images} on {engine.device} ({free / 1e9:.1f} GB free, "
            f"{kept / 1e6:.0f} MB per image); about {fits} would fit: give "
            f"{f'grad_accumulation={parts} for the same batch in parts, or ' if parts else ''}a smaller batch size{smaller}")


def or_inf(kept_per_image):
    """kept_per_image(); infinite where not even its two images fit."""
    try:
        return kept_per_image()
    except RuntimeError as error:
        if not runtime.is_out_of_memory(error):
            raise
        return math.inf


def kept_per_image(model, loss, data, engine):
    """Bytes a step needs for one more image: what autograd keeps of it, plus half as much for gradients in flight."""
    with engine.alone(model):  # other ranks may have had enough memory and not be here
        return 1.5 / 2 * runtime.saved_bytes(lambda: loss(lambda *inputs: engine.run(model, *inputs), data.example(2)), exclude=model.parameters())


def evaluation_size(engine, batch_size):
    """Batch size of evaluation: that of all ranks' micro-batches together, where batches are cut to fit."""
    return min(250, batch_size // engine.grad_accumulation) if engine.grad_accumulation > 1 else 250
