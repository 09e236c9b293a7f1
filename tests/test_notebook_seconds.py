"""What README and notebooks say of their runtimes is what `make notebooks` measured, and within what the course promises."""

import importlib.util
import re
import sys

import hygiene
import nbformat
import pandas as pd
import pytest

STORED = hygiene.ROOT / "data" / "results" / "notebook_seconds.csv"
README = (hygiene.ROOT / "README.md").read_text()
spec = importlib.util.spec_from_file_location("notebook_seconds", hygiene.ROOT / "tools" / "notebook_seconds.py")
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)


@pytest.fixture(scope="module")
def seconds():
    assert STORED.exists(), "run make notebooks TIMES=data/results/notebook_seconds.csv on a quiet machine"
    return pd.read_csv(STORED).set_index("notebook").seconds


def test_the_stored_run_is_whole_and_fast_enough(seconds):
    assert list(seconds.index) == [path.stem for path in hygiene.NOTEBOOKS]
    assert seconds.max() <= 90 and seconds.sum() <= 12 * 60


@pytest.mark.parametrize("path", hygiene.NOTEBOOKS, ids=lambda p: p.stem)
def test_runtimes_are_the_measured_ones(seconds, path):
    measured = tool.rounded(seconds[path.stem])
    row = re.search(rf"\(notebooks/{path.name}\).*\|\s*([^|]*?)\s*\|$", README, re.MULTILINE)
    assert row and row[1] == measured, f"README: {row and row[1]!r}; measured: {measured!r}"
    header = hygiene.runtimes(hygiene.Page(path)).get("quick", "nothing")
    assert re.match(rf"(about )?{re.escape(measured)}\b", header), f"header: {header!r}; measured: {measured!r}"


def test_runtimes_are_rounded():
    measured = (1.2, 12.4, 12.6, 57.4, 57.6, 82)
    assert list(map(tool.rounded, measured)) == ["5 s", "10 s", "15 s", "55 s", "1.0 min", "1.4 min"]


def test_failures_are_named_and_the_others_run(tmp_path, monkeypatch, capsys):
    for name, source in (("01_good", "1 + 1"), ("02_bad", "1 / 0"), ("03_good", "")):
        cells = [nbformat.v4.new_code_cell(source)]
        kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}}
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), tmp_path / f"{name}.ipynb")
    names = [str(tmp_path / f"{name}.ipynb") for name in ("01_good", "02_bad", "03_good")]
    command = ["notebook_seconds.py", *names, "--out", str(tmp_path / "out"), "--csv", str(tmp_path / "s.csv")]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit, match="1 of 3 notebooks failed: .*02_bad"):
        tool.main()
    assert "ZeroDivisionError: division by zero" in capsys.readouterr().out and not (tmp_path / "s.csv").exists()
    monkeypatch.setattr(sys, "argv", [*command[:2], *command[3:]])
    tool.main()
    printed, table = capsys.readouterr().out.splitlines(), pd.read_csv(tmp_path / "s.csv")
    assert list(table.columns) == ["notebook", "seconds", "machine"] and list(table.notebook) == ["01_good", "03_good"]
    assert (table.seconds > 0).all() and len(printed) == 3 and "in all, 2 of 2 notebooks" in printed[-1]
