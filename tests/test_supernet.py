"""SuperNet: sampling, which weights a step touches, pruning, and the checks of a network of one's own."""

import itertools

import pytest
import torch
from scipy.stats import chisquare
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

import proxyless_lite as pl
import toy
from toy import seeded


# -- α and its matrices -----------------------------------------------------------------------------------------------

def test_edges_are_found_in_network_order_anywhere_in_a_module():
    a, b, c = toy.edge("linear"), toy.edge("Zero", "identity"), toy.edge("normed")
    net = pl.SuperNet(nn.ModuleDict({"first": toy.Residual(a), "second": nn.Sequential(nn.ReLU(), b), "third": c}))
    assert net.mixed_ops == {"first.operation": a, "second.1": b, "third": c}
    assert [id(alpha) for alpha in net.architecture_parameters()] == [id(op.alpha) for op in (a, b, c)]


def test_edges_that_share_an_alpha_are_refused():
    first, second, third = (toy.edge("linear", "identity") for _ in range(3))
    third.alpha = first.alpha
    with pytest.raises(ValueError, match="edges '0' and '2' share one α, but each would draw a path of its own"):
        pl.SuperNet(nn.Sequential(first, second, third))
    assert list(pl.SuperNet(nn.Sequential(first, second, first)).mixed_ops) == ["0", "1"], "one MixedOp in two places is one edge"


class Twice(nn.Module):
    """A layer that runs in front of an edge, and is one of its candidates too."""

    def __init__(self):
        super().__init__()
        self.shared = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
        self.edge = pl.MixedOp({"same": self.shared, "other": nn.Linear(4, 4)})

    def forward(self, x):
        return self.edge(self.shared(x))


def test_a_layer_that_runs_outside_the_edges_is_trained_and_frozen_there_though_it_is_a_candidate_too():
    net, x = pl.SuperNet(Twice()).train(), torch.randn(8, 4)
    for path in (0, 1):
        net.activate([path])
        assert {*net.network.shared.parameters()} <= {*net.active_parameters()}
        assert len(net.active_parameters()) == len({*net.active_parameters()}) == (4, 6)[path]
        before = net.network.shared[1].running_mean.clone()
        with net.frozen():
            assert not net(x).requires_grad and torch.equal(net.network.shared[1].running_mean, before)
        net(x).sum().backward()
        assert not torch.equal(net.network.shared[1].running_mean, before) and net.network.shared[0].weight.grad is not None
    assert len(net.weight_parameters()) == 6


@pytest.mark.parametrize("rule", [pl.rules.TwoPath(), pl.rules.Exact(), pl.rules.Reinforce(samples=4)], ids=repr)
def test_an_alpha_that_requires_no_gradient_stays(rule):
    net = pl.SuperNet(nn.Sequential(toy.edge("linear", "identity"), toy.edge("linear", "identity", "Zero")), seed=0)
    fixed, free = net.architecture_parameters()
    fixed.requires_grad_(False)
    before, optimizer = [alpha.clone() for alpha in (fixed, free)], torch.optim.Adam(net.architecture_parameters(), 0.1)
    batch = torch.randn(8, 5), torch.zeros(8, dtype=torch.long)
    for i in range(5):
        gradient, _ = rule.estimate(net, pl.training.batch_loss(net, batch), seeded(i))
        net.set_alpha_gradient(gradient)
        optimizer.step()
    assert torch.equal(fixed, before[0]) and not torch.equal(free, before[1])


@pytest.mark.parametrize("precision", ["half", "bfloat16"])
def test_alpha_keeps_at_least_single_precision(precision):
    net = getattr(pl.SuperNet(toy.edge("linear", "identity")), precision)()
    assert {alpha.dtype for alpha in net.architecture_parameters()} == {torch.float32} != {p.dtype for p in net.weight_parameters()}
    assert net.double().architecture_parameters()[0].dtype == torch.float64


def test_the_weights_of_a_step_are_those_that_were_loaded_in_place_of_the_first():
    net, other = (pl.SuperNet(toy.edge("linear", "identity"), seed=seed) for seed in (0, 1))
    net.load_state_dict(other.state_dict(), assign=True)
    assert {*net.active_parameters(), *net.architecture_parameters()} == {*net.parameters()}


def test_a_mixed_op_alone_is_a_network():
    net = pl.SuperNet(toy.edge("linear", "identity"))
    net.set_alpha(torch.tensor([[0., 1.]]))
    assert isinstance(net.prune(), nn.Identity)


def test_weights_and_alphas_are_all_parameters_and_disjoint():
    net = toy.network()
    weights, alphas = map(set, (net.weight_parameters(), net.architecture_parameters()))
    assert weights | alphas == set(net.parameters()) and not weights & alphas
    assert len(net.weight_parameters()) == len(weights)


def test_probabilities_matrix_and_entropy():
    net = toy.network()
    rows = [op.alpha.detach().softmax(0) for op in net.mixed_ops.values()]
    assert_close(net.probability_matrix(), toy.padded(net, rows))
    assert_close(net.probabilities(), dict(zip(net.mixed_ops, rows)))
    assert net.entropy() == pytest.approx(sum(-(p * p.log()).sum().item() for p in rows) / 2)
    net.set_alpha(torch.zeros(2, 4))
    assert net.entropy() == pytest.approx((torch.tensor([4., 3.]).log().mean()).item())


def test_set_alpha_writes_back_what_alpha_matrix_gave():
    net, other = toy.network(0), toy.network(1)
    assert not torch.equal(net.alpha_matrix(), other.alpha_matrix())
    other.set_alpha(net.alpha_matrix())
    assert torch.equal(net.alpha_matrix(), other.alpha_matrix())
    assert net.alpha_matrix()[1, 3] == -torch.inf


# -- sampling ---------------------------------------------------------------------------------------------------------

def test_sampled_frequencies_are_p_on_edges_of_different_size():
    net = pl.SuperNet(toy.Parallel(toy.edge("linear"), toy.edge("linear", "Zero", "identity", "other"), toy.edge("Zero", "other")))
    toy.spread(net)
    g, draws = seeded(0), 4000
    counts = torch.zeros(3, 4)
    for _ in range(draws):
        paths = net.sample(g)
        counts[range(3), paths] += 1
    assert [op.gate.active for op in net.mixed_ops.values()] == paths
    p = net.probability_matrix()
    for row, chances, size in zip(counts, p, [1, 4, 2]):
        assert row[size:].sum() == 0
        assert row.sum() == draws
        assert size == 1 or chisquare(row[:size], draws * chances[:size].double() / chances.double().sum()).pvalue > 0.001


def test_edges_are_sampled_independently():
    net = pl.SuperNet(toy.Parallel(*(toy.edge("linear", "Zero") for _ in range(2))))
    net.set_alpha(torch.zeros(2, 2))
    g = seeded(0)
    counts = torch.zeros(2, 2)
    for _ in range(2000):
        counts[tuple(net.sample(g))] += 1
    assert chisquare(counts.flatten()).pvalue > 0.001


def test_the_generator_decides_the_sample():
    net = toy.network()
    a = [net.sample(seeded(s)) for s in range(20)]
    torch.rand(7)
    assert a == [net.sample(seeded(s)) for s in range(20)]
    assert len(set(map(tuple, a))) > 3


def test_activate_takes_indices_or_an_architecture():
    net = pl.SuperNet(pl.spaces.chain(edges=3, width=4))
    net.activate([6, 0, 2])
    assert [op.gate.active for op in net.mixed_ops.values()] == [6, 0, 2]
    net.activate(pl.Architecture(net.space, ("MB6 3x3", "Zero", "MB3 5x5")))
    assert [op.gate.active for op in net.mixed_ops.values()] == [3, 6, 1]


def test_paths_that_do_not_fit_are_told_in_one_line():
    space = pl.spaces.chain(edges=3, width=4)
    net = pl.SuperNet(space)
    for paths, told in (([0, 1], "2 paths given, but the network has 3 edges; give one per edge"), ([0] * 4, "4 paths given"),
                        ([0, -1, 0], "edge 'edge1' has no path -1; give 0 to 6"), ([0, 0, 7], "edge 'edge2' has no path 7"),
                        (pl.Architecture(space, ("Zero",) * 2), "2 paths given"),
                        (pl.Architecture(space, ("Zero", "identity", "Zero")), "edge 'edge1' has no candidate 'identity'; allowed: MB3 3x3, ")):
        with pytest.raises(ValueError, match=told) as caught:
            net.activate(paths)
        assert "\n" not in str(caught.value) and [op.gate.active for op in net.mixed_ops.values()] == [0, 0, 0]


# -- the weight step --------------------------------------------------------------------------------------------------

def test_a_weight_step_leaves_no_trace_on_inactive_paths():
    net = toy.network()
    x, labels = toy.batch()
    for paths in toy.all_paths(net):
        net.zero_grad(set_to_none=True)
        before = {k: v.clone() for k, v in net.named_buffers()}
        net.activate(paths)
        F.cross_entropy(net(x), labels).backward()
        active = {id(w) for w in net.active_parameters()}
        for w in net.weight_parameters():
            assert (w.grad is not None) == (id(w) in active)
        assert all(a.grad is None for a in net.architecture_parameters())
        inactive = [f"{name}.candidates.{i}." for (name, op), chosen in zip(net.mixed_ops.items(), paths)
                    for i in range(len(op.names)) if i != chosen]
        for name, buffer in net.named_buffers():
            untouched = any(part in name for part in inactive)
            assert torch.equal(buffer, before[name]) == untouched, name


def test_a_weight_in_two_places_is_listed_once():
    conv = nn.Conv2d(4, 4, 1)
    net = pl.SuperNet(nn.Sequential(*(pl.MixedOp({"shared": conv, "own": nn.Conv2d(4, 4, 1)}) for _ in range(2))))
    net.activate([0, 0])
    for listed in (net.weight_parameters(), net.active_parameters()):
        assert len(listed) == len(set(listed)) and conv.weight in set(listed)


def test_active_parameters_are_the_fixed_ones_and_those_of_the_chosen_path():
    net = toy.network()
    net.activate((3, 2))
    expected = set(net.network[1].parameters()) | set(net.network[2].parameters()) | set(net.network[-1].parameters())
    for op, i in zip(net.mixed_ops.values(), (3, 2)):
        expected |= set(op.candidates[i].parameters())
    assert set(net.active_parameters()) == expected
    for op in net.mixed_ops.values():
        op.gate = pl.Softmax()
    assert set(net.active_parameters()) == set(net.weight_parameters())


def test_frozen_keeps_batch_normalisation_but_not_its_statistics():
    net = toy.network()
    x, _ = toy.batch()
    net.activate((0, 2))
    with torch.no_grad():
        expected = net(x)  # normalised by the batch
        before = {k: v.clone() for k, v in net.named_buffers()}
        with net.frozen():
            assert_close(net(x), expected, rtol=0, atol=0)
            assert not any(w.requires_grad for w in net.active_parameters())
    assert all(torch.equal(b, before[name]) for name, b in net.named_buffers())
    assert all(w.requires_grad for w in net.weight_parameters())


def test_frozen_in_evaluation_mode_uses_the_running_statistics():
    net = toy.network().eval()
    x, _ = toy.batch()
    net.activate((0, 2))
    with net.frozen():  # then an image's output does not depend on the rest of its batch
        assert_close(net(x), torch.cat([net(x[:1]), net(x[1:])]))


def test_the_parts_follow_a_conversion():
    net = toy.network(dtype=torch.float32).to(torch.float64)
    assert set(net.weight_parameters()) | set(net.architecture_parameters()) == set(net.parameters())
    meta = pl.SuperNet(pl.spaces.chain(edges=1, width=4)).to("meta")
    assert {w.device.type for w in meta.weight_parameters()} == {"meta"}
    assert set(meta.weight_parameters()) | set(meta.architecture_parameters()) == set(meta.parameters())


# -- the result -------------------------------------------------------------------------------------------------------

def test_derive_and_prune_take_the_most_probable_path():
    net = toy.network()
    x, _ = toy.batch()
    for paths in toy.all_paths(net):
        net.set_alpha(F.one_hot(torch.tensor(paths), 4).double())
        assert net.best_paths() == list(paths)
        assert net.derive().choices == tuple(op.names[i] for op, i in zip(net.mixed_ops.values(), paths))
        pruned = net.prune()
        assert not any(isinstance(m, pl.MixedOp) for m in pruned.modules())
        net.activate(paths)
        with torch.no_grad():
            assert_close(pruned(x), net(x), rtol=0, atol=0)


@pytest.mark.parametrize("alone", [False, True])
def test_prune_computes_batch_statistics_of_the_batches_it_is_given(alone):
    torch.manual_seed(0)
    edge = pl.MixedOp({"normed": nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)), "identity": nn.Identity()})
    net = pl.SuperNet(edge if alone else nn.Sequential(nn.BatchNorm1d(3), edge))
    for _ in range(3):
        net(5 + torch.randn(20, 3))                                                # statistics of other inputs
    net.set_alpha(torch.tensor([[1., 0.]]))
    batches = [(2 * torch.randn(30, 3), "labels") for _ in range(4)]
    pruned, stale = net.prune(batches=batches), net.prune()
    norm, first = pruned[1] if alone else pruned[1][1], nn.Identity() if alone else pruned[0]
    seen = pruned[0] if alone else pruned[1][0]
    with torch.no_grad():
        outputs = [seen(first.train()(x)) for x, _ in batches]
    assert_close(norm.running_mean, torch.stack([y.mean(0) for y in outputs]).mean(0), rtol=1e-4, atol=1e-5)
    assert_close(norm.running_var, torch.stack([y.var(0) for y in outputs]).mean(0), rtol=1e-4, atol=1e-5)
    old = stale[1] if alone else stale[1][1]
    assert (norm.running_mean - old.running_mean).abs().max() > 0.1 and norm.momentum == 0.1


def test_prune_takes_the_paths_of_an_architecture():
    space = pl.spaces.staged(widths=(4, 6), edges=(1, 2), classes=3, input_size=8, candidates=("Zero", "conv 3x3", "DW 3x3"))
    net = pl.SuperNet(space, seed=1).eval()
    net.set_alpha(torch.tensor([[0.0, 1, 0], [1, 0, 0], [0, 0, 1]]))
    x = torch.randn(2, 3, 8, 8)
    for choices in itertools.product(("Zero", "conv 3x3", "DW 3x3"), repeat=3):
        network = pl.Architecture(space, choices)
        assert net.paths_of(network) == [("Zero", "conv 3x3", "DW 3x3").index(name) for name in choices]
        net.activate([0, 0, 0])
        pruned = net.prune(network)
        assert [op.gate.active for op in net.mixed_ops.values()] == [0, 0, 0] and not any(isinstance(m, pl.MixedOp) for m in pruned.modules())
        net.activate(network)
        assert torch.equal(pruned(x), net(x))
        network.build().load_state_dict(pruned.state_dict())  # strict: the same names
    net.activate(net.derive())
    assert torch.equal(net.prune()(x), net(x)) and torch.equal(net.prune(net.derive())(x), net(x))


def test_a_shared_edge_is_pruned_to_the_architecture_wherever_it_stands():
    shared, last = (pl.MixedOp({"double": nn.Linear(3, 3), "identity": nn.Identity()}) for _ in range(2))
    net = pl.SuperNet(nn.Sequential(shared, nn.Tanh(), shared, last))
    x = torch.randn(2, 3)
    expected = last.candidates[0](x.tanh())
    assert net.paths_of([1, 0]) == [1, 0] and torch.equal(net.prune(pl.Architecture(None, ("identity", "double")))(x), expected)


def test_prune_for_an_architecture_that_does_not_fit():
    space = pl.spaces.chain(edges=3, width=4)
    net = pl.SuperNet(space)
    for choices, told in ((("Zero",) * 2, "2 paths given, but the network has 3 edges"), (("Zero", "identity", "Zero"), "edge 'edge1' has no candidate 'identity'")):
        with pytest.raises(ValueError, match=told) as caught:
            net.prune(pl.Architecture(space, choices))
        assert "\n" not in str(caught.value)


def test_prune_is_a_copy():
    net = toy.network()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    pruned = net.prune()
    with torch.no_grad():
        for p in pruned.parameters():
            p.add_(1)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert len(net.mixed_ops) == sum(isinstance(m, pl.MixedOp) for m in net.modules())


# -- errors -----------------------------------------------------------------------------------------------------------

def test_check_names_the_edge_and_the_shapes():
    net = pl.SuperNet(nn.Sequential(
        toy.edge("linear", "identity"), pl.MixedOp({"same": nn.Identity(), "wide": nn.Linear(5, 7)})))
    with pytest.raises(ValueError, match=r"edge '1'.*from \(5,\): same \(5,\), wide \(7,\)"):
        net.check((5,))
    assert [str(op.gate) for op in net.mixed_ops.values()] == ["Path(0)", "Path(0)"], "the network itself is untouched"


def test_check_passes_what_fits():
    toy.network().check((5,))
    assert pl.SuperNet(pl.spaces.chain(edges=2, width=4)).check((3, 8, 8)) == (10,)  # the shape of the output


def test_a_network_without_mixed_op():
    with pytest.raises(ValueError, match="Sequential holds no MixedOp"):
        pl.SuperNet(nn.Sequential(nn.Linear(2, 2)))


def test_a_shared_edge_is_pruned_wherever_it_stands():
    op = pl.MixedOp({"double": nn.Linear(3, 3), "identity": nn.Identity()})
    net = pl.SuperNet(nn.Sequential(op, nn.Tanh(), op))
    net.set_alpha(torch.tensor([[0.0, 1.0]]))
    x = torch.randn(2, 3)
    assert torch.equal(net.prune()(x), x.tanh())


def test_an_edge_within_an_edge_is_refused():
    inner = pl.MixedOp({"a": nn.Identity(), "b": nn.ReLU()})
    with pytest.raises(ValueError, match="holds another MixedOp"):
        pl.SuperNet(nn.Sequential(pl.MixedOp({"inner": inner, "c": nn.Identity()})))


def test_networks_of_other_dimensions_are_welcome():
    net = pl.SuperNet(nn.Sequential(pl.MixedOp({"conv": nn.Conv3d(2, 2, 3, padding=1), "identity": nn.Identity()})))
    assert net(torch.randn(1, 2, 4, 4, 4)).shape == (1, 2, 4, 4, 4)
