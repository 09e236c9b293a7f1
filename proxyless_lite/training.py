"""Train and evaluate a compact network: SGD, Nesterov, cosine, label smoothing, Cutout, DropPath (§4.1)."""

from dataclasses import asdict, dataclass

import pandas as pd
import torch
from torch import nn
from torchvision.ops import StochasticDepth

from . import presets, runtime
from .loop import Loop, accuracies, cosine, sgd

TRAIN, CUTOUT = range(2)  # what random numbers are for


@dataclass(frozen=True)
class Report:
    """A trained network: its top-1 and top-5 test accuracy in [0, 1], one row of history an epoch, seconds in all, the model."""

    test_accuracy: float
    history: pd.DataFrame
    seconds: float
    model: nn.Module
    test_top5: float


def train(architecture, data, config=None, out=None, device=None, label="train"):
    """Train `architecture` from scratch on train and validation images; test it once.

    A module may be given instead; it is trained in place, from the weights it has. Its Dropout and StochasticDepth layers get
    the rates of the config too.

    `config` is a presets.TrainConfig (default: "quick"); `out` a folder that makes the run resumable; `label`
    names the run in its progress. Returns a Report.
    Seeds PyTorch's global generator, so that one seed gives one network.
    """
    config = config or presets.train("quick")
    torch.manual_seed(config.seed)
    model = architecture if isinstance(architecture, nn.Module) else architecture.build()
    network = f"{type(model).__name__} {runtime.digest(repr(model))}" if model is architecture else architecture.signature
    return Training(model, data, config, out, device, network, label).run()


class Training(Loop):
    """The run behind `train`."""

    def __init__(self, model, data, config, out, device, network, label):
        engine = runtime.engine(device)
        engine.check_batch(config.batch_size)
        self.config, self.data = config, data.to(engine.device)
        self.model = engine.prepare(model).train()
        if engine.compile:
            runtime.compile_once(self.model)
        self.batches = self.data.batches(self.data.full_train, config.batch_size, config.seed, TRAIN, augment=True,
                                         rank=engine.rank, ranks=engine.ranks)
        self.optimizer = sgd(parameter_groups(self.model, config.decay_norms), config, engine.device)
        self.drop_rate = torch.zeros((), device=engine.device)
        for layer in self.model.modules():
            if isinstance(layer, StochasticDepth):  # also of an earlier training, with its rate
                layer.__class__, layer.p = (DropPath, self.drop_rate) if config.drop_path else (StochasticDepth, 0.0)
        for layer in self.model.modules():
            if isinstance(layer, nn.Dropout):
                layer.p = config.dropout
        self.check_classes()
        self.graphed = super().backward
        if engine.device.type == "cuda" and not engine.compile and not engine.sync_batch_norm:
            self.graphed = runtime.Graphed(self.graphed, self.model.parameters())
        super().__init__(label, config.epochs, self.batches.per_pass, out, engine,
                         {**asdict(config), "network": network, "data": str(data), "images": data.digest})

    def run(self):
        self.loop()
        self.model.eval()
        top1, top5 = self.or_say_what_fits(accuracies, self.model, self.data, self.data.test, self.evaluation_batch(), self.engine)
        return Report(top1, self.history(), self.seconds, self.model, top5)

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
            generator = runtime.generator(self.engine.device, self.config.seed, CUTOUT, self.done, self.engine.rank)
            images = cutout(images, self.config.cutout, generator)
        total = self.epochs * self.per_epoch
        for group in self.optimizer.param_groups:
            group["lr"] = cosine(self.config.lr, self.done, total)
        self.drop_rate.fill_(self.config.drop_path * self.done / total)  # scheduled DropPath (Zoph et al., 2018): from 0 up to its value
        self.descend(images, labels)

    def backward(self, images, labels, active=None):
        return self.graphed(images, labels)

    def end_epoch(self, epoch):
        return {"lr": self.optimizer.param_groups[0]["lr"],
                **self.means("train_loss", "train_accuracy")}

    def state(self):
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state(self, state):
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])


class DropPath(StochasticDepth):
    """torchvision's StochasticDepth with a rate `p` that is a tensor on the device: it may change in every step of a compiled or
    captured network, and reading it waits for nothing."""

    def forward(self, x):
        if not self.training:
            return x
        shape = [len(x) if self.mode == "row" else 1] + [1] * (x.dim() - 1)
        p = self.p.to(x.device)  # elsewhere only after the trained network was moved
        kept = torch.rand(shape, device=x.device) >= p
        return x * (kept / (1 - p)).to(x.dtype)


def parameter_groups(model, decay_norms):
    """The weights, and by themselves the scales and shifts of batch norms, which the ImageNet settings do not decay."""
    norms = [p for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) for p in m.parameters()]
    if decay_norms or not norms:
        return list(model.parameters())
    rest = [p for p in model.parameters() if id(p) not in {*map(id, norms)}]
    return [{"params": rest}, {"params": norms, "weight_decay": 0.0}]


def cutout(images, size, generator):
    """Blank a size × size square at a random centre of every image (B, C, H, W), with 0, the mean of normalised images.

    The square may lie partly outside (DeVries & Taylor, 2017).
    """
    n, _, height, width = images.shape
    centre = torch.rand(2, n, 1, generator=generator, device=images.device)
    rows, columns = (torch.arange(side, device=images.device) - (c * side).floor() for side, c in zip((height, width), centre))
    inside_rows, inside_columns = ((r >= -(size // 2)) & (r < size - size // 2) for r in (rows, columns))
    return images.masked_fill((inside_rows[:, :, None] & inside_columns[:, None, :])[:, None], 0.0)
