"""Slides of notebooks for reveal.js; what is a slide follows from their headings.  python tools/slides.py runs/slides notebooks/02*.ipynb

The pages load four libraries from the web, or from OUT/node_modules where that is:
npm install --prefix runs/slides reveal.js@4 jquery@3 requirejs@2 mathjax@2
"""

import re
from pathlib import Path

import nbformat
from nbconvert import SlidesExporter

from proxyless_lite.cli import OneLineParser, run

LOCAL = {"reveal_url_prefix": "reveal.js", "jquery_url": "jquery/dist/jquery.min.js", "require_js_url": "requirejs/require.js",
         "mathjax_url": "mathjax/MathJax.js?config=TeX-AMS_CHTML-full,Safe"}

LOOK = "<style>:root {--jp-code-font-size: 15px} .reveal h1 {font-size: 2.2em} .highlight pre {white-space: pre-wrap}</style></head>"


def slides(notebook):
    """Split `notebook` at its "##" headings and set slide types: a heading begins a slide, a code cell one below it, on which
    the text after it stays. Skipped: code before the first heading (parameters, imports), the exercises, widgets."""
    cells, kind = [], "slide"
    for cell in notebook.cells:
        for part in re.split(r"^(?=## )", cell.source, flags=re.M):
            is_code = cell.cell_type == "code"
            if not is_code and part.startswith("#"):
                kind, heading = "slide", part
            else:
                kind = "subslide" if is_code else "-"
            skipped = heading.startswith("## Exercises") or is_code and (heading.startswith("# ") or "widgets." in part)
            cells.append({**cell, "id": f"slide-{len(cells)}", "source": part,
                          "metadata": {**cell.metadata, "slideshow": {"slide_type": "skip" if skipped else kind}}})
    return nbformat.from_dict({**notebook, "cells": [cell for cell in cells if cell["source"].strip()]})


def main():
    cli = OneLineParser(description="Slides of notebooks for reveal.js.")
    cli.add_argument("out", type=Path, help="folder to write to")
    cli.add_argument("notebooks", type=Path, nargs="+")
    args = cli.parse_args()
    out = args.out
    out.mkdir(parents=True, exist_ok=True)
    libraries = {name: f"node_modules/{path}" for name, path in LOCAL.items()} if (out / "node_modules").is_dir() else {}
    exporter = SlidesExporter(reveal_scroll=True, reveal_width="1280", reveal_height="800", reveal_number="c/t",
                              exclude_input_prompt=True, exclude_output_prompt=True, **libraries)
    for path in args.notebooks:
        page = out / f"{path.stem}.slides.html"
        html, _ = exporter.from_notebook_node(slides(nbformat.read(path, 4)))
        page.write_text(html.replace("</head>", LOOK, 1))
        print(page)


if __name__ == "__main__":
    run(main)
