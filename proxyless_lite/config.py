"""How a search and a training run, as plain data; comments give the paper's values for CIFAR-10."""

from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from numbers import Integral, Real
from typing import get_args

LATER = {"rise": 0.0, "small_images": 0.0, "drawn": 0, "from_shared": True, "together": 1, "explored": 0.5, "most_macs": False}  # fields that were added later, and what was before
SMALL = 3 / 4  # width and height of small images, of those of the others
NUMBERS = {int: (Integral, "an integer"), float: (Real, "a number"), bool: (bool, "True or False")}


def name_of(value):
    """A value as part of a run's identity, a function or a partial too: the same text in every process."""
    if isinstance(value, partial):
        keywords = ", ".join(f"{name!r}: {name_of(each)}" for name, each in value.keywords.items())
        return f"{name_of(value.func)}, ({', '.join(map(name_of, value.args))}{',' * (len(value.args) == 1)}), {{{keywords}}}"
    if " at 0x" in repr(value):  # an address, of a function or of an object without a repr of its own
        return getattr(value, "__qualname__", type(value).__qualname__)
    return repr(value)


def plain_numbers(config):
    """Convert the numbers in a dataclass to Python's own: their text is part of a run's identity.

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
        whole = kind is float and type(value) is int  # kept: "width=1" is part of a run's identity
        object.__setattr__(config, name, value if whole else kind(value))


def check(config, positive=(), fractions=()):
    """As `plain_numbers`; also raises ValueError for the first field out of range. Fields not named must not be negative."""
    plain_numbers(config)
    for name, value in vars(config).items():
        if not isinstance(value, Real):
            continue
        if name in positive and not value > 0:
            raise ValueError(f"{type(config).__name__}({name}={value!r}): must be above 0")
        if name in fractions and not 0 <= value < 1:
            raise ValueError(f"{type(config).__name__}({name}={value!r}): must be at least 0 and below 1")
        if not value >= 0:
            raise ValueError(f"{type(config).__name__}({name}={value!r}): must not be negative")


def described(config):
    """A config as a dict, without the fields that were added later and are as before: files of earlier versions lack them."""
    return {name: value if not is_dataclass(value) else described(value) for name, value in vars(config).items() if LATER.get(name, ...) != value}


@dataclass(frozen=True)
class SearchConfig:
    """How a search runs. Comments give the paper's CIFAR-10 value and its source."""

    epochs: int = 200              # §4.1: 200 epochs of training the over-parameterised network
    warmup_epochs: int = 0         # not given for CIFAR-10 (ImageNet as released: 40)
    alpha_delay: int = 0           # epochs after the warm-up without α updates (ImageNet as released: 1)
    batch_size: int = 64           # tree-cell paper (Cai et al., 2018b), the source of the training settings
    alpha_batch_size: int = 64     # not given; the same
    alpha_every: int = 5           # not given (ImageNet as released: one α step every 5 weight steps)
    lr: float = 0.1                # tree-cell paper, cosine to 0
    warmup_lr: float = 0.1         # not given
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
    rise: float = 0.0              # share of the steps in which the learning rate first rises from 0: none in the paper
    small_images: float = 0.0      # share of the steps, the first, on images of 3/4 the side, for speed: none in the paper
    cutout: int = 16               # Table 1, "c/o"; pixels of 32
    drop_path: float = 0.2         # §4.1 does not give the rate; 0.2 as in DARTS
    dropout: float = 0.0           # before the last layer: none for CIFAR-10 (ImageNet as released: 0.1 to 0.3)
    decay_norms: bool = True       # weight decay on batch norms too (ImageNet as released: not)
    seed: int = 0

    def __post_init__(self):
        check(self, positive=("epochs", "batch_size", "lr"),
              fractions=("momentum", "label_smoothing", "rise", "small_images", "drop_path", "dropout"))

    @property
    def full_epochs(self):
        """Epochs on images of full size that take as long: work goes with the number of pixels."""
        return self.epochs * (1 - self.small_images * (1 - SMALL ** 2))


@dataclass(frozen=True)
class ChoiceConfig:
    """How a finished search chooses among whole networks; the paper has no such step. `train` says how networks are trained from scratch."""

    proposals: int = 200           # the most probable networks under α that are considered, for each target
    drawn: int = 2000              # and so many random ones that its goal allows; all of them in a small space
    tuned: int = 24                # of these in all, trained briefly, each a fraction of a training
    explored: float = 0.5          # share of those that are picked for what they tell, before the ones that are expected to be best
    most_macs: bool = False        # for each target the network with the most MACs is among them: a competitor that needs no search
    tune_epochs: int = 1
    from_shared: bool = True       # these start from the shared weights; else from fresh ones, by the recipe of `train`
    trainings: int = 3             # from scratch, for each target; 0: the best expected one is taken
    together: int = 1              # networks picked at a time, and trained side by side where there are threads for it
    train: TrainConfig = TrainConfig()

    def __post_init__(self):
        check(self, positive=("proposals", "tuned", "tune_epochs", "together", "explored"))
        if self.explored > 1:
            raise ValueError(f"ChoiceConfig(explored={self.explored!r}): must be at most 1")
