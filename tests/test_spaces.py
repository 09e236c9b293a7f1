"""The spaces: the paper's counts exactly, and one definition for supernet and compact network."""

from functools import partial
import random
from itertools import combinations, product

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

import proxyless_lite as pl
from proxyless_lite.spaces.tree import block_layout


def count(parameters):
    return sum(p.numel() for p in parameters)


def image(space, n=2):
    return torch.randn(n, 3, space.input_size, space.input_size, generator=torch.Generator().manual_seed(0))


SMALL = {
    "chain": lambda: pl.spaces.chain(edges=2, width=4, classes=5, candidates=("MB3 3x3", "DW 3x3", "MB6 5x5", "Zero")),
    "staged": lambda: pl.spaces.staged(widths=(4, 6), edges=(1, 2), classes=5, input_size=8, candidates=("Zero", "conv 3x3", "DW 3x3")),
    "tree": lambda: pl.spaces.tree(blocks=1, width=96, classes=5, input_size=8),
}


@pytest.fixture(params=SMALL, ids=str)
def space(request):
    return SMALL[request.param]()


def randomised(space):
    """A supernet whose batch norms, statistics included, and α are all different, in evaluation mode."""
    torch.manual_seed(0)
    net = pl.SuperNet(space).double().eval()
    with torch.no_grad():
        for p in [*net.parameters(), *net.buffers()]:
            if p.dim() == 1:
                p.uniform_(.5, 1.5)
    return net


# -- the tree space of the paper --------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def paper_tree():
    with torch.device("meta"):
        return pl.SuperNet(pl.spaces.tree(blocks=18, width=400))


def test_the_papers_tree_space_has_its_counts(paper_tree):
    net = paper_tree
    assert len(net.mixed_ops) == 648
    assert count(net.architecture_parameters()) == 4536
    assert count(net.weight_parameters()) == 17_845_878
    inside = sum(count(op.candidates.parameters()) for op in net.mixed_ops.values())
    assert count(net.weight_parameters()) - inside == 3_722_646
    assert {op.names for op in net.mixed_ops.values()} == {pl.ops.TREE}


def test_the_papers_tree_space_has_7_to_the_648_networks(paper_tree):
    assert paper_tree.space.size() == 7 ** 648


def test_widths_grow_linearly_from_72_to_400():
    layout = list(block_layout(18, 400, 32))
    cells = [cell for _, cell, _, _ in layout]
    assert (4 * cells[0], 4 * cells[-1]) == (72, 400)
    assert cells == [int((16 + 84 * k / 54 + .5) // 2) * 2 for k in range(1, 55)]
    assert [k for k, (_, _, stride, _) in enumerate(layout) if stride == 2] == [18, 36]
    assert [layout[k][3] for k in (0, 17, 18, 35, 36, 53)] == [32, 32, 16, 16, 8, 8]
    assert all(layout[k][0] == 4 * cells[k - 1] for k in range(1, 54)) and layout[0][0] == 16


def test_a_tree_computes_what_its_docstring_says():
    net = randomised(SMALL["tree"]())
    tree = net.network.blocks[0].left
    net.sample(torch.Generator().manual_seed(3))
    x = torch.randn(2, tree.norm.num_features, 8, 8, dtype=torch.float64)
    e1, e2, e11, e12, e21, e22 = tree.edges
    with torch.no_grad():
        a, b = e1(x), e2(x)
        assert_close(tree(x), tree.norm(e11(a) + e12(a) + e21(b) + e22(b)) + x)


def test_a_tree_block_shuffles_splits_and_pads():
    net = randomised(SMALL["tree"]())
    net.sample(torch.Generator().manual_seed(3))
    block = net.network.blocks[1]  # the first of stage 2: halves the size
    x = torch.randn(2, block.in_bottle[0].num_features, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        grown = block.grow[:3](block.in_bottle(x))
        left = grown.unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2)  # channel c of either group side by side
        cell = grown.shape[1] // 2
        y = block.out_bottle(block.left(left[:, :cell]) + block.right(left[:, cell:]))
        y[:, :x.shape[1]] += nn.functional.avg_pool2d(x, 2)
        assert_close(block(x), y)
        assert y.shape[2] == 4 and y.shape[1] > x.shape[1]


# -- every space ------------------------------------------------------------------------------------------------------

def test_names_sizes_and_rows_of_edges(space):
    edges = space.edges()
    assert len({edge.name for edge in edges}) == len(edges) == sum(n for _, n in space.rows)
    net = pl.SuperNet(space)
    assert list(net.mixed_ops) == [edge.name for edge in edges]
    assert [op.names for op in net.mixed_ops.values()] == [edge.candidates for edge in edges]
    assert space.size() == {"chain": 4 ** 2, "staged": 3 ** 3, "tree": 7 ** 36}[space.name]
    net.check((3, space.input_size, space.input_size))


def test_edges_are_named_in_the_order_they_run(space):
    net = pl.SuperNet(space)
    ran = []
    for name, op in net.mixed_ops.items():
        op.register_forward_pre_hook(lambda *_, name=name: ran.append(name))
    net(image(space))
    assert ran == list(net.mixed_ops)


def test_compact_network_is_the_supernet_with_its_paths(space):
    # Same weights under the same names, same output: checked on every network of the small spaces, on four of the tree.
    net = randomised(space)
    x = image(space).double()
    sizes = [len(op.names) for op in net.mixed_ops.values()]
    if space.name != "tree":
        every = list(product(*map(range, sizes)))
    else:
        every = [net.sample(torch.Generator().manual_seed(seed)) for seed in range(4)]
    fixed = count(net.parameters()) - sum(count(op.parameters()) for op in net.mixed_ops.values())
    outputs = []
    for paths in every:
        net.set_alpha(nn.functional.one_hot(torch.tensor(paths), max(sizes)).double())
        net.activate(paths)
        with torch.no_grad():
            y = net(x)
            pruned = net.prune()
            assert_close(pruned(x), y, rtol=0, atol=1e-10)
            compact = net.derive().build().double().eval()
            compact.load_state_dict(pruned.state_dict())  # strict: the same names
            assert_close(compact(x), y, rtol=0, atol=1e-10)
        chosen = sum(count(op.candidates[i].parameters()) for op, i in zip(net.mixed_ops.values(), paths))
        assert net.derive().params() == count(compact.parameters()) == fixed + chosen
        outputs.append(y.flatten())
    assert torch.pdist(torch.stack(outputs)).min() > 1e-6, "different choices, different networks"


def test_outputs_have_the_shape_promised(space):
    net = pl.SuperNet(space)
    net.sample(torch.Generator().manual_seed(0))
    assert net(image(space, 3)).shape == (3, 5)
    assert space.compact([op.names[0] for op in net.mixed_ops.values()])(image(space, 3)).shape == (3, 5)


def test_settings_rebuild_the_space(space):
    again = pl.spaces.BY_NAME[space.name](**space.settings)
    assert again.settings == space.settings and again.edges() == space.edges() and str(again) == str(space)


def test_an_operation_of_ones_own_can_be_a_candidate():
    def make(name, in_channels, out_channels, stride):
        return nn.Conv2d(in_channels, out_channels, 1, stride) if name == "mine" else pl.ops.build(name, in_channels, out_channels, stride)

    space = pl.spaces.chain(edges=2, width=4, candidates=("mine", "Zero"), make=make)
    net = pl.SuperNet(space)
    assert isinstance(net.mixed_ops["edge0"].candidates[0], nn.Conv2d) and space.size() == 4
    assert net(image(space)).shape == (2, 10)


def test_spaces_whose_operations_differ_are_not_equal():
    one, other = (lambda *shape: pl.ops.build(*shape)), (lambda *shape: pl.ops.Zero())
    spaces = [pl.spaces.chain(make=make) for make in (one, other, partial(one), one)]
    assert spaces[0] == spaces[3] and hash(spaces[0]) == hash(spaces[3])
    assert spaces[0] != spaces[1] and spaces[0] != spaces[2] and pl.spaces.chain() != spaces[0]
    assert [space.name for space in spaces] == ["chain of <lambda>", "chain of <lambda>", "chain of partial", "chain of <lambda>"]


def test_the_last_block_of_a_tree_has_the_width_of_its_settings():
    for blocks, width in ((1, 72), (1, 80), (5, 136), (18, 400)):
        assert 4 * list(block_layout(blocks, width, 32))[-1][1] == width == pl.spaces.tree(blocks, width).settings["width"]


# -- the staged space -------------------------------------------------------------------------------------------------

def test_every_stage_but_the_first_halves_the_resolution_before_its_edges():
    space = pl.spaces.staged()
    names = ("Zero", "max 3x3", "DW 5x5", "conv 3x3", "MB3 3x3")
    assert [(edge.name, edge.in_channels, edge.out_channels, edge.input_size, edge.stride, edge.residual) for edge in space.edges()] == [
        ("stage1.0", 32, 32, 16, 1, True), ("stage2.0", 64, 64, 8, 1, True), ("stage2.1", 64, 64, 8, 1, True), ("stage3.0", 128, 128, 4, 1, True)]
    assert all(edge.candidates == names for edge in space.edges()) and space.size() == 5 ** 4 and space.runs == (0, 1, 2, 1)
    assert [str(block) for block in space.fixed_blocks()] == [
        "conv 3x3 3→16 s1 32x32", "conv 3x3 pooled 16→32 s2 16x16", "conv 3x3 pooled 32→64 s2 8x8", "conv 3x3 pooled 64→128 s2 4x4", "linear 128→10 s1 4x4"]
    net = pl.SuperNet(space)
    assert list(net.mixed_ops) == [edge.name for edge in space.edges()] and net.check((3, 32, 32)) == (10,)
    assert str(pl.Architecture(space, names[:4])).splitlines()[1] == "max 3x3  64→64 s1 8x8"


def test_several_entries_are_candidates_of_an_edge_in_front_of_each_stage_but_the_first():
    entries = ("conv 3x3", "MB3 3x3", "conv 1x1 pooled")
    space = pl.spaces.staged(widths=(4, 6, 8), edges=(1, 0, 2), classes=3, input_size=9, entry=entries)
    assert [(edge.name, edge.in_channels, edge.out_channels, edge.input_size, edge.stride, edge.residual, edge.candidates == entries)
            for edge in space.edges()] == [
        ("stage0.0", 4, 4, 9, 1, True, False), ("stage1.entry", 4, 6, 9, 2, False, True), ("stage2.entry", 6, 8, 5, 2, False, True),
        ("stage2.0", 8, 8, 3, 1, True, False), ("stage2.1", 8, 8, 3, 1, True, False)]
    assert [str(block) for block in space.fixed_blocks()] == ["conv 3x3 3→4 s1 9x9", "linear 8→3 s1 3x3"]
    assert space.size() == 3 ** 2 * 5 ** 3 and len(space.rows) == 5
    choices = ("conv 3x3", "MB3 3x3", "conv 1x1 pooled", "Zero", "DW 5x5")
    assert space.canonical(choices) == (*choices[:3], "DW 5x5", "Zero") and same_function(space, choices)
    network = pl.Architecture(space, choices)
    assert network.macs() == pl.costs.costs(space, "macs").cost_of(network) == (
        9 * 3 * 4 * 81 + 9 * 4 * 4 * 81 + (4 * 12 * 81 + 9 * 12 * 25 + 12 * 6 * 25) + 6 * 8 * 25 + (25 * 8 + 8 * 8) * 9 + 8 * 3)
    assert pl.SuperNet(space).check((3, 9, 9)) == (3,)


def test_large_images_cost_as_much_as_those_of_half_their_side():
    small, large, asked = pl.spaces.staged(), pl.spaces.staged(input_size=64), pl.spaces.staged(input_size=64, stride=1)
    macs = [pl.Architecture(space, ("conv 3x3", "DW 5x5", "MB3 3x3", "Zero")).macs() for space in (small, large, asked)]
    assert macs[0] == macs[1] and 3.9 < (macs[2] - 128 * 10) / (macs[0] - 128 * 10) < 4.1
    assert [space.fixed_blocks()[0].stride for space in (small, large, asked, pl.spaces.staged(input_size=48))] == [1, 2, 1, 1]


def test_one_entry_in_a_list_is_no_choice():
    assert pl.spaces.staged(entry=["conv 3x3"]).settings == pl.spaces.staged(entry="conv 3x3").settings


def staged(edges=(1, 2)):
    return pl.spaces.staged(widths=(4, 6, 4)[:len(edges)], edges=edges, classes=3, input_size=8)


def test_zeros_move_to_the_end_of_their_stage_only():
    assert staged((2, 3)).canonical(["Zero", "conv 3x3", "Zero", "DW 5x5", "max 3x3"]) == ("conv 3x3", "Zero", "DW 5x5", "max 3x3", "Zero")
    assert staged((1, 0, 2)).canonical(iter(("Zero", "Zero", "MB3 3x3"))) == ("Zero", "MB3 3x3", "Zero")
    tree = SMALL["tree"]()  # no Zero
    choices = tuple(edge.candidates[-1 - i % 2] for i, edge in enumerate(tree.edges()))
    assert tree.canonical(choices) == choices


def same_function(space, choices):
    """Whether the network of these choices and its canonical form compute the same bits with the same weights."""
    one, other = (pl.Architecture(space, c).build().double() for c in (choices, space.canonical(choices)))
    for ours, theirs in zip(other.parameters(), one.parameters(), strict=True):
        ours.data = theirs.data
    x = image(space, 3).double()
    return all(torch.equal(one.train(training)(x), other.train(training)(x)) for training in (True, False))


def test_zeros_of_the_mobile_space_move_behind_the_blocks_of_their_shape():
    stages = (16, 3, 1), (24, 4, 2), (24, 2, 1)  # the first and the last begin with a shortcut, as the channels stay
    space, draw = pl.spaces.mobile(classes=3, input_size=16, stages=stages, candidates=("MB1 3x3", "MB2 3x3")), random.Random(0)
    assert space.runs == (3, 1, 5) and pl.spaces.mobile().runs == (1, 3) * 5 + (1,)
    for _ in range(10):
        choices = tuple(draw.choice(edge.candidates) for edge in space.edges())
        moved = space.canonical(choices)
        at = 0
        for length in space.runs:
            run, at = moved[at:at + length], at + length
            assert "Zero" not in run[:length - run.count("Zero")]
        assert same_function(space, choices)


def test_canonical_networks_of_a_staged_space_are_the_same_function_of_the_same_weights():
    space = staged()
    codes = [choices for choices in product(space.edges()[0].candidates, repeat=3) if choices != space.canonical(choices)]
    assert len(codes) == 5 * 4, "Zero first in the second stage, then one of the others"
    assert all(same_function(space, choices) for choices in codes)


def test_canonical_networks_of_a_staged_space_differ():
    space, outputs = staged(), []
    networks = {space.canonical(choices) for choices in product(space.edges()[0].candidates, repeat=3)}
    assert len(networks) == 5 * (1 + 4 + 16) == 105
    with torch.no_grad():
        for choices in networks:
            torch.manual_seed(1)
            outputs.append(space.compact(choices)(image(space, 3)))
    assert min((a - b).abs().max() for a, b in combinations(outputs, 2)) > 1e-4


@pytest.mark.parametrize("settings", [{}, dict(widths=(4, 6), edges=(1, 2), stride=2, classes=3, input_size=9, candidates=("Zero", "conv 3x3")),
                                      dict(entry=("conv 3x3", "conv 3x3 pooled"))], ids=len)
def test_a_staged_network_is_saved_and_loaded(settings, tmp_path):
    space = pl.spaces.staged(**settings)
    network = pl.Architecture(space, tuple(edge.candidates[i % 2] for i, edge in enumerate(space.edges())))
    network.save(tmp_path / "a.json")
    loaded = pl.Architecture.load(tmp_path / "a.json")
    assert loaded == network and loaded.space.edges() == space.edges() and loaded.code == network.code
    assert loaded.build()(image(space)).shape == (2, space.settings["classes"])


def test_macs_of_a_staged_network_by_hand():
    space = pl.spaces.staged(widths=(4, 6), edges=(1, 2), stride=2, classes=5, input_size=18)  # 9×9, then 5×5
    network = pl.Architecture(space, ("DW 5x5", "MB3 3x3", "conv 3x3"))
    stage0 = (9 * 3 * 4 + (25 * 4 + 4 * 4)) * 9 ** 2
    stage1 = 9 * 4 * 6 * 9 ** 2 + ((6 * 18 + 9 * 18 + 18 * 6) + 9 * 6 * 6) * 5 ** 2
    assert network.macs() == stage0 + stage1 + 6 * 5 == pl.costs.costs(space, "macs").cost_of(network)


@pytest.mark.parametrize("settings", [dict(widths=(), edges=()), dict(widths=(4,), edges=(1, 1)), dict(widths=(0, 4), edges=(1, 1)),
                                      dict(widths=(4,), edges=(0,)), dict(widths=(4, 4), edges=(2, -1)), dict(classes=0), dict(input_size=0), dict(stride=0)], ids=str)
def test_a_staged_space_that_cannot_be_built(settings):
    with pytest.raises(ValueError, match=r"staged\(widths=\(.*\), edges=\(.*\), stride=.*: give a width of at least 1 and a number of edges") as caught:
        pl.spaces.staged(**settings)
    assert "\n" not in str(caught.value)


# -- errors -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("settings, told", [
    (dict(input_size=30), "input size 30: it is halved twice"),
    (dict(blocks=0), "blocks must be at least 1"),
    (dict(width=60), "width at least 72"),
    (dict(width=76), r"width=76, classes=10\): .*width at least 72 and a multiple of 8"),
])
def test_a_tree_that_cannot_be_built(settings, told):
    with pytest.raises(ValueError, match=told):
        pl.spaces.tree(**settings)


def test_an_unknown_candidate_is_named():
    with pytest.raises(ValueError, match="unknown operation 'zap'"):
        pl.SuperNet(pl.spaces.chain(edges=1, candidates=("zap", "Zero")))


def test_choices_that_do_not_fit():
    space = SMALL["chain"]()
    with pytest.raises(ValueError, match="edge 'edge1' has no candidate 'max 3x3'; allowed: MB3 3x3, DW 3x3, MB6 5x5, Zero"):
        space.compact(("Zero", "max 3x3"))
    with pytest.raises(ValueError, match=r"1 operations given, but chain\(.*\) has 2 edges"):
        space.compact(("Zero",))


def test_edges_in_another_order_than_their_modules_are_refused():
    class Swapped(nn.Module):
        def __init__(self, fill):
            super().__init__()
            late = fill(pl.spaces.Edge("late", ("MB3 3x3", "conv 3x3"), 4, 4, 4))
            self.early = fill(pl.spaces.Edge("early", ("MB3 3x3", "conv 3x3"), 4, 4, 4))
            self.late = late
    space = pl.spaces.Space("swapped", {}, 4, Swapped, ())
    with pytest.raises(ValueError, match="fills its edges in another order than that of its modules"):
        pl.SuperNet(space)


@pytest.mark.parametrize("candidates", ["Zero", ()])
def test_candidates_are_a_list_of_names(candidates):
    with pytest.raises(ValueError, match="give a list of names"):
        pl.spaces.chain(candidates=candidates)


def test_numpys_numbers_are_the_same_space():
    ours = pl.spaces.staged(widths=[8, 16], edges=[1, 1])
    other = pl.spaces.staged(widths=[np.int64(8), np.int64(16)], edges=[np.int64(1), 1])
    assert str(other) == str(ours) and "np." not in str(pl.spaces.chain(edges=np.int64(2), width=np.int64(8)))
