"""A long run of steps that loses nothing: meters, checkpoints, SIGTERM, a stop at the first loss that is not finite."""

import math
import time
from pathlib import Path

import pandas as pd
import torch
from torch import nn

from . import runtime
from .data import correct

CHECK_EVERY = 10  # steps between two looks at the losses; a look waits for the device


class Loop:
    """`epochs` × `per_epoch` steps, resumable from folder `out` (None: nothing is written).

    A subclass has the `optimizer` of its weights and gives `step(epoch, index)`, which does one step and calls `record`;
    `end_epoch(epoch)`, which returns the rest of the epoch's row of history; and `state()` and `load_state(state)`,
    which hold all that steps change.
    `identity` is what a folder must agree on to be resumed.
    """

    def __init__(self, label, epochs, per_epoch, out, device, identity):
        self.label, self.epochs, self.per_epoch, self.device = label, epochs, per_epoch, device
        self.out = Path(out) if out is not None else None
        self.identity = {"run": type(self).__name__, "epochs": epochs, "steps an epoch": per_epoch, **identity}
        self.done, self.seconds, self.rows, self.meters = 0, 0.0, [], {}

    @property
    def checkpoint(self):
        return self.out / "checkpoint.pt"

    def record(self, **values):
        """Note scalar tensors of this step; their means become the epoch's row. Does not wait for the device."""
        for name, value in values.items():
            self.meters.setdefault(name, []).append((self.done, value.detach()))

    def mean(self, name):
        """Mean of a meter in this epoch so far; NaN if nothing was recorded."""
        values = [value for _, value in self.meters.get(name, ())]
        return torch.stack(values).double().mean().item() if values else math.nan

    def loop(self):
        """Run all steps that are not done yet.

        Raises runtime.Stopped after SIGTERM, FloatingPointError for a loss that is not finite, ValueError for a folder
        of another configuration.
        """
        self.resume()
        total, began = self.epochs * self.per_epoch, time.monotonic() - self.seconds
        progress = runtime.Progress(total, self.done, self.label)
        with runtime.sigterm_flag() as stopping:
            while self.done < total:
                epoch, index = divmod(self.done, self.per_epoch)
                self.step(epoch, index)
                last = index + 1 == self.per_epoch
                stop = stopping()
                if last or stop or index % CHECK_EVERY == 0:
                    self.check_finite(epoch)
                self.seconds = time.monotonic() - began
                if last:
                    self.rows.append({"epoch": epoch, **self.end_epoch(epoch), "seconds": self.seconds,
                                      "memory": runtime.peak_memory(self.device)})
                    self.meters = {}
                self.done += 1
                if last or stop:
                    self.check_weights(epoch)
                    self.save()
                if stop and self.done < total:
                    raise runtime.Stopped(f"{self.label} stopped by SIGTERM in epoch {epoch} after step {index}; "
                                          f"{'run again to go on' if self.out else 'nothing was saved: no folder was given'}")
                progress.step(epoch=epoch, loss=lambda: self.mean("train_loss") if self.meters else self.rows[-1]["train_loss"])
        progress.close()

    def check_finite(self, epoch):
        """Raises FloatingPointError naming epoch and step if one of the latest losses is not finite."""
        for name, values in self.meters.items():
            finite = torch.stack([value for _, value in values[-2 * CHECK_EVERY:]]).isfinite().tolist()
            if not all(finite):
                step = values[-2 * CHECK_EVERY:][finite.index(False)][0]
                kept = (f"the last checkpoint, {self.checkpoint}, is kept" if self.out and self.checkpoint.exists()
                        else "there is no checkpoint yet")
                raise FloatingPointError(f"{name} is not finite at epoch {epoch}, step {step - epoch * self.per_epoch} "
                                         f"({kept}); a smaller learning rate may help")

    def check_weights(self, epoch):
        """Raises FloatingPointError if the last step has spoilt a weight, so that no such checkpoint is ever written."""
        weights = [p for group in self.optimizer.param_groups for p in group["params"]]
        if not torch.stack([p.detach().isfinite().all() for p in weights]).all():
            raise FloatingPointError(f"a weight is not finite after epoch {epoch}; a smaller learning rate may help")

    def history(self):
        """One row an epoch."""
        return pd.DataFrame(self.rows)

    # -- what survives the process ------------------------------------------------------------------------------------

    def state(self):
        raise TypeError(f"{type(self).__name__} has no state()")

    def save(self):
        if self.out is None:
            return
        meters = {name: {"steps": [step for step, _ in values], "values": torch.stack([value for _, value in values])}
                  for name, values in self.meters.items()}
        runtime.save_checkpoint(self.checkpoint, {
            "identity": self.identity, "done": self.done, "seconds": self.seconds, "rows": self.rows, "meters": meters,
            "random": runtime.random_state(), "state": self.state()})

    def resume(self):
        """Take up the newest good checkpoint in the folder, if there is one."""
        saved = runtime.load_checkpoint(self.checkpoint) if self.out is not None else None
        if saved is None:
            return
        runtime.check_same(self.out, saved["identity"], self.identity)
        self.done, self.seconds, self.rows = saved["done"], saved["seconds"], saved["rows"]
        self.meters = {name: list(zip(m["steps"], m["values"].to(self.device).unbind())) for name, m in saved["meters"].items()}
        runtime.set_random_state(saved["random"])
        self.load_state(saved["state"])
        print(f"{self.label}: going on after {self.done} of {self.epochs * self.per_epoch} steps, from {self.checkpoint}", flush=True)


def cosine(lr, done, total):
    """Learning rate after `done` of `total` steps: from lr down to 0 along half a cosine."""
    return 0.5 * lr * (1 + math.cos(math.pi * done / total))


def sgd(parameters, config):
    """SGD with Nesterov momentum, as the paper trains all weights."""
    return torch.optim.SGD(parameters, lr=config.lr, momentum=config.momentum, nesterov=config.momentum > 0,
                           weight_decay=config.weight_decay)


def evaluate(model: nn.Module, data, split, batch_size=250, rank=0, ranks=1):
    """Top-1 accuracy of model on a split, without augmentation, in the model's present mode; a float in [0, 1]."""
    first, _, n = correct(model, data, split, batch_size, rank, ranks)
    return first / n
