"""The step of a network, a loss and a batch, in the engine's precision, in micro-batches, over all ranks."""

from contextlib import nullcontext

import torch

from .. import runtime
from .evaluation import cross_entropy, metrics_of


def batch_loss(net, batch, loss=cross_entropy, engine=runtime.Engine()):
    """What a rule takes: `run(backward=False)`, which runs a SuperNet with its present gates on this batch.

    It returns the metrics of `loss`, {"loss": …}, means over micro-batches and ranks. With `backward` it also computes the
    gradients that the gates ask for, ∂L/∂g likewise a mean, in full precision: ⟨∇L, o_j⟩ nearly cancels, and would be mostly
    rounding in half precision.
    """
    def run(backward=False):
        def model(*inputs):
            return engine.run(net, *inputs, full=backward)
        engine.assert_same_across_ranks("the paths they run", net.gates)
        parts = []
        for micro_batch in engine.micro_batches(batch):
            parts.append(metrics_of(loss(model, micro_batch)))
            if backward:
                (parts[-1]["loss"] / engine.grad_accumulation).backward()
        metrics = means(parts)
        engine.mean_all([*(net.gate_gradient_parts() if backward else []), *metrics.values()])
        return metrics
    return run


def means(parts):
    """The mean of every metric over equal parts of a batch, detached."""
    return {name: mean([part[name].detach() for part in parts]) for name in parts[0]}


def mean(values):
    return values[0] if len(values) == 1 else torch.stack(values).mean()


class Step:
    """One step of `optimizer` on one batch: forward and backward by micro-batches, gradients averaged over ranks.

    `loss(model, batch)` as for `evaluation.cross_entropy`. With `graph` the backward is captured as a CUDA graph: for a network
    that never changes its path, and batches that are tuples of tensors.
    """

    def __init__(self, model, optimizer, loss, engine, graph=False):
        self.model, self.optimizer, self.loss, self.engine = model, optimizer, loss, engine
        self.names, self.scaler, self.half = None, None, None
        if engine.precision == "float16":  # small gradients would be 0
            self.scaler = torch.amp.GradScaler(engine.device.type)
        if engine.precision != "float32" and not engine.compile:  # a compiled layer casts its own weight
            self.half = runtime.HalfWeights(model, runtime.PRECISIONS[engine.precision])
        self.graphed = runtime.Graphed(lambda *batch: self.backward(batch), model.parameters()) if graph else None

    def train_step(self, batch, parameters=None):
        """Train on a batch: only the active `parameters`, if given. Returns the metrics of this rank, detached."""
        values = self.graphed(*batch) if self.graphed else self.backward(batch, parameters)
        self.engine.mean_gradients(parameters or self.model.parameters())
        runtime.step_only(self.optimizer, parameters, self.scaler)
        return dict(zip(self.names, values))

    def backward(self, batch, parameters=None):
        """Gradients of the weights from one batch. Returns the metrics as a list, in the order of `names`."""
        parts = []
        for micro_batch in self.engine.micro_batches(batch):
            with self.half.instead_of(parameters or self.model.parameters()) if self.half else nullcontext():
                parts.append(metrics_of(self.loss(self.run, micro_batch)))
                part = parts[-1]["loss"] / self.engine.grad_accumulation
                (self.scaler.scale(part) if self.scaler else part).backward()
        metrics = means(parts)
        self.names = list(metrics)
        return list(metrics.values())

    def run(self, *inputs):
        return self.engine.run(self.model, *inputs)

    def state_dict(self):
        """State of the scaler of float16; empty without one."""
        return self.scaler.state_dict() if self.scaler else {}

    def load_state_dict(self, state):
        if self.scaler and state:
            self.scaler.load_state_dict(state)
