"""How long notebooks took, as papermill recorded it in the executed files.

    python tools/notebook_times.py runs/notebooks/*.ipynb --csv proxyless_lite/tables/results/notebook_seconds.csv
"""

import json
from pathlib import Path

import pandas as pd

from proxyless_lite import runtime
from proxyless_lite.runtime.cli import OneLineParser, run


def seconds(path):
    """Seconds that the notebook took, including the start of its kernel. Raises ValueError if it did not finish."""
    record = json.loads(path.read_text())["metadata"].get("papermill") or {}
    if record.get("exception") or not record.get("duration"):
        raise ValueError(f"{path} did not run to its end under papermill; run make notebooks")
    return round(record["duration"], 1)


def main():
    line = OneLineParser(description="Write the run times of executed notebooks into a table.")
    line.add_argument("notebooks", nargs="+", type=Path, help="notebooks that papermill wrote")
    line.add_argument("--csv", required=True, help="file for the table: notebook, seconds, machine")
    args = line.parse_args()
    machine = "{processor}, {device}, Python {python}, PyTorch {torch}".format(**runtime.describe())
    table = pd.DataFrame({"notebook": [path.stem for path in args.notebooks], "seconds": [seconds(path) for path in args.notebooks],
                          "machine": machine})
    table.to_csv(args.csv, index=False)
    print(table[["notebook", "seconds"]].to_string(index=False), f"{table.seconds.sum():.1f} s in all, {machine}", sep="\n")


if __name__ == "__main__":
    run(main)
