"""What notebooks 01 and 08 rest on: spaces counted, the committed tables and how certain they are, the figures and controls of networks."""

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kendalltau

import proxyless_lite as pl
from proxyless_lite.course import controls, plots, widgets
from proxyless_lite.runtime import TABLES as DATA

RELEASED = Path(__file__).resolve().parents[1].parent / "shared/data/released"
SPACE = pl.spaces.mobile()
SIZES = [len(edge.candidates) for edge in SPACE.edges()]
DRAW = np.random.default_rng(0)
PATHS = np.stack([DRAW.integers(n, size=1_000) for n in SIZES], axis=1)


def table(name):
    return pl.latency.Table.load(DATA / "latency" / f"{name}.csv")


def sums(table):
    costs = pl.costs.costs(SPACE, table)
    return costs.fixed + costs.matrix.numpy()[range(len(SIZES)), PATHS].sum(1)


def test_tables_of_two_runtimes_disagree_little_more_than_those_of_one():
    torch_, onnx = ([sums(table(name)) for name in names] for names in (
        ("mobile_cpu_table_a", "mobile_cpu_table_b"), ("mobile_onnxruntime_table", "mobile_runtime_onnxruntime")))
    assert kendalltau(*torch_)[0] == pytest.approx(0.92, abs=0.015) and kendalltau(*onnx)[0] == pytest.approx(0.97, abs=0.015)
    assert all(0.83 < kendalltau(one, other)[0] < 0.92 for one in torch_ for other in onnx)


def test_on_this_cpu_the_phone_s_network_is_the_fastest_and_the_cpu_s_the_slowest():
    names = ["proxyless_gpu", "proxyless_cpu", "proxyless_mobile"]
    for clock in ("cpu", "onnxruntime"):
        ms = pd.read_csv(DATA / "results" / f"zoo_{clock}.csv", comment="#", index_col="network").ms[names]
        assert (ms.idxmin(), ms.idxmax()) == ("proxyless_mobile", "proxyless_cpu")


def test_the_sums_over_the_pixel_1_table_are_those_notebook_08_states():
    if not (RELEASED / "mobile_trim.yaml").exists():
        pytest.skip("the released Pixel 1 table is not available")
    costs = pl.costs.costs(SPACE, pl.latency.Table.load(RELEASED / "mobile_trim.yaml"))
    stated = [76.0481, 87.7203, 103.6662, 136.4663, 158.9527, 191.0299]
    assert [costs.cost_of([k] * len(SIZES)) for k in range(6)] == pytest.approx(stated, abs=1e-3)


def test_macs_of_all_networks_add_up_edge_by_edge():
    """Notebook 01 counts by a sum over edges; here every network of a small space is built in full."""
    space = pl.spaces.mobile(classes=10, input_size=32, stages=((24, 2, 2),))
    costs = pl.costs.costs(space, "macs")
    whole = [pl.Architecture(space, choices).macs() for choices in itertools.product(*(edge.candidates for edge in space.edges()))]
    sizes = [len(edge.candidates) for edge in space.edges()]
    assert len(whole) == space.size() == 6 * 7
    assert whole == [costs.cost_of(paths) for paths in itertools.product(*map(range, sizes))]


def test_blocks_at_the_entrance_pay_for_large_kernels():
    """The answer that notebook 01 gives to its last prompt."""
    small = ("MB3 3x3",) * 21
    large = tuple("Zero" if edge.name in ("stage1.1", "stage1.2", "stage1.3") else "MB3 7x7" if edge.name > "stage2" else "MB3 3x3"
                  for edge in SPACE.edges())
    assert large.count("MB3 7x7") == 17
    macs, ms = pl.costs.costs(SPACE, "macs"), pl.costs.costs(SPACE, table("mobile_cpu_table_a"))
    before, after = (pl.Architecture(SPACE, choices) for choices in (small, large))
    assert round(100 * (macs.cost_of(after) / macs.cost_of(before) - 1)) == -2 and round(100 * (ms.cost_of(after) / ms.cost_of(before) - 1)) == -9
    assert (round(ms.cost_of(before), 1), round(ms.cost_of(after), 1)) == (16.1, 14.6)


@pytest.fixture
def shown(monkeypatch):
    """What a control shows: pairs of a network and a title."""
    drawn = []
    monkeypatch.setattr(plots, "network", lambda network, title="": (network, title))
    monkeypatch.setattr(controls, "display", drawn.append)
    return drawn


def test_the_builder_counts_the_network_of_its_menus(shown):
    box = widgets.builder(SPACE, pl.costs.costs(SPACE, "macs"), pl.costs.costs(SPACE, table("mobile_cpu_table_a")))
    rows = box.children[:-1]
    assert [len(row.children) for row in rows] == [4, 4, 4, 4, 4, 1]
    menu = rows[2].children[1]
    assert menu.description == "3.1" and menu.options == SPACE.edges()[9].candidates
    menu.value = "MB6 7x7"
    choices = ["MB3 3x3"] * 21
    choices[9] = "MB6 7x7"
    expected = pl.Architecture(SPACE, tuple(choices))
    assert shown[0][0].choices == ("MB3 3x3",) * 21 and shown[-1][0] == expected and len(shown) == 2
    costs = pl.costs.costs(SPACE, table("mobile_cpu_table_a"))
    assert shown[-1][1] == f"{expected.macs():,} MACs   {costs.cost_of(expected):.2f} ms"
    assert [network.choices for network, _ in box.stills] == [("MB3 3x3",) * 21, ("MB6 7x7",) * 21]


def test_figures_say_what_they_show():
    costs = pl.costs.costs(SPACE, "macs")
    ms = pd.DataFrame({"x": [1.0, 2.0], "y": [3.0, 1.5]}, index=["p", "q"])
    figures = [plots.networks({"a": pl.zoo.proxyless_gpu(), "b": pl.zoo.proxyless_cpu()}), plots.candidate_costs(costs),
               plots.cost_distribution(np.arange(5.0), np.array([1, 4, 6, 4, 1]), 2.0, 1.0, {"found": 1.0}), plots.cross_latency(ms),
               plots.relative_prices(ms)]
    assert all(len(figure.get_label()) > 30 for figure in figures)
    cells = [text.get_text() for text in figures[3].axes[0].texts]
    assert cells == ["1 ms   ★", "3 ms   × 2.00", "2 ms   × 2.00", "1.5 ms   ★"]
    bars = [len(ax.patches) for ax in figures[0].axes]
    assert bars == [14, 20]                                           # blocks that were kept, and the first, which is fixed
