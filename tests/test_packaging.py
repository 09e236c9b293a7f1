"""The package without its repository: what an import loads, what a wheel holds, what is logged, which commands there are."""

import contextlib
import io
import logging
import os
import subprocess
import sys
import zipfile
from importlib.metadata import entry_points, version
from pathlib import Path

import pytest

import proxyless_lite as pl
from proxyless_lite import runtime
from proxyless_lite.runtime.progress import Console, log_to_console

ROOT = Path(__file__).parents[1]
HEAVY = {"matplotlib", "seaborn", "papermill", "IPython", "ipywidgets", "onnx", "onnxscript", "onnxruntime", "sklearn", "scipy"}
COMMANDS = {"proxyless-search": "proxyless_lite.search.__main__:cli", "proxyless-latency": "proxyless_lite.latency.__main__:cli",
            "proxyless-export": "proxyless_lite.export.__main__:cli"}


def python(code, **environment):
    return subprocess.run([sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True, cwd="/", check=True).stdout


# -- import ------------------------------------------------------------------------------------------------------------


def test_an_import_loads_nothing_heavy():
    loaded = python("import sys, proxyless_lite; print(*{name.split('.')[0] for name in sys.modules})", PYTHONPATH=str(ROOT)).split()
    assert "torch" in loaded and HEAVY & set(loaded) == set()


@pytest.mark.slow
def test_without_the_extras_the_package_still_works(tmp_path):
    """Only the format "onnx" is refused, in one line that names the extra."""
    blocked = sorted(HEAVY - {"sklearn", "scipy"})
    code = f"""
import sys
sys.modules.update(dict.fromkeys({blocked}))
import proxyless_lite as pl
from torch import nn
print(len(pl.latency.Table.load(pl.runtime.TABLES / "latency" / "chain_cpu.csv")) > 0, pl.data.load("digits").shape)
model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
pl.export(model, {str(tmp_path)!r}, input_size=2, formats=["weights"])
try:
    pl.export(model, {str(tmp_path)!r}, input_size=2)
except ImportError as error:
    print(error)
"""
    said = python(code, PYTHONPATH=str(ROOT)).splitlines()
    assert said[0].startswith("True (3, 8, 8)")
    assert said[-1] == "format 'onnx' needs onnx, onnxscript, onnxruntime; install proxyless_lite[export], or leave out that format"


def test_the_version_is_that_of_the_installation():
    assert pl.__version__ == version("proxyless_lite")


def test_what_is_loaded_late_is_an_attribute_like_any_other():
    assert pl.latency.Table.__module__ == "proxyless_lite.latency.table"
    with pytest.raises(AttributeError, match="'proxyless_lite' has no attribute 'nonsense'"):
        pl.nonsense  # noqa: B018


# -- commands ----------------------------------------------------------------------------------------------------------


def test_commands_are_those_of_the_modules(monkeypatch, capsys):
    found = {point.name: point for point in entry_points(group="console_scripts") if point.name in COMMANDS}
    if len(found) < len(COMMANDS):
        pytest.skip("installed before these commands were added; run make setup")
    for name, point in found.items():
        assert point.value == COMMANDS[name]
        monkeypatch.setattr(sys, "argv", [name, "--help"])
        with pytest.raises(SystemExit) as stop:
            point.load()()
        assert stop.value.code == 0 and capsys.readouterr().out.startswith("usage: ")


# -- what is logged ----------------------------------------------------------------------------------------------------


def progress():
    runtime.Progress(1, label="counting").step(loss=0.5)


def test_progress_is_on_standard_output(capsys):
    progress()
    assert capsys.readouterr().out == "counting 100 %, loss 0.5, 0 s left\n"


def test_a_redirected_output_receives_it(capsys):
    with contextlib.redirect_stdout(io.StringIO()) as text:
        progress()
    assert text.getvalue().startswith("counting 100 %") and capsys.readouterr().out == ""


def test_a_caller_can_silence_it(capsys):
    log = logging.getLogger("proxyless_lite")
    log.setLevel(logging.WARNING)
    try:
        progress()
    finally:
        log.setLevel(logging.INFO)
    assert capsys.readouterr() == ("", "")


@pytest.fixture
def fresh_log():
    """The package's logger as it is before the import, put back afterwards."""
    log = logging.getLogger("proxyless_lite")
    before = log.level, log.handlers, log.propagate
    log.setLevel(logging.NOTSET)
    log.handlers, log.propagate = [], True
    yield log
    log.setLevel(before[0])
    _, log.handlers, log.propagate = before


@pytest.mark.parametrize("prepare", [lambda log: log.setLevel("ERROR"), lambda log: log.addHandler(logging.NullHandler())],
                         ids=["level", "handler"])
def test_what_a_caller_has_set_before_the_import_stays(fresh_log, prepare, capsys):
    prepare(fresh_log)
    log_to_console()
    progress()
    assert capsys.readouterr() == ("", "")


def test_a_handler_is_attached_once_and_a_root_handler_shows_nothing_twice(fresh_log, capsys, monkeypatch):
    monkeypatch.setattr(logging.getLogger(), "handlers", [Console()])
    log_to_console()
    log_to_console()
    progress()
    assert capsys.readouterr().out.count("counting") == 1


# -- the wheel ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_wheel_from_an_archive_holds_the_package_and_its_tables(tmp_path):
    """As pip makes it from `git archive`, which has no .git and no .venv; pip fetches setuptools for that."""
    source, listed = tmp_path / "source", subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT,
                                                          capture_output=True, text=True, check=True).stdout.splitlines()
    for name in listed:
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, source], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    package = {name for name in listed if name.startswith("proxyless_lite/") and (ROOT / name).is_file()}
    assert package <= names and not {name for name in names - package if ".dist-info/" not in name}
    assert "proxyless_lite/tables/paper/tables.csv" in names and "proxyless_lite/tables/latency/mobile_cpu_table_a.csv" in names
    assert "proxyless_lite/latency/bench.sh" in names
