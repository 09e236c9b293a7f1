"""The table of a setting: one row per finished training run, and what the rows say of every network."""

from pathlib import Path

from .. import runtime
from ..architecture import Architecture
from ..costs import costs
from .settings import Setting, SettingRows

FOLDER = runtime.TABLES / "ground_truth"


class Runs(SettingRows):
    """The table while it grows: `done` holds its runs (code, seed), `append` adds one."""

    what = "table of ground truth"
    columns = {"network": str, "seed": int, "accuracy": float, "loss": float, "seconds": float}

    def __init__(self, path, setting):
        images = setting.load()
        super().__init__(path, {
            "command": f"python -m proxyless_lite.ground_truth build {setting.name}", "setting": setting.describe(),
            "digest": images.digest, "test_images": len(images.test),
            "machine": {**runtime.describe(), "device": "CPU, 1 thread a run"}})
        self.done = set(zip(self.rows["network"], self.rows["seed"]))

    def append(self, network, seed, accuracy, loss, seconds):
        """Add the row of one run, whole or not at all."""
        super().append(network, seed, f"{accuracy:.4f}", f"{loss:.4f}", f"{seconds:.1f}")


read = Runs.read  # of a path: the rows, a DataFrame, with the metadata in its attrs


def load(name):
    """The table called `name` ("cifar10", "digits", or the path of a file) as a DataFrame, one row per distinct network.

    Index: its code (Architecture.code). Columns: `choices`, the operations; `members`, how many choices
    of operations give this network; `macs`; `runs`, how many seeds have been trained; `mean` and `sd` of their top-1 test
    accuracy in [0, 1]; `seconds` of CPU per run. Only networks with a finished run are included. `attrs`: the metadata.
    Raises ValueError for a file that is not a table, or has no run yet.
    """
    path = Path(name) if str(name).endswith(".csv") else FOLDER / f"{name}.csv"
    rows = read(path)
    if rows.empty:
        raise ValueError(f"{path} holds no finished run yet")
    setting = setting_of(rows.attrs)
    macs, members = costs(setting.space, "macs"), setting.networks()
    table = rows.groupby("network").agg(runs=("accuracy", "size"), mean=("accuracy", "mean"), sd=("accuracy", "std"),
                                        seconds=("seconds", "mean"))
    networks = [Architecture.from_code(setting.space, code) for code in table.index]
    table.insert(0, "choices", [network.choices for network in networks])
    table.insert(1, "members", [members[code] for code in table.index])
    table.insert(2, "macs", [int(macs.cost_of(network)) for network in networks])
    table.attrs = rows.attrs
    return table


def setting_of(metadata):
    """The Setting that the metadata of a table describe."""
    return Setting.of(metadata["setting"])


def seed_sd(table):
    """Standard deviation of accuracy between seeds of one network, pooled over all networks with several.

    Raises ValueError where none has several.
    """
    several = table[table.runs > 1]
    if several.empty:
        raise ValueError("no network of the table has two runs yet, so the spread between seeds is unknown; finish more runs")
    return float(((several.runs - 1) * several.sd ** 2).sum() / (several.runs - 1).sum()) ** 0.5


def alike(table, macs, within=0.05):
    """The networks of a table of equal cost: with MACs `within` 5 % of the given number."""
    return table[(table.macs - macs).abs() <= within * macs]


def rank(table, architecture, within=0.05):
    """How good an Architecture is among the networks of the table whose MACs are `within` 5 % of its own, as a dict.

    `better`: how many of these `networks` have a higher mean accuracy; `regret`: how far it is below the best, also in
    standard deviations between seeds; `ties`: how many are within two of these of the best, and whether it is `tied`
    itself; `blind`: the mean accuracy of a random choice of operations in the band. Raises ValueError for an architecture of
    another space, and for a network that has not been trained yet.
    """
    setting = setting_of(table.attrs)
    if architecture.space != setting.space:
        raise ValueError(f"the architecture is one of {architecture.space}, the table is about {setting.space}")
    found = Architecture(setting.space, setting.space.canonical(architecture.choices)).code
    if found not in table.index:
        raise ValueError(f"network {found} is not in the table yet: {len(table)} of {len(setting.networks())} networks are")
    own, sd = table.loc[found], seed_sd(table)
    band = alike(table, own.macs, within)
    regret = band["mean"].max() - own["mean"]
    blind = (band["mean"] * band.members).sum() / band.members.sum()
    return {"network": found, "accuracy": own["mean"], "runs": int(own.runs), "macs": int(own.macs), "networks": len(band),
            "better": int((band["mean"] > own["mean"]).sum()), "blind": blind, "regret": regret, "regret_sd": regret / sd,
            "ties": int((band["mean"] >= band["mean"].max() - 2 * sd).sum()), "tied": bool(regret <= 2 * sd)}
