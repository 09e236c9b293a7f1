"""The notebooks keep the rules of hygiene.py, and each rule complains about a notebook that breaks it."""

import hygiene
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from proxyless_lite.course import checks

CHECKS = "".join(path.read_text() for path in sorted((hygiene.ROOT / "proxyless_lite" / "course" / "checks").glob("*.py")))
TESTS = "".join(path.read_text() for path in sorted((hygiene.ROOT / "tests").glob("test_checks*.py")))


@pytest.mark.parametrize("path", hygiene.NOTEBOOKS + hygiene.SOLUTIONS, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_notebook_keeps_the_rules(path):
    found = hygiene.complaints(path)
    assert not found, "\n".join(["", *found])


def test_every_solution_belongs_to_a_notebook():
    assert {p.name for p in hygiene.SOLUTIONS} <= {p.name for p in hygiene.NOTEBOOKS}


def test_every_check_is_used_solved_and_tested():
    pages = [hygiene.Page(p) for p in hygiene.NOTEBOOKS + hygiene.SOLUTIONS]
    unused = list(hygiene.unused_checks(CHECKS, pages, TESTS))
    assert not unused, "\n".join(["", *unused])


# -- each rule, broken -------------------------------------------------------------------------------------------------

HEADER = """# 42 · Does it hold?

**Question.** Does it?

**You will**
* see.

**Paper** §1. **Before** nothing.

| preset | data | runtime |
|---|---|---|
| `quick` | digits | 5 s |
| `lesson` | digits | 5 s |
| `paper` | digits | not run |"""
PREDICT = """**Predict first.** Up or down?

<details><summary>An answer</summary>
Down.
</details>"""
CAPTION = "*Figure: a line.* **Takeaway:** it falls. Above: [the idea](#The-idea)."


def code(source, *outputs, tags=()):
    return new_code_cell(source, outputs=list(outputs), metadata={"tags": list(tags)} if tags else {})


def says(text):
    return new_output("stream", name="stdout", text=text)


def picture(alt="A line."):
    return new_output("execute_result", {"image/png": "aGVsbG8="}, metadata={"image/png": {"alt": alt}})


CONTROLS = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}, "text/plain": "Controls()"}
WIDGET = new_output("execute_result", CONTROLS | {"image/png": "aGVsbG8="})
COURSE = [new_markdown_cell(HEADER),
          code('preset = "quick"  # or "lesson", "paper"\nseed = 0  # of everything drawn', tags=["parameters"]),
          code('from proxyless_lite.course import notebook\n\nnotebook.setup("preset", "seed")'),
          new_markdown_cell("## The idea\n\n## By hand"),
          code("1 + 1"),
          new_markdown_cell("## The module's own code"),
          code("notebook.source(notebook.setup)"),
          new_markdown_cell(PREDICT),
          code("plots.probabilities(p, names)", picture()),
          new_markdown_cell(CAPTION),
          code("widgets.epoch_slider(history, names)", WIDGET, tags=["nbval-ignore-output"]),
          new_markdown_cell("## Exercises\n\n**1.** How many?"),
          code("n = None\nchecks.one(n)", says("n: no answer yet\n")),
          new_markdown_cell("**2.** And now?"),
          code("m = None\nchecks.two(m)", says("m: no answer yet\n")),
          new_markdown_cell("**3.** (open) Why?\n\n## What the paper or its code did differently\n\n* Nothing.\n\n"
                            "## Next\n\n[42](42_model.ipynb)")]
SOLUTION = [new_markdown_cell("# Solutions of 42\n\n**1.** How many?"),
            code("n = 1 + 1\nchecks.one(n)", says("n: right\n")),
            code("m = 2 * n\nprint(m)\nchecks.two(m)", says("4\nm: right\n"))]


@pytest.fixture
def model(tmp_path, monkeypatch):
    """The paths of a notebook and of its solution, both without fault."""
    monkeypatch.setattr(checks, "one", lambda n: checks.report("n", n, 2, {}), raising=False)
    monkeypatch.setattr(checks, "two", lambda m: checks.report("m", m, 4, {}), raising=False)
    paths = tmp_path / "notebooks" / "42_model.ipynb", tmp_path / "notebooks" / "solutions" / "42_model.ipynb"
    for path, cells in zip(paths, (COURSE, SOLUTION)):
        path.parent.mkdir()
        metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}}
        notebook = nbformat.from_dict(new_notebook(cells=cells, metadata=metadata))
        count = 0
        for i, cell in enumerate(notebook.cells):
            cell.id = f"cell-{i}"
            if cell.cell_type == "code":
                count += 1
                cell.execution_count = count
        nbformat.write(notebook, path)
    return paths


def test_the_model_keeps_the_rules(model):
    assert [c for path in model for c in hygiene.complaints(path)] == []


def text(cell, old, new):
    """Replace a piece of a cell's source."""
    def change(notebook):
        assert old in notebook.cells[cell].source
        notebook.cells[cell].source = notebook.cells[cell].source.replace(old, new)
    return change


def outputs(cell, *new):
    return lambda notebook: notebook.cells[cell].update(outputs=[nbformat.from_dict(o) for o in new])


def tags(cell, *new):
    return lambda notebook: notebook.cells[cell].metadata.update(tags=list(new))


def without(cell):
    """Take a cell out, and count anew."""
    def change(notebook):
        del notebook.cells[cell]
        for count, c in enumerate((c for c in notebook.cells if c.cell_type == "code"), 1):
            c.execution_count = count
    return change


SVG = new_output("display_data", {"image/svg+xml": "<svg/>"})
STYLER = new_output("display_data", {"text/html": '<table id="T_1a2b3">'})
BREAKS = {  # change -> where the complaint stands, and what it says
    "not valid": (outputs(4, {"output_type": "stream", "text": "x"}), "?", "not valid"),
    "kernel": (lambda n: n.metadata.kernelspec.update(name="my-env"), "?", "must be python3"),
    "no kernel": (lambda n: n.metadata.pop("kernelspec"), "?", "must be python3"),
    "counts": (lambda n: n.cells[4].update(execution_count=7), 4, "execution count 7 in place of 3"),
    "not run": (lambda n: n.cells[4].update(execution_count=None), 4, "execution count None"),
    "error": (outputs(4, new_output("error", ename="KeyError", evalue="x", traceback=[])), 4, "stored error KeyError"),
    "long": (text(4, "1 + 1", "\n".join("1 + 1" for _ in range(26))), 4, "26 lines"),
    "wide": (text(4, "1 + 1", "1 + 1  # " + 92 * "x"), 4, "1 lines of more than 100 columns"),
    "assert beside code": (text(4, "1 + 1", "x = 1\nassert x"), 4, "an assert beside other code"),
    "assert shown": (text(4, "1 + 1", "assert True"), 4, "asserts without the tag remove-cell"),
    "large": (outputs(4, says("x" * 500_000)), "?", "bytes"),
    "path in source": (text(4, "1 + 1", 'open("/home/me/x")'), 4, "path of a machine"),
    "path in output": (outputs(4, says("File /usr/lib/python3/site-packages/torch.py")), 4, "path of a machine"),
    "path in metadata": (lambda n: n.metadata.update(papermill={"input_path": "/tmp/x.ipynb"}), "metadata", "path of a machine"),
    "semicolon": (text(4, "1 + 1", "1 + 1;"), 4, "ends with ;"),
    "svg": (outputs(4, SVG), 4, "SVG"),
    "styler": (outputs(4, STYLER), 4, "Styler"),
    "widget compared": (tags(10), 10, "a widget in a cell whose output is compared"),
    "no alt": (outputs(8, new_output("display_data", {"image/png": "aGVsbG8="})), 8, "without alt text"),
    "empty alt": (outputs(8, picture(" ")), 8, "without alt text"),
    "two figures": (outputs(8, picture(), picture()), 8, "2 figures in one cell"),
    "no caption": (text(9, "*Figure: a line.*", "Look."), 8, "no cell below the figure begins"),
    "no takeaway": (text(9, "**Takeaway:** it falls.", ""), 8, "no cell below the figure begins"),
    "caption gone": (without(9), 8, "no cell below the figure begins"),
    "image": (text(9, "Above:", "![](42_model.ipynb)"), 9, "without alt text"),
    "html image": (text(9, "Above:", '<img src="42_model.ipynb">'), 9, "without alt text"),
    "link": (text(9, "#The-idea", "../gone.md"), 9, "broken link ../gone.md"),
    "anchor": (text(9, "#The-idea", "#An-idea"), 9, "broken link #An-idea"),
    "anchor elsewhere": (text(9, "#The-idea", "solutions/42_model.ipynb#Nowhere"), 9, "link solutions/42_model.ipynb#Nowhere"),
    "link out of the repository": (text(9, "#The-idea", "/usr"), 9, "broken link /usr"),
    "number": (text(0, "# 42 ·", "# 41 ·"), 0, "lacks # 42 ·"),
    "question": (text(0, "**Question.**", "Question:"), 0, "lacks **Question.**"),
    "aims": (text(0, "* see.", "See."), 0, "lacks **You will** and a list"),
    "paper": (text(0, "**Paper** §1.", ""), 0, "lacks **Paper**"),
    "before": (text(0, "**Before** nothing.", ""), 0, "lacks **Before**"),
    "preset left out": (text(0, "| `lesson` | digits | 5 s |\n", ""), 0, "nothing about `lesson`"),
    "runtime to be filled in": (text(0, "| `quick` | digits | 5 s |", "| `quick` | digits | … s |"), 0, "nothing about `quick`"),
    "other table": (text(0, "| runtime |", "| seconds |"), 0, "nothing about `paper`"),
    "no parameters": (tags(1), 1, "cells so tagged: []"),
    "two parameter cells": (tags(4, "parameters"), 1, "cells so tagged: [1, 4]"),
    "computed parameter": (text(1, "seed = 0", "seed = 3 + int(4)"), 1, "seed = 3 + int(4) is no assignment"),
    "untyped parameter": (text(1, "seed = 0", "seed = None"), 1, "seed = None is no assignment"),
    "import among parameters": (text(1, "seed = 0  # of everything drawn", "import torch"), 1, "import torch is no assignment"),
    "no comment": (text(1, "  # of everything drawn", ""), 1, "seed = 0 has no comment"),
    "preset": (text(1, '"quick"  #', '"lesson"  #'), 1, "must be \"quick\""),
    "setup names too few": (text(2, '"preset", "seed"', '"preset"'), 2, "must name preset, seed"),
    "setup names too many": (text(2, '"seed"', '"seed", "out"'), 2, "must name preset, seed"),
    "no prompt": (text(7, "**Predict first.**", "Guess."), "?", "no **Predict first.**"),
    "no answer": (text(7, "</details>", ""), 7, "without <details>"),
    "prompt too late": (lambda n: n.cells[15].update(source=PREDICT + "\n" + n.cells[15].source), 15, "no run after it"),
    "section": (text(3, "## By hand", "## With hands"), "?", "no section ## By hand"),
    "order": (text(3, "## The idea\n\n## By hand", "## By hand\n\n## The idea"), 3, "another order"),
    "no source": (text(6, "notebook.source(", "print("), "?", "notebook.source shows none"),
    "no way on": (text(15, "[42](42_model.ipynb)", "Notebook 43."), 15, "no link"),
    "no figure": (outputs(8), "?", "no figure"),
    "no static figure": (text(8, "plots.probabilities", "plots.network"), 10, "no static figure above widgets.epoch_slider: plots.prob"),
    "no still": (outputs(10, new_output("execute_result", CONTROLS)), 10, "no still picture"),
    "answer given away": (outputs(12, says("n: right\n")), 12, "no answer yet"),
    "check says nothing": (outputs(12), 12, "no answer yet"),
    "numbers": (text(13, "**2.**", "**4.**"), 11, "exercises numbered [1, 4, 3]"),
    "one check": (text(14, "checks.two(m)", "print(m)"), 11, "1 exercises with a check"),
    "no open exercise": (text(15, "**3.** (open) Why?", ""), 15, "must be open"),
    "solution forgets a check": (text(14, "checks.two", "checks.three"), "?", "does not call checks.three"),
}
SOLUTION_BREAKS = {
    "wrong": (outputs(1, says("n: that is half of it\n")), 1, "checks.one does not print 'n: right'"),
    "other answer": (outputs(1, says("m: right\n")), 1, "checks.one does not print 'n: right'"),
    "silent": (outputs(2), 2, "checks.two does not print 'm: right'"),
    "literal": (text(1, "n = 1 + 1", "n = 2"), 1, "n is written down"),
    "literal in the call": (text(2, "checks.two(m)", "checks.two(-4)"), 2, "-4 is written down"),
    "counts": (lambda n: n.cells[1].update(execution_count=2), 1, "execution count 2"),
}


def break_and_complain(path, change, where, words):
    notebook = nbformat.read(path, 4)
    change(notebook)
    path.write_text(nbformat.writes(notebook), "utf-8")  # written without validation
    place = f"{path.parent.name}/{path.name}, cell {where}: "
    assert any(c.startswith(place) and words in c for c in hygiene.complaints(path)), hygiene.complaints(path)


@pytest.mark.parametrize("change, where, words", BREAKS.values(), ids=BREAKS.keys())
@pytest.mark.filterwarnings("ignore")  # nbformat warns of what the rule complains about
def test_a_broken_notebook_is_found(model, change, where, words):
    break_and_complain(model[0], change, where, words)


@pytest.mark.parametrize("change, where, words", SOLUTION_BREAKS.values(), ids=SOLUTION_BREAKS.keys())
def test_a_broken_solution_is_found(model, change, where, words):
    break_and_complain(model[1], change, where, words)


def test_a_missing_solution_is_found(model):
    model[1].unlink()
    assert hygiene.complaints(model[0]) == ["notebooks/42_model.ipynb, cell ?: no solutions/42_model.ipynb"]


def test_an_unused_check_is_found(model):
    pages, title = [hygiene.Page(path) for path in model], "def report():\n# -- 42 model ---\n"
    tests = "said(capsys, checks.one, 2)\nsaid(capsys, checks.two, 4)"
    assert list(hygiene.unused_checks(title + "def one(n):\ndef two(m):\ndef _helper():\n", pages, tests)) == []
    assert list(hygiene.unused_checks(title + "def three(n):\n", pages, tests)) == [
        "checks.three is not used in notebooks/42_*.ipynb", "checks.three is not used in solutions/42_*.ipynb",
        "checks.three is not tested in tests/test_checks.py"]
    assert len(list(hygiene.unused_checks("# -- 41 other ---\ndef one(n):\n", pages, tests))) == 2, "not used in 41"
    assert list(hygiene.unused_checks(title + '"""Another module."""\ndef helper():\n', pages, tests)) == []
    assert len(hygiene.checks_by_notebook(CHECKS)) >= 5


def test_links_that_are_good_or_are_no_links(tmp_path):
    (tmp_path / "other.md").write_text("# A title: with signs\n")
    page = tmp_path / "page.md"
    page.write_text("## On GPU machines\n")
    good = "[a](other.md) [b](other.md#a-title-with-signs) [c](#on-gpu-machines) [d](https://x.org/y#z)"
    assert list(hygiene.broken_links(f"{good} `x[0](gone)`\n```\n[e](gone)\n```", page)) == []
    broken = "[a](gone.md) [b](other.md#title) [c](#on-gpus)"
    assert list(hygiene.broken_links(broken, page)) == ["gone.md", "other.md#title", "#on-gpus"]
