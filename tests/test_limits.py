"""Upper bounds on several costs at once, and peak memory: against enumeration, by hand, and against what is alive in a real run."""

import gc
import itertools
import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import proxyless_lite as pl
from proxyless_lite.activations import peak_memory
from proxyless_lite.costs import peaks
from proxyless_lite.search.__main__ import main

CHAIN = pl.spaces.chain(edges=4, width=8, candidates=("Zero", "DW 5x5", "conv 3x3", "MB3 3x3"))
SEQUENTIAL = [CHAIN, pl.spaces.staged(widths=(4, 8), edges=(1, 2), input_size=8), pl.spaces.mobile(width=0.25, classes=7, input_size=64)]


def costs_of(space):
    return [pl.costs.costs(space, source) for source in ("macs", "params", "memory")]


def decided(space, seed):
    """A SuperNet whose α differ."""
    net = pl.SuperNet(space, seed=0)
    shape = net.alpha_matrix().shape
    net.set_alpha(2 * torch.randn(shape, generator=torch.Generator().manual_seed(seed)))
    return net


# -- limits ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quantiles", [(0.5, 0.6, 0.9), (0.2, 0.3, 1), (0.9, 0.1, 1), (0.05, 1, 1), (1, 1, 1), (1, 1, 0.2)])
def test_the_most_probable_networks_within_three_limits_are_those_of_enumeration(quantiles):
    net, every = decided(CHAIN, 1), list(itertools.product(range(4), repeat=4))
    log_p, limits = net.alpha_matrix().double().log_softmax(1), []
    for costs, q in zip(costs_of(CHAIN), quantiles):
        limits.append((costs, sorted(map(costs.cost_of, every))[int(q * 255)]))
    kept = [paths for paths in every if all(costs.cost_of(paths) <= most for costs, most in limits)]
    expected = sorted(kept, key=lambda paths: -sum(log_p[e, i].item() for e, i in enumerate(paths)))
    found = pl.Limits(limits).most_probable(net, k=12)
    assert found == [list(paths) for paths in expected[:12]] and 0 < len(found) == min(12, len(kept))
    assert net.derive(pl.Limits(limits)).choices == tuple(op.names[i] for op, i in zip(net.mixed_ops.values(), found[0]))


@pytest.mark.parametrize("sources, quantiles", [(["memory"], [0.7]), (["macs", "memory"], [0.6, 0.8]), (["macs"], [0.4])])
def test_many_networks_under_peak_memory_and_one_sum_are_those_of_enumeration(monkeypatch, sources, quantiles):
    net, every, programs = decided(CHAIN, 3), list(itertools.product(range(4), repeat=4)), []
    best = pl.limits.Problem.best
    monkeypatch.setattr(pl.limits.Problem, "best", lambda self, worth: programs.append(1) or best(self, worth))
    log_p, limits = net.alpha_matrix().double().log_softmax(1), []
    for costs, q in zip((pl.costs.costs(CHAIN, source) for source in sources), quantiles):
        limits.append((costs, sorted(map(costs.cost_of, every))[int(q * 255)]))
    kept = [paths for paths in every if all(costs.cost_of(paths) <= most for costs, most in limits)]
    expected = sorted(kept, key=lambda paths: -sum(log_p[e, i].item() for e, i in enumerate(paths)))
    assert pl.Limits(limits).most_probable(net, k=60) == [list(paths) for paths in expected[:60]]
    assert len(programs) == 1, "one program, not one for each network"


def test_networks_that_the_knapsack_rounds_away_are_found():
    """Costs of 1 and 1.0001 round to the same steps: there it keeps the most probable, which break the limit."""
    space = pl.spaces.chain(edges=12, width=4, candidates=("DW 3x3", "DW 5x5"))
    net, price = pl.SuperNet(space, seed=0), pl.costs.Costs(space, 0.0, [[1.0, 1.0001]] * 12, "ms")
    net.set_alpha(torch.tensor([[0.0, 3.0]] * 12))
    assert pl.Limits([(price, 12.0)]).most_probable(net, k=20)[0] == [0] * 12
    first = pl.Limits([(price, 12.0003)]).most_probable(net, k=20)[0]
    assert sum(first) == 3, "the most probable one that keeps it has three of the dearer"


def test_a_network_at_the_limit_keeps_it_and_one_above_does_not():
    net, (macs, *_) = decided(CHAIN, 2), costs_of(CHAIN)
    best = macs.cost_of(net.best_paths())
    assert macs.cost_of(net.derive(pl.Limits([(macs, best)]))) == best
    assert macs.cost_of(net.derive(pl.Limits([(macs, best * (1 - 1e-6))]))) < best


@pytest.mark.parametrize("limits, told", [
    ([(0, 12_513)], r"at least 13,904 MACs are needed, 1,391 more than the limit of 12,513$"),
    ([(2, 1000), (0, 1e9)], r"4,864 bytes are needed, 3,864 more than the limit of 1,000$"),
    ([(0, 30_000), (1, 1e9)], None)])
def test_limits_that_cannot_be_kept_say_by_how_much(limits, told):
    net, costs = decided(CHAIN, 1), costs_of(CHAIN)
    limits = pl.Limits([(costs[i], most) for i, most in limits])
    if told:
        with pytest.raises(ValueError, match=f"keeps all limits: .*{told}"):
            net.derive(limits)
    else:
        assert limits.allows(net.derive(limits))


class Opposed(pl.objective.Costs):
    """Few of one cost is much of the other."""


def test_limits_that_exclude_each_other_are_both_named():
    matrix = torch.tensor([[1.0, 2, 3, 4]] * 4)
    one, other = Opposed(CHAIN, 0, matrix.tolist(), "a"), Opposed(CHAIN, 0, (5 - matrix).tolist(), "b")
    with pytest.raises(ValueError, match="with the others at least 12 a are needed, 2 more than the limit of 10; "
                                         "with the others at least 10 b are needed, 2 more than the limit of 8"):
        decided(CHAIN, 0).derive(pl.Limits([(one, 10), (other, 8)]))
    assert pl.Limits([(one, 10), (other, 10)]).most_probable(decided(CHAIN, 0))


@pytest.mark.parametrize("make, told", [
    (lambda: pl.Limits([]), "at least one pair"), (lambda: pl.Limits([(costs_of(CHAIN)[0], math.nan)]), "at most nan MACs is no limit"),
    (lambda: pl.Limits([(costs_of(CHAIN)[0], -1)]), "at most -1 MACs"), (lambda: pl.Limits([(costs_of(s)[0], 9) for s in SEQUENTIAL[:2]]), "the costs are for")])
def test_limits_that_make_no_sense_are_refused(make, told):
    with pytest.raises(ValueError, match=told):
        make()


@pytest.mark.parametrize("choose", ["alpha", "shared"])
def test_a_search_keeps_its_limits(choose):
    macs, _, memory = costs_of(CHAIN)
    limits = pl.Limits([(macs, 60_000), (memory, 20_000)])
    config = pl.SearchConfig(epochs=1, batch_size=64, alpha_batch_size=64, alpha_every=2)
    choice = pl.config.ChoiceConfig(tuned=3, trainings=0, train=pl.TrainConfig(epochs=1, cutout=0, drop_path=0.0))
    found = pl.Search(CHAIN, pl.data.load("digits", limit=300), config=config, limits=limits, choose=choose, choice=choice).run().architecture
    assert limits.allows(found)
    assert all(limits.allows(network) for network in pl.choose.propose(pl.SuperNet(CHAIN, seed=0), 20, limits))


def test_limits_on_the_command_line(tmp_path, capsys):
    small = ["--images", "300", "--epochs", "1", "--warmup-epochs", "0", "--blocks", "1", "--width", "72", "--out", str(tmp_path)]
    macs, params = (round(sum(pl.costs.costs(pl.spaces.tree(1, 72, input_size=8), source).bounds()) / 2) for source in ("macs", "params"))
    main([*small, "--limit", f"macs<={macs}", "--limit", f"params <= {params}"])
    told = capsys.readouterr().out
    assert told.count("limit ") == 2 and "MACs: the network has" in told and "params: the network has" in told
    found = pl.Architecture.load(tmp_path / "architecture.json")
    assert found.macs() <= macs and found.params() <= params
    for text, message in (("macs", "give a cost and a number"), ("flops<=3", "'flops' is none of latency, macs, params, memory"),
                          ("latency<=3", "needs --costs with a latency table"), ("macs<=1", "no network of .* keeps all limits")):
        with pytest.raises(ValueError, match=message):
            main([*small, "--limit", text])


# -- peak memory ---------------------------------------------------------------------------------------------------------


def test_peak_memory_by_hand():
    x = torch.zeros(2, 3, 4, 4)                                                  # 384 bytes, alive throughout
    net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Flatten(), nn.Linear(128, 5))
    assert peak_memory(net, x) == 384 + 2 * 1024                                 # the input and output of ReLU, 2 · 8 · 16 · 4 bytes
    assert peak_memory(net[0], x) == 384 + 1024 and net.training
    assert peak_memory(nn.Sequential(nn.ReLU(inplace=True)), x) == 384
    assert peak_memory(net[0], torch.zeros(100, 3, 4, 4)[:2]) == 384 + 1024        # not the whole of which it is a view
    frozen = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3).eval())
    peak_memory(frozen, x)
    assert frozen.training and not frozen[1].training
    residual = pl.ops.Residual(nn.Conv2d(3, 3, 1))
    assert peak_memory(residual, x) == 3 * 384                                   # x, o(x), and their sum


def tensors():
    """All tensors that Python holds, but for those without memory that an export leaves behind."""
    return [t for t in gc.get_objects() if type(t) in (torch.Tensor, nn.Parameter)]


def alive(parameters):
    """Bytes of all tensors that Python holds, weights left out."""
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors()}
    return sum(size for at, size in storages.items() if at not in parameters)


def test_peak_memory_is_what_a_real_run_keeps():
    """In a chain of layers the most is alive at the end of some layer, where it can be counted."""
    architecture = pl.Architecture(pl.spaces.staged(widths=(4, 8), edges=(1, 1), input_size=16, entry="conv 3x3"), ("Zero", "Zero"))
    net = architecture.build().eval()
    gc.collect()
    parameters = {t.untyped_storage().data_ptr() for t in tensors()}
    x, seen = torch.zeros(3, 3, 16, 16), []
    for layer in net.modules():
        if not list(layer.children()):
            layer.register_forward_hook(lambda layer, inputs, output: seen.append(alive(parameters)))
    with torch.no_grad():
        net(x)
    assert max(seen) == architecture.peak_memory(batch=3) > x.nbytes


@pytest.mark.parametrize("space", SEQUENTIAL, ids=str)
def test_the_peak_of_a_network_is_that_of_its_largest_block(space):
    costs, draw = pl.costs.costs(space, "memory"), torch.Generator().manual_seed(3)
    for _ in range(4):
        paths = [torch.randint(len(edge.candidates), (), generator=draw).item() for edge in space.edges()]
        network = pl.Architecture(space, tuple(edge.candidates[i] for edge, i in zip(space.edges(), paths)))
        assert costs.cost_of(network) == costs.cost_of(paths) == network.peak_memory()
    least, most = costs.bounds()
    assert costs.unit == "bytes" and least <= costs.cost_of(network) <= most


def test_the_expected_peak_is_that_of_enumeration():
    costs, net = peaks(CHAIN), decided(CHAIN, 4)
    p = net.probability_matrix().double()
    expected = sum(math.prod(p[e, i].item() for e, i in enumerate(paths)) * costs.cost_of(paths) for paths in itertools.product(range(4), repeat=4))
    assert costs.expected_under(p).item() == pytest.approx(expected) and costs.expected(net).item() == pytest.approx(expected, rel=1e-5)
    value = costs.expected(net)
    value.backward()
    assert_close(value.item(), expected, rtol=1e-5, atol=0)
    assert all(op.alpha.grad.abs().sum() > 0 for op in net.mixed_ops.values())


def test_peak_memory_has_no_target():
    with pytest.raises(ValueError, match="limits but no target"):
        decided(CHAIN, 0).derive(pl.objective.Objective(peaks(CHAIN), 10_000))
