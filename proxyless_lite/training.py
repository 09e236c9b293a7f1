"""Train and evaluate a compact network: SGD, Nesterov, cosine, label smoothing, Cutout, DropPath (§4.1)."""

from dataclasses import asdict, dataclass

import pandas as pd
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.ops import StochasticDepth

from . import presets, rules, runtime
from .loop import Loop, cosine, evaluate, sgd

TRAIN, CUTOUT = range(2)  # what random numbers are for


@dataclass(frozen=True)
class Report:
    """A trained network: its test accuracy in [0, 1], one row of history an epoch, seconds in all, and the model."""

    test_accuracy: float
    history: pd.DataFrame
    seconds: float
    model: nn.Module


def train(architecture, data, config=None, out=None, device=None, label="train"):
    """Train `architecture` from scratch on train and validation images; test it once.

    A module may be given instead; it is trained in place, from the weights it has.

    `config` is a presets.TrainConfig (default: "quick"); `out` a folder that makes the run resumable; `label`
    names the run in its progress. Returns a Report.
    Seeds PyTorch's global generator, so that one seed gives one network.
    """
    config = config or presets.train("quick")
    torch.manual_seed(config.seed)
    model = architecture if isinstance(architecture, nn.Module) else architecture.build()
    network = type(model).__name__ if model is architecture else f"{architecture.space}: {', '.join(architecture.choices)}"
    return Training(model, data, config, out, device, network, label).run()


class Training(Loop):
    """The run behind `train`."""

    def __init__(self, model, data, config, out, device, network, label):
        device = runtime.device(device)
        self.config, self.data = config, data.to(device)
        self.model = model.to(device, memory_format=torch.channels_last).train()
        self.batches = self.data.batches(self.data.full_train, config.batch_size, config.seed, TRAIN, augment=True)
        self.optimizer = sgd(self.model.parameters(), config)
        self.drops = [m for m in self.model.modules() if isinstance(m, StochasticDepth)]
        self.check_classes()
        super().__init__(label, config.epochs, self.batches.per_pass, out, device,
                         {**asdict(config), "network": network, "data": str(data), "images": data.digest})

    def run(self):
        self.loop()
        self.model.eval()
        return Report(evaluate(self.model, self.data, self.data.test), self.history(), self.seconds, self.model)

    def check_classes(self):
        """Raises ValueError unless the model gives one number a class for images of the data's size."""
        images = torch.zeros(2, *self.data.shape, device=self.data.device)
        self.model.eval()
        try:
            with torch.no_grad():
                outputs = tuple(self.model(images).shape[1:])
        except RuntimeError as error:
            raise ValueError(f"the network does not take images of {self.data.shape} ({str(error).splitlines()[0]})") from None
        self.model.train()
        if outputs != (len(self.data.classes),):
            raise ValueError(f"the network gives {outputs} for an image, but {self.data.name} has {len(self.data.classes)} classes")

    def step(self, epoch, index):
        images, labels = self.batches[self.done]
        if self.config.cutout:
            generator = runtime.generator(self.device, self.config.seed, CUTOUT, self.done)
            images = cutout(images, self.config.cutout, generator)
        total = self.epochs * self.per_epoch
        self.optimizer.param_groups[0]["lr"] = cosine(self.config.lr, self.done, total)
        for drop in self.drops:  # scheduled DropPath (Zoph et al., 2018): from 0 up to its value
            drop.p = self.config.drop_path * self.done / total
        logits = self.model(images)
        loss = F.cross_entropy(logits, labels, label_smoothing=self.config.label_smoothing)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.record(train_loss=loss, train_accuracy=rules.accuracy(logits.detach(), labels))

    def end_epoch(self, epoch):
        return {"lr": self.optimizer.param_groups[0]["lr"],
                "train_loss": self.mean("train_loss"), "train_accuracy": self.mean("train_accuracy")}

    def state(self):
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state(self, state):
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])


def cutout(images, size, generator):
    """Blank a size × size square at a random centre of every image (B, C, H, W), with 0, the mean of normalised images.

    The square may lie partly outside (DeVries & Taylor, 2017).
    """
    n, _, height, width = images.shape
    centre = torch.rand(2, n, 1, generator=generator, device=images.device)
    rows, columns = (torch.arange(side, device=images.device) - (c * side).floor() for side, c in zip((height, width), centre))
    inside_rows, inside_columns = ((r >= -(size // 2)) & (r < size - size // 2) for r in (rows, columns))
    return images.masked_fill((inside_rows[:, :, None] & inside_columns[:, None, :])[:, None], 0.0)
