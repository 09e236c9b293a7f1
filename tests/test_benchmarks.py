"""The benchmark in miniature: one JSON object with every part and every bar; and what measures seconds and bytes."""

import argparse
import importlib.util
import json
import runpy
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import components
import judging
import latency_model
import memory
import report
import runtimes
import search_cost
import proxyless_lite as pl
import step_cost
from proxyless_lite import ground_truth
from proxyless_lite.training.loop import Loop
from proxyless_lite.ground_truth import competitors

BENCHMARKS = Path(report.__file__).parent
BARS = {"reading a batch / weight step", "DARTS / ours with recomputation, saved bytes, mobile",
        "DARTS / ours with recomputation, peak bytes, mobile", "gradients with and without recomputation",
        "search / training, α step every 5th", "seconds of the quick form"}


spec = importlib.util.spec_from_file_location("whole", BENCHMARKS / "__main__.py")
spec.loader.exec_module(whole := importlib.util.module_from_spec(spec))


@pytest.fixture
def small(monkeypatch):
    """All parts in miniature."""
    for module, settings in ((step_cost, dict(SPACES={"chain": (lambda: pl.spaces.chain(2, 8, input_size=16), 4)})),
                             (components, dict(BLOCKS=1, WIDTH=72, BATCH=4, IMAGES=40)),
                             (memory, dict(EIGHT=memory.EIGHT[:3], EDGES=2, WIDTH=8, SIZE=16, MOBILE=dict(width=0.1, input_size=32), MOBILE_BATCH=2)),
                             (search_cost, dict(BLOCKS=1, WIDTH=72, BATCH=4, IMAGES=24, EPOCHS=1)),
                             (latency_model, dict(CURVE=(200, 4000), pixel1=lambda: None))):
        for name, value in settings.items():
            monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(whole, "PARTS", {name: (part, 1, 1, share) for name, (part, _, _, share) in whole.PARTS.items()})


@pytest.mark.slow
def test_one_json_object_has_every_part_and_every_bar(small, capsys):
    report.show(lambda: whole.measure(full=False))
    said = capsys.readouterr()
    found = json.loads(said.out)  # and nothing else on stdout, though searches say how far they are
    assert "search 100 %" in said.err and "whole searches: 100%" in said.err
    assert set(found) == {"bars", "machine", "step_cost", "components", "memory", "search_cost", "latency_model"}
    assert set(found["bars"]) == BARS and found["machine"]["torch"] == torch.__version__
    for bar in found["bars"].values():
        sign, goal = bar["goal"].split()
        assert bar["met"] == {"≤": bar["value"] <= float(goal), "≥": bar["value"] >= float(goal)}[sign]
    assert all(found[part]["rounds"] == 1 for part in whole.PARTS)
    assert '"date"' not in json.dumps({k: v for k, v in found.items() if k != "latency_model"})

    kinds = found["step_cost"]["chain"]["of a plain step"]
    assert set(kinds) == {"weight", "two_path", "exact", "darts", "all_paths", "weight again", "two_path again", "exact again"}
    assert kinds["two_path again"]["bytes"] < kinds["two_path"]["bytes"] < kinds["weight"]["bytes"] == 1 < kinds["darts"]["bytes"]

    parts = {"reading", "draw", "forward", "backward", "optimizer", "other"}
    assert set(found["components"]["weight"]["share"]) == parts and set(found["components"]["two_path"]["share"]) == parts | {"rescale"}
    for kind in ("weight", "two_path"):
        assert sum(found["components"][kind]["share"].values()) == pytest.approx(1, abs=1e-3)
        assert all(share > 0 for share in found["components"][kind]["share"].values())

    by_candidates, mobile = found["memory"]["by candidates"], found["memory"]["mobile"]
    for kind in ("two_path", "exact", "two_path again", "exact again"):
        assert by_candidates[kind]["saved"]["3"] == by_candidates[kind]["saved"]["2"]
    for kind in ("darts", "all_paths"):
        assert all(by_candidates[kind][what]["3"] > 1.1 * by_candidates[kind][what]["2"] for what in ("saved", "peak"))
    assert all(sizes["peak"] > sizes["saved"] > 0 for sizes in mobile.values())
    assert all(mobile[f"{kind} again"]["saved"] < 0.7 * mobile[kind]["saved"] for kind in ("weight", "two_path", "exact"))

    five, one = (found["search_cost"][f"α step every {n}"] for n in ("5th", "one"))
    assert five["search / training"] > 0 and one["seconds"] > 0 and len(one["each"]) == 1


def test_a_bar_is_met_at_its_goal():
    assert report.at_most(1.3, 1.3) == {"goal": "≤ 1.3", "value": 1.3, "met": True} and not report.at_most(1.3, 1.31)["met"]
    assert report.at_least(14, 14)["met"] and not report.at_least(14, 13.9)["met"]


def test_peak_is_the_highest_moment():
    def run():
        a = torch.zeros(250_000)  # 1 MB
        b = a + 1
        del a
        (b * 2).add_(1)
    before = torch.zeros(250_000)
    assert 2_000_000 <= memory.peak(before.device, run) < 2_000_100  # a, b; then b and its double, and scalars


def test_every_part_of_a_step_is_timed_where_it_happens(monkeypatch):
    search = pl.Search(pl.SuperNet(pl.spaces.tree(1, 72)), components.images(40), config=pl.SearchConfig(batch_size=4, alpha_batch_size=4))
    before = vars(pl.rules)["draw"], torch.Tensor.backward
    slow = type(search.rule).after_step
    monkeypatch.setattr(type(search.rule), "after_step", lambda *a: (time.sleep(0.3), slow(*a)))
    seconds = components.dissected(search, search.alpha_batches, 0, search.alpha_step)
    assert seconds["rescale"] > 0.3 and seconds["step"] == pytest.approx(sum(v for k, v in seconds.items() if k != "step"))
    assert (vars(pl.rules)["draw"], torch.Tensor.backward) == before and search.alpha_steps == 1


def test_the_search_and_its_training_do_as_many_steps(small, monkeypatch):
    done = []
    go_on = Loop.go_on
    monkeypatch.setattr(Loop, "go_on", lambda loop: (go_on(loop), done.append(loop.done)))
    found = search_cost.one(components.images(24), 1, seed=0)
    assert done == [5, 5] and found["ratio"] > 0 and 0.3 < found["MACs"] < 3


@pytest.mark.slow
def test_judging_is_told_in_trainings_of_an_average_network(monkeypatch):
    truth = ground_truth.load("digits")
    judged, evaluate, pace = [], competitors.evaluate, ground_truth.pace
    monkeypatch.setattr(judging, "SPACE", "digits")
    monkeypatch.setattr(competitors, "evaluate", lambda net, images, batches: judged.append(torch.get_num_threads()) or evaluate(net, images, batches))
    monkeypatch.setattr(ground_truth, "pace", lambda table: paces.append(pace(table)) or paces[-1])
    paces, began = [], time.process_time()
    found = judging.measure(1)
    once, = found["each"]
    assert judged == [1] * found["networks"] == [1] * len(truth) and found["images"] == len(pl.data.load("digits").valid)
    assert 0 < once["judging"] < time.process_time() - began and once["training"] == round(paces[0] * truth.seconds.mean(), 2)
    assert found["judging / training"] == pytest.approx(once["judging"] / once["training"], rel=0.05)


@pytest.mark.parametrize("part", ["components", "judging", "memory", "step_cost", "search_cost", "latency_model"])
@pytest.mark.parametrize("rounds, told", [("0", "--rounds: 0: at least 1 is needed"), ("x", "--rounds: invalid count value: 'x'")])
def test_no_rounds_are_refused_in_one_line(part, rounds, told, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [f"{part}.py", "--rounds", rounds])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(BENCHMARKS / f"{part}.py"), run_name="__main__")
    assert end.value.code == 2 and capsys.readouterr().err == f"error: argument {told}; see --help\n"


def test_help_says_what_is_measured():
    done = subprocess.run([sys.executable, str(BENCHMARKS), "--help"], capture_output=True, text=True, check=True)
    assert "--full" in done.stdout and "within 10 minutes" in done.stdout and done.stderr == ""


def truth_table(folder, accuracies):
    """A file like cifar10_32.csv, in which the networks have these accuracies (networks, seeds)."""
    stored = ground_truth.FOLDER / "cifar10_32.csv"
    codes = sorted(ground_truth.table.setting_of(ground_truth.read(stored).attrs).networks())
    rows = [f"{code},{seed},{accuracy:.4f},1.0,100.0" for code, of in zip(codes, accuracies, strict=True) for seed, accuracy in enumerate(of)]
    (folder / "table.csv").write_text("\n".join([*stored.read_text().splitlines()[:2], *rows, ""]))
    return argparse.Namespace(of="cifar10_32", table=str(folder / "table.csv"), out=folder / "truth.csv")


def lost_in(folder, accuracies):
    """What `runtimes.truth` writes."""
    runtimes.truth(truth_table(folder, accuracies))
    return pd.read_csv(folder / "truth.csv", comment="#")


def test_no_network_for_another_runtime_beats_the_own_one(tmp_path, capsys):
    """Both are the best of what they may be: without luck, points are never negative, and nothing is lost where a runtime's order is the same."""
    rows = lost_in(tmp_path, np.random.default_rng(0).uniform(0.6, 0.8, (105, 1)).repeat(2, 1))
    assert len(rows) == 5 * 4 * 5 * 2 and (rows.points >= 0).all()
    assert (rows.points == 0).eq(rows.theirs == rows.ours).all() and (rows.points > 0).any()
    assert "points of accuracy lost" in capsys.readouterr().out


def test_a_lucky_seed_is_no_loss_for_another_runtime(tmp_path):
    rows = lost_in(tmp_path, [(accuracy, 0.7) for accuracy in np.random.default_rng(0).uniform(0.6, 0.8, 105)])
    by_luck = rows[rows.seed == 0]
    assert (by_luck.theirs != by_luck.ours).any() and (by_luck.points == 0).all()


def test_a_table_with_gaps_says_nothing_of_runtimes(tmp_path):
    with pytest.raises(SystemExit, match=r"^error: .*table.csv lacks 5 runs: build it first$"):
        lost_in(tmp_path, [(0.7, 0.7)] * 100 + [(0.7,)] * 5)
