"""Exports, run outside of the code that made them: onnxruntime, torch.export.load, Architecture.load."""

import importlib
import json
import logging
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from torch import nn
from torch.testing import assert_close

import proxyless_lite as pl
from proxyless_lite.export.__main__ import main

module = importlib.import_module("proxyless_lite.export.exporter")  # pl.export is the function
FILES = ["architecture.json", "export.json", "network.onnx", "network.pt2", "weights.pt"]
SPACES = {
    "chain": pl.spaces.chain(edges=3, width=4, classes=5, candidates=("MB3 3x3", "Zero", "MB6 5x5")),
    "tree": pl.spaces.tree(blocks=1, width=72, input_size=8, candidates=(*pl.ops.TREE, "Zero")),
    "mobile": pl.spaces.mobile(width=0.25, classes=7, input_size=64),
}


def every_candidate(space):
    """The network with candidate e mod N on edge e."""
    return pl.Architecture(space, tuple(edge.candidates[e % len(edge.candidates)] for e, edge in enumerate(space.edges())))


ARCHITECTURES = {
    "chain": every_candidate(SPACES["chain"]),
    "tree": every_candidate(SPACES["tree"]),
    "mobile": pl.Architecture(SPACES["mobile"], tuple(e.candidates[-1] for e in SPACES["mobile"].edges())),  # Zero or MB6 7x7
}
CHAIN = ARCHITECTURES["chain"]


def as_if_trained(model):
    """Batch norms with statistics and weights that matter, as after training; in training mode."""
    torch.manual_seed(0)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for tensor, low in ((layer.running_mean, -1), (layer.running_var, 0.5), (layer.weight, 0.5), (layer.bias, -1)):
                nn.init.uniform_(tensor, low, low + 1.5)
    return model.train()


def images(n, size=8):
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(1))


def logits(model, x):
    was = model.training
    with torch.no_grad():
        y = model.eval()(x)
    model.train(was)
    return y


def run_onnx(file, x):
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(["logits"], {"images": x.numpy()})[0])


@pytest.fixture(scope="module", params=ARCHITECTURES)
def exported(request, tmp_path_factory):
    architecture, out = ARCHITECTURES[request.param], tmp_path_factory.mktemp(request.param)
    model = as_if_trained(architecture.build())
    pl.export(model, out, architecture)
    return architecture, model, out


# -- what goes along: preprocessing, a program, int8 -------------------------------------------------------------------


BLOCKED = "import runpy, sys; sys.modules |= dict.fromkeys(('torch', 'torchvision', 'proxyless_lite', 'onnx', 'pandas', 'scipy')); runpy.run_path(sys.argv[1], run_name='__main__')"


def predict(out, *arguments):
    """Run the program that was written, where PyTorch and this package cannot be imported."""
    code = BLOCKED.replace("runpy.run_path(sys.argv[1]", f"sys.argv = sys.argv[1:]; sys.path.insert(0, {str(out)!r}); runpy.run_path(sys.argv[0]")
    return subprocess.run([sys.executable, "-c", code, str(out / "predict.py"), *map(str, arguments)], capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of images of two classes, not square, one of them on its side, one of 16 bits."""
    root, random = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for part, n in (("train", 24), ("test", 8)):
        for label, low in (("apple", 20), ("pear", 120)):
            (root / part / label).mkdir(parents=True)
            for i in range(n):
                Image.fromarray(random.integers(low, low + 90, (30, 24, 3), dtype=np.uint8)).save(root / part / label / f"{i}.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(random.integers(20, 110, (24, 30, 3), dtype=np.uint8)).save(root / "test/apple/side.jpg", exif=exif)
    Image.fromarray(random.integers(30000, 60000, (30, 24), dtype=np.uint16)).save(root / "test/pear/deep.png")
    return root


@pytest.mark.parametrize("how", [dict(image_size=16), dict(image_size=20, crop=16), dict(image_size=16, workers=0)], ids=["memory", "crops", "stream"])
def test_the_program_beside_the_network_answers_as_the_trained_model(photos, tmp_path, how):
    data = pl.data.load(str(photos), **how)
    architecture = pl.Architecture(pl.spaces.chain(edges=1, width=8, classes=2, input_size=16), ("MB3 3x3",))
    report = pl.train(architecture, data, pl.TrainConfig(epochs=4, batch_size=16, lr=0.1, cutout=0), device="cpu")
    pl.export(report.model, tmp_path / "out", architecture, data=data)
    files = sorted((photos / "test").rglob("*.*"))
    done = predict(tmp_path / "out", "--top", "2", *files)
    assert done.returncode == 0, done.stderr
    images, _ = next(iter(data.eval_batches(data.test, len(files))))
    expected = logits(report.model, images).softmax(1)
    for line, p, path in zip(done.stdout.splitlines(), expected, files, strict=True):
        best, other = ("apple", "pear") if p[0] > p[1] else ("pear", "apple")
        told = dict(part.rsplit(" ", 1) for part in line.removeprefix(f"{path}: ").split(", "))
        assert list(told) == [best, other] and float(told[best][:-1]) == pytest.approx(100 * p.max().item(), abs=0.11)
    told = json.loads((tmp_path / "out/export.json").read_text())["preprocessing"]
    assert told == data.preprocessing() and told["classes"] == ["apple", "pear"]
    assert json.loads(onnx.load(tmp_path / "out/network.onnx").metadata_props[0].value) == told
    (tmp_path / "bad.png").write_bytes(b"no image")
    done = predict(tmp_path / "out", tmp_path / "bad.png", files[0])
    assert done.returncode == 1 and done.stderr.startswith(f"error: image {tmp_path / 'bad.png'} cannot be read") and str(files[0]) in done.stdout


def test_without_data_nothing_is_said_of_images(exported):
    _, _, out = exported
    assert "preprocessing" not in json.loads((out / "export.json").read_text()) and not (out / "predict.py").exists()
    assert not onnx.load(out / "network.onnx").metadata_props


@pytest.mark.parametrize("change, told", [
    (dict(data=3), "a int has no preprocessing"), (dict(int8=True), "int8 needs the format"),
    (dict(data=pl.data.load("digits")), "the network takes images of 8×8 and has 5 classes, but the data have images of 8×8 and 10 classes")])
def test_data_that_do_not_belong_are_refused(tmp_path, change, told):
    with pytest.raises(ValueError, match=told):
        pl.export(CHAIN.build(), tmp_path / "x", CHAIN, formats=("onnx",), input_size=8, **change)
    assert not (tmp_path / "x").exists() or not list((tmp_path / "x").iterdir())


@pytest.mark.parametrize("opset, ir", [(17, 8), (18, 8), (20, 9)])
def test_an_older_opset_is_made_and_runs(tmp_path, opset, ir):
    model = as_if_trained(CHAIN.build())
    pl.export(model, tmp_path, CHAIN, formats=("onnx",), input_size=8, opset=opset)
    made = onnx.load(tmp_path / "network.onnx")
    assert made.opset_import[0].version == opset and made.ir_version <= max(ir, 9)
    assert_close(run_onnx(tmp_path / "network.onnx", images(5)), logits(model, images(5)), rtol=1e-3, atol=1e-4)


def test_an_opset_without_its_operations_is_told(tmp_path):
    network = ARCHITECTURES["tree"]
    with pytest.raises(ValueError, match=r"not all of its operations can be written in opset 9; allowed: up to \d+, the higher the likelier"):
        pl.export(network.build(), tmp_path, network, formats=("onnx",), opset=9)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The run folder of a network trained on the digits, and its report."""
    out = tmp_path_factory.mktemp("run")
    architecture = pl.Architecture(pl.spaces.chain(edges=3, width=16, input_size=8), ("MB3 3x3", "MB3 5x5", "Zero"))
    report = pl.train(architecture, pl.data.load("digits"), pl.TrainConfig(epochs=6, lr=0.1, cutout=0, drop_path=0.0), out=out, device="cpu")
    architecture.save(out / "architecture.json")
    return out, report


def test_int8_from_the_run_alone_is_within_two_points_of_float(trained, tmp_path):
    run, report = trained
    main(["--run", str(run), "--out", str(tmp_path), "--int8", "--formats", "onnx", "json"])
    told = json.loads((tmp_path / "export.json").read_text())
    assert told["int8"]["float"]["accuracy"] == pytest.approx(report.test_accuracy, abs=1 / 360)
    assert told["int8"]["int8"]["accuracy"] >= told["int8"]["float"]["accuracy"] - 0.02
    small = onnx.load(tmp_path / "network-int8.onnx")
    assert {entry.domain for entry in small.opset_import} == {""}
    assert any(node.op_type == "QuantizeLinear" for node in small.graph.node) and any(t.data_type == onnx.TensorProto.INT8 for t in small.graph.initializer)
    weights = [onnx.numpy_helper.to_array(t) for t in small.graph.initializer if t.data_type == onnx.TensorProto.INT8]
    assert max(abs(w.astype(int)).max() for w in weights) <= 64, "255 · 64 · 2 fits into 16 bits, as processors without VNNI need"
    data = pl.data.load("digits")
    found = run_onnx(tmp_path / "network-int8.onnx", data.batch(data.test, torch.arange(360))[0].contiguous()).argmax(1)
    assert (found == data.test.labels).double().mean().item() == pytest.approx(told["int8"]["int8"]["accuracy"])
    assert told["preprocessing"]["classes"] == [str(d) for d in range(10)]


def test_int8_of_weights_alone_asks_for_the_data(trained, tmp_path):
    run, report = trained
    torch.save(report.model.state_dict(), tmp_path / "w.pt")
    with pytest.raises(ValueError, match="--int8 needs the data of the training, .* add --data"):
        main(["--weights", str(tmp_path / "w.pt"), "--architecture", str(run / "architecture.json"), "--out", str(tmp_path / "x"), "--int8"])


def test_int8_of_weights_alone_takes_images_at_the_size_of_the_network(trained, tmp_path):
    run, report = trained
    torch.save(report.model.state_dict(), tmp_path / "w.pt")
    for label in range(10):
        for part in ("train", "test"):
            (tmp_path / "photos" / part / str(label)).mkdir(parents=True)
            for i in range(3):
                Image.fromarray(np.full((40, 40, 3), 20 * label + i, np.uint8)).save(tmp_path / "photos" / part / str(label) / f"{i}.png")
    main(["--weights", str(tmp_path / "w.pt"), "--architecture", str(run / "architecture.json"), "--out", str(tmp_path / "x"), "--int8",
          "--data", str(tmp_path / "photos"), "--formats", "onnx"])
    assert (tmp_path / "x/network-int8.onnx").exists()


def test_every_file_computes_what_the_model_does(exported):
    architecture, model, out = exported
    program = torch.export.load(out / "network.pt2").module()
    fresh = pl.Architecture.load(out / "architecture.json").build()
    fresh.load_state_dict(torch.load(out / "weights.pt", weights_only=True), strict=True)
    for batch in (1, 5):
        x = images(batch, architecture.space.input_size)
        expected = logits(model, x)
        scale = expected.abs().max().item()
        assert expected.std() > 1e-3 * scale
        assert_close(run_onnx(out / "network.onnx", x), expected, rtol=0, atol=1e-5 * scale)
        assert_close(program(x), expected, rtol=0, atol=1e-6 * scale)
        assert torch.equal(logits(fresh, x), expected)


def test_the_onnx_file_is_plain_and_whole(exported):
    architecture, _, out = exported
    model, size = onnx.load(out / "network.onnx", load_external_data=False), architecture.space.input_size
    onnx.checker.check_model(model, full_check=True)
    assert {node.domain for node in model.graph.node} == {""} and not model.functions
    assert all(tensor.data_location == onnx.TensorProto.DEFAULT for tensor in model.graph.initializer)
    (taken,), (given,) = model.graph.input, model.graph.output
    shapes = [[d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim] for value in (taken, given)]
    assert (taken.name, given.name) == ("images", "logits")
    assert shapes == [["batch", 3, size, size], ["batch", architecture.space.settings["classes"]]]


def test_nothing_else_is_left_and_no_file_names_this_machine(exported):
    out = exported[2]
    assert sorted(p.name for p in out.iterdir()) == FILES
    for file in out.iterdir():
        assert not any(path.encode() in file.read_bytes() for path in (str(Path(pl.__file__).parents[1]), torch.__path__[0]))


def test_export_json_says_what_was_checked(exported):
    architecture, _, out = exported
    told = json.loads((out / "export.json").read_text())
    assert (told["params"], told["macs"]) == (architecture.params(), architecture.macs())
    assert (told["input_size"], told["classes"]) == (architecture.space.input_size, architecture.space.settings["classes"])
    assert 0 < told["max_difference"]["network.onnx"] < 1e-5 and told["max_difference"]["weights.pt"] == 0
    assert told["machine"]["torch"] == torch.__version__ and told["machine"]["onnxruntime"] == onnxruntime.__version__


def test_the_model_is_left_as_it_was(tmp_path):
    model = as_if_trained(CHAIN.build()).to(memory_format=torch.channels_last)
    convolution = model.get_submodule("1.operation.3")
    convolution.weight.requires_grad_(False)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    random = torch.get_rng_state()
    pl.export(model, tmp_path, CHAIN, formats=["onnx"])
    assert all(m.training for m in model.modules()) and torch.equal(torch.get_rng_state(), random)
    assert [n for n, p in model.named_parameters() if not p.requires_grad] == ["1.operation.3.weight"]
    assert convolution.weight.is_contiguous(memory_format=torch.channels_last)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert_close(run_onnx(tmp_path / "network.onnx", images(4)), logits(model, images(4)), rtol=0, atol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no CUDA GPU here")
def test_a_model_on_a_gpu_is_exported_on_the_cpu(tmp_path):
    model = as_if_trained(CHAIN.build()).cuda()
    pl.export(model, tmp_path, CHAIN)
    assert next(model.parameters()).is_cuda
    assert_close(run_onnx(tmp_path / "network.onnx", images(4)), logits(model.cpu(), images(4)), rtol=0, atol=1e-5)
    assert all(w.device.type == "cpu" for w in torch.load(tmp_path / "weights.pt", weights_only=True).values())


def test_a_pruned_supernet_is_exported_and_an_open_one_is_not(tmp_path):
    net = pl.SuperNet(SPACES["chain"])
    as_if_trained(net)
    nn.init.constant_(net.mixed_ops["edge1"].alpha[2], 1.0)
    pl.export(net.prune(), tmp_path / "a", net.derive(), formats=["json", "weights"])
    fresh = pl.Architecture.load(tmp_path / "a/architecture.json").build()
    fresh.load_state_dict(torch.load(tmp_path / "a/weights.pt", weights_only=True))
    assert_close(logits(fresh, images(4)), logits(net.prune(), images(4)), rtol=0, atol=1e-5)  # channels_last there
    for whole in (net, net.network):
        with pytest.raises(ValueError, match="supernet with 3 open edges; give what its prune"):
            pl.export(whole, tmp_path / "b", net.derive())
    assert not (tmp_path / "b").exists()


def own_module(edge):
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), edge, nn.Dropout(0.5), nn.Flatten(), nn.LazyLinear(6))


def test_a_module_of_ones_own_needs_a_size_and_has_no_architecture(tmp_path):
    model = own_module(nn.ReLU())
    model(images(2, 10))
    with pytest.raises(ValueError, match="image size of a model of your own is unknown; give input_size"):
        pl.export(model, tmp_path)
    pl.export(as_if_trained(model), tmp_path, input_size=10)
    assert sorted(p.name for p in tmp_path.iterdir()) == FILES[1:]
    x, fresh = images(4, 10), own_module(nn.ReLU())
    fresh.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    assert torch.equal(logits(fresh, x), logits(model, x))  # without the dropout that training mode would bring
    assert_close(run_onnx(tmp_path / "network.onnx", x), logits(model, x), rtol=0, atol=1e-5)


def test_the_choices_in_a_module_of_ones_own_are_kept(tmp_path):
    net = pl.SuperNet(own_module(pl.MixedOp({"relu": nn.ReLU(), "tanh": nn.Tanh()})))
    net(images(2, 10))
    pl.export(net.prune(), tmp_path, net.derive(), input_size=10, formats=["json", "weights"])
    assert pl.Architecture.load(tmp_path / "architecture.json") == net.derive() and (tmp_path / "weights.pt").exists()


def test_only_our_lines_are_printed(tmp_path, monkeypatch, capfd, caplog, recwarn):
    traced = module.trace
    monkeypatch.setattr(module, "trace", lambda *a: logging.getLogger("torch").warning("what some versions say") or traced(*a))
    pl.export(CHAIN.build(), tmp_path, CHAIN)
    told, error = capfd.readouterr()
    lines = told.splitlines()
    assert not recwarn.list and not [record for record in caplog.records if record.levelno >= logging.WARNING]
    logging.getLogger("torch").warning("heard again")
    assert "heard again" in caplog.text
    assert error == "" and sorted(line.split()[0] for line in lines) == FILES
    for line in lines:
        assert f" {(tmp_path / line.split()[0]).stat().st_size / 1e3:,.1f} kB " in line
    assert "of the largest logit at most" in lines[0] and f"{CHAIN.params():,} params, {CHAIN.macs():,} MACs" in lines[-1]


# -- what is refused --------------------------------------------------------------------------------------------------

def export_linear(out):
    """The quickest export that there is."""
    pl.export(nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), out, input_size=2, formats=["onnx"])


@pytest.mark.parametrize("change, refused", [(lambda y: y * (1 + 9e-5), False), (lambda y: y * (1 + 1.1e-4), True),
                                             (lambda y: y * float("nan"), True), (lambda y: y + 1, True)])
def test_an_onnx_file_that_computes_something_else_is_refused(change, refused, tmp_path, monkeypatch):
    run = onnxruntime.InferenceSession.run
    monkeypatch.setattr(onnxruntime.InferenceSession, "run", lambda *a: [change(y) for y in run(*a)])
    if not refused:
        return export_linear(tmp_path)
    with pytest.raises(ValueError, match="network.onnx would differ from the model by .*nothing was written") as caught:
        export_linear(tmp_path)
    assert "\n" not in str(caught.value) and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("bad_batch", [1, 3])
def test_a_single_bad_batch_is_found(bad_batch, tmp_path, monkeypatch):
    run = onnxruntime.InferenceSession.run
    monkeypatch.setattr(onnxruntime.InferenceSession, "run",
                        lambda *a: [y * (float("nan") if len(y) == bad_batch else 1) for y in run(*a)])
    with pytest.raises(ValueError, match="differ from the model by nan"):
        export_linear(tmp_path)


def test_an_onnx_file_with_foreign_operations_is_refused(tmp_path, monkeypatch):
    tensor = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", 3]) for name in ("images", "logits")]
    node = onnx.helper.make_node("Gelu", ["images"], ["logits"], domain="com.microsoft")
    graph = onnx.helper.make_graph([node], "g", tensor[:1], tensor[1:])
    opsets = [onnx.helper.make_opsetid("", 18), onnx.helper.make_opsetid("com.microsoft", 1)]
    foreign = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
    monkeypatch.setattr(module, "to_onnx", lambda *_, **__: foreign)
    with pytest.raises(ValueError, match="network.onnx cannot be made .it needs operations from com.microsoft"):
        export_linear(tmp_path)


def test_a_failed_export_leaves_the_one_before_alone(tmp_path, monkeypatch):
    pl.export(CHAIN.build(), tmp_path, CHAIN, formats=["weights"])
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(ValueError, match="the model: weights do not fit the network"):
        pl.export(nn.Flatten(), tmp_path, CHAIN, formats=["weights"])
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before

    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="weights.pt cannot be written .No space left on device."):
        pl.export(CHAIN.build(), tmp_path, CHAIN, formats=["weights", "json"])
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


@pytest.mark.parametrize("name, formats", [("weights.pt", ["weights"]), ("network.onnx", ["onnx"]), ("predict.py", ["onnx"]), ("architecture.json", ["json"])])
def test_files_of_yours_are_neither_replaced_nor_removed(tmp_path, monkeypatch, name, formats):
    (tmp_path / name).write_text("mine")
    how = dict(data=pl.data.load("digits").preprocessing())
    network = pl.Architecture(pl.spaces.chain(edges=1, width=4), ("MB3 3x3",))
    with monkeypatch.context() as patched:
        patched.setattr(module, "make", lambda *_: pytest.fail("seconds of work for nothing"))
        with pytest.raises(ValueError, match=f"{tmp_path / name} is not of an earlier export, and would be replaced; choose another folder"):
            pl.export(network.build(), tmp_path, network, formats=formats, **how)
    other = ["json"] if formats == ["weights"] else ["weights"]
    pl.export(network.build(), tmp_path, network, formats=other, **how)  # into the same folder, but not that file
    pl.export(network.build(), tmp_path, network, formats=other, **how)
    assert (tmp_path / name).read_text() == "mine"


def test_what_an_earlier_export_wrote_does_not_stay_beside_another_network(tmp_path):
    network = pl.Architecture(pl.spaces.chain(edges=1, width=4), ("MB3 3x3",))
    pl.export(network.build(), tmp_path, network, data=pl.data.load("digits"), formats=["onnx", "pt2", "weights"])
    assert len(list(tmp_path.iterdir())) == 6
    pl.export(network.build(), tmp_path, network, formats=["pt2"])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["export.json", "network.pt2"]


def test_the_architecture_of_another_network_does_not_stay_either(tmp_path):
    one, two = (pl.Architecture(pl.spaces.chain(edges=1, width=4), (name,)) for name in ("MB3 3x3", "MB6 3x3"))
    pl.export(one.build(), tmp_path / "a", one, formats=["weights", "json"])
    pl.export(two.build(), tmp_path / "a", two, formats=["weights"])
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["export.json", "weights.pt"]
    one.save(tmp_path / "b" / "architecture.json")  # of a search
    pl.export(one.build(), tmp_path / "b", one, formats=["weights", "json"])
    for formats in (["weights", "json"], ["json"]):
        with pytest.raises(ValueError, match="architecture.json is not of an earlier export"):
            pl.export(two.build(), tmp_path / "b", two, formats=formats)
    pl.export(two.build(), tmp_path / "b", two, formats=["weights"])
    assert pl.Architecture.load(tmp_path / "b" / "architecture.json").choices == one.choices


class Branching(nn.Module):
    def forward(self, x):
        return x.flatten(1)[:, :2] if x.sum() > 0 else x.flatten(1)[:, 2:4]


def pools(name):
    return pl.Architecture(pl.spaces.chain(edges=1, width=4, classes=5, candidates=("avg 3x3", "max 3x3", "MB3 3x3")), (name,))


@pytest.mark.parametrize("model, settings, told", [
    (nn.Flatten(), dict(input_size=8, formats=["onnx", "tflite"]), "unknown format 'tflite'; allowed: onnx, pt2, json, weights"),
    (nn.Flatten(), dict(input_size=0), "input_size=0: must be at least 1"),
    (nn.Conv2d(3, 4, 3), dict(input_size=8), r"gives \(3, 4, 6, 6\) for 3 images; expected is .*\(3, classes\)"),
    (nn.Linear(4, 4), dict(input_size=8), r"does not take images of \(3, 8, 8\) \("),
    (Branching(), dict(input_size=8, formats=["pt2"]), r"network.pt2 cannot be made \("),
    (pools("MB3 3x3").build(), dict(architecture=pools("avg 3x3")),
     "the model: weights do not fit the network: '1.operation.0.weight' is unexpected, and .* more; give the architecture"),
    (pools("avg 3x3").build(), dict(architecture=pools("MB3 3x3")), "'1.operation.0.weight' is missing"),
    (pools("avg 3x3").build(), dict(architecture=pools("max 3x3")), "the weights of the architecture but computes something else"),
])
def test_refused_in_one_line_before_anything_is_written(model, settings, told, tmp_path):
    with pytest.raises(ValueError, match=told) as caught:
        pl.export(model, tmp_path, **settings)
    assert "\n" not in str(caught.value) and list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_told_first(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(module, "make", lambda *_: pytest.fail("seconds of work for nothing"))
    for out in (tmp_path / "file", tmp_path / "file/below"):
        with pytest.raises(OSError, match=f"the folder {out} cannot be written to .*; choose another") as caught:
            pl.export(CHAIN.build(), out, CHAIN)
        assert "\n" not in str(caught.value)


# -- command line -----------------------------------------------------------------------------------------------------

def cli(*arguments, monkeypatch):
    """As `python -m proxyless_lite.export …`, in this process; the exit status, None where it ends well."""
    monkeypatch.setattr(sys, "argv", ["export", *map(str, arguments)])
    sys.modules.pop("proxyless_lite.export.__main__", None)
    try:
        runpy.run_module("proxyless_lite.export", run_name="__main__", alter_sys=True)
    except SystemExit as stop:
        return stop.code


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder as notebook 03 leaves it: the architecture, and beside it the run that trained it."""
    out = tmp_path_factory.mktemp("runs")
    architecture = every_candidate(pl.spaces.chain(edges=2, width=4, candidates=("avg 3x3", "MB3 3x3", "max 3x3")))
    architecture.save(out / "architecture.json")
    config = pl.TrainConfig(epochs=2, lr=0.05, cutout=0)
    report = pl.train(architecture, pl.data.load("digits", limit=300), config, out / "found", "cpu")
    pl.Architecture(architecture.space, ("max 3x3", "MB3 3x3")).save(out / "other.json")  # the same weights
    pl.Architecture(architecture.space, ("MB3 3x3", "MB3 3x3")).save(out / "larger.json")
    torch.save(report.model.state_dict(), out / "weights.pt")
    torch.save({"epoch": 3}, out / "numbers.pt")
    (out / "text.pt").write_text("not weights")
    (out / "empty").mkdir()
    shutil.copytree(out / "found", out / "bare")
    (out / "bare/architecture.json").unlink()  # as an earlier version left it
    return out, report.model


def test_a_run_is_exported(run, tmp_path, monkeypatch, capsys):
    folder, model = run
    arguments = ["--run", folder / "found", "--out", tmp_path]
    assert cli(*arguments, monkeypatch=monkeypatch) is None and len(capsys.readouterr().out.splitlines()) == 5
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*FILES, "pixels.py", "predict.py"])
    expected = logits(model, images(4)).contiguous()
    assert_close(run_onnx(tmp_path / "network.onnx", images(4)), expected, rtol=0, atol=1e-5 * expected.abs().max().item())


def test_a_run_on_images_of_another_size_is_exported_for_these(tmp_path, monkeypatch):
    network = pl.Architecture(pl.spaces.chain(edges=1, width=4, input_size=16), ("MB3 3x3",))
    network.save(tmp_path / "architecture.json")
    pl.train(network, pl.data.load("digits", limit=200), pl.TrainConfig(epochs=1, cutout=0), tmp_path / "run", "cpu")
    arguments = ["--run", tmp_path / "run", "--architecture", tmp_path / "architecture.json", "--out", tmp_path / "out", "--formats", "weights"]
    assert cli(*arguments, monkeypatch=monkeypatch) is None
    assert json.loads((tmp_path / "out" / "export.json").read_text())["input_size"] == 8


def test_weights_in_a_file_are_exported(run, tmp_path, monkeypatch):
    folder, model = run
    arguments = ["--weights", folder / "weights.pt", "--architecture", folder / "architecture.json", "--out", tmp_path]
    assert cli(*arguments, "--input-size", 12, "--formats", "weights", monkeypatch=monkeypatch) is None
    written, trained = torch.load(tmp_path / "weights.pt", weights_only=True), model.state_dict()
    assert written.keys() == trained.keys() and all(torch.equal(written[key], trained[key]) for key in trained)
    assert json.loads((tmp_path / "export.json").read_text())["input_size"] == 12


def test_weights_in_the_folder_that_is_written_are_refused(run, monkeypatch):
    folder, _ = run
    before = (folder / "weights.pt").read_bytes()
    arguments = ["--weights", folder / "weights.pt", "--architecture", folder / "architecture.json", "--out", folder, "--formats", "pt2"]
    assert "is in the folder --out, whose files are replaced; give another one" in cli(*arguments, monkeypatch=monkeypatch)
    assert (folder / "weights.pt").read_bytes() == before


def test_weights_under_released_names_are_exported(tmp_path, monkeypatch):
    architecture = ARCHITECTURES["mobile"]
    state = (model := as_if_trained(architecture.build())).state_dict()
    architecture.save(tmp_path / "a.json")
    torch.save({name: state[ours] for name, ours in pl.zoo.weights.released_names(model).items()}, tmp_path / "w.pt")
    arguments = ["--weights", tmp_path / "w.pt", "--architecture", tmp_path / "a.json", "--formats", "weights", "--out", tmp_path / "out"]
    assert cli(*arguments, monkeypatch=monkeypatch) is None
    written = torch.load(tmp_path / "out/weights.pt", weights_only=True)
    assert written.keys() == state.keys() and all(torch.equal(written[key], state[key]) for key in state)


def test_a_run_that_holds_its_architecture_needs_no_other(run, tmp_path, monkeypatch, capsys):
    saved = pl.runtime.load_checkpoint(run[0] / "found/checkpoint.pt")
    saved["done"] //= 2
    pl.runtime.save_checkpoint(tmp_path / "run/checkpoint.pt", saved)
    pl.Architecture.load(run[0] / "architecture.json").save(tmp_path / "run/architecture.json")
    done = cli("--run", tmp_path / "run", "--out", tmp_path / "out", "--formats", "weights", monkeypatch=monkeypatch)
    assert done is None and "not ended; these are the weights after 1 of 2 epochs" in capsys.readouterr().out
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["export.json", "weights.pt"]


NAMED = ["--architecture", "architecture.json"]


@pytest.mark.parametrize("arguments, told", [
    (["--run", "empty", *NAMED], "empty holds no checkpoint.pt"),
    (["--run", "absent", *NAMED], "absent holds no checkpoint.pt"),
    (["--run", "bare"], "bare holds no architecture.json; give the file"),
    (["--weights", "weights.pt"], "--weights needs --architecture"),
    (["--run", "found", "--architecture", "absent.json"], "absent.json"),
    (["--run", "found", "--architecture", "text.pt"], "text.pt is not an architecture file"),
    (["--run", "found", "--architecture", "other.json"], "found trained a different network than other.json: chain(edges=2,"),
    (["--weights", "weights.pt", "--architecture", "larger.json"], "weights.pt: weights do not fit the network: '1.operation.0.weight'"),
    (["--weights", "absent.pt", *NAMED], "absent.pt cannot be read as weights"),
    (["--weights", "text.pt", *NAMED], "text.pt cannot be read as weights"),
    (["--weights", "numbers.pt", *NAMED], "numbers.pt holds no weights"),
    (["--weights", "weights.pt", *NAMED, "--input-size", 0], "input_size=0: must be at least 1"),
    (["--weights", "weights.pt", *NAMED, "--out", "text.pt"], "the folder text.pt cannot be written to"),
])
def test_errors_are_one_line(arguments, told, run, tmp_path, monkeypatch):
    monkeypatch.chdir(run[0])
    code = cli("--out", tmp_path, *arguments, monkeypatch=monkeypatch)
    assert isinstance(code, str) and code.startswith("error: ") and told in code and "\n" not in code, code
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_a_search_is_no_training(run, tmp_path, monkeypatch):
    space = pl.Architecture.load(run[0] / "architecture.json").space
    config = pl.SearchConfig(batch_size=64)
    search = pl.Search(pl.SuperNet(space), pl.data.load("digits", limit=300), config=config, out=tmp_path, device="cpu")
    search.loop.save()
    search.net.derive().save(tmp_path / "architecture.json")
    code = cli("--run", tmp_path, "--out", tmp_path / "out", monkeypatch=monkeypatch)
    assert code.startswith(f"error: {tmp_path} is the folder of a Search, not of a training; train the network that it found")


@pytest.mark.parametrize("arguments", [[], ["--run", "x"], ["--out", "x"], ["--run", "x", "--weights", "y", "--out", "z"],
                                       ["--run", "x", "--out", "z", "--formats", "tflite"]], ids=str)
def test_wrong_arguments_are_one_line(arguments, monkeypatch, capsys):
    assert cli(*arguments, monkeypatch=monkeypatch) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_help(monkeypatch, capsys):
    assert cli("--help", monkeypatch=monkeypatch) == 0
    told = capsys.readouterr().out
    assert all(option in told for option in ("--run", "--weights", "--architecture", "--out", "--formats", "--input-size"))
