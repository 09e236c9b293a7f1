"""What a step of the search costs, as ratio to a plain training step of the same active network built as a static module.

Prints one JSON object: medians over interleaved rounds of time, and bytes saved for backward (saved-tensor hooks, each
storage once, parameters and buffers excluded). Every round draws another active network. Kinds of step:

  weight     forward, backward, SGD on the weights of the active paths
  two_path   α step of rules.TwoPath        exact  α step of rules.Exact
  darts      weights and α together through Softmax gates: what storing all paths costs

    python benchmarks/step_cost.py [--rounds 15] [--batch 32]
"""

import argparse
import json
import statistics
import sys
import time

import torch
from torch.nn import functional as F
from tqdm import tqdm

import proxyless_lite as pl
from proxyless_lite import runtime

ADAM = dict(lr=0.006, betas=(0.0, 0.999))
SGD = dict(lr=0.01, momentum=0.9, nesterov=True, weight_decay=1e-4)
EIGHT = (*pl.ops.MBCONV, "MB4 3x3", "MB4 5x5")


class Bench:
    """A supernet, a batch, and the steps to be compared."""

    def __init__(self, space, batch):
        self.net = pl.SuperNet(space)
        self.space = space
        size = space.input_size
        self.images = torch.randn(batch, 3, size, size).to(memory_format=torch.channels_last)
        self.labels = torch.randint(10, (batch,))
        self.sgd = torch.optim.SGD(self.net.weight_parameters(), **SGD)
        self.adam = torch.optim.Adam(self.net.architecture_parameters(), **ADAM)

    def train(self, model, optimize):
        F.cross_entropy(model(self.images), self.labels).backward()
        optimize()

    def steps(self):
        """Kind -> function, all on one freshly drawn active network."""
        net = self.net
        paths = net.sample()
        static = self.space.compact(pl.Architecture(self.space, names(net, paths)).choices).to(memory_format=torch.channels_last)
        static_sgd = torch.optim.SGD(static.parameters(), **SGD)
        pinned = torch.full_like(net.alpha_matrix(), -1e-3)

        def plain():
            self.train(static, static_sgd.step)
            static_sgd.zero_grad()

        def weight():
            net.sample()
            net.activate(paths)  # the same network as `plain`, at the full cost of drawing one
            self.train(net, lambda: runtime.step_only(self.sgd, net.active_parameters()))

        def rule(rule):
            def step():
                net.set_alpha(pinned)  # uniform p
                rule.update(net, self.adam, self.images, self.labels)
            return step

        def darts():
            for op in net.mixed_ops.values():
                op.gate = pl.Softmax()
            self.train(net, lambda: (self.sgd.step(), self.adam.step()))
            self.sgd.zero_grad()
            self.adam.zero_grad()

        return {"plain": plain, "weight": weight, "two_path": rule(Fixed(paths, pl.rules.TwoPath())),
                "exact": rule(Fixed(paths, pl.rules.Exact())), "darts": darts}


def names(net, paths):
    return tuple(op.names[i] for op, i in zip(net.mixed_ops.values(), paths))
