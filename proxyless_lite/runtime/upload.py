"""Feed a device while it computes: copies on their own stream, and a thread that works ahead."""

from concurrent.futures import ThreadPoolExecutor
from functools import cache

import torch


@cache
def side_stream(device):
    """The stream for copies to a GPU, created on first use."""
    return torch.cuda.Stream(device)


def upload(tensors, device):
    """Start copying CPU tensors to `device`. Returns a function without arguments that returns them there.

    The copy to a GPU runs on a side stream, from pinned memory, next to whatever the GPU computes. Calling the function makes
    the stream that is then current wait for the copy. The host never waits. On the CPU the same tensors are returned.
    """
    if device.type != "cuda":
        return lambda: tensors
    side = side_stream(device)
    with torch.cuda.stream(side):
        copies = [tensor.pin_memory().to(device, non_blocking=True) for tensor in tensors]  # pinned ones are not copied again
    copied = side.record_event()

    def arrived():
        computing = torch.cuda.current_stream(device)
        computing.wait_event(copied)
        for copy in copies:
            copy.record_stream(computing)  # or the next upload could reuse its memory too early
        return copies
    return arrived


class Ahead:
    """`[i]` is work(i), for any i; a thread computes the next `depth` of them in advance.

    `[i]` raises what work(i) raises; errors of unused results are ignored. The thread ends with this object, at the latest
    before the interpreter shuts down. A daemon thread would not, and could abort the process during the shutdown.
    """

    def __init__(self, work, depth=2):
        self.work, self.depth, self.pool, self.pending = work, depth, ThreadPoolExecutor(1), {}

    def __getitem__(self, i):
        wanted = range(i, i + 1 + self.depth)
        for k in [k for k in self.pending if k not in wanted]:
            self.pending.pop(k).cancel()
        for k in wanted:
            if k not in self.pending:
                self.pending[k] = self.pool.submit(self.work, k)
        return self.pending.pop(i).result()
