"""Train and evaluate a compact network: SGD, Nesterov, cosine, label smoothing, Cutout, DropPath (§4.1)."""

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from torch import nn
from torch.nn import functional
from torchvision.ops import StochasticDepth

from .. import presets, runtime
from ..architecture import Architecture
from ..config import SMALL, TrainConfig, described
from ..data import DataModule, ImageData
from . import memory
from .evaluation import cross_entropy, evaluate, top_k
from .loop import Loop, cosine, sgd
from .step import Step

TRAIN, CUTOUT = range(2)  # purposes of random numbers
FOREIGN = "are none of the network's classes, which count from 0; number classes alike in all parts"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Report:
    """A trained network: its top-1 and top-5 test accuracy in [0, 1], one row of history per epoch, total seconds, the model."""

    test_accuracy: float
    history: pd.DataFrame
    seconds: float
    model: nn.Module
    test_top5: float


def train(architecture: Architecture | nn.Module, data: DataModule, config: TrainConfig | None = None, out: str | Path | None = None,
          device=None, label: str = "train") -> Report:
    """Train `architecture` from scratch on training and validation images; test it once.

    A module may be given instead; it is trained in place, from the weights it has. Its Dropout and StochasticDepth layers get
    the rates of the config too.

    `config` is a TrainConfig (default: "quick"); `out` a folder that makes the run resumable, and that gets an architecture.json; `label`
    names the run in its progress. Returns a Report. Seeds PyTorch's global generator, so that a seed determines the network.

    Raises ValueError where network, data and config do not fit together, and for the folder of another run; FloatingPointError when
    a loss or weight is not finite, and runtime.OutOfMemory, which says what would fit: the last good checkpoint is kept.
    """
    config = config or presets.train("quick")
    model, identity = begin(architecture, config.seed)
    training = Training(model, data, config, out, device, identity, label)
    report = training.run()
    if training.engine.is_main:
        keep(architecture, out)
    return report


def keep(architecture, out):
    """Write the architecture into the folder of its training, for an export; of a module there is none."""
    if out is not None and isinstance(architecture, Architecture):
        architecture.save(Path(out) / "architecture.json")


def begin(architecture, seed):
    """The module to train, and what identifies it in a run folder."""
    torch.manual_seed(seed)
    if isinstance(architecture, nn.Module):
        return architecture, f"{type(architecture).__name__} {runtime.digest(layers_of(architecture))}"
    return architecture.build(), architecture.signature


def layers_of(module):
    """What tells a module from others, the same before and after a training: that sets the rates of Dropout and StochasticDepth."""
    rated = [layer for layer in module.modules() if isinstance(layer, (nn.Dropout, StochasticDepth))]
    kind = lambda layer: StochasticDepth if isinstance(layer, StochasticDepth) else type(layer)  # noqa: E731
    layers = [(name, kind(layer).__qualname__, "" if layer in rated else layer.extra_repr()) for name, layer in module.named_modules()]
    return layers if rated else module


class Training:
    """The run behind `train`: what Loop drives."""

    def __init__(self, model, data, config, out, device, network, label):
        self.engine = engine = runtime.engine(device)
        self.batch_size = engine.batch_size(config.batch_size, len(data.train) + len(data.valid))  # smaller for a small set
        engine.check_batch(self.batch_size)
        self.config, self.labels_checked = config, False
        self.start = runtime.digest(*model.state_dict().values()) if out is not None else None
        self.model = engine.prepare(model).train()
        if engine.compile:
            runtime.compile_once(self.model)
        with memory.room_for(data, engine.device):
            self.data = data.to(engine.device)
            self.batches = self.data.batches(self.data.full_train, self.batch_size, config.seed, TRAIN, augment=True,
                                             rank=engine.rank, world_size=engine.world_size)
        self.optimizer = sgd(parameter_groups(self.model, config.decay_norms), config, engine.device)
        self.drop_rate = torch.zeros((), device=engine.device)
        regularise(self.model, config, self.drop_rate)
        self.outputs = check_inputs(self.model, self.data, config)
        graph = engine.device.type == "cuda" and not engine.compile and not engine.sync_batch_norm
        self.trainer = Step(self.model, self.optimizer, partial(cross_entropy, label_smoothing=config.label_smoothing), engine, graph)
        self.loop = Loop(self, label, config.epochs, self.batches.batches_per_epoch, out, engine,
                         {**described(config), "network": network, "data": str(data), "images": data.digest})

    def run(self):
        self.loop.run()
        self.model.eval()
        size = memory.evaluation_size(self.engine, self.batch_size)
        found = self.loop.within_memory(evaluate, self.model, self.data, self.data.test, self.tested, size, self.engine)
        if found["unknown"]:
            raise ValueError(f"{found['unknown']:.1%} of the test labels of {self.data.name} {FOREIGN}")
        return Report(found["accuracy"], self.loop.history(), self.loop.seconds, self.model, found["top5"])

    def tested(self, model, batch):
        """What top_k gives, and the share of labels that are none of the network's classes."""
        _, labels = batch
        return {**top_k(model, batch), "unknown": ((labels < 0) | (labels >= self.outputs)).double().mean()}

    def check_labels(self, labels):
        """Raises ValueError where labels, (B,), are none of the network's classes; PyTorch leaves out those of −100."""
        wrong = ((labels < 0) & (labels != -100)) | (labels >= self.outputs)
        if wrong.any():
            raise ValueError(f"{wrong.double().mean():.1%} of the first training labels of {self.data.name} {FOREIGN}")
        self.labels_checked = True

    def step(self, epoch, index):
        images, labels = self.batches[self.loop.done]
        done, total = self.loop.done, self.loop.total
        if not self.labels_checked:  # a GPU would end without saying why
            self.check_labels(labels)
        if self.config.cutout:
            images = cutout(images, self.config.cutout, runtime.generator(self.engine.device, self.config.seed, CUTOUT, done, self.engine.rank))
        if done < self.config.small_images * total:
            images = shrunk(images)
        for group in self.optimizer.param_groups:
            group["lr"] = cosine(self.config.lr, done, total, self.config.rise)
        self.drop_rate.fill_(self.config.drop_path * done / total)  # scheduled DropPath (Zoph et al., 2018): from 0 up to its value
        self.loop.record("train_", self.trainer.train_step((images, labels)))

    def end_epoch(self, epoch):
        return {"lr": self.optimizer.param_groups[0]["lr"], **self.loop.meters.means(["train_loss", "train_accuracy"])}

    def what_fits(self):
        return memory.what_fits(self.engine, self.batch_size, self.can_cut, self.kept_per_image, self.data)

    def can_cut(self, parts):
        """Whether each rank could cut its share of every batch into that many micro-batches."""
        return self.batch_size % (self.engine.world_size * parts) == 0

    def kept_per_image(self):
        return memory.kept_per_image(self.model, cross_entropy, self.data, self.engine)

    def state_dict(self):
        scaler = self.trainer.state_dict()
        how = {"preprocessing": self.data.preprocessing(), "loaded": self.data.loaded} if isinstance(self.data, ImageData) else {}  # for exports
        return {**how, "start": self.start, "model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), **({"scaler": scaler} if scaler else {})}

    def load_state_dict(self, state):
        if self.start not in (state.get("start", self.start), runtime.digest(*state["model"].values())) and self.engine.is_main:
            log.warning(f"{self.loop.label}: {self.loop.out} resumes a training that started from other weights; "
                        f"choose another folder to train from these")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.trainer.load_state_dict(state.get("scaler"))


def regularise(model, config, drop_rate):
    """Give the Dropout and StochasticDepth layers of a model the rates of a config; that of DropPath is the tensor `drop_rate`."""
    for layer in model.modules():
        if isinstance(layer, StochasticDepth):  # or of an earlier training, with its rate
            layer.__class__, layer.p = (DropPath, drop_rate) if config.drop_path else (StochasticDepth, 0.0)
        if isinstance(layer, nn.Dropout):
            layer.p = config.dropout


def check_inputs(model, data, config):
    """How many numbers the model gives for an image. Raises ValueError unless it is one per class, there is a test set, a batch is
    (inputs, labels), and Cutout and shrinking have images."""
    batch = data.example(2)
    if not is_labelled(batch):
        raise ValueError(f"a batch of {data.name} must be a pair of tensors, inputs and labels of type int64; give data.from_datasets a "
                         f"collate(samples) that makes one")
    images, _ = batch
    if not len(data.test):
        raise ValueError(f"{data.name} has no test {data.unit}; give data.from_datasets a test set")
    if config.cutout and images.dim() != 4:
        raise ValueError(f"cutout={config.cutout} blanks a part of images, but {data.name} has inputs of shape {data.shape}; give cutout=0")
    if config.small_images and images.dim() != 4:
        raise ValueError(f"small_images={config.small_images} needs images, but {data.name} has inputs of shape {data.shape}; give small_images=0")
    model.eval()
    try:
        with torch.no_grad():
            outputs = tuple(model(images).shape[1:])
            if config.small_images:
                images = shrunk(images)
                model(images)
    except RuntimeError as error:
        if runtime.is_out_of_memory(error):
            raise
        raise ValueError(f"the network does not take images of {tuple(images.shape[1:])} ({str(error).splitlines()[0]})") from None
    model.train()
    if data.classes and outputs != (len(data.classes),):
        raise ValueError(f"the network gives {outputs} for an image, but {data.name} has {len(data.classes)} classes")
    if not outputs:
        raise ValueError("the network gives a single number for an image; it must give one per class")
    return outputs[0]


def is_labelled(batch):
    """Whether a batch is (inputs, labels): a tensor, and one of class numbers."""
    return (isinstance(batch, (tuple, list)) and len(batch) == 2 and all(isinstance(part, torch.Tensor) for part in batch)
            and batch[1].dtype == torch.long)


class DropPath(StochasticDepth):
    """torchvision's StochasticDepth with a rate `p` that is a tensor on the device: it may change in every step of a compiled or
    captured network, and reading it does not wait."""

    def forward(self, x):
        if not self.training:
            return x
        shape = [len(x) if self.mode == "row" else 1] + [1] * (x.dim() - 1)
        p = self.p.to(x.device)  # on another device only after the network was moved
        kept = torch.rand(shape, device=x.device) >= p
        return x * (kept / (1 - p)).to(x.dtype)


def parameter_groups(model, decay_norms):
    """The weights, and separately batch norms' scales and shifts, not decayed in the ImageNet settings."""
    norms = [p for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)
             for p in m.parameters()]
    if decay_norms or not norms:
        return list(model.parameters())
    rest = [p for p in model.parameters() if id(p) not in {*map(id, norms)}]
    return [{"params": rest}, {"params": norms, "weight_decay": 0.0}]


def shrunk(images):
    """Images (B, C, H, W) at SMALL of their width and height (progressive resizing: Howard, 2018, for DAWNBench)."""
    return functional.interpolate(images, size=[max(int(SMALL * side), 1) for side in images.shape[2:]], mode="bilinear", antialias=True)


def cutout(images, size, generator):
    """Blank a size × size square at a random centre of every image (B, C, H, W) with 0, the mean of normalised images.

    The square may lie partly outside (DeVries & Taylor, 2017).
    """
    n, _, height, width = images.shape
    centre = torch.rand(2, n, 1, generator=generator, device=images.device)
    rows, columns = (torch.arange(side, device=images.device) - (c * side).floor() for side, c in zip((height, width), centre))
    inside_rows, inside_columns = ((r >= -(size // 2)) & (r < size - size // 2) for r in (rows, columns))
    return images.masked_fill((inside_rows[:, :, None] & inside_columns[:, None, :])[:, None], 0.0)
