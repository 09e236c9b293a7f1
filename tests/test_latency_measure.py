"""Measuring: rounds that lose and repeat nothing, drift that cancels, clocks, and the command line."""

import gc
import itertools
import json
import runpy
import subprocess
import sys
import weakref
from contextlib import nullcontext

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.testing import assert_close

import proxyless_lite as pl
from proxyless_lite.latency import Entry, Table, Timings, clocks, measure, networks, rounds, run
from proxyless_lite.latency import __main__ as latency_cli
from proxyless_lite.latency.measure import Pool, conditions, random_networks, reference
from proxyless_lite.latency.parts import blocks_of, parts
from proxyless_lite.spaces import Block

ABOUT = {"seed": 3, "device": "fake"}


def tiny(**settings):
    return pl.spaces.chain(**dict(edges=2, width=4, classes=3, input_size=4, candidates=("MB3 3x3", "DW 3x3", "Zero")) | settings)


def counting(count, seconds=0.004, after=None):
    """`get` for run_rounds: item i takes (i + 1) times `seconds`. Also the list of visited items; `after` visits it dies."""
    visited = []

    def get(i):
        if len(visited) == after:
            raise KeyboardInterrupt
        visited.append(i)
        return lambda: (i + 1) * seconds
    return get, visited


def rows_of(visits):
    return list(zip(visits["round"], visits["item"]))


# -- rounds -----------------------------------------------------------------------------------------------------------

def test_every_round_visits_every_item_once_in_an_order_of_its_own():
    get, visited = counting(9)
    visits = rounds.run_rounds(get, 9, lambda: 0.01, 4, 0.0, ABOUT)
    orders = [visited[9 * r:9 * r + 9] for r in range(4)]
    assert all(sorted(order) == list(range(9)) for order in orders)
    assert len(set(map(tuple, orders))) == 4
    assert rows_of(visits) == [(r, i) for r, order in enumerate(orders) for i in order], "in the order measured"
    assert visits.ms.tolist() == pytest.approx([4 * (i + 1) for i in visited]) and set(visits.reference_ms) == {10.0}


def test_the_order_is_that_of_the_seed():
    def order(seed):
        get, visited = counting(9)
        rounds.run_rounds(get, 9, lambda: 0.01, 2, 0.0, {"seed": seed})
        return visited
    assert order(3) == order(3) != order(4)


def test_a_visit_takes_the_shortest_of_two_turns_after_a_warm_up():
    item, beside = iter([9., .030, .020]), iter([.007, .005])
    assert run.visit(lambda: next(item), lambda: next(beside)) == pytest.approx((20, 5))
    assert next(item, None) is None and next(beside, None) is None


def test_a_short_item_is_repeated_and_its_mean_counts():
    calls = []
    times = itertools.chain([1e-3], itertools.cycle([.5e-3, 1.5e-3]))
    ms, _ = run.visit(lambda: calls.append(1) or next(times), lambda: 1.)
    assert len(calls) == 1 + 2 * 2 and ms == pytest.approx(1)
    assert run.visit(lambda: 0., lambda: 1.)[0] == 0, "a clock too coarse to see the item does not divide by 0"


# -- interruption -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("after", [0, 1, 5, 6, 13])
def test_interrupted_and_resumed_is_the_same_as_at_once(after, tmp_path):
    whole, visited = counting(6, 0.004 / 3)
    at_once = rounds.run_rounds(whole, 6, lambda: 0.01 / 7, 3, 0.0, ABOUT, tmp_path / "whole.csv")
    killed, before = counting(6, 0.004 / 3, after)
    with pytest.raises(KeyboardInterrupt):
        rounds.run_rounds(killed, 6, lambda: 0.01 / 7, 3, 0.0, ABOUT, tmp_path / "t.csv")
    get, since = counting(6, 0.004 / 3)
    visits = rounds.run_rounds(get, 6, lambda: 0.01 / 7, 3, 0.0, ABOUT, tmp_path / "t.csv")
    assert len(before) == after and before + since == visited, "no visit is lost or repeated"
    pd.testing.assert_frame_equal(visits, at_once, rtol=1e-12, atol=0)
    assert (tmp_path / "t.visits.csv").read_text() == (tmp_path / "whole.visits.csv").read_text()
    get, again = counting(6, 0.004 / 3)
    pd.testing.assert_frame_equal(rounds.run_rounds(get, 6, lambda: 0.01 / 7, 3, 0.0, ABOUT, tmp_path / "t.csv"), at_once, rtol=1e-12, atol=0)
    assert again == [], "what is complete is not measured again"


def test_a_last_line_cut_short_is_measured_anew(tmp_path):
    get, visited = counting(6)
    rounds.run_rounds(get, 6, lambda: 0.01, 2, 0.0, ABOUT, tmp_path / "t.csv")
    path = tmp_path / "t.visits.csv"
    whole = path.read_text()
    path.write_text(whole[:-3])  # "1,5,24,1": would pass for a reference of 1 ms
    get, again = counting(6)
    visits = rounds.run_rounds(get, 6, lambda: 0.01, 2, 0.0, ABOUT, tmp_path / "t.csv")
    assert again == visited[-1:] and len(visits) == 12 and set(visits.reference_ms) == {10.0}
    assert path.read_text() == whole


def test_more_rounds_go_on_from_where_it_ended(tmp_path):
    for count in (2, 3):
        get, visited = counting(4)
        metadata = {**ABOUT, "rounds": count, "date": f"day {count}"}
        visits = rounds.run_rounds(get, 4, lambda: 0.01, count, 0.0, metadata, tmp_path / "t.csv")
    assert len(visited) == 4 and len(visits) == 12


@pytest.mark.parametrize("content, told", [
    ("\n", "the file is empty"), ("once\nupon\na time\n", "its columns are once, not round, item, ms, reference_ms"),
    (None, "device is 'fake' there and 'other' here"),
    ("# {}\nround,item,ms,reference_ms\n0,1,2\n", "is not a file of visits"),
    ("# {}\nround,item,ms,reference_ms\n0,1,2,3,4\n", "is not a file of visits"),
    ("# {}\nround,item,ms,reference_ms\n0,0.5,2,3\n", "is not a file of visits"),
    ("# {}\nround,item,ms,reference_ms\n0,1,x,2\n", "is not a file of visits"),
    ("# {}\nround,item,ms,reference_ms\n0,1,-2,2\n", "is not positive"),
    ("# {}\nround,item,ms,reference_ms\n0,1,nan,2\n", "is not positive"),
    ("# {\nround,item,ms,reference_ms\n0,1,2,2\n", "is not a file of visits"),
])
def test_a_file_of_something_else_is_refused_and_kept(content, told, tmp_path):
    path = tmp_path / "t.visits.csv"
    if content is None:
        rounds.run_rounds(counting(2)[0], 2, lambda: 0.01, 1, 0.0, ABOUT, tmp_path / "t.csv")
    else:
        path.write_text(content)
    kept = path.read_text()
    with pytest.raises(ValueError, match=told) as caught:
        rounds.run_rounds(counting(2)[0], 2, lambda: 0.01, 1, 0.0, {**ABOUT, "device": "other"}, tmp_path / "t.csv")
    assert str(path) in str(caught.value) and "\n" not in str(caught.value) and path.read_text() == kept


def test_two_processes_do_not_measure_into_one_file(tmp_path):
    rounds.run_rounds(counting(2)[0], 2, lambda: 0.01, 1, 0.0, ABOUT, tmp_path / "t.csv")
    kept = (tmp_path / "t.visits.csv").read_text()
    code = f"import fcntl; file = open({str(tmp_path / 't.visits.csv')!r}, 'a'); fcntl.flock(file, fcntl.LOCK_EX); print(); input()"
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    other.stdout.readline()
    with pytest.raises(ValueError, match="t.visits.csv is being built by another process; wait for its end or choose another file"):
        rounds.run_rounds(counting(2)[0], 2, lambda: 0.01, 2, 0.0, ABOUT, tmp_path / "t.csv")
    assert (tmp_path / "t.visits.csv").read_text() == kept
    other.communicate(b"\n", timeout=10)
    assert len(rounds.run_rounds(counting(2)[0], 2, lambda: 0.01, 2, 0.0, ABOUT, tmp_path / "t.csv")) == 4


def on(device, gpu, processor, **metadata):
    """Metadata of a measurement on a machine with a GPU and a CPU of these names."""
    return {**ABOUT, "device": device, "machine": {"device": gpu, "processor": processor, **metadata}}


@pytest.mark.parametrize("ours, theirs, told", [
    (on("cuda", "H200", "EPYC"), on("cuda", "A100", "EPYC"), "gpu is 'H200' there and 'A100' here"),
    (on("cuda", "H200", "EPYC"), on("cuda", "H200", "Xeon", torch="3"), None),
    (on("cpu", "CPU, 1 threads", "EPYC"), on("cpu", "H200", "EPYC", torch="3"), None),
    (on("onnxruntime", "A100", "EPYC"), on("onnxruntime", "H200", "EPYC"), None),
    (on("onnxruntime", "H200", "EPYC"), on("onnxruntime", "H200", "Xeon"), "processor is 'EPYC' there and 'Xeon' here"),
    ({**ABOUT, "device": "cuda"}, on("cuda", "H200", "EPYC"), "gpu is None there and 'H200' here"),
    (on("cuda", "H200", "EPYC"), on("cpu", "H200", "EPYC"), "device is 'cuda' there and 'cpu' here"),
], ids=lambda value: None if isinstance(value, dict) else str(value))
def test_visits_go_on_only_on_what_the_first_ones_were_measured_on(ours, theirs, told, tmp_path):
    rounds.run_rounds(counting(2)[0], 2, lambda: 0.01, 1, 0.0, ours, tmp_path / "t.csv")
    again = lambda: rounds.run_rounds(counting(2)[0], 2, lambda: 0.01, 2, 0.0, theirs, tmp_path / "t.csv")  # noqa: E731
    if told is None:
        assert len(again()) == 4
        return
    with pytest.raises(ValueError, match=told):
        again()


def test_a_measurement_names_what_it_was_measured_on(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "H200")
    monkeypatch.setattr(clocks.Cuda, "versions", lambda self: {})  # cuDNN asks the GPU
    found = [rounds.measured_on(conditions(clock, 1, 0, 1)) for clock in (clocks.Cuda(), clocks.Cpu())]
    assert found == [{"gpu": "H200"}, {"processor": pl.runtime.processor()}]


def test_a_file_that_was_refused_is_free_again(tmp_path):
    for device in ("fake", "other", "fake"):
        try:
            rounds.run_rounds(counting(2)[0], 2, lambda: 0.01, 1, 0.0, {**ABOUT, "device": device}, tmp_path / "t.csv")
        except ValueError as error:
            refused = error  # and with it the frames that it came through
    assert "device is 'fake' there" in str(refused)


# -- how long ---------------------------------------------------------------------------------------------------------

def test_a_certain_item_stops_after_its_visits_and_a_noisy_one_goes_on():
    def visits_of(rounds_at_most, precision):
        noise = itertools.cycle([.004, .006, .008])

        def get(i):
            seconds = next(noise) if i else .004
            return lambda: seconds
        return rounds.run_rounds(get, 2, lambda: 0.01, rounds_at_most, precision, ABOUT)["item"].value_counts().to_dict()

    assert visits_of(20, 0.01) == {0: run.CERTAIN, 1: 20}
    assert visits_of(20, 10.0) == {0: run.CERTAIN, 1: run.CERTAIN}, "a coarse precision is soon reached"
    assert visits_of(5, 10.0) == {0: 5, 1: 5}


def test_an_item_without_noise_is_still_visited_every_round_at_precision_0():
    jitter = itertools.count(1)
    visits = rounds.run_rounds(lambda i: lambda: 0.004 + 1e-7 * next(jitter), 1, lambda: 0.01, 12, 0.0, ABOUT)
    assert len(visits) == 12


def test_the_standard_error_is_that_of_the_median_of_normal_noise():
    values = 10 + np.random.default_rng(0).normal(size=(4000, 41))
    found = np.mean([run.standard_error(list(row)) for row in values])
    assert found == pytest.approx(np.median(values, axis=1).std() / 10, rel=0.05)


def test_the_summary_is_the_median_ratio_times_the_median_reference():
    rows = [(0, 0, 2., 1.), (0, 1, 8., 2.), (1, 0, 9., 3.), (1, 1, 5., 1.), (2, 0, 16., 4.)]
    visits = pd.DataFrame(rows, columns=[*rounds.COLUMNS])
    rows = rounds.summarize(visits)  # ratios of item 0: 2, 3, 4, of item 1: 4, 5; the reference's median is 2
    assert rows.ms.tolist() == pytest.approx([6, 9]) and rows.visits.tolist() == [3, 2]
    assert rows["sd"].tolist() == pytest.approx([2, 2**.5])


def test_drift_that_slows_item_and_reference_alike_cancels_out():
    speed = 1.0

    def get(i):
        nonlocal speed
        speed *= 1.1  # every visit is slower than the one before
        return lambda: speed * 0.004 * (i + 1)

    visits = rounds.run_rounds(get, 5, lambda: speed * 0.01, 6, 0.0, ABOUT)
    raw = visits.pivot(index="item", columns="round", values="ms").to_numpy()
    assert (raw.max(1) / raw.min(1)).min() > 5
    timings = Timings([None] * 5, visits, {})
    repeats = timings.repeats()
    assert repeats.shape == (5, 6)
    np.testing.assert_allclose(repeats / repeats[0, 0], np.tile(np.arange(1, 6)[:, None], 6), rtol=1e-9)
    np.testing.assert_allclose(timings.milliseconds(), 0.4 * visits.reference_ms.median() * np.arange(1, 6))


def test_repeats_has_nan_where_a_network_was_not_visited():
    visits = pd.DataFrame([(0, 1, 4., 2.), (0, 0, 2., 2.), (2, 1, 6., 2.)], columns=[*rounds.COLUMNS])
    np.testing.assert_array_equal(Timings([None] * 3, visits, {}).repeats(), [[2, np.nan, np.nan], [4, np.nan, 6], [np.nan] * 3])


# -- the networks that are timed --------------------------------------------------------------------------------------

@pytest.mark.parametrize("space", [
    tiny(), tiny(edges=1), pl.spaces.tree(1, 72, classes=3, input_size=4),
    pl.spaces.mobile(widths=(4,) * 9, classes=3, input_size=32, candidates=("MB3 3x3", "MB6 5x5")),
], ids=lambda s: f"{s.name} {len(s.edges())}")
def test_a_pooled_network_is_the_compact_one(space):
    torch.manual_seed(0)
    clock = clocks.Cpu()
    pool, x = Pool(space, clock), torch.randn(1, 3, space.input_size, space.input_size)
    for network in random_networks(space, 3, seed=1):
        pooled = pool.network(network.choices)
        compact = network.build().eval()
        compact.load_state_dict(pooled.state_dict())  # strict: the same layers under the same names
        for operations, choice in zip(pool.operations, network.choices):
            assert set(operations[choice].modules()) <= set(pooled.modules()), "the pool's own weights run"
        with torch.no_grad():
            assert_close(pooled(x), compact(x), rtol=0, atol=1e-5)
        assert not pooled.training


def test_a_pooled_network_of_zeros_is_the_fixed_part():
    torch.manual_seed(0)
    pool, x = Pool(tiny(), clocks.Cpu()), torch.randn(2, 3, 4, 4)
    whole = pool.network(("Zero", "Zero"))
    with torch.no_grad():
        assert_close(whole(x), whole[3](whole[0](x)))
        assert not torch.allclose(pool.network(("Zero", "DW 3x3"))(x), whole[3](whole[0](x)))


def test_in_the_reference_every_candidate_takes_part():
    assert reference(tiny(edges=4)).choices == ("MB3 3x3", "DW 3x3", "Zero", "MB3 3x3")
    choices = reference(pl.spaces.mobile()).choices
    assert set(choices) == {*pl.ops.MBCONV, "Zero"}
    pl.spaces.mobile().check(choices)


def test_random_networks_are_different_repeatable_and_uniform():
    space = tiny()
    every = {space.canonical(choices) for choices in itertools.product(space.edges()[0].candidates, repeat=2)}
    assert {space.canonical(a.choices) for a in random_networks(space, 7, 0)} == every and len(every) == 7
    wide = pl.spaces.chain(edges=6, width=4, candidates=("MB3 3x3", "DW 3x3", "DW 5x5"))
    drawn = [a.choices for a in random_networks(wide, 400, 5)]
    assert drawn == [a.choices for a in random_networks(wide, 400, 5)] != [a.choices for a in random_networks(wide, 400, 6)]
    assert len(set(drawn)) == 400
    counts = np.array([[column.count(name) for name in wide.edges()[0].candidates] for column in zip(*drawn)])
    assert abs(counts / 400 - 1 / 3).max() < 0.08
    for count in (0, 10):
        with pytest.raises(ValueError, match=f"{count} networks asked for; chain.* has 1 to 9"):
            random_networks(space, count, 0)


def test_random_networks_that_differ_by_the_place_of_their_zeros_are_one():
    space = pl.spaces.chain(edges=3, width=4, candidates=("Zero", "DW 3x3"))
    found = random_networks(space, 4, 0)
    assert {sum(name == "Zero" for name in network.choices) for network in found} == {0, 1, 2, 3}
    with pytest.raises(ValueError, match="5 networks asked for; chain.* has 4 that differ"):
        random_networks(space, 5, 0)
    assert len(parts(pl.spaces.chain(edges=2, width=4, candidates=("Zero", "DW 3x3")))) == 3 + 1 + 1 + 3, "blocks, the call, the reference, all networks"


def test_a_table_of_a_space_of_ones_own_is_read_back(tmp_path):
    space = pl.spaces.chain(edges=2, width=4, classes=3, input_size=4, candidates=("conv", "skip"), make=of_ones_own)
    table = measure(space, "cpu", rounds=2, out=tmp_path / "t.csv")
    again = pl.costs.costs(space, Table.load(tmp_path / "t.csv"))
    assert_close(again.matrix, pl.costs.costs(space, table).matrix, rtol=1e-4, atol=0)


def of_ones_own(name, i, o, stride):
    return nn.Identity() if name == "skip" else nn.Conv2d(i, o, 3, stride, 1)


# -- measuring for real -----------------------------------------------------------------------------------------------

def test_measure_times_every_distinct_block_once_and_resumes(tmp_path, monkeypatch, capsys):
    space, out = tiny(edges=3), tmp_path / "t.csv"
    table = measure(space, rounds=2, out=out, seed=1)
    assert set(table) == {Block("conv 3x3", 3, 4, 4), Block("linear", 4, 3, 4),
                          Block("MB3 3x3", 4, 4, 4, residual=True), Block("DW 3x3", 4, 4, 4, residual=True)}
    assert all(0 < entry.ms < 100 and entry.count == 2 for entry in table.entries.values())
    metadata = table.metadata
    assert metadata["device"] == "cpu" and metadata["threads"] == metadata["batch"] == 1 and metadata["reference_ms"] > 0
    assert metadata["space_settings"] == {"name": "chain", **space.settings} and metadata["machine"]["torch"] == torch.__version__
    loaded = Table.load(out)
    assert list(loaded) == list(table) and all(loaded[b] == pytest.approx(table[b], rel=1e-4) for b in table)
    monkeypatch.setattr(rounds, "visit", lambda *_: pytest.fail("measured again"))
    again = measure(space, rounds=2, out=out, seed=1)
    assert all(again[b] == pytest.approx(table[b], rel=1e-3) for b in table)
    assert "resuming after 8 visits" in capsys.readouterr().out
    with pytest.raises(ValueError, match="seed is 1 there and 2 here"):
        measure(space, rounds=2, out=out, seed=2)
    costs = pl.costs.costs(space, loaded)
    assert costs.cost_of([2, 2, 2]) == pytest.approx(costs.fixed) and costs.cost_of([0, 0, 0]) > costs.fixed


def test_the_milliseconds_are_those_of_a_forward_pass():
    table = measure(pl.spaces.chain(edges=1, width=16, classes=3, input_size=64, candidates=("MB6 7x7", "DW 3x3")), rounds=2)
    heavy, light = (table[f"{name} 16→16 s1 64x64"] for name in ("MB6 7x7", "DW 3x3"))
    assert 2 * light < heavy < 1000, "one has 20 times the work of the other"


def test_networks_are_timed_saved_and_loaded(tmp_path, monkeypatch):
    space, out = tiny(), tmp_path / "n.csv"
    timings = networks(space, 5, rounds=3, out=out, seed=2)
    repeats = timings.repeats()
    assert repeats.shape == (5, 3) and np.isfinite(repeats).all() and repeats.min() > 0
    assert [a.choices for a in timings.architectures] == [a.choices for a in random_networks(space, 5, 2)]
    loaded = Timings.load(out)
    assert [a.choices for a in loaded.architectures] == [a.choices for a in timings.architectures]
    assert loaded.architectures[0].space == space and loaded.metadata == timings.metadata
    np.testing.assert_allclose(loaded.repeats(), repeats, rtol=1e-3)
    rows = pd.read_csv(out, comment="#", dtype={"choices": str})
    assert rows.visits.tolist() == [3] * 5
    np.testing.assert_allclose(rows.ms, timings.milliseconds(), rtol=1e-3)
    assert rows.choices[0] == timings.architectures[0].code
    monkeypatch.setattr(rounds, "visit", lambda *_: pytest.fail("measured again"))
    np.testing.assert_allclose(networks(space, 5, rounds=3, out=out, seed=2).repeats(), repeats, rtol=1e-3)
    with pytest.raises(ValueError, match="networks is 5 there and 6 here"):
        networks(space, 6, rounds=3, out=out, seed=2)


def saved(path, networks):
    """Timings of these networks by fake clocks, saved."""
    settings = {"name": "chain", **networks[0].space.settings}
    metadata = {"seed": 0, "space_settings": settings}
    visits = rounds.run_rounds(counting(len(networks))[0], len(networks), lambda: 0.01, 1, 0.0, metadata, path)
    Timings(networks, visits, metadata).save(path)


def test_networks_of_a_space_with_many_candidates_survive_the_file(tmp_path):
    space = tiny(candidates=("Zero", *(f"DW {k}x{k}" for k in range(1, 25, 2))))
    drawn = [pl.Architecture(space, (a, b)) for a, b in zip(space.edges()[0].candidates, space.edges()[0].candidates[::-1])]
    saved(tmp_path / "n.csv", drawn)
    assert [a.choices for a in Timings.load(tmp_path / "n.csv").architectures] == [a.choices for a in drawn]


@pytest.mark.parametrize("damage, told", [
    (lambda text: text.replace("choices", "choice"), "choices"),
    (lambda text: text.replace("\n00,", "\n09,"), "is not a file of timed networks: .* no candidate '9'"),
    (lambda text: text.replace("\n00,", "\n000,"), "is not a file of timed networks: .* has 3 characters"),
    (lambda text: "", "is not a file of timed networks"),
])
def test_damaged_timings_are_refused_in_one_line(damage, told, tmp_path):
    saved(tmp_path / "n.csv", [pl.Architecture(tiny(), ("MB3 3x3",) * 2)])
    assert len(Timings.load(tmp_path / "n.csv").architectures) == 1
    (tmp_path / "n.csv").write_text(damage((tmp_path / "n.csv").read_text()))
    with pytest.raises(ValueError, match=f"n.csv .*{told}") as caught:
        Timings.load(tmp_path / "n.csv")
    assert "\n" not in str(caught.value)


# -- clocks -----------------------------------------------------------------------------------------------------------

def test_an_unknown_or_absent_device_is_refused():
    with pytest.raises(ValueError, match="unknown device 'tpu'; allowed: cpu, cuda, onnxruntime"):
        clocks.clock_of("tpu")
    for threads in (0, -1):
        with pytest.raises(ValueError, match=f"threads={threads}: must be at least 1"):
            clocks.clock_of("cpu", threads)


def test_measuring_has_the_clocks_threads_and_leaves_those_of_the_process(monkeypatch):
    before, seen = torch.get_num_threads(), []
    visit = rounds.visit
    monkeypatch.setattr(rounds, "visit", lambda *runs: seen.append(torch.get_num_threads()) or visit(*runs))
    try:
        torch.set_num_threads(3)
        space, settings = tiny(edges=1), dict(rounds=1, threads=2)
        metadata = [measure(space, **settings).metadata, networks(space, 1, **settings).metadata,
                    pl.latency.compare([space.fixed_blocks()[0]], **settings).attrs]
        with pytest.raises(ValueError, match="batch=0"):
            measure(space, batch=0)
        assert {*seen} == {2} and torch.get_num_threads() == 3
        if not torch.cuda.is_available():
            assert {each["machine"]["device"] for each in metadata} == {"CPU, 2 threads"}
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA GPU here")
def test_a_gpu_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="'cuda' asked for, but PyTorch sees no CUDA GPU"):
        measure(tiny(), device="cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no CUDA GPU here")
def test_the_gpu_clock_replays_the_module():
    clock = clocks.clock_of("cuda")
    assert clock.batch == 8
    run = clock.prepare(Block("MB6 5x5", 64, 64, 56, residual=True).module(), (8, 64, 56, 56))
    assert 1e-6 < min(run() for _ in range(5)) < 1


def test_the_gpu_clock_keeps_the_module_whose_weights_its_graph_reads(monkeypatch):
    class Stream:
        def wait_stream(self, other):
            """Nothing to wait for without a GPU."""

    for name, fake in dict(CUDAGraph=object, Stream=Stream, current_stream=Stream, stream=nullcontext, graph=nullcontext).items():
        monkeypatch.setattr(torch.cuda, name, fake)
    randn = torch.randn
    monkeypatch.setattr(torch, "randn", lambda shape, device: randn(shape))
    monkeypatch.setattr(clocks.Cuda, "ready", lambda self, module: module.eval())
    module, gone = nn.Conv2d(3, 8, 3), []
    weakref.finalize(module, gone.append, True)
    run = clocks.Cuda().prepare(module, (1, 3, 8, 8))
    del module
    gc.collect()
    assert not gone, "a replay would read memory that others own by then"
    del run
    gc.collect()
    assert gone


def test_the_cpu_clock_runs_the_module_once_in_inference_mode():
    seen = []

    class Seen(torch.nn.Module):
        def forward(self, x):
            last = x.is_contiguous(memory_format=torch.channels_last)
            seen.append((tuple(x.shape), last, torch.is_inference_mode_enabled(), self.training))

    run = clocks.clock_of("cpu").prepare(Seen(), (2, 3, 5, 5))
    assert seen == [] and run() > 0 and seen == [((2, 3, 5, 5), True, True, False)]


# -- command line -----------------------------------------------------------------------------------------------------

def cli(*arguments, monkeypatch):
    """As `python -m proxyless_lite.latency …`, in this process; the exit status, None where it ends well."""
    monkeypatch.setattr(sys, "argv", ["latency", *map(str, arguments)])
    sys.modules.pop("proxyless_lite.latency.__main__", None)
    try:
        runpy.run_module("proxyless_lite.latency", run_name="__main__", alter_sys=True)
    except SystemExit as stop:
        return stop.code


SMALL = ["--space", "chain", "--set", "width=4", "input_size=4", "classes=3"]


def test_measure_then_predict(tmp_path, monkeypatch, capsys):
    table, network = tmp_path / "t.csv", tmp_path / "a.json"
    assert cli("measure", *SMALL, "--rounds", 9, "--out", table, monkeypatch=monkeypatch) is None
    space = pl.spaces.chain(width=4, classes=3, input_size=4)
    measured = Table.load(table)
    assert len(measured) == 8 and measured.metadata["space"] == str(space) and f"written to {table}" in capsys.readouterr().out
    pl.Architecture(space, ("MB6 7x7", "Zero", "MB3 3x3", "MB3 5x5")).save(network)
    cli("predict", "--data", table, network, network, monkeypatch=monkeypatch)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and lines[0].startswith(f"{network}: ") and lines[0].endswith(" ms (prediction from blocks timed alone)")
    by_table = sum(measured[block] for block in space.blocks(("MB6 7x7", "Zero", "MB3 3x3", "MB3 5x5")))
    assert float(lines[0].split()[1]) == pytest.approx(by_table, rel=0.5)


def test_a_table_for_another_space_says_how_to_make_the_right_one(tmp_path):
    wanted = pl.spaces.mobile(width=0.25, classes=3, input_size=64)
    for other in (pl.spaces.mobile(width=0.25, classes=3, input_size=32), pl.spaces.mobile(width=0.25, classes=4, input_size=64)):
        table = Table({block: Entry(1.0) for block in blocks_of(other)})
        with pytest.raises((ValueError, KeyError), match="proxyless-latency measure") as caught:
            pl.objective.costs(wanted, table)
        words = caught.value.args[0].split("proxyless-latency ")[1].split(" --out ")[0].split()
        assert words[:3] == ["measure", "--space", "mobile"] and latency_cli.space_of("mobile", words[4:]) == wanted


def test_a_block_that_takes_no_time_does_not_stop_a_prediction(tmp_path, monkeypatch, capsys):
    space = pl.spaces.chain(edges=2, width=4, classes=3, input_size=4)
    entries = {block: Entry(0.0 if block.operation == "MB3 5x5" else 1.0) for block in blocks_of(space)}
    Table(entries, {"factor": 1.1}).save(tmp_path / "t.csv")
    pl.Architecture(space, ("MB6 7x7", "MB3 3x3")).save(tmp_path / "a.json")
    cli("predict", "--data", tmp_path / "t.csv", tmp_path / "a.json", monkeypatch=monkeypatch)
    assert capsys.readouterr().out.endswith(" ms (prediction from blocks and whole networks)\n")


def test_networks_then_predict(tmp_path, monkeypatch, capsys):
    timings, network = tmp_path / "n.csv", tmp_path / "a.json"
    cli("networks", *SMALL, "--count", 16, "--rounds", 9, "--out", timings, monkeypatch=monkeypatch)
    told = capsys.readouterr().out
    assert "rmse/mean" in told and "kendall tau" in told and f"written to {timings}" in told
    measured = Timings.load(timings)
    measured.architectures[0].save(network)
    cli("predict", "--data", timings, network, monkeypatch=monkeypatch)
    assert float(capsys.readouterr().out.split()[1]) == pytest.approx(measured.milliseconds()[0], rel=0.5)


def test_a_few_networks_are_measured_even_if_no_model_can_be_fitted(tmp_path, monkeypatch, capsys):
    assert cli("networks", *SMALL, "--count", 2, "--rounds", 1, "--out", tmp_path / "n.csv", monkeypatch=monkeypatch) is None
    assert len(Timings.load(tmp_path / "n.csv").architectures) == 2 and "written to" in capsys.readouterr().out


def test_networks_blocks_and_modules_are_compared():
    space = pl.spaces.chain(edges=3, width=32, input_size=16)
    slow, fast = (pl.Architecture(space, (name,) * 3) for name in ("MB6 7x7", "Zero"))
    block = space.edges()[0].block("MB6 7x7")
    found = pl.latency.compare([slow, fast, block, (nn.Conv2d(3, 8, 3), (3, 16, 16))], rounds=7, batch=4)
    assert list(found.columns) == ["ms", "sd", "visits"] and list(found.visits) == [7] * 4
    assert found.ms[0] > 2 * found.ms[2] > 0 and found.ms[0] > 3 * found.ms[1] > 0 and 0 < found.ms[3] < found.ms[0]


def test_time_given_networks(tmp_path, monkeypatch, capsys):
    space = pl.spaces.chain(edges=2, width=4, classes=3, input_size=4)
    for name in ("MB6 7x7", "Zero"):
        pl.Architecture(space, (name,) * 2).save(tmp_path / f"{name}.json")
    assert cli("time", "--rounds", 3, *(tmp_path / f"{name}.json" for name in ("MB6 7x7", "Zero")), monkeypatch=monkeypatch) is None
    lines = [line for line in capsys.readouterr().out.splitlines() if line.endswith("(measured)")]
    assert len(lines) == 2 and float(lines[0].split()[2]) > float(lines[1].split()[1]) > 0


@pytest.mark.parametrize("arguments, told", [
    (["measure", "--device", "tpu", "--out", "t.csv"], "error: unknown device 'tpu'; allowed: cpu, cuda, onnxruntime"),
    (["measure", "--space", "mobile", "--set", "width=-1", "--out", "t.csv"], "width must be above 0"),
    (["measure", "--space", "tree", "--set", "edges=2", "--out", "t.csv"], "the tree space has no setting 'edges'; allowed: blocks,"),
    (["measure", "--space", "chain", "--set", "width=1.5", "--out", "t.csv"], "'1.5' is not a valid int"),
    (["measure", "--space", "staged", "--set", "widths=7", "--out", "t.csv"], "--set widths=7: give a list in JSON of whole numbers"),
    (["measure", "--space", "staged", "--set", "edges=0,1", "--out", "t.csv"], "--set edges=0,1: give a list in JSON of whole numbers"),
    (["measure", "--space", "mobile", "--set", "stages=[[24.5,1,1]]", "--out", "t.csv"], "give a list in JSON of whole numbers"),
    (["measure", "--space", "chain", "--set", 'candidates=["Zero",5]', "--out", "t.csv"], "give a list in JSON of names"),
    (["measure", "--space", "staged", "--set", "entry=zap", "--out", "t.csv"], "unknown operation 'zap'"),
    (["measure", "--rounds", 0, "--out", "t.csv"], "rounds"),
    (["measure", "--batch", -1, "--out", "t.csv"], "batch"),
    (["measure", "--batch", 0, "--out", "t.csv"], "batch"),
    (["networks", "--count", 0, "--out", "n.csv"], "0 networks asked for"),
    (["predict", "--data", "absent.csv", "a.json"], "absent.csv"),
    (["predict", "--data", "table.csv", "absent.json"], "absent.json"),
    (["predict", "--data", "table.csv", "own.json"], "cannot predict: this architecture comes from a module of your own"),
    (["time", "proxyless_gqu"], "unknown network 'proxyless_gqu'; allowed: an architecture file, or proxyless_gpu, proxyless_cpu"),
    (["time", "--out", "folder", "proxyless_gpu"], "folder is a folder; give the name of a file"),
    (["measure", "--out", "folder"], "folder is a folder"),
    (["networks", "--count", 2, "--out", "folder"], "folder is a folder"),
    (["networks", "--count", 2, "--out", "nets.txt"], "nets.txt: tables are written as CSV; give a name that ends in .csv"),
    (["measure", "--out", "table.csv/t.csv"], "the folder table.csv cannot be written to"),
])
def test_errors_are_one_line(arguments, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    space = tiny(candidates=pl.ops.MBCONV)
    blocks = [*space.fixed_blocks(), *map(space.edges()[0].block, pl.ops.MBCONV)]
    Table({b: pl.latency.Entry(1. + i) for i, b in enumerate(blocks)}).save("table.csv")
    pl.Architecture(None, ("MB3 3x3",)).save("own.json")
    (tmp_path / "folder").mkdir()
    small = [] if arguments[0] in ("predict", "time") or "--space" in arguments else SMALL
    monkeypatch.setattr(rounds, "visit", None)  # all is refused before anything is timed
    code = cli(arguments[0], *small, *arguments[1:], monkeypatch=monkeypatch)
    assert isinstance(code, str) and code.startswith("error: ") and told in code and "\n" not in code, code
    assert not list(tmp_path.rglob("*.partial")) + list(tmp_path.rglob("*.visits.csv"))


@pytest.mark.parametrize("arguments", [["measure"], ["guess"], [], ["measure", "--out", "t.csv", "--space", "moon"],
                                       ["measure", "--out", "t.csv", "--rounds", "x"]], ids=str)
def test_wrong_arguments_are_one_line(arguments, monkeypatch, capsys):
    assert cli(*arguments, monkeypatch=monkeypatch) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_metadata_of_a_table_are_json(tmp_path):
    measure(tiny(edges=1), rounds=1, out=tmp_path / "t.csv")
    first = (tmp_path / "t.csv").read_text().splitlines()[0]
    assert json.loads(first.removeprefix("# "))["rounds"] == 1
