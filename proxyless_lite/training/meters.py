"""Means of the steps' metrics, and a stop at the first value that is not finite, without waiting for the device."""

import math

import torch

from .. import runtime


class Meters:
    """Scalars of the steps of one epoch; their means become a row of history. `record` does not wait for the device, and
    `not_finite` only when asked to."""

    def __init__(self, engine):
        self.engine = engine
        self.values = {}                  # name -> [(step, scalar tensor)]
        self.fresh, self.looks = [], []   # values not checked yet; checks in flight

    def record(self, step, prefix, metrics):
        """Note scalar tensors of a step, under prefix + name."""
        for name, value in metrics.items():
            self.values.setdefault(prefix + name, []).append((step, value.detach()))
            self.fresh.append((prefix + name, step, value.detach()))

    def mean(self, name):
        """Mean of a meter so far, on this rank; NaN if nothing was recorded. A scalar tensor (float64)."""
        values = self.values.get(name)
        return stacked(values).double().mean() if values else torch.tensor(math.nan, dtype=torch.float64)

    def means(self, names):
        """Mean of each meter so far, over all ranks: a dict of floats."""
        return dict(zip(names, self.engine.mean(torch.stack(runtime.fetch(*map(self.mean, names)))).tolist()))

    def clear(self):
        """Start a new epoch."""
        self.values = {}

    def not_finite(self, wait=False):
        """(name, step) of a value that is not finite, ("a loss on another rank", None), or None.

        Values on a GPU are checked now and answered in a later call, so that the host runs ahead; `wait` answers everything.
        """
        self.look()
        answered = [look for look in self.looks if wait or look[1].arrived()]
        self.looks = [look for look in self.looks if look not in answered]
        bad = next((where for which, finite in answered for where, good in zip(which, finite.values()) if not good), None)
        if self.engine.any(bad is not None):
            return bad or ("a loss on another rank", None)

    def look(self):
        """Check whether values recorded since the last look are finite: `looks` gets (where, runtime.Later), one per device."""
        for device in {value.device for *_, value in self.fresh}:
            names, steps, values = zip(*(one for one in self.fresh if one[2].device == device))
            self.looks.append((list(zip(names, steps)), runtime.Later(torch.stack(values).isfinite())))
        self.fresh = []

    def state_dict(self):
        """Means over the ranks of every value of this epoch."""
        return {name: {"steps": [step for step, _ in values], "values": self.engine.mean(stacked(values))}
                for name, values in self.values.items()}

    def load_state_dict(self, state):
        device = self.engine.device
        self.values = {name: list(zip(m["steps"], m["values"].to(device).unbind())) for name, m in state.items()}


def stacked(values):
    """The scalars of (step, scalar) as a tensor, where the last one is: after a resume the first may be on another device."""
    return torch.stack([value.to(values[-1][1].device) for _, value in values])
