"""What the command lines share: every error is one line."""

import argparse
import signal
import sys

from .engine import LostRank
from .progress import Stopped


class OneLineParser(argparse.ArgumentParser):
    """Reports wrong arguments in one line, without the usage."""

    def error(self, message):
        self.exit(2, f"error: {message}; see --help\n")


def positive(text):
    """The type of an argument: a whole number from 1 up."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{number} is below 1")
    return number


def one_line(error):
    """The line for an error that ends a run; str of a KeyError would quote its message."""
    return f"error: {error.args[0] if isinstance(error, KeyError) else str(error) or type(error).__name__}"


def run(main):
    """main() of a command: its errors, Ctrl-C and SIGTERM end in one line, and no character that the output lacks ends it."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        main()
    except (KeyboardInterrupt, Stopped) as stop:
        print(str(stop) or "stopped; run the command again to resume, or to start over where it keeps no checkpoint", file=sys.stderr)
        sys.exit(getattr(stop, "code", 128 + signal.SIGINT))
    except (ValueError, KeyError, OSError, ImportError, FloatingPointError, MemoryError, LostRank) as error:
        sys.last_value = error  # other ranks must notice that this one did not end well (see watch)
        sys.exit(one_line(error))
