"""Settings: quick (seconds, no network), lesson (minutes), paper (the paper's values). Plain data, no flags elsewhere."""

from dataclasses import dataclass, fields, replace
from numbers import Integral, Real
from typing import get_args

import torch

from . import objective, spaces

NUMBERS = {int: (Integral, "an integer"), float: (Real, "a number"), bool: (bool, "True or False")}


def plain_numbers(config):
    """Make the numbers in a dataclass Python's own: a safe loader refuses a checkpoint that holds NumPy's.

    Raises ValueError naming the first field that holds something else.
    """
    for field in fields(config):
        name, given = field.name, getattr(config, field.name)
        kind, *optional = get_args(field.type) or [field.type]  # "int | None" has both
        if kind not in NUMBERS or (optional and given is None):
            continue
        allowed, told = NUMBERS[kind]
        value = given.item() if getattr(given, "ndim", None) == 0 else given  # a scalar of NumPy or PyTorch
        if not isinstance(value, allowed):
            raise ValueError(f"{type(config).__name__}({name}={' '.join(repr(given).split())}): must be {told}")
        whole = kind is float and type(value) is int  # stays so: "width=1" is in texts that folders must agree on
        object.__setattr__(config, name, value if whole else kind(value))


def check(config, positive=(), fractions=()):
    """As `plain_numbers`; raises ValueError also for the first field out of range. Fields not named must not be negative."""
    plain_numbers(config)
    for name, value in vars(config).items():
        if name in positive and not value > 0:
            raise ValueError(f"{type(config).__name__}({name}={value!r}): must be above 0")
        if name in fractions and not 0 <= value < 1:
            raise ValueError(f"{type(config).__name__}({name}={value!r}): must be at least 0 and below 1")
        if not value >= 0:
            raise ValueError(f"{type(config).__name__}({name}={value!r}): must not be negative")


@dataclass(frozen=True)
class SearchConfig:
    """How a search runs. Comments give the paper's CIFAR-10 value and its source."""

    epochs: int = 200              # §4.1: 200 epochs of training the over-parameterised network
    warmup_epochs: int = 0         # not named for CIFAR-10 (ImageNet as released: 40)
    alpha_delay: int = 0           # epochs after the warm-up without α updates (ImageNet as released: 1)
    batch_size: int = 64           # tree-cell paper (Cai et al., 2018b), whose training settings are used
    alpha_batch_size: int = 64     # not named; the same
    alpha_every: int = 5           # not named (ImageNet as released: one α step every 5 weight steps)
    lr: float = 0.1                # tree-cell paper, cosine to 0
    warmup_lr: float = 0.1         # not named
    momentum: float = 0.9          # tree-cell paper, Nesterov
    weight_decay: float = 1e-4     # tree-cell paper
    label_smoothing: float = 0.0   # none for CIFAR-10 (ImageNet: 0.1)
    alpha_lr: float = 0.006        # §4.1: Adam, 0.006 for the gradient rule, 0.01 for REINFORCE
    seed: int = 0

    def __post_init__(self):
        check(self, positive=("epochs", "batch_size", "alpha_batch_size", "alpha_every", "lr", "alpha_lr"),
              fractions=("momentum", "label_smoothing"))


@dataclass(frozen=True)
class TrainConfig:
    """How a found network is trained. Comments give the paper's CIFAR-10 value and its source."""

    epochs: int = 600              # §4.1: 300 epochs, 600 with DropPath
    batch_size: int = 64           # tree-cell paper
    lr: float = 0.1                # tree-cell paper, cosine to 0
    momentum: float = 0.9          # tree-cell paper, Nesterov
    weight_decay: float = 1e-4     # tree-cell paper
    label_smoothing: float = 0.0   # none for CIFAR-10
    cutout: int = 16               # Table 1, "c/o"; pixels of 32
    drop_path: float = 0.2         # §4.1 uses DropPath without its rate; 0.2 as in DARTS
    dropout: float = 0.0           # before the last layer: none for CIFAR-10 (ImageNet as released: 0.1 to 0.3)
    decay_norms: bool = True       # weight decay on batch norms too (ImageNet as released: not)
    seed: int = 0

    def __post_init__(self):
        check(self, positive=("epochs", "batch_size", "lr"), fractions=("momentum", "label_smoothing", "drop_path", "dropout"))


@dataclass(frozen=True)
class Experiment:
    """What notebook 03 does: the tree space, the search, the retraining, and the random networks it is compared with."""

    blocks: int                    # B, the paper: 18
    width: int                     # F, the paper: 400
    search: SearchConfig
    train: TrainConfig
    images: int | None = None      # at most so many training images, None for all; the paper: all 50,000
    random_networks: int = 5       # trained like the found one; the paper has no such baseline

    all_images = 50_000            # of CIFAR-10

    def __post_init__(self):
        plain_numbers(self)

    def space(self, classes=10, input_size=32):
        """The tree space of this preset."""
        return spaces.tree(self.blocks, self.width, classes, input_size)


PRESETS = {
    "quick": Experiment(           # meant for digits; of a larger set only 2,000 images
        blocks=1, width=72, images=2_000,
        search=SearchConfig(epochs=16, warmup_epochs=4, alpha_every=1, alpha_lr=0.05, lr=0.05, warmup_lr=0.05),
        train=TrainConfig(epochs=8, cutout=0, drop_path=0.0)),
    "lesson": Experiment(          # CIFAR-10, a fifth of it
        blocks=1, width=72, images=10_000,
        search=SearchConfig(epochs=8, warmup_epochs=2, alpha_every=2, alpha_lr=0.02),
        train=TrainConfig(epochs=5, cutout=8, drop_path=0.0)),
    "paper": Experiment(blocks=18, width=400, search=SearchConfig(), train=TrainConfig()),
}


@dataclass(frozen=True)
class LatencyExperiment:
    """What notebook 05 does: searches on a chain that listen to latency, over several weights λ₂ of the penalty."""

    edges: int
    width: int
    batch: int                     # images at once in the latency measured
    weights: tuple                 # λ₂ of Eq. 7 in 1/ms
    target: float                  # ms
    search: SearchConfig
    train: TrainConfig
    images: int | None = None

    def __post_init__(self):
        plain_numbers(self)


LATENCY = {
    "quick": LatencyExperiment(    # digits
        edges=6, width=8, batch=64, weights=(0.01, 0.1, 0.2, 0.4, 0.6), target=2.0, images=2_000,
        search=SearchConfig(epochs=10, warmup_epochs=2, alpha_every=1, batch_size=128, alpha_batch_size=128, alpha_lr=0.1,
                            lr=0.1, warmup_lr=0.1),
        train=TrainConfig(epochs=10, lr=0.1, batch_size=128, cutout=0, drop_path=0.0)),
    "lesson": LatencyExperiment(   # CIFAR-10, a fifth of it
        edges=8, width=32, batch=8, weights=(0.003, 0.01, 0.03, 0.1, 0.3), target=12.0, images=10_000,
        search=SearchConfig(epochs=8, warmup_epochs=2, alpha_every=2, alpha_lr=0.05, lr=0.05, warmup_lr=0.05),
        train=TrainConfig(epochs=5, lr=0.05, cutout=8, drop_path=0.0)),
    "paper": LatencyExperiment(    # CIFAR-10; the paper's own latency-aware search is that of notebook 06
        edges=18, width=64, batch=8, weights=(0.003, 0.01, 0.03, 0.1, 0.3), target=40.0,
        search=SearchConfig(), train=TrainConfig()),
}


@dataclass(frozen=True)
class MobileExperiment:
    """What notebook 06 does: the ImageNet space, a search that listens to a cost, retraining, random networks."""

    width: float                   # multiplier of all channels; the paper: 1
    image_size: int                # the paper: 224
    search: SearchConfig
    train: TrainConfig
    share: float                   # the cost aimed at, of that of a uniformly random network; the paper: 80 of 114 ms on the Pixel 1
    form: str                      # of objective.LatencyPenalty, and its weight
    weight: float
    over: str = "all"              # see objective.LatencyPenalty
    stages: tuple = spaces.MOBILE_STAGES
    images: int | None = None      # at most so many training images, None for all
    distort: bool = False          # change colours at random in notebook 07's training (ImageNet as released: yes)
    random_networks: int = 3       # trained like the found one; the paper has none
    multipliers: tuple = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)  # of the width, in notebook 07 (Figure 4)

    all_images = 1_281_167         # of ImageNet

    def __post_init__(self):
        plain_numbers(self)

    def space(self, classes=1000, input_size=None):
        """The mobile space of this preset."""
        return spaces.mobile(self.width, classes, input_size or self.image_size, stages=self.stages)

    def aim(self, space, source="macs", target=None):
        """The LatencyPenalty of this preset, from costs as objective.costs takes them; `target` in their unit."""
        costs = objective.costs(space, source)
        sizes = [len(edge.candidates) for edge in space.edges()]
        uniform = torch.tensor([[1 / n] * n + [0] * (max(sizes) - n) for n in sizes], dtype=torch.float64)
        return objective.LatencyPenalty(costs, self.weight, target or self.share * costs.under(uniform).item(), self.form, self.over)


IMAGENET_SEARCH = SearchConfig(    # as released; the paper names only the learning rate of α
    epochs=120, warmup_epochs=40, alpha_delay=1, batch_size=256, alpha_batch_size=256, alpha_every=5, lr=0.025, warmup_lr=0.05,
    momentum=0.9, weight_decay=4e-5, label_smoothing=0.1, alpha_lr=0.001)
IMAGENET_TRAIN = TrainConfig(      # as released
    epochs=300, batch_size=256, lr=0.05, momentum=0.9, weight_decay=4e-5, label_smoothing=0.1, cutout=0, drop_path=0.0,
    dropout=0.1, decay_norms=False)

MOBILE = {
    # Each candidate is trained in a sixth of the steps only, so the supernet needs many more of them than a compact network.
    "quick": MobileExperiment(     # meant for the digits as images
        width=0.25, image_size=64, images=600, share=0.6, form="abs#linear", weight=1.0,
        search=replace(IMAGENET_SEARCH, epochs=6, warmup_epochs=6, alpha_delay=0, batch_size=32, alpha_batch_size=32, alpha_every=1,
                       lr=0.05, warmup_lr=0.05, alpha_lr=0.08),
        train=replace(IMAGENET_TRAIN, epochs=5, batch_size=32, lr=0.05, dropout=0.0), multipliers=(0.15, 0.25, 0.4)),
    "lesson": MobileExperiment(    # meant for 20 classes of ImageNet at 64 px
        width=0.5, image_size=64, images=10_000, share=0.6, form="abs#linear", weight=1.0,
        search=replace(IMAGENET_SEARCH, epochs=12, warmup_epochs=18, alpha_delay=0, batch_size=64, alpha_batch_size=64, alpha_every=1,
                       lr=0.05, warmup_lr=0.05, alpha_lr=0.04),
        train=replace(IMAGENET_TRAIN, epochs=6, batch_size=64, lr=0.05, dropout=0.0), multipliers=(0.25, 0.5, 0.75)),
    "paper": MobileExperiment(     # ImageNet; give it a latency table of the device, as the loss is made for milliseconds
        width=1.0, image_size=224, share=0.7, form="mul#log", weight=0.3, over="pair",
        search=IMAGENET_SEARCH, train=IMAGENET_TRAIN, distort=True),
}


def for_reinforce(config, space="tree"):
    """The SearchConfig with what REINFORCE has in place of the gradient rule, in the tree space of §4.1 or in "mobile".

    On CIFAR-10 α learns at 0.01 instead of 0.006 (§4.1); on ImageNet at the same rate (§4.2), but as released 300 times an
    epoch of 4,809 steps instead of 961: every 16th step instead of every 5th.
    """
    if space == "tree":
        return replace(config, alpha_lr=0.01 / 0.006 * config.alpha_lr)
    return replace(config, alpha_every=round(16 / 5 * config.alpha_every))


def experiment(name):
    """The whole preset: "quick", "lesson" or "paper". Raises ValueError for another name."""
    if name not in PRESETS:
        raise ValueError(f"unknown preset {name!r}; allowed: {', '.join(PRESETS)}")
    return PRESETS[name]


def latency(name):
    """The LatencyExperiment of a preset."""
    experiment(name)
    return LATENCY[name]


def mobile(name):
    """The MobileExperiment of a preset."""
    experiment(name)
    return MOBILE[name]


def search(name):
    """The SearchConfig of a preset."""
    return experiment(name).search


def train(name):
    """The TrainConfig of a preset."""
    return experiment(name).train
