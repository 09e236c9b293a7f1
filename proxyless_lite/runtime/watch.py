"""Ranks watch each other, so that a dead one ends the others even while they wait for a GPU.

An NCCL collective that another rank never joins raises no error: the host waits for the device forever. So a thread of each
rank keeps meeting those of the others over the network (gloo), and notices there.
"""

import atexit
import os
import sys
import time
from threading import Event, Thread

import torch
from torch import distributed

BEAT = 1.0    # seconds between two meetings
GRACE = 20.0  # seconds that the main thread has to end by itself


class Watch:
    """Ends this process when another rank is gone: `message(error)` goes to stderr, the exit status is 1.

    Set `known` when the main thread has noticed by itself. Made by all ranks together, after the process group.
    """

    def __init__(self, patience, message):
        self.known, self._closing = Event(), Event()
        self._message, self._others_close = message, False
        self._group = distributed.new_group(backend="gloo", timeout=patience)
        self._thread = Thread(target=self._meet, daemon=True)
        self._thread.start()
        atexit.register(self._leave)

    def close(self):
        """Say goodbye, so that the others do not mistake the end of this process for a crash."""
        self._closing.set()
        self._thread.join(5 * BEAT)

    def _leave(self):
        if not hasattr(sys, "last_value"):  # else this process dies of an error, and the others must notice
            self.close()

    def _meet(self):
        try:
            while True:
                closing = torch.tensor(int(self._closing.is_set()))
                own = bool(closing)
                distributed.all_reduce(closing, group=self._group)
                self._others_close = self._others_close or closing > own
                if own:
                    return
                time.sleep(BEAT)
        except RuntimeError as error:
            if not self._others_close and not self.known.wait(GRACE):
                print(self._message(error), file=sys.stderr, flush=True)
                os._exit(1)
