"""A latency table: milliseconds of blocks, as measured here or as the paper's authors released them for the Pixel 1."""

import json
import math
from dataclasses import asdict, dataclass, fields
from io import StringIO
from pathlib import Path

import pandas as pd
import yaml

from ..architecture import named_space
from ..runtime import write_atomically
from ..spaces import Block
from . import released
from .rounds import measured_on

YAML = ".yaml", ".yml"
SHAPE = [f.name for f in fields(Block) if f.name != "make"]  # operation, in_channels, …: what names a row


@dataclass(frozen=True)
class Entry:
    """Milliseconds of a block, their standard deviation between measurements, and how many there were."""

    ms: float
    sd: float = math.nan
    count: int = 1


class Table:
    """Block -> milliseconds. `about` says where the numbers come from: device, threads, batch, versions, date.

    A block that is not there is a KeyError that names it; no default stands in. Zero costs nothing and needs no entry.
    Raises ValueError, naming the block, for milliseconds that are negative or not finite.
    """

    def __init__(self, entries, about=None):
        self.entries, self.about = dict(entries), dict(about or {})
        for block, entry in self.entries.items():
            if not (math.isfinite(entry.ms) and entry.ms >= 0):
                raise ValueError(f"latency of {block} is {entry.ms} ms; it must be a finite number, not negative")

    def __getitem__(self, block):
        """Milliseconds of a Block, or of one named as it prints: "MB6 7x7 80→96 s1 14x14"."""
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
        """Input sizes in pixels of the networks whose blocks these are, a list: those of the stems, which take 3 channels."""
        return sorted({block.input_size for block in self.entries if block.in_channels == 3})

    def merge(self, other):
        """Both tables in one. Where both were measured beside the same reference network (that of their space), the
        other's drift is taken out first: its entries are multiplied by reference_ms / other's reference_ms. A block in both gets the mean, weighted by count.

        Raises ValueError for tables of different devices, threads, batches, GPUs or processors. A table that does not name
        its GPU or processor merges only with another such table.
        """
        ours, theirs = ({**{key: table.about.get(key) for key in ("device", "threads", "batch")}, **measured_on(table.about)}
                        for table in (self, other))
        for key in ours:
            if ours[key] != theirs[key]:
                raise ValueError(f"cannot merge latency tables of different {key}: {ours[key]!r} and {theirs[key]!r}")
        beside_the_same = all("reference_ms" in t.about for t in (self, other)) and self.about.get("space") == other.about.get("space")
        ratio = self.about["reference_ms"] / other.about["reference_ms"] if beside_the_same else 1.0
        merged = dict(self.entries)
        for block, entry in other.entries.items():
            scaled = Entry(entry.ms * ratio, entry.sd * ratio, entry.count)
            merged[block] = mean(merged[block], scaled) if block in merged else scaled
        return Table(merged, {**other.about, **self.about})

    def to_frame(self):
        """One row a block: operation, in_channels, out_channels, input_size, stride, residual, ms, sd, count."""
        rows = [{**{name: getattr(block, name) for name in SHAPE}, **asdict(entry)} for block, entry in self.entries.items()]
        return pd.DataFrame(rows, columns=[*SHAPE, "ms", "sd", "count"])

    def save(self, path):
        """Write CSV with `about` as JSON in its first line, after "# ". Raises ValueError for a name that `load` would take for YAML."""
        if Path(path).suffix in YAML:
            raise ValueError(f"{path}: tables are written as CSV; give a name that ends in .csv")
        text = f"# {json.dumps(self.about, ensure_ascii=False)}\n{self.to_frame().to_csv(index=False, float_format='%.6g')}"
        write_atomically(path, text.encode())

    @classmethod
    def load(cls, path):
        """Read what `save` wrote, or the YAML the paper's authors released (safely: nothing in it is executed).

        Raises ValueError naming the file and what is wrong in it.
        """
        path = Path(path)
        read = read_yaml if path.suffix in YAML else read_csv
        try:
            return read(path.read_text())
        except (ValueError, KeyError, TypeError, OverflowError, IsADirectoryError, yaml.YAMLError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ValueError(f"{path} is no latency table: {reason[:200]}") from None

    @classmethod
    def pixel1(cls, root=None):
        """The table the paper's authors released for the Pixel 1, downloaded on first use (see released.fetch)."""
        return cls.load(released.fetch(root))

    def __repr__(self):
        return f"Table of {len(self)} blocks ({', '.join(f'{k} {self.about[k]}' for k in ('device', 'threads', 'batch', 'date') if k in self.about)})"


def is_zero(block):
    """Whether a Block, or one named as it prints, is Zero."""
    return getattr(block, "operation", block).split(" ")[0] == "Zero"


def read_yaml(text):
    """The released format."""
    rows = released.read(yaml.safe_load(text))
    return Table({block: Entry(*values) for block, values in rows.items()}, released.ABOUT)


def mean(a, b):
    """The mean of two entries, weighted by count."""
    count = a.count + b.count
    return Entry((a.count * a.ms + b.count * b.ms) / count, math.sqrt((a.count * a.sd**2 + b.count * b.sd**2) / count), count)


def read_csv(text):
    """Our own format."""
    about = json.loads(text[2:text.index("\n")]) if text.startswith("# {") and "\n" in text else {}
    if not text.strip():
        raise ValueError("the file is empty")
    frame = pd.read_csv(StringIO(text), comment="#")
    missing = [name for name in [*SHAPE, "ms"] if name not in frame]
    if missing:
        raise ValueError(f"columns {', '.join(missing)} are missing; it has {', '.join(map(str, frame.columns))}")
    if frame.empty:
        raise ValueError("it has no rows")
    if not all(map(is_number, frame.ms)):
        raise ValueError(f"column ms must hold numbers, not {next(v for v in frame.ms if not is_number(v))!r}")
    entries, fixed = {}, fixed_of(about)
    for row in frame.to_dict("records"):
        sizes = (int(row[name]) for name in ("in_channels", "out_channels", "input_size", "stride"))
        block = Block(row["operation"], *sizes, is_true(row["residual"]))
        entries[fixed.get(block, block)] = Entry(float(row["ms"]), float(row.get("sd", math.nan)), int(row.get("count", 1)))
    return Table(entries, about)


def fixed_of(about):
    """The fixed blocks of the space that a table names, each with what builds its module."""
    return {b: b for b in named_space(**about["space_settings"]).fixed_blocks()} if "space_settings" in about else {}


def is_number(value):
    try:
        float(value)
    except ValueError:
        return False
    return True


def is_true(value):
    if str(value) not in ("True", "False"):
        raise ValueError(f"column residual must hold True or False, not {value!r}")
    return str(value) == "True"
