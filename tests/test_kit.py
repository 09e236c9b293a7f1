"""A kit for another device: made here, run in an environment without PyTorch, killed, damaged, and read back."""

import ast
import fcntl
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import proxyless_lite as pl
from proxyless_lite.latency import clocks, convert, kit, parts, run
from proxyless_lite.latency.__main__ import main
from proxyless_lite.latency.parts import blocks_of

for name in ("onnxruntime", "onnxscript"):
    pytest.importorskip(name, reason=f"{name} is not installed")

BARE = """
import runpy, sys
for name in ("torch", "torchvision", "pandas", "scipy", "sklearn", "tqdm", "psutil", "yaml", "onnx", "openvino", "proxyless_lite"):
    sys.modules[name] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def space():
    return pl.spaces.chain(edges=2, width=4, classes=3, input_size=4, candidates=("Zero", "conv 3x3", "MB3 3x3"))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A kit of a small space and one network more, float and int8."""
    out = tmp_path_factory.mktemp("made") / "kit"
    kit.make(out, space(), [("mine", pl.Architecture(space(), ("MB3 3x3", "Zero")))], formats=("onnx", "int8"))
    return out


@pytest.fixture
def device(made, tmp_path):
    """The kit on a device: copied over a pipe, into another folder."""
    with subprocess.Popen(["tar", "-C", made.parent, "-c", "kit"], stdout=subprocess.PIPE) as tar:
        subprocess.run(["tar", "x"], cwd=tmp_path, stdin=tar.stdout, check=True)
    return tmp_path


def on(device, *arguments):
    """run.py of the kit, in an environment with onnxruntime and NumPy only."""
    return subprocess.run([sys.executable, "-c", BARE, "kit/run.py", *map(str, arguments)], cwd=device, capture_output=True, text=True)


def written(path, kit_folder, ms, reference_ms=10.0, rounds=3):
    """A file of results in which item i always takes ms[i]."""
    identity = run.verified(kit_folder)[1]
    about = {"kit": identity, "device": "onnxruntime", "threads": 1, "batch": 1, "seed": 0, "rounds": rounds, "machine": {"processor": "a board"},
             "date": "2026-01-01"}
    rows = [f"{r},{i},{each:.8g},{reference_ms}" for r in range(rounds) for i, each in enumerate(ms)]
    path.write_text("\n".join([f"# {json.dumps(about)}", run.COLUMNS, *rows, ""]))
    return path


def items_of(folder):
    return json.loads((folder / "manifest.json").read_text())["items"]


# -- made and run -----------------------------------------------------------------------------------------------------


def test_a_kit_holds_every_block_once_and_some_networks(made):
    items = items_of(made)
    blocks = [pl.spaces.Block(**item["block"]) for item in items if "block" in item]
    assert blocks == blocks_of(space()) and len(set(blocks)) == len(blocks)
    names = [item["network"]["name"] for item in items if "network" in item]
    assert names[0] == "reference" and names[-1] == "mine" and len(names) == 2 + parts.WHOLE
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=made, check=True)
    listed = {line.split("  ")[1] for line in (made / "SHA256SUMS").read_text().splitlines()}
    assert listed == {path.relative_to(made).as_posix() for path in made.rglob("*") if path.is_file()} - {"SHA256SUMS"}


@pytest.mark.parametrize("runtime", ["onnxruntime", "onnxruntime-int8"])
def test_it_runs_without_pytorch_and_comes_back_as_a_table(made, device, runtime, capsys):
    done = on(device, "--runtime", runtime, "--rounds", 8, "--drift", 100)
    assert done.returncode == 0, done.stderr
    results = device / f"results-{runtime}.csv"
    main(["import", str(results), "--kit", str(made), "--out", str(device / "table.csv")])
    assert "written to" in capsys.readouterr().out
    table = pl.latency.Table.load(device / "table.csv")
    assert {*table} == {*blocks_of(space())} and table.metadata["device"] == runtime and table.metadata["machine"]["onnxruntime"]
    assert pl.objective.costs(space(), table).cost_of(pl.Architecture(space(), ("conv 3x3", "MB3 3x3"))) > 0
    assert [*table][-1].module() is not None and next(iter(table)).module() is not None      # fixed blocks know what they are


def test_the_file_of_the_device_is_python_3_8():
    ast.parse(Path(run.__file__).read_text(), feature_version=(3, 8))
    imported = {node.names[0].name if isinstance(node, ast.Import) else node.module for node in ast.walk(ast.parse(Path(run.__file__).read_text()))
                if isinstance(node, (ast.Import, ast.ImportFrom))}
    allowed = {*sys.stdlib_module_names, "numpy", "onnxruntime", "openvino", "ncnn", "ai_edge_litert"}
    assert {name.split(".")[0] for name in imported} <= allowed


def test_killed_three_times_it_goes_on(made, device):
    out = device / "r.csv"
    for _ in range(3):
        before = out.stat().st_size if out.exists() else 0
        child = subprocess.Popen([sys.executable, "-c", BARE, "kit/run.py", "--rounds", "40", "--precision", "0", "--out", "r.csv", "--drift", "100"],
                                 cwd=device, stdout=subprocess.DEVNULL)
        while not out.exists() or out.stat().st_size < before + 500:
            assert child.poll() is None
            time.sleep(0.01)
        child.send_signal(signal.SIGKILL)
        child.wait()
    with open(out, "a") as file:
        file.write("39,1,0.01")                                                            # cut while it was written
    kept = out.read_text().splitlines()[:-1]
    done = on(device, "--rounds", 40, "--precision", 0, "--out", "r.csv", "--drift", 100)
    assert done.returncode == 0 and f"going on after {len(kept) - 2} visits" in done.stdout
    lines = out.read_text().splitlines()
    assert lines[:len(kept)] == kept and len(lines) == 2 + 40 * len(items_of(made))
    rounds = pd.read_csv(out, comment="#").groupby("item")["round"].apply(sorted)
    assert (rounds.map(list) == [[*range(40)]] * len(rounds)).all()
    assert len(kit.results(out, made).networks) == 2 + parts.WHOLE


def test_a_certain_item_is_left_alone(made, device):
    """With a coarse precision nothing is visited more than CERTAIN times; the package's own measurements do the same."""
    on(device, "--rounds", 20, "--precision", 10, "--out", "r.csv", "--drift", 100)
    assert {*pd.read_csv(device / "r.csv", comment="#").groupby("item").size()} == {run.CERTAIN}


def test_it_says_how_far_it_is(made, device):
    assert "at most 20, " in subprocess.run(
        [sys.executable, "-c", BARE.replace("runpy.run", "import time; t = iter(range(0, 10**9, 3)); time.time = lambda: next(t)\nrunpy.run"),
         "kit/run.py", "--rounds", "20", "--precision", "10", "--drift", "100"], cwd=device, capture_output=True, text=True).stdout


# -- refused ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["onnx/0001.onnx", "int8/0000.onnx", "manifest.json", "run.py", "bench.sh", "items.txt"])
def test_a_file_changed_by_one_byte_is_refused_by_name(device, name):
    path = device / "kit" / name
    content = bytearray(path.read_bytes())
    content[-2] ^= 1 if name != "run.py" else 0
    path.write_bytes(bytes(content) + (b"\n" if name == "run.py" else b""))                 # still Python
    done = on(device)
    assert done.returncode == 1 and done.stderr == f"error: {device / 'kit' / name} is missing, or was changed or cut; copy the kit once more\n"
    with pytest.raises(ValueError, match=name):
        kit.results(device / "r.csv", device / "kit")


def test_a_missing_file_is_refused_by_name(device):
    (device / "kit/onnx/0002.onnx").unlink()
    assert "0002.onnx is missing" in on(device).stderr
    shutil.rmtree(device / "kit")
    (device / "kit").mkdir()
    with pytest.raises(ValueError, match="has no SHA256SUMS: it is not a whole kit"):
        kit.results(device / "r.csv", device / "kit")


def test_a_runtime_that_computes_something_else_is_refused(made, tmp_path):
    shutil.copytree(made, tmp_path / "kit")
    manifest = json.loads((tmp_path / "kit/manifest.json").read_text())
    manifest["items"][1]["expected"][3] += 0.1
    (tmp_path / "kit/manifest.json").write_text(json.dumps(manifest))
    kit.seal(tmp_path / "kit")
    done = on(tmp_path)
    assert done.returncode == 1 and "0001.onnx: onnxruntime computes something else than PyTorch did" in done.stderr
    assert len(done.stderr.splitlines()) == 1 and not list(tmp_path.glob("*.csv"))


@pytest.mark.parametrize("arguments, message", [
    (["--runtime", "openvino"], "openvino is not installed here: pip install openvino"), (["--runtime", "litert"], "this kit has no files for litert; it has onnx, int8"),
    (["--rounds", "0"], "must be at least 1"), (["--out", "no/such/folder.csv"], "No such file")])
def test_what_cannot_run_is_told_in_one_line(device, arguments, message):
    done = on(device, *arguments)
    assert done.returncode == 1 and message in done.stderr and len(done.stderr.splitlines()) == 1


def test_results_of_another_measurement_are_not_added_to(device):
    on(device, "--rounds", 1, "--out", "r.csv", "--drift", 100)
    again = on(device, "--rounds", 1, "--out", "r.csv", "--threads", 2)
    assert again.returncode == 1 and "r.csv holds results of another threads" in again.stderr
    assert "1 there, 2 now" in again.stderr
    text = (device / "r.csv").read_text()
    (device / "r.csv").write_text(text.replace(f'"python": "{platform.python_version()}"', '"python": "3.8.1"'))
    assert on(device, "--rounds", 1, "--out", "r.csv", "--drift", 100).returncode == 0, "an update of the system is no other device"
    (device / "r.csv").write_text(re.sub('"processor": "[^"]*"', '"processor": "a board"', text))
    assert "results of another processor: a board there" in on(device, "--rounds", 1, "--out", "r.csv").stderr
    for notes in (b"my notes\n", b"my notes", b'{"a": 1,\n "b": 2}', b"# [1]\n\xe9,\n", b"# [1]\nround,item,ms,reference_ms\n0,1,"):
        (device / "notes.csv").write_bytes(notes)
        done = on(device, "--out", "notes.csv")
        assert "is not a file of results" in done.stderr and len(done.stderr.splitlines()) == 1
        assert (device / "notes.csv").read_bytes() == notes, "what is refused is left as it was"


def test_a_file_with_line_ends_of_windows_goes_on_after_a_cut(tmp_path):
    path, about = tmp_path / "r.csv", {"kit": "x", "machine": {"processor": "a board"}}
    file, rows = run.opened(path, about)
    file.close()
    assert rows == []
    text = path.read_bytes() + b"0,1,1.5,1.5\n0,2,1.5,1.5\n"
    path.write_bytes(text.replace(b"\n", b"\r\n") + b"1,3,0.5")
    file, rows = run.opened(path, about)
    file.write("1,3,0.5,0.5\n")
    file.close()
    assert rows == [(0, 1, 1.5, 1.5), (0, 2, 1.5, 1.5)] and run.opened(path, about)[1] == [*rows, (1, 3, 0.5, 0.5)]


def test_a_list_of_checksums_that_was_cut_is_refused_in_one_line(device):
    whole = (device / "kit/SHA256SUMS").read_bytes()
    for cut in (whole[:-30], whole[:20], b"\xff"):
        (device / "kit/SHA256SUMS").write_bytes(cut)
        done = on(device)
        assert done.returncode == 1 and "copy the kit once more" in done.stderr and len(done.stderr.splitlines()) == 1


def test_two_runs_do_not_write_one_file(device):
    on(device, "--rounds", 1, "--out", "r.csv", "--drift", 100)
    before = (device / "r.csv").read_text()
    with open(device / "r.csv") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = on(device, "--rounds", 2, "--out", "r.csv", "--drift", 100)
    assert done.returncode == 1 and "another run.py is writing r.csv" in done.stderr and (device / "r.csv").read_text() == before


def test_a_network_that_the_runtime_does_not_read_is_told_in_one_line(device):
    (device / "kit/onnx/0001.onnx").write_bytes(b"of a later version")
    kit.seal(device / "kit")
    done = on(device)
    assert done.returncode == 1 and re.search(r"^error: onnxruntime [\d.]+ does not read 0001.onnx, install a newer one: .+$", done.stderr)
    (device / "kit/SHA256SUMS").write_text("")
    assert "manifest.json is missing, or was changed or cut" in on(device).stderr


def test_a_board_is_told_apart_by_its_name(tmp_path, monkeypatch):
    files = {"/proc/cpuinfo": "processor\t: 0\nCPU part\t: 0xd08\n", "/proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0"}
    for path, text in files.items():
        (tmp_path / path[1:]).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path[1:]).write_text(text)
    for module in (pl.runtime.machine, run):
        monkeypatch.setattr(module, "Path", lambda path: tmp_path / str(path).lstrip("/"))
        assert module.processor() == "Raspberry Pi 4 Model B Rev 1.4"
        monkeypatch.setattr(module, "Path", lambda path: tmp_path / "nothing")
        assert module.processor()


def test_a_device_that_stays_slow_is_refused_and_one_that_cools_is_not(monkeypatch, capsys):
    naps = []
    monkeypatch.setattr(run.time, "sleep", naps.append)

    def watched(later):
        steady = run.Steady(1.5)
        for ms in [10.0] * 40 + [20.0] * 40:
            steady.note(ms)
            steady.wait(lambda: later / 1e3)
    watched(11.0)
    assert naps and "waiting" in capsys.readouterr().out
    times = iter([20e-3] * run.PASSES * run.RECENT * 5 + [11e-3] * 10 ** 4)
    steady = run.Steady(1.5)
    for ms in [10.0] * 40 + [20.0] * 40:
        steady.note(ms)
    steady.wait(lambda: next(times))                                                        # cool after the last pause
    with pytest.raises(run.Refused, match="takes 2.00 times as long as at best: the device is throttling or busy"):
        watched(20.0)
    steady = run.Steady(1.5)
    for ms in np.random.default_rng(0).uniform(9, 12, 200):
        steady.note(ms)
        steady.wait(None)                                                                   # ordinary scatter asks nothing


# -- back -----------------------------------------------------------------------------------------------------------------


def test_blocks_and_the_cost_of_a_call_add_up_to_networks(made, tmp_path):
    """From times made as network = 1.1 · (call + Σ (block − call)) the table gives exactly these networks."""
    call, factor, items = 0.5, 1.1, items_of(made)
    block_ms = {pl.spaces.Block(**item["block"]): call + 0.25 * (i + 1) for i, item in enumerate(items) if "block" in item}
    alone = pl.objective.costs(space(), pl.latency.Table({block: pl.latency.Entry(ms - call) for block, ms in block_ms.items()}))
    take = lambda item: (block_ms[pl.spaces.Block(**item["block"])] if "block" in item else call if "network" not in item else  # noqa: E731
                         factor * (call + alone.cost_of(pl.Architecture(space(), tuple(item["network"]["choices"])))))
    found = kit.results(written(tmp_path / "r.csv", made, [take(item) for item in items]), made)
    price = pl.objective.costs(space(), found.table)
    for code in ("00", "12", "21", "22", "10"):
        network = pl.Architecture.from_code(space(), code)
        assert price.cost_of(network) == pytest.approx(factor * (call + alone.cost_of(network)), rel=1e-6)
    assert found.table.metadata["call_ms"] == pytest.approx(call) and found.table.metadata["factor"] == pytest.approx(factor)
    assert found.networks.predicted_ms.to_numpy() == pytest.approx(found.networks.ms.to_numpy())
    assert found.architectures["mine"].choices == ("MB3 3x3", "Zero")
    times = [take(item) * (2 if "network" in item and item["network"]["name"] == "mine" else 1) for item in items]
    off = kit.results(written(tmp_path / "off.csv", made, times), made)
    assert off.table.metadata["factor"] == pytest.approx(factor) and off.networks.predicted_ms["mine"] == pytest.approx(off.networks.ms["mine"] / 2), (
        "networks of one's own judge the table, and do not correct it")


def test_a_kit_of_a_space_that_no_file_can_name_is_refused(tmp_path):
    own = pl.spaces.chain(edges=1, width=4, make=lambda *_: torch.nn.Identity())
    for given, told in ((dict(space=own), "chain of .*"), (dict(networks=[("mine", pl.Architecture(own, own.edges()[0].candidates[:1]))]), "chain of .*"),
                        (dict(networks=[("mine", pl.Architecture(None, ("conv",)))]), "a module")):
        with pytest.raises(ValueError, match=f"a kit is for spaces that a file can name: chain, mobile, .*; {told} is of your own"):
            kit.make(tmp_path / "kit", **given)
    assert not (tmp_path / "kit").exists()


def test_results_that_do_not_fit_the_kit_are_refused(made, tmp_path):
    ms = [1.0] * len(items_of(made))
    with pytest.raises(ValueError, match=r"is not finished: 1 of \d+ networks have no visit; run it again on the device"):
        kit.results(written(tmp_path / "a.csv", made, ms[:-1]), made)
    with pytest.raises(ValueError, match="has visits of item"):
        kit.results(written(tmp_path / "b.csv", made, [*ms, 1.0]), made)
    with pytest.raises(ValueError, match="not positive"):
        kit.results(written(tmp_path / "c.csv", made, [*ms[:-1], -1.0]), made)
    other = written(tmp_path / "d.csv", made, ms)
    other.write_text(other.read_text().replace(run.verified(made)[1], "0" * 64))
    with pytest.raises(ValueError, match="was not measured with the kit in"):
        kit.results(other, made)
    twice = written(tmp_path / "f.csv", made, ms)
    twice.write_text(twice.read_text() + "0,0,1,10\n")
    with pytest.raises(ValueError, match="f.csv has visits of two runs at once"):
        kit.results(twice, made)
    (tmp_path / "e.csv").write_text("nothing\n")
    with pytest.raises(ValueError, match="e.csv is not a file of visits"):
        kit.results(tmp_path / "e.csv", made)


def test_a_kit_of_networks_says_which_is_the_first_within_a_limit(tmp_path, capsys):
    networks = [("random 1/best", pl.Architecture(space(), ("MB3 3x3", "MB3 3x3"))), ("second", pl.Architecture(space(), ("conv 3x3", "MB3 3x3"))),
                ("third", pl.Architecture(space(), ("Zero", "Zero")))]
    files = []
    (tmp_path / "random 1").mkdir()
    for name, network in networks:
        network.save(tmp_path / f"{name}.json")
        files.append(str(tmp_path / f"{name}.json"))
    main(["kit", "--networks", *files, "--out", str(tmp_path / "kit")])
    assert len(items_of(tmp_path / "kit")) == 4
    results = written(tmp_path / "r.csv", tmp_path / "kit", [3.0, 9.0, 7.9, 2.0])           # the reference first
    main(["import", str(results), "--kit", str(tmp_path / "kit"), "--limit", "8"])
    assert f"first within 8.0 ms: {files[1]}, 7.9 ms" in capsys.readouterr().out
    with pytest.raises(ValueError, match="none of 3 networks takes at most 1.0 ms here; the fastest takes 2 ms"):
        main(["import", str(results), "--kit", str(tmp_path / "kit"), "--limit", "1"])
    with pytest.raises(ValueError, match="this kit has networks alone"):
        main(["import", str(results), "--kit", str(tmp_path / "kit"), "--out", str(tmp_path / "t.csv")])


def test_the_results_of_a_device_are_not_replaced(made, tmp_path, monkeypatch):
    results = written(tmp_path / "r.csv", made, [1.0] * len(items_of(made)))
    before = results.read_bytes()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="--out r.csv is the file of results"):
        main(["import", str(results), "--kit", str(made), "--out", "r.csv"])
    assert results.read_bytes() == before


def test_a_kit_may_be_written_into_the_empty_folder_where_one_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    network = pl.Architecture(space(), ("conv 3x3", "Zero"))
    with pytest.raises(ValueError, match="network of its own called random 1"):
        kit.make(".", networks=[("random 1", network)])
    kit.make(".", networks=[("mine", network)])
    assert run.verified(tmp_path)[0]["items"][1]["network"]["name"] == "mine" and not list(tmp_path.parent.glob(f".{tmp_path.name}.*"))


@pytest.mark.parametrize("given, message", [
    (["--networks", "resnet_34"], "resnet_34 is no network of a space"), ([], "give --space or --networks"),
    (["--space", "chain", "--formats", "caffe"], "unknown format 'caffe'; allowed: onnx, int8, ncnn, litert")])
def test_a_kit_of_nothing_is_refused(given, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        main(["kit", *given, "--out", str(tmp_path / "kit")])
    assert not any(tmp_path.iterdir())


def test_a_kit_is_not_written_over_what_is_there(tmp_path):
    (tmp_path / "kit").mkdir()
    (tmp_path / "kit/thesis.tex").write_text("x")
    with pytest.raises(ValueError, match="exists already; give a new folder"):
        main(["kit", "--space", "chain", "--out", str(tmp_path / "kit")])


# -- without Python ---------------------------------------------------------------------------------------------------------

PROGRAMS = {  # as the two programs print; here a time that depends on the size of the file
    "onnx": 'for f; do :; done; [ -f "$f" ] || exit 1\necho "Average inference time cost total: $(wc -c < "$f").5 ms"\necho "Total inference run time: 0.01 s"',
    "litert": 'for a; do case $a in --graph=*) f=${a#--graph=};; esac; done\n[ -f "$f" ] || exit 1\n'
              'echo "INFO: Inference timings in us: Init: 1000, First inference: 900, Warmup (avg): 800, Inference (avg): $(wc -c < "$f").5"'}


def program(folder, text):
    path = folder / "program"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return "./program"


def shell(device, *arguments, **variables):
    return subprocess.run(["sh", "kit/bench.sh", *arguments], cwd=device, env={**os.environ, **variables}, capture_output=True, text=True)


@pytest.mark.parametrize("style", PROGRAMS)
def test_a_shell_measures_with_a_runtimes_own_program(made, device, style):
    if style == "litert":  # a kit whose files are called so: what is tested is the shell
        (device / "kit/onnx").rename(device / "kit/litert")
        for name in ("items.txt", "manifest.json"):
            path = device / "kit" / name
            path.write_text(path.read_text().replace("onnx/", "litert/"))
        kit.seal(device / "kit")
    done = shell(device, style, program(device, PROGRAMS[style]), ROUNDS="2")
    assert done.returncode == 0, done.stderr
    visits = pd.read_csv(device / f"results-{style}.csv", comment="#")
    sizes = [(device / "kit" / line.split(" ")[1]).stat().st_size for line in (device / "kit/items.txt").read_text().splitlines() if f" {style}/" in line]
    assert visits.groupby("item").ms.first().tolist() == pytest.approx([(size + 0.5) / (1000 if style == "litert" else 1) for size in sizes], rel=1e-4)
    assert (visits.groupby("item").size() == 2).all()
    assert len(kit.results(device / f"results-{style}.csv", device / "kit").table) == len(blocks_of(space()))


def test_the_shell_goes_on_after_a_cut(made, device):
    fake = program(device, f"cat > /dev/null\n{PROGRAMS['onnx']}")  # as one that hands its input on to a device
    shell(device, "onnx", fake, ROUNDS="1")
    out = device / "results-onnx.csv"
    kept = out.read_text().splitlines()[:-2]
    out.write_text("\n".join(kept) + "\n0,1,1")
    assert shell(device, "onnx", fake, ROUNDS="2").returncode == 0
    lines = out.read_text().splitlines()
    assert lines[:len(kept)] == kept and len(lines) == len({*lines}) == 2 + 2 * len(items_of(made))
    assert "holds another measurement" in shell(device, "onnx", fake, THREADS="2").stderr


def test_a_network_that_fails_leaves_no_row_and_is_measured_by_the_next_run(made, device):
    broken = program(device, f"[ -f healthy ] || case $* in *0003*) exit 1;; esac\n{PROGRAMS['onnx']}")
    done = shell(device, "onnx", broken, ROUNDS="1")
    assert done.returncode == 1 and "program failed" in done.stderr and "rounds in" not in done.stdout
    assert all(re.fullmatch(r"0,\d+,[\d.]+,[\d.]+", line) and line.split(",")[1] != "3" for line in (device / "results-onnx.csv").read_text().splitlines()[2:])
    (device / "healthy").touch()
    assert shell(device, "onnx", broken, ROUNDS="1").returncode == 0 and kit.results(device / "results-onnx.csv", made).table


@pytest.mark.parametrize("rounds, asked, unfinished, uncertain", [(2, 3, 1, 1), (3, 3, 0, 1), (9, 9, 0, 0)])
def test_what_is_not_finished_or_not_certain_is_told(made, tmp_path, capsys, rounds, asked, unfinished, uncertain):
    count = len(items_of(made))
    results = written(tmp_path / "r.csv", made, [1.0] * count, rounds=rounds)
    results.write_text(results.read_text().replace(f'"rounds": {rounds}', f'"rounds": {asked}'))
    main(["import", str(results), "--kit", str(made), "--out", str(tmp_path / "t.csv")])
    told = capsys.readouterr().out
    assert (f"not finished: {count} of the kit's networks" in told) == unfinished
    assert (f"{count} of the kit's networks are not certain to 1 %" in told) == uncertain and (tmp_path / "t.csv").exists()


def test_the_shell_refuses_in_one_line(device):
    for text, message in (("echo nothing", "printed no time"), ("echo broken >&2; exit 3", "failed: broken")):
        done = shell(device, "onnx", program(device, text))
        assert done.returncode != 0 and message in done.stderr, message
    assert "no files for litert" in shell(device, "litert", program(device, "true")).stderr
    assert "is not here" in shell(device, "onnx", "./nothing").stderr
    (device / "kit/onnx/0001.onnx").write_bytes(b"x")
    assert "onnx/0001.onnx" in shell(device, "onnx", program(device, PROGRAMS["onnx"])).stderr


# -- the runtimes on this machine -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", run.RUNTIMES)
def test_a_runtime_times_what_pytorch_computes(name):
    try:
        clock = clocks.clock_of(name)
    except ValueError as error:
        pytest.skip(str(error))
    torch.manual_seed(0)
    for module, shape in ((pl.spaces.Block("MB3 3x3", 4, 4, 6, residual=True).module(), (1, 4, 6, 6)), (space().fixed_blocks()[-1].module(), (1, 4, 4, 4))):
        assert 0 < clock.prepare(module, shape)() < 1
    assert all(clock.versions().values())


def test_a_table_of_a_runtime_adds_up_to_networks_on_this_machine_too():
    """Sums of blocks timed alone are twice what these small networks take: every call costs something."""
    table = pl.latency.measure(space(), "onnxruntime", rounds=9)
    network = pl.Architecture(space(), ("MB3 3x3", "MB3 3x3"))
    measured = pl.latency.compare([network], "onnxruntime", rounds=9)
    ms = measured.ms[0] / measured.attrs["reference_ms"] * table.metadata["reference_ms"]
    assert 0.7 < pl.objective.costs(space(), table).cost_of(network) / ms < 1.4


def test_another_output_is_refused_before_it_is_timed(monkeypatch):
    clock = clocks.clock_of("onnxruntime")
    monkeypatch.setattr(convert.Source, "output", torch.ones(1, 4, 6, 6))
    with pytest.raises(ValueError, match="onnxruntime computes something else than PyTorch did"):
        clock.prepare(torch.nn.ReLU(), (1, 4, 6, 6))


def test_a_runtime_that_is_missing_is_told_with_what_to_install(monkeypatch):
    monkeypatch.setattr(clocks, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="'litert' asked for, but it is not installed; pip install ai-edge-litert"):
        clocks.clock_of("litert")
    monkeypatch.undo()
    monkeypatch.setattr(convert, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="format ncnn asked for, but its converter is not installed: pip install pnnx"):
        convert.installed("ncnn")
