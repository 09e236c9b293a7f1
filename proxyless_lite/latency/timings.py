"""Measured latencies of many networks, with every visit kept: the data set of Appendix B."""

import json
import string
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ..architecture import Architecture, named_space
from ..runtime import write_atomically
from .rounds import corrected, read_visits, summarize, visits_path


DIGITS = string.digits + string.ascii_letters


@dataclass(frozen=True)
class Timings:
    """`architectures`; `visits`, one row each in measured order: round, item (index of the network), ms, reference_ms;
    and `about`, where they come from."""

    architectures: list
    visits: pd.DataFrame
    about: dict

    def repeats(self):
        """Corrected milliseconds (networks, rounds), see rounds.corrected; NaN where there is no visit."""
        rounds = 1 + self.visits["round"].max()
        return self.visits.assign(ms=corrected(self.visits)).pivot(index="item", columns="round", values="ms").reindex(
            index=range(len(self.architectures)), columns=range(rounds)).to_numpy()

    def milliseconds(self):
        """The median over the rounds, (networks,)."""
        return np.nanmedian(self.repeats(), axis=1)

    def save(self, path):
        """Write one row a network: its choices as digits (index of the candidate on each edge), ms, sd, visits.

        The visits stand in a file beside it."""
        edges = self.architectures[0].space.edges()
        codes = ["".join(DIGITS[e.candidates.index(c)] for e, c in zip(edges, a.choices)) for a in self.architectures]
        frame = summarize(self.visits).reindex(range(len(codes))).assign(choices=codes)[["choices", "ms", "sd", "visits"]]
        write_atomically(path, (f"# {json.dumps(self.about)}\n" + frame.to_csv(index=False, float_format="%.5g")).encode())

    @classmethod
    def load(cls, path):
        """Read what `save` wrote. Raises ValueError naming the file and what is wrong in it."""
        path = Path(path)
        about, rows = read_visits(visits_path(path))
        try:
            frame = pd.read_csv(path, comment="#", dtype={"choices": str}, keep_default_na=False)
            space = named_space(**about["space_settings"])
            edges = space.edges()
            found = [Architecture(space, tuple(e.candidates[DIGITS.index(i)] for e, i in zip(edges, code, strict=True))) for code in frame.choices]
        except (KeyError, ValueError, IndexError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} holds no timings of networks: {error!r}"[:200]) from None
        visits = pd.DataFrame(rows, columns=["round", "item", "ms", "reference_ms"])
        return cls(found, visits, about)
