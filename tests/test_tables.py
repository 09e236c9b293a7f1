"""The one table format: what is written is read, what was written earlier is read, and what cannot be read is refused in one line."""

import errno
import json
import math
import os
import resource
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

import proxyless_lite as pl
from proxyless_lite import runtime
from proxyless_lite.runtime import Rows, read_table, tables, write_table

ABOUT = {"setting": {"name": "größer → 5 %", "seeds": 2}, "digest": "abc", "machine": {"processor": "EPYC"}}


class Scores(Rows):
    """A table of a code, a count and a score."""

    what, columns = "table of scores", {"code": str, "count": int, "score": float}


# -- written at once --------------------------------------------------------------------------------------------------

def test_a_table_is_read_as_it_was_written(tmp_path):
    frame = pd.DataFrame({"name": ["a, b", "#3", 'say "x"'], "n": [1, 2, 3], "ms": [1 / 3, 2e-9, math.nan]}, index=[7, 8, 9])
    write_table(tmp_path / "deep" / "t.csv", frame, ABOUT, digits=4)
    found = read_table(tmp_path / "deep" / "t.csv")
    assert found.attrs == ABOUT and found[["name", "n"]].to_numpy().tolist() == frame[["name", "n"]].to_numpy().tolist()
    assert found.ms.tolist()[:2] == [0.3333, 2e-9] and math.isnan(found.ms[2])
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["t.csv"], "no half-written file stays behind"


def test_a_written_table_is_a_line_of_json_then_csv(tmp_path):
    write_table(tmp_path / "t.csv", pd.DataFrame({"a": [1], "b": [0.5]}), ABOUT)
    first, rest = (tmp_path / "t.csv").read_text("utf-8").split("\n", 1)
    assert first.startswith("# ") and json.loads(first[2:]) == ABOUT and rest == "a,b\n1,0.5\n"


@pytest.mark.parametrize("path", sorted(pl.runtime.TABLES.glob("*/*.csv")), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_stored_table_is_read(path):
    found = read_table(path)
    pd.testing.assert_frame_equal(found, pd.read_csv(path, comment="#"), check_exact=True)
    first = path.read_text().split("\n", 1)[0]
    assert found.attrs == (json.loads(first[2:]) if first.startswith("#") else {})


def test_floats_are_read_to_the_last_digit(tmp_path):
    values = [0.123456, 1.23457e-07, 98765.4, 1.00001e+22]
    write_table(tmp_path / "t.csv", pd.DataFrame({"x": values}), {})
    assert read_table(tmp_path / "t.csv").x.tolist() == values


def test_text_columns_stay_as_written(tmp_path):
    (tmp_path / "t.csv").write_text("code,n\n007,1\nnan,2\n,3\n")
    assert read_table(tmp_path / "t.csv", {"code": str}).code.tolist() == ["007", "nan", ""]


@pytest.mark.parametrize("text", ["a,b\n1,2", "a,b\r\n1,2\r\n",
                                  "# by hand\na,b\n1,2\n", "\ufeffa,b\n1,2\n", "a,b\n # later\n1,2\n", "#\na,b\n\n1,2\n"])
def test_files_made_by_hand_are_read(text, tmp_path):
    (tmp_path / "t.csv").write_bytes(text.encode())
    found = read_table(tmp_path / "t.csv")
    assert found.to_numpy().tolist() == [[1, 2]] and list(found) == ["a", "b"] and found.attrs == {}


@pytest.mark.parametrize("content, told", [
    (b"", "the file is empty"), (b"# {}\n \n", "the file is empty"), (b"# {half\na\n1\n", "Expecting"), (b"a,b\n1,2,3\n", "more cells"),
    (b"a\n1\n2,3\n", "Expected 1 fields"), (b"\x80\xff", "decode"), (None, "directory"),
])
def test_what_is_no_table_is_refused_in_one_line(content, told, tmp_path):
    path = tmp_path if content is None else tmp_path / "t.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=f"is not a list of prices: .*{told}.*; give another file, or move this one away") as error:
        read_table(path, what="list of prices")
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent.csv"):
        read_table(tmp_path / "absent.csv")


# -- grown row by row -------------------------------------------------------------------------------------------------

def grown(path, *rows, metadata=ABOUT):
    table = Scores(path, metadata)
    for row in rows:
        table.append(*row)
    table.close()
    return table.rows


def test_rows_are_appended_whole_and_found_again(tmp_path):
    assert grown(tmp_path / "deep" / "t.csv", ("01", 1, "0.50"), ("nan", 2, 1.5)).empty
    rows = grown(tmp_path / "deep" / "t.csv", ("a,b", 3, 2), ("# {", 4, 1))
    assert rows[[*Scores.columns]].to_numpy().tolist() == [["01", 1, 0.5], ["nan", 2, 1.5]] and rows.attrs["setting"] == ABOUT["setting"]
    found = Scores.read(tmp_path / "deep" / "t.csv")
    assert found.code.tolist() == ["01", "nan", "a,b", "# {"] and found["count"].tolist() == [1, 2, 3, 4]
    assert read_table(tmp_path / "deep" / "t.csv", Scores.columns).score.tolist() == [0.5, 1.5, 2, 1]


def test_a_row_cut_short_does_not_count_and_is_taken_out(tmp_path):
    path = tmp_path / "t.csv"
    grown(path, ("01", 1, 0.5))
    whole = path.read_bytes()
    path.write_bytes(whole + b"02,2,1")  # would pass for a score of 1
    assert Scores.read(path).code.tolist() == ["01"] == grown(path).code.tolist()
    assert path.read_bytes() == whole


@pytest.mark.parametrize("other", [lambda text: text.replace("\n", "\r"), lambda text: text.replace("code,count,score\n01,1,0.5", "code;count;score\n01;1;0,5")],
                         ids=["line ends", "semicolons"])
def test_what_another_program_saved_in_its_own_form_is_read_and_not_added_to(tmp_path, other):
    path = tmp_path / "t.csv"
    grown(path, ("01", 1, 0.5))
    path.write_bytes(saved := other(path.read_text()).encode())
    with pytest.raises(ValueError, match="t.csv was saved by another program"):
        Scores(path, ABOUT)
    assert path.read_bytes() == saved and read_table(path, Scores.columns).score.tolist() == [0.5]


def test_a_file_with_line_ends_of_windows_is_added_to(tmp_path):
    path = tmp_path / "t.csv"
    grown(path, ("01", 1, 0.5))
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    grown(path, ("02", 2, 0.5))
    assert Scores.read(path).code.tolist() == ["01", "02"]


def test_where_the_disk_is_full_for_a_moment_no_half_row_stays(tmp_path):
    path = tmp_path / "t.csv"
    table, limits = Scores(path, ABOUT), resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 4, limits[1]))
        with pytest.raises(OSError, match="t.csv|File too large"):
            table.append("01", 1, 0.5)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    table.append("02", 2, 0.25)
    table.close()
    assert Scores.read(path).code.tolist() == ["02"]


def test_a_file_system_without_locks_is_written_to(tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")
    monkeypatch.setattr("fcntl.flock", flock)
    assert grown(tmp_path / "t.csv", ("01", 1, 0.5)).empty and Scores.read(tmp_path / "t.csv").code.tolist() == ["01"]


def test_of_several_files_nothing_is_left_where_one_cannot_be_written(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b.partial").mkdir()
    with pytest.raises(OSError, match="cannot be written"):
        runtime.files.write_all(tmp_path, {"a": b"1", "b": b"2"})
    assert sorted(file.name for file in tmp_path.iterdir()) == ["b", "b.partial"]


def test_another_machine_is_noted_where_its_rows_begin(tmp_path):
    path = tmp_path / "t.csv"
    for processor in ("EPYC", "Xeon", "Xeon", "EPYC"):
        grown(path, (processor[0], 1, 0.5), metadata=ABOUT | {"machine": {"processor": processor}})
    rows = Scores.read(path)
    assert rows.processor.tolist() == ["EPYC", "Xeon", "Xeon", "EPYC"] and path.read_text().count("# {") == 3
    assert [machine["processor"] for machine in rows.attrs["machines"]] == ["EPYC", "Xeon", "EPYC"]


@pytest.mark.parametrize("content, told", [
    ("a,b\n1,2", "the file is empty|its columns are"), ("# {}\ncode,score\n", "its columns are code, score, not code, count, score"),
    ("# {}\ncode,count,score\n", "its metadata lack setting, digest, machine"), ("# {}\ncode,count,score\n1,x,2\n", "x"),
])
def test_a_file_of_something_else_is_refused_kept_and_free_again(content, told, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(content)
    for _ in range(2):
        with pytest.raises(ValueError, match=f"t.csv is not a table of scores: .*({told}).*") as refused:
            Scores(path, ABOUT)
        assert "\n" not in str(refused.value) and path.read_text() == content


def test_a_table_of_another_setting_or_other_images_is_refused(tmp_path):
    grown(tmp_path / "t.csv")
    with pytest.raises(ValueError, match="t.csv belongs to another configuration: seeds is 2 there and 3 here"):
        grown(tmp_path / "t.csv", metadata=ABOUT | {"setting": ABOUT["setting"] | {"seeds": 3}})
    with pytest.raises(ValueError, match="digest of the images is 'abc' there and 'def' here"):
        grown(tmp_path / "t.csv", metadata=ABOUT | {"digest": "def"})


def test_one_process_writes(tmp_path):
    table = Scores(tmp_path / "t.csv", ABOUT)
    with pytest.raises(ValueError, match="t.csv is being built by another process"):
        Scores(tmp_path / "t.csv", ABOUT)
    table.close()
    table.close()
    grown(tmp_path / "t.csv")


def test_the_disk_is_waited_for_once_in_a_while_and_at_the_end(tmp_path, monkeypatch):
    now, synced = [0.0], []
    monkeypatch.setattr(tables.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(tables.os, "fsync", lambda file: synced.append(now[0]))
    table = Scores(tmp_path / "t.csv", ABOUT)
    for now[0] in (0.1, 0.5, tables.SYNC, tables.SYNC + 0.5, 2 * tables.SYNC):
        table.append("0", 1, 2)
    assert synced == [tables.SYNC, 2 * tables.SYNC]
    table.close()
    assert len(synced) == 3


def test_a_process_killed_while_it_writes_loses_nothing(tmp_path):
    """Every row that `append` returned from is there, and after it at most one that was being written."""
    script = tmp_path / "writer.py"
    script.write_text("import itertools\nfrom proxyless_lite.runtime import Rows\n\nclass Scores(Rows):\n"
                      "    what, columns = 'table of scores', {'code': str, 'count': int, 'score': float}\n\n"
                      f"table = Scores({str(tmp_path / 't.csv')!r}, {ABOUT!r})\n"
                      "for i in itertools.count(len(table.rows)):\n    table.append('0', i, 0.5)\n    print(i, flush=True)\n")
    for _ in range(2):
        writer = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE,
                                  env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
        said = [writer.stdout.readline() for _ in range(50)]
        time.sleep(0.01)
        writer.send_signal(signal.SIGKILL)
        said += writer.stdout.readlines()
        writer.wait()
        told = int([line for line in said if line.endswith(b"\n")][-1])
        counts = Scores.read(tmp_path / "t.csv")["count"].tolist()
        assert counts == list(range(len(counts))) and told + 1 <= len(counts) <= told + 2
