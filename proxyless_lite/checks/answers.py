"""What every check says: right, or the hint that names the likely mistake. Nothing here raises."""

import math


def report(name, answer, wanted, hints, tolerance=1e-3):
    """Print whether the number `answer` is `wanted`, or the hint beside the wrong number it equals."""
    if answer is None:
        return print(f"{name}: no answer yet")
    try:
        value = float(answer)
    except (TypeError, ValueError):
        return print(f"{name}: {answer!r} is no number")
    close = lambda other: math.isclose(value, other, rel_tol=tolerance, abs_tol=tolerance)  # noqa: E731
    if close(wanted):
        return print(f"{name}: right")
    hint = next((hint for wrong, hint in hints.items() if close(wrong)), "not yet; read the text above once more")
    print(f"{name}: {hint}")
