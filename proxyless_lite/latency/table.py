"""A latency table: milliseconds of blocks, as measured here or as the paper's authors released them for the Pixel 1."""

import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import pandas as pd
import yaml

from ..architecture import named_space
from ..runtime import read_table, refusing, write_table
from ..spaces import BY_NAME, Block
from . import pixel1
from .rounds import measured_on

YAML = ".yaml", ".yml"
SHAPE = [f.name for f in fields(Block) if f.name != "make"]  # operation, in_channels, …: what identifies a row


@dataclass(frozen=True)
class Entry:
    """Milliseconds of a block, their standard deviation between measurements, and how many there were."""

    ms: float
    sd: float = math.nan
    count: int = 1


class Table:
    """Block -> milliseconds. `metadata` says where the numbers come from: device, threads, batch, versions, date.

    A missing block is a KeyError that names it; there is no default. Zero costs nothing and needs no entry.
    Raises ValueError, naming the block, for milliseconds that are negative or not finite.
    """

    def __init__(self, entries, metadata=None):
        self.entries, self.metadata = dict(entries), dict(metadata or {})
        for block, entry in self.entries.items():
            if not (math.isfinite(entry.ms) and entry.ms >= 0):
                raise ValueError(f"latency of {block} is {entry.ms} ms; it must be a finite number, not negative")

    def __getitem__(self, block):
        """Milliseconds of a Block, or of its printed name: "MB6 7x7 80→96 s1 14x14"."""
        if is_zero(block):
            return 0.0
        if isinstance(block, str):
            block = self._named(block)
        if block not in self.entries:
            raise KeyError(f"the latency table has no entry for {block}{' with' if block.residual else ' without'} residual; "
                           f"measure it, merge a table that has it, or fit a latency.Model to predict it")
        return self.entries[block].ms

    def _named(self, name):
        found = [block for block in self.entries if str(block) == name]
        if len(found) > 1:
            raise KeyError(f"the latency table has {name!r} with and without residual; ask with a Block, which says which")
        if not found:
            raise KeyError(f"the latency table has no entry {name!r}; it has {len(self)}, for example "
                           f"{str(next(iter(self.entries), 'none'))!r}")
        return found[0]

    def __contains__(self, block):
        return is_zero(block) or block in (map(str, self.entries) if isinstance(block, str) else self.entries)

    def __len__(self):
        return len(self.entries)

    def __iter__(self):
        return iter(self.entries)

    def input_sizes(self):
        """Input sizes in pixels of the networks of these blocks, a list: those of the stems, which take 3 channels."""
        return sorted({block.input_size for block in self.entries if block.in_channels == 3})

    def merge(self, other: "Table") -> "Table":
        """Both tables in one; a block in both gets the mean, weighted by count. Where both were measured next to the same
        reference network (that of their space), the other's drift is corrected first: its entries are multiplied by reference_ms
        / other's reference_ms.

        Raises ValueError for tables of different devices, threads, batches, GPUs or processors. A table that does not name
        its GPU or processor merges only with another such table.
        """
        ours, theirs = ({**{key: table.metadata.get(key) for key in ("device", "threads", "batch")}, **measured_on(table.metadata)}
                        for table in (self, other))
        for key in ours:
            if ours[key] != theirs[key]:
                raise ValueError(f"cannot merge latency tables of different {key}: {ours[key]!r} and {theirs[key]!r}")
        same_reference = (self.metadata.get("space") == other.metadata.get("space")
                          and all("reference_ms" in table.metadata for table in (self, other)))
        ratio = self.metadata["reference_ms"] / other.metadata["reference_ms"] if same_reference else 1.0
        merged = dict(self.entries)
        for block, entry in other.entries.items():
            scaled = Entry(entry.ms * ratio, entry.sd * ratio, entry.count)
            merged[block] = mean(merged[block], scaled) if block in merged else scaled
        return Table(merged, {**other.metadata, **self.metadata})

    def to_frame(self) -> pd.DataFrame:
        """One row per block: operation, in_channels, out_channels, input_size, stride, residual, ms, sd, count."""
        rows = [{**{name: getattr(block, name) for name in SHAPE}, **asdict(entry)} for block, entry in self.entries.items()]
        return pd.DataFrame(rows, columns=[*SHAPE, "ms", "sd", "count"])

    def save(self, path: str | Path):
        """Write the table as CSV, see runtime.write_table. Raises ValueError for a name that `load` would take for YAML."""
        if Path(path).suffix in YAML:
            raise ValueError(f"{path}: tables are written as CSV; give a name that ends in .csv")
        write_table(path, self.to_frame(), self.metadata)

    @classmethod
    def load(cls, path: str | Path) -> "Table":
        """Read what `save` wrote, or the YAML the paper's authors released (safely: nothing in it is executed).

        Raises ValueError naming the file and what is wrong in it.
        """
        path = Path(path)
        frame = None if path.suffix in YAML else read_table(path, what="latency table")
        with refusing(path, "latency table"):
            return read_yaml(path.read_text()) if frame is None else from_frame(frame)

    @classmethod
    def pixel1(cls, root=None):
        """The table the paper's authors released for the Pixel 1, downloaded on first use (see pixel1.fetch)."""
        return cls.load(pixel1.fetch(root))

    def __repr__(self):
        told = [f"{key} {self.metadata[key]}" for key in ("device", "threads", "batch", "date") if key in self.metadata]
        return f"Table of {len(self)} blocks ({', '.join(told)})"


def is_zero(block):
    """Whether a Block, or the printed name of one, is Zero."""
    return getattr(block, "operation", block).split(" ")[0] == "Zero"


def read_yaml(text):
    """The table in the released format. Raises ValueError for other text."""
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None
    rows = pixel1.read(content)
    return Table({block: Entry(*values) for block, values in rows.items()}, pixel1.ABOUT)


def mean(a, b):
    """The mean of two entries, weighted by count."""
    count = a.count + b.count
    return Entry((a.count * a.ms + b.count * b.ms) / count, math.sqrt((a.count * a.sd**2 + b.count * b.sd**2) / count), count)


def from_frame(frame):
    """The table that `to_frame` gave, with the metadata in `attrs`; rows of one block are merged, weighted by count.

    Raises ValueError for any other frame, naming the row.
    """
    missing = [name for name in [*SHAPE, "ms"] if name not in frame]
    if missing:
        raise ValueError(f"columns {', '.join(missing)} are missing; it has {', '.join(map(str, frame.columns))}")
    if frame.empty:
        raise ValueError("it has no rows")
    entries, fixed = {}, fixed_of(frame.attrs)
    for number, row in enumerate(frame.to_dict("records"), 1):
        try:
            block = Block(named(row["operation"]), *(whole(row, name) for name in SHAPE[1:5]), is_true(row["residual"]))
            count = whole(row, "count") if pd.notna(row.get("count")) else 1
            entry = Entry(decimal(row, "ms"), decimal(row, "sd") if "sd" in row else math.nan, count)
        except ValueError as error:
            raise ValueError(f"row {number}: {error}") from None
        block = fixed.get(block, block)
        entries[block] = mean(entries[block], entry) if block in entries else entry
    return Table(entries, frame.attrs)


def fixed_of(metadata):
    """The fixed blocks of the space that a table names, each with what builds its module; none of a space of one's own."""
    settings = metadata.get("space_settings")
    return {b: b for b in named_space(**settings).fixed_blocks()} if settings and settings.get("name") in BY_NAME else {}


def named(operation):
    if not isinstance(operation, str) or not operation.strip():
        raise ValueError(f"column operation must hold a name, not {operation!r}")
    return operation.strip()


def decimal(row, column):
    """The number in a column of a row."""
    try:
        return float(row[column])
    except ValueError:
        raise ValueError(f"column {column} must hold numbers, not {row[column]!r}") from None


def whole(row, column):
    """The whole number in a column of a row; 32.0 is one."""
    value = decimal(row, column)
    if not value.is_integer():
        raise ValueError(f"column {column} must hold whole numbers, not {row[column]!r}")
    return int(value)


def is_true(value):
    if str(value).lower() not in ("true", "false"):  # spreadsheets write TRUE
        raise ValueError(f"column residual must hold True or False, not {value!r}")
    return str(value).lower() == "true"
