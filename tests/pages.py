"""The pages of the project as tests see them: their text, what notebooks printed, and whether a number stands in one."""

import re
from functools import cache
from pathlib import Path

import nbformat
import pytest

from proxyless_lite.course import paper
from proxyless_lite.runtime import TABLES

ROOT, DATA = Path(__file__).parents[1], TABLES
PAGES = ("README.md", "CONTRIBUTING.md", "notebooks/TEACHING.md", "docs/measurements.md", "docs/gpu.md", "docs/python.md", "docs/devices.md", "docs/course.md", "docs/paper.md",
         "proxyless_lite/tables/README.md", "proxyless_lite/tables/results/README.md", "proxyless_lite/tables/ground_truth/README.md")
NOTEBOOKS = {path.name[:2]: path for path in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))}
COURSE = {f"{n:02d}" for n in (*range(11), 12)}


@cache
def course(number):
    if number not in NOTEBOOKS:
        pytest.skip(f"notebook {number} is not there yet")
    return nbformat.read(NOTEBOOKS[number], 4)


@cache
def text(page):
    """A page of Markdown, or the Markdown of notebook "07"."""
    if page in COURSE:
        return "\n\n".join(cell.source for cell in course(page).cells if cell.cell_type == "markdown")
    return (ROOT / page).read_text()


def has_numbers(page, *numbers):
    """Each number stands somewhere in the page, whatever the words around it: a string as it is printed, or an int."""
    content = text(page).replace("−", "-")
    numbers = [f"{number:,}" if isinstance(number, int) else number for number in numbers]
    missing = [number for number in numbers if not re.search(rf"(?<![\d.,]){re.escape(number)}(?![\d]|[.,]\d)", content)]
    assert not missing, f"{page} has no {', '.join(missing)}"


def blocks(page, language=""):
    return re.findall(rf"^```{language}\n(.*?)^```", text(page), flags=re.M | re.S)


def printed(number):
    """All that the stored run of a notebook printed or showed as text."""
    outputs = [o for c in course(number).cells if c.cell_type == "code" for o in c.outputs]
    return "\n".join(o.get("text") or o.get("data", {}).get("text/plain", "") for o in outputs)


def printed_in_the_paper(source, row, column):
    """A number as the paper prints it."""
    found = paper.numbers()
    (number,) = found.printed[found.source.eq(source) & found.row.eq(row) & found.column.eq(column)]
    return number
