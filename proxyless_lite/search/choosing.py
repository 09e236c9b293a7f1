"""Choosing among whole networks with what a search has learned: some are trained a little, a few from scratch; resumable."""

import gc
import logging
import math
import time
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import islice

import pandas as pd
import torch

from .. import runtime
from ..choose import drawn, propose, rate, scores
from ..config import ChoiceConfig, described
from ..training import Report, evaluate, train_all
from ..training.evaluation import cross_entropy
from ..training.memory import evaluation_size

FEW = 20  # proposals under limits on several sums
log = logging.getLogger(__name__)


class Candidates(runtime.Rows):
    """The networks that a choice has looked at. `step`: "tuned" by a short training, or "trained" by a whole one.

    `loss` and `accuracy` are of the validation images.
    """

    what = "table of candidates"
    columns = {"step": str, "network": str, "loss": float, "accuracy": float, "seconds": float}


class Chooser:
    """Looks at networks of a Search that has ended; what it finds is kept in the search's folder, if it has one."""

    def __init__(self, search, config: ChoiceConfig):
        self.search, self.config, self.engine = search, config, search.engine
        self.data, own = search.data.held_out(), search.config
        self.tuning = replace(config.train, epochs=config.tune_epochs, seed=own.seed)
        if config.from_shared:
            self.tuning = replace(self.tuning, batch_size=own.batch_size, lr=own.lr, momentum=own.momentum, rise=0.1, weight_decay=own.weight_decay,
                                  small_images=0.0, cutout=0, drop_path=0.0, dropout=0.0)
        self.table = self.opened() if search.loop.out and self.engine.is_main else None
        rows = self.engine.from_first(lambda: self.table.rows.drop(columns="processor").to_dict("records") if self.table else [])
        self.rows = {(row["step"], row["network"]): row for row in rows}

    def opened(self):
        identity = self.search.loop.identity
        fresh = {} if self.config.from_shared else {"weights": "fresh"}
        metadata = {"setting": {**{key: str(value) for key, value in identity.items()}, "tuning": described(self.tuning) | fresh,
                                "training": described(self.config.train)},
                    "digest": self.data.digest, "machine": {**runtime.describe(), "device": str(self.engine.device)}}
        return Candidates(self.search.loop.out / "candidates.csv", metadata)

    def close(self):
        if self.table:
            self.table.close()

    def tuned(self, networks):
        """Ratings of networks: minus the validation loss after a short training, from the shared weights or from fresh ones."""
        start = self.search.net.prune if self.config.from_shared else lambda network: network
        return [-row["loss"] for row in self.results("tuned", networks, start, self.tuning)]

    def trained(self, networks):
        """Validation accuracies of networks trained from scratch on the training images."""
        return [row["accuracy"] for row in self.results("trained", networks, lambda network: network, self.config.train)]

    def results(self, step, networks, start, config):
        """The rows of networks. What is missing is trained, from start(network), side by side if asked for.

        Raises runtime.Stopped and KeyboardInterrupt saying what is kept.
        """
        new = {network.code: network for network in networks if (step, network.code) not in self.rows}
        began, size = time.monotonic(), evaluation_size(self.engine, self.engine.batch_size(config.batch_size, len(self.data.train)))
        with runtime.silently(), self.interrupted():
            reports = self.reports(new, start, config)
            losses = {code: evaluate(report.model, self.data, self.data.test, cross_entropy, size, self.engine)["loss"]
                      for code, report in reports.items() if isinstance(report, Report)}
        seconds = (time.monotonic() - began) / max(len(new), 1)  # shared out, so that the column adds up to what the choice took
        for code, report in reports.items():
            if code not in losses:
                log.warning(f"network {code} comes last, since its training diverges: {report}")
            loss, accuracy = (losses[code], report.test_accuracy) if code in losses else (self.worst(step), 0.0)
            row = {"step": step, "network": code, "loss": loss, "accuracy": accuracy, "seconds": seconds}
            self.rows[step, code] = row
            if self.table:
                self.table.append(*row.values())
        if new and self.engine.device.type == "cuda":
            del new, reports, report
            gc.collect()  # a training refers to itself, and would hold the GPU's memory until then
        return [self.rows[step, network.code] for network in networks]

    def reports(self, networks, start, config):
        """Reports of networks, {code: Architecture}, trained from start(network); the FloatingPointError of one whose training diverges."""
        try:
            made = {code: start(network) for code, network in networks.items()}
            return train_all(made, self.data, config, device=self.engine, workers=min(self.config.together, torch.get_num_threads()))
        except FloatingPointError as error:
            if len(networks) == 1:
                return dict.fromkeys(networks, error)
        return {code: report for each in networks.items() for code, report in self.reports(dict([each]), start, config).items()}

    def worst(self, step):
        """A loss that says nothing good: the worst so far, or that of a blind guess."""
        return max([math.log(max(len(self.data.classes), 2)), *(row["loss"] for row in self.rows.values() if row["step"] == step)])

    @contextmanager
    def interrupted(self):
        """A context in which a signal's exception says what the folder holds, not how far the training came that it stopped."""
        try:
            yield
        except (runtime.Stopped, KeyboardInterrupt) as stop:
            if self.table is None:
                raise
            raise type(stop)(f"choice stopped: {len(self.rows)} trainings are kept; run again to resume") from None


def table(rows):
    """Rows of Candidates as a DataFrame."""
    return pd.DataFrame(rows, columns=list(Candidates.columns))


def front(chooser, goals):
    """The chosen network for each of several goals, objectives or Limits, and the table of all that were looked at; see Search.front.

    Networks are rated for all of them together: first those with the most MACs, if asked for, and those of which least is known; then
    the best expected ones by turns.
    """
    net, config = chooser.search.net, chooser.config
    number = lambda goal: min(config.proposals, FEW) if several(goal) else config.proposals  # noqa: E731
    proposals = [propose(net, number(goal), goal) + drawn(net.space, config.drawn, goal, chooser.search.config.seed) for goal in goals]
    networks = list({network.choices: network for group in proposals for network in group}.values())
    index = {network.choices: i for i, network in enumerate(networks)}
    groups = [list(dict.fromkeys(index[network.choices] for network in group)) for group in proposals]
    known = scores(net, networks)
    largest = [max(group, key=known[1].__getitem__) for group in groups if config.most_macs]  # known[1]: log MACs
    with counted("choose: short trainings,", min(config.tuned, len(networks)), chooser.tuned) as rating:
        ratings = rate(networks, rating, config.tuned, groups, config.together, known, config.explored, largest)
    order, listed = ratings.best(range(len(networks)), len(networks)), list(zip(goals, map(set, groups)))

    def serving(some, goal, group):
        """Those of some networks that serve a goal: one that was listed for another goal may do so, too."""
        return (i for i in some if i in group or (goal and goal.allows(networks[i])))
    best = [list(islice(serving(order, *each), max(config.trainings, 1))) for each in listed]
    if config.trainings:
        finalists, accuracy = list(dict.fromkeys(i for few in best for i in few)), {}
        with counted("choose: whole trainings,", len(finalists), chooser.trained) as training:
            for some in (finalists[k:k + config.together] for k in range(0, len(finalists), config.together)):
                accuracy |= zip(some, training([networks[i] for i in some]))
        best = [[max(serving(finalists, *each), key=accuracy.get)] for each in listed]
    return [networks[few[0]] for few in best], table(chooser.rows.values())


def several(goal):
    """Whether a goal limits several sums: then each proposal is a program of its own, with all before it excluded."""
    return len(getattr(goal, "sums", ())) > 1


@contextmanager
def counted(label, total, work):
    """A context with `work` on lists of networks, `total` in all, which a progress bar counts."""
    with closing(runtime.Progress(total, label=label)) as progress:
        def run(networks):
            results = work(networks)
            for _ in networks:
                progress.step()
            return results
        yield run
