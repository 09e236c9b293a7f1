"""The path of a GPU, without one: on a pretended GPU (see pretend_gpu.py) searches and trainings compute what they do on the CPU,
break no rule of devices, and wait for nothing that they need not wait for."""

import os
import signal
from dataclasses import replace

import pandas as pd
import pytest
import torch
from torch.testing import assert_close

import proxyless_lite as pl
from pretend_gpu import PretendGPU
from proxyless_lite import objective, rules, runtime
from proxyless_lite.latency.clocks import Cuda
from proxyless_lite.search.forecast import made_up
from proxyless_lite.training.train import DropPath, Training

SPACES = {"chain": lambda: pl.spaces.chain(edges=3, width=8, input_size=8), "tree": lambda: pl.spaces.tree(1, 72, input_size=8),
          "mobile": lambda: pl.spaces.mobile(0.1, 10, 8, stages=pl.spaces.MOBILE_STAGES[:3])}
FEW = pl.SearchConfig(epochs=1, warmup_epochs=1, batch_size=64, alpha_batch_size=32, alpha_every=2, alpha_lr=0.05, lr=0.05, warmup_lr=0.05)


@pytest.fixture(scope="module")
def images():
    return pl.data.load("digits", limit=300)


@pytest.fixture
def gpu():
    with PretendGPU() as gpu:
        yield gpu


def search(images, device, space="chain", rule="two_path", config=FEW, out=None, form=None, **engine):
    """A Search, with a cost in the loss or reward if a form is given."""
    torch.manual_seed(0)
    space = SPACES[space]()
    costs, goal = objective.costs(space, "macs"), None
    if form:
        target = costs.expected_under(torch.full_like(costs.matrix, 1 / costs.matrix.shape[1])).item()
        penalty, reward = objective.LatencyPenalty(costs, 0.1, target, form, over="all" if form == "linear" else "pair"), objective.Reward(costs, target)
        goal = {"reinforce": reward, "combined": (penalty, reward)}.get(rule, penalty)
    return pl.Search(pl.SuperNet(space), images, rules.BY_NAME[rule](), config, out, runtime.engine(device, **engine), goal)


def state(found):
    """All weights, statistics and α of a search, on the CPU."""
    return {name: value.detach().to("cpu", torch.float64) for name, value in found.net.state_dict().items()}


def assert_equal_to_the_cpus(images, gpu_run, **settings):
    """The whole search ends where it does on the CPU. (The fused optimizer rounds differently, which Adam makes more of in α.)"""
    with runtime.silently():
        gpu_run.run()
        on_cpu = search(images, "cpu", **settings)
        on_cpu.run()
    assert {str(p.device) for p in gpu_run.net.weight_parameters()} == {"cuda:0"}
    assert_close(state(gpu_run), state(on_cpu), rtol=1e-2, atol=1e-3)
    moved = search(images, "cpu", **settings)
    assert (moved.net.probability_matrix() - on_cpu.net.probability_matrix()).abs().max() > 0.003  # there was something to agree on


@pytest.mark.parametrize("space, rule, form", [
    ("chain", "two_path", None), pytest.param("tree", "two_path", "mul#log", marks=pytest.mark.slow), ("mobile", "two_path", "linear"), ("chain", "exact", "add#linear"),
    ("chain", "trapezoid", "abs#linear"), ("chain", "reinforce", "linear"), ("chain", "combined", "mul#log"), ("tree", "trapezoid", None)])
def test_a_search_is_the_cpus(images, gpu, space, rule, form):
    settings = dict(space=space, rule=rule, form=form)
    assert_equal_to_the_cpus(images, search(images, None, **settings), **settings)


@pytest.mark.parametrize("engine", [dict(activation_checkpointing=True), dict(grad_accumulation=2), dict(activation_checkpointing=True, precision="bfloat16")], ids=str)
def test_memory_savers_compute_the_same(images, gpu, engine):
    assert_equal_to_the_cpus(images, search(images, "cuda", **engine), **engine)


def test_crops_and_colours_are_the_cpus(gpu):
    images = replace(made_up(10, 12, 160), crop=8, color_jitter=True)
    assert_equal_to_the_cpus(images, search(images, "cuda"))


@pytest.mark.parametrize("rule", rules.BY_NAME)
@pytest.mark.parametrize("form", [None, "linear", "mul#log"])
def test_the_host_waits_once_in_an_alpha_step_and_never_in_a_weight_step(images, gpu, rule, form):
    found = search(images, "cuda", rule=rule, form=form)
    for found.loop.done in range(2):  # what is done once only
        found.weight_step(0, found.weight_batches[found.loop.done])
        found.alpha_step(found.alpha_batches[found.loop.done])
    gpu.clear()
    batch, other = found.weight_batches[2], found.alpha_batches[2]
    found.weight_step(0, batch)
    found.loop.check_finite(0)
    assert gpu.waits == []
    found.alpha_step(other)
    found.loop.check_finite(0)
    assert [kind for kind, *_ in gpu.waits] == ["D2H"]


def test_the_check_of_what_has_not_arrived_waits_neither_and_is_made_up_for(images, gpu):
    found = search(images, "cuda")
    gpu.events_done = False
    gpu.clear()
    found.loop.record("train_", {"loss": torch.tensor(float("nan"), device="cuda")})
    found.loop.done = 7
    found.loop.check_finite(0)  # not known yet
    assert [kind for kind, *_ in gpu.waits] == ["H2D"]  # of the test's own number
    gpu.events_done = True
    with pytest.raises(FloatingPointError, match="train_loss is not finite at epoch 0, step 0"):
        found.loop.check_finite(0)
    found.loop.record("train_", {"loss": torch.tensor(float("inf"), device="cuda")})
    gpu.events_done = False
    with pytest.raises(FloatingPointError, match="train_loss is not finite at epoch 0, step 7"):
        found.loop.check_finite(0, wait=True)


def test_an_alpha_that_would_be_spoilt_is_noticed_before_the_next_draw(images, gpu):
    found = search(images, "cuda")
    gpu.events_done = False
    found.loop.record("valid_", {"loss": torch.tensor(float("nan"))})  # α steps end on the host
    with pytest.raises(FloatingPointError, match="valid_loss"):
        found.loop.check_finite(0)


def test_a_stopped_search_resumes_on_the_gpu_and_its_checkpoint_on_the_cpu(images, gpu, tmp_path):
    config = replace(FEW, epochs=2, warmup_epochs=0)
    with runtime.silently():
        whole, stopped = search(images, "cuda", config=config), search(images, "cuda", config=config, out=tmp_path)
        whole.run()
        step = stopped.step
        stopped.step = lambda epoch, index: step(epoch, index) if epoch == 0 else (_ for _ in ()).throw(KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            stopped.run()
        on_cpu = search(images, "cpu", config=config, out=tmp_path)
        on_cpu.loop.resume()
        on_cpu.loop.lock.close()
        assert_close(state(on_cpu), state(stopped), rtol=0, atol=0)
        again = search(images, "cuda", config=config, out=tmp_path)
        again.run()
    assert_close(state(again), state(whole), rtol=0, atol=0)
    on_cpu.loop.go_on()
    assert_close(state(on_cpu), state(whole), rtol=1e-3, atol=1e-4)


def test_a_search_stopped_within_an_epoch_resumes_on_the_gpu(images, gpu, tmp_path):
    """After an α step, whose metrics are on the host: the meters of the epoch then come from two devices."""
    config = replace(FEW, warmup_epochs=0, alpha_every=1)
    with runtime.silently():
        whole, stopped = search(images, "cuda", config=config), search(images, "cuda", config=config, out=tmp_path)
        whole.run()
        step = stopped.step

        def step_and_signal(epoch, index):
            step(epoch, index)
            if stopped.alpha_steps == 1:
                os.kill(os.getpid(), signal.SIGTERM)
        stopped.step = step_and_signal
        with pytest.raises(runtime.Stopped):
            stopped.run()
        again = search(images, "cuda", config=config, out=tmp_path)
        again.run()
    assert stopped.loop.done < whole.loop.done and stopped.alpha_steps < whole.alpha_steps, "stopped within the epoch, and an α step was left"
    assert_close(state(again), state(whole), rtol=0, atol=0)
    pd.testing.assert_frame_equal(again.history()[["train_loss", "valid_loss"]], whole.history()[["train_loss", "valid_loss"]])


# -- precision ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_weights_learn_in_half_precision_and_alpha_in_full(images, gpu, precision):
    half, full = (search(images, "cuda", precision=p) for p in (precision, "float32"))
    seen = {found: [] for found in (half, full)}
    for found, dtypes in seen.items():
        for layer in found.net.modules():
            if isinstance(layer, torch.nn.Conv2d):
                layer.register_forward_hook(lambda *given, dtypes=dtypes: dtypes.append(given[-1].dtype))
    gradients = []
    for found in (half, full):
        loss = pl.training.batch_loss(found.net, found.alpha_batches[0], engine=found.engine)
        gradients.append(found.rule.estimate(found.net, loss, torch.Generator().manual_seed(0))[0].cpu())
    assert torch.equal(*gradients) and {*seen[half]} == {torch.float32}  # α
    seen[half].clear()
    for found in (half, full):
        found.weight_step(0, found.weight_batches[0])
    assert {*seen[half]} == {getattr(torch, precision)}
    a, b = (torch.cat([p.detach().cpu().flatten() for p in found.net.weight_parameters()]) for found in (half, full))
    assert all(p.dtype == torch.float32 for p in half.net.parameters()) and not torch.equal(a, b)
    moved = search(images, "cuda")
    start = torch.cat([p.detach().cpu().flatten() for p in moved.net.weight_parameters()])
    assert torch.cosine_similarity(a - start, b - start, dim=0) > 0.99


def test_stand_ins_give_what_autocast_gives(images, gpu):
    with_, without = (search(images, "cuda", precision="bfloat16") for _ in range(2))
    without.trainer.half = None
    for found in (with_, without):
        gpu.clear()
        for found.loop.done in range(3):
            found.weight_step(0, found.weight_batches[found.loop.done])
        found.launches = gpu.launches.total()
    assert_close(state(with_), state(without), rtol=0, atol=0)
    assert with_.launches < without.launches - 3 * 15
    plain, parts = (search(images, "cuda", precision="bfloat16", grad_accumulation=n) for n in (1, 2))
    for found in (plain, parts):  # without batch statistics, parts add up
        for layer in found.net.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.eval()
        found.weight_step(0, found.weight_batches[0])
    assert_close(state(plain), state(parts), rtol=1e-2, atol=1e-3)


@pytest.mark.slow
def test_float16_leaves_out_a_step_that_overflows_and_keeps_its_scale(images, gpu, tmp_path):
    config = replace(FEW, batch_size=4)
    found = search(images, "cuda", config=config, precision="float16", out=tmp_path)
    found.trainer.scaler.scale(torch.zeros((), device="cuda"))  # makes the scale
    found.trainer.scaler._scale.fill_(1e38)
    before = state(found)
    found.weight_step(0, found.weight_batches[0])
    weights = [name for name, _ in found.net.named_parameters()]
    assert all(torch.equal(before[name], state(found)[name]) for name in weights)
    assert found.trainer.scaler.get_scale() == pytest.approx(5e37)
    found.loop.resume()
    found.loop.save()
    found.loop.lock.close()
    again = search(images, "cuda", config=config, precision="float16", out=tmp_path)
    again.loop.resume()
    again.loop.lock.close()
    assert again.trainer.scaler.get_scale() == pytest.approx(5e37)
    found.trainer.scaler._scale.fill_(1024.0)
    found.weight_step(0, found.weight_batches[1])
    assert not all(torch.equal(before[name], state(found)[name]) for name in weights)


def test_what_the_card_cannot_compute_is_refused_by_name(gpu, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: "Tesla T4")
    with pytest.raises(ValueError, match="^Tesla T4 does not compute in bfloat16; use float16 or float32$"):
        runtime.engine("cuda", "bfloat16")
    assert runtime.engine(None, "float16").device == torch.device("cuda", 0)


# -- training, clocks, forecast -----------------------------------------------------------------------------------------


def training(images, graphed=True, **changes):
    torch.manual_seed(0)
    space = SPACES["tree"]()
    network = pl.Architecture(space, tuple(edge.candidates[i % len(edge.candidates)] for i, edge in enumerate(space.edges())))
    config = replace(pl.TrainConfig(epochs=4, batch_size=64, cutout=2, drop_path=0.3, label_smoothing=0.1), **changes)
    found = Training(network.build(), images, config, None, "cuda", "x", "train")
    if not graphed:
        found.trainer.graphed = None
    return found


@pytest.mark.parametrize("small", [0, 0.6])
def test_a_captured_training_is_the_one_that_is_launched_kernel_by_kernel(images, gpu, small):
    ends = []
    for graphed in (True, False):
        found = training(images, graphed, small_images=small)
        with runtime.silently():
            ends.append((found.run().history.train_loss.tolist(), {k: v.cpu() for k, v in found.model.state_dict().items()}))
        assert isinstance(found.trainer.graphed, runtime.Graphed) == graphed
    assert ends[0][0] == ends[1][0]
    assert_close(ends[0][1], ends[1][1], rtol=0, atol=0)


def test_a_training_step_launches_one_graph_and_waits_for_nothing(images, gpu):
    found = training(images)
    for found.loop.done in range(5):
        found.step(0, found.loop.done)
    gpu.clear()
    found.loop.done = 5
    found.step(0, 5)
    assert gpu.waits == [] and gpu.launches["graph"] == 1 and gpu.launches.total() < 120


def test_a_network_that_cannot_be_captured_trains_all_the_same(images, gpu, capsys):
    found = training(images)
    found.model.head[0].register_forward_hook(lambda layer, x, y: y * (1 + 0 * y.sum().item()))  # waits
    for found.loop.done in range(5):
        found.step(0, found.loop.done)
    assert "without a CUDA graph" in capsys.readouterr().out and all(p.grad is None for p in found.model.parameters())


def test_drop_path_drops_by_a_rate_that_may_change(gpu):
    layer = DropPath(0.0, "row")
    layer.p = torch.zeros((), device="cuda")
    x = torch.ones(4000, 2, 3, 3, device="cuda")
    for rate in (0.0, 0.25, 0.6):
        layer.p.fill_(rate)
        kept = layer.train()(x).cpu()[:, 0, 0, 0]
        assert {*kept.tolist()} <= {0.0, kept.max().item()} and kept.max().item() == pytest.approx(1 / (1 - rate))
        assert (kept == 0).float().mean().item() == pytest.approx(rate, abs=0.03) and kept.mean().item() == pytest.approx(1, abs=0.06)
        assert torch.equal(layer.eval()(x).cpu(), x.cpu())
    layer.mode = "batch"
    layer.train()
    assert {len({*layer(x).cpu().flatten().tolist()}) for _ in range(20)} == {1}


def test_a_clock_times_a_block(gpu):
    run = Cuda().prepare(torch.nn.Conv2d(3, 8, 3), (2, 3, 8, 8))
    gpu.clear()
    assert run() == 1e-3 and gpu.launches["graph"] == 3  # of the pretended events; the GPU is busy when the one that counts is launched
    assert [operation for _, operation, _ in gpu.waits] == ["Event.synchronize"]


def test_a_forecast_runs_along_several_paths_all_of_which_have_run_before(images, gpu, monkeypatch):
    found, timed, paths, before = search(images, "cuda"), [], [], set()
    sample = pl.SuperNet.sample

    def drawn(net, generator=None):
        path = tuple(sample(net, generator))
        (paths if timed else before).__getattribute__("append" if timed else "add")(path)
        return list(path)

    def clocked(device, run):
        timed.append(True)
        run()
        timed.pop()
        return 1.0
    monkeypatch.setattr(pl.SuperNet, "sample", drawn)
    monkeypatch.setattr("proxyless_lite.search.timing.timed", clocked)
    found.forecast(4)
    assert len({*paths}) > 1 and {*paths} <= before


def test_memory_is_that_of_the_run_alone(images, gpu, monkeypatch):
    calls = []
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device=None: calls.append("reset"))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device=None: calls.append("peak") or 5_000_000)
    found = search(images, "cuda", config=replace(FEW, warmup_epochs=0))
    copied = sum(t.numel() * t.element_size() for t in found.net.state_dict().values())
    assert found.forecast()["memory"] == pytest.approx(5 - copied / 1e6)
    with runtime.silently():
        found.run()
    assert calls == ["reset", "peak", "reset", "peak"]


def test_channels_stay_last_through_a_shuffle():
    x = torch.randn(4, 8, 6, 6).to(memory_format=torch.channels_last)
    assert not torch.ops.aten.native_channel_shuffle.default.decompose(x, 2).is_contiguous(memory_format=torch.channels_last)  # PyTorch's on CUDA
    ours = pl.ops.shuffled(x, 2)
    assert torch.equal(ours, torch.nn.ChannelShuffle(2)(x)) and ours.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.slow
def test_a_step_of_the_papers_tree_issues_few_operations(gpu):
    """On two images and few channels: the operations are as many as in tree(18, 400)."""
    torch.manual_seed(0)
    config = replace(FEW, batch_size=2, alpha_batch_size=2)
    found = pl.Search(pl.SuperNet(pl.spaces.tree(18, 72)), made_up(10, 32, 8), config=config, device=runtime.engine("cuda", "bfloat16"))
    batches = [found.weight_batches[i] for i in range(2)]
    gpu.clear()
    found.alpha_step(batches[0])
    assert gpu.launches.total() <= 9000
    found.weight_step(0, batches[0])  # starts momenta
    gpu.clear()
    found.weight_step(0, batches[1])
    assert gpu.launches.total() <= 6000
