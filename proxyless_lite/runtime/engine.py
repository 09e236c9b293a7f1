"""How steps are computed: device, precision, parts of a batch, ranks. What the mathematics must not know of."""

import os
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import distributed, nn

from . import machine
from .watch import Watch

PATIENCE = timedelta(minutes=10)  # a rank that waits longer for another gives up
WATCHES = []  # of this process: one for its group of ranks, as torch.distributed has one
PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


class LostRank(RuntimeError):
    """Another rank died, hung or went another way; this one stops."""


class OutOfMemory(MemoryError):
    """A step did not fit into memory; the message says what would."""


@dataclass(frozen=True)
class Engine:
    """How a run computes its steps; the results are the same up to rounding (and batch statistics, see below).

    `precision` is "float32", "bfloat16" or "float16": that of weight steps, by autocast; weights, α and losses stay float32, and
    so do α steps. "float16", for GPUs without bfloat16, scales the loss. `accumulate` divides each batch into so many parts,
    one after another, whose gradients add up. `compile` compiles every candidate by itself, never a path through the network:
    a new path would be a new program. `recompute` keeps of each edge only its input for
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
    own_group: object = None  # of torch.distributed: this rank alone

    def __deepcopy__(self, memo):  # a copy of a network computes as the network does; a group cannot be copied
        return self

    @property
    def first(self):
        """Whether this is the rank that writes and speaks."""
        return self.rank == 0

    def prepare(self, module):
        """Put a network where it shall run, in channels_last, with synchronised batch norms if asked for."""
        if self.sync_batch_norm and self.ranks > 1:
            module = synchronised(module, self.device)
        return module.to(self.device, memory_format=torch.channels_last)

    def run(self, model, images, full=False):
        """model(images) in this precision, or in full; the logits in the network's own."""
        if full or self.precision == "float32":
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

    @contextmanager
    def alone(self, module):
        """Within it synchronised batch norms of a module ask no other rank: each normalises by the images of this one."""
        layers = [m for m in module.modules() if isinstance(m, (nn.SyncBatchNorm, SyncBatchNorm2d))]
        before = [layer.process_group for layer in layers]
        for layer in layers:
            layer.process_group = self.own_group
        try:
            yield
        finally:
            for layer, group in zip(layers, before):
                layer.process_group = group

    def mean(self, tensor):
        """The mean of a tensor over the ranks, the same bits on each."""
        return tensor if self.ranks == 1 else self.sum(tensor) / self.ranks

    def sum(self, tensor):
        """The sum of a tensor over the ranks."""
        return tensor if self.ranks == 1 else self._reduced(tensor.clone(), distributed.ReduceOp.SUM)

    def mean_all(self, tensors):
        """Replace these tensors by their means over the ranks, in one message."""
        if not tensors or self.ranks == 1:
            return
        flat = self.mean(torch.cat([tensor.flatten() for tensor in tensors]))
        parts = flat.split([tensor.numel() for tensor in tensors])
        torch._foreach_copy_(tensors, [part.view(tensor.shape) for part, tensor in zip(parts, tensors)])

    def mean_gradients(self, parameters):
        """Average the gradients of these parameters: the active ones, so nothing is sent for inactive paths."""
        if self.ranks > 1:  # else not even listed
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
            while WATCHES:
                WATCHES.pop().close()
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
    check_precision(precision, found)
    if found.type == "cuda":
        torch.cuda.set_device(found)
        torch.backends.cudnn.benchmark = True  # few shapes, each met thousands of times
    own = None
    if ranks > 1:
        if not distributed.is_initialized():
            distributed.init_process_group("cpu:gloo,cuda:nccl" if found.type == "cuda" else "gloo", timeout=PATIENCE)
            WATCHES.append(Watch(PATIENCE, lambda error: told(rank, ranks, error)))
        own = distributed.new_group([rank], backend="gloo", use_local_synchronization=True)
    return Engine(found, precision, accumulate, compile, sync_batch_norm, recompute, rank, ranks, own)


def check_precision(precision, device):
    """Raises ValueError for a precision that the device computes not at all, or only by emulation."""
    if precision == "float16" and device.type != "cuda":
        raise ValueError(f"precision 'float16' is for GPUs; on {device} use float32 or bfloat16")
    if precision == "bfloat16" and device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise ValueError(f"{torch.cuda.get_device_name(device)} does not compute in bfloat16; use float16 or float32")


def lost(engine, error):
    """The LostRank to raise where a message to the other ranks failed."""
    for watch in WATCHES:
        watch.known.set()
    return LostRank(told(engine.rank, engine.ranks, error))


def told(rank, ranks, error):
    reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
    return f"rank {rank} of {ranks} lost another rank ({reason}); the last checkpoint is kept, start all ranks again to go on"


def compile_once(module):
    """Compile a module in place. Modules of equal shape share one program, as their weights are its inputs."""
    for limit in ("recompile_limit", "accumulated_recompile_limit"):  # one program a shape, not 8 or 256 in all
        setattr(torch._dynamo.config, limit, max(1 << 14, getattr(torch._dynamo.config, limit)))
    module.compile(dynamic=False)


def step_only(optimizer, parameters=None, scaler=None):
    """One step of `optimizer` on these of its parameters (None: all), and their gradients gone; the others are not even looked at.

    An optimizer walks through all its parameters in Python, so without this a step would cost time for inactive paths. A
    `scaler` of float16 leaves out a step whose gradients overflowed.
    """
    group = optimizer.param_groups[0]
    everything, group["params"] = group["params"], group["params"] if parameters is None else parameters
    try:
        start_momenta(optimizer)
        if scaler is None:
            optimizer.step()
        else:
            scaler.step(optimizer)
            scaler.update()
        optimizer.zero_grad(set_to_none=True)
    finally:
        group["params"] = everything


def start_momenta(optimizer):
    """Give every parameter a momentum, 0 before its first step: the fused kernel takes momenta of all parameters or of none."""
    for group in optimizer.param_groups:
        if group.get("fused") and group.get("momentum"):
            for p in group["params"]:
                if p not in optimizer.state:
                    optimizer.state[p]["momentum_buffer"] = torch.zeros_like(p)


def synchronised(module, device):
    """The network with batch norms that normalise by the batch of all ranks together: PyTorch's own on CUDA."""
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(module)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.__class__ = SyncBatchNorm2d
    return module


class SumOverRanks(torch.autograd.Function):
    """The sum of a tensor over the ranks of a group (None: all); a gradient of it is the sum of the ranks' gradients."""

    @staticmethod
    def forward(ctx, x, group):
        x, ctx.group = x.clone(), group
        distributed.all_reduce(x, group=group)
        return x

    @staticmethod
    def backward(ctx, grad):
        return SumOverRanks.apply(grad, ctx.group), None


class SyncBatchNorm2d(nn.BatchNorm2d):
    """nn.SyncBatchNorm for CPUs, where PyTorch has none: mean and variance over the images of all ranks of its group."""

    process_group = None

    def forward(self, x):
        ranks, axes = distributed.get_world_size(self.process_group), (0, 2, 3)
        if not self.training or ranks == 1:
            return super().forward(x)
        mean = SumOverRanks.apply(x.mean(axes), self.process_group) / ranks     # (C,)
        centred = x - mean[:, None, None]
        variance = SumOverRanks.apply(centred.square().mean(axes), self.process_group) / ranks
        if self.track_running_stats:
            n = x.numel() // x.shape[1] * ranks
            with torch.no_grad():
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(variance * n / (n - 1), self.momentum)
        scale = self.weight * (variance + self.eps).rsqrt()
        return centred * scale[:, None, None] + self.bias[:, None, None]
