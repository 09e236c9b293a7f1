"""Assignments for nbgrader: what answers earn, what students see, and one notebook through nbgrader itself."""

import ast
import csv
import importlib.util
import inspect
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import nbformat
import pytest
import torch

from proxyless_lite import course
from proxyless_lite.course import checks, notebook
from proxyless_lite.course.checks import answers, marks

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
FOOLED = """import builtins, types
from proxyless_lite.course.checks import answers, marks
checks = types.SimpleNamespace(**{name: lambda *a: print("right") for name in dir(checks)})
answers.report = lambda name, *a, **k: answers.say(name, "right", "right")
marks.share = lambda *a: 1.0
print("right")"""


@pytest.fixture(scope="module")
def tool():
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        spec = importlib.util.spec_from_file_location("tools_assignments", ROOT / "tools" / "assignments.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.pop(0)
    return module


@pytest.fixture
def untouched(monkeypatch, tmp_path):
    """The hidden tests import the checks again and a notebook sets the default dtype: afterwards all is as it was."""
    dtype, threads = torch.get_default_dtype(), torch.get_num_threads()
    modules = {name: module for name, module in sys.modules.items() if name.startswith(checks.__name__)}
    monkeypatch.setattr(notebook, "setup", lambda *names: tmp_path)
    yield
    for name in [name for name in sys.modules if name.startswith(checks.__name__)]:
        del sys.modules[name]
    sys.modules.update(modules)
    course.checks = checks
    torch.set_default_dtype(dtype)
    torch.set_num_threads(threads)


def points(tool):
    return tool.points_by_time((ROOT / "notebooks" / "TEACHING.md").read_text())


def graded(cells):
    """What nbgrader would give for each exercise: (points, of how many). A cell that raises does not stop the others."""
    scope, given = {}, {}
    for cell in (cell for cell in cells if cell.cell_type == "code"):
        about, tree = cell.metadata.nbgrader, ast.parse(cell.source)
        try:
            last = ast.Expression(tree.body.pop().value) if about.grade else None
            exec(compile(tree, "cell", "exec"), scope)
            value = eval(compile(last, "cell", "eval"), scope) if last else None
        except Exception:  # as in a notebook that runs on
            value = 0.0
        if about.grade:
            given[about.grade_id] = value, about.points
    return given


def blank(cells):
    """The students' version, as nbgrader makes it: no answers."""
    cells = [nbformat.from_dict(cell) for cell in cells]
    for cell in cells:
        before, _, rest = cell.source.partition("### BEGIN SOLUTION\n")
        cell.source = before + rest.partition("### END SOLUTION\n")[2]
    return cells


def asked_of(check, choose=lambda name, right, mistakes: None):
    """What a check asks for: name -> (the right number or function, those of usual mistakes); and the share that the chosen ones earn."""
    asked, module, earned = {}, sys.modules[check.__module__], 0.0

    def report(name, answer, wanted, hints, tolerance=1e-3, nearly=None):
        asked[name] = wanted, list(hints)
        answers.report(name, choose(name, *asked[name]), wanted, hints, tolerance)

    def compare(name, written, right, draw, mistakes, **settings):
        asked[name] = right, [wrong for _, wrong in mistakes]
        checks.written.compare(name, choose(name, *asked[name]), right, draw, mistakes, **settings)
    with pytest.MonkeyPatch.context() as patch:
        for stand_in in (report, compare):
            if hasattr(module, stand_in.__name__):
                patch.setattr(module, stand_in.__name__, stand_in)
        earned = marks.share(check.__name__, *[None] * len(inspect.signature(check).parameters))
    return asked, earned


def mixed(cells):
    """A submission: a usual mistake, an exercise that raises, one that only pretends to be right; and its points in all."""
    cells = blank(cells)
    mistaken, raising, pretending = [cell for cell in cells if cell.metadata.nbgrader.solution][:3]
    call = ast.parse(mistaken.source).body[-1].value
    asked, _ = asked_of(CHECKS[call.func.attr])
    numbers = [right for right, _ in asked.values()]
    numbers[0] = next(iter(asked.values()))[1][0]
    mistaken.source += f"\n{', '.join(map(ast.unparse, call.args))} = {', '.join(map(repr, numbers))}"
    raising.source += "\n1 / 0"
    pretending.source = f"{FOOLED}\n{pretending.source}"
    worth = next(cell.metadata.nbgrader.points for cell in cells if cell.metadata.nbgrader.grade)
    return cells, worth * (1 - 0.5 / len(asked))


CHECKS = {name: check for name, check in vars(checks).items() if inspect.isfunction(check) and name != "report"}


# -- marks -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CHECKS)
def test_every_line_of_a_check_is_a_verdict(name, capsys):
    nothing = [None] * len(inspect.signature(CHECKS[name]).parameters)
    with answers.verdicts() as heard:
        CHECKS[name](*nothing)
    assert heard and heard == ["none"] * len(capsys.readouterr().out.splitlines())
    assert marks.share(name, *nothing) == 0


@pytest.mark.parametrize("name", CHECKS)
def test_right_answers_earn_all_and_usual_mistakes_half(name):
    check = CHECKS[name]
    asked, earned = asked_of(check, lambda name, right, mistakes: right)
    assert earned == bool(asked)  # else a check that neither reports a number nor compares a function
    for one, (_, mistakes) in asked.items():
        for i in range(len(mistakes)):
            _, earned = asked_of(check, lambda name, right, mistakes: mistakes[i] if name == one else right)
            assert earned == pytest.approx(1 - 0.5 / len(asked)), (one, mistakes[i])
    assert marks.share(name, *[-123.4 for _ in inspect.signature(check).parameters]) == 0


def test_code_that_a_student_writes_earns_marks_too(capsys):
    def written(function):
        with answers.verdicts() as heard:
            checks.written.compare("p", function, lambda a: a.softmax(1), lambda: (torch.randn(3, 4),), [("over the rows", lambda a: a.softmax(0))])
        return heard
    assert written(lambda a: a.softmax(1)) == ["right"] and written(lambda a: a.softmax(0)) == ["hinted"]
    assert written(lambda a: a) == written(lambda a: "x") == written(lambda a: 1 / 0) == written(lambda a: a[0]) == ["wrong"]
    assert written(lambda a: None) == written(None) == ["none"]


def test_what_students_code_prints_or_warns_is_not_seen(monkeypatch, capsys):
    def loud(number):
        print("loud: right")
        print("trouble", file=sys.stderr)  # nbgrader takes this for a failure
        answers.say("loud", "hinted", "half")
    monkeypatch.setattr(checks, "loud", loud, raising=False)
    assert marks.share("loud", 1) == 0.5 and capsys.readouterr() == ("", "")


# -- assignments -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_solutions_earn_full_points_and_blank_versions_none(path, tool, untouched, capsys):
    made = tool.instructors(path, points(tool))
    asked = Counter(ast.unparse(call.func) for cell in nbformat.read(path, 4).cells if cell.cell_type == "code" for call in tool.calls(cell.source))
    if made is None:
        assert not asked
        return
    assert Counter(ast.unparse(call.func) for cell in made.cells if cell.metadata.nbgrader.solution for call in tool.calls(cell.source)) == asked
    full = graded(made.cells)
    assert full and all(value == worth for value, worth in full.values()), full
    assert {value for value, _ in graded(blank(made.cells)).values()} == {0}


def test_an_exercise_that_raises_or_pretends_loses_only_its_own_points(tool, untouched, capsys):
    cells, worth = mixed(tool.instructors(NOTEBOOKS[0], points(tool)).cells)
    assert 0 < worth == sum(value for value, _ in graded(cells).values())
    assert "right\n" in capsys.readouterr().out


@pytest.mark.parametrize("name, lines", [
    ("b", "a = 1|b = a + 1  # two"), ("c", "for a in range(3):\n    c = a"), ("pd", ""), ("nothing", ""), ("e", "i = 5|e = pd.DataFrame(i)|e['x'] = (lambda a: a)(1)|e.z += 1"),
    ("f", "a = 1|b = a + 1  # two|@staticmethod\ndef f(x, k=2):\n    return x * b"), ("q", "q = 1|q = q + 1"), ("t", "t = 0|t += 1|for j in 'ab':\n    t += 1\n    r = t"), ("r", "t = 0|t += 1|for j in 'ab':\n    t += 1\n    r = t"),
    ("g", "g = [i for i in range(3)]"), ("h", "h = 1|if True:\n    h = 2"), ("log", "a = 1|b = a + 1  # two|log = []|log.append(b)|(1 + log).sort()")])
def test_an_exercise_takes_the_code_that_it_needs(tool, name, lines):
    sources = ["a = 1\nb = a + 1  # two\nprint(b)", "log = []\nfor a in range(3):\n    c = a\nlog.append(b)", "@staticmethod\ndef f(x, k=2):\n    return x * b",
               "pd.set_option('x', 1)\n(1 + log).sort()\ni = 5", "e = pd.DataFrame(i)\ne['x'] = (lambda a: a)(1)\ne.z += 1\nq = 1\nq = q + 1",
               "t = 0\nt += 1\ng = [i for i in range(3)]\nh = 1\nif True:\n    h = 2\nfor j in 'ab':\n    t += 1\n    r = t"]
    assert "|".join(tool.sliced(sources, [name], ["import pandas as pd"])) == lines


def test_exercises_are_found_with_their_text_and_code(tool):
    text, code = nbformat.v4.new_markdown_cell, nbformat.v4.new_code_cell
    cells = [code("a = 1"), text("Much.\n\n**Your turn.** Write `f` of `x` with `data` and `np.x`, see [here](#a) and [there](https://b.c)."),
             code("def f(x):\n    return None\n\nchecks.f(f)"), text("## Here\n\nAgain."), code("z = None\nchecks.f(z)"),
             text("## Exercises\n\n**1.** (five minutes) One."), code("b = None"), text("More."), code("c = None\nchecks.one(b, c)"), code("assert a", metadata={"tags": ["remove-cell"]}),
             text("**2.** (open) Two.\n\n## Next"), code("print(a)")]
    written, plain, one = tool.exercises(cells)
    assert written.text == "**Your turn.** Write `f` of `x` with `data` and `np.x`, see here and [there](https://b.c)."
    assert written.answer == "def f(x):\n    return None" and written.before == ["a = 1"] and (plain.text, plain.answer) == ("Again.", "z = None")
    assert one.text == "**1.** (five minutes) One.\n\nMore." and one.answer == "b = None\n\nc = None" and tool.mentioned(written) == {"data"}
    solution = ["import math\nx = math.pi", "def g():\n    return x\nchecks.f(g)", "print(x)\nchecks.one(x, 2)"]
    assert tool.solved(written, solution) == "import math\nx = math.pi\ndef g():\n    return x\nf = g"
    assert tool.solved(one, solution) == "import math\nx = math.pi\nb, c = x, 2"
    for wrong in (solution[:2], [*solution[:2], "checks.one(1)"]):
        with pytest.raises(ValueError):
            tool.solved(one, wrong)


def test_points_are_those_of_the_table(tool):
    table = "| time | points |\n|---|---|\n| up to 2 minutes | 2 |\n| up to 5 minutes | 3 |\n| other | 9 |\n\n| 4 | predictions |"
    given = tool.points_by_time(table)
    for text, worth in {"**1.** (two minutes) A": 2, "**Your turn: Eq. (2).** ●○○ 3 minutes. A": 3, "**Your turn.** ●●○ (five minutes) A": 3,
                        "**2.** ●●● twenty minutes. A": 9, "**3.** After 2 minutes": 9}.items():
        assert tool.worth(text, given) == worth, text
    assert len(points(tool)) > 1


# -- nbgrader ----------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(importlib.util.find_spec("nbgrader") is None, reason="nbgrader is not installed; make assignments installs it")
def test_a_notebook_through_nbgrader(tool, tmp_path):
    name, python = NOTEBOOKS[0].stem, Path(sys.executable)
    environment = {**os.environ, "PATH": os.pathsep.join([str(python.parent), os.environ["PATH"]]), "OMP_NUM_THREADS": "1"}

    def call(*arguments, folder=tmp_path):
        done = subprocess.run([python, *arguments], cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    call(ROOT / "tools" / "assignments.py", "--out", tmp_path, NOTEBOOKS[0], folder=ROOT)
    versions = {folder: nbformat.read(tmp_path / folder / name / f"{name}.ipynb", 4) for folder in ("source", "release")}
    students = "\n".join(cell.source for cell in versions["release"].cells)
    assert "place of None" in students and not any(word in students for word in ("BEGIN", "_share", "import importlib"))
    assert str(ROOT) not in nbformat.writes(versions["source"]) and [len(v.cells) for v in versions.values()] == [len(versions["source"].cells)] * 2

    cells, worth = mixed(versions["source"].cells)
    for cell, released in zip(cells, versions["release"].cells):  # as handed in: hidden tests are not in it
        released.source = cell.source if cell.metadata.nbgrader.solution else released.source
    for student, submission in {"all": versions["source"], "some": versions["release"]}.items():
        (tmp_path / "submitted" / student / name).mkdir(parents=True)
        nbformat.write(submission, tmp_path / "submitted" / student / name / f"{name}.ipynb")
    with notebook.own_kernel():
        environment["JUPYTER_PATH"] = os.environ["JUPYTER_PATH"]
        call("-m", "nbgrader", "autograde", name)
    call("-m", "nbgrader", "export")
    rows = {row["student_id"]: row for row in csv.DictReader((tmp_path / "grades.csv").open())}
    given = {student: float(row["score"]) for student, row in rows.items()}
    assert given == {"all": float(rows["all"]["max_score"]), "some": worth} and 0 < worth < given["all"]
