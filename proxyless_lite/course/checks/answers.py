"""What every check says: right, or a hint at the likely mistake. Nothing here raises."""

import math


def report(name, answer, wanted, hints, tolerance=1e-3):
    """Print whether the number `answer` is `wanted`, or the hint for the wrong number it equals."""
    if answer is None:
        return print(f"{name}: no answer yet")
    value = number(answer)
    if value is None:
        return print(f"{name}: a number is asked for, this is a {type(answer).__name__}")
    close = lambda other: math.isclose(value, other, rel_tol=tolerance, abs_tol=tolerance)  # noqa: E731
    if close(wanted):
        return print(f"{name}: right")
    counts = isinstance(answer, int) and isinstance(wanted, int)  # integers have no further digits
    nearly = math.isclose(value, wanted, rel_tol=0.02) and not counts
    usual = "nearly; give more digits" if nearly else "not yet; read the text above once more"
    print(f"{name}: {next((hint for wrong, hint in hints.items() if close(wrong)), usual)}")


def number(answer):
    """The answer as a float; an integer too large for one is infinite; None for anything but a number."""
    try:
        return float(answer)
    except OverflowError:
        return math.inf
    except Exception:  # the reader's object may raise anything
        return None
