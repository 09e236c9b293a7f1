"""Measured latencies of many networks, with every visit kept: the data set of Appendix B."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..architecture import Architecture, named_space
from ..runtime import read_table, refusing, write_table
from .rounds import COLUMNS, Visits, corrected, summarize, visits_path

WHAT = "file of timed networks"


@dataclass(frozen=True)
class Timings:
    """`architectures`; `visits`, one row each in measured order: round, item (index of the network), ms, reference_ms;
    and `metadata`, where they come from."""

    architectures: list
    visits: pd.DataFrame
    metadata: dict

    def repeats(self):
        """Corrected milliseconds (networks, rounds), see rounds.corrected; NaN where there is no visit."""
        rounds = 1 + self.visits["round"].max()
        return self.visits.assign(ms=corrected(self.visits)).pivot(index="item", columns="round", values="ms").reindex(
            index=range(len(self.architectures)), columns=range(rounds)).to_numpy()

    def milliseconds(self):
        """The median over the rounds, (networks,)."""
        return np.nanmedian(self.repeats(), axis=1)

    def save(self, path):
        """Write one row per network: `choices`, its code, ms, sd, visits. The visits are in a file next to it."""
        codes = [architecture.code for architecture in self.architectures]
        frame = summarize(self.visits).reindex(range(len(codes))).assign(choices=codes)[["choices", "ms", "sd", "visits"]]
        write_table(path, frame, self.metadata, digits=5)

    @classmethod
    def load(cls, path):
        """Read what `save` wrote. Raises ValueError naming the file and what is wrong in it."""
        visits, table = Visits.read(visits_path(path)), read_table(path, {"choices": str}, WHAT)
        metadata = {key: value for key, value in visits.attrs.items() if key != "machines"}
        with refusing(path, WHAT):
            space = named_space(**metadata["space_settings"])
            architectures = [Architecture.from_code(space, code) for code in table["choices"]]
        return cls(architectures, visits[[*COLUMNS]], metadata)
