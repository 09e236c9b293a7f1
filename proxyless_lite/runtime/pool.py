"""Single-threaded processes that share a list of tasks."""

import logging
import os
from itertools import islice
from multiprocessing import connection, get_context, parent_process
from textwrap import shorten
from threading import Thread

import torch

log = logging.getLogger("proxyless_lite")


def pool(start, tasks, workers):
    """Yields the rows of all `tasks` as `workers` processes finish them; the workers end with this process in any case.

    Each process calls `start()` once, and the function that it returns on every task: its rows, in a list or
    from a generator, are any values but None. What workers log is logged here. Raises what a task raises, ValueError for fewer
    than one worker, ChildProcessError when one dies.
    """
    if workers < 1:
        raise ValueError(f"workers={workers}: at least 1 process is needed")
    context, tasks, busy = get_context("spawn"), iter(tasks), {}
    for task in islice(tasks, workers):
        pipe, theirs = context.Pipe()
        context.Process(target=work, args=(start, theirs), daemon=True).start()
        theirs.close()
        pipe.send(task)
        busy[pipe] = task
    while busy:
        for pipe in connection.wait(busy):
            try:
                row = pipe.recv()
            except EOFError:
                raise ChildProcessError(f"the worker that did {shorten(str(busy[pipe]), 80)} died; run the command again to resume") from None
            if isinstance(row, Exception):
                raise row from ChildProcessError(f"in the worker that did {shorten(str(busy[pipe]), 80)}")
            if isinstance(row, logging.LogRecord):
                log.handle(row)
                continue
            if row is not None:
                yield row
                continue
            busy[pipe] = next(tasks, None)
            if busy[pipe] is None:
                del busy[pipe]
                pipe.close()
            else:
                pipe.send(busy[pipe])


def work(start, pipe):
    """What a worker does: the tasks that come through the pipe, until its other end is gone."""
    Thread(target=end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    log.handlers = [Forward(pipe)]
    try:
        do = start()
        while True:
            for row in do(pipe.recv()):
                pipe.send(row)
            pipe.send(None)
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        return
    except Exception as error:
        pipe.send(error)


class Forward(logging.Handler):
    """Sends what a worker logs to the parent: a notebook shows only what its own process prints."""

    def __init__(self, pipe):
        super().__init__()
        self.pipe = pipe

    def emit(self, record):
        record.msg, record.args = record.getMessage(), None
        self.pipe.send(record)


def end_with_parent():
    """Otherwise a long task would survive its killed parent, and keep its folder from the next worker."""
    parent_process().join()
    os._exit(1)
