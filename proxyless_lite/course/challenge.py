"""A challenge for a class: the best network under a MACs limit, by any method, looked up in a table in which every network is trained.

    challenge = Challenge(macs=600_000)
    challenge.train(("conv 3x3", "Zero", "MB7 1x1", "Zero"))     # accuracy of one training, as a search would see it
    challenge.submit("my team", challenge.best)                   # a row of the scoreboard, ranked by all its other trainings
"""

from contextlib import closing

import pandas as pd

from .. import runtime
from ..architecture import Architecture
from ..ground_truth import table as truth


class Scoreboard(runtime.Rows):
    """A row per entry: `trainings` paid so far by that team, `accuracy` of the seeds that it did not see, and `regret`, both in [0, 1]."""

    what, keys = "scoreboard", ("setting", "digest")
    columns = {"team": str, "network": str, "macs": int, "trainings": int, "accuracy": float, "regret": float}


class Challenge:
    """Networks with at most `macs` multiply-adds of the table called `name`, and the scoreboard in the file `board`, if one is given.

    `seed` chooses which training of each network is seen. Raises ValueError for a limit under which there is no network.
    """

    def __init__(self, macs: int, name: str = "cifar10", board=None, seed: int = 0):
        self.table, runs = truth.load(name), truth.read(truth.FOLDER / f"{name}.csv")
        self.space, self.macs, self.name, self.board = truth.setting_of(self.table.attrs).space, macs, name, board
        if macs < self.table.macs.min():
            raise ValueError(f"no network has at most {macs:,} MACs; they have from {self.table.macs.min():,} to {self.table.macs.max():,}")
        accuracy = runs.pivot(index="network", columns="seed", values="accuracy")
        seen = seed % accuracy.columns.size
        self.seen, self.judged = accuracy.iloc[:, seen], accuracy.drop(columns=accuracy.columns[seen]).mean(axis=1)
        self.known: dict[str, float] = {}  # code -> accuracy, of networks that have been trained
        self.entries, self.told = 0, {}  # told: team -> its trainings that are on the board

    def code(self, network) -> str:
        """Code of a network, an Architecture or names of operations. Raises ValueError for one of another space or above the limit."""
        if isinstance(network, Architecture):
            if network.space != self.space:
                raise ValueError(f"the network is one of {network.space}, the challenge is about {self.space}")
            network = network.choices
        self.space.check(tuple(network))
        code = Architecture(self.space, self.space.canonical(tuple(network))).code
        if (own := self.table.macs[code]) > self.macs:
            raise ValueError(f"network {code} has {own:,} MACs; the limit is {self.macs:,}")
        return code

    def train(self, network) -> float:
        """Top-1 test accuracy of one training, in [0, 1]. Asking again is free."""
        code = self.code(network)
        self.known[code] = float(self.seen[code])
        return self.known[code]

    @property
    def best(self) -> Architecture:
        """The best network trained so far. Raises ValueError if there is none."""
        if not self.known:
            raise ValueError("nothing has been trained yet; call train first, or submit a network of your own")
        return Architecture.from_code(self.space, max(self.known, key=lambda code: self.known[code]))

    def submit(self, team: str, network):
        """Enter a network: returns the scoreboard, a DataFrame, best first. An entry costs one training, too; those of a team add up."""
        team, code, judged = str(team), self.code(network), self.judged[self.table.index[self.table.macs <= self.macs]]
        accuracy, regret = float(self.judged[code]), float(judged.max() - self.judged[code])

        def row(trainings):
            return team, code, int(self.table.macs[code]), trainings, round(accuracy, 4), round(regret, 4)
        own = len(self.known) + self.entries + 1
        if not self.board:
            self.entries += 1
            return ranked([row(own)])
        with closing(Scoreboard(self.board, {"setting": {"table": self.name, "macs": self.macs}, "digest": self.table.attrs["digest"]})) as rows:
            earlier = rows.rows.trainings[rows.rows.team == team].max() if team in set(rows.rows.team) else 0
            rows.append(*row(int(earlier) + own - self.told.get(team, 0)))
            self.told[team] = own  # what is on the board already
            self.entries += 1      # one that could not be written costs nothing
        return ranked(Scoreboard.read(self.board)[[*Scoreboard.columns]].to_numpy().tolist())


def ranked(rows):
    """The scoreboard as a DataFrame: the most accurate first, of equal ones the cheapest."""
    return pd.DataFrame(rows, columns=[*Scoreboard.columns]).sort_values(["accuracy", "trainings"], ascending=[False, True], ignore_index=True)
