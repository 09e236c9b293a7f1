"""Released weights, against a second construction of the released networks straight from their configuration files."""

import copy
import json
from functools import cache
from pathlib import Path

import pytest
import server as web
import torch
from torch import nn
from torch.nn import functional as F


import proxyless_lite as pl
from proxyless_lite.zoo import weights as released
from proxyless_lite.zoo.networks import Released

RELEASED = Path(__file__).resolve().parents[1].parent / "shared/data/released"
each_network = pytest.mark.parametrize("name", released.NETWORKS)


# -- the released networks, with the released names and order of computation ------------------------------------------

class Layer(nn.Module):
    """A basic layer: batch norm, activation and weight in the order that `ops_order` gives."""

    def __init__(self, c):
        super().__init__()
        self.c, kind = c, c["name"]
        entering, leaving = (c.get(f"{way}_channels") or c.get(f"{way}_features") for way in ("in", "out"))
        if c["use_bn"]:
            self.bn = nn.BatchNorm2d(entering if c["ops_order"].startswith("bn") else leaving)
        if kind == "ConvLayer":
            self.conv = conv(entering, leaving, c["kernel_size"], c["stride"], c["groups"], c["dilation"])
        elif kind == "DepthConvLayer":
            self.depth_conv = conv(entering, entering, c["kernel_size"], c["stride"], entering, c["dilation"])
            self.point_conv = conv(entering, leaving, 1)
        elif kind == "LinearLayer":
            self.linear = nn.Linear(entering, leaving)

    def forward(self, x):
        for step in self.c["ops_order"].split("_"):
            if step == "weight":
                x = self.weight(x)
            elif step == "bn":
                x = self.bn(x) if self.c["use_bn"] else x
            else:
                x = {None: lambda y: y, "relu": F.relu, "relu6": F.relu6}[self.c["act_func"]](x)
        return x

    def weight(self, x):
        c = self.c
        if c["name"] == "PoolingLayer":
            padding = c["kernel_size"] // 2 if c["stride"] == 1 else 0
            if c["pool_type"] == "max":
                return F.max_pool2d(x, c["kernel_size"], c["stride"], padding)
            return F.avg_pool2d(x, c["kernel_size"], c["stride"], padding, count_include_pad=False)
        for weight in (child for name, child in self.named_children() if name != "bn"):
            x = weight(x)
        if c.get("has_shuffle"):
            x = torch.cat([x[:, i::c["out_channels"] // c["groups"]] for i in range(c["out_channels"] // c["groups"])], 1)
        return x


def conv(entering, leaving, kernel, stride=1, groups=1, dilation=1):
    return nn.Conv2d(entering, leaving, kernel, stride, kernel // 2 * dilation, dilation, groups, bias=False)


class Mobile(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.first_conv, self.feature_mix_layer, self.classifier = (
            Layer(config[k]) for k in ("first_conv", "feature_mix_layer", "classifier"))
        self.blocks = nn.ModuleList(InvertedBlock(c) for c in config["blocks"])
        for norm in (m for m in self.modules() if isinstance(m, nn.BatchNorm2d)):
            norm.eps = config["bn"]["eps"]

    def forward(self, x):
        x = self.first_conv(x)
        for block in self.blocks:
            x = block(x)
        return self.classifier(self.feature_mix_layer(x).mean((2, 3)))


class InvertedBlock(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.mobile_inverted_conv, self.residual, c = None, c["shortcut"] is not None, c["mobile_inverted_conv"]
        if c["name"] == "MBInvertedConvLayer":
            entering, leaving, middle = c["in_channels"], c["out_channels"], round(c["in_channels"] * c["expand_ratio"])
            stages = {"depth_conv": (conv(middle, middle, c["kernel_size"], c["stride"], middle), middle),
                      "point_linear": (conv(middle, leaving, 1), leaving)}
            if c["expand_ratio"] > 1:
                stages = {"inverted_bottleneck": (conv(entering, middle, 1), middle), **stages}
            self.mobile_inverted_conv = nn.ModuleDict({
                name: nn.ModuleDict({"conv": layer, "bn": nn.BatchNorm2d(channels)})
                for name, (layer, channels) in stages.items()})

    def forward(self, x):
        if self.mobile_inverted_conv is None:
            return x
        y = x
        for name, stage in self.mobile_inverted_conv.items():
            y = stage["bn"](stage["conv"](y))
            y = y if name == "point_linear" else F.relu6(y)
        return x + y if self.residual else y


class Cifar(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.blocks = nn.ModuleList(ResidualTree(c) if "cell" in c else Layers(c) for c in config["blocks"])
        self.classifier = Layer(config["classifier"])

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return self.classifier(x.flatten(1))


class Layers(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.layers = nn.ModuleList(Layer(layer) for layer in c["layers"])

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


class ResidualTree(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.in_bottle, self.out_bottle, self.shortcut = (Layer(c[k]) for k in ("in_bottle", "out_bottle", "shortcut"))
        self.cell, self.final_bn = Node(c["cell"]), nn.BatchNorm2d(c["out_bottle"]["out_channels"])

    def forward(self, x):
        y = self.final_bn(self.out_bottle(self.cell(self.in_bottle(x))))
        y[:, :x.shape[1]] += self.shortcut(x)
        return y


class Node(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.split = c["split_type"] == "split"
        self.edges = nn.ModuleList(Layer(edge) for edge in c["edges"])
        self.child_nodes = nn.ModuleList(child and Node(child) for child in c["child_nodes"])
        self.branch_bns = nn.ModuleList(nn.BatchNorm2d(c["out_channels"]) for _ in c["edges"] if c["has_branch_bn"])

    def forward(self, x):
        total = 0
        for i, (edge, child) in enumerate(zip(self.edges, self.child_nodes, strict=True)):
            y = before = edge(x.chunk(len(self.edges), 1)[i] if self.split else x)
            y = child(y) if child is not None else y
            total = total + (self.branch_bns[i](y) + before if self.branch_bns else y)
        return total


@cache
def oracle(name):
    """The released network from its configuration file, in float64: random weights, batch-norm statistics of random images."""
    path = RELEASED / f"{name}.config"
    if not path.exists():
        pytest.skip("the released configurations are not at hand")
    torch.manual_seed(0)
    config = json.loads(path.read_text())
    network = {"ProxylessNASNets": Mobile, "PyramidTreeNet": Cifar}[config["name"]](config).double()
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.uniform_(norm.bias, -0.5, 0.5)
    with torch.no_grad():
        network.train()(images(name, 8))  # without true statistics a deep network would hardly see its input
    for norm in norms:
        norm.num_batches_tracked.fill_(7)
    return network.eval()


def images(name, n=2):
    size = 32 if name == "proxyless_cifar" else 64
    return torch.randn(n, 3, size, size, dtype=torch.float64)


def build(name):
    return getattr(pl.zoo, name)().build()


# -- names and order --------------------------------------------------------------------------------------------------

@each_network
def test_a_network_with_released_weights_computes_what_the_released_network_does(name):
    expected, model = oracle(name), build(name).double().eval()
    pl.load_released_weights(model, expected.state_dict())
    x = images(name)
    with torch.no_grad():
        y = expected(x)
        torch.testing.assert_close(model(x), y, rtol=1e-5, atol=1e-5 * y.std().item())
    assert (y[0] - y[1]).abs().mean() > 0.1 * y.std(), "images must matter, or nothing is compared"
    assert {value.item() for key, value in model.state_dict().items() if key.endswith("num_batches_tracked")} == {7}


def test_released_names_are_those_in_the_files():
    names = released.released_names(build("proxyless_gpu"))
    assert {"first_conv.conv.weight", "blocks.1.mobile_inverted_conv.inverted_bottleneck.conv.weight",
            "blocks.0.mobile_inverted_conv.depth_conv.bn.running_mean", "classifier.linear.weight"} <= names.keys()


# -- what does not fit ------------------------------------------------------------------------------------------------

def refused(model, state):
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError) as error:
        pl.load_released_weights(model, state)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items()), "nothing was loaded"
    assert "\n" not in str(error.value)
    return str(error.value)


@each_network
def test_a_key_that_does_not_fit_is_named(name):
    model, state = build(name), oracle(name).state_dict()
    key = [k for k in state if k.endswith("bn.running_var")][len(state) // 12]
    channels = len(state[key])
    without = {k: v for k, v in state.items() if k != key}
    assert refused(model, without) == f"weights do not fit the network: '{key}' is missing"
    assert refused(model, without | {"extra.weight": torch.ones(1)}).endswith(f"'{key}' is missing, and 1 more")
    assert refused(model, state | {"extra.weight": torch.ones(1)}).endswith("'extra.weight' is unexpected")
    assert refused(model, state | {key: torch.ones(1)}).endswith(f"'{key}' is (1,) but must be ({channels},)")
    linear = "classifier.linear.weight"
    classes, width = state[linear].shape
    turned = refused(model, state | {linear: state[linear].T})
    assert turned.endswith(f"'{linear}' is ({width}, {classes}) but must be ({classes}, {width})")


def test_weights_of_another_network_are_refused():
    message = refused(build("proxyless_cpu"), oracle("proxyless_gpu").state_dict())
    assert "is missing, and " in message


def test_batch_counters_that_old_versions_did_not_store_are_zero():
    model = build("proxyless_mobile")
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.num_batches_tracked.fill_(5)
    state = oracle("proxyless_mobile").state_dict()
    pl.load_released_weights(model, {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")})
    assert {v.item() for k, v in model.state_dict().items() if k.endswith("num_batches_tracked")} == {0}


@pytest.mark.parametrize("model, told", [
    (nn.Linear(2, 2), "Linear has no released form"),
    (pl.spaces.chain(edges=1).compact(("Zero",)), "no released form"),
    (pl.spaces.tree(1, 72).supernet(), "'?blocks.1.cell.child_nodes.0.child_nodes.0.edges.0'? cannot stand for"),
], ids=["own module", "chain", "supernet"])
def test_networks_that_were_never_released(model, told):
    with pytest.raises(ValueError, match=told) as error:
        pl.load_released_weights(model, {})
    assert "\n" not in str(error.value)


# -- files and downloads ----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("weights", ["released", "own"])
def test_weights_serve_other_classes_but_for_the_last_layer(monkeypatch, tmp_path, capsys, weights):
    monkeypatch.setenv("PROXYLESS_DATA", str(tmp_path))
    (tmp_path / "released").mkdir()
    model = pl.zoo.proxyless_cifar().build()
    theirs = model.state_dict()
    state = {key: theirs[name] for key, name in released.released_names(model).items()} if weights == "released" else theirs
    path = tmp_path / "released/proxyless_cifar.pth"
    torch.save({"state_dict": state}, path)
    if weights == "released":
        found = pl.zoo.proxyless_cifar(classes=7).build("released")
    else:
        other = pl.Architecture(pl.zoo.proxyless_cifar(classes=7).space, pl.zoo.proxyless_cifar().choices)
        with pytest.raises(ValueError, match=r"weights do not fit the network: .* is \(10"):
            other.build(path)
        found = other.build(path, head=False)
    assert found.eval()(torch.zeros(2, 3, 32, 32)).shape == (2, 7)
    ours = found.state_dict()
    fresh = {key for key in ours if not torch.equal(ours[key], theirs[key])}
    assert len(fresh) == 2 and all(len(ours[key]) == 7 for key in fresh), fresh
    assert ("the last layer, which is new, for 7 classes" in capsys.readouterr().out) == (weights == "released")


@pytest.fixture
def server(tmp_path, monkeypatch):
    with web.running() as running:
        monkeypatch.setattr(released, "URL", running.url("/"))
        monkeypatch.setenv("PROXYLESS_DATA", str(tmp_path))
        yield running


def test_released_weights_are_downloaded_once(server, tmp_path):
    state = oracle("proxyless_cpu").state_dict()
    torch.save({"state_dict": state, "epoch": 300}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)  # as in 2019
    server.files["/proxyless_cpu.pth"] = (tmp_path / "old.pth").read_bytes()
    first, second = (pl.zoo.proxyless_cpu().build(weights="released") for _ in range(2))
    assert server.asked == [None] and (tmp_path / "released" / "proxyless_cpu.pth").exists()
    x = images("proxyless_cpu")
    with torch.no_grad():
        for model in (first, second):
            torch.testing.assert_close(model.eval()(x.float()), oracle("proxyless_cpu")(x).float(), rtol=1e-3, atol=1e-3)


def test_released_weights_cut_short_are_not_kept(server, tmp_path):
    torch.save(build("proxyless_cpu").state_dict(), tmp_path / "whole.pth")
    server.files["/proxyless_cpu.pth"] = (tmp_path / "whole.pth").read_bytes()[:-1000]
    with pytest.raises(FileNotFoundError, match=r"could not be downloaded from .*cannot be read as weights"):
        pl.zoo.proxyless_cpu().build(weights="released")
    assert list((tmp_path / "released").iterdir()) == []


def test_offline_the_message_says_where_to_put_the_file(server, tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        pl.zoo.proxyless_gpu().build(weights="released")
    message, path = str(error.value), tmp_path / "released" / "proxyless_gpu.pth"
    assert message.startswith(f"{path} is missing and could not be downloaded from {server.url('/proxyless_gpu.pth')} (")
    assert "put it there" in message and "\n" not in message


@pytest.mark.parametrize("architecture, told", [
    (pl.Architecture(pl.spaces.chain(edges=1), ("Zero",)), "unknown weights 'released'; allowed: "),
    (Released(pl.spaces.chain(edges=1), ("Zero",), "mine"), r"no weights were released for mine; .*zoo\.proxyless_cifar\(\)"),
], ids=["nameless", "mine"])
def test_what_was_never_released_says_what_was(server, architecture, told):
    with pytest.raises(ValueError, match=told):
        architecture.build(weights="released")
    assert server.asked == []


def test_a_file_in_released_names_is_told_from_one_in_ours(tmp_path):
    state = oracle("proxyless_mobile").state_dict()
    model = build("proxyless_mobile")
    pl.load_released_weights(model, state)
    for i, content in enumerate((state, {"state_dict": state}, model.state_dict(), {"state_dict": model.state_dict()})):
        torch.save(content, tmp_path / f"{i}.pth")
        loaded = pl.zoo.proxyless_mobile().build(weights=tmp_path / f"{i}.pth").state_dict()
        assert loaded.keys() == model.state_dict().keys()
        assert all(torch.equal(loaded[key], value) for key, value in model.state_dict().items())
    torch.save({key: value for key, value in state.items() if key != "classifier.linear.bias"}, tmp_path / "bad.pth")
    with pytest.raises(ValueError, match="bad.pth: weights do not fit the network: 'classifier.linear.bias' is missing$"):
        pl.zoo.proxyless_mobile().build(weights=tmp_path / "bad.pth")
