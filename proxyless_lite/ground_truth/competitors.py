"""What ProxylessNAS is compared with: DARTS, and one-shot search by uniform sampling."""

from dataclasses import replace

import pandas as pd
from torch.nn.utils.rnn import pad_sequence

from .. import rules
from ..architecture import Architecture
from ..data import shuffled
from ..mixed_op import Softmax
from ..search import Search
from ..training import evaluate


def open_all(net):
    """Let every edge compute Σ p_i o_i(x), Eq. (1) right."""
    for op in net.mixed_ops.values():
        op.gate = Softmax()


class AllPaths(rules.Rule):
    """The α step of DARTS (first order): all paths run, and autograd gives the gradient of the mixture's loss."""

    def estimate(self, net, loss, generator=None, objective=None):
        open_all(net)
        alphas = net.architecture_parameters()
        for alpha in alphas:
            alpha.grad = None
        with net.frozen():
            metrics = loss(backward=True)
        gradient = pad_sequence([alpha.grad for alpha in alphas], batch_first=True)
        return rules.with_cost(gradient, metrics, objective, net.probability_matrix())


class Darts(Search):
    """A Search whose weight steps train all paths at once, through the mixture."""

    def weight_step(self, epoch, batch):
        self.optimizer.param_groups[0]["lr"] = self.learning_rate(epoch)
        open_all(self.net)
        self.loop.record("train_", self.trainer.train_step(batch, self.net.weight_parameters()))


def darts(setting, net, images, config):
    """search.Result of DARTS."""
    return Darts(net, images, AllPaths(), config, device="cpu").run()


def one_shot(setting, net, images, config):
    """search.Result of uniform sampling: α never moves; at the end the best of all networks by shared weights is taken."""
    result = Search(net, images, config=replace(config, alpha_delay=config.epochs), device="cpu").run()
    return replace(result, architecture=Architecture.from_code(setting.space, shared_accuracy(setting, net, images).idxmax()))


def shared_accuracy(setting, net, images):
    """Accuracy on the validation images of every distinct network of a setting, with the shared weights: a Series by code.

    Batch norms take the statistics of each batch, as in the search.
    """
    accuracies, validation = {}, shuffled(images.valid)
    for code in sorted(setting.networks()):
        net.activate(Architecture.from_code(setting.space, code))
        with net.frozen():
            accuracies[code] = evaluate(net, images, validation)["accuracy"]
    return pd.Series(accuracies)
