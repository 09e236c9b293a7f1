"""Device, seeds, memory, checkpoints, signals, progress: the only file that knows of the machine."""

import ctypes
import hashlib
import os
import platform
import re
import resource
import signal
import sys
import time
import zipfile
from contextlib import contextmanager
from pathlib import Path

import torch
import torchvision
from tqdm import tqdm

FORMAT = "proxyless_lite checkpoint 1"


class Stopped(SystemExit):
    """A run ended by SIGTERM after its checkpoint was written; the exit status is the shell's for that signal."""

    def __init__(self, message):
        super().__init__(128 + signal.SIGTERM)
        self.message = message

    def __str__(self):
        return self.message


def device(name=None):
    """The torch.device called `name`; without one CUDA if there is, else the CPU.

    Raises ValueError for a device this machine lacks.
    """
    name = str(name) if name is not None else "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise ValueError(f"unknown device {name!r}; allowed: cpu, cuda, cuda:0, …")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"device {name!r} asked for, but PyTorch sees no CUDA GPU here; use cpu")
    if name == "cpu":
        keep_freed_memory()
    found = torch.device(name)
    if (found.index or 0) >= max(1, torch.cuda.device_count()):
        raise ValueError(f"device {name!r} asked for, but there are only {torch.cuda.device_count()} CUDA GPUs here")
    return found


def keep_freed_memory():
    """Tell glibc to keep freed activations instead of returning them to the kernel after every step.

    Each step allocates the same tensors again; faulting their pages in anew costs a fifth to a third of a CPU step.
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


def generator(device, *key):
    """A random generator on `device`, fixed by the integers in `key` (seed, what it is for, …)."""
    mixed = 0
    for part in key:
        mixed = (mixed * 1_000_003 + int(part) + 1) % (1 << 62)
    return torch.Generator(device).manual_seed(mixed)


def random_state():
    """State of PyTorch's global generators, which dropout and DropPath draw from: the CPU's, then every GPU's."""
    return [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if torch.cuda.is_available() else ())]


def set_random_state(state):
    """Take back what `random_state` gave; the part of a GPU that is not here is left out."""
    torch.set_rng_state(state[0])
    for i, part in enumerate(state[1:1 + torch.cuda.device_count()]):
        torch.cuda.set_rng_state(part, i)


def peak_memory(device):
    """Peak memory in MB: allocated on the GPU, or resident for the whole process on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6  # bytes there, KiB here


def saved_bytes(run, exclude=()):
    """Bytes of the tensors that autograd saves for backward during `run()`: each storage once, those of `exclude` not.

    Pass parameters and inputs as `exclude` to count activations.
    """
    kept, alive = {}, []

    def pack(tensor):
        alive.append(tensor)  # so that no storage is freed and its address used again
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run()
    excluded = {tensor.untyped_storage().data_ptr() for tensor in exclude}
    return sum(size for address, size in kept.items() if address not in excluded)


def default_root():
    """Where data sets and downloaded files lie: $PROXYLESS_DATA, else ./data."""
    return Path(os.environ.get("PROXYLESS_DATA") or "data")


def write_atomically(path, content):
    """Write bytes so that `path` is complete or unchanged whenever the process dies."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with open(partial, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def save_checkpoint(path, state):
    """Write `state` (tensors, numbers, strings, lists, dicts) to `path`; the one before stays beside it as *.previous."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial, previous = path.with_name(path.name + ".partial"), previous_of(path)
    with open(partial, "wb") as file:
        torch.save({"format": FORMAT, **state}, file)
        file.flush()
        os.fsync(file.fileno())
    if path.exists():
        os.replace(path, previous)
    os.replace(partial, path)


def load_checkpoint(path, say=print):
    """The newest good state at `path` or its *.previous, None where neither exists. No code in the file is run.

    A file that is truncated or not ours is named through `say` when the previous one serves instead.
    Raises ValueError naming the file when none is good.
    """
    refused = []
    for candidate in (Path(path), previous_of(Path(path))):
        if not candidate.exists():
            continue
        try:
            state = read_checkpoint(candidate)
        except ValueError as error:
            refused.append(str(error))
            continue
        if refused:
            say(f"{refused[0]}; going on from {candidate}")
            os.replace(candidate, path)  # else the next save would move the damaged file over the good one
        return state
    if refused:
        raise ValueError(f"{'; '.join(refused)}; no good checkpoint is left, delete the folder to start anew")
    return None


def read_checkpoint(path):
    """Load one checkpoint file. Raises ValueError if it is truncated or foreign."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()  # torch.load would not notice a flipped bit
        if damaged:
            raise zipfile.BadZipFile(f"{damaged} is damaged")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file may fail anywhere in zipfile, pickle or torch
        reason = (str(error).splitlines() or [type(error).__name__])[0][:100]
        raise ValueError(f"{path} is truncated or no checkpoint ({reason})") from None
    if not (isinstance(state, dict) and state.get("format") == FORMAT):
        raise ValueError(f"{path} is no checkpoint of this version ({FORMAT!r} expected)")
    return state


def previous_of(path):
    return path.with_name(path.name + ".previous")


def check_same(path, saved, ours):
    """Raises ValueError naming the first setting in which the run in folder `path` differs from the one asked for."""
    for key in sorted({*saved, *ours}):
        there, here = (repr(settings.get(key))[:100] for settings in (saved, ours))
        if saved.get(key) != ours.get(key):
            raise ValueError(f"{path} belongs to another configuration: {key} is {there} there and {here} here; "
                             f"choose another folder or delete this one")


def digest(*parts):
    """A short fingerprint of tensors and of anything with a faithful repr, to tell one run's input from another's."""
    total = hashlib.sha256()
    for part in parts:
        total.update(part.cpu().numpy().tobytes() if isinstance(part, torch.Tensor) else repr(part).encode())
    return total.hexdigest()[:12]


@contextmanager
def sigterm_flag():
    """Yields a function that tells whether SIGTERM has come since; without it the signal would end the process at once."""
    received = []
    try:
        before = signal.signal(signal.SIGTERM, lambda *_: received.append(True))
    except ValueError:  # only the main thread may ask
        yield lambda: False
        return
    try:
        yield lambda: bool(received)
    finally:
        signal.signal(signal.SIGTERM, before)


class Progress:
    """A bar in a terminal; elsewhere (notebook, log file) at most about ten plain lines, each with the time left."""

    def __init__(self, total, done=0, label=""):
        self.total, self.done, self.first, self.label = total, done, done, label
        self.began = self.shown = time.monotonic()
        self.bar = tqdm(total=total, initial=done, desc=label) if sys.stderr.isatty() else None

    def step(self, **numbers):
        """Count one step done. `numbers` are shown beside it; they may be functions, called only when shown."""
        self.done += 1
        if self.bar is not None:
            self.bar.update()
        now = time.monotonic()
        due = self.done * 10 // self.total > (self.done - 1) * 10 // self.total and now - self.shown > 2
        if due or self.done == self.total:
            self.show(now, {k: v() if callable(v) else v for k, v in numbers.items()})

    def show(self, now, numbers):
        self.shown = now
        shown = "".join(f", {k} {v:.3g}" for k, v in numbers.items())
        if self.bar is not None:
            self.bar.set_postfix_str(shown.removeprefix(", "))
            return
        left = (now - self.began) / (self.done - self.first) * (self.total - self.done)
        print(f"{self.label} {100 * self.done // self.total:3d} %{shown}, {clock(left)} left", flush=True)

    def close(self):
        if self.bar is not None:
            self.bar.close()


def clock(seconds):
    """Seconds as people say them: 42 s, 3 min, 2.5 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def step_only(optimizer, parameters):
    """One step of `optimizer` on these of its parameters, and their gradients gone; the others are not even looked at.

    An optimizer walks through all its parameters in Python, so without this a step would cost time for inactive paths.
    """
    group = optimizer.param_groups[0]
    everything, group["params"] = group["params"], parameters
    try:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    finally:
        group["params"] = everything


def describe():
    """The machine and the versions that a measured figure must name."""
    on = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    return {"device": on, "processor": processor(), "python": platform.python_version(), "torch": torch.__version__,
            "torchvision": torchvision.__version__, "system": platform.platform(terse=True)}


def processor():
    """The CPU's model name, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor())
