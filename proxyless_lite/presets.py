"""Settings: quick (seconds, no network), lesson (minutes), paper (the paper's values). Plain data, no flags elsewhere."""

import math
from dataclasses import dataclass, replace

import torch

from . import objective, spaces
from .architecture import named_space
from .config import ChoiceConfig, SearchConfig, TrainConfig, check, plain_numbers

@dataclass(frozen=True)
class Experiment:
    """What notebook 03 does: the tree space, the search, the retraining, and the random networks it is compared with."""

    blocks: int                    # B, the paper: 18
    width: int                     # F, the paper: 400
    search: SearchConfig
    train: TrainConfig
    images: int | None = None      # at most this many training images, None for all; the paper: all 50,000
    random_networks: int = 5       # trained like the found one; the paper has no such baseline

    all_images = 50_000            # of CIFAR-10

    def __post_init__(self):
        plain_numbers(self)

    def space(self, classes=10, input_size=32):
        """The tree space of this preset."""
        return spaces.tree(self.blocks, self.width, classes, input_size)


PRESETS = {
    "quick": Experiment(           # for digits; only 2,000 images of a larger set
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
    """What notebook 05 does: latency-aware searches on a chain, over several weights λ₂ of the penalty."""

    edges: int
    width: int
    batch: int                     # batch size at which latency is measured
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
    """What notebook 06 does: a search of the ImageNet space with a cost penalty, retraining, random networks."""

    width: float                   # multiplier of all channels; the paper: 1
    image_size: int                # the paper: 224
    search: SearchConfig
    train: TrainConfig
    share: float                   # target cost over that of a uniformly random network; the paper: 80 of 114 ms on the Pixel 1
    form: str                      # of objective.LatencyPenalty, and its weight
    weight: float
    over: str = "all"              # see objective.LatencyPenalty
    stages: tuple = spaces.MOBILE_STAGES
    images: int | None = None      # at most this many training images, None for all
    color_jitter: bool = False          # change colours at random in notebook 07's training (ImageNet as released: yes)
    random_networks: int = 3       # trained like the found one; the paper has none
    multipliers: tuple = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)  # of the width, in notebook 07 (Figure 4)

    all_images = 1_281_167         # of ImageNet

    def __post_init__(self):
        plain_numbers(self)

    def space(self, classes=1000, input_size=None):
        """The mobile space of this preset."""
        return spaces.mobile(self.width, classes, input_size or self.image_size, stages=self.stages)

    def objective(self, space, source="macs", target=None):
        """The LatencyPenalty of this preset, from costs as objective.costs takes them; `target` in their unit."""
        costs = objective.costs(space, source)
        sizes = [len(edge.candidates) for edge in space.edges()]
        uniform = torch.tensor([[1 / n] * n + [0] * (max(sizes) - n) for n in sizes], dtype=torch.float64)
        return objective.LatencyPenalty(costs, self.weight, target or self.share * costs.expected_under(uniform).item(), self.form, self.over)


IMAGENET_SEARCH = SearchConfig(    # as released; the paper gives only the learning rate of α
    epochs=120, warmup_epochs=40, alpha_delay=1, batch_size=256, alpha_batch_size=256, alpha_every=5, lr=0.025, warmup_lr=0.05,
    momentum=0.9, weight_decay=4e-5, label_smoothing=0.1, alpha_lr=0.001)
IMAGENET_TRAIN = TrainConfig(      # as released
    epochs=300, batch_size=256, lr=0.05, momentum=0.9, weight_decay=4e-5, label_smoothing=0.1, cutout=0, drop_path=0.0,
    dropout=0.1, decay_norms=False)

MOBILE = {
    # Each candidate is trained in only a sixth of the steps, so the supernet needs many more than a compact network.
    "quick": MobileExperiment(     # for the digits as images
        width=0.25, image_size=64, images=600, share=0.6, form="abs#linear", weight=1.0,
        search=replace(IMAGENET_SEARCH, epochs=6, warmup_epochs=6, alpha_delay=0, batch_size=32, alpha_batch_size=32, alpha_every=1,
                       lr=0.05, warmup_lr=0.05, alpha_lr=0.08),
        train=replace(IMAGENET_TRAIN, epochs=5, batch_size=32, lr=0.05, dropout=0.0), multipliers=(0.15, 0.25, 0.4)),
    "lesson": MobileExperiment(    # for 20 classes of ImageNet at 64 px
        width=0.5, image_size=64, images=10_000, share=0.6, form="abs#linear", weight=1.0,
        search=replace(IMAGENET_SEARCH, epochs=12, warmup_epochs=18, alpha_delay=0, batch_size=64, alpha_batch_size=64, alpha_every=1,
                       lr=0.05, warmup_lr=0.05, alpha_lr=0.04),
        train=replace(IMAGENET_TRAIN, epochs=6, batch_size=64, lr=0.05, dropout=0.0), multipliers=(0.25, 0.5, 0.75)),
    "paper": MobileExperiment(     # ImageNet; give it a latency table of the device: the loss is tuned for milliseconds
        width=1.0, image_size=224, share=0.7, form="mul#log", weight=0.3, over="pair",
        search=IMAGENET_SEARCH, train=IMAGENET_TRAIN, color_jitter=True),
}


@dataclass(frozen=True)
class ChoiceExperiment:
    """What notebook 11 does: one search, and a network chosen for each of several costs."""

    family: dict                   # the space: its name and settings, as in an architecture file
    search: SearchConfig
    choice: ChoiceConfig
    targets: tuple                 # costs of the chosen networks, as quantiles of those of random networks
    images: int | None = None      # at most this many training images, None for all
    image_size: int = 32           # to which images are resized; the digits stay 8×8
    padding: float | None = None   # of random crops, as a share of the side; see data.load
    random_networks: int = 3       # of equal cost, trained like the chosen one
    all_images: int | None = 50_000  # to learn from, of the data that the epochs are meant for; None: of any

    def __post_init__(self):
        check(self, positive=("image_size", "random_networks"))

    def space(self, classes=10, input_size=32):
        """The space of this preset."""
        return named_space(**self.family, classes=classes, input_size=input_size)

    def for_images(self, count):
        """The same for `count` images to learn from: where there are a quarter as many, twice the epochs, and so on."""
        more = max(1.0, math.sqrt((self.all_images or count) / count))
        times = lambda config, *names: replace(config, **{name: round(more * getattr(config, name)) for name in names})
        choice = replace(times(self.choice, "tune_epochs"), train=times(self.choice.train, "epochs"))
        return replace(self, search=times(self.search, "epochs", "warmup_epochs"), choice=choice)


SHORT_TRAIN = TrainConfig(         # for a few epochs on small images
    epochs=16, batch_size=64, lr=0.3, rise=0.25, weight_decay=1e-4, label_smoothing=0.1, small_images=0.6, cutout=0, drop_path=0.0,
    decay_norms=False)

CHOICE = {
    "quick": ChoiceExperiment(     # digits: the space of ground_truth's table "digits", in which every network is known
        family=dict(name="chain", edges=4, width=8, candidates=("Zero", "DW 7x7", "conv 3x3", "MB3 3x3")),
        targets=(0.2, 0.4, 0.6, 0.8), all_images=1_437,
        search=SearchConfig(epochs=4, warmup_epochs=8, alpha_every=1, alpha_lr=0.05),
        choice=ChoiceConfig(tuned=16, trainings=3, train=TrainConfig(epochs=8, lr=0.1, cutout=0, drop_path=0.0))),
    "lesson": ChoiceExperiment(    # CIFAR-10, or images of one's own
        family=dict(name="staged", entry=("conv 3x3 pooled", "conv 3x3", "MB3 3x3", "conv 1x1 pooled")),
        targets=(0.2, 0.5, 0.8), padding=1 / 16, image_size=64, random_networks=1,
        search=SearchConfig(epochs=2, warmup_epochs=2, alpha_every=4, alpha_lr=0.06, alpha_batch_size=256),
        # Measured here: after two or four epochs, or from shared weights, networks that learn fast rank too high; after seven less so.
        # Twelve of six keep the whole run within 45 minutes: for each of three targets the one with the most MACs, one to explore, and
        # more than two that are expected to be best.
        # No trainings: the notebook trains the chosen ones anyway.
        choice=ChoiceConfig(tuned=12, explored=1 / 3, most_macs=True, tune_epochs=6, from_shared=False, trainings=0, together=2, train=SHORT_TRAIN)),
    "paper": ChoiceExperiment(     # of its size; the paper itself chooses by α alone
        family=dict(name="mobile", width=1.0), targets=(0.25, 0.5, 0.75), image_size=224, all_images=None, search=IMAGENET_SEARCH,
        choice=ChoiceConfig(tuned=24, trainings=0, train=IMAGENET_TRAIN)),
}


def for_reinforce(config, space="tree"):
    """The SearchConfig with REINFORCE's settings in place of the gradient rule's, for the tree space of §4.1 or for "mobile".

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


def choice(name):
    """The ChoiceExperiment of a preset."""
    experiment(name)
    return CHOICE[name]


def search(name):
    """The SearchConfig of a preset."""
    return experiment(name).search


def train(name):
    """The TrainConfig of a preset."""
    return experiment(name).train
