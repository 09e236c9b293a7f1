"""benchmarks/cifar10_tree.py: every run in the table, however often it is killed, and the summary computed again by hand."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from tree_runs import MINI, arguments, cifar10_tree, latency_table  # puts benchmarks/ on the path

import cifar10_tree_rows
import proxyless_lite as pl
from cifar10_tree_rows import Runs
from proxyless_lite.runtime.cli import one_line

SPACE = pl.spaces.tree(1, 72, input_size=8)
ROLES = ["search", "found", "random1", "random2"]
TIMED = ["seconds"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a latency table."""
    made = tmp_path_factory.mktemp("tree")
    latency_table(made / "latency.csv")
    return made


@pytest.fixture(scope="module")
def bench(folder):
    return cifar10_tree.Bench(MINI, "digits", folder / "latency.csv", "cpu", folder / "whole")


@pytest.fixture(scope="module")
def whole(bench):
    """All rows of the mini setting, made in this process."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    nothing = pd.DataFrame(columns=[*cifar10_tree.COLUMNS])
    rows = [row for task in bench.missing(nothing) for row in bench(task)]
    torch.set_num_threads(threads)
    return pd.DataFrame([[str(cell) for cell in row] for row in rows], columns=[*cifar10_tree.COLUMNS])


def rows_in(path):
    return max(0, path.read_bytes().count(b"\n") - 2) if path.exists() else 0


@pytest.mark.slow
def test_a_command_that_was_killed_goes_on_to_the_same_rows(folder, whole, capsys):
    path = folder / "rows.csv"
    command = [sys.executable, str(Path(__file__).with_name("tree_runs.py")), str(folder)]
    driver = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}, stdout=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 600
        while rows_in(path) < 3:
            assert driver.poll() is None and time.monotonic() < until
            time.sleep(0.005)
    finally:
        driver.kill()  # alone: its worker must end by itself
        driver.wait()
    assert 3 <= rows_in(path) < len(whole)
    with open(path, "ab") as file:
        file.write(b"0,two_path,none,fou")  # a row cut short
    cifar10_tree.main(arguments(folder))
    rows = Runs.read(path)
    assert rows.attrs["command"].startswith("python benchmarks/cifar10_tree.py") and {"torch", "python"} <= rows.attrs["machine"].keys()
    assert "Scale against the paper's" in capsys.readouterr().out
    keys = ["seed", "rule", "cost", "role"]
    written = pd.read_csv(path, comment="#", dtype=str, keep_default_na=False)
    both = written.drop(columns=TIMED).merge(whole.drop(columns=TIMED), on=keys, suffixes=("", "_whole"), validate="1:1")
    assert len(both) == len(rows) == len(whole) == 4 * 4
    for name in set(whole) - {*keys, *TIMED}:
        assert both[name].equals(both[f"{name}_whole"].rename(name)), name
    size = path.stat().st_size
    cifar10_tree.main(arguments(folder))  # nothing is missing
    assert path.stat().st_size == size


@pytest.mark.slow
def test_every_search_is_followed_by_the_network_found_and_other_ones_of_its_cost(folder, bench, whole):
    assert bench.target == pytest.approx(0.8 * bench.ms.expected_under(torch.full((36, 7), 1 / 7, dtype=torch.float64)).item())
    assert whole.groupby(["seed", "rule", "cost"], sort=False).role.agg(list).tolist() == [ROLES] * 4
    costs = {"none": pl.costs.costs(SPACE, "macs"), "ms": pl.costs.costs(SPACE, pl.latency.Table.load(folder / "latency.csv"))}
    for (_, _, cost), own in whole.groupby(["seed", "rule", "cost"]):
        networks = own.set_index("role").network.map(lambda code: pl.Architecture.from_code(SPACE, code))
        price = networks.map(costs[cost].cost_of)
        assert networks["search"] == networks["found"] and len({n.choices for n in networks}) == 3
        assert (abs(price / price["found"] - 1) <= 0.05).all()
        if cost == "ms":
            assert abs(price["found"] / bench.target - 1) <= 0.05
        else:
            assert own.network.iloc[0] == own.most_probable.iloc[0]
        assert own.macs.astype(int).tolist() == [n.macs() for n in networks] and own.params.astype(int).tolist() == [n.params() for n in networks]
        assert np.allclose(own.ms.astype(float), networks.map(costs["ms"].cost_of), atol=1e-4)
    drawn = whole[whole.role.str.startswith("random")].network
    assert drawn.is_unique


def test_each_search_moves_alpha_by_its_own_rule_and_objective(bench, monkeypatch):
    seen = {}

    class Stopped(Exception):
        pass

    def look(net, data, rule, config, out, device, objective):
        seen[configuration] = rule, config, objective
        raise Stopped

    monkeypatch.setattr(cifar10_tree, "Search", look)
    for configuration in cifar10_tree.CONFIGURATIONS:
        with pytest.raises(Stopped):
            bench.search(5, *configuration)
    kinds = {c: (type(rule), type(objective)) for c, (rule, _, objective) in seen.items()}
    none = type(None)
    assert kinds == {("two_path", "none"): (pl.rules.TwoPath, none), ("reinforce", "none"): (pl.rules.Reinforce, none),
                     ("two_path", "ms"): (pl.rules.TwoPath, pl.objective.LatencyPenalty), ("reinforce", "ms"): (pl.rules.Reinforce, pl.objective.Reward)}
    for (rule, cost), (how, config, objective) in seen.items():
        assert config.seed == 5 and config.alpha_lr == pytest.approx(0.05 * (0.01 / 0.006 if rule == "reinforce" else 1))
        assert rule == "two_path" or how.samples == 2
        assert objective is None or objective.target == bench.target and objective.costs is bench.ms


@pytest.mark.parametrize("given, told", [
    ([], "no latency table given"),
    (["--latency", "none.csv"], "none.csv"),
    (["--latency", "LATENCY", "--workers", "0"], "--workers 0: at least 1"),
    (["--latency", "LATENCY", "--device", "abacus"], "unknown device 'abacus'"),
    (["--latency", "OTHER"], "latency table"),
    (["--summary"], "no table of cifar10_tree.py|No such file"),
])
def test_what_is_wrong_is_said_in_one_line(folder, tmp_path, given, told):
    words = {"LATENCY": str(folder / "latency.csv"), "OTHER": str(latency_table(tmp_path / "other.csv", 16))}
    with pytest.raises((ValueError, KeyError, OSError), match=told) as raised:
        cifar10_tree.main(["--preset", "mini", "--data", "digits", "--table", str(tmp_path / "t.csv"), "--runs", str(tmp_path / "runs"),
                           *(words.get(word, word) for word in given)])
    assert "\n" not in one_line(raised.value)
    assert not (tmp_path / "t.csv").exists()


def test_a_table_of_another_setting_is_refused(folder, tmp_path, bench):
    path = tmp_path / "t.csv"
    Runs(path, {"command": "", **bench.metadata()}).close()
    metadata = bench.metadata()
    metadata["setting"]["share"] = 0.5
    with pytest.raises(ValueError, match="another configuration: share is 0.8 there and 0.5 here"):
        Runs(path, {"command": "", **metadata})
    with pytest.raises(ValueError, match="holds no found network"):
        cifar10_tree_rows.summary(path)


# -- the summary ------------------------------------------------------------------------------------------------------

FOUND, RANDOM = [0.60, 0.58, 0.62], [[0.57, 0.59], [0.58, 0.56], [0.59, 0.57]]


@pytest.fixture
def by_hand(tmp_path, bench):
    """A table of two configurations with accuracies from above, the second of one seed only."""
    path = tmp_path / "t.csv"
    table = Runs(path, {"command": "", **bench.metadata()})
    for seed in range(3):
        for cost in ("none", "ms")[:2 if seed == 0 else 1]:
            table.append(seed, "two_path", cost, "search", "0" * 36, 900, 70, 2, 0.4, 1.5, 3600, 1.25, "1" * 36)
            table.append(seed, "two_path", cost, "found", "0" * 36, 900, 70, 1.02 * bench.target, FOUND[seed], 1, 1800, "", "")
            for i, accuracy in enumerate(RANDOM[seed]):
                table.append(seed, "two_path", cost, f"random{i + 1}", "0" * 36, 945, 80, bench.target, accuracy, 1, 1800, "", "")
    table.append(2, "reinforce", "none", "search", "0" * 36, 900, 70, 2, 0.4, 1.5, 3600, 1.25, "1" * 36)  # not yet trained
    table.close()
    return path


def test_the_difference_is_paired_by_seed(by_hand, bench):
    rows = Runs.read(by_hand)
    found = cifar10_tree_rows.pairs(rows)
    none = found[found.cost == "none"]
    off = np.array([0.60 - 0.58, 0.58 - 0.57, 0.62 - 0.58])
    test = cifar10_tree_rows.difference(none)
    half = 4.302652729911275 * off.std(ddof=1) / np.sqrt(3)  # Student's t, 2 degrees of freedom, 97.5 %
    assert (test["mean"], test["low"], test["high"]) == pytest.approx((off.mean(), off.mean() - half, off.mean() + half))
    assert test["p"] == pytest.approx(2 * stats.t.sf(off.mean() / (off.std(ddof=1) / np.sqrt(3)), 2))
    alone = cifar10_tree_rows.difference(found[found.cost == "ms"])
    assert alone["mean"] == pytest.approx(0.02) and np.isnan(alone["p"])


def test_the_comparison_has_means_deviations_and_costs(by_hand, bench):
    rows = Runs.read(by_hand)
    shown = cifar10_tree_rows.comparison(cifar10_tree_rows.pairs(rows), bench.target).set_index(["rule", "cost"])
    assert set(shown.index) == {("two_path", "none"), ("two_path", "ms"), ("all", "")}
    randoms = np.ravel(RANDOM)
    none, ms = shown.loc["two_path", "none"], shown.loc["two_path", "ms"]
    assert none.found == "60.00 ± 2.00" and none.random == f"{100 * randoms.mean():.2f} ± {100 * randoms.std(ddof=1):.2f}" and none.n == "3, 6"
    assert none["random/found"] == "1.050" and none["found/target"] == "–" and none.entropy == "1.25"
    assert ms["found/target"] == "1.020" and ms["random/found"] == f"{1 / 1.02:.3f}" and ms.n == "1, 2"
    assert shown.loc["all", ""].n == "4, 8"


def test_the_distance_to_the_paper_is_counted_and_extrapolated(by_hand, bench):
    rows = Runs.read(by_hand)
    metadata = rows.attrs
    here = cifar10_tree_rows.scale_here(metadata)
    assert (len(bench.images.train), len(bench.images.valid)) == (120, 40)
    assert here["images in weight steps of a search"] == 2 * 120 and here["images in a training"] == 160
    assert here["images in updates of α"] == 120 // 32 * 32
    paper = 200 * 45_000 + 200 * 703 // 5 * 64  # 703 steps an epoch
    per_image_and_mac = np.mean([1800 / 900] * 4 + [1800 / 945] * 8) / 160
    expected = 1_213_155_872 / 3600 * per_image_and_mac * np.array([paper, 600 * 50_000])
    assert cifar10_tree_rows.hours_of_table_1(metadata, rows) == pytest.approx(tuple(expected))
    text = cifar10_tree_rows.summary(by_hand)
    assert "17 runs so far: 5.00 h of searches, 6.00 h of trainings" in text and "extrapolated" in text
    assert f"{600 * 50_000:,}   1 : {600 * 50_000 / 160:,.0f}" in text


# -- workers ----------------------------------------------------------------------------------------------------------

@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for processes in /proc")
def test_workers_end_at_once_when_the_process_that_started_them_is_killed(tmp_path):
    script = tmp_path / "forever.py"
    script.write_text("import time\nfrom proxyless_lite.runtime import pool\n\ndef start():\n    return wait\n\n"
                      "def wait(task):\n    yield task\n    time.sleep(60)\n\n"
                      "if __name__ == '__main__':\n    for row in pool(start, [7], 1):\n        print(row, flush=True)\n")
    parent = subprocess.Popen([sys.executable, str(script)], env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}, stdout=subprocess.PIPE)
    assert parent.stdout.readline() == b"7\n"
    workers = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
    parent.kill()
    parent.wait()
    until = time.monotonic() + 30
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < until
        time.sleep(0.05)
