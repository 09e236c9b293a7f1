"""What is compared: a supernet, a batch, and the kinds of step, all of one active network.

  plain      training step of the active network, built as a static module
  weight     forward, backward, SGD on the weights of the active paths
  two_path   α step of rules.TwoPath        exact  α step of rules.Exact
  darts      α step through Softmax gates, which stores all paths (weights frozen as in ours)
  all_paths  weight step through Sum gates: One-Shot's, and as costly as DARTS's weight step
  … again    the same with each edge recomputed in backward (activation checkpointing)
"""

import torch
from torch.nn import functional as F

import proxyless_lite as pl
from proxyless_lite import runtime
from proxyless_lite.search import place

ADAM = dict(lr=0.006, betas=(0.0, 0.999))
SGD = dict(lr=0.0, momentum=0.9, nesterov=True, weight_decay=1e-4)  # lr 0: every step sees the same weights
AGAIN = ("weight", "two_path", "exact")


class Bench:
    """A supernet of `space` and a batch of random images, on the GPU if there is one."""

    def __init__(self, space, batch):
        self.device = runtime.device()
        self.space, self.net = space, pl.SuperNet(space)
        place(self.net, runtime.Engine(self.device))
        images = torch.randn(batch, 3, space.input_size, space.input_size, device=self.device)
        self.images = images.to(memory_format=torch.channels_last)
        self.labels = torch.randint(10, (batch,), device=self.device)
        self.sgd = torch.optim.SGD(self.net.weight_parameters(), **SGD)
        self.adam = torch.optim.Adam(self.net.architecture_parameters(), foreach=True, **ADAM)

    def steps(self, active=None):
        """Kind -> function; all kinds run one active network, the given one (indices) or one freshly drawn."""
        net = self.net
        net.set_alpha(torch.zeros_like(net.alpha_matrix()))
        active = active or net.sample()
        certain = 40 * F.one_hot(torch.tensor(active), net.alpha_matrix().shape[1])  # a draw gives `active`, its partner is uniform
        static = pl.Architecture(self.space, tuple(op.names[i] for op, i in zip(net.mixed_ops.values(), active))).build()
        static = runtime.Engine(self.device).prepare(static)
        static_sgd = torch.optim.SGD(static.parameters(), **SGD)
        self.counted_apart = [*net.parameters(), *net.buffers(), *static.parameters(), *static.buffers(), self.images, self.labels]

        def plain():
            self.backward(static)
            runtime.step_only(static_sgd)

        def weight():
            net.set_alpha(certain)
            net.sample()
            self.backward(net)
            runtime.step_only(self.sgd, net.active_parameters())

        def alpha(rule):
            net.set_alpha(certain)
            rule.update(net, self.adam, pl.training.batch_loss(net, (self.images, self.labels)))

        kinds = {"plain": plain, "weight": weight, "two_path": lambda: alpha(pl.rules.TwoPath()),
                 "exact": lambda: alpha(pl.rules.Exact()), "darts": self.darts, "all_paths": self.all_paths}
        return kinds | {f"{kind} again": self.again(kinds[kind]) for kind in AGAIN}

    def darts(self):
        self.through(pl.Softmax)  # before frozen() looks which weights are active
        with self.net.frozen():
            self.backward(self.net)
        runtime.step_only(self.adam)

    def all_paths(self):
        self.through(pl.Sum)
        self.backward(self.net)
        runtime.step_only(self.sgd)

    def through(self, gate):
        for op in self.net.mixed_ops.values():
            op.gate = gate()

    def backward(self, network):
        F.cross_entropy(network(self.images), self.labels).backward()

    def again(self, step):
        """The step with each edge recomputed in backward."""
        def run():
            self.activation_checkpointing(True)
            step()
            self.activation_checkpointing(False)
        return run

    def activation_checkpointing(self, wanted):
        for op in self.net.mixed_ops.values():
            op.activation_checkpointing = wanted

    def saved(self, step):
        """Bytes that autograd keeps for backward: each storage once; parameters, buffers and the batch not."""
        return runtime.saved_bytes(step, exclude=self.counted_apart)
