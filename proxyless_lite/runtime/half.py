"""Weights in half precision, refreshed by one launch per step; autocast would launch one cast per weight."""

from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd


class HalfWeights:
    """Stand-ins in half precision for the weights of convolutions and linear layers, which themselves stay in float32.

    A stand-in is made when its weight is first trained, and kept: half as much memory again for trained weights.
    """

    def __init__(self, model, dtype):
        self.dtype, self._copies, self._places = dtype, {}, {}  # parameter -> stand-in, and -> the layers that hold it
        for layer in model.modules():
            if isinstance(layer, (_ConvNd, nn.Linear)):
                for name, p in layer.named_parameters(recurse=False):
                    if p.dtype == torch.float32:
                        self._places.setdefault(p, []).append((layer, name))

    @contextmanager
    def instead_of(self, parameters):
        """A context in which layers compute with stand-ins of these parameters; on exit each gets the gradient of its stand-in."""
        weights = [p for p in parameters if p.requires_grad and p in self._places]
        halves = [self._half(p) for p in weights]
        with torch.no_grad():
            torch._foreach_copy_(halves, weights)
        self._put(weights, halves)
        try:
            yield
        except BaseException:
            for half in halves:
                half.grad = None  # of a backward that did not end
            raise
        finally:
            self._put(weights, weights)
        hand_over(halves, weights)

    def _half(self, p):
        if p not in self._copies:
            self._copies[p] = torch.empty_like(p, dtype=self.dtype).requires_grad_()
        return self._copies[p]

    def _put(self, weights, values):
        for p, value in zip(weights, values):
            for layer, name in self._places[p]:
                layer._parameters[name] = value


@torch.no_grad()
def hand_over(halves, weights):
    """Add the gradients of stand-ins to those of their weights, and clear them."""
    pairs = [(half, weight) for half, weight in zip(halves, weights) if half.grad is not None]
    gradients = [torch.empty_like(weight) for _, weight in pairs]
    torch._foreach_copy_(gradients, [half.grad for half, _ in pairs])
    for (half, weight), gradient in zip(pairs, gradients):
        weight.grad = gradient if weight.grad is None else weight.grad.add_(gradient)
        half.grad = None
