"""The estimators of ∂L/∂α: their means over all paths in float64, and what an update leaves behind."""

import math
from functools import partial

import pytest
import torch
from scipy.stats import chisquare
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

import proxyless_lite as pl
import toy
from proxyless_lite.rules import Combined, Exact, Reinforce, TwoPath, Trapezoid, eq4
from toy import exactly, seeded


def adam(net, lr=0.006):
    return torch.optim.Adam(net.architecture_parameters(), lr=lr, betas=(0.0, 0.999))


def linear_loss(net):
    x, _ = toy.batch()
    direction = torch.randn(4, 5, generator=seeded(3), dtype=torch.float64)
    return lambda: (net(x) * direction).sum()


def quadratic_loss(net):
    x, _ = toy.batch()
    g = seeded(4)
    A, b = torch.randn(20, 20, generator=g, dtype=torch.float64), torch.randn(20, generator=g, dtype=torch.float64)
    return lambda: (y := net(x).flatten()) @ A @ y + b @ y  # all elements meet


def at(net, loss):
    """paths -> L(paths), the loss with these paths active."""
    @torch.no_grad()
    def value(paths):
        net.activate(paths)
        return loss()
    return value


def one_edge(uniform):
    torch.manual_seed(0)
    net = pl.SuperNet(toy.edge("normed", "identity", "Zero", "linear")).double()
    return toy.spread(net, scale=0 if uniform else 0.7)


# -- Eq. 4 ------------------------------------------------------------------------------------------------------------

def test_eq4_is_its_sum_and_ignores_paths_of_probability_zero():
    torch.manual_seed(0)
    G, p = torch.randn(2, 3, dtype=torch.float64), torch.tensor([[.2, .3, .5], [.6, .4, 0]], dtype=torch.float64)
    by_hand = [[sum(G[e, j] * p[e, j] * (float(i == j) - p[e, i]) for j in range(3)) for i in range(3)] for e in range(2)]
    exactly(eq4(G, p), torch.tensor(by_hand))
    assert eq4(G, p)[1, 2] == 0


def test_eq4_on_a_linear_loss_is_the_gradient_of_the_darts_objective():
    net = toy.parallel()
    loss = linear_loss(net)
    for op in net.mixed_ops.values():
        op.gate = pl.Softmax()
    by_differences = toy.padded(net, toy.finite_differences(lambda: loss().item(), net.architecture_parameters()))
    assert by_differences.abs().max() > 0.1
    for active in toy.all_paths(net):
        G = toy.probed_gradient(net, active, toy.others(net, active), loss)
        assert_close(eq4(G, net.probability_matrix()), by_differences, rtol=0, atol=1e-7)


# -- what `estimate` returns is the formula at the paths drawn --------------------------------------------------------

def by_formula(rule, G, p, gates):
    """The estimate (E, N) written out by hand from the full ∂L/∂g (E, N)."""
    rows = torch.zeros_like(G)
    for row, g, p_e, gate in zip(rows, G, p, gates):
        i = gate.active
        if isinstance(rule, Trapezoid):
            (j,) = gate.others
            row[i] = (1 - p_e[i]) * (g[i] - g[j]) / 2
            row[j] = -row[i]
        else:
            kept = sorted([i, *gate.others])
            q = p_e[kept] / p_e[kept].sum()
            for a, k in enumerate(kept):
                row[k] = sum(g[n] * q[b] * (float(k == n) - q[a]) for b, n in enumerate(kept))
    return rows


@pytest.mark.parametrize("freeze_all", [False, True])
@pytest.mark.parametrize("rule", [TwoPath(), Exact(), Trapezoid()], ids=repr)
def test_estimate_is_the_formula_at_the_paths_drawn(rule, freeze_all):
    # Covers every active path of the first edge, Zero and identity among them, whose input asks for no gradient.
    net = toy.network()
    if freeze_all:
        for weight in net.weight_parameters():
            weight.requires_grad_(False)
    x, labels = toy.batch()
    p = net.probability_matrix()
    seen = set()
    for seed in range(30):
        found, metrics = rule.estimate(net, toy.on(net, x, labels), seeded(seed))
        gates = [op.gate for op in net.mixed_ops.values()]
        active = tuple(gate.active for gate in gates)
        G = toy.stored_gradient(net, active, lambda: F.cross_entropy(net(x), labels))
        exactly(found, by_formula(rule, G, p, gates))
        assert found.abs().amax(1).min() > 1e-9, "every edge learns every step"
        assert {len(gate.others) for gate in gates} == ({2, 3} if isinstance(rule, Exact) else {1})
        with torch.no_grad():
            net.activate(active)
            exactly(metrics["loss"], F.cross_entropy(net(x), labels))
            exactly(metrics["accuracy"], (net(x).argmax(1) == labels).float().mean())
        seen.add(active[0])
    assert seen == {0, 1, 2, 3}


# -- TwoPath ----------------------------------------------------------------------------------------------------------

def two_path_mean(net, loss):
    """E[two-path estimate] on one edge: over the pair drawn without replacement, then over the active one of the two."""
    p = net.probability_matrix()[0]
    mean, total = torch.zeros(1, len(p), dtype=torch.float64), 0
    for i in range(len(p)):
        for j in range(i + 1, len(p)):
            chance = p[i] * p[j] / (1 - p[i]) + p[j] * p[i] / (1 - p[j])
            q = torch.zeros_like(p)
            q[i], q[j] = p[i] / (p[i] + p[j]), p[j] / (p[i] + p[j])
            for active, other in ((i, j), (j, i)):
                G = toy.probed_gradient(net, [active], [[other]], loss)
                mean += chance * q[active] * eq4(G, q[None])
                total += chance * q[active]
    assert abs(total - 1) < 1e-12
    return mean


def test_two_path_mean_on_a_linear_loss_at_uniform_p():
    net = one_edge(uniform=True)
    loss = linear_loss(net)
    gradient, losses = toy.true_gradient(net, at(net, loss))
    L = torch.stack(list(losses.values()))
    exactly(gradient[0], (L - L.mean()) / 4)  # p_k (L_k − J)
    exactly(two_path_mean(net, loss), 4 / (2 * 3) * gradient)
    assert gradient.abs().max() > 0.1


def test_two_path_is_biased_where_trapezoid_is_not():
    net = one_edge(uniform=False)
    loss = quadratic_loss(net)
    gradient, _ = toy.true_gradient(net, at(net, loss))
    mean = two_path_mean(net, loss)
    assert (mean - gradient).norm() > 0.05 * gradient.norm()
    assert F.cosine_similarity(mean, gradient) < 0.9999, "not even a multiple of it"
    exactly(trapezoid_mean(net, loss), gradient)


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-7), (torch.float64, 1e-14)])
def test_rescale_keeps_the_probabilities_of_all_other_paths(dtype, tolerance):
    net = toy.network(dtype=dtype)
    x, labels = toy.batch(dtype)
    rule, optimizer, g = TwoPath(), adam(net), seeded(0)
    start = net.probability_matrix()
    for _ in range(100):
        before = net.alpha_matrix().double().softmax(1)
        rule.update(net, optimizer, toy.on(net, x, labels), g)
        change = (net.alpha_matrix().double().softmax(1) - before).abs()
        for row, op in zip(change, net.mixed_ops.values()):
            pair = [op.gate.active, *op.gate.others]
            rest = [k for k in range(len(row)) if k not in pair]
            assert len(pair) == 2 and row[rest].max() < tolerance
            assert row[pair].min() > 0
    assert (net.probability_matrix() - start).abs().amax(1).min() > 0.01


# -- Trapezoid --------------------------------------------------------------------------------------------------------

def trapezoid_mean(net, loss):
    """E[trapezoid estimate] over the pairs (active, partner) of all edges."""
    p = net.probability_matrix()
    mean, total = torch.zeros_like(p), 0
    for pairs in toy.all_pairs(net):
        chance = math.prod(p[e, i].item() * p[e, j].item() / (1 - p[e, i].item()) for e, (i, j) in enumerate(pairs))
        G = toy.probed_gradient(net, [i for i, _ in pairs], [[j] for _, j in pairs], loss)
        mean += chance * Trapezoid.gradient(G, p, torch.tensor(pairs))
        total += chance
    assert abs(total - 1) < 1e-12
    return mean


def test_trapezoid_is_unbiased_for_a_quadratic_loss_on_several_edges():
    net = toy.parallel()
    loss = quadratic_loss(net)
    gradient, _ = toy.true_gradient(net, at(net, loss))
    assert gradient.abs().max() > 1
    exactly(trapezoid_mean(net, loss), gradient)


# -- Reinforce --------------------------------------------------------------------------------------------------------

def reward(metrics):
    return -metrics["loss"]


@pytest.mark.parametrize("baseline", [0., -1.7, 30.])
def test_reinforce_is_unbiased_for_any_constant_baseline(baseline):
    net = toy.network()
    x, labels = toy.batch()
    gradient, losses = toy.true_gradient(net, at(net, lambda: F.cross_entropy(net(x), labels)))
    p = net.probability_matrix()
    mean = torch.zeros_like(p)
    for paths, loss in losses.items():
        chance = math.prod(p[e, i].item() for e, i in enumerate(paths))
        mean += chance * Reinforce.gradient(p, torch.tensor([paths]), (-loss - baseline)[None])
    assert gradient.abs().max() > 1e-2
    exactly(mean, gradient)


def test_the_first_reinforce_batch_with_leave_one_out_is_unbiased(monkeypatch):
    net = toy.network()
    x, labels = toy.batch()
    gradient, losses = toy.true_gradient(net, at(net, lambda: F.cross_entropy(net(x), labels)))
    p = net.probability_matrix()
    chance = {paths: math.prod(p[e, i].item() for e, i in enumerate(paths)) for paths in losses}
    mean = torch.zeros_like(p)
    for a in losses:
        for b in losses:
            toy.draws(net, monkeypatch, a, b)
            estimate, metrics = Reinforce(samples=2, reward=reward).estimate(net, toy.on(net, x, labels))
            exactly(metrics["loss"], (losses[a] + losses[b]) / 2)
            mean += chance[a] * chance[b] * estimate
    exactly(mean, gradient)


def test_the_moving_baseline_follows_its_recursion_and_survives_saving(monkeypatch):
    net = toy.network()
    x, labels = toy.batch()
    p = net.probability_matrix()
    batches = [[.1, .6], [.3, .4], [.9, .2], [.5, .8]]
    rewards = iter(torch.tensor(batches, dtype=torch.float64).flatten())
    paths = [(0, 1), (3, 2)]

    def estimate(rule):
        toy.draws(net, monkeypatch, *paths)
        return rule.estimate(net, toy.on(net, x, labels))[0]

    def expected(b, values):
        return Reinforce.gradient(p, torch.tensor(paths), torch.tensor(values, dtype=torch.float64) - b)

    rule = Reinforce(samples=2, baseline=0.9, reward=lambda *_: next(rewards))
    others = torch.tensor([.6, .1], dtype=torch.float64)  # each sample's baseline in the first batch is the other one
    exactly(estimate(rule), expected(others, batches[0]))
    exactly(estimate(rule), expected(.35, batches[1]))                    # mean of batch 0
    saved = rule.state_dict()
    exactly(estimate(rule), expected(.9 * .35 + .1 * .35, batches[2]))
    resumed = Reinforce(samples=2, baseline=0.9, reward=lambda *_: torch.tensor(.7, dtype=torch.float64))
    resumed.load_state_dict(saved)
    exactly(estimate(resumed), expected(.35, [.7, .7]))
    exactly(estimate(rule), expected(.9 * .35 + .1 * .55, batches[3]))
    resumed.load_state_dict(rule.state_dict())
    exactly(estimate(resumed), expected(.9 * (.9 * .35 + .1 * .55) + .1 * .65, [.7, .7]))


def test_reinforce_default_reward_is_accuracy(monkeypatch):
    net = toy.network()
    x, _ = toy.batch()
    net.activate((0, 1))
    labels = net(x).argmax(1)  # so the first path is always right
    toy.draws(net, monkeypatch, (0, 1), (3, 2))
    found, metrics = Reinforce(samples=2).estimate(net, toy.on(net, x, labels))
    accuracies = []
    for paths in [(0, 1), (3, 2)]:
        net.activate(paths)
        accuracies.append((net(x).argmax(1) == labels).double().mean())
    a, b = accuracies
    expected = Reinforce.gradient(net.probability_matrix(), torch.tensor([(0, 1), (3, 2)]), torch.stack([a - b, b - a]))
    assert a == 1 > b
    exactly(found, expected)
    assert metrics["accuracy"].item() == (a + b).item() / 2


def test_a_reward_of_ones_own_is_part_of_the_identity():
    assert repr(Reinforce()) == "Reinforce(samples=10, baseline=0.99)"  # stored runs are known by it
    assert repr(Reinforce(4, reward=reward)) == "Reinforce(samples=4, baseline=0.99, reward=reward)"
    assert repr(Combined(reinforce=Reinforce(2, reward=partial(reward)))) == (
        "Combined(gradient=TwoPath(), reinforce=Reinforce(samples=2, baseline=0.99, reward=reward, (), {}), weight=0.5)")


def test_functions_of_ones_own_are_told_alike_in_every_process():
    class Own(TwoPath):
        def __init__(self, scale):
            self.scale = scale

    def times(x, k):
        return k * x

    one, two, other = (repr(Reinforce(reward=partial(times, k=k))) for k in (1, 2, lambda x: x))
    assert one != two and "times" in one and " at 0x" not in one + other + repr(Own(times))
    assert repr(Own(nn.Softplus(2.0))) != repr(Own(nn.Softplus(5.0))), "objects that say what they are"


# -- Combined ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("weight", [0., .3, 1.])
def test_combined_is_the_weighted_sum_of_its_parts(weight):
    net = toy.network()
    x, labels = toy.batch()
    parts = dict(gradient=Trapezoid(), reinforce=Reinforce(samples=3, reward=reward))
    found, _ = Combined(**parts, weight=weight).estimate(net, toy.on(net, x, labels), seeded(5))
    g = seeded(5)
    first, _ = Trapezoid().estimate(net, toy.on(net, x, labels), g)
    second, _ = Reinforce(samples=3, reward=reward).estimate(net, toy.on(net, x, labels), g)
    assert (first - second).abs().max() > 1e-3
    exactly(found, (1 - weight) * first + weight * second)


def test_combined_saves_the_baseline_of_its_part():
    net = toy.network()
    x, labels = toy.batch()
    rule = Combined(reinforce=Reinforce(samples=2, reward=reward))
    rule.update(net, adam(net), toy.on(net, x, labels), seeded(0))
    resumed = Combined(reinforce=Reinforce(samples=2, reward=reward))
    resumed.load_state_dict(rule.state_dict())
    exactly(resumed.estimate(net, toy.on(net, x, labels), seeded(1))[0], rule.estimate(net, toy.on(net, x, labels), seeded(1))[0])


# -- drawing ----------------------------------------------------------------------------------------------------------

P = torch.tensor([.1, .2, .3, .4])


def pvalue(counts, chances):
    chances = torch.as_tensor(chances, dtype=torch.float64)
    return chisquare(counts, counts.sum() * chances / chances.sum()).pvalue


def test_draw_is_without_replacement():
    pairs = pl.rules.draw(P.log().expand(20_000, 4), 2, seeded(0))
    assert (pairs[:, 0] != pairs[:, 1]).all()
    assert pvalue(torch.bincount(pairs[:, 0], minlength=4), P) > 0.001
    ordered = [(i, j) for i in range(4) for j in range(4) if i != j]
    counts = torch.stack([((pairs[:, 0] == i) & (pairs[:, 1] == j)).sum() for i, j in ordered])
    assert pvalue(counts, [P[i] * P[j] / (1 - P[i]) for i, j in ordered]) > 0.001


def test_draw_survives_paths_that_were_given_up():
    for given_up in (-103., -104., -1e4):  # p is 1e-45, the smallest number above 0, then 0
        pairs = pl.rules.draw(torch.tensor([0., -torch.inf, given_up]).expand(200, 3), 2, seeded(0))
        assert (pairs == torch.tensor([0, 2])).all()


def test_an_edge_of_one_candidate_draws_it_first_and_an_absent_one_after(monkeypatch):
    real = torch.multinomial

    def multinomial(p, count, **settings):
        assert ((p > 0).sum(1) >= count).all(), "what torch asks of p"
        return real(p, count, **settings)

    monkeypatch.setattr(torch, "multinomial", multinomial)
    alpha = torch.tensor([[0., -torch.inf, -torch.inf, -torch.inf], [0., 1., 2., 3.]]).repeat(200, 1)
    assert (pl.rules.draw(alpha, 2, seeded(0))[::2] == torch.tensor([0, 1])).all()


def test_the_draws_of_ordinary_spaces_are_those_of_multinomial():
    alpha = toy.network().alpha_matrix()  # 4 and 3 candidates
    for count in (1, 2):
        assert torch.equal(pl.rules.draw(alpha, count, seeded(0)), torch.multinomial(alpha.softmax(1), count, generator=seeded(0)))


@pytest.mark.parametrize("rule", [TwoPath(), Trapezoid()], ids=repr)
def test_rules_draw_active_and_partner_as_written(rule):
    # Many edges in one network: each estimate gives as many independent draws.
    edges = 1000
    net = pl.SuperNet(toy.Parallel(*(pl.MixedOp({n: pl.ops.Zero() for n in "abcd"}) for _ in range(edges))))
    net.set_alpha(P.log().expand(edges, 4))
    counts = torch.zeros(4, 4)
    x = torch.ones(1, 2)
    for seed in range(3):
        rule.estimate(net, toy.on(net, x, torch.tensor([0])), seeded(seed))
        for op in net.mixed_ops.values():
            counts[op.gate.active, op.gate.others[0]] += 1
    first_second = P[:, None] * P / (1 - P[:, None])
    if isinstance(rule, Trapezoid):
        chances = first_second
    else:  # either order gives the pair, then one of the two by p_i / (p_i + p_j)
        chances = (first_second + first_second.T) * P[:, None] / (P[:, None] + P)
    off = ~torch.eye(4, dtype=torch.bool)
    assert counts[~off].sum() == 0
    assert pvalue(counts[off], chances[off]) > 0.001


# -- what an update leaves behind -------------------------------------------------------------------------------------

RULES = [TwoPath(), Exact(), Trapezoid(), Reinforce(samples=3, reward=reward), Combined(reinforce=Reinforce(samples=2, reward=reward))]


def without_alpha(net):
    return {k: v.clone() for k, v in net.state_dict().items() if not k.endswith("alpha")}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_an_update_moves_alpha_and_nothing_else(rule):
    net = toy.network()
    fixed = net.network[1].weight.requires_grad_(False)  # what its owner froze must stay frozen
    x, labels = toy.batch()
    before, alpha = without_alpha(net), net.alpha_matrix()
    optimizer = adam(net)
    for seed in range(3):
        rule.update(net, optimizer, toy.on(net, x, labels), seeded(seed))
    assert (net.alpha_matrix() - alpha)[net.alpha_matrix() > -torch.inf].abs().max() > 1e-4
    after = without_alpha(net)
    assert all(torch.equal(after[k], before[k]) for k in before), "weights and batch statistics stay"
    assert all(w.grad is None for w in net.weight_parameters())
    assert all(w.requires_grad == (w is not fixed) for w in net.weight_parameters())
    assert all(m.track_running_stats for m in net.modules() if isinstance(m, nn.BatchNorm1d))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_an_update_whose_forward_raises_restores_the_weights(rule):
    net = toy.network()
    x, labels = toy.batch()

    def fail(*_):
        raise RuntimeError("out of memory")

    net.network[-1].register_forward_pre_hook(fail)
    before, alpha = without_alpha(net), net.alpha_matrix()
    with pytest.raises(RuntimeError, match="out of memory"):
        rule.update(net, adam(net), toy.on(net, x, labels), seeded(0))
    after = without_alpha(net)
    assert all(torch.equal(after[k], before[k]) for k in before) and torch.equal(net.alpha_matrix(), alpha)
    assert all(w.requires_grad and w.grad is None for w in net.weight_parameters())
    assert all(m.track_running_stats for m in net.modules() if isinstance(m, nn.BatchNorm1d))


def test_an_update_whose_backward_raises_restores_the_weights():
    net = pl.SuperNet(pl.MixedOp({"a": nn.Linear(5, 3), "narrow": nn.Sequential(nn.Linear(5, 1), nn.BatchNorm1d(1))}))
    net.set_alpha(torch.tensor([[20., 0.]]))  # "a" is drawn
    with pytest.raises(ValueError, match="shape"):
        Exact().update(net, adam(net), toy.on(net, *toy.batch(torch.float32)), seeded(0))
    assert all(w.requires_grad for w in net.weight_parameters())
    assert net.mixed_ops[""].candidates[1][1].track_running_stats


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_the_same_generator_gives_the_same_update(rule):
    results = []
    for _ in range(2):
        net = toy.network()
        rule.load_state_dict(type(rule)().state_dict())  # forget the baseline
        torch.rand(3)  # the global generator must not matter
        rule.update(net, adam(net), toy.on(net, *toy.batch()), seeded(7))
        results.append(net.alpha_matrix())
    assert torch.equal(*results)


@pytest.mark.parametrize("rule, seed", [(TwoPath(), 0), (Exact(), 0), (Trapezoid(), 0), (Reinforce(samples=20, reward=reward), 0)], ids=repr)
def test_updates_find_the_better_path(rule, seed):
    # One edge between a candidate that gives the answer away and ones that do not.
    torch.manual_seed(seed)
    net = pl.SuperNet(pl.MixedOp({"Zero": pl.ops.Zero(), "right": nn.Identity(), "wrong": Negative()}))
    labels = torch.arange(30) % 3
    images = 3 * F.one_hot(labels).float()
    optimizer, g = adam(net, lr=0.05), seeded(seed)
    for _ in range(100):
        rule.update(net, optimizer, toy.on(net, images, labels), g)
    assert net.probability_matrix()[0, 1] > 0.8
    assert net.derive().choices == ("right",)


class Negative(nn.Module):
    def forward(self, x):
        return -x


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rule", [*RULES, TwoPath()], ids=lambda rule: type(rule).__name__)
def test_an_edge_with_one_candidate_rests_while_the_others_learn(rule, dtype):
    torch.manual_seed(0)
    net = pl.SuperNet(nn.Sequential(toy.Residual(toy.edge("normed")), toy.edge("linear", "Zero"), nn.Linear(5, 3))).to(dtype)
    rule.load_state_dict(type(rule)().state_dict())  # forget the baseline
    optimizer, g, start = adam(net), seeded(0), net.alpha_matrix()
    for _ in range(20):
        before = net.alpha_matrix()
        rule.update(net, optimizer, toy.on(net, *toy.batch(dtype)), g)
        after = net.alpha_matrix()
        assert torch.equal(after[0], start[0]) and (after[1] != before[1]).all()
        assert list(getattr(net.mixed_ops["0.operation"].gate, "others", ())) == []


def test_a_space_of_one_operation_is_searched_for_its_depth():
    net = pl.SuperNet(pl.spaces.mobile(0.25, 10, 32, candidates=("MB3 3x3",)))
    alpha, lone = net.alpha_matrix(), torch.tensor([len(op.names) == 1 for op in net.mixed_ops.values()])
    images = torch.randn(4, 3, 32, 32, generator=seeded(0)), torch.tensor([0, 1, 2, 3])
    penalty = pl.objective.LatencyPenalty(pl.objective.costs(net, "macs"), weight=1e-6, over="all")
    for objective in (None, penalty):
        TwoPath().update(net, adam(net), toy.on(net, *images), seeded(0), objective)
    moved = (net.alpha_matrix() != alpha).any(1)
    assert lone.sum() == 6 and torch.equal(moved, ~lone)


# -- errors -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("settings", [dict(samples=1), dict(samples=0), dict(baseline=1.), dict(baseline=-.1)])
def test_reinforce_refuses_settings_that_mean_nothing(settings):
    with pytest.raises(ValueError, match="samples must be at least 2, baseline in"):
        Reinforce(**settings)


@pytest.mark.parametrize("weight", [-.1, 1.1])
def test_combined_refuses_a_weight_outside_0_1(weight):
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        Combined(weight=weight)


@pytest.mark.parametrize("rule", [TwoPath(), Trapezoid()], ids=repr)
def test_two_paths_cannot_be_drawn_where_no_edge_has_two(rule):
    net = pl.SuperNet(nn.Sequential(toy.edge("normed"), toy.edge("linear")))
    with pytest.raises(ValueError, match="no edge has 2 candidates, but 2 are compared; at least one edge needs"):
        rule.estimate(net, toy.on(net, *toy.batch(torch.float32)))


def test_a_rule_without_estimate_says_so():
    class Mine(pl.rules.Rule):
        pass

    with pytest.raises(TypeError, match="Mine has no estimate"):
        Mine().update(toy.network(), None, toy.on(toy.network(), *toy.batch()))
