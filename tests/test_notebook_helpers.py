"""What notebooks call: refused parameters, the doctor, source on the page."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import proxyless_lite as pl
from proxyless_lite.course import notebook


def test_misspelt_notebook_parameter_is_refused():
    notebook.check_parameters("# Parameters\npreset = 'lesson'\nout = 'x'\n", ["preset", "out"])
    with pytest.raises(ValueError, match="unknown parameter presett; allowed: preset, out"):
        notebook.check_parameters("# Parameters\npresett = 'lesson'\n", ["preset", "out"])


def test_doctor_says_what_is_missing(monkeypatch, capsys):
    assert notebook.check_environment()
    version = notebook.importlib.metadata.version
    def without(name):
        if name == "papermill":
            raise notebook.importlib.metadata.PackageNotFoundError
        return version(name)
    monkeypatch.setattr(notebook.importlib.metadata, "version", without)
    assert not notebook.check_environment()
    assert "MISS  papermill: none here; install papermill>=2.6, or run make setup" in capsys.readouterr().out


@pytest.mark.parametrize("found, good", [("2.6.0+cpu", True), ("2.10", True), ("3.0.1rc2", True), ("2.5.9", False), ("1.13", False), ("2", False)])
def test_doctor_compares_versions(monkeypatch, capsys, found, good):
    version = notebook.importlib.metadata.version
    monkeypatch.setattr(notebook.importlib.metadata, "version", lambda name: found if name == "torch" else version(name))
    assert notebook.check_environment() == good
    assert (f"ok    torch {found}" if good else f"MISS  torch: {found} here; install torch>=2.6, or run make setup") in capsys.readouterr().out


@pytest.mark.parametrize("inside, told", [(True, "not yet in data/x (quick"), (False, "not yet in {} (quick")])
def test_doctor_names_a_folder_of_the_checkout_without_the_machines_part(monkeypatch, capsys, tmp_path, inside, told):
    monkeypatch.setenv("PROXYLESS_DATA", str(notebook.CHECKOUT / "data" / "x" if inside else tmp_path))
    notebook.check_environment()
    assert told.format(tmp_path) in capsys.readouterr().out


def test_source_on_the_page_is_python_as_it_stands():
    shown = notebook.source(pl.Search.step, pl.rules.TwoPath).data
    method, whole = (part.removesuffix("```\n").removesuffix("```") for part in shown.split("```python\n")[1:])
    assert ast.parse(method).body[0].name == "step" and ast.parse(whole).body[0].name == "TwoPath"
    assert "\n    self.weight_step(" in method and "\n    def estimate(" in whole


# -- python -m proxyless_lite.course.notebook ---------------------------------------------------------------------------------


@pytest.fixture
def executed(monkeypatch, tmp_path):
    """main() with these arguments, whose notebook writes result.json if told to. Returns the parameters that it got."""
    def run(*arguments, writes=None):
        got = {}

        def instead(path, out, parameters):
            got.update(parameters)
            if writes:
                (tmp_path / "result.json").write_text(json.dumps(writes))
            return tmp_path / "x.ipynb"
        monkeypatch.setattr(notebook, "run", instead)
        notebook.main(["x.ipynb", "--out", str(tmp_path), *arguments])
        return got
    return run


def test_parameters_have_the_types_they_look_like():
    given = dict(remeasure="False", target="50.5", seed="-3", dataset="digits", costs="None", day="2026-11", sizes="[1, 2]", odd="1 +",
                 changes="{'a': 1}")
    assert {name: notebook.typed(text) for name, text in given.items()} == dict(
        remeasure=False, target=50.5, seed=-3, dataset="digits", costs=None, day="2026-11", sizes=[1, 2], odd="1 +", changes={"a": 1})


@pytest.mark.parametrize("default, text, value", [
    ("True", "False", False), ("True", "false", False), ("True", "NO", False), ("True", "0", False), ("False", "on", True), ("False", "1", True), ("0.0", "0.5", 0.5),
    ("0", "3", 3), ('"digits"', "3", "3"), ('""', "False", "False"), (None, "[1]", [1])])
def test_a_parameter_is_of_the_kind_of_its_default(default, text, value):
    found = notebook.like(default, "x", text)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize("default, text, told", [("True", "maybe", "-p flip maybe: give True or False"), ("True", "2", "give True or False"), ("0", "abc", "give a number, like 0")])
def test_a_parameter_of_another_kind_is_refused(default, text, told):
    with pytest.raises(ValueError, match=told):
        notebook.like(default, "flip", text)


def test_a_result_of_another_run_is_not_shown(executed, tmp_path, capsys):
    result = dict(params=1, macs=2, network="one block", test_accuracy=0.5, random_accuracies=[0.4, 0.6], search_seconds=1, train_seconds=1,
                  dataset="digits", preset="quick", seed=0)
    executed(writes=result)
    assert "test accuracy   50.00 %" in capsys.readouterr().out
    executed()
    assert "accuracy" not in capsys.readouterr().out and (tmp_path / "result.json").exists()
    executed(writes=result)
    assert "test accuracy   50.00 %" in capsys.readouterr().out


@pytest.mark.parametrize("accuracies, told", [
    ([0.4, 0.6], "50.00 ± 14.14 % (2 of equal cost, mean ± sd, trained alike)"), ([0.4], "40.00 % (one of equal cost, trained alike)")])
def test_a_result_tells_of_the_random_networks(accuracies, told):
    assert f"random networks {told}" in notebook.summary(dict(
        params=1, macs=2, network="one block", test_accuracy=0.5, random_accuracies=accuracies, search_seconds=1, train_seconds=1,
        dataset="digits", preset="quick", seed=0))


@pytest.mark.parametrize(("found", "n", "told"), [
    (0.96, 400, "+1.00 points, no more than chance gives with 400 test images and 3 random networks (± 2.57)"),     # 2 √(94.8 · 5.2 / 400 · (1 + 1/3))
    (0.99, 400, "+4.00 points, more than chance gives with 400 test images and 3 random networks (± 2.57)"),
    (0.93, 10_000, "-2.00 points, no more than chance gives with 10,000 test images and 3 random networks (± 2.31)"),  # 2 √(1² · (1 + 1/3))
    (0.91, 10_000, "-4.00 points, more than chance gives with 10,000 test images and 3 random networks (± 2.31)")])
def test_the_summary_says_what_a_difference_is_worth(found, n, told):
    result = dict(params=1, macs=2, network="x", test_accuracy=found, random_accuracies=[0.94, 0.95, 0.96], search_seconds=1, train_seconds=1,
                  dataset="digits", preset="quick", seed=0)
    assert f"difference      {told}" in notebook.summary(result | {"test_images": n}).splitlines()
    assert "difference" not in notebook.summary(result)


def test_one_image_in_twenty_is_no_more_than_chance():
    result = dict(params=1, macs=2, network="x", test_accuracy=0.95, random_accuracies=[1.0], search_seconds=1, train_seconds=1, dataset="photos",
                  preset="lesson", seed=0, test_images=20)
    assert "-5.00 points, no more than chance" in notebook.summary(result)
    assert "random networks none of equal cost was found" in notebook.summary(result | {"random_accuracies": []})


def test_a_notebook_that_is_not_there_is_told_in_one_line(tmp_path):
    done = subprocess.run([sys.executable, "-m", "proxyless_lite.course.notebook", str(tmp_path / "x.ipynb"), "--out", str(tmp_path / "out")],
                          capture_output=True, text=True, timeout=120, cwd=Path(notebook.__file__).parents[1])
    assert done.returncode == 1 and done.stderr == f"error: [Errno 2] No such file or directory: '{tmp_path / 'x.ipynb'}'\n", done.stderr
    assert not (tmp_path / "out").exists()


def test_wrong_arguments_are_one_line(capsys):
    with pytest.raises(SystemExit) as end:
        notebook.main(["x.ipynb"])
    assert end.value.code == 2 and capsys.readouterr().err == "error: the following arguments are required: --out; see --help\n"
