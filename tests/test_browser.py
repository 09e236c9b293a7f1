"""Widgets in a real browser: JupyterLab in Chromium runs them, a key moves a control, and the picture changes.

Whole notebooks take minutes; `make browser` opens each that has a widget. Otherwise only the first does so, and every
widget is tried with the few statements of its notebook that it needs (excerpts.py).
"""

import excerpts
import hygiene
import lab
import nbformat
import pytest

from proxyless_lite.course import widgets

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is missing: pip install -e '.[browser]'")
if lab.CHROMIUM is None:
    pytest.skip("Chromium is missing: apt-get install chromium", allow_module_level=True)

PAGES = [hygiene.Page(path) for path in hygiene.NOTEBOOKS]
USES = {}  # widget -> (page, cell) of each place that shows it
for page in PAGES:
    for cell, call in page.calls("widgets"):
        USES.setdefault(call.func.attr, []).append((page, cell))
WITH_WIDGETS = [page for page in PAGES if page.calls("widgets")]
FIRST = "02_binary_gates"

SEARCHED = """
import numpy as np
import pandas as pd
from proxyless_lite.course import notebook, widgets
notebook.setup()
random = np.random.default_rng(0)
"""
SHORT = {  # widgets over the result of a search: made up here
    "scrub": excerpts.of(SEARCHED, """
history = pd.DataFrame({"probabilities": [random.dirichlet(np.ones(3), size=4) for _ in range(5)]})
widgets.scrub(history, ("conv", "pool", "skip"))"""),
    "front": excerpts.of(SEARCHED, """
columns = {"kind": "searched", "latency": [1.0, 2.0, 3.0], "cross_entropy": [0.9, 0.5, 0.4], "accuracy": [0.7, 0.8, 0.9]}
widgets.front(pd.DataFrame(columns))"""),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lab")
    with lab.lab(folder) as address:
        yield folder, address


@pytest.fixture
def browser():
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=lab.CHROMIUM, args=["--no-sandbox"])
        yield chromium.new_page(viewport={"width": 1400, "height": 1000})
        chromium.close()


def check_widgets(server, browser, name, notebook, cells, seconds):
    """Each of `cells` shows a picture that changes when its control is moved."""
    folder, address = server
    nbformat.write(notebook, folder / f"{name}.ipynb")
    errors = lab.run_all(browser, address, f"{name}.ipynb", seconds)
    assert not errors, errors
    for cell in cells:
        before, after = lab.move(browser, cell)
        assert before.startswith("data:image/png;base64,") and after.startswith("data:image/png;base64,"), f"cell {cell}"
        assert before != after, f"cell {cell}: no key changed the picture"
    lab.close(browser)


def test_every_widget_is_shown_in_a_notebook():
    functions = [name for name, f in vars(widgets).items() if getattr(f, "__module__", "") == widgets.__name__]
    assert {name for name in functions if not name.startswith("_")} == set(USES)


@pytest.mark.parametrize("widget", sorted(USES))
def test_a_key_changes_the_picture(server, browser, widget):
    notebook = SHORT.get(widget) or excerpts.excerpt(*USES[widget][0])
    check_widgets(server, browser, widget, notebook, [len(notebook.cells) - 1], seconds=120)


@pytest.mark.parametrize("page", [pytest.param(p, marks=[] if p.name == FIRST else pytest.mark.course) for p in WITH_WIDGETS],
                         ids=lambda p: p.name)
def test_a_whole_notebook_in_the_browser(server, browser, page):
    check_widgets(server, browser, page.name, page.notebook, sorted({cell for cell, _ in page.calls("widgets")}), seconds=600)


def test_a_picture_that_does_not_change_is_found(server, browser):
    still = excerpts.of("""
import ipywidgets
from IPython.display import display
from proxyless_lite.course import notebook, plots
notebook.setup()
n = ipywidgets.IntSlider(0, 0, 5)
show = lambda n: display(plots.new_figure()[0])
ipywidgets.VBox([n, ipywidgets.interactive_output(show, {"n": n})])""")
    with pytest.raises(AssertionError, match="no key changed the picture"):
        check_widgets(server, browser, "still", still, [0], seconds=60)


def test_an_error_in_a_cell_is_found(server, browser):
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        check_widgets(server, browser, "error", excerpts.of("1 / 0"), [], seconds=60)
