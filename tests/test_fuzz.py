"""The short form of fuzz.py, and whether it would notice."""

import json

import pytest

import fuzz


@pytest.mark.slow
@pytest.mark.parametrize("kind", fuzz.KINDS)
def test_damaged_files_end_in_a_result_or_in_one_line(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert list(fuzz.run([kind], 0, 200)) == []


@pytest.mark.parametrize("read, told", [
    (lambda path: json.loads(b"{"), "does not name the file in one line"), (lambda path: {}["x"], "KeyError"),
    (lambda path: path.write_bytes(b""), "the user's file was changed"), (lambda path: path.read_bytes(), None)])
def test_what_is_not_handled_is_reported(monkeypatch, tmp_path, read, told):
    monkeypatch.setitem(fuzz.READERS, "image", (fuzz.images, read))
    monkeypatch.chdir(tmp_path)
    found = list(fuzz.run(["image"], 0, 3))
    assert len(found) == (3 if told else 0) and all(told in wrong for *_, wrong in found)


def test_a_content_that_was_executed_is_reported(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owned").touch()
    assert [wrong for *_, wrong in fuzz.run([], 0, 0)] == ["a file's content was executed: the file owned is there"]
