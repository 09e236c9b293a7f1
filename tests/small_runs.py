"""A small search that tests start, stop and kill; in a file of its own so that another process can import it."""

import time
from pathlib import Path

import torch
from torch import nn

import proxyless_lite as pl

FEW = dict(epochs=8, warmup_epochs=1, batch_size=256, alpha_batch_size=64, alpha_every=1, alpha_lr=0.05, lr=0.05, warmup_lr=0.05)


def with_dropout(name, in_channels, out_channels, stride):
    """MB3 3x3 followed by dropout, which draws from PyTorch's global generator."""
    if name == "Zero":
        return pl.ops.Zero()
    return nn.Sequential(pl.ops.build(name, in_channels, out_channels, stride), nn.Dropout(0.1))


def small_search(out, rule=None, engine="cpu", **settings):
    torch.manual_seed(7)
    space = pl.spaces.chain(edges=2, width=4, input_size=8, candidates=("MB3 3x3", "MB3 5x5", "Zero"), make=with_dropout)
    rule = rule or pl.rules.Combined(pl.rules.TwoPath(), pl.rules.Reinforce(samples=2))
    return pl.Search(pl.SuperNet(space), pl.data.load("digits"), rule, pl.SearchConfig(**FEW | settings), out, engine)


def run_to_the_end(out, started=None, slow=0.0):
    """Run or resume the search in folder `out`; at its end write everything that must not depend on interruptions."""
    torch.set_num_threads(1)
    search = small_search(out)
    if slow:
        step = search.step
        search.step = lambda *where: (time.sleep(slow), step(*where))
    if started is not None:
        started.set()
    result = search.run()
    torch.save(everything(search, result), Path(out) / "end.pt")


def everything(search, result):
    """All that must be the same, bit for bit, however often the run was killed."""
    history = result.history.drop(columns=["seconds", "memory"])
    return {"state": search.state_dict(), "choices": result.architecture.choices,
            "probabilities": [torch.from_numpy(p) for p in history.pop("probabilities")], "history": history.to_dict("list")}
