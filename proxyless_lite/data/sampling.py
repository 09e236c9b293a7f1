"""Which samples make a batch: the order of every epoch, and each rank's share."""

import torch

from .. import runtime


class BatchSampler:
    """Which of `count` samples make batch i, in a fresh order every epoch, and which `part` of a batch is this rank's."""

    def __init__(self, name, count, size, seed, purpose, rank=0, world_size=1, device="cpu", unit="images"):
        if count < size:
            raise ValueError(f"a batch of {size} {unit} asked for, but {name} has only {count} to draw from; "
                             f"give a smaller batch size")
        if size % world_size:
            below, above = size // world_size * world_size, (size // world_size + 1) * world_size
            raise ValueError(f"a batch of {size} {unit} cannot be shared equally by {world_size} ranks; the next sizes that can: "
                             f"{f'{below} and ' if below else ''}{above}")
        self.count, self.size, self.key, self.device = count, size, (seed, purpose), device
        self.batches_per_epoch = count // size
        self.part = slice(rank * size // world_size, (rank + 1) * size // world_size)
        self._epoch = self._order = None

    def __getitem__(self, i):
        """Indices (size,) on the device of the samples of batch i, counted over all epochs."""
        epoch, index = divmod(i, self.batches_per_epoch)
        if epoch != self._epoch:
            order = torch.randperm(self.count, generator=runtime.generator("cpu", *self.key, 0, epoch))
            self._epoch, self._order = epoch, order.to(self.device, non_blocking=True)
        return self._order[index * self.size:(index + 1) * self.size]


def shuffled(split):
    """The split in a random order, the same in every call.

    Files come sorted by class, but batch norm with batch statistics, as in evaluating a supernet, must not see a single class.
    """
    return split[torch.randperm(len(split), generator=runtime.generator("cpu", 0))]


def shares(count, size, rank=0, world_size=1, device="cpu"):
    """Indices of this rank's share of `count` samples: every `world_size`-th batch of `size`; the last may be smaller.

    A batch is never divided among ranks: with batch statistics a sample then gets the same answer on any number of ranks.
    A sample that would be alone joins the previous batch: batch norm in training needs more than one value. Raises ValueError
    for a count of 0.
    """
    if not count:
        raise ValueError("an empty split cannot be evaluated; load the data with samples for it")
    found = list(torch.arange(count, device=device).split(size))
    if len(found) > 1 and len(found[-1]) == 1 < len(found[-2]):
        found[-2:] = [torch.cat(found[-2:])]
    return found[rank::world_size]
