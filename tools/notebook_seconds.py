"""What each notebook of the course takes: executes them one after another by papermill, and says how long it took.

    python tools/notebook_seconds.py notebooks/*.ipynb --out runs/notebooks --csv data/results/notebook_seconds.csv
"""

import argparse
import csv
import sys
import time
from pathlib import Path

import papermill

from proxyless_lite import runtime


def run(notebook, out):
    """Execute `notebook` in its own folder, with its default parameters. Returns seconds, with the kernel's start."""
    begun = time.perf_counter()
    papermill.execute_notebook(notebook, out / notebook.name, kernel_name="python3", cwd=notebook.parent, progress_bar=False)
    return time.perf_counter() - begun


def rounded(seconds):
    """As README and notebooks say it: "25 s", from a minute on "1.4 min"."""
    fives = max(5, 5 * round(seconds / 5))
    return f"{fives} s" if fives < 60 else f"{seconds / 60:.1f} min"


def main():
    cli = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    cli.add_argument("notebooks", nargs="+", type=Path)
    cli.add_argument("--out", type=Path, required=True, help="folder for the executed notebooks")
    cli.add_argument("--csv", type=Path, required=True, help="file for the table: notebook, seconds, machine")
    args = cli.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    machine = "{processor}, {device}, Python {python}, PyTorch {torch}".format(**runtime.describe())
    rows, failed = [], []
    for notebook in args.notebooks:
        try:
            rows.append((notebook.stem, round(run(notebook, args.out), 1), machine))
            print(f"{rows[-1][1]:7.1f} s  {rounded(rows[-1][1]):8}  {notebook}", flush=True)
        except papermill.PapermillExecutionError as error:
            failed.append(notebook)
            print(f" failed              {notebook}: {error.ename}: {error.evalue}; see {args.out / notebook.name}", flush=True)
    print(f"{sum(seconds for _, seconds, _ in rows):7.1f} s  in all, {len(rows)} of {len(args.notebooks)} notebooks; {machine}")
    if failed:
        sys.exit(f"error: {len(failed)} of {len(args.notebooks)} notebooks failed: {', '.join(map(str, failed))}")
    with args.csv.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([("notebook", "seconds", "machine"), *rows])


if __name__ == "__main__":
    main()
