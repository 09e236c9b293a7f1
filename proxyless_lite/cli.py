"""What the command lines share: every error is one line."""

import argparse
import signal
import sys

from . import runtime


class OneLineParser(argparse.ArgumentParser):
    """Says what is wrong with the arguments in one line, without the usage before it."""

    def error(self, message):
        self.exit(2, f"error: {message}; see --help\n")


def one_line(error):
    """What to say of an error at the end of a run; str of a KeyError would put its message in quotes."""
    return f"error: {error.args[0] if isinstance(error, KeyError) else str(error) or type(error).__name__}"


def run(main):
    """main() of a command: its errors, Ctrl-C and SIGTERM end in one line."""
    try:
        main()
    except (KeyboardInterrupt, runtime.Stopped) as stop:
        print(str(stop) or "stopped; the same command goes on from here, or begins again", file=sys.stderr)
        sys.exit(getattr(stop, "code", 128 + signal.SIGINT))
    except (ValueError, KeyError, OSError, FloatingPointError, MemoryError, runtime.LostRank) as error:
        sys.exit(one_line(error))
