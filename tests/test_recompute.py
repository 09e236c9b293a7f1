"""Edges computed again in backward: the same numbers, bit for bit, from fewer bytes."""

import pytest
import torch
from torch.nn import functional as F

import proxyless_lite as pl
import small_runs
import toy
from proxyless_lite import runtime
from proxyless_lite.search import __main__ as command
from proxyless_lite.search import place

KINDS = ("weight", "two_path", "exact", "trapezoid", "softmax")


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return pl.SuperNet(pl.spaces.mobile(0.35, classes=10, input_size=64)).double()


@pytest.fixture(scope="module")
def batch():
    g = torch.Generator().manual_seed(1)
    return torch.randn(2, 3, 64, 64, generator=g, dtype=torch.float64), torch.tensor([3, 8])


def gradient(net, batch, kind, engine):
    """What one step of this kind learns: the gradients of the active weights, or of α."""
    x, labels = batch
    generator = torch.Generator().manual_seed(2)
    if kind == "weight":
        net.sample(generator)
        F.cross_entropy(engine.run(net, x), labels).backward()
        return [p.grad for p in net.active_parameters()]
    if kind != "softmax":
        return [pl.rules.BY_NAME[kind]().estimate(net, pl.training.batch_loss(net, batch, engine=engine), generator)[0]]
    for op in net.mixed_ops.values():
        op.gate = pl.Softmax()
    with net.frozen():
        F.cross_entropy(net(x), labels).backward()
    return [a.grad for a in net.architecture_parameters()]


def both(net, batch, kind, **engine):
    """(gradients, state of the network, bytes kept) of a step without and with recomputation, from the same state."""
    start = {k: v.clone() for k, v in net.state_dict().items()}
    for activation_checkpointing in (False, True):
        net.load_state_dict(start)
        net.zero_grad()
        how = runtime.Engine(activation_checkpointing=activation_checkpointing, **engine)
        place(net, how)
        torch.manual_seed(3)  # what dropout draws
        found = []
        kept = runtime.saved_bytes(lambda: found.extend(gradient(net, batch, kind, how)), exclude=[*net.parameters(), *net.buffers(), *batch])
        yield found, {k: v.clone() for k, v in net.state_dict().items()}, kept
    place(net, runtime.Engine())


def same(a, b):
    return len(a) == len(b) > 0 and all(torch.equal(x, y) for x, y in zip(a, b)) and any(x.any() for x in a)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_and_statistics_are_the_same_and_bytes_few(net, batch, kind):
    (plain, plain_state, plain_kept), (again, again_state, again_kept) = both(net, batch, kind)
    assert same(plain, again)
    assert all(torch.equal(plain_state[k], again_state[k]) for k in plain_state)
    assert plain_kept > {"weight": 4, "softmax": 60}.get(kind, 9) * again_kept


def test_a_weight_step_updates_batch_statistics_once(net, batch):
    x, _ = batch
    layers = {name: m for name, m in net.named_modules() if isinstance(m, torch.nn.BatchNorm2d)}
    before = {name: layer.running_mean.clone() for name, layer in layers.items()}
    means = {name: [] for name in layers}  # of each batch that a layer has seen
    hooks = [layer.register_forward_hook(lambda layer, x, _, name=name: means[name].append(x[0].mean((0, 2, 3)).detach())) for name, layer in layers.items()]
    *_, (_, state, _) = both(net, batch, "weight")
    for hook in hooks:
        hook.remove()
    assert {len(seen) for seen in means.values()} == {0, 2, 3}  # not drawn; outside the edges; drawn, and once more in the backward that recomputes
    for name, seen in means.items():
        expected = before[name].lerp(seen[0], layers[name].momentum) if seen else before[name]
        torch.testing.assert_close(state[f"{name}.running_mean"], expected)


@pytest.mark.parametrize("kind", KINDS)
def test_random_numbers_are_the_same(kind):
    torch.manual_seed(0)
    space = pl.spaces.chain(edges=2, width=4, input_size=8, candidates=("MB3 3x3", "MB3 5x5", "Zero"), make=small_runs.with_dropout)
    images = torch.randn(4, 3, 8, 8, dtype=torch.float64), torch.tensor([1, 2, 3, 4])
    (plain, *_), (again, *_) = both(pl.SuperNet(space).double(), images, kind)
    assert same(plain, again)


@pytest.mark.parametrize("kind", ("weight", "exact"))
def test_precision_is_the_same(net, batch, kind):
    images = batch[0].float(), batch[1]
    torch.manual_seed(0)
    small = pl.SuperNet(pl.spaces.chain(edges=2, width=8, candidates=pl.ops.MBCONV, input_size=64))
    (plain, *_), (again, *_) = both(small, images, kind, precision="bfloat16")
    (whole, *_), _ = both(small, images, kind)
    assert same(plain, again) and same(plain, whole) == (kind != "weight")  # α steps compute in full precision


def test_an_edge_used_twice_and_given_another_gate_before_backward():
    op = toy.edge("linear", "normed", "Zero").double()
    x, _ = toy.batch()
    found = []
    for op.activation_checkpointing in (False, True):
        op.gate = gate = pl.Probe(0, [1, 2])
        y = op(op(x)).square().sum()
        op.gate = pl.Path(2)
        y.backward()
        found.append([gate.grad[j] for j in range(3)])
    assert same(*found)


def test_an_error_in_a_path_leaves_the_statistics_in_place():
    op = toy.edge("normed", "linear").double()
    op.activation_checkpointing = True
    y = op(toy.batch()[0])
    norm, running = op.candidates[0][1], op.candidates[0][1].running_mean
    norm.register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        y.sum().backward()
    assert norm.running_mean is running


def test_a_whole_search_ends_with_the_same_bits():
    ends = []
    for activation_checkpointing in (False, True):
        search = small_runs.small_search(None, epochs=2, warmup_epochs=0, engine=runtime.engine("cpu", activation_checkpointing=activation_checkpointing))
        ends.append(small_runs.everything(search, search.run()))
    plain, again = ends
    assert plain["history"] == again["history"] and plain["choices"] == again["choices"]
    assert all(torch.equal(a, b) for a, b in zip(plain["state"]["net"].values(), again["state"]["net"].values(), strict=True))


def test_the_engine_switches_it_on_and_off(net):
    for activation_checkpointing in (True, False):
        place(net, runtime.engine("cpu", activation_checkpointing=activation_checkpointing))
        assert {op.activation_checkpointing for op in net.mixed_ops.values()} == {activation_checkpointing}
        assert net.check((3, 64, 64)) == (10,)


def test_the_command_line_hands_it_on(monkeypatch):
    used = []
    monkeypatch.setattr(command, "search", lambda args, engine: used.append(engine.activation_checkpointing))
    for given in ([], ["--activation-checkpointing"]):
        command.main(["--device", "cpu", *given])
    assert used == [False, True] and "keep only the input of each edge" in " ".join(command.parser().format_help().split())
