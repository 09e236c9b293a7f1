"""Means and variances of the estimators, against going through all draws one by one; the rivals' gradient and choice."""

import json
from dataclasses import replace

import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close
from truth_runs import MINI

import proxyless_lite as pl
import toy
from proxyless_lite import ground_truth
from proxyless_lite.ground_truth import estimators, competitors
from proxyless_lite.data.sampling import shuffled
from proxyless_lite.training.evaluation import evaluate


@pytest.fixture(scope="module")
def net():
    """Two edges of three candidates each, in float64, α far from uniform."""
    torch.manual_seed(0)
    return toy.spread(pl.SuperNet(nn.Sequential(
        toy.Residual(toy.edge("normed", "Zero", "linear")), nn.Linear(5, 5), nn.Tanh(),
        toy.Residual(toy.edge("Zero", "linear", "normed")), nn.Linear(5, 3))).double())


@pytest.fixture(scope="module")
def enumerated(net):
    return estimators.all_paths(net, *toy.batch())


def loss_of(net):
    x, labels = toy.batch()
    return lambda: F.cross_entropy(net(x), labels)


def test_every_path_is_run_with_its_loss_and_all_its_gate_gradients(net, enumerated):
    paths, L, G = enumerated
    assert [tuple(path) for path in paths.tolist()] == toy.all_paths(net)
    for path, loss, gates in zip(paths.tolist(), L, G):
        assert_close(gates, toy.stored_gradient(net, path, loss_of(net)), rtol=0, atol=1e-12)
        net.activate(path)
        with torch.no_grad():
            assert_close(loss, loss_of(net)(), rtol=0, atol=1e-12)


def test_the_true_gradient_is_that_of_the_expected_loss_by_autograd(net, enumerated):
    paths, L, _ = enumerated
    expected, _ = toy.true_gradient(net, lambda path: L[toy.all_paths(net).index(path)])
    assert_close(estimators.true_gradient(net.probability_matrix(), paths, L), expected, rtol=0, atol=1e-12)


def chance_of(rule, p, pairs):
    """Probability that the rule draws these (active, partner), one pair an edge, from how it draws them."""
    chance = 1.0
    for p_e, (i, j) in zip(p.tolist(), pairs):
        i_first, j_first = p_e[i] * p_e[j] / (1 - p_e[i]), p_e[j] * p_e[i] / (1 - p_e[j])
        chance *= i_first if rule == "trapezoid" else (i_first + j_first) * p_e[i] / (p_e[i] + p_e[j])
    return chance


def estimate_at(rule, net, p, pairs, monkeypatch):
    """What the rule itself returns where its draws give these pairs."""
    active, partner = torch.tensor(pairs).T
    monkeypatch.setattr(pl.rules, "draw", lambda p, count, generator=None: torch.stack([active, partner], 1)[:, :count])
    if rule == "two_path":
        monkeypatch.setattr(torch, "multinomial", lambda *args, **kwargs: active[:, None])
    return getattr(pl.rules, {"two_path": "TwoPath", "trapezoid": "Trapezoid", "exact": "Exact"}[rule])().estimate(net, toy.on(net, *toy.batch()))[0]


@pytest.mark.parametrize("rule", ["two_path", "trapezoid", "exact"])
def test_moments_are_those_over_all_draws_of_the_rule_itself(net, enumerated, rule, monkeypatch):
    p, values, chances = net.probability_matrix(), [], []
    pairs = toy.all_pairs(net)
    for drawn in pairs:
        with monkeypatch.context() as patch:
            values.append(estimate_at(rule, net, p, drawn, patch))
        chances.append(chance_of("trapezoid" if rule == "exact" else rule, p, drawn))  # summed over partners: p of the active paths
    values, chances = torch.stack(values), torch.tensor(chances, dtype=torch.float64)
    assert chances.sum().item() == pytest.approx(1)
    expected = torch.einsum("k,ken->en", chances, values)
    variance = (chances * ((values - expected) ** 2).sum((1, 2))).sum()
    mean, found = estimators.MOMENTS[rule](p, *enumerated)
    assert_close(mean, expected, rtol=0, atol=1e-12)
    assert_close(found, variance, rtol=1e-9, atol=0)


def test_reinforce_has_no_bias_and_the_variance_of_its_score(net, enumerated):
    p, (paths, L, G) = net.probability_matrix(), enumerated
    mean, variance = estimators.reinforce(p, *enumerated)
    assert_close(mean, estimators.true_gradient(p, paths, L), rtol=0, atol=1e-12)
    chance = torch.stack([p[e, i] for e, i in enumerate(paths.T)]).prod(0)
    values = torch.stack([pl.rules.Reinforce.gradient(p, path[None], (loss - chance @ L)[None]) for path, loss in zip(paths, L)])
    assert_close(variance, (chance * ((-values - mean) ** 2).sum((1, 2))).sum(), rtol=1e-9, atol=0)


def test_a_row_says_how_far_the_mean_is_off_in_units_of_the_true_gradient(net, enumerated):
    rows = {row["rule"]: row for row in estimators.score(net, net.alpha_matrix(), *toy.batch(), enumerated)}
    true = estimators.true_gradient(net.probability_matrix(), *enumerated[:2])
    mean, _ = estimators.exact(net.probability_matrix(), *enumerated)
    assert tuple(rows) == estimators.NAMES and rows["reinforce"]["bias"] < 1e-12 and rows["softmax"]["variance"] == 0
    assert rows["exact"]["bias"] == pytest.approx(((mean - true).norm() / true.norm()).item())
    assert rows["exact"]["cosine"] == pytest.approx(((mean * true).sum() / mean.norm() / true.norm()).item())


def test_a_table_has_a_row_for_every_network_alpha_and_rule(monkeypatch, tmp_path):
    monkeypatch.setitem(ground_truth.searches.CONFIG, "digits", dict(epochs=2, warmup_epochs=0, alpha_every=1, alpha_lr=0.5, batch_size=50))
    path = tmp_path / "estimators.csv"
    estimators.measure(MINI, path, seeds=2, batches=1, batch_size=10)
    rows = pd.read_csv(path, comment="#")
    metadata = json.loads(path.read_text().splitlines()[0].removeprefix("# "))
    assert rows.groupby("weights").alpha.nunique().to_dict() == {"warm-up": 4, "searched": 5}
    assert len(rows) == 2 * 1 * (4 + 5) * len(estimators.NAMES) and rows.seed.nunique() == 2 and metadata["setting"] == MINI.describe()
    unbiased = rows[rows.rule == "reinforce"]
    assert (unbiased.bias < 1e-9).all() and (unbiased.cosine > 1 - 1e-9).all() and (unbiased.variance > 0).all()
    at = rows[rows.weights == "searched"].set_index(["seed", "rule", "alpha"]).cosine.unstack()
    assert (at.loc[:, "learned"] != at.loc[:, "uniform"]).any()


def test_batches_hold_all_classes_although_files_are_sorted_by_class(monkeypatch, tmp_path):
    monkeypatch.setitem(ground_truth.searches.CONFIG, "digits", dict(epochs=1, warmup_epochs=0, alpha_every=1, batch_size=50))
    images, seen, real = MINI.load(), [], estimators.all_paths
    by_class = replace(images, valid=images.valid[images.valid.labels.argsort(stable=True)])
    monkeypatch.setattr(ground_truth.Setting, "load", lambda setting: by_class)
    monkeypatch.setattr(estimators, "all_paths", lambda net, x, labels: seen.append(labels) or real(net, x, labels))
    estimators.measure(MINI, tmp_path / "estimators.csv", seeds=1, batches=1, batch_size=20)
    assert len(by_class.valid.labels[:20].unique()) < 6 and seen and all(len(labels.unique()) > 6 for labels in seen)


def test_the_weights_of_a_warm_up_have_seen_no_step_of_alpha(monkeypatch, tmp_path):
    monkeypatch.setitem(ground_truth.searches.CONFIG, "digits", dict(epochs=2, warmup_epochs=0, alpha_every=1, alpha_lr=0.5, batch_size=50))
    seen, real = [], estimators.search
    monkeypatch.setattr(estimators, "search", lambda *args, **kwargs: seen.append(real(*args, **kwargs)) or seen[-1])
    estimators.measure(MINI, tmp_path / "estimators.csv", seeds=1, batches=1, batch_size=10)
    entropies = [result.history.entropy.iloc[-1] for result, *_ in seen]
    assert len(entropies) == 2 and entropies[0] == pytest.approx(torch.tensor(3.).log().item(), abs=1e-4) and entropies[1] < entropies[0] - 1e-3


def test_too_many_batches_and_a_folder_that_cannot_be_written_are_told_before_the_searches(monkeypatch, tmp_path):
    monkeypatch.setattr(estimators, "search", None)
    valid = len(MINI.load().valid)
    for batches in (0, valid // 10 + 1):
        with pytest.raises(ValueError, match=f"{batches} batches of 10 images: digits has {valid} validation images, enough for 1 to {valid // 10} batches"):
            estimators.measure(MINI, tmp_path / "e.csv", batches=batches, batch_size=10)
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="cannot be written to"):
        estimators.measure(MINI, tmp_path / "file" / "e.csv", batches=1, batch_size=10)


# -- rivals ------------------------------------------------------------------------------------------------------------

def test_the_gradient_of_darts_is_that_of_the_mixture_and_leaves_the_weights_alone(net):
    before = {name: value.clone() for name, value in net.state_dict().items()}
    found, metrics = competitors.AllPaths().estimate(net, toy.on(net, *toy.batch()))
    after = net.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert all(weight.grad is None and weight.requires_grad for weight in net.weight_parameters())
    competitors.open_all(net)
    with net.frozen():
        by_differences = toy.finite_differences(lambda: loss_of(net)().item(), net.architecture_parameters())
    assert_close(found, torch.stack(by_differences), rtol=0, atol=1e-7)
    assert metrics["loss"].item() == pytest.approx(loss_of(net)().item())


def test_the_gradient_of_darts_follows_its_objective_where_edges_differ_in_size():
    torch.manual_seed(0)
    net = toy.spread(pl.SuperNet(pl.spaces.mobile(0.25, 3, 32, stages=((8, 2, 2),), candidates=("MB3 3x3", "MB6 5x5"))).double())
    images, labels = torch.randn(4, 3, 32, 32, dtype=torch.float64, generator=toy.seeded(1)), torch.tensor([0, 1, 2, 1])
    costs = pl.objective.costs(net, "macs")
    penalty = pl.objective.LatencyPenalty(costs, weight=2.0, target=costs.expected_under(net.probability_matrix()).item() / 2, form="mul#log")
    assert toy.sizes(net) == [2, 3]
    found, metrics = competitors.AllPaths().estimate(net, toy.on(net, images, labels), None, penalty)

    def loss():
        ce = F.cross_entropy(net(images), labels)
        return penalty.loss(ce, costs.expected(net)), ce

    competitors.open_all(net)
    with net.frozen():
        total, ce = loss()
        toy.exactly(found, toy.padded(net, torch.autograd.grad(total, net.architecture_parameters())))
    assert metrics["loss"].item() == pytest.approx(ce.item())
    assert (found - competitors.AllPaths().estimate(net, toy.on(net, images, labels))[0]).abs().max() > 1e-3


@pytest.fixture
def config():
    return pl.SearchConfig(epochs=1, warmup_epochs=1, alpha_every=1, batch_size=50, alpha_lr=0.05)


def test_darts_trains_all_paths_in_every_step_and_moves_alpha_only_after_the_warm_up(config):
    net, images = pl.SuperNet(MINI.space), MINI.load()
    search = competitors.Darts(net, images, competitors.AllPaths(), config, device="cpu")
    before = [weight.clone() for weight in net.weight_parameters()]
    alpha = net.alpha_matrix()
    search.weight_step(0, search.weight_batches[0])
    assert all((a != b).any() for a, b in zip(before, net.weight_parameters()) if b.dim() == 4)
    assert torch.equal(alpha, net.alpha_matrix())
    result = search.run()
    assert (net.alpha_matrix() - alpha).abs().amax(1).min() > 0.02 and result.history.entropy[0] == pytest.approx(torch.tensor(3.).log().item(), abs=1e-4)


def test_one_shot_leaves_alpha_alone_and_takes_the_best_of_all_by_shared_weights(config):
    torch.manual_seed(0)
    net, images = pl.SuperNet(MINI.space), MINI.load()
    alpha = net.alpha_matrix()
    result = competitors.one_shot(MINI, net, images, replace(config, epochs=25))
    assert torch.equal(alpha, net.alpha_matrix())
    judged = competitors.shared_accuracy(MINI, net, images)
    assert set(judged.index) == set(MINI.networks()) and judged.nunique() > 1
    for code in ("10", "12", "21"):
        net.set_alpha(F.one_hot(torch.tensor([int(i) for i in code]), 3).float())
        assert judged[code] == evaluate(net.prune().train(), images, shuffled(images.valid))["accuracy"]
    best = pl.Architecture.from_code(MINI.space, judged.idxmax())
    assert result.architecture == best and len(result.history) == 26


def test_judging_all_networks_leaves_no_trace(config):
    net, images = pl.SuperNet(MINI.space), MINI.load()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    competitors.shared_accuracy(MINI, net, images)
    assert all(torch.equal(net.state_dict()[name], value) for name, value in before.items())


@pytest.mark.parametrize("method, kind, rule, delay", [
    ("one_shot", pl.Search, pl.rules.TwoPath, 1), ("softmax", competitors.Darts, competitors.AllPaths, 0), ("combined", pl.Search, pl.rules.Combined, 0),
    ("reinforce", pl.Search, pl.rules.Reinforce, 0), ("exact", pl.Search, pl.rules.Exact, 0)])
def test_rivals_search_by_name(method, kind, rule, delay, monkeypatch):
    monkeypatch.setitem(ground_truth.searches.CONFIG, "digits", dict(epochs=1, warmup_epochs=0, alpha_every=1, batch_size=50))
    ran, real = [], pl.Search.run
    monkeypatch.setattr(pl.Search, "run", lambda search: ran.append(search) or real(search))
    result, net, seconds = ground_truth.search(MINI, method, 0)
    (search,) = ran
    assert (type(search), type(search.rule), search.config.alpha_delay, search.net) == (kind, rule, delay, net)
    assert result.architecture.space == MINI.space and seconds > 0
