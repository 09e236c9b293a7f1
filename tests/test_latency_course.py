"""What notebooks 04 and 05 rest on: numbers of the text, the stored sweep, and the choice from a front."""

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import proxyless_lite as pl
from proxyless_lite.course import controls, notebook, plots, widgets

RELEASED = Path(__file__).resolve().parents[1].parent / "shared/data/released"
SWEEP = notebook.DATA / "results" / "latency_sweep.csv"


# -- 04 ---------------------------------------------------------------------------------------------------------------

def test_the_stored_networks_are_5000_in_50000_visits_of_more_than_an_hour():
    timings = pl.latency.Timings.load(notebook.DATA / "latency" / "mobile_cpu.csv")
    visits = timings.visits
    assert len(timings.architectures) == len({a.choices for a in timings.architectures}) == 5000 and len(visits) == 50_000
    assert 3 * (visits.ms + visits.reference_ms).sum() / 3.6e6 > 1  # warm-up and two turns, in hours


def test_on_another_split_the_rmse_lies_at_the_noise_floor_and_200_networks_show_every_block_dozens_of_times():
    timings = pl.latency.Timings.load(notebook.DATA / "latency" / "mobile_cpu.csv")
    repeats, pick = timings.repeats(), lambda indices: [timings.architectures[i] for i in indices]
    order = np.random.default_rng(1).permutation(5000)
    report = pl.latency.Model().fit(pick(order[:4000]), repeats[order[:4000]]).report(pick(order[4000:]), repeats[order[4000:]])
    assert report["rmse"] == pytest.approx(report["noise"], rel=0.02)
    seen = pd.Series([b for a in pick(order[:200]) for b in a.space.blocks(a.choices)[4:] if b.operation != "Zero"]).value_counts()
    assert len(seen) == 66 and seen.min() >= 24


def test_the_pixel_profile_and_the_rows_of_the_table():
    """Three blocks of proxyless_mobile: 16.8 ms in the profile, 18.8 in the table at the narrower width; the sums 80.7 and 80.5."""
    if not (RELEASED / "proxyless_mobile_pixel1_profile.txt").exists():
        pytest.skip("proxyless_mobile_pixel1_profile.txt is not in shared/data/released beside this checkout")
    text = (RELEASED / "proxyless_mobile_pixel1_profile.txt").read_text()
    run_order = re.split(r"={20,} .+ ={20,}", text)[1]
    lines = re.findall(r"^\s+[A-Z_0-9]+\s+[\d.]+\s+[\d.]+\s+([\d.]+)\s.*\[MNasNet/(\S+)\]", run_order, re.M)
    three = sum(float(ms) for ms, name in lines if re.match(r"expanded_conv_[123]/", name))
    table = pl.latency.Table.load(RELEASED / "mobile_trim.yaml")
    narrow = sum(table[b] for b in ("MB3 5x5 16→24 s2 56x56", "MB3 3x3 24→24 s1 56x56", "MB3 7x7 24→40 s2 28x28"))
    network = pl.zoo.proxyless_mobile()
    rows = sum(table[b] for b in network.space.blocks(network.choices) if b in table)
    whole = float(re.search(r"count=100 .* avg=([\d.]+)", text)[1]) / 1000
    assert (round(three, 1), round(narrow, 1), round(whole, 1), round(rows + three, 1)) == (16.8, 18.8, 80.7, 80.5)


# -- 05 ---------------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def sweep():
    return pd.read_csv(SWEEP, comment="#", dtype={"network": str})


def test_the_stored_sweep_is_of_the_preset_and_its_latencies_are_those_of_its_networks(sweep):
    experiment, metadata = pl.presets.latency("quick"), json.loads(SWEEP.read_text().splitlines()[0].removeprefix("# "))
    assert "05_latency_aware_search" in metadata["command"] and metadata["machine"]["processor"]
    searched = sweep[sweep.kind == "searched"]
    assert searched.groupby("weight").seed.nunique().to_dict() == {w: metadata["seeds"] for w in experiment.weights}
    space = pl.spaces.chain(experiment.edges, experiment.width, classes=10, input_size=8)
    costs = pl.costs.costs(space, pl.latency.Table.load(notebook.DATA / "latency" / "chain_cpu.csv"))
    assert [costs.cost_of([*map(int, digits)]) for digits in sweep.network] == pytest.approx(sweep.latency.tolist(), rel=1e-3)


def test_a_random_network_of_the_stored_sweep_is_as_fast_as_the_searched_one_within_a_tenth(sweep):
    key = ["weight", "seed"]
    pairs = sweep[sweep.kind == "searched"].merge(sweep[sweep.kind.str.startswith("random")], on=key, suffixes=("", "_random"))
    assert len(pairs) >= 10 and (abs(pairs.latency_random / pairs.latency - 1) <= 0.1).all() and (pairs.network != pairs.network_random).all()


def test_expected_latency_falls_with_the_weight_in_the_stored_sweep(sweep):
    assert (np.diff(sweep[sweep.kind == "searched"].groupby("weight").expected.mean()) < 0).all()


def test_what_the_text_says_of_pairs_of_the_front_and_of_targets(sweep):
    trained = sweep.dropna(subset="accuracy")
    pairs = trained.pivot_table("cross_entropy", ["weight", "seed"], "kind").reset_index()
    heavy = pairs[pairs.weight > 0.01]
    assert len(heavy) == 10 and (heavy["searched"] < heavy["random, of equal latency"]).sum() == 8
    zero = sweep[(sweep.kind == "searched") & sweep.accuracy.isna()]
    assert len(zero) == 2 and set(zero.network) == {"666666"} and set(zero.weight) == {0.6}
    front = plots.pareto(trained)
    fast = front[front.latency < 3]
    assert {plots.preferred(trained, price).name for price in np.geomspace(1e-4, 10, 500)} < set(front.index)
    assert (fast.kind == "searched").sum() >= len(fast) - 1 and trained.cross_entropy[trained.latency > 3].max() < 0.08
    off = sweep[sweep.weight.isna()].assign(off=lambda t: t.expected / 2 - 1, derived=lambda t: abs(t.latency / 2 - 1)).groupby("kind")
    assert abs(off.off.max()[["two-path", "combined"]]).max() < 0.04 and abs(off.off.min()[["two-path", "combined"]]).max() < 0.04
    assert 0.2 < off.off.std()["REINFORCE"] < 0.3 and (off.derived.max() > 0.3).all()


# -- the front --------------------------------------------------------------------------------------------------------

@pytest.fixture
def networks():
    draw = np.random.default_rng(1)
    return pd.DataFrame({"kind": ["a"] * 20 + ["b"] * 20, "latency": draw.uniform(1, 4, 40).round(1), "cross_entropy": draw.uniform(0.1, 0.5, 40).round(1),
                         "accuracy": draw.uniform(0.8, 1, 40)})


def test_the_front_is_what_nobody_beats(networks):
    rows = list(networks[["latency", "cross_entropy"]].itertuples())
    unbeaten = {a[1:] for a in rows if not any((b.latency <= a.latency and b.cross_entropy < a.cross_entropy)
                                                 or (b.latency < a.latency and b.cross_entropy <= a.cross_entropy) for b in rows)}
    front = plots.pareto(networks)[["latency", "cross_entropy"]]
    assert [*front.itertuples(index=False, name=None)] == sorted(unbeaten)


def test_the_best_within_a_budget_includes_the_budget_itself(networks):
    for budget in networks.latency:
        assert plots.best_within(networks, budget).cross_entropy == min(c for t, c in zip(networks.latency, networks.cross_entropy) if t <= budget)


def test_no_network_is_within_a_budget_below_the_fastest(networks):
    assert plots.best_within(networks, 0.5) is None and "none" in legend(plots.front(networks, budget=0.5))


@pytest.mark.parametrize("price", [0.0, 0.05, 0.3, 10.0])
def test_the_preferred_network_minimises_eq_7(networks, price):
    loss = networks.cross_entropy + price * networks.latency
    assert loss[plots.preferred(networks, price).name] == loss.min()


def legend(figure):
    return " ".join(text.get_text() for text in figure.axes[0].get_legend().get_texts())


def test_moving_a_slider_draws_the_front_anew(networks, monkeypatch):
    drawn = []
    monkeypatch.setattr(controls, "display", drawn.append)
    price, budget, _ = widgets.front(networks).children
    budget.value, price.value = networks.latency.min(), 1.0
    first, moved, last = drawn[0], drawn[1], drawn[-1]
    assert len({legend(first), legend(moved), legend(last)}) == 3
    assert f"{plots.preferred(networks, 1.0).latency:.2f} ms" in legend(last) and first.get_label().startswith("Test cross-entropy")


def test_where_no_kernel_runs_pictures_stand_for_the_controls(networks):
    data, metadata = widgets.front(networks)._repr_mimebundle_()
    picture = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
    one = Image.open(io.BytesIO(base64.b64decode(controls.png([plots.front(networks, 0.003, 2.0)]))))
    assert "application/vnd.jupyter.widget-view+json" in data and "Test cross-entropy" in metadata["image/png"]["alt"]
    assert picture.width >= one.width and 1.8 * one.height < picture.height < 2.2 * one.height
    dark = np.asarray(picture.convert("L")) < 100
    assert dark[:one.height].any() and dark[one.height:].any()
