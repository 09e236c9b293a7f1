"""A table that grows by a row a finished run: a heading (JSON after "# "), the columns, whole rows; killed, it goes on."""

import io
import json
import os
from pathlib import Path

import pandas as pd

from .files import check_same, only_writer
from .pool import pool
from .progress import Progress


class Rows:
    """The file at `path`, open to append to: `rows` holds what it had. A second writer of it is refused.

    `about` is the heading of a new one. Of an old one "setting" and "digest" must be the same; where "machine" is another,
    a line before the rows that follow says so. `read` is read_rows for this kind of table, with all but the path given.
    Raises ValueError for a file that is no table, is one of another setting, or is being written.
    """

    def __init__(self, path, about, columns, read):
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.file = open(path, "a+b", buffering=0)
        only_writer(self.file)
        if path.stat().st_size == 0:
            self.file.write(f"# {json.dumps(about)}\n{','.join(columns)}\n".encode())
        found, self.rows = read(path)
        check_same(path, *({**its["setting"], "digest of the images": its["digest"]} for its in (found, about)))
        self.file.truncate(path.read_bytes().rfind(b"\n") + 1)  # of a row cut short nothing is kept
        if found["machines"][-1] != about["machine"]:
            self.file.write(f"# {json.dumps(about['machine'])}\n".encode())  # of the rows that follow

    def append(self, *cells):
        """Add a row, whole or not at all."""
        self.file.write((",".join(map(str, cells)) + "\n").encode())
        os.fsync(self.file)

    def fill(self, start, tasks, workers, done, total, label):
        """Append the rows of all `tasks`, as runtime.pool gives them, with progress: `done` of `total` rows are there already."""
        progress = Progress(total, done, label)
        for row in pool(start, tasks, workers):
            self.append(*row)
            progress.step()
        progress.close()

    def close(self):
        self.file.close()


def read_rows(path, columns, what, text=()):
    """(about, rows) of a table: its heading as a dict, with `machines` in the order of the rows; a DataFrame of `columns`.

    The columns named in `text` hold strings, and one more, `processor`, says where a row was made; the heading is in
    `rows.attrs` too. A last row cut short does not count. Raises ValueError naming the file where it is no `what`.
    """
    try:
        whole = [line for line in Path(path).read_text().splitlines(keepends=True) if line.endswith("\n")]
        about, *later = (json.loads(line.removeprefix("# ")) for line in whole if line.startswith("# "))
        rows = pd.read_csv(io.StringIO("".join(whole)), comment="#", dtype=dict.fromkeys(text, str))
        if list(rows) != list(columns):
            raise ValueError(f"columns {', '.join(rows)}")
        about["machines"] = [about["machine"], *later]
        about["setting"], about["digest"]
        rows["processor"] = processors(whole[2:], about["machines"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no {what} ({error!r})"[:200]) from None
    rows.attrs = about
    return about, rows


def processors(lines, machines):
    """Of each row among the lines, the processor of the machine that it was made on: a line that starts with # says there was another."""
    used, found = iter(machines), []
    machine = next(used)
    for line in lines:
        if line.startswith("# "):
            machine = next(used)
        elif line.strip():
            found.append(machine.get("processor"))
    return found
