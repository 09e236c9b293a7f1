"""The site: it is built of everything in the repository, without a network and without a fault; and the check finds each kind of fault."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import book_check
import pytest
from test_repository import ORDER

ROOT = Path(__file__).parents[1]
HEAD = '<html><head><link rel="stylesheet" href="site.css"><script src="site.js"></script></head><body>'


def pages(folder, body):
    """A site of two pages, one of a notebook; `body` is what stands in the other."""
    (folder / "notebooks").mkdir()
    (folder / "index.html").write_text(HEAD + '<a href="notebooks/00_a.html#the-idea">00</a>' + body)
    (folder / "notebooks/00_a.html").write_text('<h2 id="the-idea">The idea</h2><pre>x = <span>1</span></pre><img src="../a.png" alt="A line.">')
    for name in ("site.css", "site.js", "a.png"):
        (folder / name).write_text("")
    notebook = folder / "notebooks/00_a.ipynb"
    cells = [("x = 1", []), ("assert x == 1", ["remove-cell"])]
    notebook.write_text(json.dumps({"cells": [{"cell_type": "code", "source": source, "metadata": {"tags": tags}} for source, tags in cells]}))
    return list(book_check.complaints(folder, [notebook]))


def test_what_is_in_order_is_not_complained_of(tmp_path):
    body = """<p>$PROXYLESS_DATA costs $5 <code>$x$</code> <math><mi>α</mi></math> <a href="https://example.org/a#b">elsewhere</a></p>
    <style>@import "site.css"; p {background: url(a.png)} /* url(https://example.org/) */</style><script>const a = "https://example.org"</script>"""
    assert pages(tmp_path, body) == []


@pytest.mark.parametrize("body, complaint", [
    ('<a href="docs/none.html">', "link to docs/none.html, which is not in the site"),
    ('<a href="../outside.html">', "link to ../outside.html, which is not in the site"),
    ('<a href="notebooks/00_a.html#by-hand">', "link to notebooks/00_a.html#by-hand, which has no such anchor"),
    ('<a href="#here">', "link to #here, which has no such anchor"),
    ('<img src="a.png">', "image without alt text: a.png"),
    ('<img src="a.png" alt=" ">', "image without alt text: a.png"),
    ('<img src="a.png" alt="../a.png">', "image without alt text: a.png"),
    ('<img src="b.png" alt="A line.">', "link to b.png, which is not in the site"),
    ('<script src="https://cdn.example.org/m.js"></script>', "loads https://cdn.example.org/m.js"),
    ('<link rel="stylesheet" href="//fonts.example.org/a.css">', "loads //fonts.example.org/a.css"),
    ("<style>@import 'https://fonts.example.org/a.css';</style>", "loads https://fonts.example.org/a.css"),
    ('<script>import("https://cdn.example.org/m.js")</script>', "loads https://cdn.example.org/m.js"),
    ('<script type="application/vnd.jupyter.widget-view+json">{}</script>', "a widget's placeholder: application/vnd.jupyter.widget"),
    ("<pre>VBox(children=())</pre>", "a widget's placeholder: VBox(children"),
    ("<p>so $$p = 1$$ holds</p>", "not a formula"),
    (r"<p>with \sum p = 1</p>", "not a formula"),
    (r"<math><mi>\foo</mi></math>", r"not understood in a formula: '\\foo'"),
])
def test_a_fault_is_found(tmp_path, body, complaint):
    found = pages(tmp_path, body)
    assert found and all(line.startswith(f"index.html: {complaint}") for line in found)


def test_a_style_sheet_of_another_host_and_a_cell_left_in_are_found(tmp_path):
    assert pages(tmp_path, "") == []
    (tmp_path / "site.css").write_text("@font-face {src: url('https://fonts.example.org/a.woff')}")
    (tmp_path / "notebooks/00_a.html").write_text('<h2 id="the-idea"></h2><pre>assert x <span>==</span> 1</pre>')
    assert list(book_check.complaints(tmp_path, [tmp_path / "notebooks/00_a.ipynb"])) == [
        "site.css: loads https://fonts.example.org/a.woff", "notebooks/00_a.html: shows cell 1, which is tagged remove-cell"]


def test_the_site_is_built_of_everything_and_without_a_fault(tmp_path):
    """All in one test: the build takes half a minute."""
    for module in ("sphinx", "myst_nb", "sphinx_book_theme", "latex2mathml"):
        pytest.importorskip(module, reason=f"{module} is missing: pip install -e '.[site]'")
    site = tmp_path / "site"
    run = subprocess.run([sys.executable, ROOT / "site/book.py", site], capture_output=True, text=True, timeout=600, cwd=tmp_path,
                         env=os.environ | {"PYTHONPATH": str(ROOT / "tests/offline"), "OMP_NUM_THREADS": "1"})
    assert (run.returncode, run.stderr) == (0, ""), run.stderr
    sources = [*ROOT.glob("notebooks/**/[0-9]*.ipynb"), *ROOT.glob("docs/*.md"), *ROOT.glob("*.md"), ROOT / "notebooks/TEACHING.md"]
    wanted = {path.relative_to(ROOT).with_suffix(".html") for path in sources if path.name != "CHANGELOG.md"}
    assert {str(page) for page in wanted if not (site / page).is_file()} == set()

    page = (site / "notebooks/02_binary_gates.html").read_text()
    assert page.count("<math") > 10 and "data:image" not in page  # formulas; pictures in files of their own
    alts = re.findall(r'<img alt="([^"]+)" src="\.\./_images/', page)
    notebook = json.loads((ROOT / "notebooks/02_binary_gates.ipynb").read_text())
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    assert len(alts) == sum("image/png" in output.get("data", {}) for output in outputs) > 0
    api = re.findall(r'href="(\w+)\.html">\1<', (site / "api/index.html").read_text())
    assert set(api) == set(ORDER) - {"course"} and api[:2] == ["ops", "mixed_op"]
    assert 'id="proxyless_lite.supernet.SuperNet.derive"' in (site / "api/supernet.html").read_text()
