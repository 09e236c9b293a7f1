"""The alternating search of §3.2.1: weight steps on training images, α steps on validation images."""

import copy
import operator
import time
from dataclasses import asdict, dataclass
from functools import partial

import pandas as pd
import torch

from .. import presets, rules, runtime
from ..architecture import Architecture
from ..batches import mixed
from ..loop import Loop, cosine, evaluate, sgd

WEIGHT, ALPHA, PATHS = range(3)  # what random numbers are for


@dataclass(frozen=True)
class Result:
    """What a search found: the Architecture of the most probable paths, one row of history an epoch, seconds in all, over
    all resumptions. Where α is undecided its cost may miss a target; `net.derive(aim)` gives one that keeps it."""

    architecture: Architecture
    history: pd.DataFrame
    seconds: float


class Search(Loop):
    """Search the architecture of `net` on `data`, with α moved by `rule`.

    A weight step samples one path an edge (Eq. 2) and trains its weights; every `config.alpha_every`-th is followed by
    one update of α on a validation batch, weights frozen. Before that `config.warmup_epochs` train weights only.

    `objective` makes the search listen to a cost as well: a LatencyPenalty, a Reward for Reinforce, both for Combined.
    `config` is a presets.SearchConfig (default: "quick"); with a folder `out` the run is resumable, bit for bit on the
    CPU. `device` is "cpu" or "cuda", by default CUDA if there is. Raises ValueError for input of another size than the
    space's, candidates of different shapes, or fewer images than a batch.
    """

    def __init__(self, net, data, rule=None, config=None, out=None, device=None, objective=None):
        self.config = config = config or presets.search("quick")
        self.engine = engine = runtime.engine(device)
        engine.check_batch(config.batch_size)
        edges = [(op.names, [repr(candidate) for candidate in op.candidates]) for op in net.mixed_ops.values()]  # before `use` may change classes, on several ranks
        net.use(engine)
        net.train()  # with batch statistics, whoever had it in eval mode before
        self.net, self.data, self.rule = net, data.to(engine.device), rule or rules.TwoPath()
        self.rule.check(objective)
        self.objective = objective
        parts = [part for part in (objective if isinstance(objective, tuple) else [objective]) if part]
        for part in parts:
            part.costs.check(net.space)
        self.aim = parts[0] if parts else None
        self.costs = self.aim and self.aim.costs
        if net.space and data.shape[1:] != (net.space.input_size,) * 2:
            raise ValueError(f"{net.space} takes images of {net.space.input_size}×{net.space.input_size}, but "
                             f"{data.name} has {data.shape[1]}×{data.shape[2]}; give the space input_size={data.shape[1]}")
        outputs = net.check(data.shape)
        if outputs != (len(data.classes),):
            raise ValueError(f"the network gives {outputs} for an image, but {data.name} has {len(data.classes)} classes; "
                             f"give the space classes={len(data.classes)}")
        share = dict(rank=engine.rank, ranks=engine.ranks)
        self.alpha_size = self.alpha_batch(engine.accumulate)
        engine.check_batch(self.alpha_size)
        self.weight_batches = self.data.batches(self.data.train, config.batch_size, config.seed, WEIGHT, augment=True, **share)
        self.alpha_batches = self.data.batches(self.data.valid, self.alpha_size, config.seed, ALPHA, augment=False, **share)
        self.optimizer = sgd(net.weight_parameters(), config, engine.device)
        # β₁ = 0 and no decay: with either, the α of paths that were not sampled would move (see rules.TwoPath).
        self.alpha_optimizer = torch.optim.Adam(net.architecture_parameters(), lr=config.alpha_lr, betas=(0.0, 0.999),
                                                foreach=True)
        self.alpha_steps = 0
        self.probabilities = []  # p after each epoch, (E, N)
        super().__init__("search", config.warmup_epochs + config.epochs, self.weight_batches.per_pass, out, engine,
                         {**asdict(config), "rule": repr(self.rule), "objective": objective and repr(objective), "space": str(net.space), "data": str(data),
                          "images": data.digest, "edges": runtime.digest(edges),
                          "weights": runtime.digest([(k, tuple(v.shape)) for k, v in net.state_dict().items()])})

    @property
    def model(self):
        return self.net

    def alpha_batch(self, parts):
        """Images of a batch that α learns from, cut into `parts` on each rank: of a small set a smaller one."""
        together = self.engine.ranks * parts
        return min(self.config.alpha_batch_size, max(1, len(self.data.valid) // together) * together)

    def can_cut(self, parts):
        return super().can_cut(parts) and self.alpha_batch(parts) % (self.engine.ranks * parts) == 0

    def run(self):
        """Search to the end, from where the folder left off. Returns a Result. Seeds PyTorch's global generator."""
        self.loop()
        return Result(self.net.derive(), self.history(), self.seconds)

    def step(self, epoch, index):
        self.weight_step(epoch, self.weight_batches[self.done])
        searching = epoch >= self.config.warmup_epochs + self.config.alpha_delay
        if searching and (self.done + 1) % self.config.alpha_every == 0:
            self.alpha_step(self.alpha_batches[self.alpha_steps])
            self.check_finite(epoch)  # before the next draw from an α that may be NaN

    def weight_step(self, epoch, batch):
        """Train the weights of one sampled network on a batch (images, labels)."""
        images, labels = batch
        self.optimizer.param_groups[0]["lr"] = self.learning_rate(epoch)
        self.net.sample(runtime.generator("cpu", self.config.seed, PATHS, 0, self.done))
        self.descend(images, labels, self.net.active_parameters())

    def alpha_step(self, batch):
        """One update of α by the rule on a validation batch (images, labels)."""
        generator = runtime.generator("cpu", self.config.seed, PATHS, 1, self.alpha_steps)
        metrics = self.rule.update(self.net, self.alpha_optimizer, *batch, generator, self.objective)
        self.alpha_steps += 1
        self.record(valid_loss=metrics["loss"], valid_accuracy=metrics["accuracy"])

    def learning_rate(self, epoch):
        """Cosine over the warm-up, then again over the search."""
        warmup = self.config.warmup_epochs * self.per_epoch
        if epoch < self.config.warmup_epochs:
            return cosine(self.config.warmup_lr, self.done, warmup)
        return cosine(self.config.lr, self.done - warmup, self.config.epochs * self.per_epoch)

    def end_epoch(self, epoch):
        p = self.net.probability_matrix().cpu()
        self.probabilities.append(p)
        cost = {"expected_cost": self.costs.under(p).item(), "derived_cost": self.costs.of(self.net.best_paths())} if self.costs else {}
        means = self.means("train_loss", "train_accuracy", "valid_loss", "valid_accuracy")
        return {"phase": "warm-up" if epoch < self.config.warmup_epochs else "search", "lr": self.learning_rate(epoch),
                **means, "derived_accuracy": self.derived_accuracy(), "entropy": self.net.entropy(), **cost}

    def derived_accuracy(self):
        """Validation accuracy of the network that `derive` would give now, with the supernet's weights and batch statistics."""
        self.net.activate(self.net.best_paths())
        with self.net.frozen():
            return evaluate(self.net, self.data, mixed(self.data.valid), self.evaluation_batch(), self.engine)

    def history(self):
        """One row an epoch: losses and accuracies (means over its steps), mean entropy in nats, p (E, N), seconds and
        peak memory in MB so far; with an objective also the cost expected under p and that of the derived network."""
        return super().history().assign(probabilities=[p.numpy() for p in self.probabilities])

    def forecast(self, steps=3):
        """Time a few steps on a copy of the network, along several paths. Returns a dict: seconds a weight step and an α step, images/s
        of both and of the loader, hours, GPU-hours (hours × ranks) and peak memory in MB of the whole search. Where batches are
        read ahead, the slower of reader and step counts, else their sum. The search itself is not touched."""
        runtime.reset_peak_memory(self.device)
        with torch.random.fork_rng():
            trial = Search(copy.deepcopy(self.net), self.data, copy.deepcopy(self.rule), self.config, None, self.engine, self.objective)
            batches, others = ([source[i] for i in range(steps)] for source in (trial.weight_batches, trial.alpha_batches))
            alpha = trial.net.alpha_matrix()

            def train_weights():
                trial.net.set_alpha(alpha)
                for trial.done, batch in enumerate(batches):
                    trial.weight_step(0, batch)

            def learn_alpha():
                trial.net.set_alpha(alpha)
                for trial.alpha_steps, batch in enumerate(others):
                    trial.alpha_step(batch)
            for run in (train_weights, learn_alpha):  # the first time is slower: cuDNN tries its algorithms at each new shape
                trial.or_say_what_fits(run)
            weight, alpha_seconds = (timed(self.device, run) / steps for run in (train_weights, learn_alpha))
            load, alpha_load = (timed(self.device, lambda: [source[i] for i in range(steps, 2 * steps)]) / steps
                                for source in (trial.weight_batches, trial.alpha_batches))
            copied = sum(t.numel() * t.element_size() for t in trial.net.state_dict().values()) if self.device.type == "cuda" else 0
        together = max if self.data.ahead else operator.add
        weight_steps = self.epochs * self.per_epoch
        alpha_steps = max(0, self.config.epochs - self.config.alpha_delay) * self.per_epoch // self.config.alpha_every
        hours = (together(weight, load) * weight_steps + together(alpha_seconds, alpha_load) * alpha_steps) / 3600
        return {"weight_step_seconds": weight, "alpha_step_seconds": alpha_seconds, "weight_steps": weight_steps, "alpha_steps": alpha_steps,
                "images_per_second": self.config.batch_size / weight, "alpha_images_per_second": self.alpha_size / alpha_seconds,
                "loader_images_per_second": self.config.batch_size / load,
                "hours": hours, "gpu_hours": hours * self.engine.ranks, "memory": runtime.peak_memory(self.device) - copied / 1e6}

    def kept_per_image(self):
        """With recomputation also what the largest edge keeps while it is computed again."""
        return super().kept_per_image() + (1.5 / 2 * self.largest_edge() if self.engine.recompute else 0)

    def largest_edge(self):
        """Bytes that an edge's path keeps of two images for its own backward, the most of all edges."""
        kept = []

        def measure(op, inputs):
            kept.append(runtime.saved_bytes(lambda: op.gate(op, *inputs), exclude=[*op.parameters(), *inputs]))
        hooks = [op.register_forward_pre_hook(measure) for op in self.net.mixed_ops.values()]
        with self.engine.alone(self.net):
            self.engine.run(self.net, torch.zeros(2, *self.data.shape, device=self.device).to(memory_format=torch.channels_last))
        for hook in hooks:
            hook.remove()
        return max(kept)

    def state(self):
        return {"net": self.net.state_dict(), "optimizer": self.optimizer.state_dict(),
                "alpha_optimizer": self.alpha_optimizer.state_dict(), "rule": self.rule.state_dict(),
                "alpha_steps": self.alpha_steps, "probabilities": self.probabilities}

    def load_state(self, state):
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.alpha_optimizer.load_state_dict(state["alpha_optimizer"])
        self.rule.load_state_dict(state["rule"])
        self.alpha_steps, self.probabilities = state["alpha_steps"], state["probabilities"]


def timed(device, run):
    """Seconds that `run()` takes on the device, and nothing that was queued there before."""
    finish = partial(torch.cuda.synchronize, device) if device.type == "cuda" else lambda: None
    finish()
    began = time.perf_counter()
    run()
    finish()
    return time.perf_counter() - began
