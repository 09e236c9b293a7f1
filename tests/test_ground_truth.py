"""The exhaustively trained space: which networks are the same one, tables that survive, what is read from them."""

import itertools
import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from truth_runs import MINI

import proxyless_lite as pl
from proxyless_lite import config, ground_truth, runtime
from proxyless_lite.ground_truth import BY_NAME, build, load, rank, verify
from proxyless_lite.ground_truth.__main__ import main
from proxyless_lite.ground_truth.builder import order, train_one
from proxyless_lite.ground_truth.searches import Searches
from proxyless_lite.ground_truth.settings import Setting, renewed
from proxyless_lite.ground_truth.table import Runs, read, seed_sd
from proxyless_lite.ground_truth.criteria import spreads

network = pl.Architecture.from_code
FOUR = ("Zero", "conv 3x3", "DW 5x5", "MB3 3x3")


# -- which networks are the same one ----------------------------------------------------------------------------------

def test_networks_that_differ_in_where_zero_stands_are_one_function_of_the_same_weights():
    space, draw = pl.spaces.chain(edges=4, width=4, input_size=8, candidates=FOUR), np.random.default_rng(0)
    x = torch.randn(3, 3, 8, 8, dtype=torch.float64)
    moved = 0
    for _ in range(20):
        choices = tuple(draw.choice(FOUR, 4).tolist())
        one, other = (pl.Architecture(space, c).build().double() for c in (choices, space.canonical(choices)))
        moved += choices != space.canonical(choices)
        for ours, theirs in zip(other.parameters(), one.parameters(), strict=True):
            ours.data = theirs.data
        for training in (True, False):
            assert torch.equal(one.train(training)(x), other.train(training)(x))
    assert moved > 5


def test_networks_that_remain_are_different_functions():
    space, outputs = pl.spaces.chain(edges=2, width=4, input_size=8, candidates=FOUR), []
    x = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    setting = replace(MINI, family=dict(name="chain", edges=2, width=4, input_size=8, candidates=FOUR))
    for found in setting.networks():
        torch.manual_seed(1)
        outputs.append(network(space, found).build()(x))
    assert len(outputs) == 1 + 3 + 9
    assert all((a - b).abs().max() > 1e-3 for a, b in itertools.combinations(outputs, 2))


SIZES = {"cifar10": (4 ** 4, 121), "digits": (4 ** 4, 121), "cifar10_32": (5 ** 3, 5 * 21)}  # of the spaces; without the same ones


@pytest.mark.parametrize("name", BY_NAME)
def test_the_distinct_networks_of_a_setting_are_counted_with_their_members(name):
    setting, (size, distinct) = BY_NAME[name], SIZES[name]
    others, networks = len(setting.space.edges()[0].candidates) - 1, setting.networks()
    assert len(networks) == distinct == math.prod(sum(others ** k for k in range(edges + 1)) for edges in setting.space.runs)
    assert sum(networks.values()) == size == setting.space.size()
    assert all(network(setting.space, found).code == found for found in networks)


def test_training_cannot_tell_where_zero_stands():
    images = MINI.load()
    setting = replace(MINI, family=MINI.family | {"edges": 3})
    accuracies = {c: train_one(setting, images, c, seed=3)[2:4] for c in ("102", "120", "012", "210")}
    assert accuracies["102"] == accuracies["120"] == accuracies["012"] != accuracies["210"]


# -- a table that survives --------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def whole():
    """All rows of the mini setting, trained in this process."""
    images, threads = MINI.load(), torch.get_num_threads()
    torch.set_num_threads(1)
    rows = pd.DataFrame([train_one(MINI, images, *run)[:4] for run in order(MINI)], columns=[*Runs.columns][:4])
    torch.set_num_threads(threads)
    return rows


def start(path):
    return subprocess.Popen([sys.executable, str(Path(__file__).with_name("truth_runs.py")), str(path)], start_new_session=True,
                            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}, stdout=subprocess.DEVNULL)


def rows_in(path):
    return max(0, path.read_bytes().count(b"\n") - 2) if path.exists() else 0


def wait_for(condition, seconds=120):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.005)


@pytest.mark.slow
def test_a_build_killed_at_any_moment_goes_on_to_the_same_table(tmp_path, whole):
    path = tmp_path / "t.csv"
    builder = start(path)
    wait_for(lambda: rows_in(path) >= 3)
    os.killpg(builder.pid, signal.SIGKILL)
    builder.wait()
    before = rows_in(path)
    assert 3 <= before < len(whole)
    with open(path, "ab") as file:
        file.write(b"12,1,0.23")  # a row cut short
    build(MINI, path, workers=1)
    rows = read(path)
    both = rows.merge(whole, on=["network", "seed"], suffixes=("", "_whole"), validate="1:1")
    assert len(both) == len(rows) == len(whole) == 7 * 2
    assert (both.accuracy - both.accuracy_whole).abs().max() <= 5e-5 and (both.loss - both.loss_whole).abs().max() <= 5e-5
    size = path.stat().st_size
    build(MINI, path)  # nothing is missing
    assert path.stat().st_size == size


def children(pid):
    return [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for processes in /proc")
def test_workers_end_when_the_builder_is_killed_alone(tmp_path):
    path = tmp_path / "t.csv"
    builder = start(path)
    wait_for(lambda: rows_in(path) >= 1)
    workers = children(builder.pid)
    builder.kill()
    builder.wait()
    assert len(workers) >= 2
    wait_for(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers), seconds=60)


@pytest.mark.slow
def test_a_run_that_diverges_is_named(tmp_path):
    diverges = replace(MINI, recipe=replace(MINI.recipe, lr=1e30))
    with pytest.raises(FloatingPointError, match="not finite") as error:
        build(diverges, tmp_path / "t.csv", workers=1)
    code, seed = order(MINI)[0]
    assert f"('{code}', {seed})" in str(error.value.__cause__)


def die():
    return lambda task: os._exit(9)


@pytest.mark.slow
def test_a_worker_that_dies_is_named():
    with pytest.raises(ChildProcessError, match="worker that did 7 died"):
        list(runtime.pool(die, [7], 1))


def test_no_workers_are_refused(tmp_path):
    with pytest.raises(ValueError, match="workers=0: at least 1"):
        build(MINI, tmp_path / "t.csv", workers=0)


def test_runs_come_seed_by_seed_in_random_order():
    runs = order(MINI)
    codes = [found for found, seed in runs if not seed]
    assert runs == [(found, seed) for seed in (0, 1) for found in codes]
    assert sorted(codes) == sorted(MINI.networks()) and codes != sorted(codes)


def test_a_table_is_written_by_one_and_for_one_setting(tmp_path):
    path = tmp_path / "t.csv"
    writer = Runs(path, MINI)
    with pytest.raises(ValueError, match="being built by another"):
        Runs(path, MINI)
    writer.close()
    with pytest.raises(ValueError, match="belongs to another configuration: seeds is 2 there and 3 here"):
        Runs(path, replace(MINI, seeds=3))
    other = tmp_path / "other.csv"
    other.write_text("a,b\n1,2")
    with pytest.raises(ValueError, match="is not a table of ground truth"):
        Runs(other, MINI)
    assert other.read_text() == "a,b\n1,2"


def test_a_table_says_on_which_machines_it_was_made(tmp_path, monkeypatch):
    path = tmp_path / "t.csv"
    Runs(path, MINI).close()
    Runs(path, MINI).close()
    here = pl.runtime.describe()
    for machine in (here, {"torch": "99"}, {"torch": "99"}, here):
        monkeypatch.setattr(pl.runtime, "describe", lambda: machine)
        writer = Runs(path, MINI)
        writer.append("12", 0, 0.5, 1.0, 2.0)
        writer.close()
    rows = read(path)
    assert [machine["torch"] for machine in rows.attrs["machines"]] == [torch.__version__, "99", torch.__version__]
    assert rows.processor.fillna("unknown").tolist() == [here["processor"], "unknown", "unknown", here["processor"]]
    assert max(len(line) for line in path.read_text().splitlines()[2:] if "#" not in line) <= 40


# -- what is read from it ---------------------------------------------------------------------------------------------

def table_of(path, accuracies, setting=MINI):
    """A table with given accuracies: code -> one a seed."""
    Runs(path, setting).close()
    with open(path, "a") as file:  # not by append, which waits for the disk a thousand times
        file.writelines(f"{found},{seed},{accuracy:.4f},1.0,2.0\n"
                        for found, values in accuracies.items() for seed, accuracy in enumerate(values))
    return load(path)


HAND = {"00": (0.1, 0.3), "10": (0.30, 0.32), "20": (0.5, 0.5), "12": (0.40, 0.42), "21": (0.60, 0.62), "11": (0.7, 0.7)}


def test_load_gives_mean_sd_and_cost_of_every_network(tmp_path):
    table = table_of(tmp_path / "t.csv", HAND)
    assert table.loc["12", "choices"] == ("MB1 1x1", "DW 3x3") and set(table.index) == set(HAND)
    assert table.members.to_dict() == {"00": 1, "10": 2, "20": 2, "12": 1, "21": 1, "11": 1}
    for found, values in HAND.items():
        assert table.loc[found, "mean"] == pytest.approx(np.mean(values))
        assert table.loc[found, "sd"] == pytest.approx(np.std(values, ddof=1))
        assert table.loc[found, "macs"] == network(MINI.space, found).macs()
    assert seed_sd(table) == pytest.approx(np.sqrt(np.mean([np.var(v, ddof=1) for v in HAND.values()])))


def test_a_table_without_a_run_says_so(tmp_path):
    with pytest.raises(ValueError, match="t.csv holds no finished run yet"):
        table_of(tmp_path / "t.csv", {})


def test_rank_counts_the_better_ones_of_equal_cost(tmp_path):
    table = table_of(tmp_path / "t.csv", HAND)
    a = pl.Architecture(MINI.space, ("MB1 1x1", "DW 3x3"))
    cost = {found: network(MINI.space, found).macs() for found in HAND}
    alike = [found for found in HAND if abs(cost[found] / cost["12"] - 1) <= 0.05]
    assert set(alike) == {"12", "21"}
    found, sd = rank(table, a), seed_sd(table)
    assert found["networks"] == 2 and found["better"] == 1 and found["regret"] == pytest.approx(0.2)
    assert found["regret_sd"] == pytest.approx(0.2 / sd) and not found["tied"] and found["ties"] == 1
    everywhere = rank(table, a, within=10)
    assert everywhere["ties"] == 2 and 2 * sd == pytest.approx(0.117, abs=1e-3)  # 0.70 and 0.61
    assert everywhere["networks"] == 6 and everywhere["better"] == 3 and everywhere["regret"] == pytest.approx(0.29)
    each = [pl.Architecture(MINI.space, MINI.space.canonical(c)).code for c in itertools.product(*(e.candidates for e in MINI.space.edges()))]
    known = [np.mean(HAND[code]) for code in each if code in HAND]
    assert len(known) == 8 and everywhere["blind"] == pytest.approx(np.mean(known)), "a network counts once for each choice that gives it"


def test_rank_does_not_mind_where_zero_stands(tmp_path):
    table = table_of(tmp_path / "t.csv", HAND)
    first, last = (rank(table, pl.Architecture(MINI.space, c)) for c in (("Zero", "DW 3x3"), ("DW 3x3", "Zero")))
    assert first == last and first["network"] == "20"


def test_rank_refuses_what_the_table_cannot_know(tmp_path):
    table = table_of(tmp_path / "t.csv", HAND)
    with pytest.raises(ValueError, match="network 22 is not in the table yet: 6 of 7"):
        rank(table, pl.Architecture(MINI.space, ("DW 3x3", "DW 3x3")))
    with pytest.raises(ValueError, match="the table is about"):
        rank(table, pl.Architecture(pl.spaces.chain(edges=2), ("MB3 3x3", "Zero")))


def test_without_a_second_run_of_a_network_nobody_knows_how_far_seeds_differ(tmp_path):
    single, a = table_of(tmp_path / "a.csv", {found: values[:1] for found, values in HAND.items()}), network(MINI.space, "12")
    for ask in (seed_sd, verify, partial(rank, architecture=a)):
        with pytest.raises(ValueError, match="no network of the table has two runs yet"):
            ask(single)
    some = table_of(tmp_path / "b.csv", {found: values[:1 + (found == "10")] for found, values in HAND.items()})  # a build in progress
    assert rank(some, a)["ties"] == 1 and seed_sd(some) == pytest.approx(np.std(HAND["10"], ddof=1))
    assert verify(some).met.tolist()[:2] == [False, False]


# -- verify -----------------------------------------------------------------------------------------------------------

LARGE = replace(MINI, family=dict(name="chain", edges=5, width=4, input_size=8, candidates=("Zero", "conv 1x1", "DW 5x5", "conv 3x3")), seeds=3)


def synthetic(path, accuracy, noise=0.003, seeds=3, setting=LARGE):
    """A whole table whose true accuracies are accuracy(choices), with normal noise; its heading tells of 10,000 test images."""
    draw = np.random.default_rng(0)
    truth = {found: accuracy(network(setting.space, found).choices) for found in setting.networks()}
    table = table_of(path, {found: value + noise * draw.standard_normal(seeds) for found, value in truth.items()}, setting)
    table.attrs["test_images"] = 10_000
    return table, truth


def fair(choices):
    """Good: a 3×3 convolution first, depthwise ones in between, a 1×1 convolution last, and four blocks at most."""
    points = {"Zero": 0.0, "conv 1x1": 0.02, "DW 5x5": 0.03, "conv 3x3": 0.02}
    return (0.4 + sum(points[c] for c in choices) + 0.04 * (choices[0] == "conv 3x3") + 0.03 * (choices[-1] == "conv 1x1")
            - 0.05 * ("Zero" not in choices))


def met(table):
    return verify(table).set_index("criterion")["met"].to_dict()


def test_spread_is_the_true_one_without_the_noise_of_seeds(tmp_path):
    table, truth = synthetic(tmp_path / "t.csv", fair, noise=0.03)
    assert seed_sd(table) == pytest.approx(0.03, rel=0.05)
    rows = spreads(table, count=1)
    true = np.std(list(truth.values()), ddof=1)
    assert rows.sd.item() == pytest.approx(true, rel=0.1)  # the standard error of the estimate is 4 %
    assert table["mean"].std() > 1.15 * true
    assert rows.networks.item() == len(table) == 364


def test_verify_is_content_with_a_good_table_and_names_what_is_wrong_with_others(tmp_path):
    good, _ = synthetic(tmp_path / "good.csv", fair)
    assert all(met(good).values()), verify(good)
    costs = pl.costs.costs(LARGE.space, "macs")

    def dear_is_good(choices):
        return fair(choices) + 5e-6 * costs.cost_of(pl.Architecture(LARGE.space, choices))

    broken = {
        "finished runs": good.iloc[:-1],
        "Kendall τ of accuracy with MACs": synthetic(tmp_path / "a.csv", dear_is_good)[0],
        "least spread of accuracy in a cost band / sd between seeds": synthetic(tmp_path / "b.csv", fair, noise=0.03)[0],
        "operations in the best network of a cost band":
            synthetic(tmp_path / "c.csv", lambda c: 0.4 - 0.1 * c.count("conv 1x1"))[0],
        "best network": synthetic(tmp_path / "d.csv", lambda c: 0.4 + 0.1 * c.count("DW 5x5"))[0],
    }
    few = good.copy()
    few.attrs = good.attrs | {"test_images": 360}
    broken["test images"] = few
    for criterion, table in broken.items():
        table.attrs = {**good.attrs, **table.attrs}
        assert not met(table)[criterion], criterion


def test_a_table_of_one_cost_has_no_bands_to_verify(tmp_path):
    with pytest.raises(ValueError, match=r"networks of one cost only \(1 of them\): finish more runs"):
        verify(table_of(tmp_path / "t.csv", {"12": HAND["12"]}))


# -- the command line -------------------------------------------------------------------------------------------------

def test_command_line_verifies_and_ranks(tmp_path, monkeypatch, capsys):
    path = tmp_path / "digits.csv"
    table_of(path, HAND)
    main(["verify", "digits", "--table", str(path)])
    assert "NOT MET: test images: 360" in capsys.readouterr().out
    pl.Architecture(MINI.space, ("Zero", "MB1 1x1")).save(tmp_path / "a.json")
    main(["rank", "digits", "--table", str(path), str(tmp_path / "a.json")])
    assert "31.00% top-1 over 2 seeds" in capsys.readouterr().out


def test_only_commands_that_read_or_write_a_table_take_one(tmp_path, capsys, monkeypatch):
    for name in ("sweep", "estimators"):
        monkeypatch.setattr(ground_truth.__main__, name, None)
    for command in ("search", "estimators"):
        with pytest.raises(SystemExit):
            main([command, "digits", "--table", "t.csv", "--out", str(tmp_path / "o.csv")])
        assert "unrecognized arguments: --table t.csv" in capsys.readouterr().err


def test_committed_tables_are_those_of_their_settings():
    for name, setting in BY_NAME.items():
        rows = read(ground_truth.FOLDER / f"{name}.csv")
        assert rows.attrs["setting"] == setting.describe()
        assert set(zip(rows["network"], rows["seed"])) <= set(order(setting)) and not rows.duplicated(["network", "seed"]).any()


# -- tables of earlier versions ---------------------------------------------------------------------------------------

EARLIER = {  # how the setting of the digits was described when all spaces were chains
    "name": "digits", "chain": {"edges": 4, "width": 8, "input_size": 8, "candidates": ["Zero", "DW 7x7", "conv 3x3", "MB3 3x3"]}, "images": {},
    "recipe": {"epochs": 8, "batch_size": 64, "lr": 0.1, "momentum": 0.9, "weight_decay": 0.0001, "label_smoothing": 0.0, "cutout": 0,
               "drop_path": 0.0, "dropout": 0.0, "decay_norms": True, "seed": 0}, "seeds": 3}


def heading_of(path):
    return json.loads(path.read_text().split("\n", 1)[0][2:])


@pytest.mark.parametrize("path", sorted(ground_truth.FOLDER.glob("*.csv")), ids=lambda path: path.stem)
def test_every_stored_table_is_loaded_with_its_setting(path):
    given, table = heading_of(path)["setting"], load(path)
    setting = Setting.of(given)
    if "chain" in given:
        assert setting.space == pl.spaces.chain(**given["chain"]) and setting.images == {"name": given["name"], **given["images"]}
        assert setting.precision == "float32"
    assert (setting.name, setting.seeds) == (given["name"], given["seeds"])
    recipe = asdict(setting.recipe)
    assert {**{name: before for name, before in config.LATER.items() if name in recipe}, **given["recipe"]} == recipe
    assert len(table) and set(table.index) <= set(setting.networks()) and table.attrs["setting"] == setting.describe()


def test_a_description_of_an_earlier_version_is_that_of_today():
    earlier, today = EARLIER | {"search": {"epochs": 3}, "choice": {"tuned": 2}}, BY_NAME["digits"]
    before = json.dumps(earlier)
    assert Setting.of(earlier).describe() == today.describe() and Setting.of(today.describe()).describe() == today.describe()
    assert renewed(earlier) == today.describe() | {"search": {"epochs": 3}, "choice": {"tuned": 2}} == renewed(renewed(earlier))
    assert json.dumps(earlier) == before, "what was given is left as it is"


@pytest.mark.parametrize("kind, more", [(Runs, {}), (Searches, {"search": {"epochs": 3}})])
def test_a_table_of_an_earlier_version_is_resumed(kind, more, tmp_path):
    path, images = tmp_path / "t.csv", BY_NAME["digits"].load()
    metadata = {"setting": EARLIER | more, "digest": images.digest, "test_images": 360, "machine": pl.runtime.describe()}
    pl.runtime.write_table(path, pd.DataFrame(columns=list(kind.columns)), metadata)
    opened = kind(path, BY_NAME["digits"]) if kind is Runs else kind(path, metadata | {"setting": BY_NAME["digits"].describe() | more})
    opened.close()
    assert opened.rows.attrs["setting"] == BY_NAME["digits"].describe() | more
    with pytest.raises(ValueError, match="belongs to another configuration: seeds is 3 there and 2 here"):
        other = replace(BY_NAME["digits"], seeds=2)
        kind(path, other) if kind is Runs else kind(path, metadata | {"setting": other.describe() | more})


def test_searches_of_today_are_judged_by_a_table_of_an_earlier_version(tmp_path):
    path, table = tmp_path / "s.csv", load("digits")
    assert "chain" in heading_of(ground_truth.FOLDER / "digits.csv")["setting"]
    metadata = {"setting": BY_NAME["digits"].describe() | {"search": {}}, "digest": table.attrs["digest"], "machine": pl.runtime.describe()}
    searches = Searches(path, metadata)
    best = table["mean"].idxmax()
    searches.append("two_path", 0, best, 1.0, " ".join(str(round(1000 * table["mean"][code])) for code in sorted(table.index)))
    searches.close()
    scored = ground_truth.score(table, ground_truth.read_searches(path))
    assert scored.regret.item() == 0 and scored.tau.item() > 0.9
