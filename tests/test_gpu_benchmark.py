"""benchmarks/gpu.py, tiny and on the CPU: every section that needs no GPU runs, and what can be right or wrong there is right."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SECTIONS = {"machine", "starts", "parity", "resume", "mobile", "forecast", "tree", "gates", "resident", "packed", "streamed", "quick"}
NEEDS_GPU = {"waits", "clock", "together"}
CORRECT = {  # bars that are judged at every size
    *(f"parity: {what}, {space}, relative difference" for what in ("gates", "weights") for space in ("chain", "tree", "mobile")),
    *(f"parity: alpha, {rule}, relative difference" for rule in ("two_path", "exact", "trapezoid", "reinforce", "combined")),
    *(f"parity: weights, {saving}, relative difference" for saving in ("recomputed", "micro-batches without batch statistics")),
    "starts: the default device is the one asked for", "starts: weight steps with a finite loss",
    "resume: weights and α against a search never stopped, relative difference", "resume: epochs of a search that went to the CPU",
    "gates: error of an α step / standard deviation between batches", "gates: error of an α step / error in bfloat16",
    "tree: losses of graphed steps and of eager ones, relative difference", "quick: exit status of the search",
    *(f"{section}: runs" for section in SECTIONS),
}
COSTS = {  # bars that tiny networks do not tell
    "mobile: weight step / plain step", "mobile: images/s of weight steps", "mobile: α step / weight step",
    "mobile: memory of a weight step / plain step", "mobile: memory of all paths / weight step",
    "forecast: weight step and the measured one, the larger over the smaller", "forecast: α step and the measured one, the larger over the smaller",
    "tree: images/s of weight steps", "tree: graphed training step / eager one", "resident: images/s, shifted",
    "resident: images/s, resized and distorted", "packed: images/s", "quick: validation accuracy of the found network",
}


@pytest.mark.slow
def test_every_section_runs_and_every_bar_on_correctness_is_met(tmp_path):
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), "--device", "cpu", "--small", "--out", "gpu.json"]
    done = subprocess.run(command, cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout == "", done.stderr[-3000:]
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert {name: section["status"] for name, section in found["sections"].items()} == {
        **dict.fromkeys(SECTIONS, "done"), **dict.fromkeys(NEEDS_GPU, "needs a GPU")}
    assert {name: bar["met"] for name, bar in found["bars"].items()} == {**dict.fromkeys(CORRECT, True), **dict.fromkeys(COSTS)}
    assert all(math.isfinite(bar["value"]) for name, bar in found["bars"].items() if not name.endswith(": runs"))
    assert found["small"] and found["machine"]["torch"] and "gpu.py --device cpu --small" in found["command"] and found["seed"] == 0
