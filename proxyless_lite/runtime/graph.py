"""A training step as one CUDA graph: one launch instead of one per kernel."""

import torch

from .machine import is_out_of_memory

WARM_UP = 3  # runs before the capture: cuDNN chooses its algorithms, and lazy state is created


class Graphed:
    """`run(*inputs)`, which computes gradients of `parameters` and returns tensors, captured as a CUDA graph and replayed.

    For inputs of other shapes it is captured again. `run` must not wait for the device, and Python numbers in it are frozen at
    the capture: what changes must be a tensor. If the capture fails, each call runs eagerly, and `say` reports that once.
    """

    def __init__(self, run, parameters, say=print):
        self._run, self._parameters, self._say, self._shapes = run, list(parameters), say, None

    def __call__(self, *inputs):
        shapes = [tensor.shape for tensor in inputs]
        if shapes != self._shapes:
            self._shapes, self._calls, self._graph = shapes, 0, None
            self._inputs = self._outputs = self._gradients = None  # their memory is free again
        self._calls += 1
        if self._calls == WARM_UP + 1:
            self._capture(inputs)
        if self._graph is None:
            return self._run(*inputs)
        for mine, given in zip(self._inputs, inputs):
            mine.copy_(given)
        self._graph.replay()
        for p, gradient in zip(self._parameters, self._gradients):  # the graph writes into them
            p.grad = gradient
        return [output.clone() for output in self._outputs]          # the next replay overwrites its own

    def _capture(self, inputs):
        """Record one run. Only this thread's calls count: others may pin memory or watch ranks meanwhile."""
        self._inputs = [tensor.clone() for tensor in inputs]
        try:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                self._outputs = self._run(*self._inputs)
            self._gradients = [p.grad for p in self._parameters]
            self._graph = graph
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            self._say(f"each step runs without a CUDA graph: it could not be captured ({str(error).splitlines()[0][:100]})", flush=True)
            for p in self._parameters:
                p.grad = None
