"""The alternating search: it learns, it survives, it refuses."""

import functools
import json
import math
import multiprocessing
import os
import random
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import proxyless_lite as pl
from proxyless_lite.runtime import cli
from proxyless_lite.search import __main__ as command_line, timing
from proxyless_lite.search.__main__ import main, parser
from proxyless_lite.training import loop
import small_runs as runs


def assert_same(a, b, where="end"):
    """Equal to the last bit, through dicts and lists."""
    assert type(a) is type(b), where
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), where
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            assert_same(a[key], b[key], f"{where}/{key}")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b)):
            assert_same(x, y, f"{where}/{i}")
    else:
        assert a == b or (a != a and b != b), f"{where}: {a} and {b}"


@pytest.fixture(scope="module")
def processes():
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["proxyless_lite", "small_runs"])
    return context


def finish(processes, out):
    process = processes.Process(target=runs.run_to_the_end, args=(out,))
    process.start()
    process.join(120)
    assert process.exitcode == 0
    return torch.load(out / "end.pt", weights_only=True)


@pytest.mark.slow
def test_killed_at_twenty_random_moments_ends_with_the_same_bits(processes, tmp_path):
    whole = finish(processes, tmp_path / "whole")
    moments = random.Random(0)
    progress = set()
    for kill in range(20):
        out = tmp_path / f"killed{kill % 4}"  # four runs, each killed five times
        started = processes.Event()
        process = processes.Process(target=runs.run_to_the_end, args=(out, started, 0.02))
        process.start()
        assert started.wait(60)
        time.sleep(moments.uniform(0.0, 0.8))
        process.kill()
        process.join()
        if (out / "checkpoint.pt").exists():
            progress.add((kill % 4, pl.runtime.load_checkpoint(out / "checkpoint.pt")["done"]))
    assert len(progress) > 5, "the kills came too early to mean anything"
    for i in range(4):
        assert_same(finish(processes, tmp_path / f"killed{i}"), whole)


@pytest.fixture
def interruptible():
    """Ctrl-C as Python handles it, also where the tests run in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number, kind, told", [(signal.SIGTERM, pl.runtime.Stopped, "SIGTERM.*run again"),
                                                (signal.SIGINT, KeyboardInterrupt, "Ctrl-C in epoch 1 after step 2; run again")])
def test_a_signal_writes_a_checkpoint_within_a_step_and_the_run_goes_on(tmp_path, interruptible, number, kind, told):
    whole, stopped = runs.small_search(tmp_path / "a"), runs.small_search(tmp_path / "b")
    result = whole.run()
    step = stopped.step
    stopped.step = lambda epoch, index: (step(epoch, index), os.kill(os.getpid(), number) if stopped.loop.done == 6 else None)
    with pytest.raises(kind, match=told) as caught:
        stopped.run()
    assert getattr(caught.value, "code", 143) == 143 and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    resumed = runs.small_search(tmp_path / "b")
    assert pl.runtime.load_checkpoint(tmp_path / "b/checkpoint.pt")["done"] == 7  # in the middle of an epoch of four steps
    result_resumed = resumed.run()
    assert_same(runs.everything(resumed, result_resumed), runs.everything(whole, result))


def test_a_signal_in_the_last_step_stops_too(tmp_path, interruptible):
    search, more = runs.small_search(tmp_path), []
    step, last = search.step, search.loop.total - 1
    search.step = lambda *where: (step(*where), os.kill(os.getpid(), signal.SIGTERM) if search.loop.done == last else None)
    with pytest.raises(pl.runtime.Stopped, match="run again"):
        search.run()  # it would go on with its choice
    again = runs.small_search(tmp_path)
    again.step = lambda *where: more.append(where)
    assert again.run().architecture and not more  # all steps are kept


def test_a_second_ctrl_c_acts_at_once(tmp_path, interruptible):
    search = runs.small_search(tmp_path)
    step = search.step
    search.step = lambda *where: (step(*where), [os.kill(os.getpid(), signal.SIGINT) for _ in range(2 * (search.loop.done == 6))])
    with pytest.raises(KeyboardInterrupt, match="^$"):
        search.run()
    assert search.loop.done == 6 and pl.runtime.load_checkpoint(tmp_path / "checkpoint.pt")["done"] == 4


def test_who_handles_ctrl_c_himself_goes_on_doing_so(interruptible):
    own = []
    signal.signal(signal.SIGINT, lambda *_: own.append(True))
    search = runs.small_search(None, epochs=1)
    step = search.step
    search.step = lambda *where: (step(*where), os.kill(os.getpid(), signal.SIGINT))
    assert len(search.run().history) == 2 and len(own) == 8
    flags = []
    with ThreadPoolExecutor() as pool:
        pool.submit(lambda: flags.append(runs.small_search(None, epochs=1, warmup_epochs=0).run())).result()  # where no signal can be asked for
    assert len(flags) == 1


def test_a_damaged_checkpoint_is_named_and_the_previous_one_used(tmp_path, capsys):
    whole = runs.small_search(tmp_path / "a")
    result = whole.run()
    runs.small_search(tmp_path / "b").run()
    checkpoint = tmp_path / "b/checkpoint.pt"
    content = checkpoint.read_bytes()
    checkpoint.write_bytes(content[:len(content) // 2])
    resumed = runs.small_search(tmp_path / "b")
    result_resumed = resumed.run()  # repeats the last epoch
    assert f"{checkpoint} is truncated" in capsys.readouterr().out
    assert_same(resumed.state_dict(), whole.state_dict())
    assert result_resumed.architecture == result.architecture or result_resumed.architecture.choices == result.architecture.choices


@pytest.mark.parametrize("content", [b"", b"no zip", None], ids=["empty", "text", "another checkpoint"])
def test_without_any_good_checkpoint_the_file_is_refused_by_name(tmp_path, content):
    path = tmp_path / "checkpoint.pt"
    torch.save({"weights": torch.ones(1)}, path) if content is None else path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{path} is .*; to start again choose another folder, or move this one away"):
        runs.small_search(tmp_path).run()


def test_a_checkpoint_cannot_run_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'owned'}",)
    torch.save({"format": pl.runtime.FORMAT, "x": Evil()}, tmp_path / "checkpoint.pt")
    with pytest.raises(ValueError, match="checkpoint.pt is intact, but holds what a safe loader does not read .*posix.system"):
        pl.runtime.load_checkpoint(tmp_path / "checkpoint.pt")
    assert not (tmp_path / "owned").exists()


def test_a_flipped_bit_is_noticed(tmp_path):
    path = tmp_path / "checkpoint.pt"
    pl.runtime.save_checkpoint(path, {"x": torch.zeros(10_000)})
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is truncated, damaged or not a checkpoint .*is damaged"):
        pl.runtime.load_checkpoint(path)


def test_after_a_damaged_checkpoint_a_kill_while_saving_loses_nothing(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.pt"
    for x in (1, 2):
        pl.runtime.save_checkpoint(path, {"x": x})
    path.write_bytes(b"damaged")
    assert pl.runtime.load_checkpoint(path, say=lambda _: None)["x"] == 1
    replace = os.replace
    moves = []
    monkeypatch.setattr(os, "replace", lambda *names: moves.append(names) or (replace(*names) if len(moves) < 2 else 1 / 0))
    with pytest.raises(ZeroDivisionError):  # dies between the two moves of a save
        pl.runtime.save_checkpoint(path, {"x": 3})
    monkeypatch.undo()
    assert pl.runtime.load_checkpoint(path)["x"] == 1


def test_every_damaged_byte_is_survived(tmp_path):
    path = tmp_path / "checkpoint.pt"
    pl.runtime.save_checkpoint(path, {"x": [1.0, "two"]})
    content = path.read_bytes()
    for place in range(0, len(content), 7):
        damaged = bytearray(content)
        damaged[place] ^= 0xFF
        path.write_bytes(damaged)
        try:
            assert pl.runtime.read_checkpoint(path)["x"] == [1.0, "two"]  # a byte that carries nothing
        except ValueError as error:
            assert str(path) in str(error) and "\n" not in str(error)


def test_another_network_of_ones_own_is_not_resumed(tmp_path):
    def search(*names):
        edge = pl.MixedOp({name: nn.Identity() for name in names})
        net = pl.SuperNet(nn.Sequential(edge, nn.Flatten(), nn.Linear(192, 10)))
        return pl.Search(net, pl.data.load("digits"), config=pl.SearchConfig(epochs=1), out=tmp_path, device="cpu")
    search("a", "b").run()
    with pytest.raises(ValueError, match="another configuration: edges is"):
        search("b", "a").run()


def test_other_operations_under_the_same_names_are_not_resumed(tmp_path):
    def search(operation):
        net = pl.SuperNet(nn.Sequential(pl.MixedOp({"a": nn.Identity(), "b": operation}), nn.Flatten(), nn.Linear(192, 10)))
        return pl.Search(net, pl.data.load("digits"), config=pl.SearchConfig(epochs=1), out=tmp_path, device="cpu")
    done = search(nn.ReLU()).run()
    assert search(nn.ReLU()).run().seconds == done.seconds
    with pytest.raises(ValueError, match="another configuration: edges is"):
        search(nn.Tanh()).run()


def test_a_network_in_eval_mode_is_searched_with_batch_statistics():
    net = pl.SuperNet(pl.spaces.tree(1, 72, input_size=8)).eval()
    found = pl.Search(net, pl.data.load("digits"), config=pl.presets.search("quick"), device="cpu")
    found.weight_step(0, found.weight_batches[0])
    assert net.training and any(m.running_mean.any() for m in net.modules() if isinstance(m, nn.BatchNorm2d))


@pytest.mark.parametrize("space, given, expected", [
    ("tree", ["--blocks", "1"], (0.01, 5)), ("mobile", [], (0.001, 16)), ("tree", ["--blocks", "1", "--alpha-lr", "0.5"], (0.5, 5)), ("mobile", ["--alpha-every", "7"], (0.001, 7))])
def test_reinforce_has_the_papers_settings_of_its_space(space, given, expected, monkeypatch):
    """§4.1: 0.01 where the gradient rule has 0.006; §4.2: 0.001 for both, as released 300 updates an epoch of 4,809 steps."""
    seen = {}
    monkeypatch.setattr(command_line, "Search", lambda space, data, rule, config, *_, **__: seen.update(config=config) or 1 / 0)
    monkeypatch.setattr(command_line.data, "load", lambda *_, **__: SimpleNamespace(classes="ab", shape=(3, 32, 32)))
    with pytest.raises(ZeroDivisionError):
        main(["--space", space, "--preset", "paper", "--rule", "reinforce", "--costs", "macs", "--target", "4e8", "--data", "any", "--out", "x", *given])
    assert (seen["config"].alpha_lr, seen["config"].alpha_every) == pytest.approx(expected) and 4809 // 16 == 300


def test_spoilt_weights_are_never_saved(tmp_path):
    with pytest.raises(FloatingPointError):
        runs.small_search(tmp_path, lr=1e30, warmup_lr=1e30).run()
    state = pl.runtime.load_checkpoint(tmp_path / "checkpoint.pt")
    assert state is None or all(v.isfinite().all() for v in state["state"]["net"].values())


def test_an_alpha_that_is_not_finite_stops_the_search_and_is_not_saved(tmp_path):
    below_zero = pl.rules.Reinforce(reward=lambda metrics: (metrics["accuracy"] - 2).sqrt())
    for _ in range(2):
        with pytest.raises(FloatingPointError, match="α is not finite after α step 1: a loss, a reward or a cost is not"):
            runs.small_search(tmp_path, below_zero, alpha_every=4).run()  # the last step of an epoch
    state = pl.runtime.load_checkpoint(tmp_path / "checkpoint.pt")
    assert state is None or all(v.isfinite().all() for v in state["state"]["net"].values())


def test_no_targets_are_refused_before_the_search():
    search = runs.small_search(None)
    search.step = lambda *_: pytest.fail("minutes of work for nothing")
    with pytest.raises(ValueError, match="no targets given"):
        search.front(pl.objective.costs(search.net.space, "macs"), [])


def test_a_failed_write_leaves_the_last_good_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.pt"
    pl.runtime.save_checkpoint(path, {"x": 1})
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match=f"{path} cannot be written .No space left on device.; what was there is kept"):
        pl.runtime.save_checkpoint(path, {"x": 2})
    assert pl.runtime.load_checkpoint(path)["x"] == 1 and [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_two_processes_do_not_run_in_one_folder(processes, tmp_path):
    started = processes.Event()
    process = processes.Process(target=runs.run_to_the_end, args=(tmp_path, started, 10.0))
    process.start()
    try:
        assert started.wait(60)
        while not (tmp_path / "lock").exists():
            time.sleep(0.05)
        with pytest.raises(OSError, match="another process is running in the folder .*; wait for its end or choose another folder") as caught:
            runs.small_search(tmp_path, epochs=1).run()
        assert "\n" not in str(caught.value)
    finally:
        process.kill()
        process.join()
    first, second = runs.small_search(tmp_path, epochs=1), runs.small_search(tmp_path, epochs=1)
    assert len(first.run().history) == len(second.run().history) == 2  # the dead one's lock is gone, and so is that of a finished run


def test_a_folder_of_another_configuration_is_refused(tmp_path):
    runs.small_search(tmp_path, epochs=1).run()
    with pytest.raises(ValueError, match=r"another configuration: alpha_lr is 0\.05 there and 0\.01 here"):
        runs.small_search(tmp_path, epochs=1, alpha_lr=0.01).run()


def test_a_finished_run_is_only_read(tmp_path):
    first = runs.small_search(tmp_path, epochs=1).run()
    again = runs.small_search(tmp_path, epochs=1)
    again.step = None  # any step would fail
    result = again.run()
    assert result.architecture.choices == first.architecture.choices and len(result.history) == 2


def test_loss_that_is_not_finite_stops_with_epoch_step_and_the_kept_checkpoint(tmp_path):
    search = runs.small_search(tmp_path)
    step = search.step

    def poisoned(epoch, index):
        if search.loop.done == 9:  # epoch 2, step 1
            with torch.no_grad():
                search.net.network[0][0].weight.fill_(math.nan)
        step(epoch, index)

    search.step = poisoned
    with pytest.raises(FloatingPointError, match=r"train_loss is not finite at epoch 2, step 1 \(the last checkpoint, .*checkpoint.pt, is kept"):
        search.run()
    assert pl.runtime.load_checkpoint(tmp_path / "checkpoint.pt")["done"] == 8


@pytest.mark.parametrize("parts", [1, 4])
def test_no_loss_since_the_last_look_is_overlooked(parts):
    search = runs.small_search(None, engine=pl.runtime.engine("cpu", grad_accumulation=parts))
    every = loop.CHECK_EVERY
    for search.loop.done in range(every):
        for part in range(parts):
            search.loop.record("train_", {"loss": torch.tensor(math.nan if search.loop.done == part == 0 else 1.0)})
    with pytest.raises(FloatingPointError, match="train_loss is not finite at epoch 0, step 0"):
        search.loop.check_finite(0)


def test_history_has_what_was_promised(tmp_path):
    search = runs.small_search(tmp_path, epochs=3)
    history = search.run().history
    assert list(history.phase) == ["warm-up", "search", "search", "search"]
    assert history.valid_loss.isna().tolist() == [True, False, False, False]  # no α step in the warm-up
    assert history[["train_loss", "train_accuracy", "derived_accuracy", "entropy", "lr"]].notna().all().all()
    assert history.seconds.is_monotonic_increasing and (history.memory > 10).all()
    assert history.probabilities[0].shape == (2, 3) and history.probabilities[3].sum(1) == pytest.approx([1, 1])
    assert history.entropy[0] == pytest.approx(math.log(3), abs=1e-4) and history.entropy[3] < history.entropy[0]
    assert search.alpha_steps == 12


def test_cadence_and_delay():
    search = runs.small_search(None, epochs=4, alpha_every=2, alpha_delay=1)
    assert search.forecast()["alpha_steps"] == 6
    search.run()
    assert search.alpha_steps == 6  # 4 steps an epoch; warm-up and one more epoch rest, then every second step
    never = runs.small_search(None, epochs=2, alpha_delay=5).forecast(steps=1)
    assert never["alpha_steps"] == 0 and never["hours"] > 0


@pytest.mark.parametrize("ahead, seconds", [(False, (6, 4)), (True, (4, 3))])
def test_a_forecast_adds_reading_to_the_step_unless_batches_are_read_ahead(monkeypatch, ahead, seconds):
    search = runs.small_search(None)
    told = iter((2, 1, 4, 3))  # weight step, α step, reading a batch for each
    monkeypatch.setattr(timing, "timed", lambda *_: next(told))
    monkeypatch.setattr(type(search.data), "prefetches", ahead)
    found = search.forecast(steps=1)
    assert found["hours"] * 3600 == pytest.approx(seconds[0] * found["weight_steps"] + seconds[1] * found["alpha_steps"])


def test_a_space_of_a_partial_can_be_forecast():
    space = pl.spaces.chain(edges=2, width=8, input_size=8, candidates=("Zero", "DW 3x3"), make=functools.partial(built, extra=1))
    penalty = pl.objective.LatencyPenalty(pl.costs.costs(space, "macs"), 1e-6)
    search = pl.Search(space, pl.data.load("digits"), objective=penalty, device="cpu")
    assert search.forecast(steps=1)["hours"] > 0


def built(name, i, o, stride, extra):
    return pl.ops.build(name, i, o, stride)


def test_forecast_touches_nothing():
    search, untouched = runs.small_search(None), runs.small_search(None)
    torch.manual_seed(3)
    forecast = search.forecast()
    assert forecast["hours"] > 0 and forecast["weight_steps"] == 36
    assert torch.initial_seed() == 3
    assert_same(search.state_dict(), untouched.state_dict())


@pytest.mark.parametrize("rule", [pl.rules.TwoPath(), pl.rules.Exact(), pl.rules.Trapezoid(), pl.rules.Reinforce(), pl.rules.Combined()], ids=repr)
def test_every_rule_finds_the_path_that_works(rule):
    """A candidate that sees the image against two that destroy it: every rule must find it on both edges."""
    torch.manual_seed(0)
    class Nothing(nn.Module):
        def __init__(self, channels):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1, channels, 1, 1))

        def forward(self, x):
            return 0 * x + self.weight

    edge = lambda channels: pl.MixedOp({"blind": Nothing(channels), "sees": nn.Identity(), "blind too": Nothing(channels)})  # noqa: E731
    net = pl.SuperNet(nn.Sequential(edge(3), nn.Conv2d(3, 16, 3), nn.ReLU(), edge(16), nn.Flatten(), nn.Linear(16 * 36, 10)))
    config = pl.SearchConfig(epochs=10, warmup_epochs=2, batch_size=64, alpha_every=1, alpha_lr=0.05, lr=0.02, warmup_lr=0.02)
    result = pl.Search(net, pl.data.load("digits"), rule, config, device="cpu").run()
    assert result.architecture.choices == ("sees", "sees")


def test_inactive_candidates_cost_nothing():
    """Doubling and quadrupling the candidates leaves the number of Python calls of a weight step as it is."""
    def calls(candidates):
        torch.manual_seed(0)
        net = pl.SuperNet(pl.spaces.chain(edges=3, width=4, candidates=candidates))
        search = pl.Search(net, pl.data.load("digits"), config=pl.SearchConfig(batch_size=32), device="cpu")
        with torch.no_grad():
            for alpha in net.architecture_parameters():
                alpha[0] = 30.0  # always the same active path
        batch = search.weight_batches[0]
        search.weight_step(0, batch)
        count = 0
        def tick(frame, event, argument):
            nonlocal count
            count += event in ("call", "c_call")
        sys.setprofile(tick)
        try:
            search.weight_step(0, batch)
        finally:
            sys.setprofile(None)
        return count
    few, many = calls(pl.ops.MBCONV[:2]), calls(pl.ops.MBCONV * 1 + ("MB1 3x3", "MB2 3x3", "MB4 3x3", "MB5 3x3", "MB1 5x5", "MB2 5x5"))
    assert abs(many - few) < 0.01 * few


def test_wrong_input_is_refused_in_one_line():
    data = pl.data.load("digits")
    for make, message in (
        (lambda: pl.Search(pl.SuperNet(pl.spaces.tree(1, 72)), data), "takes images of 32×32, but digits has 8×8"),
        (lambda: pl.Search(pl.SuperNet(pl.spaces.chain()), data, device="tpu"), "unknown device 'tpu'; allowed: cpu, cuda"),
        (lambda: pl.presets.search("fast"), "unknown preset 'fast'; allowed: quick, lesson, paper"),
        (lambda: pl.SearchConfig(epoch=3), "epoch"),
        (lambda: pl.SearchConfig(alpha_every=0), r"SearchConfig\(alpha_every=0\): must be above 0"),
        (lambda: pl.TrainConfig(label_smoothing=3), r"label_smoothing=3\): must be at least 0 and below 1"),
        (lambda: pl.Search(pl.SuperNet(pl.spaces.chain(classes=4)), data, device="cpu"), r"gives \(4,\) for an image, but digits has 10 classes"),
        (lambda: pl.train(pl.spaces.chain(classes=4).compact(("Zero",) * 4), data, device="cpu"), "digits has 10 classes"),
        (lambda: pl.SuperNet(nn.Sequential(pl.MixedOp({"a": nn.Conv2d(5, 5, 1), "b": nn.Identity()}))).check((3, 8, 8)),
         r"edge '0': candidate 'a' does not take \(3, 8, 8\)"),
    ):
        with pytest.raises((ValueError, TypeError), match=message) as caught:
            make()
        assert "\n" not in str(caught.value)


def command(*arguments, **settings):
    return subprocess.run([sys.executable, "-m", "proxyless_lite.search", *arguments], capture_output=True, text=True, timeout=300, **settings)


@pytest.mark.slow
def test_command_line(tmp_path):
    out = tmp_path / "run"
    small = ["--preset", "quick", "--data", "digits", "--epochs", "1", "--warmup-epochs", "1", "--out", str(out)]
    done = command(*small)
    assert done.returncode == 0 and "params" in done.stdout and "left" in done.stdout, done.stderr
    assert len(json.loads((out / "architecture.json").read_text())["choices"]) == 36
    assert pl.Architecture.load(out / "architecture.json").macs() > 0
    assert (out / "history.csv").read_text().count("\n") == 3
    other = command(*small, "--seed", "1")
    assert other.returncode == 1 and other.stderr.startswith("error: ") and "another configuration" in other.stderr
    assert other.stderr.count("\n") == 1
    assert "--alpha-every" in command("--help").stdout
    for wrong, message in ((["--preset", "fast"], "unknown preset"), (["--data", "mnist"], "unknown data set 'mnist'")):
        refused = command(*wrong, "--out", str(tmp_path / "x"))
        assert refused.returncode == 1 and message in refused.stderr and refused.stderr.count("\n") == 1


def test_command_line_with_a_cost(tmp_path):
    small = ["--epochs", "1", "--warmup-epochs", "0", "--out", str(tmp_path / "run")]
    done = command(*small, "--costs", "macs", "--weight", "1e-6")
    assert done.returncode == 0 and " MACs, by macs" in done.stdout, done.stderr
    assert {"expected_cost", "derived_cost"} <= set((tmp_path / "run/history.csv").read_text().split("\n")[0].split(","))
    other = command(*small, "--costs", "macs", "--weight", "2e-6")
    assert other.returncode == 1 and "another configuration: objective" in other.stderr
    for wrong, message in ((["--weight", "1"], "--weight needs --costs"), (["--form", "linear"], "--form needs --costs"),
                           (["--target", "1"], "--target needs --costs"), (["--costs", "macs"], "needs --weight"),
                           (["--costs", "macs", "--rule", "reinforce", "--target", "1e6", "--weight", "1"], "--weight and --form belong to a loss"),
                           (["--space", "mobile", "--rule", "reinforce", "--form", "linear"], "--weight and --form belong to a loss"),
                           (["--width", "72.9"], "--width 72.9: the tree space counts channels; give a whole number"),
                           (["--image-size", "32"], "--image-size does nothing here: the digits stay 8×8"),
                           (["--costs", "absent.csv", "--weight", "1"], "absent.csv"),
                           (["--costs", "macs", "--rule", "reinforce"], "Reward(target=None)"),
                           (["--costs", "macs", "--weight", "1", "--form", "add#linear"], "LatencyPenalty(target=None)")):
        with pytest.raises((ValueError, OSError)) as refused:
            main(["--out", str(tmp_path / "x"), *wrong])
        assert message in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("choose, told", [("alpha", []), ("shared", ["tuned_accuracy"])])
def test_command_line_with_several_targets(tmp_path, choose, told):
    out = tmp_path / "run"
    costs = pl.objective.costs(pl.presets.experiment("quick").space(input_size=8), "macs")
    low, high = pd.Series(pl.baselines.costs_of_random(costs)).quantile([0.2, 0.6]).round()
    targets = [f"{10 * cost:.0f}e-1" for cost in (low, high, high + 0.1)]
    done = command("--epochs", "1", "--warmup-epochs", "0", "--images", "200", "--costs", "macs", "--choose", choose, "--targets", ",".join(targets), "--out", str(out))
    assert done.returncode == 0 and "costs in MACs" in done.stdout, done.stderr
    front = pd.read_csv(out / "front.csv")
    assert list(front) == ["target", "cost", "params", "macs", "file", *told] and front.target.tolist() == [float(each) for each in targets]
    assert front.file.is_unique
    for row in front.itertuples():  # targets that differ by less than %g shows have files of their own
        network = pl.Architecture.load(out / row.file)
        assert network.macs() == row.macs and network.params() == row.params and row.cost <= row.target
    for wrong, message in ((["--targets", "1e6"], "--targets needs --costs: a latency table, macs or params"),
                           (["--targets", "1e6,2e6", "--costs", "macs", "--weight", "1"], "--targets are for the choice in the end, --weight is for"),
                           (["--targets", "1e6,0", "--costs", "macs"], r"at most 0.0 MACs is no limit; give a number above 0"),
                           (["--targets", "1e6", "--costs", "macs", "--verify"], "--verify is for one network, --targets for several"),
                           (["--targets", "1e6,1", "--costs", "macs"], r"no network of .* keeps all limits: .* MACs are needed")):
        with pytest.raises(ValueError, match=message) as refused:
            main(["--out", str(tmp_path / "x"), *wrong])
        assert "\n" not in str(refused.value)


def test_ctrl_c_on_the_command_line_loses_one_step_and_says_one_line(tmp_path):
    running = subprocess.Popen([sys.executable, "-m", "proxyless_lite.search", "--epochs", "500", "--device", "cpu", "--out", str(tmp_path)],
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
    while not (tmp_path / "lock").exists() and running.poll() is None:
        time.sleep(0.1)
    time.sleep(0.5)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130 and re.fullmatch(r"search stopped by Ctrl-C in epoch \d+ after step \d+; run again to resume\n", said), said
    assert pl.runtime.load_checkpoint(tmp_path / "checkpoint.pt")["done"] > 0


@pytest.mark.parametrize("error, code, told", [
    (FloatingPointError("a loss is not finite"), "error: a loss is not finite", ""), (MemoryError(), "error: MemoryError", ""),
    (pl.runtime.OutOfMemory("about 8 would fit"), "error: about 8 would fit", ""), (pl.runtime.LostRank("rank 1 is gone"), "error: rank 1 is gone", ""),
    (KeyError("no entry for x"), "error: no entry for x", ""), (pl.runtime.Stopped("search stopped"), 143, "search stopped\n"),
    (KeyboardInterrupt("search stopped by Ctrl-C"), 130, "search stopped by Ctrl-C\n"), (KeyboardInterrupt(), 130, "stopped; ")], ids=repr)
def test_every_command_ends_in_one_line(error, code, told, capsys):
    def main():
        raise error
    with pytest.raises(SystemExit) as end:
        cli.run(main)
    said = capsys.readouterr().err
    assert end.value.code == code and said.startswith(told) and said.count("\n") == bool(told)
    assert (getattr(sys, "last_value", None) is error) == (not told), "other ranks take the end for good only after a stop"


def test_what_differs_between_two_runs_is_shown_where_it_differs():
    with pytest.raises(ValueError, match="network is '?…a+b' there and '?…a+c' here") as caught:
        pl.runtime.check_same("runs/x", {"network": 300 * "a" + "b"}, {"network": 300 * "a" + "c"})
    assert len(str(caught.value)) < 300


def test_help_shows_the_values_of_every_preset():
    told = " ".join(parser().format_help().split())
    assert "--epochs EPOCHS tree 16, 8, 200; mobile 6, 12, 120" in told and "--blocks BLOCKS tree 1, 1, 18 " in told
    assert "--width WIDTH tree 72, 72, 400; mobile 0.25, 0.5, 1.0" in told and "--images IMAGES tree 2000, 10000, None;" in told


# -- what a safe loader reads -----------------------------------------------------------------------------------------

@pytest.mark.parametrize("field, value, expected", [
    ("lr", np.float64(0.05), 0.05), ("alpha_lr", np.float32(0.5), 0.5), ("weight_decay", np.int64(0), 0), ("epochs", np.arange(3)[2], 2),
    ("seed", np.array(3), 3), ("seed", np.uint8(3), 3), ("momentum", torch.tensor(0.5), 0.5), ("lr", Fraction(1, 2), 0.5), ("lr", 1, 1)])
def test_a_config_holds_plain_numbers(field, value, expected):
    config = pl.SearchConfig(**{field: value})
    found = getattr(config, field)
    assert (found, type(found)) == (expected, type(expected)) and replace(config) == config
    assert type(asdict(replace(config, **{field: value}))[field]) is type(expected)


@pytest.mark.parametrize("make, told", [
    (lambda: pl.SearchConfig(epochs=0.5), r"SearchConfig\(epochs=0.5\): must be an integer"),
    (lambda: pl.SearchConfig(seed=np.float64(3)), r"SearchConfig\(seed=.*3.0.*\): must be an integer"),
    (lambda: pl.SearchConfig(lr="0.1"), r"SearchConfig\(lr='0.1'\): must be a number"),
    (lambda: pl.TrainConfig(lr=None), r"TrainConfig\(lr=None\): must be a number"),
    (lambda: pl.TrainConfig(dropout=1j), r"TrainConfig\(dropout=1j\): must be a number"),
    (lambda: pl.TrainConfig(lr=np.ones((2, 1))), r"TrainConfig\(lr=array\(\[\[1.\], \[1.\]\]\)\): must be a number"),
    (lambda: pl.TrainConfig(seed=torch.ones(2)), r"TrainConfig\(seed=tensor\(.*\): must be an integer"),
    (lambda: pl.TrainConfig(decay_norms="no"), r"TrainConfig\(decay_norms='no'\): must be True or False"),
    (lambda: pl.TrainConfig(lr=math.nan), r"TrainConfig\(lr=nan\): must be above 0"),
    (lambda: pl.TrainConfig(cutout=np.int64(-1)), r"TrainConfig\(cutout=.*-1.*\): must not be negative"),
    (lambda: replace(pl.presets.experiment("quick"), images=0.5), r"Experiment\(images=0.5\): must be an integer"),
    (lambda: replace(pl.presets.experiment("quick"), blocks=None), r"Experiment\(blocks=None\): must be an integer"),
    (lambda: replace(pl.presets.latency("quick"), target="2 ms"), r"LatencyExperiment\(target='2 ms'\): must be a number"),
    (lambda: replace(pl.presets.mobile("quick"), share="80 %"), r"MobileExperiment\(share='80 %'\): must be a number"),
])
def test_what_is_no_plain_number_is_refused_by_name(make, told):
    with pytest.raises(ValueError, match=f"^{told}$") as caught:
        make()
    assert "\n" not in str(caught.value)


def test_the_experiments_hold_plain_numbers():
    tree = replace(pl.presets.experiment("quick"), blocks=np.int64(1), images=np.int32(5))
    mobile = replace(pl.presets.mobile("quick"), width=np.float64(0.5), color_jitter=np.bool_(True), images=None)
    assert str(tree.space()) == "tree(blocks=1, width=72, classes=10, input_size=32)" and type(tree.images) is int
    assert str(mobile.space()).startswith("mobile(width=0.5,") and mobile.color_jitter is True and mobile.images is None
    assert type(replace(pl.presets.latency("quick"), target=np.float32(2)).target) is float
    assert str(replace(mobile, width=1).space()).startswith("mobile(width=1,"), "as the folders of earlier runs have it"


class Keeping(pl.rules.Reinforce):
    """A rule of one's own that keeps a NumPy number."""

    def state_dict(self):
        return {"mean": np.float64(self._mean)}


def test_numpy_numbers_of_a_rule_are_read_again(tmp_path):
    run = lambda: runs.small_search(tmp_path, Keeping(np.int64(2), np.float64(0.9)), epochs=1, warmup_epochs=0)  # noqa: E731
    done = run().run()
    assert run().run().seconds == done.seconds


def test_numpy_numbers_in_a_state_are_saved_as_plain_ones(tmp_path):
    weights = nn.BatchNorm2d(2).state_dict()
    state = {"a": [np.float64(0.5), (np.int64(3), {np.int64(1): np.bool_(True)})], "weights": weights, "size": torch.Size([2])}
    pl.runtime.save_checkpoint(tmp_path / "c.pt", state)
    saved = pl.runtime.load_checkpoint(tmp_path / "c.pt")
    assert_same(saved, {"format": pl.runtime.FORMAT, "a": [0.5, (3, {1: True})], "weights": weights, "size": torch.Size([2])})
    assert saved["weights"]._metadata == weights._metadata and type(state["a"][0]) is np.float64


class Own(dict):
    """A dict that a safe loader does not know."""


@pytest.mark.parametrize("state, told", [
    ({"state": {"rule": {"means": [1.0, np.ones(2)]}}}, "state/rule/means/1 holds a numpy.ndarray"),
    ({"state": {"rule": Own(mean=1.0)}}, rf"state/rule holds a {__name__}.Own")])
def test_a_state_that_could_not_be_read_again_is_refused_and_the_last_one_kept(tmp_path, state, told):
    path = tmp_path / "checkpoint.pt"
    for x in (1, 2):
        pl.runtime.save_checkpoint(path, {"x": x})
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(ValueError, match=f"{path} could not be read back: {told}, which a safe loader refuses; the one before") as caught:
        pl.runtime.save_checkpoint(path, state)
    assert "\n" not in str(caught.value) and {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_file_that_the_disk_has_damaged_does_not_replace_the_last_one(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.pt"
    pl.runtime.save_checkpoint(path, {"x": 1})
    monkeypatch.setattr(os, "fsync", lambda file: os.ftruncate(file, 300))
    with pytest.raises(ValueError, match="could not be read back: .*partial is truncated, damaged or not a checkpoint"):
        pl.runtime.save_checkpoint(path, {"x": 2})
    assert pl.runtime.load_checkpoint(path)["x"] == 1 and [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_whole_file_that_is_refused_is_called_whole_and_kept(tmp_path):
    path, told = tmp_path / "checkpoint.pt", []
    for x in (1, 2):
        pl.runtime.save_checkpoint(path, {"x": x})
    torch.save({"format": pl.runtime.FORMAT, "x": np.float64(3)}, path)
    whole = path.read_bytes()
    assert pl.runtime.load_checkpoint(path, told.append)["x"] == 1
    assert "is intact, but holds what a safe loader does not read (numpy" in told[0] and "\n" not in told[0]
    assert f"kept as {path}.refused" in told[0] and (tmp_path / "checkpoint.pt.refused").read_bytes() == whole
    torch.save({"format": "proxyless_lite checkpoint 2"}, path)
    with pytest.raises(ValueError, match="is not a checkpoint of this version"):
        pl.runtime.load_checkpoint(path)


def test_one_seed_gives_one_search_in_every_process():
    code = ("import torch, proxyless_lite as pl; torch.set_num_threads(1); "
            "space = pl.spaces.chain(edges=2, width=4, input_size=8); config = pl.SearchConfig(epochs=1, batch_size=256, seed=5); "
            "found = pl.Search(space, pl.data.load('digits'), config=config, device='cpu'); found.run(); "
            "print(pl.runtime.digest(*found.net.state_dict().values()))")
    first, second = (subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()[-1] for _ in range(2))
    assert first == second


def test_a_supernets_seed_is_its_own():
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    weights = [torch.cat([p.flatten() for p in pl.SuperNet(pl.spaces.chain(edges=2, width=4), seed=s).parameters()]) for s in (3, 3, 4)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_result_keeps_the_target_of_its_objective_and_the_argmax_beside_it():
    space = pl.spaces.chain(edges=4, width=4, input_size=8)
    costs = pl.objective.costs(space, "macs")
    target = sum(costs.bounds()) / 2
    penalty = pl.objective.LatencyPenalty(costs, 0.0, target, "abs#linear")  # α goes where accuracy is
    found = pl.Search(space, pl.data.load("digits"), config=pl.SearchConfig(epochs=1, batch_size=256, alpha_every=1), device="cpu", objective=penalty)
    result = found.run()
    assert abs(costs.of(result.architecture) / target - 1) <= 0.05
    assert result.architecture == found.net.derive(penalty) and result.most_probable == found.net.derive() != result.architecture
