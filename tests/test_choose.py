"""Choosing among whole networks: the k most probable ones, what is expected of them, and what a search does with both."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose
from PIL import Image
from torch import nn

import proxyless_lite as pl
import toy
from proxyless_lite import choose, runtime
from proxyless_lite.choose import Ratings, drawn, features, posterior, propose, rate, scores
from proxyless_lite.config import ChoiceConfig
from proxyless_lite.costs import costs, most_probable
from proxyless_lite.objective import LatencyPenalty, Objective, Reward
from proxyless_lite.search import choosing
from proxyless_lite.search.choosing import Candidates, Chooser
from proxyless_lite.training import cross_entropy, evaluate
from toy import seeded

FOUR = ("Zero", "conv 3x3", "DW 5x5", "MB3 3x3")


def chain(edges=3, **settings):
    return pl.spaces.chain(**dict(edges=edges, width=4, input_size=8, candidates=FOUR) | settings)


def staged(edges=(2, 1)):
    return pl.spaces.staged(widths=(4, 6, 8)[:len(edges)], edges=edges, input_size=8, candidates=FOUR)


def spread(space, seed=0):
    """A supernet with α far from uniform."""
    torch.manual_seed(seed)
    return toy.spread(pl.SuperNet(space), scale=1.5)


def by_probability(p):
    """Every network of p (E, N), the most probable first, with its log p: a dict."""
    log_p, (edges, n) = p.double().log(), p.shape
    every = {paths: sum(log_p[e, i].item() for e, i in enumerate(paths)) for paths in itertools.product(range(n), repeat=edges)}
    return dict(sorted(every.items(), key=lambda item: -item[1]))


def ranked(net):
    """Every network of a supernet, the most probable under α first."""
    return list(by_probability(net.alpha_matrix().double().softmax(1)))


def distinct(space):
    """Every network of a space, the ones that are the same once."""
    every = itertools.product(*(edge.candidates for edge in space.edges()))
    return [pl.Architecture(space, choices) for choices in dict.fromkeys(map(space.canonical, every))]


# -- the k most probable networks -------------------------------------------------------------------------------------

@pytest.mark.parametrize("k", [1, 2, 9, 64, 70])
def test_the_k_most_probable_networks_are_the_first_k_of_all(k):
    p = torch.randn(3, 4, dtype=torch.float64, generator=seeded(k)).softmax(1)
    assert most_probable(p, k) == [list(paths) for paths in by_probability(p)][:k]


@pytest.mark.parametrize("source", ["macs", "params"])
@pytest.mark.parametrize("k", [1, 3, 20, 100])
def test_the_k_most_probable_networks_of_a_cost_are_the_first_k_of_all_that_cost_it(source, k):
    price = costs(chain(edges=4), source)
    p = (2 * torch.randn(4, 4, dtype=torch.float64, generator=seeded(k))).softmax(1)
    every, sizes = by_probability(p), []
    for rank, tolerance in ((20, 0.05), (120, 0.05), (120, 0.01), (240, 0.02)):
        target = 1.01 * sorted(map(price.of, every))[rank]
        near = [list(paths) for paths in every if abs(price.of(paths) / target - 1) <= tolerance]
        assert price.most_probable(p, target, k, tolerance) == near[:k]
        sizes.append(len(near))
    assert min(sizes) < 20 < max(sizes) < 100


@pytest.mark.parametrize("k", [1, 5, 40, 100])
def test_of_equally_probable_networks_any_comes_first_but_each_once(k):
    p = torch.tensor([[0.4, 0.1, 0.4, 0.1]] * 3, dtype=torch.float64)
    price, every = costs(chain(), "macs"), by_probability(p)
    target = price.of((1, 2, 2))
    near = {paths: log_p for paths, log_p in every.items() if abs(price.of(paths) / target - 1) <= 0.05}
    assert len(near) > len({round(log_p, 9) for log_p in near.values()}), "some are equally probable"
    for found, among in ((most_probable(p, k), every), (price.most_probable(p, target, k), near)):
        found = [tuple(paths) for paths in found]
        assert len(set(found)) == len(found) == min(k, len(among)) and set(found) <= set(among)
        assert_allclose([every[paths] for paths in found], list(among.values())[:k])


def test_a_path_that_an_edge_has_not_is_in_none_of_the_k():
    p = torch.tensor([[0.15, 0.55, 0.3], [0.6, 0.4, 0.0]], dtype=torch.float64)
    assert most_probable(p, 10) == [[1, 0], [1, 1], [2, 0], [2, 1], [0, 0], [0, 1]]


# -- proposals --------------------------------------------------------------------------------------------------------

def canonical(space, paths):
    """The names on these paths with the Zeros of each run last, and those that repeat left out."""
    names, moved = [FOUR[i] for i in paths], []
    for length in space.runs:
        run, names = names[:length], names[length:]
        moved += [name for name in run if name != "Zero"] + ["Zero"] * run.count("Zero")
    return tuple(moved)


def choices_of(networks):
    return [network.choices for network in networks]


@pytest.mark.parametrize("space", [chain(), staged()], ids=lambda space: space.name)
@pytest.mark.parametrize("k", [1, 40, 64, 80])
def test_proposals_are_the_first_k_in_canonical_form_each_once(space, k):
    net = spread(space)
    found = propose(net, k)
    assert choices_of(found) == list(dict.fromkeys(canonical(space, paths) for paths in ranked(net)[:k]))
    assert k == 1 or len(found) < k, "some are the same network"
    assert k < 64 or set(choices_of(found)) == set(choices_of(distinct(space)))
    assert all(network.space == space for network in found)
    assert propose(net, k, LatencyPenalty(costs(space, "macs"), 0.1)) == found, "Eq. 7 has no target"


@pytest.mark.parametrize("k", [1, 6, 100])
@pytest.mark.parametrize("target", [0.3, 1.0, 1.12, 1.4, 2.2, 3.0, 9.0])
def test_proposals_for_a_target_cost_it_or_are_the_nearest(target, k):
    space = staged()
    net, price = spread(space), costs(space, "macs")
    least, most = price.bounds()
    target *= least
    away = {paths: abs(price.of(paths) / min(max(target, least), most) - 1) for paths in ranked(net)}
    tolerance = 0.05
    while min(away.values()) > tolerance:
        tolerance *= 2
    near = [paths for paths in away if away[paths] <= tolerance]
    assert {0.05: 0.3, 0.1: 1.4, 0.2: 1.12}[tolerance] * least <= target, "met, missed, and out of reach"
    found = propose(net, k, Objective(price, target))
    assert choices_of(found) == list(dict.fromkeys(canonical(space, paths) for paths in near[:k]))


def test_proposals_for_costs_of_another_space_are_refused():
    with pytest.raises(ValueError, match="the costs are for chain.*width=8.*, not for a network of chain.*width=4"):
        propose(spread(chain()), 5, Objective(costs(chain(width=8), "macs"), 1e6))


@pytest.mark.parametrize("rank", [0, 7, 20, 200])
def test_drawn_are_all_networks_within_the_limits_each_once(rank):
    space = staged()
    price = costs(space, "macs")
    most = sorted(map(price.of, distinct(space)))[min(rank, len(distinct(space)) - 1)]
    kept = {network.choices for network in distinct(space) if price.of(network) <= most}
    found = choices_of(drawn(space, 300, pl.Limits([(price, most)])))
    assert len(found) == len(set(found)) and set(found) == kept
    assert set(choices_of(drawn(space, 4, pl.Limits([(price, most)])))) == kept, "all, where 20 times as many draws would be more than there are"
    some = choices_of(drawn(space, 3, pl.Limits([(price, most)]), seed=1))
    assert len(some) == len(set(some)) == min(3, len(kept)) and set(some) <= kept
    assert some == choices_of(drawn(space, 3, pl.Limits([(price, most)]), seed=1))


def test_drawn_for_a_target_cost_it_within_5_percent_and_without_one_anything():
    space = staged()
    price = costs(space, "macs")
    target = price.of(distinct(space)[25])
    near = {network.choices for network in distinct(space) if abs(price.of(network) / target - 1) <= 0.05}
    assert set(choices_of(drawn(space, 300, Objective(price, target)))) == near and 1 < len(near) < 20
    assert set(choices_of(drawn(space, 300))) == set(choices_of(distinct(space)))
    assert drawn(space, 300, LatencyPenalty(price, 0.1)) == [], "only α knows what a network is worth under Eq. 7"


def test_a_draw_takes_each_choice_of_operations_alike():
    space, first = chain(edges=3), [choices_of(drawn(chain(edges=3), 1, seed=seed))[0] for seed in range(2000)]
    assert pd.Series(first).value_counts(normalize=True)[("conv 3x3", "Zero", "Zero")] == pytest.approx(3 / 64, abs=0.015), "it has three codes"
    assert pd.Series(first).value_counts(normalize=True).get(("conv 3x3",) * 3) == pytest.approx(1 / 64, abs=0.01)
    assert len(set(choices_of(drawn(space, 3)))) == 3


@pytest.mark.parametrize("space", [chain(), staged()], ids=lambda space: space.name)
def test_what_is_known_before_is_the_probability_and_the_macs(space):
    net, networks = spread(space), distinct(space)[::3]
    log_p, log_macs = scores(net, networks)
    chance = dict.fromkeys(choices_of(distinct(space)), 0.0)
    for paths, each in by_probability(net.alpha_matrix().double().softmax(1)).items():
        chance[canonical(space, paths)] += np.exp(each)  # codes of one network
    assert sum(chance.values()) == pytest.approx(1)
    assert_allclose(log_p.exp(), [chance[network.choices] for network in networks], rtol=1e-12)
    assert_allclose(log_macs.exp(), [network.macs() for network in networks])


def test_without_zero_or_runs_the_probability_of_a_network_is_that_of_its_paths():
    space = replace(chain(candidates=FOUR[1:]), runs=())
    net = spread(space)
    for paths, log_p in by_probability(net.alpha_matrix().double().softmax(1)).items():
        network = pl.Architecture(space, tuple(FOUR[1:][i] for i in paths))
        assert choose.log_probability(net, [network]).item() == pytest.approx(log_p)


# -- what is expected of networks -------------------------------------------------------------------------------------

def test_features_count_operations_in_each_run_by_hand():
    space = staged(edges=(2, 0, 1))
    networks = [pl.Architecture(space, choices) for choices in (("conv 3x3", "conv 3x3", "Zero"), ("MB3 3x3", "Zero", "DW 5x5"))]
    root = 2 ** 0.5  # Zero, conv, DW, MB3 in the first run, then in the last
    by_hand = np.array([[0, 2 / root, 0, 0, 1, 0, 0, 0], [1 / root, 0, 0, 1 / root, 0, 0, 1, 0]])
    assert_allclose(features(networks), by_hand - by_hand.mean(0), atol=1e-12)


def test_features_of_a_space_without_runs_say_which_operation_stands_on_each_edge():
    space = replace(chain(edges=2), runs=())
    networks = [pl.Architecture(space, choices) for choices in itertools.product(FOUR, repeat=2)]
    one_hot = np.array([[name == other for name in network.choices for other in FOUR] for network in networks], float)
    assert_allclose(features(networks), one_hot - one_hot.mean(0), atol=1e-12)


def by_weights(networks, known, y, *scores):
    """Mean and variance of all ratings by Bayesian linear regression over weights: of features, and of each network's own part.

    Of further `scores` too, made of mean 0 and standard deviation 1.

    Prior N(0, 1) of a feature's weight, N(0, LEVEL) of the common level, N(0, SPECIFIC) of an own part; noise N(0, NOISE).
    """
    level = np.full((len(networks), 1), choose.LEVEL ** 0.5)
    more = [((score - score.mean()) / score.std())[:, None] for score in map(np.asarray, scores)]
    inputs = np.hstack([level, features(networks).numpy(), *more, choose.SPECIFIC ** 0.5 * np.eye(len(networks))])
    seen = inputs[list(known)]
    precision = np.eye(inputs.shape[1]) + seen.T @ seen / choose.NOISE
    spread = inputs @ np.linalg.inv(precision)
    return spread @ seen.T @ np.array(y, float) / choose.NOISE, (spread * inputs).sum(1)


@pytest.mark.parametrize("space", [chain(edges=2), staged()], ids=lambda space: space.name)
@pytest.mark.parametrize("known", [[3], [0, 7], [5, 1, 12, 9, 2, 8]], ids=len)
def test_the_posterior_is_that_of_linear_regression_over_weights(space, known):
    networks, draw = distinct(space), np.random.default_rng(0)
    y = draw.standard_normal(len(known)).tolist()
    mean, variance = posterior(features(networks), known, y)
    expected_mean, expected_variance = by_weights(networks, known, y)
    assert mean.dtype == torch.float64
    assert_allclose(mean, expected_mean, atol=1e-10, rtol=0)
    assert_allclose(variance, expected_variance, atol=1e-10, rtol=0)


def test_the_variance_depends_on_which_networks_are_known_not_on_their_ratings():
    X = features(distinct(staged()))
    (_, one), (_, other), (_, more) = posterior(X, [4, 9], [0.1, 0.2]), posterior(X, [4, 9], [70.0, -3.0]), posterior(X, [4, 9, 11], [0, 1, 2])
    assert torch.equal(one, other) and (more < one + 1e-12).all() and more[11] < 0.5 * one[11]


def test_before_any_rating_all_are_alike_but_for_their_features():
    X = features(distinct(staged()))
    mean, variance = posterior(X, [], [])
    assert (mean == 0).all()
    assert_allclose(variance, choose.LEVEL + (X ** 2).sum(1) + choose.SPECIFIC)


# -- which networks are rated -----------------------------------------------------------------------------------------

def rated(networks, values, count, groups=(), together=1, scores=(), explored=0.5, first=()):
    """Ratings, where network i gets values[i]; every network is checked to be asked for once, at most `together` at a time."""
    asked = []

    def rating(some):
        assert 1 <= len(some) <= together and not set(asked) & set(some), "rated twice"
        asked.extend(some)
        return [values[networks.index(network)] for network in some]
    found = rate(networks, rating, count, groups, together, scores, explored, first)
    assert asked == [networks[i] for i in found.rated] and found.values == [values[i] for i in found.rated]
    return found


@pytest.mark.parametrize("count, explored, early, first", [
    (1, 0.5, 1, ()), (5, 0.5, 3, ()), (8, 0.5, 4, ()), (12, 1 / 3, 4, ()), (6, 1, 6, ()), (12, 1 / 3, 4, (7, 20, 7)), (4, 0.25, 2, (3, 9)), (2, 1, 2, (5, 8, 1))])
def test_the_explored_ones_are_the_first_and_those_of_which_least_is_known(count, explored, early, first):
    networks, given = distinct(staged()), list(dict.fromkeys(first))[:count]
    found = rated(networks, np.random.default_rng(1).standard_normal(len(networks)).tolist(), count, explored=explored, first=first)
    assert len(found.rated) == count and found.rated[:len(given)] == given
    for i in range(len(given), count):
        _, variance = by_weights(networks, found.rated[:i], found.values[:i])
        left = [j for j in range(len(networks)) if j not in found.rated[:i]]
        assert (variance[found.rated[i]] > max(variance[left]) - 1e-9) == (i < early)


@pytest.mark.parametrize("together", [2, 3])
def test_several_at_a_time_are_picked_before_their_ratings_are_known(together):
    networks = distinct(staged())
    values = np.random.default_rng(2).standard_normal(len(networks)).tolist()
    found, one = rated(networks, values, 16, together=together), rated(networks, values, 16)
    assert found.rated[:8] == one.rated[:8], "their variance does not depend on ratings"
    for start in range(8, 16, together):
        some = found.rated[start:start + together]
        mean, _ = by_weights(networks, found.rated[:start], found.values[:start])
        left = [j for j in range(len(networks)) if j not in found.rated[:start]]
        assert mean[some] == pytest.approx(sorted(mean[left], reverse=True)[:len(some)], abs=1e-9)


@pytest.mark.parametrize("groups", [[], [range(0, 12), range(8, 30), [40]]], ids=["all", "three"])
def test_after_that_the_best_expected_of_each_group_by_turns(groups):
    networks = distinct(staged())
    found, turns = rated(networks, np.random.default_rng(2).standard_normal(len(networks)).tolist(), 18, groups), set()
    for i in range(9, 18):
        mean, _ = by_weights(networks, found.rated[:i], found.values[:i])
        turn = i % max(len(groups), 1)
        left = [j for j in range(len(networks)) if j not in found.rated[:i]]
        among = [j for j in left if groups and j in groups[turn]] or left  # of all, once a group is rated whole
        assert mean[found.rated[i]] > max(mean[among]) - 1e-9
        turns.add((turn, len(among) < len(left)))
    assert turns == ({(0, True), (1, True), (2, True), (2, False)} if groups else {(0, False)})


def test_no_network_is_rated_twice_and_all_are_where_there_are_few():
    networks = distinct(chain(edges=2))
    found = rated(networks, list(range(len(networks))), 50, [[0, 1], [1, 2]])
    assert sorted(found.rated) == list(range(13)) and torch.isfinite(found.expected).all()


def test_all_are_expected_by_the_posterior_of_the_rated():
    networks = distinct(chain(edges=2))
    found = rated(networks, np.random.default_rng(3).standard_normal(13).tolist(), 6)
    assert_allclose(found.expected, by_weights(networks, found.rated, found.values)[0], atol=1e-10)


def test_scores_are_further_features_whatever_their_unit_and_sign():
    networks, draw = distinct(chain(edges=2)), np.random.default_rng(3)
    values, score = draw.standard_normal(13).tolist(), torch.tensor(draw.standard_normal(13))
    found = rated(networks, values, 6, scores=[1e6 - 1e5 * score, torch.full((13,), 0.1)])
    assert_allclose(found.expected, by_weights(networks, found.rated, found.values, score)[0], atol=1e-6)
    assert rated(networks, values, 6, scores=[1e-4 * score]).rated == found.rated


def test_a_score_that_tells_the_ratings_leads_to_the_best_network_at_once():
    networks = distinct(chain(edges=4))
    values = np.random.default_rng(5).standard_normal(len(networks)).tolist()
    found = rated(networks, values, 6, scores=[-torch.tensor(values, dtype=torch.float64)])
    assert values[found.best(range(len(networks)))[0]] == max(values)
    assert max(rated(networks, values, 6).values) < max(values), "the operations do not tell it"


def best_by_linear_ratings(space, seed, count):
    """What is rated best, and what is, in each of three ranges of cost, where ratings are linear in the features."""
    networks, price = distinct(space), costs(space, "macs")
    columns = features(networks).numpy()
    values = (0.6 + 0.05 * columns @ np.random.default_rng(seed).standard_normal(columns.shape[1])).tolist()
    groups = [part.tolist() for part in np.array_split(np.argsort([price.of(network) for network in networks]), 3)]
    found = rated(networks, values, count, groups)
    return [values[found.best(group)[0]] for group in groups], [max(values[i] for i in group) for group in groups]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("space, count", [(chain(edges=4), 48), (staged(edges=(1, 2, 1)), 60)], ids=lambda value: getattr(value, "name", value))
def test_ratings_that_are_linear_in_the_operations_lead_to_the_best_network_of_each_cost(space, count, seed):
    found, best = best_by_linear_ratings(space, seed, count)
    assert_allclose(found, best, rtol=1e-12)


def test_few_linear_ratings_lead_to_the_best_network_of_each_cost():
    for seed in range(4):
        found, best = best_by_linear_ratings(chain(edges=4), seed, 24)
        assert_allclose(found, best, rtol=1e-12)


def test_the_best_of_some_networks_are_sorted_by_what_is_expected():
    ratings = Ratings(list("abcd"), [0], [0.5], torch.tensor([0.5, 0.9, 0.1, 0.7]))
    assert ratings.best(range(4), 3) == [1, 3, 0] and ratings.best([2, 0]) == [0] and ratings.best([2], 5) == [2]


# -- what a search does with it ---------------------------------------------------------------------------------------

TRAIN = pl.TrainConfig(epochs=2, batch_size=50, lr=0.1, cutout=0, drop_path=0.0)
CHOICE = ChoiceConfig(proposals=30, drawn=0, tuned=4, trainings=2, train=TRAIN)
SEARCH = pl.SearchConfig(epochs=1, warmup_epochs=1, batch_size=50, alpha_batch_size=50, alpha_every=1, alpha_lr=0.05, lr=0.05, warmup_lr=0.05)


@pytest.fixture(scope="module")
def images():
    return pl.data.load("digits", limit=200)


def few(**settings):
    """A space of 7 networks."""
    return chain(**dict(edges=2, candidates=FOUR[:3]) | settings)


def search(images, choose="trained", space=None, choice=CHOICE, out=None, config=SEARCH, **given):
    return pl.Search(space or few(), images, config=config, out=out, device="cpu", choose=choose, choice=choice, **given)


def opened(images, **settings):
    """A Chooser of a search that has not begun: its shared weights are those it starts from."""
    return Chooser(search(images, **settings), settings.get("choice", CHOICE))


NETWORK = pl.Architecture(few(), ("conv 3x3", "DW 5x5"))


@pytest.fixture
def trainings(monkeypatch):
    """The trainings of a Chooser as ((network, data, config), Report); `stop_at` ends one with Ctrl-C."""
    train_all = choosing.train_all

    class Calls(list):
        stop_at = None

        def __call__(self, networks, *given, **named):
            if networks and self.stop_at is not None and len(self) >= self.stop_at:
                raise KeyboardInterrupt
            reports = train_all(networks, *given, **named)
            self.extend(((networks[label], *given), report) for label, report in reports.items())
            return reports
    calls = Calls()
    monkeypatch.setattr(choosing, "train_all", calls)
    return calls


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def loss_on(model, images, split):
    return evaluate(model.eval(), images, split, cross_entropy)["loss"]


def test_a_network_is_tuned_from_the_shared_weights(images):
    net = pl.SuperNet(few(), seed=3)
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 0.0  # statistics stay as they are: only the learning rate moves anything
    found = opened(images, space=net, config=replace(SEARCH, lr=1e-12)).tuned([NETWORK])[0]
    net.activate(NETWORK)
    assert -found == pytest.approx(loss_on(net, images, images.valid), rel=1e-6)
    torch.manual_seed(SEARCH.seed)
    assert abs(-found - loss_on(NETWORK.build(), images, images.valid)) > 0.01


def test_tuning_lowers_the_loss_and_leaves_the_supernet_as_it_was(images, trainings):
    chooser = opened(images, choice=replace(CHOICE, tune_epochs=3))
    net = chooser.search.net
    net.set_alpha(torch.randn(2, 3))
    before, gates, ready = weights(net), net.gates(), [p.requires_grad for p in net.parameters()]
    rating = chooser.tuned([NETWORK])[0]
    assert same(weights(net), before) and net.gates() == gates and [p.requires_grad for p in net.parameters()] == ready and net.training
    (_, report), = trainings
    assert len(report.history) == 3 and report.history.train_loss.iloc[-1] < report.history.train_loss.iloc[0]
    assert -rating == pytest.approx(loss_on(report.model, images, images.valid), rel=1e-6)


def test_a_network_is_tuned_as_the_search_trains_weights(images, trainings):
    own = replace(SEARCH, lr=0.03, momentum=0.5, weight_decay=1e-3, batch_size=25, seed=4)
    recipe = replace(TRAIN, cutout=2, drop_path=0.2, dropout=0.1, lr=0.7)
    chooser = opened(images, config=own, choice=replace(CHOICE, train=recipe))
    chooser.tuned([NETWORK])[0]
    chooser.trained([NETWORK])[0]
    (_, _, tuning), (_, _, training) = (given for given, _ in trainings)
    assert (tuning.epochs, tuning.lr, tuning.momentum, tuning.weight_decay, tuning.batch_size, tuning.seed) == (1, 0.03, 0.5, 1e-3, 25, 4)
    assert tuning.cutout == tuning.drop_path == tuning.dropout == 0 < tuning.rise < 1 and training == recipe


def test_a_network_is_trained_from_scratch(images):
    chooser = opened(images)
    held_out = replace(images, valid=images.train[torch.arange(0)], test=images.valid)
    expected = pl.train(NETWORK, held_out, TRAIN, device="cpu").test_accuracy
    with torch.no_grad():
        for weight in chooser.search.net.weight_parameters():
            weight.fill_(float("nan"))
    assert chooser.trained([NETWORK])[0] == expected > 0


@pytest.mark.parametrize("step", ["tuned", "trained"])
def test_training_images_train_and_validation_images_rate(images, trainings, step):
    def shuffled(split):
        return replace(split, labels=(split.labels + 1) % 10)

    found = []
    for data in (images, replace(images, valid=shuffled(images.valid)), replace(images, train=shuffled(images.train))):
        rating = getattr(opened(data), step)([NETWORK])[0]
        found.append((rating, weights(trainings[-1][1].model)))
    (first, model), (other, same_model), (_, other_model) = found
    assert same(model, same_model) and first != other and not same(model, other_model)


def test_side_by_side_is_as_one_after_the_other(images, tmp_path):
    """In two processes, where there are two threads: the same networks, ratings and rows."""
    choice = replace(CHOICE, tuned=3, together=2)
    tables = []
    for threads in (1, 2):
        with runtime.threads(threads):
            tables.append(search(images, choice=choice, out=tmp_path / str(threads)).run().candidates)
    one, two = (table.drop(columns="seconds") for table in tables)
    assert one[["step", "network"]].equals(two[["step", "network"]]) and len(one) == 3 + 2
    assert two.loss.to_numpy() == pytest.approx(one.loss.to_numpy(), rel=1e-3)


def test_of_two_objectives_the_one_with_a_target_is_met(images):
    macs = costs(few(), "macs")
    penalty, reward = LatencyPenalty(macs, 1e-6), Reward(macs, 5e3)
    for pair in ((penalty, reward), (LatencyPenalty(macs, 0.1, 5e3, "abs#linear"), Reward(macs, 5e3))):
        searching = search(images, choose="alpha", rule=pl.rules.Combined(None, pl.rules.Reinforce(samples=2)), objective=pair)
        assert searching.cost_objective is next(part for part in pair if part.target)


def test_no_test_image_is_touched(images, tmp_path):
    searching = search(images, out=tmp_path)
    searching.data = replace(searching.data, test=object())  # without length, images or labels
    assert len(searching.run().candidates) == 4 + 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two classes, 8 training and 3 test images each, 8×8."""
    root = tmp_path_factory.mktemp("pictures")
    for number, (part, label, i) in enumerate((part, label, i) for part, count in (("train", 8), ("test", 3)) for label in "ab" for i in range(count)):
        (root / part / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (8, 8, 3), np.uint8)).save(root / part / label / f"{i}.png")
    return root


KINDS = {
    "in memory": lambda folder, tmp_path: pl.data.load(folder, valid=0.25),
    "packed": lambda folder, tmp_path: pl.data.load(folder, valid=0.25, pack=tmp_path),
    "streamed": lambda folder, tmp_path: pl.data.load(folder, valid=0.25, workers=0, crop=8),
    "own": lambda folder, tmp_path: pl.data.from_datasets(*(torch.utils.data.TensorDataset(torch.randn(n, 3, 8, 8), torch.arange(n) % 2) for n in (12, 4, 6))),
}


@pytest.mark.parametrize("kind", KINDS)
def test_held_out_data_of_every_kind_train_on_train_and_test_on_valid(kind, folder, tmp_path):
    data = KINDS[kind](folder, tmp_path)
    held_out = data.held_out()
    assert type(held_out) is type(data) and held_out.test is data.valid and len(data.test) == 6
    assert [len(part) for part in (held_out.full_train, held_out.train, held_out.valid, held_out.test)] == [12, 12, 0, 4]
    tested, valid = ([[part.tolist() for part in batch] for batch in data.eval_batches(split, 3)] for split in (held_out.test, data.valid))
    assert tested == valid and held_out.digest != data.digest
    report = pl.train(pl.Architecture(few(classes=2), NETWORK.choices), held_out, replace(TRAIN, epochs=1, batch_size=6), device="cpu")
    assert report.test_accuracy in (0, 0.25, 0.5, 0.75, 1)


# -- the choice of a search -------------------------------------------------------------------------------------------

def rows(table):
    """All of a table of candidates that is a function of the seed."""
    return table.drop(columns=["seconds", "processor"], errors="ignore").to_dict("list")


@pytest.fixture(scope="module")
def whole(images, tmp_path_factory):
    """(Result, folder) of a search that chooses by training from scratch, without a stop."""
    out = tmp_path_factory.mktemp("whole")
    return search(images, out=out).run(), out


def test_the_chosen_network_is_the_best_of_the_trained_ones(whole):
    result, _ = whole
    tuned, trained = (result.candidates[result.candidates.step == step].set_index("network") for step in ("tuned", "trained"))
    assert len(tuned) == 4 and len(trained) == 2 and len(result.candidates) == 6 and tuned.index.is_unique and (result.candidates.seconds > 0).all()
    assert trained.accuracy[result.architecture.code] == trained.accuracy.max()
    networks = [pl.Architecture.from_code(few(), code) for code in result.candidates.network]
    assert all(network.choices == few().canonical(network.choices) for network in networks)


def test_the_trained_ones_are_the_best_expected(whole, images):
    result, _ = whole
    net = searched(images).net
    networks = propose(net, CHOICE.proposals)
    losses = result.candidates[result.candidates.step == "tuned"].set_index("network").loss
    found = rate(networks, lambda some: [-losses[network.code] for network in some], 4, scores=scores(net, networks))
    assert [networks[i].code for i in found.best(range(len(networks)), 2)] == result.candidates.network[result.candidates.step == "trained"].tolist()


def searched(images, **settings):
    """A search at its end, before the choice."""
    found = search(images, **settings)
    found.loop.run()
    return found


def test_a_choice_stopped_twice_goes_on_to_the_same_network_and_repeats_nothing(whole, images, tmp_path, trainings):
    result, _ = whole
    for trainings.stop_at in (2, 5):  # while tuning, while training from scratch
        with pytest.raises(KeyboardInterrupt, match=f"{trainings.stop_at} trainings are kept; run again to resume") as stopped:  # kept: its traceback would keep an open file
            search(images, out=tmp_path).run()
    trainings.stop_at = None
    again = search(images, out=tmp_path).run()
    assert len(trainings) == 6 and again.architecture == result.architecture and rows(again.candidates) == rows(result.candidates)
    stored = Candidates.read(tmp_path / "candidates.csv")
    pd.testing.assert_frame_equal(stored.drop(columns="processor"), again.candidates, check_exact=True)
    once_more = search(images, out=tmp_path).run()
    assert len(trainings) == 6 and once_more.architecture == result.architecture and once_more.candidates.equals(again.candidates)
    assert once_more.seconds == again.seconds > again.candidates.seconds.sum()


def test_without_a_folder_the_same_is_chosen(whole, images):
    result, found = whole[0], search(images).run()
    assert found.architecture == result.architecture and rows(found.candidates) == rows(result.candidates)


def test_the_best_of_the_tuned_ones_is_chosen_without_any_training_and_they_serve_a_later_choice(whole, images, tmp_path, trainings):
    result, shared = whole[0], search(images, "shared", out=tmp_path).run()
    net = searched(images).net
    networks = propose(net, CHOICE.proposals)
    losses = shared.candidates.set_index("network").loss
    found = rate(networks, lambda some: [-losses[network.code] for network in some], 4, scores=scores(net, networks))
    assert shared.architecture == networks[int(found.expected.argmax())] and (shared.candidates.step == "tuned").all() and len(trainings) == 4
    later = search(images, out=tmp_path).run()
    assert len(trainings) == 6 and later.architecture == result.architecture and rows(later.candidates) == rows(result.candidates)


def test_a_choice_by_other_settings_is_refused_in_the_same_folder(whole, images):
    other = replace(CHOICE, train=replace(TRAIN, lr=0.2))
    with pytest.raises(ValueError, match="candidates.csv belongs to another configuration: training is .* there and .* here") as caught:
        search(images, out=whole[1], choice=other).run()
    assert "\n" not in str(caught.value)
    assert search(images, out=whole[1]).run().architecture == whole[0].architecture, "the file is free again"


@pytest.mark.parametrize("target", [None, 0.5, 30.0])
def test_chosen_by_alpha_a_search_gives_what_it_always_gave(images, tmp_path, target):
    price = costs(few(), "macs")
    objective = target and LatencyPenalty(price, 0.1, target * price.bounds()[1], "abs#linear")
    plain, other = search(images, "alpha", objective=objective, out=tmp_path), searched(images, objective=objective)
    assert pl.Search(few(), images, device="cpu").choose == "alpha"
    result = plain.run()
    assert result.architecture == plain.net.derive(objective, tolerance=None) and result.most_probable == plain.net.derive()
    assert result.candidates.empty and list(result.candidates) == list(Candidates.columns) and result.seconds == plain.loop.seconds
    assert same(weights(plain.net), weights(other.net)) and not (tmp_path / "candidates.csv").exists()
    assert result.history.train_loss.tolist() == other.history().train_loss.tolist()


@pytest.mark.parametrize("count, more", [(50_000, 1), (1_000_000, 1), (12_500, 2), (10_000, 5 ** 0.5)])
def test_few_images_get_more_epochs(count, more):
    usual = pl.presets.choice("lesson")
    found = usual.for_images(count)
    epochs = lambda one: [one.search.epochs, one.search.warmup_epochs, one.choice.tune_epochs, one.choice.train.epochs]
    assert epochs(found) == [round(more * each) for each in epochs(usual)] and found.choice.tuned == usual.choice.tuned


def test_a_forecast_counts_the_images_of_the_choice(images):
    for how, epochs in (("alpha", 0), ("shared", 4), ("trained", 4 + 3 * 2 * 2)):
        found = search(images, how).forecast(targets=3)
        a_step = found["weight_step_seconds"] + SEARCH.batch_size / found["loader_images_per_second"]  # both, as these images are in memory
        assert found["choice_hours"] * 3600 == pytest.approx(epochs * len(images.train) / SEARCH.batch_size * a_step)
        assert found["hours"] > found["choice_hours"]


# -- several targets --------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def front_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("front")


@pytest.mark.parametrize("choose", ["alpha", "shared", "trained"])
def test_a_front_is_one_network_for_each_target(images, front_folder, choose):
    space, choice = chain(), replace(CHOICE, tuned=8, trainings=2)
    price = costs(space, "macs")
    targets = [sorted(price.of(network) for network in distinct(space))[rank] for rank in (5, 20, 35)]
    searching = search(images, choose, space, choice, front_folder)
    networks, candidates = searching.front(price, targets)
    assert len(networks) == 3 and all(price.of(network) <= target for network, target in zip(networks, targets))
    assert searching.loop.done == searching.loop.total
    if choose == "alpha":
        kept = [[paths for paths in ranked(searching.net) if price.of(paths) <= target] for target in targets]
        assert candidates.empty and choices_of(networks) == [tuple(FOUR[i] for i in paths[0]) for paths in kept]
        return
    trained, tuned = (candidates[candidates.step == step].set_index("network") for step in ("trained", "tuned"))
    trained, losses = trained.accuracy, tuned.loss
    proposals = [choices_of(propose(searching.net, CHOICE.proposals, pl.Limits([(price, target)]))) for target in targets]
    every = list(dict.fromkeys(itertools.chain(*proposals)))
    groups = [[every.index(choices) for choices in group] for group in proposals]
    networks_of_all = [pl.Architecture(space, choices) for choices in every]
    found = rate(networks_of_all, lambda some: [-losses[network.code] for network in some], 8, groups, scores=scores(searching.net, networks_of_all))
    assert [found.networks[i].code for i in found.rated] == losses.index.tolist(), "by turns of the targets"
    assert choose == "trained" or networks == [found.networks[found.best(group)[0]] for group in groups]
    assert len(tuned) == 8 and len(trained) <= (6 if choose == "trained" else 0)
    for network, target in zip(networks, targets) if choose == "trained" else ():
        group = [index for index, choices in enumerate(every) if price.of(pl.Architecture(space, choices)) <= target]
        assert {found.networks[index].code for index in found.best(group, 2)} <= set(trained.index), "the two best expected ones within the limit"
        kept = [code for code in trained.index if price.of(pl.Architecture.from_code(space, code)) <= target]
        assert trained[network.code] == trained[kept].max(), "also of those trained for a lower limit"
    again, same_candidates = searching.front(price, targets)
    assert again == networks and rows(same_candidates) == rows(candidates)


def test_the_most_macs_within_each_limit_are_rated_first_if_asked_for(images):
    space, choice = chain(), replace(CHOICE, drawn=1000, tuned=6, explored=0.1, most_macs=True)
    price, networks = costs(space, "params"), distinct(space)
    targets = [sorted(map(price.of, networks))[rank] for rank in (5, 20, 35)]
    most = [max(network.macs() for network in networks if price.of(network) <= target) for target in targets]
    assert len(set(most)) == 3

    def first(choice):
        _, candidates = search(images, "shared", space, choice).front(price, targets)
        return [pl.Architecture.from_code(space, code) for code in candidates.network[:3]]
    found = first(choice)
    assert [network.macs() for network in found] == most and all(price.of(network) <= target for network, target in zip(found, targets))
    assert first(replace(choice, most_macs=False)) != found


@pytest.mark.parametrize("drawn, considered", [(0, 1), (100, 13)])
def test_random_networks_are_looked_at_besides_the_most_probable(images, drawn, considered):
    space, choice = chain(edges=2), replace(CHOICE, proposals=1, drawn=drawn, tuned=20)
    price = costs(space, "macs")
    for goals in ([1e9], [1e9, 1e9]):  # all networks keep them
        _, candidates = search(images, "shared", space, choice).front(price, goals)
        assert len(candidates) == considered


def test_a_network_trained_for_a_lower_limit_serves_a_higher_one_where_it_is_better(images, monkeypatch):
    space, choice = chain(), replace(CHOICE, proposals=5, tuned=8, trainings=1)
    price = costs(space, "macs")
    targets = [sorted(price.of(network) for network in distinct(space))[rank] for rank in (5, 20, 35)]
    monkeypatch.setattr(Chooser, "tuned", lambda self, networks: [price.of(network) for network in networks])  # the dearest are expected to be best,
    monkeypatch.setattr(Chooser, "trained", lambda self, networks: [-price.of(network) for network in networks])  # and are not
    networks, _ = search(images, "trained", space, choice).front(price, targets)
    assert networks == [networks[0]] * 3 and price.of(networks[0]) <= targets[0]


def test_without_trainings_too_a_network_listed_for_a_lower_limit_serves_a_higher_one(images, monkeypatch):
    space, choice = chain(), replace(CHOICE, proposals=2, drawn=0, tuned=8, trainings=0)
    price = costs(space, "macs")
    targets = [sorted(price.of(network) for network in distinct(space))[rank] for rank in (5, 20, 35)]
    monkeypatch.setattr(Chooser, "tuned", lambda self, networks: [-price.of(network) for network in networks])  # the cheapest are expected to be best
    networks, _ = search(images, "trained", space, choice).front(price, targets)
    assert networks == [networks[0]] * 3 and price.of(networks[0]) <= targets[0]


def test_a_front_of_one_target_is_what_a_search_with_that_limit_chooses(images, tmp_path):
    price = costs(few(), "macs")
    target = price.of(NETWORK)
    result = search(images, limits=pl.Limits([(price, target)]), out=tmp_path).run()
    (network,), candidates = search(images, out=tmp_path).front(price, [target])
    assert network == result.architecture and candidates.equals(result.candidates) and price.of(network) <= target


@pytest.mark.parametrize("choose", ["alpha", "trained"])
def test_the_networks_of_a_front_keep_the_limits_of_the_search(images, choose):
    price, size = costs(few(), "macs"), costs(few(), "params")
    every = [(price.of(network), size.of(network)) for network in distinct(few())]
    targets = [sorted(macs for macs, _ in every)[rank] for rank in (4, -1)]
    small = min(params for macs, params in every if macs == targets[1])          # the most expensive networks have more
    networks, _ = search(images, choose, limits=pl.Limits([(size, small - 1)])).front(price, targets)
    assert all(price.of(network) <= target and size.of(network) < small for network, target in zip(networks, targets))


@pytest.mark.parametrize("source", ["macs", "params"])
@pytest.mark.parametrize("k", [2, 20, 300])
def test_the_k_most_probable_networks_within_one_limit_are_the_first_k_of_all_within_it(source, k):
    space = chain(edges=4)
    net, price = spread(space), costs(space, source)
    every = ranked(net)
    prices = sorted(map(price.of, every))
    for most in (prices[0], prices[20], prices[20] * (1 - 1e-6), prices[150], prices[-1], 1e4 * prices[-1]):
        kept = [list(paths) for paths in every if price.of(paths) <= most]
        assert pl.Limits([(price, most)]).most_probable(net, k) == kept[:k] and kept
    with pytest.raises(ValueError, match="more than the limit of"):
        pl.Limits([(price, 0.99 * prices[0])]).most_probable(net, k)


@pytest.mark.parametrize("choose", ["alpha", "trained"])
def test_a_front_that_cannot_be_is_refused_before_the_search(images, choose):
    price, searching = costs(few(), "macs"), search(images, choose)
    least, _ = price.bounds()
    for given, told in (((price, [1e5, 0]), "at most 0 MACs is no limit; give a number above 0"), ((price, [None]), "at most None MACs"),
                        ((price, [1e5, 0.9 * least]), f"keeps all limits: .* at least {least:,.6g} MACs are needed"),
                        ((costs(few(width=8), "macs"), [1e5]), "the costs are for chain.*width=8.*, not for a network of chain.*width=4")):
        with pytest.raises(ValueError, match=told) as caught:
            searching.front(*given)
        assert "\n" not in str(caught.value) and searching.loop.done == 0


# -- errors -----------------------------------------------------------------------------------------------------------

def of_its_own(model, batch):
    return cross_entropy(model, batch)


@pytest.mark.parametrize("settings, told", [
    (dict(choose="best"), "choose='best': must be one of alpha, shared, trained"),
    (dict(choose="shared", loss=of_its_own), "choose='shared' trains networks of a space by cross-entropy; with a loss or module of your own give"),
    (dict(choose="trained", loss=of_its_own), "choose='trained' trains networks"),
    (dict(choose="trained", space=pl.SuperNet(nn.Sequential(pl.MixedOp({"a": nn.Identity(), "b": nn.Tanh()}), nn.Flatten(), nn.Linear(192, 10)))),
     "choose='trained' trains networks of a space"),
])
def test_a_choice_that_cannot_be_is_refused(images, settings, told):
    with pytest.raises(ValueError, match=told) as caught:
        search(images, **settings)
    assert "\n" not in str(caught.value)


def test_a_batch_that_cannot_be_cut_is_refused_before_the_search(images):
    engine, config = pl.runtime.engine("cpu", grad_accumulation=3), replace(SEARCH, batch_size=66, alpha_batch_size=66)
    choice = replace(CHOICE, train=replace(CHOICE.train, batch_size=64))
    with pytest.raises(ValueError, match="a batch of 64 images cannot be divided"):
        pl.Search(few(), images, config=config, device=engine, choose="trained", choice=choice)


def test_a_network_whose_training_diverges_comes_last(images, monkeypatch, caplog):
    chooser = opened(images)
    networks = propose(chooser.search.net, 3)
    whole = choosing.train_all
    def diverging(made, *arguments, **settings):
        if networks[1].code in made:
            raise FloatingPointError("train_loss is not finite")
        return whole(made, *arguments, **settings)
    monkeypatch.setattr(choosing, "train_all", diverging)
    ratings, accuracies = chooser.tuned(networks), chooser.trained(networks)
    assert ratings[1] == min(ratings) > -math.inf and accuracies[1] == 0 < min(accuracies[0], accuracies[2])
    assert f"network {networks[1].code} comes last, since its training diverges: train_loss is not finite" in caplog.text
    monkeypatch.setattr(choosing, "train_all", whole)
    assert opened(images).tuned([networks[0], networks[2]]) == [ratings[0], ratings[2]], "the others are trained as if alone"


@pytest.mark.parametrize("names, most", [(["macs"], 30), (["macs", "memory"], 30), (["macs", "params"], choosing.FEW)])
def test_under_several_limits_few_are_proposed(images, monkeypatch, names, most):
    asked = []
    monkeypatch.setattr(choosing, "propose", lambda net, k, goal: asked.append(k) or propose(net, k, goal))
    searching = search(images, limits=pl.Limits([(costs(few(), name), 1e9) for name in names]))
    choosing.front(Chooser(searching, CHOICE), [searching.limits])
    assert asked == [most]


def test_a_loss_or_module_of_ones_own_is_chosen_by_alpha(images):
    assert search(images, "alpha", loss=of_its_own).choose == "alpha"


@pytest.mark.parametrize("settings, told", [
    (dict(proposals=0), r"ChoiceConfig\(proposals=0\): must be above 0"), (dict(tuned=0), "tuned=0"), (dict(tune_epochs=0), "tune_epochs=0"),
    (dict(explored=0), "explored=0"), (dict(explored=1.1), "explored=1.1.*at most 1"),
    (dict(trainings=-1), r"trainings=-1\): must not be negative"), (dict(tuned="many"), "tuned='many'.*: must be an integer"),
])
def test_numbers_out_of_range_are_named(settings, told):
    with pytest.raises(ValueError, match=told) as caught:
        ChoiceConfig(**settings)
    assert "\n" not in str(caught.value)
    assert ChoiceConfig(trainings=0).trainings == 0
