"""Peak memory of the activations of a network in evaluation mode: what it keeps alive at once, weights left out."""

import weakref
from contextlib import contextmanager

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Live(TorchDispatchMode):
    """Counts the bytes of tensors that are alive: those given at the start, and all that operations make until they are freed.

    `peak` is the most since `restart`.
    """

    def __init__(self, *tensors):
        super().__init__()
        self.seen, self.now, self.peak = {}, 0, 0
        self.note(tensors)

    def note(self, tensors):
        for tensor in tensors:
            storage = tensor.untyped_storage()
            if id(storage) not in self.seen:  # a storage lives as long as any view of it
                size = self.seen[id(storage)] = storage.nbytes()
                weakref.finalize(storage, self.free, id(storage))
                self.now += size
        self.peak = max(self.peak, self.now)

    def free(self, key):
        self.now -= self.seen.pop(key)

    def restart(self):
        """Forget the peak so far. Returns it."""
        peak, self.peak = self.peak, self.now
        return peak

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        outputs = function(*args, **(kwargs or {}))
        given = {id(leaf.untyped_storage()) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)}
        made = [leaf for leaf in tree_leaves(outputs) if isinstance(leaf, torch.Tensor)]
        made = made[:1] if "batch_norm" in str(function) else made  # in evaluation there are no statistics of the batch, but on "meta"
        self.note(tensor for tensor in made if id(tensor.untyped_storage()) not in given)  # a view of a weight is none
        return outputs


@contextmanager
def live(*tensors):
    """A context that gives a Live; parameters and buffers that exist before are never counted."""
    with torch.no_grad(), Live(*tensors) as counter:
        yield counter


def peak_memory(model: torch.nn.Module, *inputs: torch.Tensor) -> int:
    """Bytes of the inputs and activations that model(*inputs) keeps alive at once, at most; in evaluation mode, weights left out.

    Exact for PyTorch's own operations one after another: what a kernel needs inside is not counted, nor what a compiler fuses.
    On the device "meta" nothing is computed.
    """
    inputs = tuple(x.clone() if x.untyped_storage().nbytes() > x.nbytes else x for x in inputs)  # not all that they are views of
    modes = [(layer, layer.training) for layer in model.modules()]
    try:
        with live(*inputs) as counter:
            model.eval()(*inputs)
    finally:
        for layer, mode in modes:
            layer.training = mode
    return counter.peak
