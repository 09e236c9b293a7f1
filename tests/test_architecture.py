"""Architecture: files, printing, counting, the released network."""

import json
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import proxyless_lite as pl
import toy
from proxyless_lite import ground_truth
from proxyless_lite.latency.measure import random_networks
from proxyless_lite.spaces.tree import released_name
from proxyless_lite.zoo.networks import Released


def chain(**settings):
    return pl.spaces.chain(edges=2, width=4, **settings)


def some():
    return pl.Architecture(chain(), ("MB6 5x5", "Zero"))


# -- counting ---------------------------------------------------------------------------------------------------------

def test_params_and_macs_of_a_chain_by_hand():
    # Stem 3→4 3×3, MB6 5×5 on 4 channels, Zero, head 4→10, on 8×8 images.
    convs = {"stem": 3 * 4 * 9, "expand": 4 * 24, "depthwise": 24 * 25, "project": 24 * 4}
    norms = 2 * (4 + 24 + 24 + 4)
    assert some().params() == sum(convs.values()) + norms + 4 * 10 + 10
    assert some().macs() == 64 * sum(convs.values()) + 40
    assert some().macs(16) == 256 * sum(convs.values()) + 40


@pytest.fixture(scope="module")
def released():
    return pl.zoo.proxyless_cifar()  # tests/test_zoo.py holds it against the released file


def test_the_released_cifar_network_has_its_counts(released):
    assert released.params() == 5_731_530
    assert released.macs() == 1_213_155_872


def test_the_released_cifar_network_has_its_operations(released):
    assert released.space.settings == dict(blocks=18, width=400, classes=10, input_size=32)
    assert Counter(released.choices) == {"DW 7x7": 116, "identity": 96, "DW 3x3 d2": 90, "max 3x3": 89, "avg 3x3": 89,
                                         "DW 5x5": 85, "DW 3x3": 83}
    assert len(str(released).splitlines()) == 54


def test_the_released_cifar_network_survives_a_file(released, tmp_path):
    released.save(tmp_path / "a.json")
    assert pl.Architecture.load(tmp_path / "a.json").choices == released.choices


# -- from a search ----------------------------------------------------------------------------------------------------

def test_derive_takes_the_argmax_of_every_edge():
    net = pl.SuperNet(chain())
    net.set_alpha(torch.tensor([[0, 0, 0, 1., 0, 0, 0], [0, -1., 0, 0, 0, 0, .1]]))
    assert net.derive() == pl.Architecture(net.space, ("MB6 3x3", "Zero"))
    assert net.derive().space is net.space


@pytest.mark.parametrize("space", [chain(), pl.spaces.tree(1, 72, input_size=8)], ids=str)
def test_build_trains(space):
    torch.manual_seed(0)
    net = pl.SuperNet(space)
    toy.spread(net)
    model = net.derive().build()
    x, labels = torch.randn(8, 3, 8, 8), torch.arange(8)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    losses = []
    for _ in range(10):
        loss = F.cross_entropy(model(x), labels)
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad is not None for p in model.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_build_gives_fresh_weights_each_time():
    a, b = some().build(), some().build()
    assert not torch.equal(a[0][0].weight, b[0][0].weight)


# -- weights ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("wrap", [lambda state: state, lambda state: {"state_dict": state, "epoch": 3}], ids=["plain", "wrapped"])
@pytest.mark.parametrize("as_path", [str, Path])
def test_build_loads_a_state_dict_from_a_file(wrap, as_path, tmp_path):
    trained = some().build()
    for p in trained.parameters():
        nn.init.normal_(p)
    torch.save(wrap(trained.state_dict()), tmp_path / "w.pth")
    loaded, x = some().build(weights=as_path(tmp_path / "w.pth")), torch.randn(2, 3, 8, 8)
    assert torch.equal(loaded.eval()(x), trained.eval()(x))


def saved(tmp_path, content):
    if isinstance(content, bytes):
        (tmp_path / "w.pth").write_bytes(content)
    else:
        torch.save(content, tmp_path / "w.pth")
    return tmp_path / "w.pth"


@pytest.mark.parametrize("content, told", [
    (pl.Architecture(chain(), ("MB3 5x5", "Zero")).build().state_dict(),
     "'1.operation.0.weight' is .12, 4, 1, 1. but must be .24, 4, 1, 1."),
    (pl.Architecture(chain(), ("Zero", "Zero")).build().state_dict(), "'1.operation.0.weight' is missing, and 14 more"),
    (some().build().state_dict() | {"alpha": torch.ones(2)}, "'alpha' is unexpected"),
    (some().build(), "cannot be read as weights"),  # a pickled module would run code
    (b"not a file of PyTorch", "cannot be read as weights"),
    (b"", "cannot be read as weights"),
    ([1, 2], "holds no weights"),
    ({"state_dict": {"a": 1}}, "holds no weights"),
], ids=str.split("misshapen missing unexpected module text empty list numbers"))
def test_a_file_of_weights_that_does_not_do_is_told_in_one_line(content, told, tmp_path):
    path = saved(tmp_path, content)
    with pytest.raises(ValueError, match=told) as error:
        some().build(weights=path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_unknown_weights_are_told_in_one_line(tmp_path):
    for weights in ("imagenet", tmp_path):
        with pytest.raises(ValueError, match='unknown weights .*; allowed: None or the path of a file, .* "released"$'):
            some().build(weights=weights)


def test_a_name_is_a_label_only(tmp_path):
    named = Released(some().space, some().choices, "mine")
    named.save(tmp_path / "a.json")
    assert named == some() and pl.Architecture.load(tmp_path / "a.json") == some() and named.code == some().code


def test_equal_architectures_are_one_key():
    again = Released(chain(), ("MB6 5x5", "Zero"), "name")
    seen = {some(): 1, again: 2, pl.Architecture(chain(), ("Zero", "Zero")): 3, pl.Architecture(chain(classes=5), ("MB6 5x5", "Zero")): 4}
    assert list(seen.values()) == [2, 3, 4] and hash(some()) == hash(again)


# -- codes ------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("space", [chain(), pl.spaces.tree(1, 72), pl.spaces.mobile(),
                                   chain(candidates=[f"DW {k}x{k}" for k in range(1, 125, 2)])],
                         ids=lambda space: f"{space.name} {len(space.edges()[0].candidates)}")
def test_a_code_has_a_character_per_edge_and_gives_the_network_back(space):
    for network in random_networks(space, 20, seed=0):
        assert len(network.code) == len(space.edges()) and pl.Architecture.from_code(space, network.code) == network
    last = pl.Architecture(space, tuple(edge.candidates[-1] for edge in space.edges()))
    assert pl.Architecture.from_code(space, last.code) == last


def test_a_code_is_the_index_of_every_candidate_first_digits_then_letters():
    space = chain(candidates=("Zero", *(f"DW {k}x{k}" for k in range(1, 80, 2))))
    codes = [pl.Architecture(space, ("Zero", space.edges()[1].candidates[i])).code for i in (0, 1, 9, 10, 35, 36, 40)]
    assert codes == ["00", "01", "09", "0a", "0z", "0A", "0E"]


def test_codes_of_the_stored_tables_are_read_and_written_alike():
    """They must keep their meaning: a stored row is one of that network."""
    for name, setting in ground_truth.BY_NAME.items():
        rows = ground_truth.read(ground_truth.FOLDER / f"{name}.csv")
        candidates = setting.family.get("candidates", ("Zero", "max 3x3", "DW 5x5", "conv 3x3", "MB3 3x3"))
        choices = {code: tuple(candidates[int(digit)] for digit in code) for code in rows.network.unique()}
        assert all(pl.Architecture(setting.space, names).code == code for code, names in choices.items())
        assert all(pl.Architecture.from_code(setting.space, code).choices == names for code, names in choices.items())


@pytest.mark.parametrize("code, told", [
    ("0", "has 1 characters, but chain.* has 2 edges"), ("000", "has 3 characters"), ("", "has 0 characters"),
    ("07", "edge 'edge1' has no candidate '7'; allowed: 0123456"), ("-1", "edge 'edge0' has no candidate '-'"),
    (3, "code '3' has 1 characters"), (float("nan"), "code 'nan' has 3 characters"),
])
def test_a_code_of_another_space_is_refused_in_one_line(code, told):
    with pytest.raises(ValueError, match=told) as error:
        pl.Architecture.from_code(chain(), code)
    assert "\n" not in str(error.value)


def test_what_has_no_code_says_so():
    crowded = chain(candidates=[f"DW {k}x{k}" for k in range(1, 127, 2)])
    for network, told in ((pl.Architecture(None, ("mine",)), "not from a space"),
                          (pl.Architecture(chain(), ("Zero",)), "1 operations given"),
                          (pl.Architecture(chain(), ("identity", "Zero")), "has no candidate 'identity'"),
                          (pl.Architecture(crowded, ("DW 125x125",) * 2), "more than 62 candidates")):
        with pytest.raises(ValueError, match=told):
            print(network.code)


# -- files ------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("architecture", [
    some(),
    pl.Architecture(chain(candidates=("max 3x3", "DW 3x3 d2")), ("DW 3x3 d2", "max 3x3")),
    pl.Architecture(pl.spaces.tree(1, 80, classes=3, input_size=16), tuple(pl.ops.TREE * 6)[:36]),
    pl.Architecture(None, ("mine", "yours")),
], ids=lambda a: str(a.space)[:30])
def test_save_and_load(architecture, tmp_path):
    architecture.save(tmp_path / "a.json")
    loaded = pl.Architecture.load(tmp_path / "a.json")
    assert loaded.choices == architecture.choices and str(loaded) == str(architecture)
    assert (loaded.space and loaded.space.settings) == (architecture.space and architecture.space.settings)
    if architecture.space:
        assert loaded.params() == architecture.params()
    assert [f.name for f in tmp_path.iterdir()] == ["a.json"], "no half-written file stays behind"
    json.loads((tmp_path / "a.json").read_text())


def content(space=None, choices=("Zero", "Zero")):
    return json.dumps({"space": dict(name="chain", edges=2) if space is None else space, "choices": choices})


@pytest.mark.parametrize("text, told", [
    (content(choices=["Zero", "MB9 3x3"]), "edge 'edge1' has no candidate 'MB9 3x3'; allowed: MB3 3x3"),
    (content(choices=["Zero"]), r"1 operations given, but chain\(.*\) has 2 edges"),
    (content(space=dict(name="imagenet")), "unknown space 'imagenet'; allowed: .*chain.*tree"),
    (content(space=dict(name="chain", edgse=2)), "edgse"),
    (content(space=dict(edges=2)), "name"),
    (content(space=dict(name="tree", input_size=30)), "input size 30"),
    (content(space=dict(name="chain", width=-3)), "width=-3"),
    (content(space=dict(name="chain", make="x")), r"chain\(make='x'\): give a function of"),
    (content(space=dict(name="chain of mine")), "unknown space 'chain of mine'"),
    ("once upon a time", "not an architecture file"),
    ("", "not an architecture file"),
    ("[1, 2]", "not an architecture file"),
    ("[" * 100_000, "not an architecture file"),
    ('{"space": {"name": "mobile", "width": Infinity}, "choices": []}', "infinity"),
    ("{}", "not an architecture file.*'space'"),
    ('{"space": null}', "not an architecture file.*'choices'"),
    ('{"space": null, "choices": 5}', "not an architecture file.*list of names"),
    ('{"space": null, "choices": "abc"}', "not an architecture file.*list of names"),
    (content()[:-20], "not an architecture file"),
])
def test_a_bad_file_is_told_in_one_line(text, told, tmp_path):
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=told) as error:
        pl.Architecture.load(path)
    assert "bad.json" in str(error.value) and "\n" not in str(error.value)


def test_a_binary_file_is_no_architecture(tmp_path):
    (tmp_path / "bad.json").write_bytes(b"\x80\x02\xff\x00")
    with pytest.raises(ValueError, match="not an architecture file"):
        pl.Architecture.load(tmp_path / "bad.json")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent.json"):
        pl.Architecture.load(tmp_path / "absent.json")


@pytest.mark.parametrize("config", [{}, {"name": "ResNet"}])
def test_another_kind_of_released_configuration(config):
    with pytest.raises(ValueError, match="is not known; allowed: .*PyramidTreeNet"):
        pl.Architecture.from_released(config)


def test_a_released_layer_outside_the_space_is_named():
    with pytest.raises(ValueError, match="'ConvLayer'"):
        released_name({"name": "ConvLayer"})


# -- printing ---------------------------------------------------------------------------------------------------------

def test_one_line_a_block():
    assert str(some()) == "MB6 5x5  4→4 s1 8x8\nZero  4→4 s1 8x8"
    space = pl.spaces.tree(1, 72, input_size=8)
    choices = tuple(pl.ops.TREE * 6)[:36]
    lines = str(pl.Architecture(space, choices)).splitlines()
    assert len(lines) == 3
    assert [line.count(",") for line in lines] == [11, 11, 11]
    assert lines[0].startswith(", ".join(choices[:12]) + "  16→") and lines[0].endswith("s1 8x8")
    assert lines[1].startswith(", ".join(choices[12:24])) and lines[1].endswith("s2 4x4") and lines[2].endswith("s2 2x2")
    assert str(pl.Architecture(space, ("identity", "Zero"))) == "edge 0  identity\nedge 1  Zero", "choices that do not fit are printed, too"


def test_an_architecture_of_a_module_of_ones_own_prints_but_does_not_build():
    architecture = pl.SuperNet(nn.Sequential(toy.edge("Zero", "linear"))).derive()
    assert architecture.space is None and str(architecture).startswith("edge 0  ")
    for call in (architecture.build, architecture.params, architecture.macs):
        with pytest.raises(ValueError, match="not from a space"):
            call()


def test_a_wrong_choice_does_not_build():
    with pytest.raises(ValueError, match="edge 'edge0' has no candidate 'identity'"):
        pl.Architecture(chain(), ("identity", "Zero")).build()
