"""Processes: foreign kernels, parameters of notebooks, output that takes only ASCII, ranks without an address, wrapped checkpoints."""

import json
import logging
import math
import os
import subprocess
import sys

import nbformat
import pytest
import torch
from nbformat.v4 import new_code_cell, new_notebook
from torch import nn
from torch.testing import assert_close

import proxyless_lite as pl
from proxyless_lite.course import notebook

KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}


def written(path, *cells):
    """A notebook of these cells, the first with its parameters."""
    first, *others = cells
    cells = [new_code_cell(first, metadata={"tags": ["parameters"]}), *map(new_code_cell, others)]
    nbformat.write(new_notebook(cells=cells, metadata=KERNEL), path)
    return path


def test_a_foreign_kernel_called_python3_does_not_take_over(tmp_path, monkeypatch, capsys):
    spec = tmp_path / "jupyter/kernels/python3"
    spec.mkdir(parents=True)
    (spec / "kernel.json").write_text(json.dumps({"argv": ["false", "-f", "{connection_file}"], "display_name": "x", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    written(tmp_path / "x.ipynb", "name = ''\nnumber = 1\nwhole = None",
            "import sys; print('ran in', sys.executable)", "print(repr(name), repr(number), repr(whole))")
    notebook.main([str(tmp_path / "x.ipynb"), "--out", str(tmp_path / "out"), "-p", "name", "2024", "-p", "number", "3", "-p", "whole", "[1]"])
    told = capsys.readouterr().out
    assert f"ran in {sys.executable}" in told and "'2024' 3 [1]" in told
    assert os.environ["JUPYTER_PATH"] == str(tmp_path / "jupyter")


@pytest.mark.parametrize("default, kept", [("'digits'", True), ('""', True), ("None", False), ("3", False), ("0.5", False), ("[]", False), (None, False)])
def test_only_a_parameter_whose_default_is_a_text_stays_one(default, kept):
    assert notebook.is_text(default) == kept


def command(*arguments, **environment):
    return subprocess.run([sys.executable, "-m", *arguments], capture_output=True, text=True, errors="replace", timeout=300,
                          env={**os.environ, "OMP_NUM_THREADS": "1", **environment})


def test_a_search_goes_on_where_only_ascii_can_be_printed(tmp_path):
    done = command("proxyless_lite.search", "--epochs", "1", "--warmup-epochs", "0", "--images", "300", "--out", str(tmp_path),
                   PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr[-500:]
    assert "\\xd7" in done.stdout and (tmp_path / "architecture.json").exists()  # images of 8×8


def test_a_log_that_takes_only_ascii_does_not_end_a_run(monkeypatch, tmp_path):
    with open(tmp_path / "log", "w", encoding="ascii") as narrow:
        monkeypatch.setattr(sys, "stdout", narrow)
        pl.runtime.progress.Console().emit(logging.LogRecord("x", logging.INFO, "", 0, "α of 3×3", None, None))
    assert (tmp_path / "log").read_text() == "\\u03b1 of 3\\xd73\n"


@pytest.mark.parametrize("environment, told", [
    (dict(WORLD_SIZE="two"), "error: WORLD_SIZE='two' in the environment must be a whole number"),
    (dict(WORLD_SIZE="2", RANK="0,1"), "error: RANK='0,1' in the environment must be a whole number"),
    (dict(WORLD_SIZE="2", RANK="0", MASTER_ADDR="", MASTER_PORT=""), "error: the 2 ranks cannot reach each other ("),
    (dict(WORLD_SIZE="1", RANK="0", GLOO_SOCKET_IFNAME="bond7"), "")])
def test_ranks_that_cannot_be_are_told_in_one_line(tmp_path, environment, told):
    done = command("proxyless_lite.search", "--forecast", **environment) if told else command("proxyless_lite.search", "--help", **environment)
    lines = done.stderr.splitlines()
    assert (not told and done.returncode == 0) or (done.returncode == 1 and lines[-1].startswith(told) and "Traceback" not in done.stderr), lines[-3:]


def test_an_empty_world_size_is_none(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "")
    monkeypatch.setenv("RANK", "")
    assert pl.runtime.engine("cpu").world_size == 1


@pytest.mark.parametrize("wrap", [("module.",), ("_orig_mod.",), ("module.", "_orig_mod."), ("_orig_mod.", "module.")])
def test_weights_of_a_wrapped_network_are_loaded(tmp_path, wrap):
    theirs, ours = (nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)) for _ in range(2))
    torch.save({"state_dict": {"".join(wrap) + key: value for key, value in theirs.state_dict().items()}}, tmp_path / "w.pt")
    pl.runtime.load_weights(ours, tmp_path / "w.pt")
    assert_close(ours.state_dict(), theirs.state_dict(), rtol=0, atol=0)


def test_a_part_of_a_network_called_module_is_no_wrapper(tmp_path):
    theirs, ours = (nn.ModuleDict({"module": nn.Linear(2, 2), "other": nn.Linear(2, 2)}) for _ in range(2))
    torch.save(theirs.state_dict(), tmp_path / "w.pt")
    pl.runtime.load_weights(ours, tmp_path / "w.pt")
    assert_close(ours.state_dict(), theirs.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("files, left", [
    ({"memory.max": "4000\n", "memory.current": "3500\n", "memory.stat": "anon 3000\ninactive_file 200\n"}, 700),
    ({"memory.max": "max\n", "memory.current": "3500\n", "memory.stat": ""}, math.inf),
    ({"memory.max": "3000", "memory.current": "3500", "memory.stat": "inactive_file 200"}, 0),
    ({"memory/memory.limit_in_bytes": "4000", "memory/memory.usage_in_bytes": "1000", "memory/memory.stat": "inactive_file 1\ntotal_inactive_file 50"}, 3050),
    ({}, math.inf)], ids=["second version", "no limit", "over the limit", "first version", "none"])
def test_memory_that_a_container_still_has(tmp_path, monkeypatch, files, left):
    (tmp_path / "memory").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    found = pl.runtime.machine.left_in_container(tmp_path)
    assert found == left
    monkeypatch.setattr(pl.runtime.machine, "left_in_container", lambda: found)
    assert pl.runtime.free_memory(torch.device("cpu")) <= found
