"""How steps are computed: device, precision, micro-batches, ranks. The mathematics does not depend on it."""

import os
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import distributed, nn
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from . import machine
from .files import digest
from .watch import Watch

PATIENCE = timedelta(minutes=10)  # a rank that waits longer for another gives up
WATCHES = []  # of this process: one for its group of ranks, as torch.distributed has one
PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


class LostRank(RuntimeError):
    """Another rank died, hung or diverged; this one stops."""


class OutOfMemory(MemoryError):
    """A step did not fit into memory; the message says what would."""


@dataclass(frozen=True)
class Engine:
    """How a run computes its steps; the results are the same up to rounding, on several ranks also up to batch statistics (see below) and
    the random numbers of Dropout, DropPath and Cutout.

    `precision` is "float32", "bfloat16" or "float16": that of weight steps and of REINFORCE's rewards, by autocast; weights, α,
    losses and gradients of α stay float32. "float16", for GPUs without bfloat16, scales the loss. `grad_accumulation` divides each
    batch into that many micro-batches, whose gradients add up. `compile` compiles every candidate by itself, never a path through the network: a new
    path would be a new program. `activation_checkpointing` keeps only the input of each edge and recomputes the active path in
    backward: less memory, more time. With a `world_size` above 1 each rank gets its share of every batch and all draw the same
    paths. Batch norm sees only one rank's part, unless `sync_batch_norm`.
    """

    device: torch.device = torch.device("cpu")
    precision: str = "float32"
    grad_accumulation: int = 1
    compile: bool = False
    sync_batch_norm: bool = False
    activation_checkpointing: bool = False
    rank: int = 0
    world_size: int = 1
    own_group: object = None  # of torch.distributed: this rank alone

    def __deepcopy__(self, memo):  # copies of a network share its engine; a group cannot be copied
        return self

    @property
    def is_main(self):
        """Whether this is the rank that writes files and prints."""
        return self.rank == 0

    def prepare(self, module):
        """Move a network to the device, in channels_last, with synchronised batch norms if requested."""
        if self.sync_batch_norm and self.world_size > 1:
            module = synchronised(module, self.device)
        deep = any(t.dim() == 5 for t in (*module.parameters(), *module.buffers()))  # of 3-D convolutions
        return module.to(self.device, memory_format=torch.preserve_format if deep else torch.channels_last)

    def run(self, model, *inputs, full=False):
        """model(*inputs) in this precision, or in full; the outputs in the network's own."""
        if full or self.precision == "float32":
            return model(*inputs)
        with torch.autocast(self.device.type, PRECISIONS[self.precision]):
            return tree_map(lambda output: output.float() if isinstance(output, torch.Tensor) else output, model(*inputs))

    def micro_batches(self, batch):
        """The micro-batches of a batch, any nest of tensors and lists of strings: equal slices. Raises ValueError like `check_batch`."""
        if self.grad_accumulation == 1:
            return [batch]
        leaves, spec = tree_flatten(batch, is_leaf=is_strings)
        size = len(leaves[0])
        self.check_batch(self.world_size * size)
        part = size // self.grad_accumulation
        return [tree_unflatten([leaf[i:i + part] for leaf in leaves], spec) for i in range(0, size, part)]

    def batch_size(self, wanted, available, parts=None):
        """`wanted` images a batch, or as many as fewer `available` ones allow: each rank cuts its share into `parts` (default: its own)."""
        together = self.world_size * (parts or self.grad_accumulation)
        return min(wanted, max(1, available // together) * together)

    def check_batch(self, size):
        """Raises ValueError unless every rank can cut its share of `size` images into parts of equal size."""
        if size % (self.world_size * self.grad_accumulation):
            raise ValueError(f"a batch of {size} images cannot be divided among {self.world_size} ranks × {self.grad_accumulation} parts; "
                             f"give a multiple of {self.world_size * self.grad_accumulation}")

    # -- ranks --------------------------------------------------------------------------------------------------------

    @contextmanager
    def alone(self, module):
        """Within it synchronised batch norms of a module ask no other rank: each normalises by the images of this one."""
        layers = [m for m in module.modules() if hasattr(m, "process_group")]
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
        return tensor if self.world_size == 1 else self.sum(tensor) / self.world_size

    def sum(self, tensor):
        """The sum of a tensor over the ranks."""
        return tensor if self.world_size == 1 else self._reduced(tensor.clone(), distributed.ReduceOp.SUM)

    def mean_all(self, tensors):
        """Replace these tensors by their means over the ranks, in one message."""
        if not tensors or self.world_size == 1:
            return
        flat = self.mean(torch.cat([tensor.flatten() for tensor in tensors]))
        parts = flat.split([tensor.numel() for tensor in tensors])
        torch._foreach_copy_(tensors, [part.view(tensor.shape) for part, tensor in zip(parts, tensors)])

    def mean_gradients(self, parameters):
        """Average the gradients of these parameters: the active ones, so nothing is sent for inactive paths."""
        if self.world_size > 1:  # else skip listing them
            self.mean_all([p.grad for p in parameters if p.grad is not None])

    def mean_statistics(self, module):
        """Average the running statistics of batch norms, which each rank computes from its own share."""
        if self.world_size > 1:
            norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._NormBase) and m.track_running_stats]
            self.mean_all([statistic for norm in norms for statistic in (norm.running_mean, norm.running_var)])

    def any(self, flag):
        """Whether the flag is set on any rank."""
        if self.world_size == 1:
            return bool(flag)
        return bool(self._reduced(torch.tensor(int(flag)), distributed.ReduceOp.MAX))

    def assert_same_across_ranks(self, what, value):
        """Raises LostRank on every rank unless value() has the same repr on all."""
        if self.world_size > 1:  # else skip computing it
            mark = int(digest(value()), 16)
            both = self._reduced(torch.tensor([mark, -mark]), distributed.ReduceOp.MAX)
            if both[0] != -both[1]:
                raise LostRank(f"the ranks disagree on {what}: they have different seeds, weights or code; start all alike")

    def from_first(self, make):
        """What make() gives on the first rank, sent to all. An error there is raised on every rank."""
        if self.world_size == 1:
            return make()
        message = [None]
        if self.is_main:
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
        """Leave the group of ranks, if any."""
        if self.world_size > 1:
            while WATCHES:
                WATCHES.pop().close()
            distributed.destroy_process_group()


def is_strings(value):
    """Whether a part of a batch is a list of strings, one per example."""
    return isinstance(value, (list, tuple)) and all(isinstance(one, str) for one in value)


def engine(device=None, precision="float32", grad_accumulation=1, compile=False, sync_batch_norm=False, activation_checkpointing=False):
    """The Engine for a device's name (see machine.device). Under torchrun this process becomes one rank of several.

    `precision` "auto" is bfloat16 on a device that computes in it, else float32. An Engine is returned as it is. Raises ValueError
    for a setting out of range or a device that is not there, ConnectionError for ranks that cannot reach each other.
    """
    if isinstance(device, Engine):
        return device
    if precision not in (*PRECISIONS, "auto"):
        raise ValueError(f"unknown precision {precision!r}; allowed: {', '.join(PRECISIONS)}, auto")
    if grad_accumulation < 1:
        raise ValueError(f"grad_accumulation={grad_accumulation}: a batch has at least 1 part")
    world_size, rank = from_environment("WORLD_SIZE", 1), from_environment("RANK", 0)
    if world_size > 1 and torch.cuda.is_available() and str(device) in ("None", "cuda"):
        device = f"cuda:{from_environment('LOCAL_RANK', 0)}"
    found = machine.device(device)
    if precision == "auto":
        precision = "bfloat16" if machine.computes_bfloat16(found) else "float32"
    check_precision(precision, found)
    if found.type == "cuda":
        torch.cuda.set_device(found)
        torch.backends.cudnn.benchmark = True  # few shapes, each used thousands of times
    own = None
    if world_size > 1:
        if not distributed.is_initialized():
            join("cpu:gloo,cuda:nccl" if found.type == "cuda" else "gloo", world_size)
            WATCHES.append(Watch(PATIENCE, lambda error: told(rank, world_size, error)))
        own = distributed.new_group([rank], backend="gloo", use_local_synchronization=True)
    return Engine(found, precision, grad_accumulation, compile, sync_batch_norm, activation_checkpointing, rank, world_size, own)


def from_environment(name, default):
    """The whole number that torchrun puts into an environment variable. Raises ValueError for anything else there."""
    value = os.environ.get(name) or default
    try:
        return int(value)
    except ValueError:
        raise ValueError(f"{name}={value!r} in the environment must be a whole number, as torchrun sets it; unset it for one process") from None


def join(backend, world_size):
    """Make this process one of the ranks. Raises ConnectionError in one line where they cannot reach each other."""
    try:
        distributed.init_process_group(backend, timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:150]
        raise ConnectionError(f"the {world_size} ranks cannot reach each other ({reason}); start them with torchrun, and set MASTER_ADDR "
                              f"and GLOO_SOCKET_IFNAME to an address and a network interface that exist here") from None


def check_precision(precision, device):
    """Raises ValueError for a precision that the device lacks or only emulates."""
    if precision == "float16" and device.type != "cuda":
        raise ValueError(f"precision 'float16' is for GPUs; on {device} use float32 or bfloat16")
    if precision == "bfloat16" and device.type == "cuda" and not machine.computes_bfloat16(device):
        raise ValueError(f"{torch.cuda.get_device_name(device)} does not compute in bfloat16; use float16 or float32")


def lost(engine, error):
    """The LostRank to raise where a message to the other ranks failed."""
    for watch in WATCHES:
        watch.known.set()
    return LostRank(told(engine.rank, engine.world_size, error))


def told(rank, world_size, error):
    reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
    return f"rank {rank} of {world_size} lost another rank ({reason}); the last checkpoint is kept, start all ranks again to resume"


def compile_once(module):
    """Compile a module in place. Modules of equal shape share one program, as their weights are its inputs."""
    for limit in ("recompile_limit", "accumulated_recompile_limit"):  # one program a shape, not 8 or 256 in all
        setattr(torch._dynamo.config, limit, max(1 << 14, getattr(torch._dynamo.config, limit)))
    module.compile(dynamic=False)


def step_only(optimizer, parameters=None, scaler=None):
    """One step of `optimizer` on these of its parameters (None: all), then clear their gradients; the others are not visited.

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
    """The network with PyTorch's batch norms that normalise by the batch of all ranks together; for GPUs only."""
    if device.type != "cuda":
        raise ValueError(f"sync_batch_norm is for GPUs, not for {device}; leave it out")
    return nn.SyncBatchNorm.convert_sync_batchnorm(module)
