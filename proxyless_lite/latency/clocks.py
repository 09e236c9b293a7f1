"""Ways to time a module: PyTorch on a CPU, on a GPU, and the runtimes in which networks are deployed."""

import tempfile
import time
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import torch

from .. import runtime
from . import convert, run


@contextmanager
def timing(device, threads=1):
    """Yields clock_of(device, threads). Meanwhile PyTorch uses the clock's number of threads."""
    clock = clock_of(device, threads)
    with runtime.threads(clock.threads or torch.get_num_threads()):  # None for a GPU's clock
        yield clock


def clock_of(device, threads=1):
    """The clock called `device`: "cpu", "cuda" or one of run.RUNTIMES. Raises ValueError for one this machine lacks."""
    if device in run.RUNTIMES:
        return Deployed(device, threads)
    if device not in ("cpu", "cuda"):
        raise ValueError(f"unknown device {device!r}; allowed: cpu, cuda, {', '.join(run.RUNTIMES)}")
    return Cuda() if runtime.device(device).type == "cuda" else Cpu(threads)


class Cpu:
    """A forward pass in PyTorch, in inference mode, channels_last; see `timing` for its threads."""

    name, batch = "cpu", 1

    def __init__(self, threads=1):
        self.threads = at_least_one(threads)

    def ready(self, module):
        return module.eval().to(memory_format=torch.channels_last)

    def prepare(self, module, shape):
        """A function that runs the module once on random input of `shape` and returns seconds."""
        module, x = self.ready(module), torch.randn(shape).to(memory_format=torch.channels_last)

        def run():
            with torch.inference_mode():
                began = time.perf_counter()
                module(x)
                return time.perf_counter() - began
        return run

    def versions(self):
        return {}


class Cuda:
    """A forward pass replayed as a CUDA graph and timed by events, so that neither Python nor the queue counts."""

    name, batch, threads = "cuda", 8, None  # §4.2: one image leaves a GPU idle

    def ready(self, module):
        return module.eval().to("cuda", memory_format=torch.channels_last)

    def prepare(self, module, shape):
        module, x = self.ready(module), torch.randn(shape, device="cuda").to(memory_format=torch.channels_last)
        graph, side = torch.cuda.CUDAGraph(), torch.cuda.Stream()
        with torch.inference_mode():
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(3):  # cuDNN chooses its algorithms before the capture
                    module(x)
            torch.cuda.current_stream().wait_stream(side)
            with torch.cuda.graph(graph):
                output = module(x)

        def run(kept=(module, x, output)):  # the graph reads and writes their memory
            began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            for _ in range(2):  # keep the GPU busy until the next replay is launched, or the launch would be timed too
                graph.replay()
            began.record()
            graph.replay()
            ended.record()
            ended.synchronize()
            return began.elapsed_time(ended) / 1e3
        return run

    def versions(self):
        return {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}


class Deployed:
    """The converted network in one of run.RUNTIMES on the CPU: batch norm folded, layers fused, as in deployment."""

    batch = 1

    def __init__(self, name, threads=1):
        _, self.kind, self.package = run.RUNTIMES[name]
        self.name, self.threads = name, at_least_one(threads)
        if find_spec(self.package) is None:
            raise ValueError(f"device {name!r} asked for, but it is not installed; pip install {self.package.replace('_', '-')}")
        convert.installed(self.kind)

    def ready(self, module):
        return module.eval()

    def prepare(self, module, shape):
        """A function that runs the module once and returns seconds. Raises ValueError where the runtime does not compute what PyTorch does."""
        if self.kind == "ncnn" and shape[0] > 1:
            raise ValueError(f"ncnn runs one image at a time, not {shape[0]}; give batch 1")
        source, folder = convert.Source(module, shape), tempfile.TemporaryDirectory()
        files = convert.FORMATS[self.kind](source, Path(folder.name) / "network")
        try:
            timed = run.prepared(self.name, files, self.threads, shape, run.sampled(source.output.numpy()))
        except run.Refused as error:
            raise ValueError(str(error)) from None
        return lambda kept=folder: timed()  # some runtimes read their file as they run

    def versions(self):
        return {self.package: run.release(self.package)}


def at_least_one(threads):
    if threads < 1:
        raise ValueError(f"threads={threads}: must be at least 1")
    return threads
