"""The scripts in tools/: what notebooks take, chosen networks against random ones, the animation."""

import importlib.util
import itertools
import json
import os
import re
import sys
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from PIL import Image

import proxyless_lite as pl
from proxyless_lite.config import described
from proxyless_lite.course import plots
from proxyless_lite.runtime.cli import run

ROOT = Path(__file__).parents[1]


def module(name):
    spec = importlib.util.spec_from_file_location(f"tools_{name}", ROOT / "tools" / f"{name}.py")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


@pytest.fixture
def tool(tmp_path, monkeypatch, capsys):
    """Run a script with arguments in an empty folder: (exit status or message, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)

    def call(name, *arguments):
        script = module(name)
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
        status = 0
        try:
            run(script.main)
        except SystemExit as stop:
            status = stop.code
        return status, *capsys.readouterr()
    return call


# -- how long pages take to read ---------------------------------------------------------------------------------------


def page(path, *cells):
    nbformat.write(nbformat.v4.new_notebook(cells=list(cells)), path)


def test_the_reading_time_counts_words_figures_and_lines_of_code(tool):
    code = nbformat.v4.new_code_cell
    page("01_a.ipynb", nbformat.v4.new_markdown_cell("ten " * 10 + "<details><summary>x</summary>" + "hidden " * 500 + "</details>"),
         code("a = 1\n\nb = 2", outputs=[nbformat.v4.new_output("display_data", {"image/png": "aGVsbG8="})]),
         code("assert a", metadata={"tags": ["remove-cell"]}),
         code("source(f)", outputs=[nbformat.v4.new_output("execute_result", {"text/markdown": "line\n" * 9})]))
    status, out, _ = tool("reading_time", "01_a.ipynb")
    assert status == 0 and f"{10 / 100 + 1 / 2 + 12 / 12:.1f} min" in out and "10 words, 1 figures, 12 lines" in out


@pytest.mark.parametrize("name, words, late", [("00_a.ipynb", 1490, False), ("00_a.ipynb", 1510, True), ("01_a.ipynb", 2790, False), ("01_a.ipynb", 2810, True)])
def test_a_page_that_takes_too_long_is_named(tool, name, words, late):
    page(name, nbformat.v4.new_markdown_cell("word " * words))
    status, _, _ = tool("reading_time", name)
    assert status == (f"error: longer than that: {name}" if late else 0)


# -- what notebooks take -----------------------------------------------------------------------------------------------


def executed(path, **record):
    """A notebook as papermill leaves it; `record` is what it writes of the run."""
    path.write_text(json.dumps({"cells": [], "metadata": {"papermill": record}, "nbformat": 4, "nbformat_minor": 5}))
    return path


def test_the_times_are_those_that_papermill_recorded(tool):
    executed(Path("01_a.ipynb"), duration=12.3456, exception=None)
    executed(Path("02_b.ipynb"), duration=60.04, exception=None)
    status, out, _ = tool("notebook_times", "01_a.ipynb", "02_b.ipynb", "--csv", "t.csv")
    assert status == 0 and "72.3 s in all" in out
    table = pd.read_csv("t.csv")
    assert list(table.columns) == ["notebook", "seconds", "machine"]
    assert dict(zip(table.notebook, table.seconds)) == {"01_a": 12.3, "02_b": 60.0}
    assert table.machine.str.contains("PyTorch").all()


@pytest.mark.parametrize("record", [{}, {"duration": 3.0, "exception": True}, {"duration": None, "exception": None}], ids=str)
def test_a_notebook_that_did_not_end_has_no_time(tool, record):
    executed(Path("01_a.ipynb"), **record)
    status, *_ = tool("notebook_times", "01_a.ipynb", "--csv", "t.csv")
    assert status.startswith("error: 01_a.ipynb did not run to its end") and "\n" not in status and not Path("t.csv").exists()


# -- chosen and random networks ----------------------------------------------------------------------------------------


def compared(seed, chosen, randoms, dataset="data/cifar10", epochs=2, tuned=8):
    """The result of a run of notebook 11 as a file, with accuracies of the last chosen network and of the random ones."""
    space, choices = {"name": "staged"}, ["Zero", "conv 3x3", "DW 5x5", "MB3 3x3"]
    path = Path(f"{seed}.json")
    path.write_text(json.dumps({
        "dataset": dataset, "preset": "lesson", "unit": "ms", "precision": "float32", "recipe": {"epochs": epochs, "seed": seed}, "machine": {"processor": "x"}, "seed": seed,
        "choice": {"tuned": tuned, "train": {"seed": seed}}, "architecture": {"space": space, "choices": choices}, "random_accuracies": randoms, "random_choices": [choices] * len(randoms),
        "targets": {"1.5": {"choices": choices, "test_accuracy": 0.1}, "2": {"choices": choices, "test_accuracy": chosen}}}))
    return str(path)


def test_gains_are_paired_and_have_students_interval(tool):
    paths = [compared(1, 0.86, [0.84, 0.85]), compared(2, 0.87, [0.85, 0.85]), compared(3, 0.85, [0.84, 0.84])]
    status, out, _ = tool("compared", *paths, "--csv", "t.csv")
    assert status == 0
    # gains 1.5, 2, 1: mean 1.5, standard error 0.5 / √3, t of 2 degrees of freedom 4.303
    assert "+1.50 points, 95 % interval +0.26 to +2.74, n = 3" in out
    table = pd.read_csv("t.csv", comment="#", dtype={"network": str})
    assert list(table.kind) == ["chosen", "chosen", "random", "random"] * 2 + ["chosen", "chosen", "random", "random"]
    assert {*table.network} == {"0324"} and {*table.target[table.kind == "random"]} == {2.0}


def test_the_network_with_the_most_macs_stands_in_the_table_and_changes_no_gain(tool):
    paths = [compared(1, 0.86, [0.84, 0.85]), compared(2, 0.87, [0.85, 0.85])]
    _, without, _ = tool("compared", *paths, "--csv", "t.csv")
    Path("runs").mkdir()
    Path("1.json").rename("runs/result.json")
    Path("runs/most_macs.json").write_text(json.dumps({"2": {"choices": ["conv 3x3"] * 4, "test_accuracy": 0.9}}))
    _, out, _ = tool("compared", "runs/result.json", paths[1], "--csv", "t.csv")
    table = pd.read_csv("t.csv", comment="#", dtype={"network": str})
    assert out == without and table[table.kind == "most MACs"][["seed", "target", "network", "accuracy"]].values.tolist() == [[1, 2.0, "3333", 0.9]]


SEARCHED = pl.spaces.chain(edges=3, width=4, classes=10, input_size=8, candidates=("Zero", "DW 7x7", "conv 3x3", "MB3 3x3"))


UNEVEN = pl.spaces.staged(widths=(4, 8), edges=(1, 1), classes=10, input_size=8, entry=("conv 3x3 pooled", "conv 3x3"))  # edges with two candidates and with five


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.8])
@pytest.mark.parametrize("space", [SEARCHED, UNEVEN], ids=["chain", "uneven"])
def test_the_most_macs_within_a_limit_are_those_of_all_networks_that_keep_it(space, share):
    networks = [pl.Architecture(space, choices) for choices in itertools.product(*(edge.candidates for edge in space.edges()))]
    price = pl.costs.costs(space, "params")
    limit = min(map(price.cost_of, networks)) * (1 - share) + max(map(price.cost_of, networks)) * share
    expected = max(network.macs() for network in networks if price.cost_of(network) <= limit)
    found = module("most_macs").most_macs(space, price, limit)
    assert found.macs() == expected and price.cost_of(found) <= limit
    with pytest.raises(ValueError, match="costs at most 1 params"):
        module("most_macs").most_macs(space, price, 1)


IMAGES = {"limit": 500, "valid": 0.3, "seed": 3}


def run_of_notebook_11(folder, **changed):
    """A folder with the result.json of a run on the digits."""
    recipe = described(pl.TrainConfig(epochs=1, cutout=0, drop_path=0.0, seed=3))
    (folder / "result.json").write_text(json.dumps({
        "dataset": "digits", "preset": "quick", "unit": "MACs", "costs": "macs", "precision": "float32", "seed": 3, "images": IMAGES, "test_images": 360, "recipe": recipe,
        "architecture": {"space": {"name": SEARCHED.name, **SEARCHED.settings}}, "targets": {"20000": {}, "30000": {}}, **changed}))


def test_the_networks_with_the_most_macs_are_trained_like_the_others(tool, tmp_path):
    run_of_notebook_11(tmp_path)
    status, *_ = tool("most_macs", str(tmp_path))
    found = json.loads((tmp_path / "most_macs.json").read_text())
    assert status == 0 and [*found] == ["20000", "30000"]
    data = pl.data.load("digits", **IMAGES)
    for limit, of in found.items():
        network = pl.Architecture(SEARCHED, tuple(of["choices"]))
        with pl.runtime.threads(1):
            report = pl.train(network, data, pl.TrainConfig(epochs=1, cutout=0, drop_path=0.0, seed=3), device="cpu")
        assert network.macs() <= float(limit) and of["test_accuracy"] == report.test_accuracy


def test_a_run_on_other_images_is_refused(tool, tmp_path):
    run_of_notebook_11(tmp_path, test_images=10)
    status, *_ = tool("most_macs", str(tmp_path))
    assert "tested on 10 images, but digits now has 360" in status and not (tmp_path / "most_macs.json").exists()


def test_the_best_of_some_random_networks_is_that_of_all_sets():
    best_of = module("compared").best_of
    accuracies = [0.81, 0.85, 0.83, 0.86, 0.80]
    table = pd.DataFrame({"kind": ["chosen", *["random"] * 5], "accuracy": [0.99, *accuracies]})
    for count in range(1, 6):
        every = [max(each) for each in itertools.combinations(accuracies, count)]
        assert best_of(table, count) == pytest.approx(sum(every) / len(every))
    for count in (0, 6):
        with pytest.raises(ValueError, match="the table has 5"):
            best_of(table, count)


@pytest.mark.parametrize("second, told", [
    (dict(seed=1), "two of the runs have one seed"), (dict(seed=2, dataset="digits"), "dataset is 'digits' there and 'cifar10' here"),
    (dict(seed=2, epochs=3), "recipe is"), (dict(seed=2, tuned=12), "choice is .*12.* there and .*8.* here")])
def test_runs_that_do_not_belong_together_make_no_table(tool, second, told):
    first = compared(1, 0.86, [0.84])
    status, *_ = tool("compared", first, compared(**{"chosen": 0.86, "randoms": [0.84], **second}), "--csv", "t.csv")
    assert re.search(told, status) and not Path("t.csv").exists()


# -- animation ---------------------------------------------------------------------------------------------------------


def history(epochs, edges=4, candidates=3):
    p = np.random.default_rng(0).dirichlet(np.ones(candidates), (epochs, edges))
    return pd.DataFrame({"epoch": range(epochs), "phase": "search", "probabilities": list(p)})


def test_animation_has_a_frame_an_epoch_and_rests_on_the_last(tmp_path):
    path = plots.animate(history(3), ["a", "b", "c"], tmp_path / "alpha.gif")
    with Image.open(path) as movie:
        durations = [movie.seek(i) or movie.info["duration"] for i in range(movie.n_frames)]
        movie.seek(0)
        first = np.asarray(movie.convert("RGB"), int)
        movie.seek(movie.n_frames - 1)
        assert (np.asarray(movie.convert("RGB"), int) != first).any()
    assert len(durations) >= 3 and durations[0] == 250 and sum(durations[2:]) == 250 + 2000


def test_animation_of_nothing_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no epoch"):
        plots.animate(history(0), ["a", "b", "c"], tmp_path / "alpha.gif")


def test_the_committed_animation_is_small():
    assert os.path.getsize(ROOT / "figures" / "alpha.gif") <= 300_000


# -- command lines -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, arguments, told", [
    ("animation", [], "error: the following arguments are required: path; see --help\n"),
    ("notebook_times", ["a.ipynb"], "error: the following arguments are required: --csv; see --help\n"),
    ("notebook_times", ["absent.ipynb", "--csv", "t.csv"], "error: [Errno 2] No such file or directory: 'absent.ipynb'")])
def test_wrong_arguments_are_one_line(tool, name, arguments, told):
    status, _, error = tool(name, *arguments)
    assert told in (status, error) and not list(Path().iterdir())


@pytest.mark.parametrize("name", ["animation", "compared", "most_macs", "notebook_times"])
def test_help_does_nothing_else(tool, name):
    status, out, _ = tool(name, "--help")
    assert status == 0 and out.startswith("usage: ") and not list(Path().iterdir())
