"""A small search on several ranks, started by torchrun; in a file of its own so that torchrun can start it.

    torchrun --nproc-per-node 2 tests/rank_runs.py OUT [fault]
"""

import os
import sys
import time
from pathlib import Path

import torch

import cpu_sync
import proxyless_lite as pl
from proxyless_lite import runtime

FEW = dict(epochs=1, warmup_epochs=0, batch_size=32, alpha_batch_size=32, alpha_every=2, alpha_lr=0.05, lr=0.05, warmup_lr=0.05)


def search(out, rule="combined", engine=None, seed=7, **settings):
    torch.manual_seed(seed)
    space = pl.spaces.chain(edges=3, width=4, input_size=8, candidates=("MB3 3x3", "MB3 5x5", "Zero"))
    data = pl.data.load("digits", limit=320)
    return pl.Search(pl.SuperNet(space), data, pl.rules.BY_NAME[rule](), pl.SearchConfig(**FEW | settings), out,
                     engine or runtime.engine("cpu", sync_batch_norm=True))


def faulty(found, fault, rank):
    """Let rank 1 do what a broken machine does, in the middle of the epoch."""
    step = found.step

    def broken(epoch, index):
        if rank == 0 and found.loop.done == 5 and "waits" in fault:
            time.sleep(600)  # as for a collective of NCCL that rank 1 never joins
        if rank == 1 and found.loop.done == 5:
            if fault.startswith("die"):
                time.sleep(2 * ("waits" in fault))
                os.kill(os.getpid(), 9)
            if fault == "memory":
                raise torch.OutOfMemoryError("CUDA out of memory.")
            if fault == "astray":
                found.net.set_alpha(torch.tensor([[50.0, 0, 0], [0, 50, 0], [0, 0, 50]]))
            if fault == "term":
                os.kill(os.getpid(), 15)
        step(epoch, index)
        time.sleep(0.02)
    found.step = broken


def main():
    torch.set_num_threads(1)
    cpu_sync.install()
    out, fault = Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else ""
    engine = runtime.engine("cpu", sync_batch_norm=True, activation_checkpointing=True)  # changes nothing: one rank without it must end alike
    found = search(out, engine=engine, seed=7 + (fault == "weights") * engine.rank)
    faulty(found, fault, engine.rank)
    try:
        result = found.run()
    except (runtime.LostRank, runtime.Stopped, runtime.OutOfMemory) as error:
        print(f"rank {engine.rank} says: {error}", flush=True)
        sys.exit(3)
    torch.save({"net": found.net.state_dict(), "history": result.history["train_loss"].tolist()}, out / f"end{engine.rank}.pt")
    engine.close()


if __name__ == "__main__":
    main()
