"""A long run of steps that loses nothing: meters, checkpoints, SIGTERM and Ctrl-C, a stop at the first loss that is not finite."""

import math
import signal
import time
from contextlib import nullcontext
from pathlib import Path

import pandas as pd
import torch
from torch.nn import functional as F

from . import rules, runtime
from .data import correct

CHECK_EVERY = 10  # steps between two looks at the losses; a look waits for the device


class Loop:
    """`epochs` × `per_epoch` steps, resumable from folder `out` (None: nothing is written), on one rank or several.

    A subclass has the `model`, the `optimizer` of its weights and a `config` with a seed, and gives `step(epoch, index)`,
    which does one step and calls `record`; `end_epoch(epoch)`, which returns the rest of the epoch's row of history; and
    `state()` and `load_state(state)`, which hold all that steps change.
    `identity` is what a folder must agree on to be resumed. The number of ranks is no part of it.
    """

    def __init__(self, label, epochs, per_epoch, out, engine, identity):
        self.label, self.epochs, self.per_epoch, self.engine = label, epochs, per_epoch, engine
        self.out = Path(out) if out is not None else None
        self.identity = {"run": type(self).__name__, "epochs": epochs, "steps an epoch": per_epoch, **identity}
        self.done, self.seconds, self.rows, self.meters = 0, 0.0, [], {}
        self.fresh, self.looks = [], []  # what no look has seen yet; looks whose answer is on its way
        self.scaler, self.half = None, None
        if engine.precision == "float16":  # small gradients would be 0
            self.scaler = torch.amp.GradScaler(engine.device.type)
        if engine.precision != "float32" and not engine.compile:  # a compiled layer casts its weight on the way
            self.half = runtime.HalfWeights(self.model, runtime.PRECISIONS[engine.precision])
        self.lock = None  # held while the loop runs, on the first rank

    @property
    def device(self):
        return self.engine.device

    @property
    def checkpoint(self):
        return self.out / "checkpoint.pt"

    def record(self, **values):
        """Note scalar tensors of this step; their means become the epoch's row. Does not wait for the device."""
        for name, value in values.items():
            self.meters.setdefault(name, []).append((self.done, value.detach()))
            self.fresh.append((name, self.done, value.detach()))

    def mean(self, name):
        """Mean of a meter in this epoch so far, on this rank; NaN if nothing was recorded. A scalar tensor (float64)."""
        values = [value for _, value in self.meters.get(name, ())]
        return torch.stack(values).double().mean() if values else torch.tensor(math.nan, dtype=torch.float64)

    def means(self, *names):
        """Mean of each meter in this epoch so far, over all ranks."""
        return dict(zip(names, self.engine.mean(torch.stack(runtime.fetch(*map(self.mean, names)))).tolist()))

    def loop(self):
        """Run all steps that are not done yet.

        Raises runtime.Stopped after SIGTERM and KeyboardInterrupt after Ctrl-C, both once the step at hand is done and
        saved; FloatingPointError for a loss that is not finite, runtime.OutOfMemory, runtime.LostRank when another rank is
        gone, ValueError for a folder of another configuration, OSError for one that cannot be written to or in which another
        process is running.
        """
        try:
            self.resume()
            runtime.reset_peak_memory(self.device)
            self.go_on()
        finally:
            if self.lock:
                self.lock.close()

    def go_on(self):
        """All steps from `done` on."""
        total, began = self.epochs * self.per_epoch, time.monotonic() - self.seconds
        progress = runtime.Progress(total, self.done, self.label) if self.engine.first else None
        with runtime.stop_flag() as stopping:
            while self.done < total:
                epoch, index = divmod(self.done, self.per_epoch)
                # What dropout and DropPath draw is a function of seed, rank and step: there is nothing to save.
                torch.manual_seed(runtime.seed(self.config.seed, self.engine.rank, self.done))
                self.or_say_what_fits(self.step, epoch, index)
                last = index + 1 == self.per_epoch
                stop = self.engine.any(stopping() is not None)
                if last or stop or index % CHECK_EVERY == 0:
                    self.check_finite(epoch, wait=last or stop)
                self.seconds = time.monotonic() - began
                if last:
                    self.rows.append({"epoch": epoch, **self.or_say_what_fits(self.end_epoch, epoch), "seconds": self.seconds,
                                      "memory": runtime.peak_memory(self.engine.device)})
                    self.meters = {}
                self.done += 1
                if last or stop:
                    self.check_weights(epoch)
                    self.save()
                if stop and self.done < total:
                    raise self.stopped(stopping(), epoch, index)
                if progress:
                    progress.step(epoch=epoch, loss=lambda: self.mean("train_loss").item() if self.meters else self.rows[-1]["train_loss"])
        if progress:
            progress.close()

    def stopped(self, number, epoch, index):
        """The exception that ends a run after signal `number`; None: another rank had one."""
        kind, by = (KeyboardInterrupt, "Ctrl-C") if number == signal.SIGINT else (runtime.Stopped, "SIGTERM")
        return kind(f"{self.label} stopped by {by} in epoch {epoch} after step {index}; "
                    f"{'run again to go on' if self.out else 'nothing was saved: no folder was given'}")

    def descend(self, images, labels, active=None):
        """Forward and backward on one batch, and one step of the optimizer: on the active parameters, if given."""
        for loss, accuracy in zip(*self.backward(images, labels, active)):
            self.record(train_loss=loss, train_accuracy=accuracy)
        self.engine.mean_gradients(active or self.model.parameters())
        runtime.step_only(self.optimizer, active, self.scaler)

    def backward(self, images, labels, active=None):
        """Forward and backward on one batch, part by part: gradients of the weights. Returns losses and accuracies of the parts, (parts,) each."""
        losses, accuracies = [], []
        for x, y in self.engine.parts(images, labels):
            with self.half.instead_of(active or self.model.parameters()) if self.half else nullcontext():
                logits = self.engine.run(self.model, x)
                loss = F.cross_entropy(logits, y, label_smoothing=self.config.label_smoothing)
                part = loss / self.engine.accumulate
                (self.scaler.scale(part) if self.scaler else part).backward()
            losses.append(loss.detach())
            accuracies.append(rules.accuracy(logits.detach(), y))
        return torch.stack(losses), torch.stack(accuracies)

    def or_say_what_fits(self, step, *arguments):
        """step(*arguments). Raises runtime.OutOfMemory saying what would fit where it does not."""
        try:
            return step(*arguments)
        except RuntimeError as error:
            if not runtime.is_out_of_memory(error):
                raise
        # The failed step's tensors are gone only here, after its traceback.
        self.optimizer.zero_grad(set_to_none=True)
        raise runtime.OutOfMemory(self.what_fits())

    def what_fits(self):
        """How many images would fit into memory, from the activations that few of them keep."""
        engine, share = self.engine, self.config.batch_size // self.engine.ranks
        if engine.device.type == "cuda":
            torch.cuda.empty_cache()
        free, kept = runtime.free_memory(engine.device), self.kept_or_inf()
        fits = min(share // engine.accumulate - 1, int(0.8 * free / kept))
        if fits < 1:
            return f"out of memory on {engine.device}: not even two images fit; take a smaller network or recompute=True"
        parts = next((k for k in range(engine.accumulate + 1, share + 1) if self.can_cut(k) and share // k <= fits), None)
        return (f"out of memory in a step of {share // engine.accumulate} images on {engine.device} ({free / 1e9:.1f} GB free, "
                f"{kept / 1e6:.0f} MB an image); about {fits} would fit: give "
                f"{f'accumulate={parts} for the same batch in parts, or ' if parts else ''}a smaller batch size")

    def can_cut(self, parts):
        """Whether each rank could cut its share of every batch into so many parts."""
        return self.config.batch_size % (self.engine.ranks * parts) == 0

    def kept_or_inf(self):
        """kept_per_image(); infinite where not even its two images fit."""
        try:
            return self.kept_per_image()
        except RuntimeError as error:
            if not runtime.is_out_of_memory(error):
                raise
            return math.inf

    def evaluation_batch(self):
        """Images judged at once: as many as the ranks' parts of a batch have together, where batches are cut up to fit."""
        return min(250, self.config.batch_size // self.engine.accumulate) if self.engine.accumulate > 1 else 250

    def kept_per_image(self):
        """Bytes a step needs for one more image: what autograd keeps of it, half as much again for gradients on their way."""
        images = torch.zeros(2, *self.data.shape, device=self.device).to(memory_format=torch.channels_last)
        with self.engine.alone(self.model):  # other ranks may have had memory enough, and not be here
            return 1.5 / 2 * runtime.saved_bytes(lambda: self.engine.run(self.model, images), exclude=self.model.parameters())

    def check_finite(self, epoch, wait=False):
        """Raises FloatingPointError naming epoch and step if a loss is not finite, on any rank.

        What is on a GPU is asked now and answered in a later call, so that the host runs ahead; with `wait` everything is answered.
        """
        self.look()
        answered = [look for look in self.looks if wait or look[1].arrived()]
        self.looks = [look for look in self.looks if look not in answered]
        bad = next((where for which, finite in answered for where, good in zip(which, finite.values()) if not good), None)
        if self.engine.any(bad is not None):
            name, step = bad or ("a loss on another rank", self.done)
            kept = (f"the last checkpoint, {self.checkpoint}, is kept" if self.out and self.checkpoint.exists()
                    else "there is no checkpoint yet")
            raise FloatingPointError(f"{name} is not finite at epoch {epoch}, step {step - epoch * self.per_epoch} "
                                     f"({kept}); a smaller learning rate may help")

    def look(self):
        """Ask of each value recorded since the last look whether it is finite: `looks` gets (where, runtime.Later), one a device."""
        for device in {value.device for *_, value in self.fresh}:
            names, steps, values = zip(*(one for one in self.fresh if one[2].device == device))
            self.looks.append((list(zip(names, steps)), runtime.Later(torch.stack(values).isfinite())))
        self.fresh = []

    def check_weights(self, epoch):
        """Raises FloatingPointError if the last step has spoilt a weight, so that no such checkpoint is ever written."""
        weights = [p for group in self.optimizer.param_groups for p in group["params"]]
        if not torch.stack([p.detach().isfinite().all() for p in weights]).all().item():
            raise FloatingPointError(f"a weight is not finite after epoch {epoch}; a smaller learning rate may help")

    def history(self):
        """One row an epoch."""
        return pd.DataFrame(self.rows)

    # -- what survives the process ------------------------------------------------------------------------------------

    def state(self):
        raise TypeError(f"{type(self).__name__} has no state()")

    def save(self):
        """Average batch statistics over the ranks; then, given a folder, write a checkpoint on the first, with the means of meters."""
        self.engine.mean_statistics(self.model)
        if self.out is None:
            return
        meters = {name: {"steps": [step for step, _ in values], "values": self.engine.mean(torch.stack([value for _, value in values]))}
                  for name, values in self.meters.items()}
        if not self.engine.first:
            return
        runtime.save_checkpoint(self.checkpoint, {
            "identity": self.identity, "done": self.done, "seconds": self.seconds, "rows": self.rows, "meters": meters,
            "state": self.state(), **({"scaler": self.scaler.state_dict()} if self.scaler else {})})

    def resume(self):
        """Take up the newest good checkpoint in the folder, if there is one; the first rank reads for all."""
        saved = self.engine.from_first(self.read) if self.out is not None else None
        if saved is None:
            if self.engine.ranks > 1:
                weights = runtime.digest(*(p.detach() for p in self.model.parameters()))
                self.engine.same("the weights they start from", int(weights, 16))
            return
        self.done, self.seconds, self.rows = saved["done"], saved["seconds"], saved["rows"]
        device = self.engine.device
        self.meters = {name: list(zip(m["steps"], m["values"].to(device).unbind())) for name, m in saved["meters"].items()}
        self.load_state(saved["state"])
        if self.scaler and saved.get("scaler"):
            self.scaler.load_state_dict(saved["scaler"])
        if self.engine.first:
            print(f"{self.label}: going on after {self.done} of {self.epochs * self.per_epoch} steps, from {self.checkpoint}", flush=True)

    def read(self):
        """The checkpoint in the folder, or None. Raises ValueError for one of another run, OSError where none can be written."""
        runtime.check_writable(self.out)
        self.lock = runtime.lock(self.out)
        saved = runtime.load_checkpoint(self.checkpoint)
        if saved is not None:
            runtime.check_same(self.out, saved["identity"], self.identity)
        return saved


def cosine(lr, done, total):
    """Learning rate after `done` of `total` steps: from lr down to 0 along half a cosine."""
    return 0.5 * lr * (1 + math.cos(math.pi * done / total))


def sgd(parameters, config, device):
    """SGD with Nesterov momentum, as the paper trains all weights; one kernel for all of them on CUDA."""
    return torch.optim.SGD(parameters, lr=config.lr, momentum=config.momentum, nesterov=config.momentum > 0,
                           weight_decay=config.weight_decay, fused=device.type == "cuda" or None)


def evaluate(model, data, split, batch_size=250, engine=runtime.Engine()):
    """Top-1 accuracy of model on a split, without augmentation, in the model's present mode; a float in [0, 1]."""
    return accuracies(model, data, split, batch_size, engine)[0]


def accuracies(model, data, split, batch_size=250, engine=runtime.Engine()):
    """Top-1 and top-5 accuracy (top-k, where there are only k < 5 classes); each rank judges its share of the batches by itself."""
    with engine.alone(model):
        counts = correct(lambda images: engine.run(model, images), data, split, batch_size, engine.rank, engine.ranks)
    top1, top5, n = engine.sum(torch.tensor(counts)).tolist()
    return top1 / n, top5 / n
