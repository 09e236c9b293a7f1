"""How long each page of the course takes to read: 100 words a minute, half a minute for a figure, 5 seconds for a line of code.

    python tools/reading_time.py notebooks/*.ipynb

Left out: collapsed blocks, cells that slides and site leave out, links' targets. Lines of code are those of cells and of the source
that a cell shows. Ends with status 1 if a page takes longer than LONGEST, or notebook 00 longer than FIRST.
"""

import re
import sys
from pathlib import Path

import nbformat

FIRST, LONGEST = 15, 28  # minutes


def minutes(path):
    """Reading time of a notebook, with its numbers of words, figures and lines of code."""
    words = figures = lines = 0
    for cell in nbformat.read(path, 4).cells:
        if "remove-cell" in cell.metadata.get("tags", []):
            continue
        if cell.cell_type == "markdown":
            words += len(text(cell.source).split())
            continue
        shown = [o.data["text/markdown"] for o in cell.outputs if "text/markdown" in o.get("data", {})]
        lines += sum(bool(line.strip()) for code in (cell.source, *shown) for line in code.splitlines())
        figures += sum("image/png" in o.get("data", {}) for o in cell.outputs)
    return words / 100 + figures / 2 + lines / 12, words, figures, lines


def text(source):
    """What is read of markdown at once."""
    return re.sub(r"<details>.*?</details>|\]\([^)]*\)|\|[-| :]+\|", " ", source, flags=re.DOTALL)


def main():
    paths, late = sys.argv[1:], []
    for path in map(Path, paths):
        taken, words, figures, lines = minutes(path)
        most = FIRST if path.name.startswith("00") else LONGEST
        late += [path.name] * (taken > most)
        print(f"{path.stem:28s} {taken:5.1f} min  (at most {most}; {words:,} words, {figures} figures, {lines} lines of code)")
    if late:
        sys.exit(f"error: longer than that: {', '.join(late)}")


if __name__ == "__main__":
    main()
