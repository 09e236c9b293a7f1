"""Code of students against the package's: right, usual mistakes, and whatever else they may write."""

import pytest
import torch

from proxyless_lite.course.checks.written import compare

MISTAKES = [("divide by the sum", lambda a: a.exp()), ("over the candidates, not over the edges", lambda a: a.softmax(0))]


def draw():
    return (torch.randn(3, 4),)


def said(capsys, written, **settings):
    compare("p", written, lambda a: a.softmax(1), draw, MISTAKES, **settings)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    return lines[0]


def raises(a):
    raise RuntimeError("first\nsecond")


@pytest.mark.parametrize("written, told", [
    (None, "no answer yet"), (lambda a: None, "no answer yet"), (lambda a: a.softmax(1), "right"),
    (lambda a: (a.double() - 3).softmax(1).numpy(), "right"), (lambda a: a.softmax(1).tolist(), "right"),
    (lambda a: a.softmax(1).flatten().tolist(), "shape (3, 4) is asked for, this is shape (12,)"),
    (lambda a: a.exp(), "divide by the sum"), (lambda a: a.softmax(0), "over the candidates, not over the edges"),
    (lambda a: a[:2], "shape (3, 4) is asked for, this is shape (2, 4)"), (lambda a: 0.5, "shape (3, 4) is asked for, this is a single number"),
    (lambda a: "x", "a tensor or a number is asked for, this is a str"), (lambda a: object(), "a tensor or a number is asked for, this is a object"),
    (raises, "your code raised RuntimeError: first"), (lambda: 1, "your code raised TypeError: <lambda>() takes 0 positional arguments but 1 was given"),
    (lambda a: a.softmax(1) + 0.25, "not yet; it differs from the right one by 0.25 at most"),
    (lambda a: a.softmax(1).where(a != a[0, 0], torch.nan), "not yet; it differs from the right one by nan at most")], ids=lambda value: value if isinstance(value, str) else "code")
def test_what_is_said(capsys, written, told):
    assert said(capsys, written) == f"p: {told}"


def test_a_function_that_is_right_by_luck_on_one_draw_is_found_out(capsys):
    answers = iter([True, False, True])
    assert said(capsys, lambda a: a.softmax(1) if next(answers) else a.softmax(1) + 1).startswith("p: not yet")


def test_what_is_written_into_the_inputs_does_not_change_the_verdict(capsys):
    assert said(capsys, lambda a: a.zero_().softmax(1)).startswith("p: not yet")
    assert said(capsys, lambda a: a.exp_() / a.sum(1, keepdim=True)) == "p: right"


def test_several_results_are_compared_in_their_order(capsys):
    for written, told in ((lambda a, b: (a + b, a - b), "right"), (lambda a, b: (a - b, a + b), "the other way round")):
        compare("both", written, lambda a, b: (a + b, a - b), lambda: (torch.randn(2), torch.randn(())), [("the other way round", lambda a, b: (a - b, a + b))])
        assert capsys.readouterr().out == f"both: {told}\n"


def test_inputs_that_need_gradients_do_so_in_the_students_code(capsys):
    def slope(x):
        return torch.autograd.grad((x ** 2).sum(), x)[0]
    compare("slope", slope, lambda x: 2 * x, lambda: (torch.randn(3, requires_grad=True),), [])
    assert capsys.readouterr().out == "slope: right\n"
