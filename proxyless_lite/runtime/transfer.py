"""Transfers between host and device: without waiting, and the one place where a step waits."""

import torch


def send(tensor, like):
    """A small CPU tensor in the precision and on the device of another. The host does not wait: the driver stages small copies."""
    return tensor.to(like.device, like.dtype if tensor.is_floating_point() else tensor.dtype, non_blocking=True)


def fetch(*tensors):
    """These tensors on the CPU, in one copy: however many there are, the host waits for the device once. Returns a list."""
    away = [t for t in tensors if t.device.type != "cpu"]
    if not away:
        return list(tensors)
    parts = iter(torch.cat([t.flatten() for t in away]).cpu().split([t.numel() for t in away]))
    return [t if t.device.type == "cpu" else next(parts).view(t.shape).to(t.dtype) for t in tensors]


class Later:
    """Numbers on the device that the host reads once they have arrived, without waiting for them."""

    def __init__(self, tensor):
        self._source = tensor
        self._copy = tensor.to("cpu", non_blocking=True)  # from a GPU into pinned memory
        self._event = None
        if tensor.device.type != "cpu":
            self._event = torch.Event(tensor.device.type)
            self._event.record()

    def arrived(self):
        """Whether `values()` would not wait."""
        return self._event is None or self._event.query()

    def values(self):
        """The numbers, a (nested) list; waits for the device where they have not arrived."""
        return (self._copy if self.arrived() else self._source).tolist()
