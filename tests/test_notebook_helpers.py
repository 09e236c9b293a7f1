"""What notebooks call: refused parameters, the doctor, source on the page."""

import ast

import pytest

import proxyless_lite as pl
from proxyless_lite import notebook


def test_misspelt_notebook_parameter_is_refused():
    notebook.check_parameters("# Parameters\npreset = 'lesson'\nout = 'x'\n", ["preset", "out"])
    with pytest.raises(ValueError, match="unknown parameter presett; allowed: preset, out"):
        notebook.check_parameters("# Parameters\npresett = 'lesson'\n", ["preset", "out"])


def test_doctor_says_what_is_missing(monkeypatch, capsys):
    assert notebook.doctor()
    version = notebook.importlib.metadata.version
    def without(name):
        if name == "papermill":
            raise notebook.importlib.metadata.PackageNotFoundError
        return version(name)
    monkeypatch.setattr(notebook.importlib.metadata, "version", without)
    assert not notebook.doctor()
    assert "MISS  papermill" in capsys.readouterr().out


def test_source_on_the_page_is_python_as_it_stands():
    shown = notebook.source(pl.Search.step, pl.rules.TwoPath).data
    method, whole = (part.removesuffix("```\n").removesuffix("```") for part in shown.split("```python\n")[1:])
    assert ast.parse(method).body[0].name == "step" and ast.parse(whole).body[0].name == "TwoPath"
    assert "\n    self.weight_step(" in method and "\n    def estimate(" in whole
