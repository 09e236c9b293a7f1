"""A resumable training loop: checkpoints, SIGTERM and Ctrl-C, a stop at the first loss that is not finite."""

import logging
import math
import signal
import time
from pathlib import Path

import pandas as pd
import torch

from .. import runtime
from .meters import Meters

log = logging.getLogger(__name__)
CHECK_EVERY = 10  # steps between two looks at the losses; a look waits for the device


class Loop:
    """`epochs` × `steps_per_epoch` steps of a `task`, resumable from folder `out` (None: nothing is written), on one rank or several.

    The task, a Search or a Training, has `step(epoch, index)`, which does one step; `end_epoch(epoch)`, which returns the rest of
    the epoch's row of history; `model`, whose batch statistics the ranks share; `optimizer`; `config.seed`; and `state_dict` and
    `load_state_dict` for all that steps change; `what_fits()` says what would fit into memory. `identity` must match a folder for
    it to be resumed; the number of ranks is not part of it.
    """

    def __init__(self, task, label, epochs, steps_per_epoch, out, engine, identity):
        self.task, self.label, self.epochs, self.steps_per_epoch, self.engine = task, label, epochs, steps_per_epoch, engine
        self.out = Path(out) if out is not None else None
        self.identity = {"run": type(task).__name__, "epochs": epochs, "steps an epoch": steps_per_epoch, **identity}
        self.done, self.seconds, self.rows, self.meters = 0, 0.0, [], Meters(engine)
        self.lock = None  # held while the loop runs, on the first rank

    @property
    def total(self):
        """Number of steps of the whole run."""
        return self.epochs * self.steps_per_epoch

    @property
    def checkpoint(self):
        return self.out / "checkpoint.pt"

    def record(self, prefix, metrics):
        """Note scalar tensors of the present step; their means become the epoch's row. Does not wait for the device."""
        self.meters.record(self.done, prefix, metrics)

    def run(self):
        """Run all remaining steps.

        Raises runtime.Stopped after SIGTERM and KeyboardInterrupt after Ctrl-C, both once the present step is done and saved.
        FloatingPointError for a loss that is not finite; runtime.OutOfMemory; runtime.LostRank when another rank is gone.
        ValueError for a folder of another configuration, OSError for one that cannot be written to or is in use.
        """
        try:
            self.resume()
            runtime.reset_peak_memory(self.engine.device)
            self.go_on()
        finally:
            if self.lock:
                self.lock.close()

    def go_on(self):
        """All steps from `done` on."""
        began = time.monotonic() - self.seconds
        progress = runtime.Progress(self.total, self.done, self.label) if self.engine.is_main else None
        with runtime.stop_flag() as stopping:
            while self.done < self.total:
                epoch, index = divmod(self.done, self.steps_per_epoch)
                # What dropout and DropPath draw is a function of seed, rank and step: there is nothing to save.
                torch.manual_seed(runtime.seed(self.task.config.seed, self.engine.rank, self.done))
                self.within_memory(self.task.step, epoch, index)
                last = index + 1 == self.steps_per_epoch
                stop = self.engine.any(stopping() is not None)
                if last or stop or index % CHECK_EVERY == 0:
                    self.check_finite(epoch, wait=last or stop)
                self.seconds = time.monotonic() - began
                if last:
                    self.end_epoch(epoch)
                self.done += 1
                if last or stop:
                    self.check_weights(epoch)
                    self.save()
                if stop:  # even after the last step: a search would go on with its choice
                    raise self.stopped(stopping(), epoch, index)
                if progress:
                    progress.step(epoch=epoch, loss=self.last_loss)
        if progress:
            progress.close()

    def end_epoch(self, epoch):
        """Add the epoch's row of history."""
        self.rows.append({"epoch": epoch, **self.within_memory(self.task.end_epoch, epoch), "seconds": self.seconds,
                          "memory": runtime.peak_memory(self.engine.device)})
        self.meters.clear()

    def within_memory(self, work, *arguments):
        """work(*arguments). Raises runtime.OutOfMemory saying what would fit where it does not."""
        try:
            return work(*arguments)
        except RuntimeError as error:
            if not runtime.is_out_of_memory(error):
                raise
        # The failed step's tensors are freed only here, after its traceback.
        self.task.optimizer.zero_grad(set_to_none=True)
        raise runtime.OutOfMemory(self.task.what_fits())

    def last_loss(self):
        return self.meters.mean("train_loss").item() if self.meters.values else self.rows[-1]["train_loss"]

    def stopped(self, number, epoch, index):
        """The exception that ends a run after signal `number`; None: another rank had one."""
        kind, by = (KeyboardInterrupt, "Ctrl-C") if number == signal.SIGINT else (runtime.Stopped, "SIGTERM")
        return kind(f"{self.label} stopped by {by} in epoch {epoch} after step {index}; "
                    f"{'run again to resume' if self.out else 'nothing was saved: no folder was given'}")

    def check_finite(self, epoch, wait=False):
        """Raises FloatingPointError naming epoch and step if a loss is not finite, on any rank (see Meters.not_finite)."""
        if bad := self.meters.not_finite(wait):
            name, step = bad[0], self.done if bad[1] is None else bad[1]
            kept = (f"the last checkpoint, {self.checkpoint}, is kept" if self.out and self.checkpoint.exists()
                    else "there is no checkpoint yet")
            raise FloatingPointError(f"{name} is not finite at epoch {epoch}, step {step - epoch * self.steps_per_epoch} "
                                     f"({kept}); a smaller learning rate may help")

    def check_weights(self, epoch):
        """Raises FloatingPointError if a weight is not finite, so that no such checkpoint is ever written."""
        weights = [p for group in self.task.optimizer.param_groups for p in group["params"]]
        if not torch.stack([p.detach().isfinite().all() for p in weights]).all().item():
            raise FloatingPointError(f"a weight is not finite after epoch {epoch}; a smaller learning rate may help")

    def history(self):
        """One row per epoch."""
        return pd.DataFrame(self.rows)

    # -- what survives the process ------------------------------------------------------------------------------------

    def save(self):
        """Average batch statistics over the ranks; then, given a folder, write a checkpoint on the first, with the means of meters."""
        self.engine.mean_statistics(self.task.model)
        if self.out is None:
            return
        meters = self.meters.state_dict()
        if self.engine.is_main:
            runtime.save_checkpoint(self.checkpoint, {
                "identity": self.identity, "done": self.done, "seconds": self.seconds, "rows": self.rows, "meters": meters,
                "state": self.task.state_dict()})

    def resume(self):
        """Resume from the newest good checkpoint in the folder, if any; the first rank reads for all."""
        saved = self.engine.from_first(self.read) if self.out is not None else None
        if saved is None:
            if self.engine.world_size > 1:
                weights = runtime.digest(*(p.detach() for p in self.task.model.parameters()))
                self.engine.assert_same_across_ranks("the weights they start from", lambda: weights)
            return
        self.done, self.seconds, self.rows = saved["done"], saved["seconds"], saved["rows"]
        self.meters.load_state_dict(saved["meters"])
        self.task.load_state_dict(saved["state"])
        if self.engine.is_main:
            log.info(f"{self.label}: resuming after {self.done} of {self.total} steps, from {self.checkpoint}")

    def read(self):
        """The checkpoint in the folder, or None. Raises ValueError for one of another run, OSError if none can be written."""
        runtime.check_writable(self.out)
        self.lock = runtime.lock(self.out)
        saved = runtime.load_checkpoint(self.checkpoint)
        if saved is not None:
            runtime.check_same(self.out, saved["identity"], self.identity)
        return saved


def cosine(lr, done, total, rise=0.0):
    """Learning rate after `done` of `total` steps: up to lr in the share `rise` of them, then down to 0 along half a cosine."""
    peak = rise * total
    if done < peak:
        return lr * (done + 1) / (peak + 1)
    return 0.5 * lr * (1 + math.cos(math.pi * (done - peak) / (total - peak)))


def sgd(parameters, config, device):
    """SGD with Nesterov momentum, as the paper trains all weights; one kernel for all of them on CUDA."""
    return torch.optim.SGD(parameters, lr=config.lr, momentum=config.momentum, nesterov=config.momentum > 0,
                           weight_decay=config.weight_decay, fused=device.type == "cuda" or None)
