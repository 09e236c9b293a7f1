"""A pretended GPU: tensors that report cuda:0 and compute on the CPU, so that code for a GPU is tested without one.

    with PretendGPU() as gpu:
        ...              # anything with device="cuda"; a mix of devices raises as PyTorch does
    gpu.waits            # [(kind, operation, "file.py:line")]: where the host waited; kind is sync, H2D or D2H
    gpu.copies           # the same for copies with non_blocking=True, which nobody waits for
    gpu.launches         # Counter of aten operations that would launch a kernel
    gpu.events_done      # what Event.query() answers; set it

C++ is told that these tensors are on "cpu:0". C++ treats that as the CPU, yet no CPU tensor has this name: theirs is "cpu".

A real GPU differs. Asynchronous copies take time, streams overlap, memory runs out, and kernels round differently. An operation
may launch several kernels; dropout is one operation there and three here. Autocast follows PyTorch's list for CPUs and also
applies to CPU tensors. torch.save forgets the device. Only the thread that entered PretendGPU can put tensors on the device.
"""

import collections
import contextlib
import threading
import traceback
from pathlib import Path
from unittest import mock

import torch
from torch.optim import optimizer
from torch.utils import _foreach_utils
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.checkpoint import DefaultDeviceType

import proxyless_lite

GPU, GPU_IN_C, CPU = torch.device("cuda", 0), torch.device("cpu", 0), torch.device("cpu")
PACKAGE, TORCH = (str(Path(module.__file__).parent) + "/" for module in (proxyless_lite, torch))
NO_KERNEL = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "_unsafe_view", "_local_scalar_dense"}
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_"}
WAITS = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}  # PyTorch's tags: the host needs a value to go on


def nothing(*_, **__):
    """Stands in for what needs a real GPU."""


def dispatched(self, func, types, args=(), kwargs=None):
    """__torch_dispatch__ of GPUTensor, and of a mode for operations without one: torch.zeros(3, device="cuda")."""
    return PretendGPU.now.run(func, args, kwargs or {})


class Operations(TorchDispatchMode):
    __torch_dispatch__ = dispatched


class GPUTensor(torch.Tensor):
    """A tensor on cuda:0 as far as Python can see. `inner` is the CPU tensor that holds its numbers."""

    @staticmethod
    def __new__(cls, inner, requires_grad=False):
        self = torch.Tensor._make_wrapper_subclass(
            cls, inner.shape, strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype, device=GPU_IN_C,
            requires_grad=requires_grad)
        self.inner = inner
        return self

    device, is_cuda, is_cpu = property(lambda self: GPU), property(lambda self: True), property(lambda self: False)
    __torch_dispatch__, __torch_function__ = classmethod(dispatched), torch._C._disabled_torch_function_impl

    # Methods that C++ answers without asking __torch_dispatch__:

    cuda, record_stream = (lambda self, *_, **__: self), nothing
    data_ptr, untyped_storage = (lambda self: self.inner.data_ptr()), (lambda self: self.inner.untyped_storage())

    def to(self, *args, **kwargs):
        args, kwargs = tree_map(lambda x: GPU_IN_C if on_gpu(x) else x, (args, kwargs))
        return super().to(*args, **kwargs)

    def new_tensor(self, data, *, dtype=None, device=GPU, requires_grad=False):
        return torch.tensor(data, dtype=dtype or self.dtype, device=device, requires_grad=requires_grad)

    def tolist(self):
        PretendGPU.now.wait("sync", "tolist")
        return self.inner.tolist()

    def numpy(self, *_, **__):
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host memory first.")

    def set_data(self, other):
        torch.Tensor.data.__set__(self, other)
        self.inner = other.inner

    data = property(torch.Tensor.data.__get__, set_data)

    def __repr__(self):
        return f"GPUTensor({self.inner})"

    def __format__(self, spec):
        return format(self.item(), spec) if self.dim() == 0 else repr(self)

    def __deepcopy__(self, memo):
        if not self.is_leaf:
            raise RuntimeError("Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol at the moment")
        if id(self) not in memo:
            new = memo[id(self)] = GPUTensor(self.inner.clone(), self.requires_grad)
            new.__dict__.update({**self.__dict__, "inner": new.inner})
            new.grad = None if self.grad is None else self.grad.__deepcopy__(memo)
        return memo[id(self)]

    def __reduce_ex__(self, protocol):  # torch.save
        PretendGPU.now.wait("D2H", "save")
        return self.inner.__reduce_ex__(protocol)


class Generator(torch.Generator):
    """torch.Generator for either device. C++ wraps it in a new Python object, so only its address tells the device."""

    def __new__(cls, device="cpu"):
        self = super().__new__(cls)
        if on_gpu(device):
            PretendGPU.now.generators[self._cdata] = self
        return self

    __init__ = nothing
    device = property(lambda self: GPU if self._cdata in PretendGPU.now.generators else CPU)


class Event:
    __init__ = record = wait = nothing
    query, elapsed_time = (lambda self: PretendGPU.now.events_done), (lambda self, end: 1.0)

    def synchronize(self):
        PretendGPU.now.wait("sync", f"{type(self).__name__}.synchronize")


class Stream(Event):
    wait_stream = wait_event = nothing
    record_event, is_capturing = (lambda self, event=None: event or Event()), (lambda self: PretendGPU.now.capture.graph is not None)


class CUDAGraph:
    """Records operations between capture_begin and capture_end; replay() runs them again on the same memory.

    A GPU computes nothing during a capture. Here the operations run once, because the CPU finds shapes that way. Their
    effects are undone at the end: old memory and generators are restored, new memory becomes NaN (−1 for integers).
    """

    def __init__(self, *_, **__):
        self.calls, self.before, self.generators = [], {}, {}

    def register_generator_state(self, generator):
        self.generators[generator._cdata] = generator

    def capture_begin(self, *_, **__):
        self.register_generator_state(PretendGPU.now.default_generator)
        self.states = [(generator, generator.get_state()) for generator in self.generators.values()]
        PretendGPU.now.capture.graph = self

    def capture_end(self):
        PretendGPU.now.capture.graph = None
        for storage, content in self.before.values():
            storage.fill_(255) if content is None else storage.copy_(content)
        for generator, state in self.states:
            generator.set_state(state)
        self.before.clear()

    def remember(self, tensors, new):
        """Save the content of memory the first time it is seen; None for memory that the capture allocated."""
        for storage in (tensor.untyped_storage() for tensor in tensors):
            if storage.nbytes() and storage.data_ptr() not in self.before:
                self.before[storage.data_ptr()] = storage, None if new else storage.clone()

    def replay(self):
        PretendGPU.now.launches["graph"] += 1
        with _disable_current_modes(), torch.inference_mode(), torch.autocast("cpu", enabled=False):
            for func, args, kwargs, outputs in self.calls:
                for output, new in zip(outputs, tensors_in(PretendGPU.now.compute(func, args, kwargs)), strict=True):
                    if output is not new:
                        output.copy_(new)

    reset, pool = (lambda self: self.calls.clear()), (lambda self: (0, 0))


@contextlib.contextmanager
def graph(cuda_graph, pool=None, stream=None, **_):
    torch.cuda.synchronize()  # as torch.cuda.graph does
    with torch.cuda.stream(stream or Stream()):
        cuda_graph.capture_begin()
        try:
            yield
        finally:
            cuda_graph.capture_end()


class Capture(threading.local):
    graph = None  # that this thread captures; other threads may wait meanwhile


class PretendGPU:
    """See the top of the file."""

    now = None

    def __init__(self):
        self.waits, self.copies, self.launches, self.events_done = [], [], collections.Counter(), True
        self.generators, self.pinned, self.capture, self.stream = {}, {}, Capture(), Stream()

    def clear(self):
        """Forget waits, copies and launches."""
        self.waits.clear(), self.copies.clear(), self.launches.clear()

    def wait(self, kind, operation):
        if self.capture.graph:
            raise RuntimeError(f"CUDA error: operation not permitted when stream is capturing ({operation} at {place()})")
        self.waits.append((kind, operation, place()))

    # -- operations -----------------------------------------------------------------------------------------------------

    def run(self, func, args, kwargs):
        if torch.is_inference_mode_enabled():  # then autograd has not decomposed composite operations
            with Operations():
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        name, tensors, device = func.overloadpacket.__name__, tensors_in((args, kwargs)), kwargs.get("device")
        from_gpu = any(isinstance(t, GPUTensor) for t in tensors)
        to_gpu = from_gpu if device is None else on_gpu(device)
        self.check_generator(kwargs.get("generator"), to_gpu)
        if not from_gpu and not to_gpu or name == "scalar_tensor" and device == GPU_IN_C:  # the 1.0 of x[0] = 1.0
            return self.run_on_cpu(func, args, kwargs)

        if name in ("copy_", "_foreach_copy_"):
            to_gpu, from_gpu = (isinstance(tensors_in(arg)[0], GPUTensor) for arg in args[:2])
        crosses = name in ("_to_copy", "copy_", "_foreach_copy_") and from_gpu != to_gpu
        launches = to_gpu and not (crosses or func.is_view or name in NO_KERNEL)
        if not crosses:
            self.check_devices(func, name, args, tensors)
            self.log_waits(func, name, args, kwargs)
        elif getattr(device, "type", None) != "meta":
            non_blocking = kwargs.get("non_blocking") or len(args) > 2 and args[2]
            self.log_copy("H2D" if to_gpu else "D2H", name.removeprefix("_").removesuffix("_copy"), non_blocking)
        self.launches.update([name] * launches)

        inner_args, inner_kwargs = tree_map(inner, (args, kwargs))
        if self.capture.graph:
            self.capture.graph.remember(tensors_in((inner_args, inner_kwargs)), new=False)
        result = self.compute(func, inner_args, inner_kwargs)
        if self.capture.graph:
            self.capture.graph.remember(tensors_in(result), new=True)
            if crosses or launches:
                self.capture.graph.calls.append((func, inner_args, inner_kwargs, tensors_in(result)))
        arguments = {id(inner(t)): t for t in tensors}
        return tree_map(lambda x: outer(x, arguments, to_gpu) if isinstance(x, torch.Tensor) else x, result)

    def compute(self, func, args, kwargs):
        """func on CPU tensors, with random numbers from the GPU's generator."""
        if torch.Tag.nondeterministic_seeded not in func.tags or kwargs.get("generator") is not None:
            return func(*args, **kwargs)
        host = torch.get_rng_state()
        torch.set_rng_state(self.default_generator.get_state())
        try:
            return func(*args, **kwargs)
        finally:
            self.default_generator.set_state(torch.get_rng_state())
            torch.set_rng_state(host)

    def run_on_cpu(self, func, args, kwargs):
        if kwargs.get("pin_memory"):
            return self.pin(func(*args, **{**kwargs, "pin_memory": False}))
        return func(*args, **tree_map(inner, kwargs))

    def pin(self, tensor):
        storage = tensor.untyped_storage()
        self.pinned[storage.data_ptr()] = storage
        return tensor

    def log_copy(self, kind, operation, non_blocking):
        if non_blocking:
            self.copies.append((kind, operation, place()))
        else:
            self.wait(kind, operation)

    def log_waits(self, func, name, args, kwargs):
        """Log where the host needs a value from the device, or the device needs an index from the host."""
        if name in INDEXING:
            host = [t for t in tensors_in(args[1:3]) if not isinstance(t, GPUTensor)]
            masks = [t for t in tensors_in(args[1]) if isinstance(t, GPUTensor) and t.dtype == torch.bool]
            if len(masks) == len(tensors_in(args[1])) == len(host) == 1:  # x[mask] = 0 is masked_fill
                return
            for kind, operation in [("H2D", name)] * len(host) + [("sync", f"{name} by a mask")] * bool(masks):
                self.wait(kind, operation)
        elif WAITS & set(func.tags) and kwargs.get("output_size") is None or name == "multinomial":
            self.wait("sync", "item" if name == "_local_scalar_dense" else name)

    def check_devices(self, func, name, args, tensors):
        """Raise for a mix of devices. Only indices and 0-dimensional tensors may be on the CPU."""
        indices = {id(t) for t in tensors_in(args[1])} if name in INDEXING and isinstance(args[0], GPUTensor) else ()
        host = [t for t in tensors if not isinstance(t, GPUTensor) and id(t) not in indices]
        if any(t.dim() or name == "stack" or name.endswith("_") and t is args[0] for t in host):
            raise RuntimeError(f"Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu! "
                               f"({func} at {place()})")

    def check_generator(self, generator, to_gpu):
        if generator is None:
            return
        expected, found = ("cuda" if yes else "cpu" for yes in (to_gpu, generator._cdata in self.generators))
        if expected != found:
            raise RuntimeError(f"Expected a '{expected}' device type for generator but found '{found}'")
        if self.capture.graph and to_gpu and generator._cdata not in self.capture.graph.generators:
            raise RuntimeError("give a generator to CUDAGraph.register_generator_state before its capture")

    # -- the rest of torch ----------------------------------------------------------------------------------------------

    def __enter__(self):
        PretendGPU.now, self.stack = self, contextlib.ExitStack()
        self.default_generator = Generator("cuda")
        torch._C._ensureCUDADeviceGuardSet()  # otherwise C++ looks for a driver as soon as it reads "cuda"
        lifted, swapped = torch._C._only_lift_cpu_tensors(), torch.__future__.get_swap_module_params_on_conversion()
        torch._C._set_only_lift_cpu_tensors(True)                    # torch.tensor(…, device="cuda") becomes a copy
        torch.__future__.set_swap_module_params_on_conversion(True)  # module.to(…) may change a parameter's class
        self.stack.callback(torch._C._set_only_lift_cpu_tensors, lifted)
        self.stack.callback(torch.__future__.set_swap_module_params_on_conversion, swapped)
        for types in (optimizer._foreach_supported_types, _foreach_utils._foreach_supported_types):
            types.append(GPUTensor)
            self.stack.callback(types.remove, GPUTensor)
        for owner, patches in self.patches().items():
            self.stack.enter_context(mock.patch.multiple(owner, create=True, **patches))
        self.stack.enter_context(Operations())
        return self

    def __exit__(self, *error):
        self.stack.close()
        PretendGPU.now = None

    def patches(self):
        """Owner -> name -> its replacement."""
        autocast = ("is_autocast_enabled", "get_autocast_dtype", "set_autocast_enabled", "set_autocast_dtype")
        yes, zero, this_stream = lambda *_, **__: True, lambda *_, **__: 0, lambda device=None: self.stream
        return {
            torch: dict({name: for_cpu(getattr(torch, name)) for name in autocast}, Generator=Generator, Event=Event),
            torch.Tensor: dict(pin_memory=lambda tensor, device=None: self.pin(tensor.clone()),
                               is_pinned=lambda tensor, device=None: tensor.untyped_storage().data_ptr() in self.pinned),
            torch._C: dict(_cuda_setDevice=nothing, _cuda_getDevice=zero),
            torch.accelerator: dict(current_accelerator=lambda check_available=False: torch.device("cuda"), current_stream=this_stream),
            torch.cuda.random: dict(device_count=lambda: 1),
            DefaultDeviceType: dict(_default_device_type="cuda"),
            torch.cuda: dict(
                is_available=yes, is_bf16_supported=yes, _initialized=True, device_count=lambda: 1, _exchange_device=zero,
                _maybe_exchange_device=zero, default_generators=(self.default_generator,), get_device_capability=lambda device=None: (8, 0),
                get_device_name=lambda device=None: "pretended GPU", mem_get_info=lambda device=None: (60 << 30, 80 << 30),
                memory_allocated=zero, memory_reserved=zero, max_memory_allocated=zero, max_memory_reserved=zero,
                reset_peak_memory_stats=nothing, empty_cache=nothing, synchronize=lambda device=None: self.wait("sync", "synchronize"),
                Event=Event, Stream=Stream, current_stream=this_stream, default_stream=this_stream,
                stream=lambda stream: mock.patch.object(self, "stream", stream or self.stream), CUDAGraph=CUDAGraph, graph=graph,
                graph_pool_handle=lambda: (0, 0), is_current_stream_capturing=lambda: self.capture.graph is not None)}


def on_gpu(device):
    """Whether this is a name of the GPU, Python's or C++'s."""
    if isinstance(device, str) and device.startswith("cuda"):
        device = torch.device(device)
    if not isinstance(device, torch.device):
        return False
    if device.type == "cuda" and device.index not in (None, 0):
        raise RuntimeError(f"CUDA error: invalid device ordinal {device.index}")
    return device.type == "cuda" or device == GPU_IN_C


def for_cpu(function):
    """An autocast function that turns "cuda" into "cpu"."""
    return lambda device="cuda", *values: function("cpu" if device == "cuda" else device, *values)


def tensors_in(tree):
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def inner(x):
    """The CPU tensor or device that stands for x."""
    return x.inner if isinstance(x, GPUTensor) else CPU if isinstance(x, torch.device) and on_gpu(x) else x


def outer(result, arguments, to_gpu):
    """The tensor that the caller gets for a result of the CPU: its own argument if that was changed in place."""
    if id(result) not in arguments:
        return GPUTensor(result) if to_gpu else result
    tensor = arguments[id(result)]
    if tensor is not result and (tensor.shape, tensor.stride()) != (result.shape, result.stride()):
        torch.Tensor.data.__set__(tensor, GPUTensor(result))  # C++ learns the new shape
    return tensor


def place():
    """The innermost "file.py:line" in the package; without one, the innermost outside PyTorch."""
    frames = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_stack(None)]
    inside = [(file.removeprefix(PACKAGE), line) for file, line in frames if file.startswith(PACKAGE)]
    outside = [(Path(file).name, line) for file, line in frames if file != __file__ and not file.startswith((TORCH, mock.__file__))]
    file, line = (inside + outside + [("?", 0)])[0]
    return f"{file}:{line}"
