"""Expected cost, losses and rewards, against enumeration and closed forms in float64; and a search that listens to them."""

import itertools
import math
import shlex

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

import proxyless_lite as pl
import toy
from proxyless_lite.latency import Entry, Model, Table, __main__ as latency_command
from proxyless_lite.costs import Costs, costs
from proxyless_lite.objective import LatencyPenalty, Objective, Reward
from proxyless_lite.rules import Combined, Exact, Reinforce, TwoPath, Trapezoid
from proxyless_lite.spaces import Block, Edge, Space, mobile
from toy import exactly, seeded


def uneven():
    """Two edges of 3 and 2 candidates, Zero on the first."""
    a = Edge("a", ("MB3 3x3", "Zero", "MB6 3x3"), 4, 4, 4, residual=True)
    b = Edge("b", ("MB3 5x5", "MB1 3x3"), 4, 6, 4, stride=2)
    stem, head = Block("conv 3x3", 3, 4, 4), Block("linear", 6, 3, 2)
    return Space("uneven", {}, 4, lambda fill: nn.Sequential(stem.module(), pl.ops.Residual(fill(a)), fill(b), head.module()),
                 rows=((a.block("Zero").shape, 1), (b.block("MB1 3x3").shape, 1)), fixed=(stem, head))


def chain(**settings):
    usual = dict(edges=3, width=4, classes=3, input_size=4, candidates=("MB3 3x3", "identity", "Zero", "MB6 5x5"))
    return pl.spaces.chain(**usual | settings)


def table(space, seed=0, **metadata):
    """Made-up milliseconds of every block of a space."""
    rng = np.random.default_rng(seed)
    blocks = [*space.fixed_blocks(), *(e.block(n) for e in space.edges() for n in e.candidates if n != "Zero")]
    return Table({b: Entry(ms) for b, ms in zip(dict.fromkeys(blocks), rng.uniform(1, 5, size=len(blocks)))}, metadata)


def supernet(space=None):
    torch.manual_seed(0)
    return toy.spread(pl.SuperNet(space or uneven()).double())


def by_hand(net, milliseconds):
    """What every path of every edge costs, a list of lists, and the fixed part."""
    rows = [[0.0 if n == "Zero" else milliseconds[e.block(n)] for n in e.candidates] for e in net.space.edges()]
    return rows, sum(milliseconds[b] for b in net.space.fixed_blocks())


def batch(space=None):
    return torch.randn(4, 3, 4, 4, generator=seeded(1), dtype=torch.float64), torch.tensor([0, 1, 2, 1])


def closed_form(net, rows, p=None):
    """p_i (F_i − Σ_j p_j F_j) for every edge, as a matrix (E, N)."""
    p = net.probability_matrix() if p is None else p
    found = []
    for row, p_e in zip(rows, p):
        mean = sum(f * q for f, q in zip(row, p_e.tolist()))
        found.append(torch.tensor([q * (f - mean) for f, q in zip(row, p_e.tolist())], dtype=torch.float64))
    return toy.padded(net, found)


# -- Costs ------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("space", [uneven(), chain()], ids=lambda s: s.name)
def test_expected_cost_is_the_mean_over_all_paths_and_its_gradient_the_closed_form(space):
    net = supernet(space)
    ms = table(space)
    rows, fixed = by_hand(net, ms)
    found = costs(net, ms).expected(net)
    p = net.probability_matrix()
    mean = sum(math.prod(p[e, i].item() for e, i in enumerate(paths)) * (fixed + sum(rows[e][i] for e, i in enumerate(paths)))
               for paths in toy.all_paths(net))
    assert found.item() == pytest.approx(mean, abs=1e-12) and found.dtype == torch.float64
    exactly(costs(net, ms).expected_under(p), found.detach())
    gradient = toy.padded(net, torch.autograd.grad(found, net.architecture_parameters()))
    exactly(gradient, closed_form(net, rows))
    assert gradient.abs().max() > 0.1


def test_the_gradient_of_expected_cost_does_not_care_which_path_is_active():
    net = supernet()
    c = costs(net, table(net.space))
    gradients = []
    for active in ((1, 0), (0, 1)):  # Zero first
        net.activate(active)
        gradients.append(toy.padded(net, torch.autograd.grad(c.expected(net), net.architecture_parameters())))
    exactly(*gradients)
    assert gradients[0].abs().amax(1).min() > 1e-2


def test_the_cost_of_a_network_is_the_sum_of_its_blocks():
    net = supernet()
    ms = table(net.space)
    c, (rows, fixed) = costs(net.space, ms), by_hand(net, ms)
    assert c.unit == "ms" and c.fixed == pytest.approx(fixed)
    assert c.matrix.tolist() == toy.padded(net, [torch.tensor(row, dtype=torch.float64) for row in rows]).tolist()
    for paths in toy.all_paths(net):
        choices = tuple(e.candidates[i] for e, i in zip(net.space.edges(), paths))
        wanted = fixed + sum(rows[e][i] for e, i in enumerate(paths))
        assert c.of(paths) == pytest.approx(wanted) == c.of(pl.Architecture(net.space, choices)) == c.of(list(paths))
    with pytest.raises(ValueError, match="edge 'b' has no candidate 'Zero'"):
        c.of(pl.Architecture(net.space, ("Zero", "Zero")))


@pytest.mark.parametrize("paths", [[0], [0, 0, 0], [0, 2], [3, 0]], ids=str)
def test_paths_that_do_not_fit_have_no_cost(paths):
    with pytest.raises(ValueError, match=rf"paths \[.*\] do not fit uneven\(\), whose edges have \[3, 2\] candidates"):
        costs(uneven(), "macs").of(paths)


@pytest.mark.parametrize("space", [chain(), uneven(), pl.spaces.tree(1, 72, classes=3, input_size=8),
                                   pl.spaces.mobile(.5, classes=7, input_size=64)], ids=lambda s: s.name)
@pytest.mark.parametrize("source, count", [("macs", pl.Architecture.macs), ("params", pl.Architecture.params)])
def test_costs_in_macs_and_params_are_those_of_the_architecture(space, source, count):
    c = costs(space, source)
    assert c.unit == {"macs": "MACs", "params": "params"}[source]
    g = np.random.default_rng(0)
    for _ in range(3):
        network = pl.Architecture(space, tuple(e.candidates[g.integers(len(e.candidates))] for e in space.edges()))
        assert c.of(network) == count(network)


@pytest.mark.parametrize("source", ["macs", "params"])
def test_a_block_is_counted_once_for_all_edges_of_its_shape(monkeypatch, source):
    whole, made, space = pl.costs.candidate_on_meta, [], pl.spaces.tree(1, 104, classes=3, input_size=8)
    monkeypatch.setattr(pl.costs, "candidate_on_meta", lambda edge, name: made.append((edge.in_channels, edge.input_size, name)) or whole(edge, name))
    costs(space, source)
    assert len(made) == len(set(made)) > 0


def test_costs_follow_the_precision_of_the_network():
    net = pl.SuperNet(uneven())
    c = costs(net, table(net.space))
    single = c.expected(net)
    assert single.dtype == torch.float32
    assert c.expected(net.double()).item() == pytest.approx(single.item(), rel=1e-6)
    assert c.expected(net.double()).dtype == torch.float64


@pytest.mark.parametrize("rank", [15, 100, 200, 250])
@pytest.mark.parametrize("source", ["macs", "params", "ms"])
def test_the_most_probable_network_of_a_cost_is_found_as_by_trying_all(source, rank):
    space = chain(edges=4)
    price = costs(space, table(space) if source == "ms" else source)
    p = (2 * torch.randn(4, 4, dtype=torch.float64, generator=seeded(rank))).softmax(1)
    every = {paths: math.prod(p[e, j].item() for e, j in enumerate(paths)) for paths in itertools.product(range(4), repeat=4)}
    target = 0.99 * sorted(map(price.of, every))[rank]
    for tolerance in (0.05, 0.02):
        near = {paths: probability for paths, probability in every.items() if abs(price.of(paths) / target - 1) <= tolerance}
        assert 1 < len(near) < 200
        assert price.most_probable(p, target, tolerance=tolerance) == [list(max(near, key=near.get))]
    exact = [paths for paths in every if abs(price.of(paths) / price.of(max(near)) - 1) < 1e-9]
    assert price.most_probable(p, price.of(max(near)), tolerance=0.0) == [list(max(exact, key=every.get))]


def test_a_network_at_the_edge_of_the_tolerance_is_found():
    """What it costs is judged, not what rounding it to steps, of 1 % here, may amount to."""
    price = costs(chain(edges=4), "macs")
    paths = [0, 3, 1, 3]
    certain = F.one_hot(torch.tensor(paths), 4).double()
    for off in (0.96, 1.04):
        assert price.most_probable(certain, price.of(paths) / off, tolerance=0.0401, bins=100) == [paths]
        with pytest.raises(ValueError, match="within 3.99%; they cost"):
            price.most_probable(certain, price.of(paths) / off, tolerance=0.0399, bins=100)


def test_narrow_limits_are_kept_on_many_edges():
    """On 648, those of the paper's tree space, rounding may amount to 1.6 % of the target."""
    price = Costs(None, 5e8, np.random.default_rng(0).uniform(0, 2e6, (648, 7)).tolist(), "MACs")
    p = torch.randn(648, 7, generator=seeded(0)).softmax(1)
    target = price.expected_under(p).item()
    (paths,) = torch.tensor(price.most_probable(p, target, tolerance=0.001))
    assert abs((price.fixed + price.matrix.gather(1, paths[:, None]).sum()) / target - 1) <= 0.001


@pytest.mark.parametrize("bins", [150, 20_000])
def test_rounding_never_lets_a_network_out_of_the_tolerance(bins):
    """On 21 edges rounding to a step of target / 150 may amount to 7 % of the target: more than the tolerance."""
    space = mobile(0.25, 10, 32)
    price = costs(space, "macs")
    sizes = torch.tensor([len(edge.candidates) for edge in space.edges()])
    for seed in range(20):
        p = torch.randn(21, 7, generator=seeded(seed)).masked_fill(torch.arange(7) >= sizes[:, None], -math.inf).softmax(1)
        target = price.expected_under(p).item()
        (paths,) = price.most_probable(p, target, tolerance=0.08, bins=bins)
        assert abs(price.of(paths) / target - 1) <= 0.08
        assert all(p[e, j] > 0 for e, j in enumerate(paths))
    with pytest.raises(ValueError, match="no network of mobile.* MACs within 0.5%; they cost from .* to "):
        price.most_probable(p, 0.1 * price.bounds()[0], tolerance=0.005, bins=bins)


def test_with_no_tolerance_a_network_must_cost_the_target():
    price = costs(mobile(0.25, 10, 32), "macs")
    best = [1, 5] + [0] * 19
    p = torch.full((21, 7), 0.01).scatter(1, torch.tensor(best)[:, None], 0.94)
    assert price.most_probable(p, price.of(best), tolerance=0.0) == [best]
    with pytest.raises(ValueError, match="no network of mobile.* MACs within 0%; they cost from .* to "):
        price.most_probable(p, price.of(best) + 0.5, tolerance=0.0)


def test_the_most_probable_network_leaves_out_paths_that_an_edge_has_not():
    price = costs(uneven(), "macs")
    p = torch.tensor([[0.2, 0.5, 0.3], [0.6, 0.4, 0.0]])
    cheapest = price.of([1, 1])
    assert price.most_probable(p, cheapest, tolerance=0.01) == [[1, 1]]
    with pytest.raises(ValueError, match=f"no network of .* found that costs .* within 1%; they cost from {cheapest:.6g} to"):
        price.most_probable(p, 0.5 * cheapest, tolerance=0.01)


def test_a_network_is_derived_by_argmax_and_for_an_aim_at_its_cost():
    net = supernet()
    price = costs(net, "macs")
    net.set_alpha(torch.tensor([[0.9, 1.0, 0.8], [0.1, 0.0, 0.0]]))
    argmax = net.derive()
    dearest = max(range(6), key=lambda k: price.of([k // 2, k % 2]))
    dear = [dearest // 2, dearest % 2]
    assert net.best_paths() != dear
    for objective in (LatencyPenalty(price, 0.1, price.of(dear), "abs#linear"), Reward(price, price.of(dear))):
        assert price.of(net.derive(objective, tolerance=0.01)) == price.of(dear)
        assert net.derive(objective, tolerance=1.0) == argmax
    assert net.derive() == net.derive(LatencyPenalty(price, 0.1)) == argmax  # Eq. 7 has no target


def test_paths_that_α_has_given_up_can_still_be_derived_for_a_target():
    net = pl.SuperNet(chain())
    net.set_alpha(torch.tensor([[0.0, 0.0, 600.0, 0.0]] * 3))
    assert (net.probability_matrix().sum(0) == torch.tensor([0.0, 0, 3, 0])).all()  # in float32
    price = costs(net, "macs")
    target = price.of([3, 2, 2])
    assert net.derive(LatencyPenalty(price, 0.1, target, "abs#linear"), tolerance=0).choices.count("Zero") == 2


def test_costs_of_another_space_are_refused_by_all_that_take_a_network():
    net, other = pl.SuperNet(chain()), costs(chain(width=8), "macs")
    objective = LatencyPenalty(other, 0.1, 0.5 * other.bounds()[1], "abs#linear")
    for ask in (lambda: other.expected(net), lambda: net.derive(objective), lambda: objective.verdict(net), lambda: other.of(net.derive())):
        with pytest.raises(ValueError, match=r"the costs are for chain\(.*width=8.*\), not for a network of chain\(.*width=4"):
            ask()
    with pytest.raises(ValueError, match="not for a network of a module of your own"):
        other.expected(pl.SuperNet(toy.network()))


def test_a_table_of_two_input_sizes_gives_costs_of_both():
    small, large = chain(), chain(input_size=8)
    both = table(small).merge(table(large, seed=1))
    assert_close(costs(small, both).matrix, costs(small, table(small)).matrix)
    assert_close(costs(large, both).matrix, costs(large, table(large, seed=1)).matrix)
    with pytest.raises(ValueError, match=r"for input size 4, 8, but chain\(.*\) has 16"):
        costs(chain(input_size=16), both)


@pytest.mark.parametrize("space", [chain(), chain(make=lambda *_: nn.Identity()), pl.presets.choice("quick").space(), pl.presets.choice("lesson").space(3, 48),
                                   pl.spaces.mobile(0.35, 7, 64), pl.spaces.staged(entry="conv 3x3"), pl.zoo.proxyless_cpu().space], ids=lambda s: s.name)
def test_the_space_of_the_command_that_is_named_is_the_one_without_a_table(space):
    with pytest.raises(KeyError) as caught:
        costs(space, Table({}))
    told = caught.value.args[0]
    if space.name not in pl.spaces.BY_NAME:
        assert told.endswith("; measure that one, by latency.measure")
    else:
        command = told.partition("measure that one: ")[2].partition(" (or kit")[0]
        args = vars(latency_command.parser().parse_args(shlex.split(command)[1:]))
        assert latency_command.space_of(args["space"], args["set"]) == space


def test_costs_that_cannot_be_found_are_refused():
    space, ms = chain(), table(chain())
    with pytest.raises(ValueError, match=r"for input size 4, but chain\(.*\) has 8; measure that one"):
        costs(chain(input_size=8), ms)
    with pytest.raises(KeyError, match="no entry for MB3 3x3 4→4 s1 4x4 with residual.*; measure that one: proxyless-latency measure --space chain"):
        costs(space, Table({b: ms.entries[b] for b in ms if b.operation != "MB3 3x3"}))
    for source in ("flops", 3, None):
        with pytest.raises(ValueError, match=f"costs from {source!r} are not known; allowed: a latency.Table"):
            costs(space, source)
    with pytest.raises(ValueError, match="made from a module of your own"):
        costs(toy.network(), "macs")


def test_a_model_gives_costs_without_a_table():
    space = chain(candidates=pl.ops.MBCONV)
    c = costs(space, model := Model().fit(table(space)))
    network = pl.Architecture(space, ("MB3 3x3", "MB6 7x7", "MB3 5x5"))
    assert c.of(network) == pytest.approx(model.predict(network))


# -- LatencyPenalty ---------------------------------------------------------------------------------------------------

FORMS = {
    "linear": lambda ce, e: ce + 0.3 * e,
    "add#linear": lambda ce, e: ce + 0.3 * (e - 12) / 12,
    "abs#linear": lambda ce, e: ce + 0.3 * abs(e - 12) / 12,
    "mul#log": lambda ce, e: 0.2 * ce * (math.log(e) / math.log(12)) ** 0.3,
}


@pytest.mark.parametrize("form", FORMS)
def test_the_forms_of_the_loss_and_their_slopes(form):
    net = supernet()
    c = costs(net, table(net.space))
    penalty, formula = LatencyPenalty(c, weight=0.3, target=12, form=form), FORMS[form]
    number = lambda x: torch.tensor(x, dtype=torch.float64)  # noqa: E731
    for ce, e in ((1.7, 9.), (0.4, 12.), (2.3, 40.)):
        assert penalty.loss(number(ce), number(e)).item() == pytest.approx(formula(ce, e))
    p = net.probability_matrix()
    ce, e, h = 1.7, c.expected_under(p).item(), 1e-5
    with torch.no_grad():
        by_ce, by_e = penalty.partials(number(ce), p)
    assert by_ce.item() == pytest.approx((formula(ce + h, e) - formula(ce - h, e)) / (2 * h), rel=1e-6)
    assert by_e.item() == pytest.approx((formula(ce, e + h) - formula(ce, e - h)) / (2 * h), rel=1e-6)
    assert not by_ce.requires_grad


@pytest.mark.parametrize("settings, told", [
    (dict(form="square"), r"form='square'.*form is one of linear, add#linear, .*mul#log"),
    (dict(over="none"), "over is pair or all"),
    (dict(form="add#linear"), r"LatencyPenalty\(target=None\): give a target cost above 0"),
    (dict(form="mul#log", target=-1), "target=-1"),
    (dict(form="linear", target=0), "target=0"), (dict(form="linear", target=math.inf), "target=inf"),
    (dict(form="add#linear", target=math.nan), "target=nan"), (dict(weight=-1), r"weight=-1\): must be a finite number"),
    (dict(weight=math.inf), "weight=inf"),
    (dict(form="mul#log", target=0.9), "its logarithms need costs above 1, but the target is 0.9"),
])
def test_a_penalty_that_means_nothing_is_refused(settings, told):
    with pytest.raises(ValueError, match=told) as caught:
        LatencyPenalty(costs(uneven(), "macs"), **dict(weight=0.1) | settings)
    assert "\n" not in str(caught.value)


def test_logarithms_of_costs_that_may_fall_below_1_are_refused():
    space = uneven()
    cheap = Table({b: Entry(0.1) for b in table(space)})
    with pytest.raises(ValueError, match="the target is 5 and the cheapest network 0.3 ms; use another form"):
        LatencyPenalty(costs(space, cheap), weight=0.1, target=5, form="mul#log")
    LatencyPenalty(costs(space, cheap), weight=0.1, target=5, form="add#linear")


def test_the_verdict_says_why_a_search_missed_its_target():
    net = supernet()
    c = costs(net, ms := table(net.space))
    rows, fixed = by_hand(net, ms)

    def verdict(alpha, target):
        net.set_alpha(alpha)
        return LatencyPenalty(c, weight=0.1, target=target, form="add#linear").verdict(net, tolerance=0.02)

    dear = [row.index(max(row)) for row in rows]
    derived, uniform = fixed + sum(map(max, rows)), fixed + sum(rows[0]) / 3 + sum(rows[1]) / 2
    decided, open_ = (scale * F.one_hot(torch.tensor(dear), 3) for scale in (9., .01))
    assert derived / uniform > 1.05
    assert verdict(decided, derived).startswith(f"target {derived:.4g} ms: derived network {derived:.4g} (+0%), expected ")
    assert "search longer" not in verdict(decided, derived) and "weight" not in verdict(decided, derived)
    assert LatencyPenalty(c, weight=0.1).verdict(net).startswith(f"no target: derived network {derived:.4g} ms, expected ")
    assert "α has not decided (mean entropy 0.90 nats): take" in verdict(open_, uniform) and "net.derive(objective)" in verdict(open_, uniform)
    assert "change the weight" in verdict(decided, 2 * derived) and "-50%" in verdict(decided, 2 * derived)


# -- rules under a penalty --------------------------------------------------------------------------------------------

def difference(rule, net, penalty, seed):
    """What the penalty adds to an estimate, the cross-entropy's own part, the loss, and the gates; all at the same draw."""
    x, labels = batch()
    plain, metrics = rule.estimate(net, toy.on(net, x, labels), seeded(seed))
    gates = [(op.gate.active, list(op.gate.others)) for op in net.mixed_ops.values()]
    found, with_penalty = rule.estimate(net, toy.on(net, x, labels), seeded(seed), penalty)
    assert gates == [(op.gate.active, list(op.gate.others)) for op in net.mixed_ops.values()]
    exactly(metrics["loss"], with_penalty["loss"])  # the metrics stay those of the cross-entropy
    return found, plain, metrics["loss"], gates


def reset_to(net, gates):
    """q (E, N): p reset to the active path and its partner."""
    q = torch.zeros_like(net.probability_matrix())
    for e, (active, (other,)) in enumerate(gates):
        p = net.probability_matrix()[e]
        q[e, active], q[e, other] = p[active] / (p[active] + p[other]), p[other] / (p[active] + p[other])
    return q


@pytest.mark.parametrize("form", FORMS)
def test_two_path_over_the_pair_resets_the_probabilities_of_the_cost_too(form):
    net = supernet(chain())
    ms = table(net.space)
    rows, fixed = by_hand(net, ms)
    penalty = LatencyPenalty(costs(net, ms), weight=0.3, target=12, form=form)
    zero_active = 0
    for seed in range(12):
        found, plain, ce, gates = difference(TwoPath(), net, penalty, seed)
        q = reset_to(net, gates)
        e = fixed + sum(q[i, j].item() * f for i, row in enumerate(rows) for j, f in enumerate(row))
        h, formula = 1e-6, FORMS[form]
        by_ce = (formula(ce.item() + h, e) - formula(ce.item() - h, e)) / (2 * h)
        by_e = (formula(ce.item(), e + h) - formula(ce.item(), e - h)) / (2 * h)
        assert_close(found, by_ce * plain + by_e * closed_form(net, rows, q), rtol=0, atol=1e-7)
        for i, (active, (other,)) in enumerate(gates):
            assert sorted(found[i].nonzero().flatten().tolist()) == sorted([active, other])
            if active == 2:  # Zero
                zero_active += 1
                assert (found - by_ce * plain)[i].abs().max() > 1e-4, "an edge whose active path is Zero learns its cost"
    assert zero_active > 3


@pytest.mark.parametrize("rule", [TwoPath(), Exact(), Trapezoid()], ids=repr)
def test_over_all_paths_the_cost_counts_by_the_full_probabilities(rule):
    net = supernet(chain())
    ms = table(net.space)
    rows, _ = by_hand(net, ms)
    penalty = LatencyPenalty(costs(net, ms), weight=0.3, over="all" if isinstance(rule, TwoPath) else "pair")
    active = set()
    for seed in range(8):
        found, plain, _, gates = difference(rule, net, penalty, seed)
        exactly(found - plain, 0.3 * closed_form(net, rows))
        active |= {gate[0] for gate in gates}
    assert 2 in active, "Zero was among the active paths"
    assert closed_form(net, rows).abs().min() > 1e-4, "every path of every edge moves"


@pytest.mark.parametrize("over", ["pair", "all"])
def test_the_rescale_is_that_of_the_pair_and_absent_over_all(over):
    net = supernet(chain())
    penalty = LatencyPenalty(costs(net, table(net.space)), weight=0.5, over=over)
    optimizer = torch.optim.SGD(net.architecture_parameters(), lr=0.1)
    rule, (x, labels) = TwoPath(), batch()
    rule.update(net, optimizer, toy.on(net, x, labels), seeded(99))  # a plain update before it must leave nothing behind
    for seed in range(10):
        before, alpha = net.probability_matrix(), net.alpha_matrix()
        gradient, _ = rule.estimate(net, toy.on(net, x, labels), seeded(seed), penalty)
        rule.update(net, optimizer, toy.on(net, x, labels), seeded(seed), penalty)
        change = (net.probability_matrix() - before).abs()
        if over == "all":
            exactly(net.alpha_matrix(), alpha - 0.1 * gradient)
            assert change.min() > 1e-6
        for row, op in zip(change, net.mixed_ops.values()):
            pair = [op.gate.active, *op.gate.others]
            rest = [k for k in range(4) if k not in pair]
            assert over == "all" or (row[rest].max() < 1e-14 and row[pair].min() > 1e-6)


@pytest.mark.parametrize("forms", [("linear", "abs#linear"), ("add#linear", "mul#log"), ("mul#log", "linear", "abs#linear")])
def test_penalties_add_up_and_their_gradient_is_autograds(forms):
    space, generator = chain(), seeded(3)
    prices = [Costs(space, 3.0, (1 + torch.rand(3, 4, generator=generator)).tolist(), unit) for unit in ("ms", "MACs", "params")]
    parts = [LatencyPenalty(costs, 0.3, 4.0 + i, form) for i, (costs, form) in enumerate(zip(prices, forms))]
    together = sum(parts[1:], parts[0])
    alpha = torch.randn(3, 4, generator=generator, dtype=torch.float64).requires_grad_()
    ce, gradient = torch.tensor(1.7, dtype=torch.float64), torch.randn(3, 4, generator=generator, dtype=torch.float64)
    loss = together.loss(ce.clone().requires_grad_(), *(costs.expected_under(alpha.softmax(1)) for costs in prices[:len(parts)]))
    by_costs, = torch.autograd.grad(loss, alpha)
    (by_ce, *_) = together.partials(ce, alpha.detach().softmax(1))
    found, _ = pl.rules.with_cost(gradient, {"loss": ce}, together, alpha.detach().softmax(1))
    exactly(found, by_ce * gradient + by_costs)
    by_hand_ce = ce
    for part, price in zip(parts, prices):
        by_hand_ce = part.loss(by_hand_ce, price.expected_under(alpha.detach().softmax(1)))
    exactly(together.loss(ce, *(price.expected_under(alpha.detach().softmax(1)) for price in prices[:len(parts)])), by_hand_ce)
    assert (together.target, together.costs) == (parts[0].target, prices[0]) and repr(together).count("LatencyPenalty(") == len(parts)


def test_penalties_that_cannot_be_added_are_refused():
    one = LatencyPenalty(costs(chain(), "macs"), 0.1)
    with pytest.raises(ValueError, match="the costs are for"):
        one + LatencyPenalty(costs(chain(edges=2), "macs"), 0.1)
    with pytest.raises(ValueError, match="over 'pair' and over 'all' cannot be added"):
        one + LatencyPenalty(costs(chain(), "params"), 0.1, over="all")
    with pytest.raises(ValueError, match="bound it with Limits instead"):
        LatencyPenalty(costs(chain(), "memory"), 0.1)
    with pytest.raises(TypeError):
        one + 3


def test_a_search_listens_to_two_costs():
    space = chain(classes=10, input_size=8)
    config = pl.SearchConfig(epochs=1, batch_size=64, alpha_batch_size=64, alpha_every=1, alpha_lr=0.3)
    heavy = LatencyPenalty(costs(space, "macs"), 100.0, form="linear") + LatencyPenalty(costs(space, "params"), 100.0, form="linear")
    result = pl.Search(space, pl.data.load("digits", limit=300), config=config, objective=heavy).run()
    before = pl.SuperNet(space, seed=0).probability_matrix()
    cheap = [edge.candidates.index("Zero") for edge in space.edges()]
    after = result.history.probabilities.iloc[-1]
    assert all(after[e][i] > before[e][i] for e, i in enumerate(cheap))


def test_a_heavy_penalty_finds_the_cheapest_path_by_every_gradient_rule():
    for rule in (TwoPath(), Exact(), Trapezoid()):
        net = supernet()
        penalty = LatencyPenalty(costs(net, table(net.space)), weight=100.)
        optimizer = torch.optim.Adam(net.architecture_parameters(), lr=0.1, betas=(0.0, 0.999))
        for seed in range(60):
            rule.update(net, optimizer, toy.on(net, *batch()), seeded(seed), penalty)
        rows, _ = by_hand(net, table(net.space))
        assert net.best_paths() == [row.index(min(row)) for row in rows] and net.derive().choices[0] == "Zero", rule


# -- Reward -----------------------------------------------------------------------------------------------------------

def test_a_reward_weighs_accuracy_by_cost():
    space = uneven()
    c = costs(space, ms := table(space))
    network = pl.Architecture(space, ("MB6 3x3", "MB3 5x5"))
    cost = sum(ms[b] for b in space.blocks(network.choices))
    for target in (cost / 2, cost * 2):
        two, one = (Reward(c, target, sided=sided)(0.8, network) for sided in (2, 1))
        assert two == pytest.approx(0.8 * (target / cost) ** 0.1) == Reward(c, target)(0.8, [2, 0])
        assert one == pytest.approx(min(two, 0.8))
    assert Reward(c, cost, exponent=-0.5)(0.8, network) == pytest.approx(0.8)
    assert Reward(c, cost / 4, exponent=-0.5)(torch.tensor(0.8), network).item() == pytest.approx(0.4)


@pytest.mark.parametrize("settings, told", [
    (dict(target=0), r"Reward\(target=0\)"), (dict(target=None), "target=None"), (dict(sided=3), "sided=3"),
    (dict(exponent=.1), "exponent must be 0 or below"), (dict(exponent=math.nan), "exponent=nan"),
])
def test_a_reward_that_means_nothing_is_refused(settings, told):
    with pytest.raises(ValueError, match=told):
        Reward(costs(uneven(), "macs"), **dict(target=1.) | settings)


def likelihood(metrics):
    return (-metrics["loss"]).exp()


@pytest.mark.parametrize("sided", [1, 2])
def test_reinforce_with_a_reward_is_unbiased_for_the_expected_reward(sided, monkeypatch):
    net = supernet()
    x, labels = batch()
    ms = table(net.space)
    rows, fixed = by_hand(net, ms)
    target = fixed + 4

    @torch.no_grad()
    def negative_reward(paths, exponent=-0.5):
        net.activate(paths)
        with net.frozen():
            over = (fixed + sum(row[i] for row, i in zip(rows, paths))) / target
            return -likelihood({"loss": F.cross_entropy(net(x), labels)}) * (max(over, 1) if sided == 1 else over) ** exponent

    gradient, losses = toy.true_gradient(net, negative_reward)
    p = net.probability_matrix()
    chance = {paths: math.prod(p[e, i].item() for e, i in enumerate(paths)) for paths in losses}
    reward, mean = Reward(costs(net, ms), target, exponent=-0.5, sided=sided), torch.zeros_like(p)
    for a in losses:
        for b in losses:
            toy.draws(net, monkeypatch, a, b)
            mean += chance[a] * chance[b] * Reinforce(samples=2, reward=likelihood).estimate(net, toy.on(net, x, labels), None, reward)[0]
    exactly(mean, gradient)
    without, _ = toy.true_gradient(net, lambda paths: negative_reward(paths, 0))
    assert (gradient - without).abs().max() > 1e-3, "the cost matters here"


@pytest.mark.parametrize("weight", [0., .3, 1.])
def test_combined_gives_each_part_its_own_objective(weight):
    net = supernet(chain())
    c = costs(net, table(net.space))
    pair = LatencyPenalty(c, weight=0.3), Reward(c, target=8.)
    x, labels = batch()
    found, _ = Combined(Trapezoid(), Reinforce(samples=3, reward=likelihood), weight).estimate(net, toy.on(net, x, labels), seeded(5), pair)
    g = seeded(5)
    first, _ = Trapezoid().estimate(net, toy.on(net, x, labels), g, pair[0])
    second, _ = Reinforce(samples=3, reward=likelihood).estimate(net, toy.on(net, x, labels), g, pair[1])
    exactly(found, (1 - weight) * first + weight * second)


def test_an_objective_that_a_rule_cannot_follow_is_refused():
    c = costs(uneven(), "macs")
    penalty, reward = LatencyPenalty(c, 0.1), Reward(c, 1e4)
    for rule, wrong, told in (
        (TwoPath(), reward, "TwoPath follows a LatencyPenalty, not Reward"), (Exact(), (penalty, reward), "Exact follows"),
        (Reinforce(), penalty, "Reinforce follows a Reward, not LatencyPenalty"), (Trapezoid(), "linear", "Trapezoid follows"),
        (Combined(), penalty, r"Combined follows a pair \(LatencyPenalty, Reward\)"),
        (Combined(), (reward, penalty), "follows a LatencyPenalty"),
        (Combined(), (penalty, penalty), "Reinforce follows"), (Combined(), (penalty,), "follows a pair"),
    ):
        with pytest.raises(ValueError, match=told) as caught:
            rule.check(wrong)
        assert "\n" not in str(caught.value)
    for rule, right in ((TwoPath(), penalty), (Reinforce(), reward), (Combined(), (penalty, reward)), (Combined(), None)):
        rule.check(right)


# -- Search -----------------------------------------------------------------------------------------------------------

FEW = dict(epochs=4, warmup_epochs=1, batch_size=256, alpha_batch_size=32, alpha_every=1, alpha_lr=0.1, lr=0.05, warmup_lr=0.05)


def searched(**settings):
    return pl.spaces.chain(**dict(edges=2, width=4, candidates=("MB6 5x5", "MB3 3x3", "Zero")) | settings)


def search(objective=None, rule=None, out=None, space=None, **settings):
    torch.manual_seed(7)
    net = pl.SuperNet(space or searched())
    return pl.Search(net, pl.data.load("digits"), rule, pl.SearchConfig(**FEW | settings), out, "cpu", objective)


@pytest.mark.parametrize("rule", [TwoPath(), Reinforce(samples=4), Combined(TwoPath(), Reinforce(samples=2))],
                         ids=lambda r: type(r).__name__)
def test_a_search_under_a_heavy_objective_finds_cheap_networks(rule):
    c = costs(searched(), "macs")
    penalty, reward = LatencyPenalty(c, weight=30., target=1e4, form="add#linear"), Reward(c, target=1e4, exponent=-3.)
    objective = {TwoPath: penalty, Reinforce: reward, Combined: (penalty, reward)}[type(rule)]
    result = search(objective, rule, epochs=6).run()
    history = result.history
    uniform = c.fixed + c.matrix.mean(1).sum().item()
    assert history.expected_cost.iloc[0] == pytest.approx(uniform, rel=0.01), "warm-up leaves α alone"
    assert history.expected_cost.iloc[-1] < 0.75 * history.expected_cost.iloc[0]
    assert history.derived_cost.iloc[-1] == c.of(result.most_probable) == result.most_probable.macs()
    nearest = min((c.of((i, j)) for i in range(3) for j in range(3)), key=lambda cost: abs(cost - 1e4))  # none is within 5 %
    assert c.of(result.architecture) == nearest
    p = torch.tensor(history.probabilities.iloc[-1]).double()
    assert history.expected_cost.iloc[-1] == pytest.approx(c.fixed + (p * c.matrix).sum().item(), rel=1e-6)
    if rule.__class__ is TwoPath:
        assert result.most_probable.choices == ("Zero", "Zero")


def test_a_search_without_objective_has_no_costs():
    history = search(epochs=1, warmup_epochs=0).run().history
    assert "expected_cost" not in history and "derived_cost" not in history


def test_objectives_of_another_space_are_refused():
    ours, other = costs(searched(), "macs"), costs(searched(width=8), "macs")
    with pytest.raises(ValueError, match=r"costs are for chain\(.*width=8.*\), not for a network of chain\(.*width=4"):
        search(LatencyPenalty(other, 0.1))
    with pytest.raises(ValueError, match="costs are for chain.*width=8"):
        search((LatencyPenalty(ours, 0.1), Reward(other, 1e4)), Combined())
    with pytest.raises(ValueError, match="Reinforce follows a Reward"):
        search(LatencyPenalty(ours, 0.1), Reinforce())


def test_a_search_is_resumed_with_its_objective_only(tmp_path):
    c = costs(searched(), ms := table(searched()))
    whole = search(LatencyPenalty(c, 0.1), epochs=2).run().history
    search(LatencyPenalty(c, 0.1), out=tmp_path, epochs=2).run()
    again = search(LatencyPenalty(costs(searched(), ms), 0.1), out=tmp_path, epochs=2).run().history
    assert again.expected_cost.tolist() == whole.expected_cost.tolist()
    dearer = Table({b: Entry(entry.ms * (1.5 if b.operation == "MB3 3x3" else 1)) for b, entry in ms.entries.items()})
    for other in (None, LatencyPenalty(c, 0.2), LatencyPenalty(c, 0.1, over="all"),
                  LatencyPenalty(costs(searched(), "macs"), 0.1), LatencyPenalty(costs(searched(), dearer), 0.1)):
        with pytest.raises(ValueError, match="another configuration: objective is"):
            search(other, out=tmp_path, epochs=2).run()


def test_forecast_with_an_objective():
    assert search(LatencyPenalty(costs(searched(), "macs"), 0.1)).forecast()["hours"] > 0


# -- random networks of equal cost ------------------------------------------------------------------------------------

def test_what_has_no_equals_is_told_in_one_line():
    own = pl.SuperNet(nn.Sequential(toy.edge("Zero", "linear"))).derive()
    one = pl.Architecture(chain(), ("Zero",) * 3)
    for network, count, told in ((own, 1, "cannot compare: this architecture comes from a module of your own"),
                                 (one, 0, r"count=0\): ask for at least 1"), (one, -1, "count=-1")):
        with pytest.raises(ValueError, match=told):
            pl.baselines.random_of_equal_cost(network, count)


def test_random_networks_of_equal_latency():
    space = chain(edges=8)
    ms = table(space)
    c, network = costs(space, ms), pl.Architecture(space, ("MB3 3x3", "Zero") * 4)
    found = pl.baselines.random_of_equal_cost(network, 12, tolerance=0.05, seed=1, costs=c)
    target = sum(ms[b] for b in space.blocks(network.choices))
    assert len({space.canonical(a.choices) for a in [*found, network]}) == 13
    assert all(abs(sum(ms[b] for b in space.blocks(a.choices)) - target) <= 0.05 * target for a in found)
    by_macs = pl.baselines.random_of_equal_cost(network, 12, seed=1)
    assert any(abs(c.of(a) - target) > 0.05 * target for a in by_macs), "MACs are another cost"
    assert all(abs(a.macs() - network.macs()) <= 0.05 * network.macs() for a in by_macs)
    with pytest.raises(ValueError, match="of 30 random networks within 0.1% of .* ms in chain"):
        cheap = pl.Architecture(chain(), ("Zero",) * 3)
        pl.baselines.random_of_equal_cost(cheap, 30, tolerance=0.001, costs=costs(chain(), table(chain())))


def test_random_networks_of_equal_peak_memory_and_never_one_network_twice():
    space = chain(edges=3, candidates=("Zero", "conv 3x3", "MB6 3x3"))
    memory, large = costs(space, "memory"), pl.Architecture(space, ("MB6 3x3", "Zero", "conv 3x3"))
    found = pl.baselines.random_of_equal_cost(large, 4, tolerance=1e-9, costs=memory)
    assert {memory.cost_of(network) for network in found} == {memory.cost_of(large)}
    few = chain(edges=3, candidates=("Zero", "conv 3x3"))                # four networks under eight codes; one of each number of blocks
    one = pl.Architecture(few, ("conv 3x3", "Zero", "Zero"))
    with pytest.raises(ValueError, match="found 0 of 1"):
        pl.baselines.random_of_equal_cost(one, 1)
    assert pl.baselines.random_of_equal_cost(one, 1, at_least=0) == []
    everything = pl.baselines.random_of_equal_cost(one, 3, tolerance=100.0)
    assert pl.baselines.random_of_equal_cost(one, 9, tolerance=100.0, at_least=3) == everything
    assert len({few.canonical(network.choices) for network in [one, *everything]}) == 4


def test_peak_memory_has_no_target():
    memory = costs(chain(), "memory")
    for make in (lambda: Reward(memory, 1e5), lambda: Objective(memory, 1e5)):
        with pytest.raises(ValueError, match="has limits but no target; give pl.Limits"):
            make()


@pytest.mark.parametrize("factor, end", [(1e-6, 0), (1e3, 1)])
def test_a_target_beyond_all_networks_gives_the_nearest_one(factor, end):
    net = pl.SuperNet(searched())
    price = costs(net, "macs")
    bound = price.bounds()[end]
    found = net.derive(Reward(price, factor * bound), tolerance=None)  # by steps of its own size a tiny target would take forever
    assert abs(price.of(found) / bound - 1) <= 0.05
    with pytest.raises(ValueError, match="no network of"):
        net.derive(Reward(price, factor * bound))
