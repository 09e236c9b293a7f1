"""Assignments for nbgrader: the exercises of each notebook that have a check, with answers from its solution and hidden tests.

    python tools/assignments.py --out runs/assignments [notebooks/00_start_here.ipynb …]

OUT becomes a course folder of nbgrader: source/ is the instructor's version, with answers and tests, release/ is the students'. Nothing
in submitted/ or the gradebook is touched. An exercise takes along only the code of its notebook that gives values to the names it
mentions. Points are those of the table in notebooks/TEACHING.md.
"""

import argparse
import ast
import math
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from slicing import names, sliced, statements

ROOT = Path(__file__).resolve().parents[1]
CONFIG = """c = get_config()
c.CourseDirectory.course_id = "proxyless_lite"
c.ClearSolutions.code_stub = {"python": "# Your answer goes in place of None; its steps may stand here."}
c.Execute.timeout = 120  # seconds for each cell of a submission
"""
HEADER = """# {number} · Exercises

Put your answers in place of `None`, and run each cell: it says *right*, or gives a hint. The text belongs to notebook {name}, and "above"
means there. The code that an exercise needs is repeated here. Change only the cells with answers; leave the others where they are."""
HIDDEN = """# {points} points
### BEGIN HIDDEN TESTS
def _share(name, *answers):
    import importlib, sys
    for module in [module for module in sys.modules if module.startswith("proxyless_lite.course.checks")]:
        del sys.modules[module]  # the student's code may have changed it
    return importlib.import_module("proxyless_lite.course.checks.marks").share(name, *answers)
{points} * sum([{shares}]) / {count}
### END HIDDEN TESTS"""
CHECK = re.compile(r"\bchecks\.\w+\(")
START = re.compile(r"^\*\*(\d+\.|Your turn)", re.MULTILINE)
TIME = re.compile(r"\*\*.+?\*\*\W*(\w+) minutes")  # at the beginning of a text: **1.** (five minutes), **Your turn.** ●○○ 5 minutes
WORDS = dict(one=1, two=2, three=3, four=4, five=5, six=6, seven=7, eight=8, nine=9, ten=10, fifteen=15, twenty=20, thirty=30)

# -- exercises ---------------------------------------------------------------------------------------------------------


@dataclass
class Exercise:
    text: str       # markdown, without links into the repository
    answer: str     # the code to be completed, up to the checks
    checks: list    # calls of checks, as syntax trees
    before: list    # the sources of all code cells above it


def calls(source):
    return [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call) and CHECK.match(ast.unparse(node))]


def exercises(cells):
    """The exercises of a notebook that have a check, in order."""
    text, code, numbered, before = "", [], False, []
    for cell in cells:
        if cell.cell_type == "markdown":
            if starts := list(START.finditer(cell.source)):
                text, code, numbered = cell.source[starts[-1].start():], [], True
            elif numbered and not cell.source.startswith("#"):
                text += "\n\n" + cell.source
            else:
                text, code, numbered = cell.source, [], False
        elif "remove-cell" not in cell.metadata.get("tags", []):
            code = [*code, cell.source] if numbered else [cell.source]
            if CHECK.search(cell.source):
                whole, asked = "\n\n".join(code), calls(cell.source)
                plain = re.sub(r"\[([^]]*)\]\((?!https?:)[^)]*\)", r"\1", re.sub(r"(?m)^#+ .*\n+", "", text))
                yield Exercise(plain.strip(), whole[:CHECK.search(whole).start()].rstrip(), asked, list(before))
                text, code, numbered = "", [], False
            before.append(cell.source)


def mentioned(exercise):
    """Names of the notebook that the student may need: those quoted in the text, and those that the code to be completed reads."""
    code = ast.parse(exercise.answer)
    own = {node.arg for node in ast.walk(code) if isinstance(node, ast.arg)} | names(code)[1]
    return names(code)[0] | set(re.findall(r"`([A-Za-z_]\w*)`", exercise.text)) - own


def solved(exercise, solution):
    """The code of a solution that gives the arguments of the exercise's checks their values: the cell of each check, and what it needs."""
    lines = []
    for asked in exercise.checks:
        found = [(i, call) for i, source in enumerate(solution) for call in calls(source) if ast.unparse(call.func) == ast.unparse(asked.func)]
        if not found or len(found[0][1].args) != len(asked.args) or not all(isinstance(each, ast.Name) for each in asked.args):
            raise ValueError(f"{ast.unparse(asked)}: its arguments must be names, and the solution must call it with as many")
        place, call = found[0]
        same = [(text, node) for text, node in statements(solution[place]) if node.lineno < call.lineno and not shows(node)]
        answers = ", ".join(map(ast.unparse, call.args))
        if answers != (arguments := ", ".join(each.id for each in asked.args)):
            same.append((f"{arguments} = {answers}", None))
        own = "\n".join(text for text, _ in same)
        lines += [*sliced(solution[:place], names(ast.parse(own))[0]), own]
    return "\n".join(lines)


def shows(node):
    """Whether a statement is an assert or only prints."""
    return isinstance(node, ast.Assert) or isinstance(node, ast.Expr) and ast.unparse(node).startswith("print(")


def points_by_time(teaching):
    """The table of TEACHING.md, "up to 5 minutes" and so on: minutes -> points, infinity for any other time."""
    rows = re.findall(r"^\| (?:up to (\d+) minutes|other) \| (\d+) \|$", teaching, re.MULTILINE)
    return {int(minutes) if minutes else math.inf: int(points) for minutes, points in rows}


def worth(text, points):
    """The points of an exercise by the time that its text gives."""
    time = TIME.match(text)
    minutes = math.inf if time is None else WORDS.get(time[1]) or float(time[1])
    return next(points[most] for most in sorted(points) if minutes <= most)


# -- notebooks for nbgrader --------------------------------------------------------------------------------------------


def cell(kind, source, name, points=None, answer=False):
    """A cell with what nbgrader wants to know of it; all but the answers are locked."""
    made = (new_markdown_cell if kind == "markdown" else new_code_cell)(source, id=name)
    made.metadata["nbgrader"] = {"schema_version": 3, "grade_id": name, "grade": points is not None,
                                 "solution": answer, "locked": not answer, "task": False}
    if points is not None:
        made.metadata["nbgrader"]["points"] = points
    return made


def instructors(path, points):
    """The instructor's version of a notebook's exercises; None if it has none with a check."""
    course, solution = (nbformat.read(each, 4).cells for each in (path, path.parent / "solutions" / path.name))
    code = [each.source for each in course if each.cell_type == "code"]
    first = next(i for i, source in enumerate(code) if "notebook.setup(" in source) + 1
    cells, given = [], set()
    for each in exercises(course):
        name = "-".join(ast.unparse(call.func).removeprefix("checks.") for call in each.checks)
        if needed := [text for text in sliced(each.before[first:], mentioned(each), each.before[:first]) if text not in given]:
            given.update(needed)
            cells.append(cell("code", "\n".join(needed), f"{name}-needs"))
        mark = worth(each.text, points)
        asked = "\n".join(map(ast.unparse, each.checks))
        solving = solved(each, [c.source for c in solution if c.cell_type == "code"])
        answer = f"{each.answer}\n### BEGIN SOLUTION\n{solving}\n### END SOLUTION\n{asked}"
        shares = ", ".join(f'_share({", ".join([repr(call.func.attr), *map(ast.unparse, call.args)])})' for call in each.checks)
        cells += [cell("markdown", each.text, f"{name}-text"), cell("code", answer, f"{name}-answer", answer=True),
                  cell("code", HIDDEN.format(points=mark, shares=shares, count=len(each.checks)), f"{name}-marks", mark)]
    if cells:
        title = cell("markdown", HEADER.format(number=path.stem[:2], name=path.stem), "title")
        return new_notebook(cells=[title, cell("code", "\n\n".join(code[:first]), "setup"), *cells],
                            metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}})


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="*", type=Path, default=sorted((ROOT / "notebooks").glob("*.ipynb")))
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(arguments)
    points = points_by_time((ROOT / "notebooks" / "TEACHING.md").read_text())
    for path in args.notebooks:
        if made := instructors(path, points):
            file = args.out / "source" / path.stem / path.name
            file.parent.mkdir(parents=True, exist_ok=True)
            nbformat.write(made, file)
    (args.out / "nbgrader_config.py").write_text(CONFIG)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])  # nbgrader calls alembic by its name
    command = [sys.executable, "-m", "nbgrader", "generate_assignment", "--force", "--log-level=WARN", "--assignment=*"]
    if status := subprocess.run(command, cwd=args.out, env={**os.environ, "PATH": path}).returncode:
        sys.exit(status)
    print(f"instructor's versions {args.out / 'source'}\nstudents' versions     {args.out / 'release'}")


if __name__ == "__main__":
    main()
