"""The mobile space of §4.2: exact sizes, the released networks, and Zero only where a block may be left out."""

import json
from itertools import accumulate
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import proxyless_lite as pl
from proxyless_lite.architecture import count_macs
from proxyless_lite.costs import candidate_macs
from proxyless_lite.ops import Residual, Zero
from proxyless_lite.spaces import Block
from proxyless_lite.spaces.mobile import make_divisible, read_released, released_name

RELEASED = Path(__file__).resolve().parents[1].parent / "shared/data/released"
WIDTHS = {
    "mobile": [32, 16, 32, 40, 80, 96, 192, 320, 1280],
    "gpu": [40, 24, 32, 56, 112, 128, 256, 432, 1728],
    "cpu": [40, 24, 32, 48, 88, 104, 216, 360, 1432],
    "mobile_14": [48, 24, 40, 56, 112, 136, 256, 448, 1792],
}


def released_config(name):
    file = RELEASED / f"proxyless_{name}.config"
    if not file.exists():
        pytest.skip(f"{file.name} is not in shared/data/released beside this checkout")
    return json.loads(file.read_text())


def small(**settings):
    """Few channels of different number, two candidates, 32 pixels."""
    usual = dict(widths=(8, 4, 6, 8, 10, 12, 14, 16, 20), classes=5, input_size=32, candidates=("MB3 3x3", "MB6 5x5"))
    return pl.spaces.mobile(**usual | settings)


def skipping(space):
    """The network with Zero on every edge that has it."""
    return pl.Architecture(space, tuple(e.candidates[-1] if e.residual else e.candidates[0] for e in space.edges()))


def randomised(net):
    """Batch norms, statistics included, all different, in evaluation mode and float64."""
    net = net.double().eval()
    with torch.no_grad():
        for t in [*net.parameters(), *net.buffers()]:
            if t.dim() == 1:
                t.uniform_(.5, 1.5)
    return net


def widths_of(space):
    stem, first, mix, _ = space.fixed_blocks()
    return [stem.out_channels, first.out_channels, *dict.fromkeys(e.out_channels for e in space.edges()), mix.out_channels]


# -- sizes ------------------------------------------------------------------------------------------------------------

def test_the_mobile_space_has_its_counts():
    with torch.device("meta"):
        net = pl.SuperNet(pl.spaces.mobile())
    assert len(net.mixed_ops) == 21
    assert sum(a.numel() for a in net.architecture_parameters()) == 141
    assert sum(w.numel() for w in net.weight_parameters()) == 16_034_168
    assert net.space.size() == 6**6 * 7**15


def test_edges_have_the_sizes_strides_and_depths_of_the_table():
    edges = pl.spaces.mobile().edges()
    assert [e.name for e in edges[3:6]] == ["stage1.3", "stage2.0", "stage2.1"] and edges[-1].name == "stage6.0"
    entering = [e for e in edges if e.name.endswith(".0")]
    assert [(e.input_size, e.in_channels, e.out_channels, e.stride) for e in entering] == [
        (112, 16, 24, 2), (56, 24, 40, 2), (28, 40, 80, 2), (14, 80, 96, 1), (14, 96, 192, 2), (7, 192, 320, 1)]
    assert all(e.in_channels == before.out_channels and e.input_size == -(-before.input_size // before.stride)
               for before, e in zip(edges, edges[1:]))
    assert all(e.stride == 1 and e.in_channels == e.out_channels for e in edges if e not in entering)


@pytest.mark.parametrize("width, widths", [(1.35, WIDTHS["gpu"]), (1.12, WIDTHS["cpu"]),
                                           (1.0, [32, 16, 24, 40, 80, 96, 192, 320, 1280])])
def test_a_width_multiplier_gives_the_released_widths(width, widths):
    assert widths_of(pl.spaces.mobile(width)) == widths


@pytest.mark.parametrize("channels, divisible", [(3, 8), (8, 8), (11.9, 16), (12, 16), (16.8, 16), (18, 24),
                                                 (43.2, 40), (44.8, 48), (26, 24), (27, 32)])
def test_make_divisible_rounds_to_eights_and_loses_at_most_a_tenth(channels, divisible):
    assert make_divisible(channels) == divisible


@pytest.mark.parametrize("input_size, sizes", [(224, [112, 56, 28, 14, 7]), (192, [96, 48, 24, 12, 6]), (33, [17, 9, 5, 3, 2])])
def test_the_sizes_follow_from_the_input(input_size, sizes):
    space = small(input_size=input_size)
    assert list(dict.fromkeys(e.input_size for e in space.edges())) == sizes
    net = pl.SuperNet(space)
    assert net.check((3, input_size, input_size)) == (5,)
    for edge, op in zip(space.edges(), net.mixed_ops.values()):
        wanted = (edge.in_channels, edge.input_size, edge.input_size)
        op.register_forward_pre_hook(lambda _, x, wanted=wanted: seen.append(tuple(x[0].shape[1:]) == wanted))
    seen = []
    net(torch.randn(1, 3, input_size, input_size))
    assert seen == [True] * 21


# -- the released networks --------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name, params, macs", [
    ("gpu", 7_119_848, 465_260_160), ("cpu", 4_361_648, 439_243_864),
    ("mobile", 4_080_512, 320_427_584), ("mobile_14", 6_857_568, 580_883_408)])
def test_a_released_network_has_its_counts(name, params, macs, tmp_path):
    network = pl.Architecture.from_released(released_config(name))
    assert widths_of(network.space) == WIDTHS[name]
    assert (network.params(), network.macs()) == (params, macs)
    network.save(tmp_path / "a.json")
    again = pl.Architecture.load(tmp_path / "a.json")
    assert (again.params(), again.macs(), again.choices) == (params, macs, network.choices)


def test_the_released_mobile_network_has_its_20_blocks():
    network = pl.Architecture.from_released(released_config("mobile"))
    lines = str(network).splitlines()
    assert len(lines) == 21 and lines[0] == "MB3 5x5  16→32 s2 56x56" and lines[-1] == "MB6 7x7  192→320 s1 7x7"
    left_out = sum(line.startswith("Zero") for line in lines)
    assert 22 - left_out == 20, "the fixed first block and those not left out"


@pytest.mark.parametrize("block, change, told", [
    (0, dict(expand_ratio=6), "begins with MB6 3x3; the mobile space with MB1 3x3"), (0, dict(kernel_size=7), "begins with MB1 7x7"),
    (2, dict(out_channels=64), "block 2 .* 64 channels with stride 1; the mobile space has 32 with stride 1"),
    (5, dict(stride=1), "block 5 .* 40 channels with stride 1; the mobile space has 40 with stride 2")])
def test_a_released_network_of_another_shape_is_not_read_as_one_of_ours(block, change, told):
    config = released_config("mobile")
    config["blocks"][block]["mobile_inverted_conv"] |= change
    with pytest.raises(ValueError, match=told):
        pl.Architecture.from_released(config)


def test_a_released_configuration_outside_the_space_is_refused():
    config = {"blocks": [{"mobile_inverted_conv": {"name": "ZeroLayer"}}] * 3}
    with pytest.raises(ValueError, match="2 blocks.* 21"):
        read_released(config)
    with pytest.raises(ValueError, match="'ConvLayer'.*MBInvertedConvLayer, ZeroLayer"):
        released_name({"name": "ConvLayer"})


# -- Zero -------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("space", [pl.spaces.mobile(), small(), small(widths=(4,) * 9)], ids=["paper", "small", "equal widths"])
def test_zero_is_allowed_exactly_where_the_shape_stays(space):
    for edge in space.edges():
        stays = edge.stride == 1 and edge.in_channels == edge.out_channels
        assert ("Zero" in edge.candidates) == stays == edge.residual
        assert len(set(edge.candidates)) == len(edge.candidates)
    assert sum("Zero" in e.candidates for e in space.edges()) == (17 if space.settings.get("widths") == [4] * 9 else 15)


def test_a_block_with_zero_is_the_identity_and_nothing_runs(monkeypatch):
    torch.manual_seed(0)
    space = small()
    network = randomised(skipping(space).build())
    monkeypatch.setattr(Zero, "forward", lambda *_: pytest.fail("Zero was run"))
    left_out = [block for block in network.blocks if isinstance(block, Residual)]
    assert len(left_out) == 15
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        assert all(block(x) is x for block in left_out)
        kept = nn.Sequential(*(layer for layer in [*network[:2], *network.blocks, *network[3:]] if layer not in left_out))
        assert_close(network(x), kept(x), rtol=0, atol=0)
    assert sum(p.numel() for b in left_out for p in b.parameters()) == 0


def test_a_block_adds_its_input_exactly_where_the_shape_stays():
    torch.manual_seed(0)
    space = small()
    network = randomised(space.compact([e.candidates[1] for e in space.edges()]))
    for edge, block in zip(space.edges(), network.blocks):
        x = torch.randn(1, edge.in_channels, edge.input_size, edge.input_size, dtype=torch.float64)
        operation = block.operation if edge.residual else block
        with torch.no_grad():
            assert_close(block(x), operation(x) + (x if edge.residual else 0), rtol=0, atol=0)


def test_the_compact_network_is_the_supernet_with_its_paths():
    torch.manual_seed(0)
    net = randomised(pl.SuperNet(small()))
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    outputs = []
    for seed in range(3):
        paths = net.sample(torch.Generator().manual_seed(seed))
        net.set_alpha(nn.functional.one_hot(torch.tensor(paths), 3).double())
        compact = net.derive().build().double().eval()
        compact.load_state_dict(net.prune().state_dict())
        with torch.no_grad():
            outputs.append(net(x).flatten())
            assert_close(compact(x).flatten(), outputs[-1], rtol=0, atol=1e-10)
    assert torch.pdist(torch.stack(outputs)).min() > 1e-6


# -- blocks -----------------------------------------------------------------------------------------------------------

def test_the_fixed_blocks_of_the_mobile_space_are_named():
    assert list(map(str, pl.spaces.mobile().fixed_blocks())) == [
        "conv 3x3 3→32 s2 112x112", "MB1 3x3 32→16 s1 112x112", "conv 1x1 320→1280 s1 7x7", "linear 1280→1000 s1 7x7"]


def macs_of(block):
    with torch.device("meta"):
        return count_macs(block.module().eval(), torch.empty(1, block.in_channels, block.input_size, block.input_size))


def test_the_blocks_make_up_the_network():
    torch.manual_seed(0)
    space = small()
    choices = tuple(e.candidates[i % len(e.candidates)] for i, e in enumerate(space.edges()))
    blocks, network = space.blocks(choices), pl.Architecture(space, choices)
    assert len(blocks) == 4 + 21 and tuple(blocks[:4]) == tuple(space.fixed_blocks())
    assert sum(sum(p.numel() for p in b.module().parameters()) for b in blocks) == network.params()
    assert sum(map(macs_of, blocks)) == network.macs()
    in_order = blocks[:2] + blocks[4:] + blocks[2:4]
    modules = randomised(nn.Sequential(*(b.module() for b in in_order)))
    whole = network.build().double().eval()
    whole.load_state_dict(dict(zip(whole.state_dict(), modules.state_dict().values(), strict=True)))
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        seen = list(accumulate(modules, lambda y, m: m(y), initial=x))
        assert_close(whole(x), seen[-1], rtol=0, atol=1e-12)
    assert all(y.shape[1:] == (b.in_channels, b.input_size, b.input_size) for b, y in zip(in_order, seen))


def test_blocks_of_equal_shape_are_equal_and_others_are_not():
    edges = pl.spaces.mobile().edges()
    assert edges[1].block("MB3 3x3") == edges[2].block("MB3 3x3") and hash(edges[1].block("Zero")) == hash(edges[2].block("Zero"))
    assert len({edges[i].block(name) for i in (0, 1, 4, 5) for name in ("MB3 3x3", "MB6 3x3")}) == 8
    assert Block("MB3 3x3", 8, 8, 8) != Block("MB3 3x3", 8, 8, 8, residual=True)


def test_blocks_refuse_choices_that_do_not_fit():
    with pytest.raises(ValueError, match="'stage1.0'.*'Zero'; allowed: MB3 3x3"):
        pl.spaces.mobile().blocks(("Zero",) * 21)
    with pytest.raises(ValueError, match="2 operations.*mobile.* 21 edges"):
        pl.spaces.mobile().blocks(("Zero",) * 2)


def test_the_rest_of_the_tree_space_runs_without_its_edges():
    space = pl.spaces.tree(blocks=1, width=72, classes=5, input_size=8)
    (rest,) = space.fixed_blocks()
    assert (rest.in_channels, rest.out_channels, rest.input_size) == (3, 5, 8)
    module = rest.module()
    assert module(torch.randn(3, 3, 8, 8)).shape == (3, 5)
    with torch.device("meta"):
        every = pl.SuperNet(space)
    inside = sum(p.numel() for op in every.mixed_ops.values() for p in op.candidates.parameters())
    assert sum(p.numel() for p in module.parameters()) == sum(p.numel() for p in every.weight_parameters()) - inside
    network = pl.Architecture(space, tuple(pl.ops.TREE * 6)[:36])
    edges = sum(candidate_macs(edge, name) for edge, name in zip(space.edges(), network.choices))
    assert macs_of(rest) == network.macs() - edges
    assert len(space.blocks(network.choices)) == 37


# -- printing and errors ----------------------------------------------------------------------------------------------

def test_one_line_a_block():
    space = pl.spaces.mobile()
    lines = str(pl.Architecture(space, ("MB6 7x7",) * 13 + ("Zero",) * 3 + ("MB3 5x5",) * 5)).splitlines()
    assert len(lines) == 21
    assert lines[0] == "MB6 7x7  16→24 s2 56x56" and lines[12] == "MB6 7x7  80→96 s1 14x14"
    assert lines[13] == "Zero  96→96 s1 14x14" and lines[20] == "MB3 5x5  192→320 s1 7x7"


@pytest.mark.parametrize("space", [pl.spaces.mobile(1.4, classes=10, input_size=96), small(), small(widths=None, width=.25)],
                         ids=str)
def test_settings_rebuild_the_space(space):
    again = pl.spaces.BY_NAME["mobile"](**json.loads(json.dumps(space.settings)))
    assert again == space and again.edges() == space.edges() and again.fixed_blocks() == space.fixed_blocks()


@pytest.mark.parametrize("settings", [dict(width=0), dict(width=-1.), dict(classes=0), dict(input_size=0), dict(widths=(8,) * 8),
                                      dict(widths=(8,) * 8 + (0,))], ids=str)
def test_numbers_out_of_range_are_refused_in_one_line(settings):
    with pytest.raises(ValueError, match=f"mobile\\(.*{next(iter(settings))}=.*: .*width.*above 0") as caught:
        pl.spaces.mobile(**settings)
    assert "\n" not in str(caught.value)
