"""What every check says: right, or a hint at the likely mistake. Nothing here raises."""

import math
from contextlib import contextmanager

_listening = []  # lists that take the verdicts of checks, for marks


@contextmanager
def verdicts():
    """Within it, the list of what checks decide, one for each line that they print: "right", "hinted", "wrong" or "none"."""
    _listening.append(heard := [])
    try:
        yield heard
    finally:
        _listening.pop()


def say(name, verdict, text):
    """Print one line of a check. Its verdict is "hinted" for a usual mistake and "none" where there is no answer."""
    print(f"{name}: {text}")
    for heard in _listening:
        heard.append(verdict)


def report(name, answer, wanted, hints, tolerance=1e-3, nearly="nearly; give more digits"):
    """Print whether the number `answer` is `wanted`, or the hint for the wrong number it equals; `nearly` for one within 2 %."""
    if answer is None:
        return say(name, "none", "no answer yet")
    value = number(answer)
    if value is None:
        return say(name, "wrong", f"a number is asked for, this is a {type(answer).__name__}")
    close = lambda other: math.isclose(value, other, rel_tol=tolerance, abs_tol=tolerance)  # noqa: E731
    if close(wanted):
        return say(name, "right", "right")
    counts = isinstance(answer, int) and isinstance(wanted, int)  # integers have no further digits
    within = math.isclose(value, wanted, rel_tol=0.02) and not counts
    hint = next((hint for wrong, hint in hints.items() if close(wrong)), nearly if within else None)
    say(name, "hinted" if hint else "wrong", hint or "not yet; read the text above once more")


def number(answer):
    """The answer as a float; an integer too large for one is infinite; None for anything but a number."""
    try:
        return float(answer)
    except OverflowError:
        return math.inf
    except Exception:  # the reader's object may raise anything
        return None
