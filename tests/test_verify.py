"""A limit on latency that holds when it is measured: a cheaper network is taken where the found one breaks it."""

import itertools

import pandas as pd
import pytest
import torch

import proxyless_lite as pl
from proxyless_lite import choose, runtime
from proxyless_lite.latency import Entry, Table, first_within, verify
from proxyless_lite.latency.parts import blocks_of
from proxyless_lite.search import __main__ as command
from proxyless_lite.search.__main__ import main

SPACE = pl.spaces.chain(edges=2, width=4, classes=3, input_size=4, candidates=("Zero", "conv 3x3", "MB3 3x3"))
FEW = [pl.Architecture.from_code(SPACE, code) for code in ("22", "21", "10")]


def table_of(space, ms=1.0, **metadata):
    return Table({block: Entry(ms) for block in blocks_of(space)},
                 {"device": "cpu", "threads": 1, "batch": 1, "machine": runtime.describe(), "reference_ms": 2.0, **metadata})


def measuring(monkeypatch, ms, reference_ms=2.0):
    """compare() that finds these milliseconds, by code, on a day on which the reference takes `reference_ms`; returns what it was asked for.

    A list of milliseconds is told one after the other."""
    class Asked(list):
        beside = set()  # spaces whose reference networks are timed next to them

    asked, told = Asked(), {code: itertools.cycle(each if isinstance(each, list) else [each]) for code, each in ms.items()}

    def compare(items, **how):
        (network,) = items
        asked.append(network.code)
        asked.beside.add(str(how["beside"]))
        found = pd.DataFrame({"ms": [next(told[network.code])]})
        found.attrs = {"reference_ms": reference_ms}
        return found
    monkeypatch.setattr(verify, "compare", compare)
    return asked


def test_the_next_network_is_taken_where_the_first_breaks_the_limit(monkeypatch):
    asked = measuring(monkeypatch, {"22": 5.0, "21": 3.9, "10": 1.0})
    network, measured = first_within(FEW, 4.0, table_of(SPACE))
    assert network is FEW[1] and asked == ["22", *["21"] * verify.TIMES], "no network is measured for nothing"
    assert measured.ms.tolist() == measured.slowest.tolist() == [5.0, 3.9] and measured.predicted.tolist() == [4.0, 4.0]


def test_a_slow_day_is_no_reason_to_refuse(monkeypatch):
    """Twice as slow today, as the reference is: 7.8 ms are 3.9 of the table's."""
    measuring(monkeypatch, {"22": 7.8}, reference_ms=4.0)
    network, measured = first_within(FEW, 4.0, table_of(SPACE))
    assert network is FEW[0] and measured.ms.tolist() == [3.9]


def test_a_network_must_keep_the_limit_each_time(monkeypatch):
    """After a fresh start a network may be slower: here in its third measurement."""
    asked = measuring(monkeypatch, {"22": [3.8, 3.9, 4.1], "21": [3.5, 3.7], "10": 1.0})
    network, measured = first_within(FEW, 4.0, table_of(SPACE))
    assert network is FEW[1] and asked.count("22") == 3 and asked.count("21") == verify.TIMES == 5
    assert measured.ms.tolist() == [3.9, 3.5] and measured.slowest.tolist() == [4.1, 3.7]
    measuring(monkeypatch, {"22": 4.0, "21": 3.5})
    with pytest.raises(ValueError, match="none of 2 networks takes at most 3 ms whenever it is measured; the fastest needs a limit of at least 3.5"):
        first_within(FEW[:2], 3.0, table_of(SPACE))


@pytest.mark.parametrize("metadata", [{"machine": {"processor": "a phone"}}, {"device": None}, {"kit": "0" * 64}])
def test_a_table_of_another_device_is_refused(metadata):
    with pytest.raises(ValueError, match="not here; make a kit of the networks"):
        first_within(FEW, 4.0, table_of(SPACE, **metadata))


def test_those_that_may_take_its_place_are_the_most_probable_that_cost_less():
    space = pl.spaces.chain(edges=4, width=4, classes=3, input_size=4, candidates=("Zero", "conv 3x3", "MB3 3x3"))
    net, draw = pl.SuperNet(space, seed=1), torch.Generator().manual_seed(2)
    every = list(itertools.product(range(3), repeat=4))
    replaced = 0
    for _ in range(20):
        net.set_alpha(torch.randn(4, 3, generator=draw, dtype=torch.float64))
        price = pl.costs.costs(space, table_of(space))
        price.matrix.copy_(torch.rand(4, 3, generator=draw, dtype=torch.float64) + 0.1)
        macs = pl.costs.costs(space, "macs")
        most = sorted(map(price.cost_of, every))[60]
        limits = pl.Limits([(macs, 1.01 * max(map(macs.cost_of, every))), (price, most)])
        found = net.derive(limits)
        networks, log_p = choose.found_and_cheaper(net, found, limits, price), net.alpha_matrix().double().log_softmax(1)
        probable = lambda share: max((paths for paths in every if price.cost_of(paths) <= share * price.cost_of(found) * (1 + 1e-9)), key=lambda paths: sum(log_p[e, i] for e, i in enumerate(paths)))  # noqa: E731, B023
        smaller = [probable(share) for share in (0.97, 0.94, 0.9, 0.85) if share * price.cost_of(found) >= min(map(price.cost_of, every))]
        expected = [found, *(pl.Architecture(space, tuple(edge.candidates[i] for edge, i in zip(space.edges(), paths))) for paths in smaller)]
        expected = list({space.canonical(network.choices): network for network in expected})
        assert [space.canonical(network.choices) for network in networks] == expected and networks[0] is found
        replaced += len(networks) > 1
    assert replaced > 10
    cheapest = net.derive(limits := pl.Limits([(price, min(map(price.cost_of, every)))]))
    assert choose.found_and_cheaper(net, cheapest, limits, price) == [cheapest]


def test_the_reference_is_that_of_the_table(monkeypatch):
    """A table of another space with the same blocks is told in milliseconds beside its own reference network."""
    other = pl.spaces.chain(edges=5, width=4, classes=3, input_size=4, candidates=("Zero", "conv 3x3", "MB3 3x3"))
    asked = measuring(monkeypatch, {"22": 1.0})
    first_within(FEW, 4.0, table_of(other, space_settings={"name": other.name, **other.settings}))
    assert asked.beside == {str(other)}


@pytest.mark.parametrize("given, target", [(["latency<=12", "latency<=11", "macs<=9e9"], 11), (["macs<=9e9"], None)])
def test_the_mobile_search_aims_at_its_limit_on_latency(tmp_path, given, target):
    space = pl.spaces.mobile(width=0.25, classes=3, input_size=64)
    Table({block: Entry(1.0) for block in blocks_of(space)}).save(tmp_path / "t.csv")
    limits = [part for text in given for part in ("--limit", text)]
    args = vars(command.parser().parse_args(["--space", "mobile", "--costs", str(tmp_path / "t.csv"), *limits]))
    usual, aimed = (command.objective_of(args | change, command.experiment_of(args), space).target for change in ({"limit": []}, {}))
    assert aimed == (target or usual)
    assert command.objective_of(args | {"target": 9.0}, command.experiment_of(args), space).target == 9


def test_a_limit_that_every_mobile_network_keeps_is_no_target(tmp_path):
    space = pl.spaces.mobile(width=0.25, classes=10, input_size=64)
    Table({block: Entry(1.0) for block in blocks_of(space)}).save(tmp_path / "t.csv")
    given = ["--space", "mobile", "--images", "300", "--costs", str(tmp_path / "t.csv"), "--out", str(tmp_path / "out")]
    prepared = lambda *more: command.prepared(vars(command.parser().parse_args([*given, *more])), pl.runtime.engine("cpu"))[0]  # noqa: E731
    loose, usual = prepared("--limit", "latency<=1000"), prepared()
    assert loose.cost_objective.target == usual.cost_objective.target < 1000 and loose.limits.limits[0][1] == 1000
    with pytest.raises(ValueError, match="no network of mobile.* costs 1000 ms"):
        prepared("--limit", "latency<=1000", "--target", "1000")
    dearest = pl.costs.costs(space, Table.load(tmp_path / "t.csv")).bounds()[1]
    assert prepared("--limit", f"latency<={dearest - 0.5}").cost_objective.target == dearest - 0.5


def with_reference(frame):
    frame.attrs = {"reference_ms": 2.0}
    return frame


TREE = ["--images", "300", "--epochs", "1", "--warmup-epochs", "0", "--blocks", "1", "--width", "72"]


def test_on_the_command_line(tmp_path, monkeypatch, capsys):
    """The found network is too slow when measured, the next is not; with a table of a phone all that may be taken are written."""
    measured = []

    def compare(items, **how):
        measured.append(items[0].code)
        found = pd.DataFrame({"ms": [1e4 if len(measured) == 1 else 1.0], "sd": [0.0], "visits": [9]})
        found.attrs = {"reference_ms": 2.0}
        return found
    monkeypatch.setattr(verify, "compare", compare)
    space = pl.spaces.tree(1, 72, input_size=8)
    entries = {block: Entry(1.0 if block.operation.startswith("DW") else 0.5) for block in blocks_of(space)}
    Table(entries, table_of(space).metadata).save(tmp_path / "here.csv")
    Table(entries, table_of(space, machine={"processor": "a phone"}).metadata).save(tmp_path / "phone.csv")
    limit = ["--limit", "latency<=200", "--verify"]
    main([*TREE, "--out", str(tmp_path / "a"), "--costs", str(tmp_path / "here.csv"), *limit])
    assert "measured for the limit of 200 ms" in capsys.readouterr().out
    assert len(measured) == 1 + verify.TIMES and pl.Architecture.load(tmp_path / "a/architecture.json").code == measured[1]
    cost = [pl.costs.costs(space, Table(entries)).cost_of(pl.Architecture.from_code(space, code)) for code in measured[:2]]
    assert cost[1] <= 0.97 * cost[0], "the next is cheaper by the table"
    main([*TREE, "--out", str(tmp_path / "b"), "--costs", str(tmp_path / "phone.csv"), *limit])
    written = sorted(path.name for path in (tmp_path / "b").glob("*.json"))
    assert written == ["architecture.json", *(f"cheaper-{i}.json" for i in range(1, len(written)))] and 2 <= len(written) <= 5 and "to measure there: proxyless-latency kit --networks" in capsys.readouterr().out and len(measured) == 1 + verify.TIMES
    assert pl.Architecture.load(tmp_path / "b/architecture.json").code == measured[0]
    (tmp_path / "b/cheaper-9.json").write_text("of an earlier limit")
    (tmp_path / "b/architecture-5.json").write_text("of --targets 5")
    lower = ["--limit", f"latency<={0.9 * cost[0]}", "--verify"]
    main([*TREE, "--out", str(tmp_path / "b"), "--costs", str(tmp_path / "phone.csv"), *lower])
    assert "held another network; it is kept as" in capsys.readouterr().out and not (tmp_path / "b/cheaper-9.json").exists()
    assert (tmp_path / "b/architecture-5.json").read_text() == "of --targets 5"
    assert pl.Architecture.load(tmp_path / "b/architecture.previous.json").code == measured[0]
    monkeypatch.setattr(verify, "compare", lambda items, **how: pd.DataFrame({"ms": [1e4], "sd": [0.0], "visits": [9]}).pipe(with_reference))
    with pytest.raises(ValueError, match="none of .*; the network that the search found is in .*unverified.json"):
        main([*TREE, "--out", str(tmp_path / "a"), "--costs", str(tmp_path / "here.csv"), *limit])
    assert pl.Architecture.load(tmp_path / "a/unverified.json").code == measured[0], "what was found is not lost where nothing keeps the limit"
    assert pl.Architecture.load(tmp_path / "a/architecture.json").code == measured[1], "nor what was verified before"
    for given in (["--limit", "latency<=200"], ["--limit", "latency<=200", "--costs", "macs"]):
        with pytest.raises(ValueError, match="needs --costs with a latency table"):
            main([*TREE, "--out", str(tmp_path / "c"), "--verify", *given])
    for given in ([], ["--costs", "macs"], ["--costs", str(tmp_path / "here.csv")]):
        with pytest.raises(ValueError, match="--verify needs a limit to be verified"):
            main([*TREE, "--out", str(tmp_path / "c"), "--verify", *given])
