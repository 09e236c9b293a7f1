"""The paper's numbers, ours beside them, and the figures: against the paper's own claims, torchvision, and the released table."""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from pages import has_numbers
from PIL import Image
from torchvision import models

import proxyless_lite as pl
from proxyless_lite.runtime import TABLES, read_table
from proxyless_lite.course import notebook, paper, plots, reproduction

ROOT = Path(__file__).parents[1]
FIGURES = ["figure1_search_cost", "figure2_binary_gates", "figure3_latency_loss", "figure4_accuracy_latency",
           "figure5_latency_model", "figure6_networks", "table1_network", "table4_platforms"]
COLUMNS = ["source", "row", "column", "unit", "value", "network"]


@pytest.fixture(scope="module")
def ours():
    return paper.ours()


@pytest.fixture(scope="module")
def compared(ours):
    return paper.compare(ours)


def value(row, column, source=None):
    """The one number of the paper in this row and column."""
    found = paper.numbers()
    found = found[found.row.eq(row) & found.column.eq(column) & (found.source.eq(source) if source else True)]
    assert found.value.nunique() == 1, f"{row}, {column}: {found.value.tolist()}"
    return found.value.iloc[0]


# -- the paper's numbers -----------------------------------------------------------------------------------------------


def test_the_tables_have_the_papers_shape():
    count = paper.numbers().groupby("source").size()
    assert dict(count[["Table 1", "Table 2", "Table 3", "Table 4", "Figure 1", "Figure 4"]]) == {
        "Table 1": 11 * 2, "Table 2": 9 * 4 - 2, "Table 3": 7 * 3 - 2, "Table 4": 3 * 4, "Figure 1": 4 * 2 + 2, "Figure 4": 6 * 2}
    rows = paper.numbers()
    assert not rows.duplicated(["source", "row", "column"]).any() and np.isfinite(rows.value).all() and (rows.value > 0).all()


@pytest.mark.parametrize("claim, difference", [
    (2.6, value("Proxyless-R (mobile)", "Top-1", "Table 2") - value("MobileNetV2", "Top-1", "Table 2")),
    (0.6, value("Proxyless-R (mobile)", "Top-1", "Table 2") - value("MnasNet", "Top-1", "Table 2")),
    (3.1, value("Proxyless (GPU)", "Top-1", "Table 3") - value("MobileNetV2", "Top-1", "Table 3")),
    (1.1, value("Proxyless (GPU)", "Top-1", "Table 3") - value("MnasNet", "Top-1", "Table 3")),
    (2.4, value("Proxyless-G + LL", "Top-1") - value("Proxyless-G (mobile)", "Top-1"))])
def test_margins_claimed_in_the_text(claim, difference):
    assert difference == pytest.approx(claim, abs=1e-9)


@pytest.mark.parametrize("claim, a, b, digits", [
    (1.83, ("MobileNetV2 1.4", "Mobile latency"), ("Proxyless (mobile)", "Mobile latency"), 2),
    (200, ("MnasNet", "Search cost"), ("Proxyless-R (mobile)", "Search cost"), 0),
    (1.2, ("MobileNetV2", "GPU latency"), ("Proxyless (GPU)", "GPU latency"), 1),
    (6, ("AmoebaNet-B + c/o", "Params"), ("Proxyless-G + c/o", "Params"), 0)])
def test_ratios_claimed_in_the_text(claim, a, b, digits):
    assert round(value(*a) / value(*b), digits) == claim


def test_tables_agree_with_each_other_and_with_figure_4():
    for row, column in (("Proxyless (GPU)", "Top-1"), ("Proxyless (GPU)", "GPU latency"), ("Proxyless (mobile)", "Top-1"),
                        ("Proxyless (mobile)", "Mobile latency"), ("MobileNetV2", "Top-1"), ("MobileNetV2", "Mobile latency"),
                        ("MnasNet", "Top-1")):
        value(row, column)  # asserts that all places where it stands agree
    assert value("Proxyless-R (mobile)", "Mobile latency") == value("Proxyless (mobile)", "Mobile latency")


def test_mnasnets_cost_is_one_gpu_hour_an_epoch():
    cost = value("MnasNet", "Search cost")
    assert cost == value("MnasNet: networks trained", "Networks") * value("MnasNet: epochs of each", "Epochs") == 40_000
    assert value("Networks measured", "Networks") * 4 / 5 == value("Networks to fit the model", "Networks")


# -- ours --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, params, macs", [  # FACTS: counted from the released configurations and torchvision
    ("proxyless_gpu", 7_119_848, 465_260_160), ("proxyless_cpu", 4_361_648, 439_243_864),
    ("proxyless_mobile", 4_080_512, 320_427_584), ("proxyless_mobile_14", 6_857_568, 580_883_408), ("proxyless_cifar", 5_731_530, 1_213_155_872),
    ("mobilenet_v2_1.0", 3_504_872, 300_774_272), ("mnasnet_1.0", 4_383_312, 314_415_872),
    ("resnet_34", 21_797_672, 3_663_761_408), ("shufflenet_v2_1.5", 3_503_624, 295_759_392)])
def test_recomputed_is_exact(ours, name, params, macs):
    own = ours[ours.network.eq(name) & ours.provenance.eq("recomputed")].set_index("column").value
    assert (own["Params"] * 1e6, own["MACs"] * 1e6) == (pytest.approx(params, abs=0.01), pytest.approx(macs, abs=0.01))


@pytest.mark.parametrize("name, weights", [
    ("mobilenet_v2_1.0", models.MobileNet_V2_Weights), ("mnasnet_1.0", models.MNASNet1_0_Weights),
    ("resnet_34", models.ResNet34_Weights), ("shufflenet_v2_1.5", models.ShuffleNet_V2_X1_5_Weights)])
def test_accuracies_of_baselines_are_those_that_torchvision_publishes(ours, name, weights):
    published = weights.IMAGENET1K_V1.meta["_metrics"]["ImageNet-1K"]
    own = ours[ours.network.eq(name) & ours.provenance.eq("released")].set_index("column").value
    assert (own["Top-1"], own["Top-5"]) == (published["acc@1"], published["acc@5"])


def test_released_accuracies_round_to_the_papers(compared):
    own = compared[compared.provenance.eq("released") & compared.network.str.startswith("proxyless") & compared.unit.eq("%")]
    assert len(own) >= 8 and (abs(own.ours - own.value) <= 0.05 + 1e-9).all()


@pytest.mark.parametrize("width", [0.35, 0.5, 0.75, 1.0, 1.3, 1.4])
def test_mobilenet_v2_is_a_network_of_the_mobile_space(width):
    same_as_torchvision(paper.mobilenet_v2(width), f"mobilenet_v2_{width}")


def test_mnasnet_is_a_network_of_the_mobile_space():
    same_as_torchvision(paper.mnasnet(), "mnasnet_1.0")


def same_as_torchvision(network, name):
    """Same weights layer by layer, in order, and the same multiply-adds."""
    with torch.device("meta"):
        theirs = pl.zoo.baseline(name).eval()
        mine = network.build().eval()
    assert [p.shape for p in mine.parameters()] == [p.shape for p in theirs.parameters()]
    assert network.macs() == pl.architecture.count_macs(theirs, torch.empty(1, 3, 224, 224, device="meta"))


def test_pixel1_predictions_can_be_made_again():
    try:
        table = pl.latency.Table.pixel1()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    stored = read_table(TABLES / "results" / "pixel1.csv")
    made = paper.predict_pixel1(table)
    exact = ["network", "blocks", "missing"]
    assert made[exact].to_numpy().tolist() == stored[exact].to_numpy().tolist()
    np.testing.assert_allclose(made[["ms", "sd"]], stored[["ms", "sd"]], rtol=1e-3, atol=1e-6)
    mnasnet = paper.mnasnet()
    by_costs = pl.costs.costs(mnasnet.space, table).cost_of(mnasnet)
    assert made.set_index("network").ms["mnasnet_1.0"] == pytest.approx(by_costs, abs=1e-9)


def test_timed_files_name_their_machine_and_hold_every_network():
    for file in ("zoo_cpu.csv", "zoo_onnxruntime.csv"):
        table = read_table(TABLES / "results" / file)
        metadata = table.attrs
        assert set(table.network) == set(paper.NETWORKS)
        assert {"device", "threads", "batch", "command", "date", "machine"} <= set(metadata) and metadata["machine"]["torch"]


def test_time_all_writes_a_table(tmp_path):
    paper.time_all(tmp_path / "zoo_cpu.csv", "cpu", ("mobilenet_v2_0.35", "proxyless_mobile"), rounds=1, precision=1.0)
    table = read_table(tmp_path / "zoo_cpu.csv")
    assert list(table.network) == ["mobilenet_v2_0.35", "proxyless_mobile"] and (table.ms > 0).all() and table.attrs["batch"] == 1
    assert set(paper.timed(tmp_path).column) == {"CPU latency"}


# -- side by side ------------------------------------------------------------------------------------------------------


def test_every_number_has_one_of_the_five_words(compared):
    assert len(compared) == len(paper.numbers())
    assert set(compared.provenance) == {"paper", "released", "recomputed", "measured here", "not reproduced"} == set(paper.PROVENANCE)
    have = compared.ours.notna()
    assert compared[~have].provenance.isin(["paper", "not reproduced"]).all()
    assert (compared[have].provenance != "paper").all() and compared[have].how.ne("").all()


def test_a_prediction_off_by_more_than_two_deviations_is_not_reproduced():
    number = pd.DataFrame([("T", "r", "Mobile latency", "ms", 78.0, "proxyless_mobile")], columns=COLUMNS)
    for ms, sd, word in ((85.4, 0.4, "not reproduced"), (78.7, 0.4, "released"), (77.1, 0.4, "not reproduced"),
                         (85.4, math.nan, "released")):
        own = paper.frame([("proxyless_mobile", "Mobile latency", ms, sd)], "released", "a test")
        assert paper.compare(own, number).provenance.tolist() == [word]
    assert paper.compare(own.iloc[:0], number).provenance.tolist() == ["not reproduced"]
    others = number.assign(network="", row="NASNet-A")
    assert paper.compare(own, others).provenance.tolist() == ["paper"]


def test_relations_are_computed_from_our_own_values():
    relation = pd.DataFrame([("T", "r", "L", "×", 2.0, "a / b"), ("T", "r", "L", "points", 1.0, "a - b"),
                             ("T", "r", "L", "ms", 5.0, "b")], columns=COLUMNS)
    both = paper.compare(paper.frame([("a", "L", 9.0, 0.9), ("b", "L", 4.0, 0.8)], "released", "a test"), relation)
    assert both.ours.tolist() == [2.25, 5.0, 4.0]
    assert both.sd[0] == pytest.approx(2.25 * math.hypot(0.1, 0.2))                  # relative errors add as squares
    one = paper.compare(paper.frame([("a", "L", 9.0)], "released", "a test"), relation)
    assert one.ours[0] == 9.0 / 5.0                                                  # of b we know only the paper's number


def test_what_was_and_was_not_reproduced(compared):
    """The claims of notebook 09 and the README."""
    found = compared.set_index(["source", "row", "column"])
    at = lambda *key: found.loc[key]  # noqa: E731
    phone = at("Table 4", "Proxyless (mobile)", "Mobile latency")
    assert phone.provenance == "not reproduced" and round(phone.ours, 1) == 85.4 and phone.value == 78
    faster = at("§4.2", "Proxyless (mobile) faster than MobileNetV2 1.4", "Mobile latency")
    assert faster.provenance == "released" and (round(faster.ours, 2), round(faster.sd, 2)) == (1.84, 0.04)
    assert (at("Table 1", "Proxyless-G + c/o", "Test error").provenance, at("Table 1", "Proxyless-G + c/o", "Test error").ours) == ("released", 2.08)
    assert at("Table 1", "Proxyless-G + c/o", "Params").provenance == "recomputed"
    assert compared[compared.column.eq("GPU latency")].provenance.isin(["paper", "not reproduced"]).all()
    assert compared[compared.column.eq("CPU latency")].provenance.eq("measured here").all()


def test_the_first_block_of_a_stage_that_halves_is_its_largest():
    """Notebook 09, Figure 6: so the paper says, and so do the released networks."""
    for name in ("gpu", "cpu", "mobile"):
        found = getattr(pl.zoo, f"proxyless_{name}")()
        cost = [0 if c == "Zero" else int(c[2]) * int(c[4]) for c in found.choices]
        starts = [i for i, edge in enumerate(found.space.edges()) if edge.stride == 2]
        assert starts == [0, 4, 8, 16] and all(cost[i] == max(cost[i:i + 4]) for i in starts)
        assert reproduction.largest_first(found) == (sum(c > 0 for c in cost), 4, 4)


@pytest.mark.parametrize("file", ["zoo_cpu.csv", "zoo_onnxruntime.csv"])
def test_the_cpu_order_of_table_4_is_not_ours(file):
    ms = read_table(TABLES / "results" / file).set_index("network").ms
    assert ms["proxyless_mobile"] < ms["proxyless_gpu"] < ms["proxyless_cpu"]
    printed = {n: value(f"Proxyless ({n})", "CPU latency") for n in ("GPU", "CPU", "mobile")}
    assert printed["CPU"] < printed["mobile"] < printed["GPU"]


def test_figure_1_is_made_of_the_stored_step_costs():
    cost = pd.read_csv(TABLES / "results" / "step_cost.csv", comment="#")
    bars = paper.figure1(cost[cost.space.eq("mobile")]).set_index(["row", "quantity"])
    assert bars.ours["Proxyless", "Search cost"] == pytest.approx(1.01 + 0.82 / 5)
    assert bars.ours["DARTS & One-Shot", "Search cost"] == pytest.approx(6.49 + 3.45 / 5)
    assert bars.ours["Proxyless", "Memory"] == 1.0 and bars.ours["DARTS & One-Shot", "Memory"] == 5.71
    assert bars.ratio["Proxyless", "Search cost"] == 1.4 and bars.ratio["DARTS & One-Shot", "Memory"] == 8.8


# -- figures and notebook ----------------------------------------------------------------------------------------------


def texts(figure):
    return [t for t in figure.findobj(plt.Text) if t.get_text().strip() and t.get_visible()]


@pytest.fixture(scope="module")
def drawn():
    cost = read_table(TABLES / "results" / "step_cost.csv")
    points = {"A": ([30, 78], [68.2, 74.6]), "B": ([29, 75], [65, 72])}
    bars = pd.DataFrame([[5, 7, 6], [2, 1, 3]], columns=list("abc"), index=["one", "two"])
    with plt.rc_context(plots.STYLE):
        return {"search_cost": plots.search_cost(paper.figure1(cost[cost.space.eq("mobile")])), "gates": plots.binary_gates(),
                "loss": plots.latency_loss(["MB3 3x3", "Zero"], np.array([0.25, 0.75]), np.array([2.0, 0.0])),
                "networks": plots.networks({"phone": pl.zoo.proxyless_mobile()}),
                "tree": plots.tree_network(pl.zoo.proxyless_cifar()),
                "counts": plots.operation_counts(pd.Series(pl.zoo.proxyless_cifar().choices).value_counts(), 648),
                "accuracy": plots.accuracy_against_latency(points, {k: (*v, [1, 2]) for k, v in points.items()}),
                "platforms": plots.platforms(bars, {"a": "A", "b": "B", "c": "C"})}


@pytest.mark.parametrize("name", ["search_cost", "gates", "loss", "networks", "tree", "counts", "accuracy", "platforms"])
def test_figures_are_described_large_enough_and_saved_twice_alike(drawn, name, tmp_path):
    figure = drawn[name]
    assert len(figure.get_label()) > 30 and figure.get_size_inches()[0] <= 10
    assert min(t.get_fontsize() for t in texts(figure)) >= 9
    for folder in ("a", "b"):
        shown = plots.save(figure, tmp_path / folder / "x")
        assert shown.data == (tmp_path / folder / "x.png").read_bytes() and shown.metadata == {"alt": figure.get_label()}
    assert (tmp_path / "a/x.svg").read_bytes() == (tmp_path / "b/x.svg").read_bytes()
    assert (tmp_path / "a/x.png").read_bytes() == (tmp_path / "b/x.png").read_bytes()
    assert Image.open(tmp_path / "a/x.png").size[0] >= 600 and figure.get_label() in (tmp_path / "a/x.svg").read_text()


def test_a_networks_bars_are_its_blocks(drawn):
    written = [t.get_text() for t in texts(drawn["networks"]) if t.get_text().startswith("MB")]
    assert written == ["MB1 3×3", *(c.replace("x", "×") for c in pl.zoo.proxyless_mobile().choices if c != "Zero")]
    letters = [t.get_text() for t in drawn["tree"].axes[0].texts]
    histogram = {letter: letters.count(letter) for letter in "7idma53"}
    assert histogram == {"7": 116, "i": 96, "d": 90, "m": 89, "a": 89, "5": 85, "3": 83}  # FACTS


def test_counts_are_drawn_next_to_what_a_blind_draw_gives(drawn):
    axes = drawn["counts"].axes[0]
    assert [t.get_text() for t in axes.texts] == ["83", "85", "89", "89", "90", "96", "116"]
    band = axes.patches[0].get_extents().transformed(axes.transData.inverted())
    assert (round(band.x0, 1), round(band.x1, 1)) == (74.8, 110.4)                    # 648/7 ± 2 √(648 · 1/7 · 6/7)


def test_any_network_of_mbconv_blocks_can_be_drawn_and_others_are_refused_in_one_line():
    space = pl.spaces.chain(edges=3, width=8)
    found = pl.Architecture(space, tuple(edge.candidates[0] for edge in space.edges()))
    assert len(plots.networks({"mine": found}).axes) == 1
    with pytest.raises(ValueError, match="MBConv blocks.*plots.tree_network$"):
        plots.networks({"cifar": pl.zoo.proxyless_cifar()})


def test_figures_are_stored_and_small():
    folder = ROOT / "figures"
    assert {p.stem for p in folder.glob("*.svg")} == {p.stem for p in folder.glob("*.png")} == set(FIGURES)
    for name in FIGURES:
        assert (folder / f"{name}.png").stat().st_size <= 150_000 and (folder / f"{name}.svg").stat().st_size <= 200_000


def test_the_tables_of_the_notebook_are_those_stored(compared):
    """Summary, ranks and platforms, made again from the stored measurements."""
    folder = TABLES / "results"
    own, measured, predicted = paper.ours(), reproduction.latencies(folder), reproduction.pixel1(compared)
    assert reproduction.ranks(compared, own, measured, predicted).round(3).equals(pd.read_csv(folder / "ranks.csv"))
    summary, stored = reproduction.summary(compared), pd.read_csv(folder / "summary.csv", index_col="source")
    assert summary.drop("Figure 5").equals(stored.drop("Figure 5"))                   # Figure 5 needs the latency model
    assert summary.index.tolist() == [*(f"Table {i}" for i in range(1, 5)), *(f"Figure {i}" for i in range(1, 7))]
    platforms = reproduction.platforms(compared, measured, predicted)
    assert platforms.idxmin(axis=1).tolist() == [*reproduction.FOUND_FOR, *["proxyless_mobile"] * 3]
    printed, mine, same = reproduction.figure4(compared, own, predicted)
    assert set(printed) == set(mine) == {"Proxyless", "MobileNetV2"} and same[:2] == (78, 143)
    ratios = reproduction.claims(compared).set_index("row")
    assert round(ratios.ours["Proxyless (mobile) faster than MobileNetV2 1.4"].max(), 2) == 1.84


def test_stored_comparison_is_what_the_data_give(compared):
    stored = pd.read_csv(TABLES / "results" / "paper_comparison.csv", keep_default_na=False)
    live = compared[compared.network.ne("latency_model")]
    stored = stored[stored.network.ne("latency_model")]
    assert stored.provenance.tolist() == live.provenance.tolist()
    np.testing.assert_allclose(pd.to_numeric(stored.ours), live.ours, rtol=1e-5)


def test_the_notebook_has_the_numbers_of_the_data(compared):
    pixel1 = pd.read_csv(TABLES / "results" / "pixel1.csv", comment="#", index_col="network").ms
    has_numbers("09", f"{pixel1['proxyless_mobile']:.1f}", f"{pixel1['mnasnet_1.0']:.1f}", pl.zoo.proxyless_cifar().params(),
                f"{pixel1['mobilenet_v2_1.4'] / pixel1['proxyless_mobile']:.2f} ± 0.04", str(round(len(compared), -1)))
    ranks = pd.read_csv(TABLES / "results" / "ranks.csv").set_index(["paper", "ours"])["Kendall τ"]
    has_numbers("09", *(f"{ranks[key]:.2f}" for key in (
        ("Mobile latency", "MACs"), ("Mobile latency", "Pixel 1, predicted"), ("GPU latency", "MACs"))))
    off = compared[compared.column.eq("Mobile latency") & compared.unit.eq("ms") & compared.ours.notna()]
    off = off.drop_duplicates("network")
    off = 100 * (off.ours / off.value - 1)
    assert len(off) == 8 and (off > 0).sum() == 7 and (round(off[off > 0].min()), round(off.max())) == (2, 21)
    lesson = 100 * pd.read_csv(TABLES / "results" / "cifar10_lesson.csv", comment="#", index_col="network").test_accuracy
    found, random = lesson["found"], lesson.drop("found")
    assert len(random) == 5 and found > random.max()
    has_numbers("09", f"{found:.1f}", f"{random.max():.1f}", f"{random.mean():.1f} ± {random.std():.1f}")
    assert notebook.DATA == paper.DATA


def test_the_command_line_predicts_once_and_takes_a_path(tmp_path, monkeypatch, capsys):
    tables = []
    few = SimpleNamespace(metadata={"device": "Pixel 1"})
    monkeypatch.setattr(pl.latency.Table, "pixel1", lambda: tables.append(few) or few)
    monkeypatch.setattr(paper, "predict_pixel1", lambda table: pd.DataFrame({"network": ["one"], "ms": [1.5]}))
    monkeypatch.chdir(tmp_path)
    paper.main([str(tmp_path / "a file.csv")])
    metadata, *rows = (tmp_path / "a file.csv").read_text().splitlines()
    assert len(tables) == 1 and rows == ["network,ms", "one,1.5"]
    assert json.loads(metadata[2:]) == {"command": f"python -m proxyless_lite.course.paper '{tmp_path}/a file.csv'", "device": "Pixel 1"}
    for arguments, code, told in (["--help"], 0, "usage: python -m proxyless_lite.course.paper"), ([], 2, "error: "):
        with pytest.raises(SystemExit) as end:
            paper.main(arguments)
        said = capsys.readouterr()
        assert end.value.code == code and (said.out + said.err).startswith(told)
    assert [path.name for path in tmp_path.iterdir()] == ["a file.csv"] and len(tables) == 1
