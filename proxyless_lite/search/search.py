"""The alternating search of §3.2.1: weight steps on training batches, α steps on validation batches."""

import copy
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import pandas as pd
import torch

from .. import presets, rules, runtime
from ..architecture import Architecture
from ..config import ChoiceConfig, SearchConfig, name_of
from ..costs import Costs
from ..data import DataModule, shuffled
from ..limits import Limits
from ..spaces import Space
from ..supernet import SuperNet
from ..training import memory
from ..training.evaluation import cross_entropy, evaluate, top_1
from ..training.loop import Loop, cosine, sgd
from ..training.step import Step, batch_loss
from . import choosing, timing
from .fitting import check_alpha, check_choice, check_shapes

WEIGHT, ALPHA, PATHS = range(3)  # purposes of random numbers


@dataclass(frozen=True)
class Result:
    """What a search found.

    `architecture`: the chosen network; with a target, of those within 5 % of it or, if there are none, of the nearest.
    `most_probable`: the most probable path of every edge, whatever it costs. `history`: one row per epoch. `seconds`: over all
    resumptions, the choice included. `candidates`: what a choice found of each network it looked at, see choosing.Candidates.
    """

    architecture: Architecture
    most_probable: Architecture
    history: pd.DataFrame
    seconds: float
    candidates: pd.DataFrame


class Search:
    """Search the architecture of `net` on `data`, with α updated by `rule`.

    A weight step samples one path per edge (Eq. 2) and trains its weights; every `config.alpha_every`-th is followed by
    one update of α on a validation batch, weights frozen. Before that `config.warmup_epochs` train weights only.

    `net` is a SuperNet, or a Space whose SuperNet then gets its weights from `config.seed`. An `objective` adds a cost: a
    LatencyPenalty, a Reward for Reinforce, both for Combined. `config` is a SearchConfig (default: "quick"); with a folder `out`
    the run is resumable, bit for bit on the CPU. `device` is "cpu" or "cuda", by default CUDA if available.

    `loss(model, batch)` returns a scalar tensor, or a dict of them with the key "loss"; by default cross-entropy and accuracy of
    (images, labels). `data` is a DataModule: one of data.load, or of data.from_datasets for any other task.

    `choose` says how the network is chosen in the end: "alpha", the most probable one, as the paper does; "shared", the best
    expected one after short trainings of some; "trained", the best of a few trainings from scratch. `choice` is a
    ChoiceConfig (default: "quick"). With `limits`, a Limits, the found network keeps upper bounds on several costs; they replace the target.

    Raises ValueError for inputs that differ in size from the space's, candidates of different shapes, and too few examples for a batch.
    """

    def __init__(self, net: SuperNet | Space, data: DataModule, rule: rules.Rule | None = None, config: SearchConfig | None = None,
                 out: str | Path | None = None, device=None, objective=None, loss: Callable = cross_entropy, choose: str = "alpha",
                 choice: ChoiceConfig | None = None, limits: Limits | None = None):
        self.config = config or presets.search("quick")
        self.net = SuperNet(net, seed=self.config.seed) if isinstance(net, Space) else net
        self.engine = runtime.engine(device)
        self.rule, self.objective = rule or rules.TwoPath(), objective
        self.choose, self.choice, self.limits = choose, choice or presets.choice("quick").choice, limits
        self.set_loss(loss)
        self.check(data)
        identity = self.identity(data)  # before `place` may replace batch norms by synchronised ones
        place(self.net, self.engine)
        with memory.room_for(data, self.engine.device):
            self.data = data.to(self.engine.device)
        self.set_batches()
        self.set_optimizers()
        self.alpha_steps, self.probabilities = 0, []  # p after each epoch, (E, N)
        self.loop = Loop(self, "search", self.config.warmup_epochs + self.config.epochs, self.weight_batches.batches_per_epoch, out,
                         self.engine, identity)

    # -- what it is made of ---------------------------------------------------------------------------------------------

    @property
    def model(self):
        return self.net

    @property
    def cost_objective(self):
        """The LatencyPenalty or Reward whose target the found network meets, or None."""
        return next((part for part in self.objective if part.target), self.objective[0]) if isinstance(self.objective, tuple) else self.objective

    def set_loss(self, loss):
        """The losses of weight steps, of α steps, and of the evaluation after each epoch."""
        self.loss, self.evaluated = loss, top_1 if loss is cross_entropy else loss
        self.weight_loss = loss
        if self.config.label_smoothing:
            if loss is not cross_entropy:
                raise ValueError("label_smoothing belongs to cross-entropy; set it to 0 for a loss of your own")
            self.weight_loss = partial(loss, label_smoothing=self.config.label_smoothing)

    def check(self, data):
        """Raises ValueError where rule, objective, network, data and batch sizes do not fit together."""
        for size in self.batch_sizes(data):
            self.engine.check_batch(size)
        self.rule.check(self.objective)
        check_choice(self, data)
        for part in self.objective if isinstance(self.objective, tuple) else [self.objective] * (self.objective is not None):
            part.costs.check(self.net.space)
        if self.limits:
            self.net.derive(self.limits)  # raises where no network keeps them
        check_shapes(self.net, data, self.loss, self.engine)

    def identity(self, data):
        """What must match a folder for it to be resumed."""
        edges = [(op.names, [repr(candidate) for candidate in op.candidates]) for op in self.net.mixed_ops.values()]
        own_loss = {} if self.loss is cross_entropy else {"loss": name_of(self.loss)}
        return {**asdict(self.config), "rule": repr(self.rule), "objective": self.objective and repr(self.objective),
                "space": str(self.net.space), "data": str(data), "images": data.digest, "edges": runtime.digest(edges),
                "weights": runtime.digest([(k, tuple(v.shape)) for k, v in self.net.state_dict().items()]), **own_loss}

    def batch_sizes(self, data, parts=None):
        """Images in a batch for weights and in one for α, smaller for a small set."""
        return (self.engine.batch_size(self.config.batch_size, len(data.train), parts),
                self.engine.batch_size(self.config.alpha_batch_size, len(data.valid), parts))

    def set_batches(self):
        config, share = self.config, dict(rank=self.engine.rank, world_size=self.engine.world_size)
        self.weight_size, self.alpha_size = self.batch_sizes(self.data)
        self.weight_batches = self.data.batches(self.data.train, self.weight_size, config.seed, WEIGHT, augment=True, **share)
        self.alpha_batches = self.data.batches(self.data.valid, self.alpha_size, config.seed, ALPHA, augment=False, **share)

    def set_optimizers(self):
        self.net.train()  # with batch statistics, even if it was in eval mode
        self.optimizer = sgd(self.net.weight_parameters(), self.config, self.engine.device)
        # β₁ = 0 and no decay: with either, the α of paths that were not sampled would move (see rules.TwoPath).
        self.alpha_optimizer = torch.optim.Adam(self.net.architecture_parameters(), lr=self.config.alpha_lr, betas=(0.0, 0.999),
                                                foreach=True)
        self.trainer = Step(self.net, self.optimizer, self.weight_loss, self.engine)

    # -- the search -----------------------------------------------------------------------------------------------------

    def run(self) -> Result:
        """Search to the end, from where the folder left off. A Result. Seeds PyTorch's global generator; raises as `train` does."""
        goal = self.limits or self.cost_objective
        self.loop.run()
        if self.choose == "alpha":
            found, candidates = self.net.derive(goal, tolerance=None), choosing.table([])
        else:
            (found,), candidates = self.choose_for([goal])
        return Result(found, self.net.derive(), self.history(), self.loop.seconds + candidates.seconds.sum(), candidates)

    def front(self, costs: Costs, targets: Sequence[float]) -> tuple[list[Architecture], pd.DataFrame]:
        """The chosen network for each of several targets of `costs`, from one search, which is run to its end first; and the candidates.

        A network costs its target at most, and keeps the `limits` of the search. With "alpha" no network is looked at, with "shared"
        and "trained" all that are serve all targets. Raises ValueError for costs of another space, for a target that is not above 0,
        and where no network is so cheap.
        """
        goals = self.goals(costs, targets)
        self.loop.run()
        if self.choose == "alpha":
            return [self.net.derive(goal) for goal in goals], choosing.table([])
        return self.choose_for(goals)

    def goals(self, costs, targets):
        """The Limits of each target. Raises ValueError as `front` does, before anything long."""
        costs.check(self.net.space)
        if not len(targets):
            raise ValueError("no targets given; give at least one, in the unit of the costs")
        own = self.limits.limits if self.limits else []
        goals = [Limits([(costs, target), *own]) for target in targets]
        for goal in goals:
            self.net.derive(goal)  # raises where no network keeps them
        return goals

    def choose_for(self, goals):
        """The best network for each goal by more than α, and the candidates."""
        choice = self.choice if self.choose == "trained" else replace(self.choice, trainings=0)
        with closing(choosing.Chooser(self, choice)) as chooser:
            return choosing.front(chooser, goals)

    def step(self, epoch, index):
        self.weight_step(epoch, self.weight_batches[self.loop.done])
        searching = epoch >= self.config.warmup_epochs + self.config.alpha_delay
        if searching and (self.loop.done + 1) % self.config.alpha_every == 0:
            self.alpha_step(self.alpha_batches[self.alpha_steps])
            self.loop.check_finite(epoch)  # before the next draw from an α that may be NaN

    def weight_step(self, epoch, batch):
        """Train the weights of one sampled network on a batch."""
        self.optimizer.param_groups[0]["lr"] = self.learning_rate(epoch)
        check_alpha(self.net, self.alpha_steps, self.objective)
        self.net.sample(runtime.generator("cpu", self.config.seed, PATHS, 0, self.loop.done))
        self.engine.assert_same_across_ranks("the paths they train", self.net.gates)
        self.loop.record("train_", self.trainer.train_step(batch, self.net.active_parameters()))

    def alpha_step(self, batch):
        """One update of α by the rule on a validation batch."""
        generator = runtime.generator("cpu", self.config.seed, PATHS, 1, self.alpha_steps)
        loss = batch_loss(self.net, batch, self.loss, self.engine)
        self.loop.record("valid_", self.rule.update(self.net, self.alpha_optimizer, loss, generator, self.objective))
        self.alpha_steps += 1

    def learning_rate(self, epoch):
        """Cosine over the warm-up, then again over the search."""
        done, warmup = self.loop.done, self.config.warmup_epochs * self.loop.steps_per_epoch
        if epoch < self.config.warmup_epochs:
            return cosine(self.config.warmup_lr, done, warmup)
        return cosine(self.config.lr, done - warmup, self.config.epochs * self.loop.steps_per_epoch)

    def end_epoch(self, epoch):
        check_alpha(self.net, self.alpha_steps, self.objective)
        p = self.net.probability_matrix()
        self.probabilities.append(p)
        names = [f"{part}_{name}" for part in ("train", "valid") for name in self.trainer.names]
        found = {"phase": "warm-up" if epoch < self.config.warmup_epochs else "search", "lr": self.learning_rate(epoch),
                 **self.loop.meters.means(names), **self.evaluate_derived(), "entropy": self.net.entropy()}
        if self.cost_objective:
            costs = self.cost_objective.costs
            found |= {"expected_cost": costs.expected_under(p).item(), "derived_cost": costs.cost_of(self.net.best_paths())}
        return found

    def evaluate_derived(self):
        """Validation metrics of the most probable paths, with the supernet's weights and batch statistics."""
        self.net.activate(self.net.best_paths())
        with self.net.frozen():
            size = memory.evaluation_size(self.engine, self.weight_size)
            found = evaluate(self.net, self.data, shuffled(self.data.valid), self.evaluated, size, self.engine)
        return {f"derived_{name}": value for name, value in found.items()}

    def history(self) -> pd.DataFrame:
        """One row per epoch: losses and metrics (means over its steps), mean entropy in nats, p (E, N), seconds and
        peak memory in MB so far; with an objective also the cost expected under p and that of the most probable paths."""
        return self.loop.history().assign(probabilities=[p.numpy() for p in self.probabilities])

    def forecast(self, steps: int = 3, targets: int = 1) -> dict[str, float]:
        """What the whole search would take, from a few timed steps (see timing.forecast); the search itself is unchanged."""
        return timing.forecast(self, steps, targets)

    def trial(self):
        """An independent copy that computes the same and writes nothing."""
        return type(self)(copy.deepcopy(self.net), self.data, copy.deepcopy(self.rule), self.config, None, self.engine, self.objective, self.loss)

    # -- what survives the process, and what does not fit ---------------------------------------------------------------

    def state_dict(self):
        scaler = self.trainer.state_dict()
        return {"net": self.net.state_dict(), "optimizer": self.optimizer.state_dict(),
                "alpha_optimizer": self.alpha_optimizer.state_dict(), "rule": self.rule.state_dict(),
                "alpha_steps": self.alpha_steps, "probabilities": self.probabilities, **({"scaler": scaler} if scaler else {})}

    def load_state_dict(self, state):
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.alpha_optimizer.load_state_dict(state["alpha_optimizer"])
        self.rule.load_state_dict(state["rule"])
        self.trainer.load_state_dict(state.get("scaler"))
        self.alpha_steps, self.probabilities = state["alpha_steps"], state["probabilities"]

    def what_fits(self):
        return memory.what_fits(self.engine, self.weight_size, self.can_cut, self.kept_per_image, self.data)

    def can_cut(self, parts):
        """Whether each rank could cut its share of every batch into that many micro-batches."""
        sizes = self.weight_size, self.batch_sizes(self.data, parts)[1]
        return all(size % (self.engine.world_size * parts) == 0 for size in sizes)

    def kept_per_image(self):
        """Bytes of one more image; with activation checkpointing also what the largest edge keeps while it is recomputed."""
        kept = memory.kept_per_image(self.net, self.loss, self.data, self.engine)
        return kept + (1.5 / 2 * self.largest_edge() if self.engine.activation_checkpointing else 0)

    def largest_edge(self):
        """Bytes that an edge's path keeps of two images for its own backward, the most of all edges."""
        kept = []

        def measure(op, inputs):
            kept.append(runtime.saved_bytes(lambda: op.gate(op, *inputs), exclude=[*op.parameters(), *inputs]))
        hooks = [op.register_forward_pre_hook(measure) for op in self.net.mixed_ops.values()]
        with self.engine.alone(self.net):
            self.loss(lambda *inputs: self.engine.run(self.net, *inputs), self.data.example(2))
        for hook in hooks:
            hook.remove()
        return max(kept)


def place(net, engine):
    """Put a SuperNet where the engine computes, with what it asks of edges: candidates compiled, activations checkpointed."""
    net.network = engine.prepare(net.network)
    net.list_parts()
    for op in net.mixed_ops.values():
        op.activation_checkpointing = engine.activation_checkpointing
        for candidate in op.candidates if engine.compile else ():
            runtime.compile_once(candidate)
