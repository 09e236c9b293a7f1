"""The latency table: the released Pixel 1 sums to the last digit, files, merging, and errors that name the block."""

import hashlib
import json
import csv
import io
import math
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

import proxyless_lite as pl
from proxyless_lite.latency import Entry, Table
from proxyless_lite.latency import pixel1 as released_file
from proxyless_lite.spaces import Block

DATA = pl.runtime.TABLES / "latency"
RELEASED = Path(__file__).resolve().parents[1].parent / "shared/data/released"
A, B, C = Block("MB6 7x7", 80, 96, 14), Block("MB3 3x3", 16, 16, 8, residual=True), Block("conv 3x3", 3, 16, 32, stride=2)


def released(name):
    if not (RELEASED / name).exists():
        pytest.skip(f"{name} is not in shared/data/released beside this checkout")
    return RELEASED / name


@pytest.fixture(scope="module")
def pixel1():
    return Table.load(released("mobile_trim.yaml"))


def total(table, choices):
    return sum(table[block] for block in pl.spaces.mobile().blocks(choices))


def network(name):
    return pl.Architecture.from_released(json.loads(released(f"proxyless_{name}.config").read_text()))


# -- the released table -----------------------------------------------------------------------------------------------

def test_the_released_table_has_72_blocks_and_says_what_it_is(pixel1):
    assert len(pixel1) == len(list(pixel1)) == 72 and pixel1.input_sizes() == [224]
    assert {k: pixel1.metadata[k] for k in ("device", "threads", "batch")} == {"device": "Pixel 1", "threads": 1, "batch": 1}
    stem = Block("conv 3x3", 3, 32, 224, stride=2)
    assert pixel1.entries[stem] == Entry(4.083755600814664, math.sqrt(0.2502372872758427), 982)
    assert all(block in pixel1 for block in pl.spaces.mobile().fixed_blocks())


def test_the_fixed_part_and_the_uniform_expectation_to_every_digit(pixel1):
    space = pl.spaces.mobile()
    fixed = sum(pixel1[block] for block in space.fixed_blocks())
    assert fixed == pytest.approx(11.364155586724564, abs=1e-13)
    uniform = sum(sum(pixel1[e.block(name)] for name in e.candidates) / len(e.candidates) for e in space.edges())
    assert fixed + uniform == pytest.approx(113.98812882557645, abs=1e-11)


@pytest.mark.parametrize("operation, ms", [("MB3 3x3", 76.0481), ("MB6 3x3", 136.4663), ("MB3 5x5", 87.7203),
                                           ("MB6 5x5", 158.9527), ("MB3 7x7", 103.6662), ("MB6 7x7", 191.0299)])
def test_networks_of_one_operation_take_what_was_released(pixel1, operation, ms):
    assert round(total(pixel1, (operation,) * 21), 4) == ms


def test_the_cheapest_network_and_the_released_operations(pixel1):
    edges = pl.spaces.mobile().edges()
    cheapest = [min(e.candidates, key=lambda name, e=e: pixel1[e.block(name)]) for e in edges]
    assert cheapest.count("Zero") == 15
    assert round(total(pixel1, cheapest), 4) == 29.6088
    assert round(total(pixel1, network("mobile").choices), 4) == 82.5239


def test_the_released_networks_are_not_in_the_released_table_as_a_whole(pixel1):
    def missing(name):
        return [b for b in network(name).space.blocks(network(name).choices) if b not in pixel1]
    assert sorted(map(str, missing("mobile"))) == ["MB3 3x3 32→32 s1 56x56", "MB3 5x5 16→32 s2 56x56", "MB3 7x7 32→40 s2 28x28"]
    gpu = network("gpu")
    kept = [b for b in gpu.space.blocks(gpu.choices) if b.operation != "Zero"]
    assert missing("gpu") == kept
    with pytest.raises(KeyError, match="no entry for MB. .x. 24→32 s2 56x56 without residual"):
        [pixel1[b] for b in gpu.space.blocks(gpu.choices)[4:]]


# -- looking up -------------------------------------------------------------------------------------------------------

def test_a_block_is_found_by_itself_and_by_its_name():
    table = Table({A: Entry(3.5), B: Entry(0.25)})
    assert table[A] == table["MB6 7x7 80→96 s1 14x14"] == 3.5
    assert table[Block("MB3 3x3", 16, 16, 8, residual=True)] == table[str(B)] == 0.25
    assert A in table and C not in table


def test_a_missing_entry_is_named():
    table = Table({A: Entry(3.5)})
    with pytest.raises(KeyError, match="no entry for MB3 3x3 16→16 s1 8x8 with residual; measure it"):
        table[B]
    with pytest.raises(KeyError, match="no entry for MB6 7x7 80→96 s1 14x14 with residual"):
        table[Block("MB6 7x7", 80, 96, 14, residual=True)]
    with pytest.raises(KeyError, match="no entry 'MB6 7x7'; it has 1, for example 'MB6 7x7 80→96 s1 14x14'"):
        table["MB6 7x7"]
    with pytest.raises(KeyError, match="it has 0"):
        Table({})["MB6 7x7"]


def test_zero_costs_nothing_and_needs_no_entry():
    zero = Block("Zero", 16, 16, 8, residual=True)
    for name in (zero, str(zero)):
        assert Table({A: Entry(1.)})[name] == 0 and name in Table({})


def test_the_input_sizes_are_those_of_the_stems():
    assert Table({A: Entry(1.), C: Entry(1.)}).input_sizes() == [32]
    assert Table({A: Entry(1.), Block("conv 3x3", 3, 8, 24): Entry(1.), C: Entry(1.)}).input_sizes() == [24, 32]
    assert Table({A: Entry(1.)}).input_sizes() == []


def test_a_name_that_two_blocks_have_is_refused():
    twin = Block("MB3 3x3", 16, 16, 8)
    assert str(twin) == str(B) and Table({B: Entry(2.)})[str(B)] == 2
    both = Table({B: Entry(2.), twin: Entry(1.)})
    assert (both[B], both[twin]) == (2, 1)
    with pytest.raises(KeyError, match="has 'MB3 3x3 16→16 s1 8x8' with and without residual; ask with a Block"):
        both[str(B)]


def test_a_table_is_not_written_under_a_name_that_is_read_as_yaml(tmp_path):
    with pytest.raises(ValueError, match="t.yaml: tables are written as CSV; give a name that ends in .csv"):
        Table({A: Entry(1.)}).save(tmp_path / "t.yaml")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ms", [-0.1, math.nan, math.inf])
def test_milliseconds_that_cannot_be_are_refused_with_their_block(ms):
    with pytest.raises(ValueError, match=f"latency of MB6 7x7 80→96 s1 14x14 is {ms} ms; it must be a finite number"):
        Table({C: Entry(1.), A: Entry(ms)})


# -- files ------------------------------------------------------------------------------------------------------------

def test_save_and_load(tmp_path):
    metadata = {"device": "cpu", "threads": 1, "batch": 1, "space_settings": {"name": "chain", "width": 16},
             "note": "größer → 5 %", "reference_ms": 2.125}
    table = Table({A: Entry(3.5, 0.125, 40), B: Entry(0.0123456, 1e-5, 7), C: Entry(0.0)}, metadata)
    table.save(tmp_path / "deep" / "t.csv")
    again = Table.load(str(tmp_path / "deep" / "t.csv"))
    assert again.metadata == metadata and list(again) == [A, B, C]
    assert again.entries[A] == table.entries[A] and again.entries[B] == table.entries[B]
    assert again[C] == 0 and math.isnan(again.entries[C].sd) and again.entries[C].count == 1
    assert [f.name for f in (tmp_path / "deep").iterdir()] == ["t.csv"], "no half-written file stays behind"
    frame = table.to_frame()
    assert " ".join(frame.columns) == "operation in_channels out_channels input_size stride residual ms sd count"
    assert frame.ms.tolist() == [3.5, 0.0123456, 0.0]


def test_a_released_table_survives_our_own_format(pixel1, tmp_path):
    pixel1.save(tmp_path / "t.csv")
    again = Table.load(tmp_path / "t.csv")
    assert list(again) == list(pixel1) and again.metadata == pixel1.metadata
    assert [again[b] for b in pixel1] == pytest.approx([pixel1[b] for b in pixel1], rel=1e-5)
    assert [e.count for e in again.entries.values()] == [e.count for e in pixel1.entries.values()]


HEAD = "operation,in_channels,out_channels,input_size,stride,residual,ms"


def test_a_file_without_spread_and_count_is_read(tmp_path):
    (tmp_path / "t.csv").write_text(f"{HEAD}\nMB6 7x7,80,96,14,1,False,3.5\n")
    entry = Table.load(tmp_path / "t.csv").entries[A]
    assert entry.ms == 3.5 and math.isnan(entry.sd) and entry.count == 1


def by_excel(text, between=",", decimal="."):
    """A CSV file as a spreadsheet program saves it that has opened it: byte-order mark, TRUE, quoted cells, empty rows, CRLF."""
    rows = [row for row in csv.reader(io.StringIO(text), quoting=csv.QUOTE_NONE)]
    wide, out = max(map(len, rows)), io.StringIO()
    rows = [[cell.replace("False", "FALSE").replace(".", decimal) if "{" not in rows[i][0] else cell for cell in row] for i, row in enumerate(rows)]
    csv.writer(out, delimiter=between, lineterminator="\r\n").writerows([row + [""] * (wide - len(row)) for row in rows] + [[""] * wide] * 2)
    return b"\xef\xbb\xbf" + out.getvalue().encode()


@pytest.mark.parametrize("between, decimal", [(",", "."), (";", ","), (";", "."), ("\t", ".")])
def test_a_table_that_a_spreadsheet_program_saved_is_the_same(tmp_path, between, decimal):
    entries = {Block("MB6 7x7", 80, 96, 14, 1): Entry(3.25, 0.5, 4), Block("conv 3x3", 3, 16, 32, 2): Entry(0.125, 0.25, 7)}
    whole = Table(entries, {"device": "cpu", "threads": 4, "batch": 8, "machine": {"processor": "AMD, \"x\"; y"}})
    whole.save(tmp_path / "t.csv")
    text = (tmp_path / "t.csv").read_text()
    (tmp_path / "t.csv").write_bytes(by_excel(text, between, decimal))
    again = Table.load(tmp_path / "t.csv")
    assert again.entries == whole.entries and again.metadata == whole.metadata


def test_rows_of_one_block_are_merged_by_their_visits(tmp_path):
    (tmp_path / "t.csv").write_text(f"{HEAD},sd,count\nMB6 7x7,80,96,14,1,false,3,0.5,1\nMB6 7x7,80,96.0,14,1,TRUE,9,0,1\nMB6 7x7,80,96,14,1,False,7,0.5,3\n,,,,,,,,\n")
    found = Table.load(tmp_path / "t.csv")
    assert found.entries[A] == Entry(6.0, 0.5, 4) and len(found) == 2


@pytest.mark.parametrize("name, text, told", [
    ("t.csv", "", "the file is empty"),
    ("t.csv", "\n \n", "the file is empty"),
    ("t.csv", "ms\n3\n", "columns operation, in_channels, out_channels, input_size, stride, residual are missing; it has ms"),
    ("t.csv", HEAD.removesuffix(",ms") + "\nMB6 7x7,80,96,14,1,False\n", "columns ms are missing"),
    ("t.csv", HEAD + "\n", "it has no rows"),
    ("t.csv", f"{HEAD}\nMB6 7x7,80,96,14,1,False,-3\n", "latency of MB6 7x7 80→96 s1 14x14 is -3.0 ms"),
    ("t.csv", f"{HEAD}\nMB6 7x7,80,96,14,1,False,nan\n", "latency of MB6 7x7 80→96 s1 14x14 is nan ms"),
    ("t.csv", f"{HEAD}\nMB6 7x7,80,96,14,1,False,3\nMB6 7x7,80,96,28,1,False,fast\n", "column ms must hold numbers, not 'fast'"),
    ("t.csv", f"{HEAD}\nMB6 7x7,many,96,14,1,False,3\n", "many"),
    ("t.csv", f"{HEAD}\nMB6 7x7,inf,96,14,1,False,3\n", "row 1: column in_channels must hold whole numbers, not inf"),
    ("t.csv", f"{HEAD}\nMB6 7x7,80,96,14,1,False,3\nMB6 7x7,80,96.5,14,1,False,3\n", "row 2: column out_channels must hold whole numbers, not 96.5"),
    ("t.csv", f"{HEAD}\n,80,96,14,1,False,3\n", "row 1: column operation must hold a name"),
    ("t.csv", f"{HEAD},sd,count\nMB6 7x7,80,96,14,1,False,3,0.1,0\nMB6 7x7,80,96,14,1,False,3,0.1,0\n", "is not a latency table"),
    ("t.csv", f"{HEAD}\nMB6 7x7,80,96,14,1,perhaps,3\n", "column residual must hold True or False, not 'perhaps'"),
    ("t.csv", f"# {{half\n{HEAD}\nMB6 7x7,80,96,14,1,False,3\n", "t.csv is not a latency table"),
    ("t.yaml", "", "expected one entry per block"),
    ("t.yaml", "once upon a time", "expected one entry per block"),
    ("t.yaml", "[1, 2]", "expected one entry per block"),
    ("t.yaml", "a: 1", "entry 'a' must hold count, mean and var"),
    ("t.yaml", "a: {count: 1, mean: 2}", "entry 'a' must hold count, mean and var"),
    ("t.yml", "a: {count: 1, mean: 2, var: 3}", "key 'a' names no block"),
    ("t.yaml", "Conv-input:7x7x3-output:7x7x8-expand:6-kernel:3-stride:1-idskip:0: {count: 1, mean: 2, var: 3}",
     "names no block"),
    ("t.yaml", "Logits-input:7x7x8-output:10: {count: 1, mean: -2, var: 3}", "latency of linear 8→10 s1 7x7 is -2.0 ms"),
    ("t.yaml", "Logits-input:7x7x8-output:10: {count: 1, mean: .nan, var: 3}", "latency of linear 8→10 s1 7x7 is nan ms"),
    ("t.yaml", "Logits-input:7x7x8-output:10: {count: 1, mean: fast, var: 3}", "fast"),
    ("t.yaml", "Logits-input:7x7x8-output:10: {count: 1, mean: 2, var: -3}", "is not a latency table"),
    ("t.yaml", "a: [1\nb: }", "is not a latency table"),
])
def test_a_bad_file_is_told_in_one_line(name, text, told, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=told) as caught:
        Table.load(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("text", [
    "!!python/object/apply:os.mkdir ['{}']",
    "Logits-input:7x7x8-output:10: {{count: 1, var: 1, mean: !!python/object/apply:os.mkdir ['{}']}}",
])
def test_nothing_in_a_yaml_file_is_executed(text, tmp_path):
    (tmp_path / "t.yaml").write_text(text.format(tmp_path / "owned"))
    with pytest.raises(ValueError, match="t.yaml is not a latency table.*python/object/apply") as caught:
        Table.load(tmp_path / "t.yaml")
    assert "\n" not in str(caught.value) and not (tmp_path / "owned").exists()


def test_a_folder_a_binary_and_an_absent_file_are_refused(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"\x80\x02\xff\x00")
    for path in (tmp_path, tmp_path / "t.csv"):
        with pytest.raises(ValueError, match="is not a latency table"):
            Table.load(path)
    with pytest.raises(FileNotFoundError, match="absent.csv"):
        Table.load(tmp_path / "absent.csv")


# -- merging ----------------------------------------------------------------------------------------------------------

ABOUT = {"device": "cpu", "threads": 1, "batch": 1}


def test_merged_entries_are_means_weighted_by_count():
    a = Table({A: Entry(2., .3, 30), B: Entry(1., .1, 5)}, {**ABOUT, "date": "ours"})
    b = Table({A: Entry(4., .5, 10), C: Entry(7., .2, 3)}, {**ABOUT, "date": "theirs", "seed": 3})
    merged = a.merge(b)
    assert merged[A] == pytest.approx(2.5) and merged.entries[A].count == 40
    assert merged.entries[A].sd == pytest.approx(math.sqrt((30 * .09 + 10 * .25) / 40))
    assert merged.entries[B] == a.entries[B] and merged.entries[C] == b.entries[C] and len(merged) == 3
    assert merged.metadata == {**ABOUT, "date": "ours", "seed": 3}
    assert len(a) == len(b) == 2 and a[A] == 2, "the tables merged stay as they were"


def test_merging_takes_out_the_drift_that_the_reference_shows():
    a = Table({A: Entry(2., .1, 1)}, {**ABOUT, "reference_ms": 10.})
    slow = Table({A: Entry(3., .3, 1), C: Entry(6., .6, 4)}, {**ABOUT, "reference_ms": 15.})  # all takes half as long again
    merged = a.merge(slow)
    assert merged[A] == pytest.approx(2) and merged[C] == pytest.approx(4) and merged.entries[C].sd == pytest.approx(.4)
    assert merged.metadata["reference_ms"] == 10
    assert a.merge(Table(slow.entries, ABOUT))[C] == 6, "without a reference nothing is known of drift"


@pytest.mark.parametrize("key, other", [("device", "cuda"), ("threads", 4), ("batch", 8)])
def test_tables_of_different_devices_do_not_merge(key, other):
    with pytest.raises(ValueError, match=f"different {key}: .* and {other!r}"):
        Table({A: Entry(1.)}, ABOUT).merge(Table({B: Entry(1.)}, {**ABOUT, key: other}))


GPU = {"device": "cuda", "threads": None, "batch": 8}


@pytest.mark.parametrize("ours, theirs, told", [
    ({**GPU, "machine": {"device": "H200"}}, {**GPU, "machine": {"device": "A100"}}, "different gpu: 'H200' and 'A100'"),
    ({**GPU, "machine": {"device": "H200"}}, GPU, "different gpu: 'H200' and None"),
    ({**GPU, "machine": {"device": "H200", "processor": "EPYC"}}, {**GPU, "machine": {"device": "H200", "processor": "Xeon"}}, None),
    (GPU, GPU, None),
    ({**ABOUT, "machine": {"processor": "EPYC"}}, {**ABOUT, "machine": {"processor": "Xeon"}}, "different processor: 'EPYC' and 'Xeon'"),
    ({**ABOUT, "machine": {"processor": "EPYC"}}, {**ABOUT, "machine": {"processor": "EPYC", "device": "H200"}}, None),
    ({**ABOUT, "machine": "my laptop"}, {**ABOUT, "machine": "yours"}, "different processor: 'my laptop' and 'yours'"),
])
def test_tables_of_different_chips_do_not_merge(ours, theirs, told):
    a, b = Table({A: Entry(1.)}, ours), Table({B: Entry(1.)}, theirs)
    if told is None:
        assert set(a.merge(b)) == {A, B}
        return
    with pytest.raises(ValueError, match=told):
        a.merge(b)


def test_the_committed_tables_of_one_processor_merge():
    tables = [Table.load(DATA / f"mobile_cpu_table_{name}.csv") for name in "ab"]
    assert len(tables[0].merge(tables[1])) == len(tables[0])
    with pytest.raises(ValueError, match="different device: 'cpu' and 'onnxruntime'"):
        tables[0].merge(Table.load(DATA / "mobile_onnxruntime_table.csv"))


@pytest.fixture
def server(tmp_path):
    """A web server of a folder of its own: (the folder, the address of there.yaml in it)."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = partial(SimpleHTTPRequestHandler, directory=folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        Thread(target=running.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{running.server_port}/there.yaml"
        running.shutdown()


def test_the_released_table_is_downloaded_once_and_checked(tmp_path, monkeypatch, server):
    content = b"Conv-input:224x224x3-output:112x112x32:\n  count: 2\n  mean: 4.5\n  var: 0.25\n"
    folder, url = server
    (folder / "there.yaml").write_bytes(content)
    monkeypatch.setattr(released_file, "SHA256", hashlib.sha256(content).hexdigest())
    path = released_file.fetch(tmp_path / "root", url)
    assert pl.latency.Table.load(path)[Block("conv 3x3", 3, 32, 224, 2)] == 4.5
    (folder / "there.yaml").unlink()
    assert released_file.fetch(tmp_path / "root", url) == path, "it is there already"
    assert len(pl.latency.Table.pixel1(tmp_path / "root")) == 1


@pytest.mark.parametrize("content", [b"another: file", None])
def test_a_failed_download_is_one_line_and_leaves_nothing(tmp_path, content, server):
    folder, url = server
    if content:
        (folder / "there.yaml").write_bytes(content)
    with pytest.raises(FileNotFoundError, match="mobile_trim.yaml is missing and could not be downloaded from http:") as error:
        released_file.fetch(tmp_path / "root", url)
    assert "\n" not in str(error.value) and not list((tmp_path / "root").glob("*"))
