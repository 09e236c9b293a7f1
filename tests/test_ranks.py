"""Several ranks: the same search as one rank, and what happens when one of them dies or goes astray."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import proxyless_lite as pl
import rank_judges
import rank_runs
from proxyless_lite import runtime
from proxyless_lite.data import InMemoryData

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node")
SCRIPT = str(Path(rank_runs.__file__))


def start(*arguments, world_size=2):
    """Ranks under torchrun; returns (exit status, all they printed, seconds)."""
    began = time.monotonic()
    done = subprocess.run([*TORCHRUN, str(world_size), *map(str, arguments)], capture_output=True, text=True, timeout=300,
                          env={**os.environ, "OMP_NUM_THREADS": "1"})
    return done.returncode, done.stdout + done.stderr, time.monotonic() - began


def largest_difference(a, b):
    assert a.keys() == b.keys()
    return max((a[key].double() - b[key].double()).abs().max().item() for key in a)


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory):
    """The run folder of a whole search on two ranks with synchronised batch norm, 16 images each."""
    out = tmp_path_factory.mktemp("ranks")
    status, said, _ = start(SCRIPT, out)
    assert status == 0, said
    return out


@pytest.mark.slow
def test_two_ranks_of_16_images_equal_one_of_32(two_ranks):
    ends = [torch.load(two_ranks / f"end{rank}.pt", weights_only=True) for rank in range(2)]
    one = rank_runs.search(None, engine=runtime.engine("cpu"))
    history = one.run().history
    assert largest_difference(ends[0]["net"], ends[1]["net"]) == 0
    assert largest_difference(ends[0]["net"], one.net.state_dict()) < 1e-5
    assert ends[0]["history"] == pytest.approx(history["train_loss"].tolist(), abs=1e-5)
    moved = rank_runs.search(None, engine=runtime.engine("cpu")).net.state_dict()
    assert largest_difference(moved, one.net.state_dict()) > 1e-2  # there was something to agree on


@pytest.mark.slow
def test_one_rank_goes_on_with_what_two_left(two_ranks, capsys):
    one = rank_runs.search(two_ranks, engine=runtime.engine("cpu"))
    one.run()
    assert "resuming after 7 of 7 steps" in capsys.readouterr().out
    assert largest_difference(one.net.state_dict(), torch.load(two_ranks / "end0.pt", weights_only=True)["net"]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("fault, told", [
    ("die", ["rank 0 says: rank 0 of 2 lost another rank", "start all ranks again"]),
    ("die while the other waits for its device", ["rank 0 of 2 lost another rank", "start all ranks again"]),
    ("astray", ["rank 0 says: the ranks disagree on the paths", "rank 1 says: the ranks disagree on the paths"]),
    ("weights", ["rank 0 says: the ranks disagree on the weights", "rank 1 says: the ranks disagree on the weights"])])
def test_a_rank_that_is_lost_ends_the_others_with_a_message(tmp_path, fault, told):
    status, said, seconds = start(SCRIPT, tmp_path, fault)
    assert status != 0 and seconds < 120
    assert all(line in said for line in told), said
    assert not (tmp_path / "checkpoint.pt").exists()


@pytest.mark.slow
@pytest.mark.parametrize("world_size", [2, 4])
def test_ranks_judge_as_one_does_whatever_is_left_over(tmp_path, world_size):
    status, said, _ = start(Path(rank_judges.__file__), tmp_path, world_size=world_size)
    assert status == 0, said
    alone = rank_judges.accuracies(runtime.engine("cpu"))
    assert len({one["accuracy"] for one in alone["supernet"]}) > 5  # there is something to agree on
    for rank in range(world_size):
        assert json.loads((tmp_path / f"{world_size}_{rank}.json").read_text()) == alone


@pytest.mark.slow
def test_memory_advice_asks_no_other_rank(tmp_path):
    """One rank alone runs out of memory: what would fit is found without the others, which synchronised batch norms would wait for."""
    status, said, seconds = start(SCRIPT, tmp_path, "memory")
    assert status != 0 and seconds < 120 and "rank 1 says: out of memory in a step of 16 images" in said, said


@pytest.mark.slow
def test_sigterm_to_one_rank_stops_both_after_the_same_step_and_a_restart_goes_on(tmp_path, two_ranks):
    status, said, _ = start(SCRIPT, tmp_path, "term")
    assert status != 0 and "rank 0 says: search stopped by SIGTERM in epoch 0 after step 5" in said
    assert "rank 1 says: search stopped by SIGTERM in epoch 0 after step 5" in said
    status, said, _ = start(SCRIPT, tmp_path)
    assert status == 0 and "resuming after 6 of 7 steps" in said
    stopped, whole = (torch.load(folder / "end0.pt", weights_only=True) for folder in (tmp_path, two_ranks))
    assert largest_difference(stopped["net"], whole["net"]) < 1e-5
    assert stopped["history"] == pytest.approx(whole["history"], abs=1e-6)  # of the steps before the stop, the mean of both ranks


@pytest.mark.slow
def test_the_command_line_runs_on_two_ranks_and_a_notebook_opens_its_folder(tmp_path):
    command = ("-m", "proxyless_lite.search", "--space", "mobile", "--width", "0.1", "--data", "digits", "--images", "320", "--epochs", "1",
               "--warmup-epochs", "1", "--device", "cpu", "--out", tmp_path)
    status, said, _ = start(*command)
    assert status == 0, said
    assert said.count("searched in") == 1 and (tmp_path / "architecture.json").exists() and (tmp_path / "history.csv").exists()
    alone = subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True, timeout=120)
    assert alone.returncode == 0 and "resuming after" in alone.stdout  # one process reads what two have written


@pytest.mark.slow
def test_a_batch_that_cannot_be_divided_is_refused(tmp_path):
    status, said, _ = start("-m", "proxyless_lite.search", "--preset", "quick", "--batch-size", "63", "--device", "cpu", "--out", tmp_path)
    assert status != 0 and "error: a batch of 63 images cannot be divided among 2 ranks × 1 parts; give a multiple of 2" in said


def test_parts_of_a_batch_add_up():
    whole, parts = (rank_runs.search(None, engine=runtime.engine("cpu", grad_accumulation=n), epochs=1) for n in (1, 4))
    for found in (whole, parts):  # without batch norm's statistics, which each part takes by itself
        for layer in found.net.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.eval()
    assert whole.run().history["train_loss"].tolist() == pytest.approx(parts.run().history["train_loss"].tolist(), abs=1e-5)
    assert largest_difference(whole.net.state_dict(), parts.net.state_dict()) < 1e-5


def test_a_loss_by_itself_cuts_batches_into_equal_parts_only():
    net = pl.SuperNet(pl.spaces.tree(1, 72, input_size=8))
    batch = torch.zeros(4, 3, 8, 8), torch.zeros(4, dtype=torch.long)
    loss = pl.training.batch_loss(net, batch, engine=runtime.engine("cpu", grad_accumulation=3))
    with pytest.raises(ValueError, match="a batch of 4 images cannot be divided among 1 ranks × 3 parts; give a multiple of 3"):
        pl.rules.TwoPath().estimate(net, loss)


def test_a_batch_that_cannot_be_cut_is_refused():
    with pytest.raises(ValueError, match="a batch of 32 images cannot be divided among 1 ranks × 5 parts; give a multiple of 5"):
        rank_runs.search(None, engine=runtime.engine("cpu", grad_accumulation=5))


def test_bfloat16_follows_float32():
    full, half = (rank_runs.search(None, "two_path", runtime.engine("cpu", precision)) for precision in ("float32", "bfloat16"))
    losses = [found.run().history["train_loss"][0] for found in (full, half)]
    assert losses[0] == pytest.approx(losses[1], rel=0.02) and losses[0] != losses[1]
    assert all(p.dtype == torch.float32 for p in half.net.parameters())


def test_only_running_statistics_are_averaged(monkeypatch):
    monkeypatch.setattr(runtime.Engine, "_reduced", lambda engine, tensor, how: tensor + torch.full_like(tensor, 3.0))  # as if the other rank held 3
    module = torch.nn.Sequential(torch.nn.BatchNorm2d(2), torch.nn.InstanceNorm2d(2))
    module.register_buffer("mask", torch.full((2,), torch.finfo(torch.float32).min))
    runtime.Engine(world_size=2).mean_statistics(module)
    assert module[0].running_mean.tolist() == [1.5] * 2 and module[0].running_var.tolist() == [2.0] * 2
    assert module.mask.tolist() == [torch.finfo(torch.float32).min] * 2


@pytest.mark.parametrize("computes, precision", [(True, "bfloat16"), (False, "float32")])
def test_automatic_precision_is_that_which_the_processor_computes_in(monkeypatch, computes, precision):
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: computes, raising=False)
    assert runtime.engine("cpu", "auto").precision == precision
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported")  # an older PyTorch
    assert runtime.engine("cpu", "auto").precision == precision


@pytest.mark.parametrize("settings, told", [
    (dict(precision="float8"), "unknown precision 'float8'; allowed: float32, bfloat16, float16, auto"),
    (dict(precision="float16"), "precision 'float16' is for GPUs; on cpu use float32 or bfloat16"),
    (dict(device="mps"), "device 'mps' asked for, but Apple GPUs are not supported; use cpu"),
    (dict(grad_accumulation=0), "grad_accumulation=0: a batch has at least 1 part")])
def test_engine_settings_out_of_range(settings, told):
    with pytest.raises(ValueError, match=told):
        runtime.engine(**{"device": "cpu"} | settings)


def test_compiled_candidates_compute_the_same():
    plain, compiled = (rank_runs.search(None, "two_path", runtime.engine("cpu", compile=c, activation_checkpointing=c), epochs=1) for c in (False, True))
    try:
        compiled.weight_step(0, compiled.weight_batches[0])
    except Exception as error:  # no C++ compiler: torch.compile cannot be tried
        if "compiler" in str(error).lower() or "g++" in str(error):
            pytest.skip("no C++ compiler here")
        raise
    compiled.alpha_step(compiled.alpha_batches[0])
    plain.weight_step(0, plain.weight_batches[0])
    plain.alpha_step(plain.alpha_batches[0])
    assert largest_difference({k.replace("_orig_mod.", ""): v for k, v in compiled.net.state_dict().items()}, plain.net.state_dict()) < 1e-4


def test_out_of_memory_says_what_would_fit(monkeypatch):
    found = rank_runs.search(None, "two_path", runtime.engine("cpu"))
    kept = found.kept_per_image()
    monkeypatch.setattr(runtime, "free_memory", lambda device: 10 * kept)  # eight of 32 images, with a fifth to spare
    monkeypatch.setattr(found, "step", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("CUDA out of memory.")))
    with pytest.raises(runtime.OutOfMemory, match=r"out of memory in a step of 32 images.* on cpu .* about 8 would fit: give grad_accumulation=4"):
        found.run()


@pytest.mark.parametrize("grad_accumulation, sizes, images, told", [
    (2, (32, 32), 40, "16 images .* about 15 would fit: give grad_accumulation=4"),        # more than now
    (1, (48, 36), 8, "48 images .* about 6 would fit: give grad_accumulation=12"),         # 8 would not divide 36
    (1, (8, 9), 5, "8 images .* about 4 would fit: give a smaller batch size, or a smaller image_size$"),    # no number divides both
    (16, (16, 16), 40, "not even two images.* fit; take a smaller network.* or activation_checkpointing=True"),
    (1, (32, 32), 1, "not even two images of 8×8 pixels fit")])
def test_what_is_proposed_helps_and_is_allowed(monkeypatch, grad_accumulation, sizes, images, told):
    settings = dict(zip(("batch_size", "alpha_batch_size"), sizes))
    found = rank_runs.search(None, "two_path", runtime.engine("cpu", grad_accumulation=grad_accumulation), **settings)
    kept = found.kept_per_image()
    monkeypatch.setattr(runtime, "free_memory", lambda device: images * kept)
    assert re.search(told, found.what_fits())
    if proposed := re.search(r"grad_accumulation=(\d+)", found.what_fits()):
        rank_runs.search(None, "two_path", runtime.engine("cpu", grad_accumulation=int(proposed[1])), **settings)


def out_of_memory(*_):
    raise torch.OutOfMemoryError("CUDA out of memory.")


def test_not_even_two_images_fit(monkeypatch):
    found = rank_runs.search(None, "two_path", runtime.engine("cpu"))
    found.step = found.kept_per_image = out_of_memory
    with pytest.raises(runtime.OutOfMemory, match="^out of memory on cpu: not even two images.* fit; take a smaller network.* or activation_checkpointing=True$"):
        found.run()


def test_evaluation_takes_no_more_images_than_a_part_of_a_batch_and_says_what_would_fit(monkeypatch):
    sizes, eval_batches = [], InMemoryData.eval_batches
    monkeypatch.setattr(InMemoryData, "eval_batches", lambda data, split, size, *ranks: sizes.append(size) or eval_batches(data, split, size, *ranks))
    for parts in (1, 4):
        engine = runtime.engine("cpu", grad_accumulation=parts)
        network = rank_runs.search(None, "two_path", engine).run().architecture
        data = rank_runs.search(None).data
        pl.train(network, data, pl.TrainConfig(epochs=1, batch_size=32, cutout=0), device=engine)
    assert sizes == [250, 250, 8, 8]
    monkeypatch.setattr(InMemoryData, "eval_batches", out_of_memory)
    for run in (rank_runs.search(None, "two_path", runtime.engine("cpu")).run,
                lambda: pl.train(network, data, pl.TrainConfig(epochs=1, batch_size=32, cutout=0), device="cpu")):
        with pytest.raises(runtime.OutOfMemory, match="out of memory in a step of 32 images.* on cpu .* grad_accumulation=2"):
            run()


def test_statistics_are_averaged_over_ranks_also_without_a_folder(monkeypatch):
    averaged = []
    monkeypatch.setattr(runtime.Engine, "mean_statistics", lambda engine, module: averaged.append(module))
    found = rank_runs.search(None, "two_path", runtime.engine("cpu"))
    found.run()
    assert averaged == [found.net]


def test_a_real_lack_of_memory_is_noticed():
    code = ("import resource, torch, proxyless_lite as pl; from proxyless_lite.search.forecast import made_up; torch.set_num_threads(1); "
            "net, data = pl.SuperNet(pl.spaces.mobile(0.25, 10, 96)), made_up(10, 96, 500); "
            "found = pl.Search(net, data, config=pl.SearchConfig(epochs=1, batch_size=500), device='cpu'); "  # takes over 1 GB
            "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize(); "
            "resource.setrlimit(resource.RLIMIT_AS, (used + (300 << 20),) * 2); found.run()")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(SCRIPT).parents[1], timeout=120)
    assert "OutOfMemory: out of memory in a step of 500 images of 96×96 pixels on cpu" in done.stderr, done.stderr[-2000:]


def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path):
    """A limit on file sizes stands for a full disk: the write fails half way."""
    rank_runs.search(tmp_path, "two_path", runtime.engine("cpu"), epochs=1).run()
    before = (tmp_path / "checkpoint.pt").read_bytes()
    code = (f"import sys, resource; sys.path.insert(0, 'tests'); import rank_runs; from proxyless_lite import runtime; "
            f"found = rank_runs.search({str(tmp_path)!r}, 'two_path', runtime.engine('cpu'), epochs=1); found.loop.resume(); found.loop.done -= 1; "
            f"resource.setrlimit(resource.RLIMIT_FSIZE, ({len(before) // 2},) * 2); found.loop.save()")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(SCRIPT).parents[1], timeout=120)
    assert done.returncode == 1 and "File too large" in done.stderr
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_a_folder_that_cannot_be_written_to_stops_before_the_first_step(tmp_path):
    (tmp_path / "file").write_text("")
    found = rank_runs.search(tmp_path / "file/run", "two_path", runtime.engine("cpu"))
    found.step = None  # any step would fail
    with pytest.raises(OSError, match="folder .*file/run cannot be written to .*; choose another"):
        found.run()


