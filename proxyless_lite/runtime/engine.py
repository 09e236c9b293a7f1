"""How steps are computed: device, precision, parts of a batch, ranks. What the mathematics must not know of."""

import os
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import distributed, nn

from . import machine

PATIENCE = timedelta(minutes=10)  # a rank that waits longer for another gives up
PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16}


class LostRank(RuntimeError):
    """Another rank died, hung or went another way; this one stops."""


class OutOfMemory(MemoryError):
    """A step did not fit into memory; the message says what would."""


@dataclass(frozen=True)
class Engine:
    """How a run computes its steps; the results are the same up to rounding (and batch statistics, see below).

    `precision` is "float32" or "bfloat16" (autocast: weights, α and losses stay float32). `accumulate` divides each
    batch into so many parts, one after another, whose gradients add up. `compile` compiles every candidate by itself,
    never a path through the network: a new path would be a new program. `recompute` keeps of each edge only its input for
    backward and computes the active path again there: less memory, more time. With `ranks` above 1 each gets its share of
    every batch and all draw the same paths. Batch norm sees one rank's part only, unless `sync_batch_norm`.
    """

    device: torch.device = torch.device("cpu")
    precision: str = "float32"
    accumulate: int = 1
    compile: bool = False
    sync_batch_norm: bool = False
    recompute: bool = False
    rank: int = 0
    ranks: int = 1

    @property
    def first(self):
        """Whether this is the rank that writes and speaks."""
        return self.rank == 0

    def prepare(self, module):
        """Put a network where it shall run, in channels_last, with synchronised batch norms if asked for."""
        if self.sync_batch_norm and self.ranks > 1:
            module = synchronised(module, self.device)
        return module.to(self.device, memory_format=torch.channels_last)

    def run(self, model, images):
        """model(images) in this precision; the logits in the network's own."""
        if self.precision == "float32":
            return model(images)
        with torch.autocast(self.device.type, PRECISIONS[self.precision]):
            return model(images).float()

    def parts(self, *tensors):
        """The parts of a batch: tuples of equal slices of all `tensors`. Raises ValueError like `check_batch`."""
        self.check_batch(self.ranks * len(tensors[0]))
        return zip(*(tensor.chunk(self.accumulate) for tensor in tensors))

    def check_batch(self, size):
        """Raises ValueError unless every rank can cut its share of `size` images into parts of equal size."""
        if size % (self.ranks * self.accumulate):
            raise ValueError(f"a batch of {size} images cannot be divided among {self.ranks} ranks × {self.accumulate} parts; "
                             f"give a multiple of {self.ranks * self.accumulate}")

    # -- ranks --------------------------------------------------------------------------------------------------------

    def mean(self, tensor):
        """The mean of a tensor over the ranks, the same bits on each."""
        return tensor if self.ranks == 1 else self.sum(tensor) / self.ranks

    def sum(self, tensor):
        """The sum of a tensor over the ranks."""
        return tensor if self.ranks == 1 else self._reduced(tensor.clone(), distributed.ReduceOp.SUM)

    def mean_all(self, tensors):
        """Replace these tensors by their means over the ranks, in one message."""
        if not tensors:
            return
        flat = self.mean(torch.cat([tensor.flatten() for tensor in tensors]))
        parts = flat.split([tensor.numel() for tensor in tensors])
        torch._foreach_copy_(tensors, [part.view(tensor.shape) for part, tensor in zip(parts, tensors)])

    def mean_gradients(self, parameters):
        """Average the gradients of these parameters: the active ones, so nothing is sent for inactive paths."""
        if self.ranks > 1:
            self.mean_all([p.grad for p in parameters if p.grad is not None])

    def mean_statistics(self, module):
        """Average the running statistics of batch norms, which each rank takes from its own share."""
        if self.ranks > 1:
            self.mean_all([b for b in module.buffers() if b.is_floating_point()])

    def any(self, flag):
        """Whether the flag is set on any rank."""
        if self.ranks == 1:
            return bool(flag)
        return bool(self._reduced(torch.tensor(int(flag)), distributed.ReduceOp.MAX))

    def same(self, what, value):
        """Raises LostRank on every rank unless all hold the same integers: a tuple, possibly nested."""
        if self.ranks > 1:
            mark = hash(value) >> 1  # of integers, so the same in every process; its negative must fit 64 bits too
            both = self._reduced(torch.tensor([mark, -mark]), distributed.ReduceOp.MAX)
            if both[0] != -both[1]:
                raise LostRank(f"the ranks disagree on {what}: they have different seeds, weights or code; start all alike")

    def from_first(self, make):
        """What make() gives on the first rank, sent to all. An error there is an error everywhere."""
        if self.ranks == 1:
            return make()
        message = [None]
        if self.first:
            try:
                message = [(make(), None)]
            except (ValueError, OSError) as error:
                message = [(None, error)]
        try:
            distributed.broadcast_object_list(message, src=0, device=torch.device("cpu"))
        except RuntimeError as error:
            raise lost(self, error) from None
        value, error = message[0]
        if error is not None:
            raise error
        return value

    def _reduced(self, tensor, operation):
        try:
            distributed.all_reduce(tensor, operation)
        except RuntimeError as error:
            raise lost(self, error) from None
        return tensor

    def close(self):
        """Leave the group of ranks, if there is one."""
        if self.ranks > 1:
            distributed.destroy_process_group()


def engine(device=None, precision="float32", accumulate=1, compile=False, sync_batch_norm=False, recompute=False):
    """The Engine for a device's name (see machine.device). Under torchrun this process becomes one rank of several.

    An Engine is returned as it is. Raises ValueError for a setting out of range or a device that is not there.
    """
    if isinstance(device, Engine):
        return device
    if precision not in PRECISIONS:
        raise ValueError(f"unknown precision {precision!r}; allowed: {', '.join(PRECISIONS)}")
    if accumulate < 1:
        raise ValueError(f"accumulate={accumulate}: a batch has at least 1 part")
    ranks, rank = (int(os.environ.get(name, default)) for name, default in (("WORLD_SIZE", 1), ("RANK", 0)))
    if ranks > 1 and torch.cuda.is_available() and device in (None, "cuda"):
        device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
    found = machine.device(device)
    if found.type == "cuda":
        torch.cuda.set_device(found)
        torch.backends.cudnn.benchmark = True  # few shapes, each met thousands of times
    if ranks > 1 and not distributed.is_initialized():
        distributed.init_process_group("cpu:gloo,cuda:nccl" if found.type == "cuda" else "gloo", timeout=PATIENCE)
    return Engine(found, precision, accumulate, compile, sync_batch_norm, recompute, rank, ranks)


def lost(engine, error):
    reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
    return LostRank(f"rank {engine.rank} of {engine.ranks} lost another rank ({reason}); the last checkpoint is kept, "
                    f"start all ranks again to go on")


def compile_once(module):
    """Compile a module in place. Modules of equal shape share one program, as their weights are its inputs."""
    torch._dynamo.config.recompile_limit = max(1024, torch._dynamo.config.recompile_limit)  # one a shape, not eight in all
    module.compile(dynamic=False)


def step_only(optimizer, parameters=None):
    """One step of `optimizer` on these of its parameters (None: all), and their gradients gone; the others are not even looked at.

    An optimizer walks through all its parameters in Python, so without this a step would cost time for inactive paths.
    """
    group = optimizer.param_groups[0]
    everything, group["params"] = group["params"], group["params"] if parameters is None else parameters
    try:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    finally:
        group["params"] = everything


def synchronised(module, device):
    """The network with batch norms that normalise by the batch of all ranks together: PyTorch's own on CUDA."""
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(module)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.__class__ = SyncBatchNorm2d
    return module


class SumOverRanks(torch.autograd.Function):
    """The sum of a tensor over the ranks; a gradient of it is the sum of the ranks' gradients."""

    @staticmethod
    def forward(ctx, x):
        x = x.clone()
        distributed.all_reduce(x)
        return x

    @staticmethod
    def backward(ctx, grad):
        return SumOverRanks.apply(grad)


class SyncBatchNorm2d(nn.BatchNorm2d):
    """nn.SyncBatchNorm for CPUs, where PyTorch has none: mean and variance over the images of all ranks."""

    def forward(self, x):
        if not self.training:
            return super().forward(x)
        ranks, axes = distributed.get_world_size(), (0, 2, 3)
        mean = SumOverRanks.apply(x.mean(axes)) / ranks                         # (C,)
        centred = x - mean[:, None, None]
        variance = SumOverRanks.apply(centred.square().mean(axes)) / ranks
        if self.track_running_stats:
            n = x.numel() // x.shape[1] * ranks
            with torch.no_grad():
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(variance * n / (n - 1), self.momentum)
                self.num_batches_tracked += 1
        scale = self.weight * (variance + self.eps).rsqrt()
        return centred * scale[:, None, None] + self.bias[:, None, None]
