"""The machine: device, random generators, memory, versions."""

import ctypes
import math
import os
import platform
import re
import resource
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import torch
import torchvision


def device(name=None):
    """The torch.device called `name`; by default CUDA if available, else the CPU. A GPU always has its index.

    Raises ValueError for a device that this machine lacks or the package does not support.
    """
    name = str(name) if name is not None else "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("mps"):
        raise ValueError(f"device {name!r} asked for, but Apple GPUs are not supported; use cpu")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise ValueError(f"unknown device {name!r}; allowed: cpu, cuda, cuda:0, …")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"device {name!r} asked for, but PyTorch sees no CUDA GPU here; use cpu")
    if name == "cpu":
        keep_freed_memory()
    if name == "cuda":
        name = f"cuda:{torch.cuda.current_device()}"
    found = torch.device(name)
    if (found.index or 0) >= max(1, torch.cuda.device_count()):
        raise ValueError(f"device {name!r} asked for, but there are only {torch.cuda.device_count()} CUDA GPUs here")
    return found


def computes_bfloat16(device):
    """Whether a device computes in bfloat16 by itself, and so faster than in float32; others emulate it."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # where an older PyTorch cannot tell, bool() says no
    return any(getattr(torch.cpu, name, bool)() for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))


@contextmanager
def threads(n):
    """A context in which PyTorch uses n threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def keep_freed_memory():
    """Tell glibc to keep freed activations instead of returning them to the kernel after every step.

    Each step allocates the same tensors again; faulting their pages in again costs a fifth to a third of a CPU step.
    Elsewhere (macOS, musl) this does nothing.
    """
    trim_threshold, top_pad, mmap_threshold = -1, -2, -3  # malloc.h
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    mallopt(mmap_threshold, 32 << 20)  # the largest that glibc accepts
    mallopt(trim_threshold, -1)  # never
    mallopt(top_pad, 64 << 20)


def seed(*key):
    """One integer made of the integers in `key` (seed, what it is for, …)."""
    mixed = 0
    for part in key:
        mixed = (mixed * 1_000_003 + int(part) + 1) % (1 << 62)
    return mixed


def generator(device, *key):
    """A random generator on `device`, fixed by the integers in `key` (seed, what it is for, …)."""
    return torch.Generator(device).manual_seed(seed(*key))


def reset_peak_memory(device):
    """Restart the count of `peak_memory` on a GPU; a CPU process has only one peak."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device):
    """Peak memory in MB: allocated on the GPU since `reset_peak_memory`, or resident for the whole process on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6  # bytes there, KiB here


def saved_bytes(run, exclude=()):
    """Bytes of the tensors that autograd saves for backward during `run()`: each storage once, without those of `exclude`.

    Pass parameters and inputs as `exclude` to count activations.
    """
    kept, alive = {}, []

    def pack(tensor):
        alive.append(tensor)  # so that no storage is freed and its address reused
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run()
    excluded = {tensor.untyped_storage().data_ptr() for tensor in exclude}
    return sum(size for address, size in kept.items() if address not in excluded)


TABLES = Path(__file__).parents[1] / "tables"  # measured here, and the paper's; they come with the package


def default_root():
    """Where data sets and downloaded files are kept: $PROXYLESS_DATA, else ./data."""
    return Path(os.environ.get("PROXYLESS_DATA") or "data")


def describe():
    """The machine and versions to report with a measured figure."""
    on = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    return {"device": on, "processor": processor(), "python": platform.python_version(), "torch": torch.__version__,
            "torchvision": torchvision.__version__, "system": platform.platform(terse=True)}


def processor():
    """The CPU's model name, or that of the board; what else the system says, where it gives neither."""
    named = []
    for path, pattern in (("/proc/cpuinfo", r"(?<=model name\t: ).+"), ("/proc/device-tree/model", r"[^\0\n]+")):  # x86; ARM
        with suppress(OSError):
            named += re.findall(pattern, Path(path).read_text("utf-8", "replace"))[:1]
    return named[0].strip() if named else platform.processor() or platform.machine()


def free_memory(device):
    """Bytes that this process may still allocate on the device; on the CPU what the system calls available, within the limits set."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    available = min(psutil.virtual_memory().available, left_in_container())
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return available if limit == resource.RLIM_INFINITY else min(available, max(0, limit - psutil.Process().memory_info().vms))


def left_in_container(root=Path("/sys/fs/cgroup")):
    """Bytes below the memory limit of the container that this process runs in; infinite where it has none. Cached files do not count as used."""
    for limit, used, cached in (("memory.max", "memory.current", "inactive_file"),  # the second and the first version of control groups
                                ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file")):
        with suppress(OSError, ValueError):  # not this version; "max"
            cache = dict(line.split() for line in (root / used).with_name("memory.stat").read_text().splitlines())
            return max(0, int((root / limit).read_text()) - int((root / used).read_text()) + int(cache.get(cached, 0)))
    return math.inf


def is_out_of_memory(error):
    """Whether an exception means that memory is exhausted; PyTorch has a class for that only on CUDA."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
