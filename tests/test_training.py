"""Training of compact networks, the random baseline and small helpers."""

import copy
import math
import multiprocessing
from dataclasses import asdict, replace

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from torchvision.ops import StochasticDepth

import proxyless_lite as pl
from proxyless_lite.config import ChoiceConfig, described
from proxyless_lite.costs import candidate_macs
from proxyless_lite.training.loop import cosine
from proxyless_lite.training.train import Training, cutout, shrunk

FEW = dict(epochs=3, batch_size=128, lr=0.05, cutout=2, drop_path=0.1)


@pytest.fixture(scope="module")
def architecture():
    torch.manual_seed(0)
    return pl.SuperNet(pl.spaces.tree(1, 72, input_size=8)).derive()


def test_training_learns_and_is_a_function_of_its_seed(architecture):
    data = pl.data.load("digits")
    first, again = (pl.train(architecture, data, pl.TrainConfig(**FEW), device="cpu") for _ in range(2))
    assert first.test_accuracy == again.test_accuracy > 0.5
    assert first.history.train_loss.iloc[-1] < first.history.train_loss.iloc[0]
    other = pl.train(architecture, data, pl.TrainConfig(**FEW, seed=1), device="cpu")
    assert other.history.train_loss.tolist() != first.history.train_loss.tolist()


def test_interrupted_training_ends_with_the_same_bits(architecture, tmp_path):
    data, config = pl.data.load("digits"), pl.TrainConfig(**FEW)
    whole = pl.train(architecture, data, config, tmp_path / "a", "cpu")
    stopped = Training(architecture.build(), data, config, tmp_path / "b", "cpu", "x", "train")
    pl.train(architecture, data, config, tmp_path / "b", "cpu")
    state = pl.runtime.load_checkpoint(tmp_path / "b/checkpoint.pt.previous")
    assert state["done"] == 2 * stopped.loop.steps_per_epoch
    (tmp_path / "b/checkpoint.pt").unlink()
    resumed = pl.train(architecture, data, config, tmp_path / "b", "cpu")
    for a, b in zip(whole.model.state_dict().values(), resumed.model.state_dict().values()):
        assert torch.equal(a, b)
    assert resumed.history.train_loss.tolist() == whole.history.train_loss.tolist()


def test_another_module_of_the_same_class_is_not_resumed(tmp_path):
    data = pl.data.load("digits")
    train = lambda activation: pl.train(torch.nn.Sequential(activation, torch.nn.Flatten(), torch.nn.Linear(192, 10)), data, pl.TrainConfig(**FEW), tmp_path, "cpu")
    done = train(torch.nn.ReLU())
    assert train(torch.nn.ReLU()).seconds == done.seconds
    with pytest.raises(ValueError, match="another configuration: network is"):
        train(torch.nn.Tanh())


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_frozen_weights_stay(precision):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
    model[0].requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    pl.train(model, pl.data.load("digits", limit=200), pl.TrainConfig(**FEW | {"epochs": 1}), device=pl.runtime.engine("cpu", precision))
    same = {key: torch.equal(value, before[key]) for key, value in model.state_dict().items()}
    assert same == {"0.weight": True, "0.bias": True, "3.weight": False, "3.bias": False}


def test_going_on_from_other_weights_is_told(tmp_path, caplog):
    def train(seed, out="a"):
        torch.manual_seed(seed)
        return pl.train(nn.Sequential(nn.Flatten(), nn.Linear(192, 10)), pl.data.load("digits"), pl.TrainConfig(**FEW), tmp_path / out, "cpu")
    train(0), train(0), train(1, "b")
    assert not [each for each in caplog.records if each.levelname == "WARNING"]
    train(1)
    assert [each.message for each in caplog.records if each.levelname == "WARNING"] == [
        f"train: {tmp_path / 'a'} resumes a training that started from other weights; choose another folder to train from these"]


def test_a_module_with_dropout_goes_on_in_the_same_object(tmp_path, caplog):
    """As in a notebook whose cell is run again: the training has set the rates of the module's layers, and its weights."""
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), StochasticDepth(0.2, "row"), nn.Linear(192, 10))
    first, again = (pl.train(model, pl.data.load("digits"), pl.TrainConfig(**FEW), tmp_path, "cpu") for _ in range(2))
    assert first.history.equals(again.history) and not [each for each in caplog.records if each.levelname == "WARNING"]
    other = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), StochasticDepth(0.2, "batch"), nn.Linear(192, 10, bias=False))
    with pytest.raises(ValueError, match="belongs to another configuration: network"):
        pl.train(other, pl.data.load("digits"), pl.TrainConfig(**FEW), tmp_path, "cpu")


@pytest.mark.parametrize("place", ["to", "full_train"])
def test_images_that_do_not_fit_onto_the_device_are_told(monkeypatch, place):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")
    monkeypatch.setattr(pl.data.InMemoryData, place, full if place == "to" else property(full))
    told = "the images of digits do not fit onto cpu; load them with workers or pack"
    with pytest.raises(pl.runtime.OutOfMemory, match=told):
        pl.train(nn.Sequential(nn.Flatten(), nn.Linear(192, 10)), pl.data.load("digits"), pl.TrainConfig(**FEW), device="cpu")
    if place == "to":
        with pytest.raises(pl.runtime.OutOfMemory, match=told):
            pl.Search(pl.spaces.chain(edges=1, width=4), pl.data.load("digits"), device="cpu")


def test_a_network_of_3d_convolutions_is_placed():
    net = pl.runtime.engine("cpu").prepare(nn.Sequential(nn.Conv3d(3, 4, 3), nn.BatchNorm3d(4)))
    assert net(torch.zeros(1, 3, 4, 4, 4)).shape == (1, 4, 2, 2, 2)


def test_a_backward_that_fails_in_half_precision_leaves_nothing_for_the_next():
    layer = nn.Linear(4, 1)
    half = pl.runtime.HalfWeights(layer, torch.bfloat16)
    with pytest.raises(RuntimeError, match="stop"), half.instead_of(list(layer.parameters())):
        layer(torch.ones(1, 4, dtype=torch.bfloat16)).sum().backward()
        raise RuntimeError("stop")
    with half.instead_of(list(layer.parameters())):
        layer(torch.ones(1, 4, dtype=torch.bfloat16)).sum().backward()
    assert layer.weight.grad.tolist() == [[1.0] * 4]


def test_droppath_is_scheduled_and_off_in_evaluation(architecture):
    data = pl.data.load("digits")
    training = Training(architecture.build(), data, pl.TrainConfig(**FEW), None, "cpu", "x", "train")
    drops = [m for m in training.model.modules() if isinstance(m, StochasticDepth)]
    seen = []
    step = training.step
    training.step = lambda *where: (step(*where), seen.append(float(drops[0].p)))
    report = training.run()
    assert len(drops) == 6 and seen[0] == 0 and seen == sorted(seen) and 0.09 < seen[-1] < 0.1
    images, _ = data.batch(data.test, torch.arange(8))
    assert torch.equal(report.model(images), report.model(images))


def test_a_network_trained_again_without_drop_path_drops_nothing(architecture):
    data, few = pl.data.load("digits", limit=200), FEW | dict(epochs=1, batch_size=64)
    model = pl.train(architecture.build(), data, pl.TrainConfig(**few), device="cpu").model
    theirs = torch.nn.Sequential(StochasticDepth(0.9, "row"), torch.nn.Flatten(), torch.nn.Linear(192, 10))
    for network in (model, theirs):
        assert any(layer.p > 0 for layer in network.modules() if isinstance(layer, StochasticDepth))
        again = Training(network, data, pl.TrainConfig(**few | dict(drop_path=0.0)), None, "cpu", "x", "train")
        again.step(0, 0)
        assert all(layer.p == 0 and type(layer) is StochasticDepth for layer in network.modules() if isinstance(layer, StochasticDepth))


def test_weights_and_norms_follow_the_same_cosine(architecture):
    config = pl.TrainConfig(**FEW, decay_norms=False)
    training = Training(architecture.build(), pl.data.load("digits"), config, None, "cpu", "x", "train")
    seen, step = [], training.step
    training.step = lambda *where: (step(*where), seen.append([group["lr"] for group in training.optimizer.param_groups]))
    training.run()
    assert seen == [[cosine(0.05, i, len(seen))] * 2 for i in range(len(seen))] and seen[-1][1] < 0.001 < seen[0][1]


def test_cutout_blanks_a_square_of_the_right_size():
    images = torch.ones(2000, 1, 16, 16)
    blank = (cutout(images, 4, torch.Generator().manual_seed(0)) == 0).sum((1, 2, 3))
    assert blank.max() == 16 and blank.min() >= 4  # cut at the border at most to a quarter
    full = cutout(images, 4, torch.Generator().manual_seed(0))[blank == 16][0, 0] == 0
    rows, columns = full.any(1).nonzero()[:, 0], full.any(0).nonzero()[:, 0]
    assert rows.tolist() == list(range(rows[0], rows[0] + 4)) and columns.tolist() == list(range(columns[0], columns[0] + 4))


def test_cosine_goes_from_lr_to_zero():
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20)
    for step in range(21):
        assert cosine(0.1, step, 20) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-12)
        optimizer.step()
        theirs.step()


@pytest.mark.parametrize("total, rise", [(20, 0.25), (1000, 0.1), (7, 0.5), (40, 0.025)])
def test_cosine_first_rises_to_lr_and_then_falls_to_zero(total, rise):
    rates, peak = [cosine(0.3, done, total, rise) for done in range(total)], rise * total
    assert 0 < rates[0] == pytest.approx(0.3 / (peak + 1)) and rates.index(max(rates)) in (int(peak), int(peak) + 1)
    assert cosine(0.3, peak, total, rise) == 0.3 >= max(rates) > 0.3 * (1 - 1 / total)
    assert cosine(0.3, peak - 1e-9, total, rise) == pytest.approx(0.3) == cosine(0.3, peak + 1e-9, total, rise), "continuous"
    assert all(a < b for a, b in zip(rates, rates[1:int(peak)])) and all(a > b for a, b in zip(rates[int(peak) + 1:], rates[int(peak) + 2:]))
    assert rates[-1] < 0.3 * 4 / total and cosine(0.3, total, total, rise) == pytest.approx(0, abs=1e-15)


def test_without_a_rise_cosine_is_the_plain_one_to_the_last_bit():
    for total in (1, 3, 20, 977):
        assert [cosine(0.1, i, total) for i in range(total + 1)] == [0.5 * 0.1 * (1 + math.cos(math.pi * i / total)) for i in range(total + 1)]
        assert [cosine(0.1, i, total, 0.0) for i in range(total)] == [cosine(0.1, i, total) for i in range(total)]


def test_a_training_follows_the_rise_of_its_config():
    data, config = pl.data.load("digits", limit=200), pl.TrainConfig(epochs=2, batch_size=40, lr=0.2, rise=0.3, cutout=0, drop_path=0.0)
    training = Training(nn.Sequential(nn.Flatten(), nn.Linear(192, 10)), data, config, None, "cpu", "x", "train")
    seen, step = [], training.step
    training.step = lambda *where: (step(*where), seen.append(training.optimizer.param_groups[0]["lr"]))
    training.run()
    assert seen == [cosine(0.2, i, 10, 0.3) for i in range(10)] and seen[3] == 0.2 == max(seen)


def test_the_first_share_of_the_steps_sees_small_images():
    data, sizes = pl.data.load("digits", limit=200), []
    config = pl.TrainConfig(epochs=2, batch_size=40, small_images=0.55, cutout=0, drop_path=0.0)
    model = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * data.shape[0], 10))
    model.register_forward_pre_hook(lambda layer, x: sizes.append(tuple(x[0].shape[2:])) if layer.training else None)
    task = Training(model, data, config, None, "cpu", "x", "train")
    task.run()
    small = math.ceil(0.55 * task.loop.total)
    assert sizes == [(6, 6)] * small + [(8, 8)] * (task.loop.total - small)
    assert config.full_epochs == pytest.approx(2 * (0.55 * 36 / 64 + 0.45))
    assert shrunk(torch.full((2, 3, 32, 20), 0.7)).allclose(torch.full((2, 3, 24, 15), 0.7))


def test_a_network_of_one_size_refuses_small_images():
    data = pl.data.load("digits", limit=200)
    fixed = nn.Sequential(nn.Flatten(), nn.Linear(64 * data.shape[0], 10))
    with pytest.raises(ValueError, match=r"does not take images of \(\d, 6, 6\)"):
        pl.train(fixed, data, pl.TrainConfig(epochs=1, small_images=0.5, cutout=0))


def test_networks_trained_side_by_side_are_those_trained_one_after_another(tmp_path, capsys):
    data, config = pl.data.load("digits", limit=300), pl.TrainConfig(epochs=2, batch_size=40, cutout=0, drop_path=0.0)
    architecture = pl.SuperNet(pl.spaces.tree(1, 72, input_size=8)).derive()
    with pl.runtime.threads(1):
        deep = nn.Sequential(nn.Flatten(), nn.Linear(192, 20), nn.ReLU(), nn.Linear(20, 10))
        networks = {"a net": deep, "b/1": nn.Sequential(nn.Flatten(), nn.Linear(192, 10)), "found": architecture}
        expected = {label: pl.train(copy.deepcopy(network), data, config, device="cpu") for label, network in networks.items()}
    capsys.readouterr()
    found = pl.train_all(networks, data, config, tmp_path, "cpu", workers=2)
    assert all(f"{label} 100 %" in shown for shown in [capsys.readouterr().out] for label in found)
    assert list(found) == ["a net", "b/1", "found"] and {p.name for p in tmp_path.iterdir()} == {"a-net", "b-1", "found"}
    assert not any(torch.equal(a, b) for a, b in zip(deep.parameters(), found["a net"].model.parameters())), "a given module stays as it was"
    assert [path.parent.name for path in tmp_path.glob("*/architecture.json")] == ["found"], "a module has none"
    assert pl.Architecture.load(tmp_path / "found/architecture.json") == architecture
    for label, report in found.items():
        assert report.history.train_loss.tolist() == expected[label].history.train_loss.tolist()
        assert_close(report.model.state_dict(), expected[label].model.state_dict(), rtol=0, atol=0)
    again = pl.train_all(networks, data, config, tmp_path, "cpu", workers=1)  # nothing is left to do, whoever trained them
    assert [r.test_accuracy for r in again.values()] == [r.test_accuracy for r in found.values()]


@pytest.mark.parametrize("copies, workers", [(7, 3), (6.9, 2), (4.9, 1), (0, 1)])
def test_so_many_train_side_by_side_as_have_the_memory(monkeypatch, caplog, copies, workers):
    data = pl.data.load("digits", limit=200)
    size = sum(t.nbytes for split in (data.train, data.valid, data.test) for t in (split.images, split.labels))
    monkeypatch.setattr(pl.runtime, "free_memory", lambda device: int(copies * size))
    asked = []
    monkeypatch.setattr(pl.runtime, "pool", lambda start, runs, n: asked.append(n) or [row for run in runs for row in start()(run)])
    networks = {str(i): nn.Sequential(nn.Flatten(), nn.Linear(192, 10)) for i in range(4)}
    found = pl.train_all(networks, data, pl.TrainConfig(epochs=1, cutout=0), device="cpu", workers=3)
    assert [*found] == [*networks] and asked == [workers] * (workers > 1), "one alone trains here, without a copy"
    assert (f"{workers} of 3 networks train at a time" in caplog.text) == (workers < 3)


def test_what_goes_wrong_beside_is_raised_here():
    data = pl.data.load("digits", limit=200)
    networks = {label: nn.Sequential(nn.Flatten(), nn.Linear(192, n)) for label, n in (("good", 10), ("bad", 3))}
    before = multiprocessing.active_children()
    with pytest.raises(ValueError, match="gives .* for an image, but digits has 10 classes") as error:
        pl.train_all(networks, data, pl.TrainConfig(epochs=1, cutout=0), workers=2)
    assert "check_inputs" in str(error.value.__cause__), "with the worker's traceback"
    assert {*multiprocessing.active_children()} <= {*before}


def test_labels_that_name_one_folder_are_refused(tmp_path):
    networks = dict.fromkeys(("lr=+1", "lr=-1"), nn.Linear(2, 2))
    with pytest.raises(ValueError, match="name the same folder"):
        pl.train_all(networks, pl.data.load("digits", limit=200), out=tmp_path)


def test_a_description_leaves_out_what_is_off_and_was_added_later():
    later = {"rise": 0.1, "small_images": 0.5}
    plain, changed = asdict(pl.TrainConfig()), pl.TrainConfig(**later)
    assert described(pl.TrainConfig()) == {name: value for name, value in plain.items() if name not in later}
    assert described(changed) == asdict(changed) == {**plain, **later}
    choice = described(ChoiceConfig(train=changed))
    assert choice | {"from_shared": True, "together": 1, "explored": 0.5, "most_macs": False} == asdict(ChoiceConfig(train=changed)) and not {*later} & {*described(ChoiceConfig())["train"]}
    assert "from_shared" not in choice and described(ChoiceConfig(from_shared=False))["from_shared"] is False


def test_a_folder_written_before_there_was_a_rise_is_resumed(tmp_path):
    data, config = pl.data.load("digits", limit=200), pl.TrainConfig(epochs=1, batch_size=40, lr=0.2, cutout=0, drop_path=0.0)
    train = lambda config: pl.train(nn.Sequential(nn.Flatten(), nn.Linear(192, 10)), data, config, tmp_path, "cpu")
    done = train(config)
    identity = pl.runtime.load_checkpoint(tmp_path / "checkpoint.pt")["identity"]
    earlier = {"epochs", "batch_size", "lr", "momentum", "weight_decay", "label_smoothing", "cutout", "drop_path", "dropout", "decay_norms", "seed"}
    assert set(identity) == earlier | {"run", "steps an epoch", "network", "data", "images"}
    assert train(config).seconds == done.seconds
    with pytest.raises(ValueError, match="another configuration: rise is None there and 0.1 here"):
        train(replace(config, rise=0.1))


@pytest.mark.parametrize("rise", [-0.1, 1.0, math.nan])
def test_a_rise_out_of_range_is_named(rise):
    with pytest.raises(ValueError, match=f"TrainConfig\\(rise={rise}\\): must"):
        pl.TrainConfig(rise=rise)


def test_paper_preset_is_the_papers():
    paper = pl.presets.experiment("paper")
    assert (paper.blocks, paper.width, paper.images) == (18, 400, None)
    assert (paper.search.epochs, paper.search.alpha_lr) == (200, 0.006) and paper.train.epochs == 600 and paper.train.cutout == 16


def test_random_networks_of_equal_cost(architecture):
    found = pl.baselines.random_of_equal_cost(architecture, 6, tolerance=0.03)
    assert len({a.choices for a in found} | {architecture.choices}) == 7
    for a in found:
        assert abs(a.macs() / architecture.macs() - 1) <= 0.03  # counted on the whole network, not as a sum over edges
    with pytest.raises(ValueError, match="found . of 5 random networks"):
        one = pl.Architecture(pl.spaces.chain(edges=1, candidates=("MB3 3x3", "Zero")), ("Zero",))
        pl.baselines.random_of_equal_cost(one, 5)


def test_edge_costs_add_up_to_the_network(architecture):
    space = architecture.space
    edges = space.edges()
    total = pl.Architecture(space, ("identity",) * 36).macs() + sum(map(candidate_macs, edges, architecture.choices))
    assert total == architecture.macs()


def test_step_only_leaves_the_others_alone():
    a, b = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([a, b], lr=0.1, momentum=0.9, weight_decay=0.1)
    a.grad, b.grad = torch.ones(1), torch.ones(1)
    pl.runtime.step_only(optimizer, [a])
    assert a.item() != 1 and b.item() == 1 and a.grad is None and b not in optimizer.state
    assert optimizer.param_groups[0]["params"] == [a, b]
