"""What README and notebooks say of their runtimes is what `make notebooks` measured, and within what the course promises."""

import re

import hygiene
import pandas as pd
import pytest

STORED = hygiene.ROOT / "proxyless_lite" / "tables" / "results" / "notebook_seconds.csv"
COURSE = (hygiene.ROOT / "docs" / "course.md").read_text()


def rounded(seconds):
    """As README and notebooks give it: "25 s", from a minute on "1.4 min"."""
    fives = max(5, 5 * round(seconds / 5))
    return f"{fives} s" if fives < 60 else f"{seconds / 60:.1f} min"


@pytest.fixture(scope="module")
def seconds():
    assert STORED.exists(), "run make notebooks TIMES=proxyless_lite/tables/results/notebook_seconds.csv on a quiet machine"
    return pd.read_csv(STORED).set_index("notebook").seconds


def test_the_stored_run_is_whole_and_fast_enough(seconds):
    assert list(seconds.index) == [path.stem for path in hygiene.NOTEBOOKS]
    assert seconds.max() <= 90 and seconds.sum() <= 12 * 60


@pytest.mark.parametrize("path", hygiene.NOTEBOOKS, ids=lambda p: p.stem)
def test_runtimes_are_the_measured_ones(seconds, path):
    measured = rounded(seconds[path.stem])
    row = re.search(rf"\(\.\./notebooks/{path.name}\).*\|\s*([^|]*?)\s*\|$", COURSE, re.MULTILINE)
    assert row and row[1] == measured, f"docs/course.md: {row and row[1]!r}; measured: {measured!r}"
    header = hygiene.runtimes(hygiene.Page(path)).get("quick", "nothing")
    assert re.match(rf"(about )?{re.escape(measured)}\b", header), f"header: {header!r}; measured: {measured!r}"
