"""Code that a student writes against the package's, number by number, on fresh random inputs. Nothing here raises."""

import torch

from .answers import say


def compare(name, written, right, draw, mistakes, times=3, tolerance=1e-6):
    """Print whether the function `written` gives what `right` does on the inputs of `draw()`, a tuple, or the hint for a usual mistake.

    `mistakes` are pairs: a hint, and a function of the same inputs that makes the mistake. A hint is given where its function
    agrees with `written` on all draws. A function that returns None has not been written yet. Results are tensors, numbers, or
    tuples of these; they are compared in float64.
    """
    if written is None:
        return say(name, "none", "no answer yet")
    inputs = [draw() for _ in range(times)]
    try:
        given = [written(*copied(each)) for each in inputs]
    except Exception as error:  # the student's code may raise anything
        return say(name, "wrong", f"your code raised {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}".rstrip(": "))
    if all(each is None for each in given):
        return say(name, "none", "no answer yet")
    asked = [right(*copied(each)) for each in inputs]
    values, wanted = [numbers(each) for each in given], [numbers(each) for each in asked]
    for value, other in zip(values, wanted):
        if value is None:
            return say(name, "wrong", f"a tensor or a number is asked for, this is a {type(given[0]).__name__}")
        if isinstance(asked[0], tuple) and not isinstance(given[0], (tuple, list)):
            return say(name, "wrong", f"{len(asked[0])} results are asked for, with a comma between them; this is one, of {shape(value)}")
        if value.shape != other.shape:
            return say(name, "wrong", f"{shape(other)} is asked for, this is {shape(value)}")
    if agree(values, wanted, tolerance):
        return say(name, "right", "right")
    hint = next((hint for hint, wrong in mistakes if agree(values, [numbers(wrong(*copied(each))) for each in inputs], tolerance)), None)
    apart = max((value - other).abs().max().item() for value, other in zip(values, wanted))
    say(name, "hinted" if hint else "wrong", hint or f'not yet; it differs from the right one by {apart:.3g} at most')


def copied(inputs):
    """The inputs with tensors of their own, so that nothing written to them stays."""
    return [each.detach().clone().requires_grad_(each.requires_grad) if isinstance(each, torch.Tensor) else each for each in inputs]


def numbers(value):
    """A result as one float64 tensor: several ones stacked, or flat where their shapes differ; None for anything but tensors and numbers."""
    if isinstance(value, (tuple, list)):
        parts = [numbers(each) for each in value]
        if not parts or any(part is None for part in parts):
            return None if parts else torch.zeros(0)
        return torch.stack(parts) if len({part.shape for part in parts}) == 1 else torch.cat([part.flatten() for part in parts])
    try:
        return torch.as_tensor(value).detach().double()
    except Exception:  # whatever the student returns
        return None


def agree(values, others, tolerance):
    """Whether all pairs are equal up to the tolerance."""
    return all(b is not None and a.shape == b.shape and torch.allclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True)
               for a, b in zip(values, others))


def shape(value):
    return f"shape {tuple(value.shape)}" if value.dim() else "a single number"
