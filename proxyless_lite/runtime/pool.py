"""Single-threaded processes that share a list of tasks."""

import logging
import os
import pickle
import signal
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from multiprocessing import connection, get_context, parent_process
from textwrap import shorten
from threading import Thread

import torch

from .machine import keep_freed_memory

log = logging.getLogger("proxyless_lite")
GONE = EOFError, ConnectionError  # the other end of a pipe
GRACE = 60  # seconds that a worker has to save its work once its parent is gone


def pool(start, tasks, workers):
    """Yields the rows of all `tasks` as `workers` processes finish them; the workers end with this process in any case.

    Each process calls `start()` once, and the function that it returns on every task: its rows, in a list or
    from a generator, are any values but None. What workers log is logged here. Raises what a task raises, ValueError for fewer
    than one worker, ChildProcessError when one dies. Then and at a signal the others are asked to save and end.
    """
    if workers < 1:
        raise ValueError(f"workers={workers}: at least 1 process is needed")
    tasks, processes, busy = iter(tasks), [], {}
    try:
        for task in islice(tasks, workers):
            pipe, process = started()
            processes.append(process)
            busy[pipe] = task
        for pipe in busy:
            send(pipe, start)  # not as an argument: a process would keep the copy, data included, as long as it lives
            send(pipe, busy[pipe])
        while busy:
            for pipe in connection.wait(busy):
                row = pickle.loads(pipe.recv_bytes())
                if isinstance(row, logging.LogRecord):
                    if log.isEnabledFor(row.levelno):
                        log.handle(row)
                elif isinstance(row, Failure):
                    raise row.error from ChildProcessError(f"in the worker that did {brief(busy[pipe])}:\n{row.trace}")
                elif row is not None:
                    yield row
                elif (task := next(tasks, None)) is None:
                    del busy[pipe]
                    pipe.close()
                else:
                    busy[pipe] = task
                    send(pipe, task)
    except GONE:
        raise ChildProcessError(f"the worker that did {brief(busy[pipe])} died; run again to resume from what was saved") from None
    finally:
        for pipe in busy:
            pipe.close()
        for process in processes:
            process.terminate()  # a Loop saves first
        for process in processes:
            process.join()


def started():
    """A new worker: the pipe to it, and its process."""
    context = get_context("spawn")
    pipe, theirs = context.Pipe()
    process = context.Process(target=work, args=(theirs,), daemon=True)
    process.start()
    theirs.close()
    return pipe, process


def send(pipe, value):
    """Send a copy: multiprocessing's own way would share the memory of tensors, and keep a file open for each."""
    pipe.send_bytes(pickle.dumps(value))


def brief(task):
    return shorten(str(task), 80)


@dataclass
class Failure:
    """What a task raised, and where."""

    error: Exception
    trace: str

    @classmethod
    def of(cls, error):
        """The present exception; in words if it cannot be pickled."""
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            error = RuntimeError(repr(error))
        return cls(error, traceback.format_exc())


class Forward(logging.Handler):
    """Sends what a worker logs to the parent: a notebook shows only what its own process prints."""

    def __init__(self, pipe):
        super().__init__()
        self.pipe = pipe

    def emit(self, record):
        record.msg, record.args, record.exc_info = self.format(record), None, None
        send(self.pipe, record)


def work(pipe):
    """What a worker does: what comes through the pipe, first `start` and then tasks, until its other end is gone."""
    Thread(target=end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    keep_freed_memory()
    log.handlers = [Forward(pipe)]
    with suppress(*GONE, KeyboardInterrupt):
        try:
            do = pickle.loads(pipe.recv_bytes())()
            while True:
                for row in do(pickle.loads(pipe.recv_bytes())):
                    send(pipe, row)
                send(pipe, None)
        except GONE:
            raise
        except Exception as error:
            send(pipe, Failure.of(error))


def end_with_parent():
    """Otherwise a long task would survive its killed parent, and keep its folder from the next worker."""
    parent_process().join()
    os.kill(os.getpid(), signal.SIGTERM)  # a Loop saves and ends
    time.sleep(GRACE)
    os._exit(1)
