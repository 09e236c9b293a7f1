"""Progress of a run, and requests to stop it."""

import io
import logging
import signal
import sys
import threading
import time
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from multiprocessing import parent_process

from tqdm import tqdm

log = logging.getLogger("proxyless_lite")


class Console(logging.Handler):
    """Prints every record to the current sys.stdout, so that notebooks, redirect_stdout and pytest receive it."""

    def emit(self, record):
        text = self.format(record)
        try:
            print(text, flush=True)
        except UnicodeEncodeError:  # a log that takes only ASCII must not end a run
            print(text.encode("ascii", "backslashreplace").decode(), flush=True)


def log_to_console():
    """Show the package's log, from INFO on. A level or a handler that the caller has set is kept.

    logging.getLogger("proxyless_lite").setLevel("WARNING") silences progress, before or after the import.
    """
    if log.level == logging.NOTSET:
        log.setLevel(logging.INFO)
    if not log.handlers:
        log.addHandler(Console())
        log.propagate = False  # else a root handler would show every line again


class Stopped(SystemExit):
    """A run ended by SIGTERM after its checkpoint was written; the exit status is the shell's for that signal."""

    def __init__(self, message):
        super().__init__(128 + signal.SIGTERM)
        self.message = message

    def __str__(self):
        return self.message


@contextmanager
def stop_flag():
    """Yields a function that returns the signal received since, SIGTERM or SIGINT (Ctrl-C), or None.

    Without it the signal would end the process at once, as a second Ctrl-C still does. A caller's own handler for Ctrl-C
    is kept.
    """
    received, before = [], {}

    def note(number, _):
        if number == signal.SIGINT and number in received:
            raise KeyboardInterrupt
        received.append(number)

    if threading.current_thread() is threading.main_thread():  # no other thread may install handlers
        before[signal.SIGTERM] = signal.signal(signal.SIGTERM, note)
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            before[signal.SIGINT] = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: received[0] if received else None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Progress:
    """A bar in a terminal; elsewhere (notebook, log file) at most about ten plain lines, each with the time left.

    Neither appears where the logger "proxyless_lite" is set above INFO.
    """

    def __init__(self, total, done=0, label=""):
        self.total, self.done, self.first, self.label = total, done, done, label
        self.began = self.shown = time.monotonic()
        in_terminal = sys.stderr.isatty() and log.isEnabledFor(logging.INFO) and not parent_process()  # workers would draw over each other
        self.bar = tqdm(total=total, initial=done, desc=label) if in_terminal else None

    def step(self, **numbers):
        """Count one finished step. `numbers` are shown next to it; they may be functions, called only when shown."""
        self.done += 1
        if self.bar is not None:
            self.bar.update()
        now = time.monotonic()
        due = self.done * 10 // self.total > (self.done - 1) * 10 // self.total and now - self.shown > 2
        if due or self.done == self.total:
            self.show(now, {k: v() if callable(v) else v for k, v in numbers.items()})

    def show(self, now, numbers):
        self.shown = now
        shown = "".join(f", {k} {v:.3g}" for k, v in numbers.items())
        if self.bar is not None:
            self.bar.set_postfix_str(shown.removeprefix(", "))
            return
        left = (now - self.began) / (self.done - self.first) * (self.total - self.done)
        log.info("%s %3d %%%s, %s left", self.label, 100 * self.done // self.total, shown, clock(left))

    def close(self):
        if self.bar is not None:
            self.bar.close()


@contextmanager
def silently():
    """A context in which nothing is printed or logged, not even a terminal's bar on stderr."""
    before = log.handlers, log.propagate
    log.handlers, log.propagate = [logging.NullHandler()], False
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            yield
    finally:
        log.handlers, log.propagate = before


def clock(seconds):
    """Seconds in readable form: 42 s, 3 min, 2.5 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


log_to_console()
