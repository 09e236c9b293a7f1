"""The scripts in tools/: slides, badges, the animation."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from proxyless_lite import plots

ROOT = Path(__file__).parents[1]


def tool(name):
    spec = importlib.util.spec_from_file_location(f"tools_{name}", ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def course_page():
    """A notebook with every part of the skeleton, executed."""
    return new_notebook(cells=[
        new_markdown_cell("# 02 · How?\n\n**Question.** Why?"),
        new_code_cell('preset = "quick"', execution_count=1, metadata={"tags": ["parameters"]}),
        new_code_cell("import torch", execution_count=2),
        new_markdown_cell("## The idea\n\nFew words.\n\n## By hand\n\nDo it."),
        new_code_cell("1 + 1", execution_count=3, outputs=[new_output("execute_result", {"text/plain": "2"}, execution_count=3)]),
        new_markdown_cell("*Figure: two.* **Takeaway:** two."),
        new_code_cell("widgets.scrub(history, names)", execution_count=4),
        new_markdown_cell("## Exercises\n\n**1.** How many?"),
        new_code_cell("checks.many(None)", execution_count=5),
        new_markdown_cell("**2.** (open) Why?\n\n## Next\n\nNotebook 03."),
    ], metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}})


# -- slides ------------------------------------------------------------------------------------------------------------


def test_slides_follow_the_headings():
    page = course_page()
    before = nbformat.writes(page)
    talk = tool("slides").slides(page)
    nbformat.validate(talk)
    assert [(c.source.split("\n")[0], c.metadata.slideshow.slide_type) for c in talk.cells] == [
        ("# 02 · How?", "slide"), ('preset = "quick"', "skip"), ("import torch", "skip"),
        ("## The idea", "slide"), ("## By hand", "slide"), ("1 + 1", "subslide"), ("*Figure: two.* **Takeaway:** two.", "-"),
        ("widgets.scrub(history, names)", "skip"), ("## Exercises", "skip"), ("checks.many(None)", "skip"), ("**2.** (open) Why?", "skip"),
        ("## Next", "slide")]
    assert nbformat.writes(page) == before, "the notebook itself was changed"


@pytest.mark.parametrize("local", [False, True])
def test_slides_are_written_and_load_local_libraries_where_they_are(tmp_path, local):
    if local:
        (tmp_path / "out" / "node_modules").mkdir(parents=True)
    nbformat.write(course_page(), tmp_path / "02_page.ipynb")
    run = subprocess.run([sys.executable, ROOT / "tools" / "slides.py", tmp_path / "out", tmp_path / "02_page.ipynb"], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    html = (tmp_path / "out" / "02_page.slides.html").read_text()
    assert "By hand" in html and "How many?" not in html and "preset" not in html
    for library in ("reveal.js", "jquery", "require", "MathJax"):
        assert (f"node_modules/{library.lower()}" in html) == local
    assert ("unpkg.com/reveal.js" in html) != local


# -- badges ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def clone(tmp_path):
    """A small repository with a remote on GitHub, like a clone of this one."""
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "README.md").write_text("# proxyless_lite\n\nOne sentence.\n")
    nbformat.write(course_page(), tmp_path / "notebooks" / "02_page.ipynb")
    for words in (["init", "--quiet"], ["remote", "add", "origin", "git@github.com:someone/a-course.git"]):
        subprocess.run(["git", "-C", tmp_path, *words], check=True)
    return tmp_path


def written(clone, *arguments):
    """README and notebook after a run of the script."""
    tool("badges").main(arguments, root=clone)
    return (clone / "README.md").read_text(), (clone / "notebooks" / "02_page.ipynb").read_text()


def test_badges_name_the_remote_and_are_written_once(clone):
    readme, page = written(clone)
    assert readme.startswith("# proxyless_lite\n\n[![Open in Colab]") and readme.endswith("\n\nOne sentence.\n")
    assert "https://colab.research.google.com/github/someone/a-course/blob/main/notebooks/00_start_here.ipynb" in readme
    assert "https://mybinder.org/v2/gh/someone/a-course/main?labpath=notebooks%2F02_page.ipynb" in page
    assert written(clone) == (readme, page), "the second run changed something"
    again, other = written(clone, "--repository", "else/where", "--branch", "release")
    assert "someone" not in again + other and again.count("colab-badge") == 1 and "else/where/blob/release" in again


def test_badges_change_two_cells_of_a_notebook_and_nothing_else(clone):
    written(clone)
    page, before = nbformat.read(clone / "notebooks" / "02_page.ipynb", 4), course_page()
    nbformat.validate(page)
    assert page.cells[0].source.startswith("# 02 · How?\n\n[![Open in Colab]") and page.cells[0].source.endswith("\n\n**Question.** Why?")
    assert page.cells[2].source.startswith("# Google Colab") and page.cells[2].source.endswith("\n\nimport torch")
    same = [(a.source, a.get("outputs"), a.get("execution_count")) == (b.source, b.get("outputs"), b.get("execution_count"))
            for a, b in zip(page.cells, before.cells, strict=True)]
    assert same == [False, True, False] + [True] * (len(same) - 3)


def test_colab_clones_and_installs_once_and_other_machines_do_nothing(clone, monkeypatch):
    written(clone)
    source = nbformat.read(clone / "notebooks" / "02_page.ipynb", 4).cells[2].source
    ran = []
    monkeypatch.setattr(subprocess, "run", lambda words, check: ran.append(words))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delenv("COLAB_RELEASE_TAG", raising=False)
    exec(source, {})
    assert ran == []
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release")
    exec(source, {})
    assert [words[:2] for words in ran] == [["git", "clone"], [sys.executable, "-m"]] and sys.path[0] == "/content/a-course"
    assert ran[0][-2:] == ["https://github.com/someone/a-course", "/content/a-course"] and ran[1][-2:] == ["-e", "/content/a-course"]
    monkeypatch.setattr(os.path, "exists", lambda path: True)
    exec(source, {})
    assert len(ran) == 2, "fetched twice"


def test_badges_refuse_an_address_that_is_not_on_github(clone):
    subprocess.run(["git", "-C", clone, "remote", "set-url", "origin", "https://example.org/a/b.git"], check=True)
    with pytest.raises(ValueError, match="the remote origin is 'https://example.org/a/b.git', no repository on GitHub; give its name"):
        written(clone)
    assert "badge" not in (clone / "README.md").read_text()


@pytest.mark.parametrize("name", ["foo", "a/b/c", "https://github.com/o/n", "/n", "o/"])
def test_badges_refuse_what_is_no_owner_and_name(clone, name):
    before = [path.read_text() for path in (clone / "README.md", clone / "notebooks" / "02_page.ipynb")]
    with pytest.raises(ValueError, match=f"--repository '{name}' is no owner/name"):
        written(clone, "--repository", name)
    assert [path.read_text() for path in (clone / "README.md", clone / "notebooks" / "02_page.ipynb")] == before


@pytest.mark.parametrize("address", ["https://github.com/o/n", "https://github.com/o/n.git", "git@github.com:o/n.git", "ssh://git@github.com/o/n.git/"])
def test_repository_of_an_address(address):
    assert tool("badges").repository_of(address) == "o/n"


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
    ("slides", ["out"], "error: the following arguments are required: notebooks; see --help\n"),
    ("slides", ["out", "absent.ipynb"], "error: [Errno 2] No such file or directory: 'absent.ipynb'\n"),
    ("badges", ["--repository", "foo"], "error: --repository 'foo' is no owner/name, for example someone/proxyless_lite\n")])
def test_wrong_arguments_are_one_line(tmp_path, name, arguments, told):
    run = subprocess.run([sys.executable, ROOT / "tools" / f"{name}.py", *arguments], capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode and run.stderr == told and not list(tmp_path.glob("*.*"))


@pytest.mark.parametrize("name", ["animation", "slides", "badges", "notebook_seconds"])
def test_help_does_nothing_else(tmp_path, name):
    run = subprocess.run([sys.executable, ROOT / "tools" / f"{name}.py", "--help"], capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 0 and run.stdout.startswith("usage: ") and not list(tmp_path.iterdir())
