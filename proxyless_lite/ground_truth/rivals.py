"""What ProxylessNAS is compared with: DARTS, and one-shot search by uniform sampling."""

from dataclasses import replace

import pandas as pd
import torch
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from .. import rules
from ..batches import mixed
from ..loop import evaluate
from ..mixed_op import Softmax
from ..search import Search
from .settings import network


def open_all(net):
    """Let every edge compute Σ p_i o_i(x), Eq. (1) right."""
    for op in net.mixed_ops.values():
        op.gate = Softmax()


class AllPaths(rules.Rule):
    """The α step of DARTS (first order): all paths run, and autograd gives the gradient of the mixture's loss."""

    def estimate(self, net, images, labels, generator=None, objective=None):
        open_all(net)
        with net.frozen():
            logits = net(images)
            loss = F.cross_entropy(logits, labels)
            gradients = torch.autograd.grad(loss, net.architecture_parameters())
        metrics = {"loss": loss.detach(), "accuracy": rules.accuracy(logits.detach(), labels)}
        return rules.with_cost(pad_sequence(gradients, batch_first=True), metrics, objective, net.probability_matrix())


class Darts(Search):
    """A Search whose weight steps train all paths at once, through the mixture."""

    def weight_step(self, epoch, batch):
        self.optimizer.param_groups[0]["lr"] = self.learning_rate(epoch)
        open_all(self.net)
        self.descend(*batch, self.net.weight_parameters())


def darts(setting, net, images, config):
    """search.Result of DARTS."""
    return Darts(net, images, AllPaths(), config, device="cpu").run()


def one_shot(setting, net, images, config):
    """search.Result of uniform sampling: α never moves; then every network is judged with the shared weights, and the best taken."""
    result = Search(net, images, config=replace(config, alpha_delay=config.epochs), device="cpu").run()
    return replace(result, architecture=network(setting.space, shared_accuracy(setting, net, images).idxmax()))


def shared_accuracy(setting, net, images):
    """Accuracy on the validation images of every distinct network of a setting, with the shared weights: a Series by code.

    Batch norms take the statistics of each batch, as in the search.
    """
    accuracies, judges = {}, mixed(images.valid)
    for code in sorted(setting.networks()):
        net.activate(network(setting.space, code))
        with net.frozen():
            accuracies[code] = evaluate(net, images, judges)
    return pd.Series(accuracies)
