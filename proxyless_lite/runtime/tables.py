"""One format for every table: a line of JSON after "# ", the metadata, then CSV. Written whole, or grown row by row."""

import csv
import errno
import io
import json
import os
import re
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pandas as pd

from .files import check_same, only_writer, to_json, write_atomically
from .pool import pool
from .progress import Progress

SYNC = 1.0  # seconds between syncs to the disk: the most that a power cut loses; a killed process loses nothing
UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, IsADirectoryError)


def write_table(path, frame, metadata, digits=6):
    """Write a DataFrame without its index, and `metadata`, a dict; floats have `digits` significant digits.

    The file is complete or unchanged.
    """
    write_atomically(path, heading(metadata) + frame.to_csv(index=False, float_format=f"%.{digits}g").encode())


def read_table(path, dtypes=None, what="table"):
    """The table in a file, a DataFrame; `.attrs` is its metadata, {} for a file without.

    `dtypes` maps columns to types; cells of a str column stay as written. Raises FileNotFoundError where there is no file,
    ValueError naming the file, `what` it should be, and what is wrong.
    """
    with refusing(path, what):
        return parse(lines_of(path), dtypes or {})


class Rows:
    """A table that grows by a row per finished run, and resumes after a kill. Only one process writes it.

    A subclass says what its table is: `what` to call it, its `columns` with their types, and the `keys` of its metadata.
    `rows` is what the file held when it was opened, as `read` gives it.
    """

    what, columns, keys = "table of runs", {}, ("setting", "digest", "machine")

    def __init__(self, path, metadata):
        """Open the file at `path`, or start it with `metadata`. A different `metadata["machine"]` is recorded in the file.

        Raises ValueError in one line for a file that is not such a table, belongs to another setting, is being written, or was saved
        by another program in a form of its own.
        """
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.file, self.synced = open(path, "a+b", buffering=0), time.monotonic()
        try:
            only_writer(self.file)
            if path.stat().st_size == 0:
                self.write(heading(metadata) + csv_line(self.columns))
            self.rows = self.read(path)
            self.check(path, self.rows.attrs, metadata)
            saved = path.read_bytes()
            if csv_line(self.columns).strip() not in saved or b"\n" not in saved:
                raise ValueError(f"{path} was saved by another program, with other commas or line ends; put the original back, or give another file")
            self.file.truncate(saved.rfind(b"\n") + 1)  # drop a row cut short
            if metadata.get("machine") not in (None, self.rows.attrs["machines"][-1]):
                self.write(heading(metadata["machine"]))  # of the rows that follow
        except BaseException:
            self.file.close()  # else the traceback would keep the lock
            raise

    @classmethod
    def read(cls, path):
        """The rows so far, a DataFrame with one more column, `processor`: where each was made.

        `.attrs` is the metadata, with `machines` in the order of the rows. A last row cut short does not count. Raises
        what `read_table` does, also for other columns and for metadata that lack a key.
        """
        with refusing(path, cls.what):
            lines = [line for line in lines_of(path) if line.endswith("\n")]
            rows = parse(lines, cls.columns)
            if list(rows) != list(cls.columns):
                raise ValueError(f"its columns are {', '.join(rows)}, not {', '.join(cls.columns)}")
            if missing := [key for key in cls.keys if key not in rows.attrs]:
                raise ValueError(f"its metadata lack {', '.join(missing)}")
            cls.check_rows(rows)
            machines = machine_of_each(lines)
            rows.attrs["machines"] = [rows.attrs.get("machine"), *headings(lines)[1:]]
            rows["processor"] = [machine.get("processor") if isinstance(machine, dict) else machine for machine in machines]
        return rows

    @staticmethod
    def check_rows(rows):
        """Raises ValueError for invalid rows."""

    @staticmethod
    def check(path, saved, ours):
        """Raises ValueError unless runs with these metadata belong in one table."""
        check_same(path, *({**its["setting"], "digest of the images": its["digest"]} for its in (saved, ours)))

    def write(self, content):
        """Write bytes at the end, whole or not at all. Raises OSError where the disk is full."""
        written = self.file.write(content)
        if written < len(content):  # where the disk has room for a part
            self.file.truncate(self.file.tell() - written)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self.file.name)

    def append(self, *cells):
        """Add a row, whole or not at all. Raises OSError where the disk is full."""
        self.write(csv_line(cells))
        if time.monotonic() - self.synced >= SYNC:
            os.fsync(self.file)
            self.synced = time.monotonic()

    def fill(self, start, tasks, workers, done, total, label):
        """Append the rows of all `tasks`, as runtime.pool gives them, with progress: `done` of `total` rows exist already."""
        progress = Progress(total, done, label)
        for row in pool(start, tasks, workers):
            self.append(*row)
            progress.step()
        progress.close()

    def close(self):
        """Sync to the disk, and let others write."""
        if not self.file.closed:
            os.fsync(self.file)
            self.file.close()


@contextmanager
def refusing(path, what):
    """A context that turns errors of reading into one ValueError: the file, why it is not a `what`, and what to do."""
    try:
        yield
    except UNREADABLE as error:
        reason = " ".join(f"no {error}".split() if isinstance(error, KeyError) else str(error).split()) or type(error).__name__
        raise ValueError(f"{path} is not a {what}: {reason[:200]}; give another file, or move this one away") from None


def heading(metadata):
    """Bytes of the line of metadata."""
    return b"# " + to_json(metadata) + b"\n"


def csv_line(cells):
    """Bytes of one row."""
    text = io.StringIO()
    marked = str(next(iter(cells))).startswith("#")  # would be read as a comment
    csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL if marked else csv.QUOTE_MINIMAL).writerow(cells)
    return text.getvalue().encode()


def lines_of(path):
    """The lines of a file, with metadata as they were before a spreadsheet program cut them into cells."""
    with open(path, encoding="utf-8-sig") as file:
        return [restored(line) if line.startswith(('"# {', "# {")) else line for line in file]


def restored(line):
    """A line of metadata, from one that was perhaps read as cells between commas, semicolons or tabs, and quoted."""
    for between in ",;\t":
        text = ",".join(next(csv.reader([line], delimiter=between))) if line.startswith('"') else line
        text = text.rstrip(",;\t\n ")  # empty cells
        with suppress(ValueError):
            json.loads(text[1:])
            return f"{text}\n"
    return line


def is_heading(line):
    """Whether a line holds metadata; others that start with "# " are comments."""
    return line.startswith("# {")


def is_row(line):
    """Whether a line holds cells, of a row or the names of the columns; not all of them empty."""
    return line.strip(",;\t\n\r\" ") not in ("", "#") and not line.lstrip().startswith("# ")


def headings(lines):
    """The lines of metadata as a list of dicts."""
    return [json.loads(line[1:]) for line in lines if is_heading(line)]


def parse(lines, dtypes):
    """The DataFrame in the lines of a file, with the metadata of its first heading. Raises ValueError in one line."""
    rows = list(filter(is_row, lines))
    if not rows:
        raise ValueError("the file is empty")
    cells, between = "".join(rows), next((mark for mark in ";\t" if mark in rows[0] and "," not in rows[0]), ",")
    how = dict(sep=between, decimal="," if between == ";" and re.search(r"\d,\d", cells) else ".")  # as spreadsheets write in many countries
    frame = pd.read_csv(io.StringIO(cells), dtype=dtypes, **how)
    if not isinstance(frame.index, pd.RangeIndex):
        raise ValueError("a row has more cells than there are columns")
    text = pd.read_csv(io.StringIO(cells), dtype=str, keep_default_na=False,  # a code may be "nan"
                       usecols=lambda name: dtypes.get(name) is str, **how)
    frame = frame.assign(**text)
    frame.attrs = next(iter(headings(lines)), {})
    return frame


def machine_of_each(lines):
    """The machine of each row among the lines: a later heading names that of the rows after it."""
    machine, found = None, []
    for line in lines:
        if is_heading(line):
            machine = json.loads(line[1:]) if found else json.loads(line[1:]).get("machine")
        elif is_row(line):
            found.append(machine)
    return found[1:]  # the first is the line of the columns
