"""MixedOp and its gates against storing everything and against finite differences, in float64."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

import proxyless_lite as pl
import toy
from toy import exactly


def cross_entropy(net):
    x, labels = toy.batch()
    return lambda: F.cross_entropy(net(x), labels)


# -- what each gate computes ------------------------------------------------------------------------------------------

def test_a_new_op_is_nearly_uniform_and_its_probabilities_are_softmax():
    op = toy.edge("linear", "identity", "Zero")
    assert op.names == ("linear", "identity", "Zero")
    assert isinstance(op.alpha, nn.Parameter) and 0 < op.alpha.abs().max() < 0.01
    with torch.no_grad():
        op.alpha.copy_(torch.tensor([1., 2., 3.]))
    exp = torch.tensor([1., 2., 3.]).exp()
    assert_close(op.probabilities(), exp / exp.sum())


def test_forward_of_every_gate():
    op = toy.edge("linear", "identity", "Zero").double()
    with torch.no_grad():
        op.alpha.copy_(torch.tensor([.5, -1., 2.]))
    x, _ = toy.batch()
    outputs = [op.candidates[0](x), x, torch.zeros_like(x)]
    for i in range(3):
        op.gate = pl.Path(i)
        exactly(op(x), outputs[i])
        op.gate = pl.Probe(i, [j for j in range(3) if j != i])
        exactly(op(x), outputs[i])
    op.gate = pl.Sum()
    exactly(op(x), outputs[0] + x)
    op.gate = pl.Softmax()
    p = op.probabilities()
    exactly(op(x), p[0] * outputs[0] + p[1] * x)


def test_path_runs_only_its_candidate():
    op = toy.edge("linear", "other", "normed")
    ran = []
    for name, candidate in zip(op.names, op.candidates):
        candidate.register_forward_hook(lambda *_, name=name: ran.append(name))
    op.gate = pl.Path(1)
    op(torch.randn(4, 5))
    assert ran == ["other"]


def test_the_gate_belongs_to_one_op():
    a, b = toy.edge("linear", "Zero"), toy.edge("linear", "Zero")
    a.gate = pl.Path(1)
    x = torch.randn(4, 5)
    assert a(x).abs().sum() == 0 and b(x).abs().sum() > 0


# -- Softmax: DARTS ---------------------------------------------------------------------------------------------------

def test_softmax_gradient_is_eq_4_by_hand_and_by_finite_differences():
    net = toy.network()
    loss = cross_entropy(net)
    seen = {}

    def watch(op, inputs, y):
        y.retain_grad()
        seen[op] = inputs[0].detach(), y

    for op in net.mixed_ops.values():
        op.gate = pl.Softmax()
        op.register_forward_hook(watch)
    loss().backward()
    by_autograd = [a.grad.clone() for a in net.architecture_parameters()]
    for op, found in zip(net.mixed_ops.values(), by_autograd):
        x, y = seen[op]
        G = torch.stack([(y.grad * o(x)).sum() for o in op.candidates]).detach()
        p = op.probabilities().detach()
        exactly(found, p * (G - (p * G).sum()))
        assert found.abs().min() > 1e-6
    for op in net.mixed_ops.values():  # finite differences need no gradients kept
        op._forward_hooks.clear()
    by_differences = toy.finite_differences(lambda: loss().item(), net.architecture_parameters())
    assert_close(by_autograd, by_differences, rtol=1e-5, atol=1e-8)


# -- Probe: Appendix D ------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("training", [True, False])
def test_probe_gives_what_storing_all_outputs_gives(training):
    net = toy.network().train(training)
    loss = cross_entropy(net)
    for active in toy.all_paths(net):
        expected = toy.stored_gradient(net, active, loss)
        found = toy.probed_gradient(net, active, toy.others(net, active), loss)
        assert expected.abs().sum(1).min() > 1e-6
        exactly(found, expected)


def test_probe_of_some_paths_leaves_the_others_out():
    net = toy.network()
    loss = cross_entropy(net)
    expected = toy.stored_gradient(net, (3, 1), loss)
    found = toy.probed_gradient(net, (3, 1), ([2], []), loss)
    assert set(net.mixed_ops["0.operation"].gate.grad) == {3, 2} and set(net.mixed_ops["4.operation"].gate.grad) == {1}
    exactly(found[0, [3, 2]], expected[0, [3, 2]])
    exactly(found[1, 1], expected[1, 1])
    assert found[0, [0, 1]].abs().sum() == 0 and found[1, [0, 2]].abs().sum() == 0


def test_probe_does_not_change_the_gradient_of_the_input_or_the_weights():
    net = toy.network()
    x, labels = toy.batch()
    x.requires_grad_()

    def gradients():
        wanted = [x, *net.active_parameters()]
        return torch.autograd.grad(F.cross_entropy(net(x), labels), wanted)

    net.activate((0, 2))
    plain = gradients()
    net.probe((0, 2), toy.others(net, (0, 2)))
    exactly(gradients(), plain)


class Join(nn.Module):
    """A candidate that takes two inputs."""

    def __init__(self, how):
        super().__init__()
        self.how, self.layer = how, nn.Linear(5, 5)

    def forward(self, x, y):
        return self.how(self.layer(x), y)


@pytest.mark.parametrize("recompute", [False, True])
def test_an_edge_of_two_inputs_is_probed_exactly(recompute):
    torch.manual_seed(0)
    op = pl.MixedOp({"sum": Join(torch.add), "product": Join(torch.mul), "first": Join(lambda x, y: x)}).double()
    op.activation_checkpointing = recompute
    x, y, weights = (torch.randn(4, 5, dtype=torch.float64) for _ in range(3))
    x.requires_grad_(), y.requires_grad_()
    for active in range(3):
        g = torch.nn.functional.one_hot(torch.tensor(active), 3).double().requires_grad_()
        stored = sum(g[i] * o(x, y) for i, o in enumerate(op.candidates))           # Eq. 3, all outputs kept
        *expected, at_gates = torch.autograd.grad((weights * stored.sin()).sum(), [x, y, g], allow_unused=True, materialize_grads=True)
        op.gate = pl.Probe(active, [i for i in range(3) if i != active])
        found = torch.autograd.grad((weights * op(x, y).sin()).sum(), [x, y], allow_unused=True, materialize_grads=True)
        exactly(torch.stack([op.gate.grad[i] for i in range(3)]), at_gates)
        for a, b in zip(found, expected):
            exactly(a, b)
    op.gate = pl.Softmax()
    exactly(op(x, y), sum(p * o(x, y) for p, o in zip(op.probabilities(), op.candidates)))


def test_probe_adds_up_when_an_edge_is_used_twice():
    op = toy.edge("linear", "identity", "Zero").double()
    x, _ = toy.batch()
    direction = torch.randn(4, 5, dtype=torch.float64)
    op.gate = pl.Probe(0, [1, 2])
    ((op(x) + op(2 * x)) * direction).sum().backward()
    exactly(op.gate.grad[1], 3 * (x * direction).sum())
    exactly(op.gate.grad[0], ((op.candidates[0](x) + op.candidates[0](2 * x)) * direction).sum().detach())


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_probe_of_images_in_either_memory_layout(layout):
    torch.manual_seed(0)
    op = pl.MixedOp({name: pl.ops.build(name, 4, 4) for name in ("MB3 3x3", "max 3x3", "identity", "Zero", "DW 5x5")})
    net = pl.SuperNet(nn.Sequential(pl.ops.Conv2d(3, 4, 3), op)).double()
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64).to(memory_format=layout)
    direction = torch.randn(2, 4, 6, 6, dtype=torch.float64).to(memory_format=layout)
    loss = lambda: (net(x) * direction).sum()
    for i in range(5):
        expected = toy.stored_gradient(net, [i], loss)
        exactly(toy.probed_gradient(net, [i], toy.others(net, [i]), loss), expected)


@pytest.mark.parametrize("active", ["Zero", "identity"])
@pytest.mark.parametrize("freeze_all", [True, False])
def test_a_first_edge_on_zero_or_identity_still_learns(active, freeze_all):
    # Nothing before the edge and nothing in the active path asks for a gradient: only α makes backward come by.
    net = toy.network()
    if freeze_all:
        for weight in net.weight_parameters():
            weight.requires_grad_(False)
    loss = cross_entropy(net)
    paths = (net.mixed_ops["0.operation"].names.index(active), 0)
    expected = toy.stored_gradient(net, paths, loss)
    found = toy.probed_gradient(net, paths, toy.others(net, paths), loss)
    assert expected[0].abs().max() > 1e-3
    exactly(found, expected)


def test_probing_more_paths_saves_no_more_tensors():
    net = toy.network()
    loss = cross_entropy(net)

    def saved(probed):
        kept = []
        net.probe((3, 1), probed)
        with net.frozen(), torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
            loss().backward()
        return sum(kept)

    assert saved(([0, 1, 2], [0, 2])) == saved(([], [])) > 0


def test_probed_paths_leave_no_trace_even_without_frozen_weights():
    net = toy.network()
    before = {k: v.clone() for k, v in net.mixed_ops["0.operation"].candidates[0].state_dict().items()}
    net.probe((3, 1), ([0], [2]))
    cross_entropy(net)().backward()
    normed = net.mixed_ops["0.operation"].candidates[0]
    assert all(torch.equal(v, before[k]) for k, v in normed.state_dict().items())
    assert all(p.grad is None for p in normed.parameters())
    assert normed[1].track_running_stats
    assert net.mixed_ops["0.operation"].candidates[3].weight.grad is not None


# -- errors -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("active, others", [(0, [0]), (0, [1, 1]), (2, [0, 2])])
def test_probe_refuses_a_repeated_index(active, others):
    with pytest.raises(ValueError, match="distinct"):
        pl.Probe(active, others)


def test_probe_names_the_candidate_of_another_shape():
    op = pl.MixedOp({"a": nn.Linear(5, 5), "narrow": nn.Linear(5, 1)})
    op.gate = pl.Probe(0, [1])
    with pytest.raises(ValueError, match=r"'narrow' gives \(4, 1\).*\(4, 5\)"):
        op(torch.randn(4, 5)).sum().backward()


def test_an_op_whose_move_fails_keeps_its_alpha():
    class Stuck(nn.Identity):
        def _apply(self, fn, recurse=True):
            raise RuntimeError("out of memory")

    op = pl.MixedOp({"a": Stuck(), "b": nn.Identity()})
    with pytest.raises(RuntimeError, match="out of memory"):
        op.double()
    assert_close(op.probabilities().sum().item(), 1.0)


def test_no_candidates():
    with pytest.raises(ValueError, match="no candidates"):
        pl.MixedOp({})


def edge_with(**candidates):
    return pl.MixedOp({"linear": nn.Linear(6, 6), **candidates})


def test_a_candidate_that_works_in_place_is_named():
    x = torch.randn(4, 6)
    op = edge_with(relu=nn.ReLU(inplace=True), identity=nn.Identity())
    for active, others in ((0, [1, 2]), (1, [2])):
        op.gate = pl.Probe(active, others)
        with pytest.raises(ValueError, match="'relu' changes its input in place"):
            op(x.clone()).sum().backward()


@pytest.mark.parametrize("backward_inside", [True, False])
def test_probe_runs_under_autocast_wherever_backward_is_called(backward_inside):
    torch.manual_seed(0)
    op = pl.MixedOp({"a": pl.ops.Conv2d(4, 4, 3), "b": pl.ops.Conv2d(4, 4, 5), "c": nn.Identity()})
    x = torch.randn(2, 4, 6, 6, requires_grad=True)
    net = pl.SuperNet(nn.Sequential(op))
    net.probe([0], [[1, 2]])
    with net.frozen():
        with torch.autocast("cpu", torch.bfloat16):
            loss = net(x).float().square().mean()
            if backward_inside:
                loss.backward()
        if not backward_inside:
            loss.backward()
    half = {j: value.item() for j, value in op.gate.grad.items()}
    net.probe([0], [[1, 2]])
    with net.frozen():
        net(x).square().mean().backward()
    for j, value in op.gate.grad.items():
        assert half[j] == pytest.approx(value.item(), rel=0.05, abs=0.02)


def test_a_probed_instance_norm_leaves_no_trace():
    """It updates its statistics whatever its track_running_stats is set to."""
    torch.manual_seed(0)
    norms = [nn.InstanceNorm1d(6, affine=True, track_running_stats=True) for _ in range(3)]
    net = pl.SuperNet(nn.Sequential(norms[0], pl.MixedOp({"a": norms[1], "b": norms[2]})))
    x = torch.randn(4, 6, 5) + 1
    wanted, before = norms[1](x), {k: v.clone() for k, v in net.state_dict().items()}
    with pl.mixed_op.frozen_statistics(norms):
        exactly(norms[1](x), wanted)
    net.probe([0], [[1]])
    with net.frozen():
        net(x).square().sum().backward()
    assert len(net.mixed_ops["1"].gate.grad) == 2
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items()) and all(norm.track_running_stats for norm in norms)
    net(x)
    assert not any(torch.equal(net.state_dict()[name], before[name]) for name in ("network.0.running_mean", "network.1.candidates.0.running_var"))


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_a_network_left_under_probe_is_evaluated_as_any(mode):
    net = toy.network()
    x, _ = toy.batch()
    net.probe((3, 1), ([0], [2]))
    probed = net.eval()(x)
    with mode():
        exactly(net(x), probed.detach())


def test_instance_norm_in_evaluation_is_left_as_it_is():
    norm = nn.InstanceNorm1d(6, track_running_stats=True).eval()
    x = torch.randn(4, 6, 5)
    with pl.mixed_op.frozen_statistics([norm]):
        inside = norm(x)
    assert torch.equal(inside, norm(x))
