"""What the command lines share: every error is one line."""

import argparse
import sys


class OneLineParser(argparse.ArgumentParser):
    """Says what is wrong with the arguments in one line, without the usage before it."""

    def error(self, message):
        self.exit(2, f"error: {message}; see --help\n")


def one_line(error):
    """What to say of an error at the end of a run; str of a KeyError would put its message in quotes."""
    return f"error: {error.args[0] if isinstance(error, KeyError) else error}"


def run(main):
    """main() of a command that goes on where it was stopped: its errors and Ctrl-C end in one line."""
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on from here")
    except (ValueError, KeyError, OSError) as error:
        sys.exit(one_line(error))
