"""The latency model: made-up costs are recovered, uncertainty is the posterior's, and the report is its formulas."""

import math
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kendalltau
from torch import nn

import proxyless_lite as pl
from proxyless_lite.costs import candidate_macs
from proxyless_lite.latency import Entry, Model, Table
from proxyless_lite.latency import model as model_file
from proxyless_lite.latency.features import KINDS, SHAPE, WORK, features
from proxyless_lite.latency.measure import random_networks
from proxyless_lite.latency.errors import accuracy, autocorrelation, pooled_noise, split_half
from proxyless_lite.spaces import Block

RELEASED = Path(__file__).resolve().parents[1].parent / "shared/data/released"
REPORT = ["networks", "mean", "rmse", "rmse/mean", "r2", "kendall tau", "within 5 %", "within 10 %", "noise",
          "noise, split-half", "autocorrelation", "uncertainty"]


def made_up(block):
    """Milliseconds of a block by a rule of our own, with a twist that no sum of work has: some kernels suit some sizes."""
    if block.operation == "Zero":
        return 0.0
    size = -(-block.input_size // block.stride)
    if not block.operation.startswith("MB"):
        return 0.3 + 4e-8 * block.in_channels * block.out_channels * size**2
    expansion, kernel = int(block.operation[2]), int(block.operation[4])
    middle = expansion * block.in_channels
    work = middle * (block.in_channels * block.input_size**2 + (kernel**2 + block.out_channels) * size**2)
    return (0.05 + 2e-8 * work + 3e-7 * middle * size**2) * (1 + 0.15 * math.sin(kernel * size))


def cost(network):
    return sum(made_up(block) for block in network.space.blocks(network.choices))


def drawn(space, count, seed):
    networks = random_networks(space, count, seed)
    return networks, np.array([cost(network) for network in networks])


def chain():
    return pl.spaces.chain(edges=5, width=32, input_size=16)


def candidates(space):
    """All distinct blocks of a space, Zero left out."""
    return list(dict.fromkeys([*space.fixed_blocks(), *(e.block(n) for e in space.edges() for n in e.candidates if n != "Zero")]))


@pytest.fixture(scope="module")
def mobile():
    return pl.spaces.mobile()


@pytest.fixture(scope="module")
def fitted(mobile):
    return Model().fit(*drawn(mobile, 250, seed=0))


# -- recovery ---------------------------------------------------------------------------------------------------------

def test_a_sum_over_blocks_is_recovered_from_networks(mobile, fitted):
    unseen, true = drawn(mobile, 100, seed=1)
    assert true.std() > 0.05 * true.mean()
    predicted = fitted.predict(unseen)
    assert predicted.shape == (100,)
    assert abs(predicted / true - 1).max() < 5e-3
    assert fitted.predict(unseen[3]) == pytest.approx(predicted[3]) and isinstance(fitted.predict(unseen[3]), float)


@pytest.mark.parametrize("space", [chain(), pl.spaces.mobile()], ids=lambda s: s.name)
def test_a_sum_over_blocks_is_recovered_from_rows(space):
    blocks = candidates(space)
    model = Model().fit(blocks, [made_up(b) for b in blocks])
    networks, true = drawn(space, 50, seed=2)
    assert np.sqrt(np.mean((model.predict(networks) / true - 1)**2)) < 0.01
    assert all(model[b] == pytest.approx(made_up(b), rel=0.1) for b in blocks)
    by_table = Model().fit(Table({b: Entry(made_up(b)) for b in blocks}))
    np.testing.assert_allclose(by_table.predict(networks), model.predict(networks))


def test_a_chain_is_recovered_from_its_networks_and_so_are_its_blocks():
    model = Model().fit(*drawn(chain(), 60, seed=0))
    networks, true = drawn(chain(), 80, seed=9)
    assert abs(model.predict(networks) / true - 1).max() < 2e-3
    learned = {name: model[chain().edges()[0].block(name)] for name in pl.ops.MBCONV}
    assert learned == pytest.approx({name: made_up(chain().edges()[0].block(name)) for name in pl.ops.MBCONV}, rel=0.05)


def test_rows_and_networks_together_teach_more_than_either():
    space = chain()
    networks, true = drawn(space, 12, seed=0)
    blocks = candidates(space)[2:6]  # no stem, no head, and not MB6 5x5 and 7x7
    both = Model().fit([*networks, *blocks], [*true, *map(made_up, blocks)])
    unseen, wanted = drawn(space, 100, seed=5)
    off = {name: np.sqrt(np.mean((m.predict(unseen) / wanted - 1)**2))
           for name, m in dict(both=both, networks=Model().fit(networks, true)).items()}
    assert off["both"] < 0.01 and off["both"] < off["networks"]
    assert all(both[b] == pytest.approx(made_up(b), rel=0.02) for b in blocks)


def test_a_network_is_the_sum_of_its_blocks(mobile, fitted):
    network = drawn(mobile, 1, seed=3)[0][0]
    assert fitted.predict(network) == pytest.approx(sum(fitted[block] for block in mobile.blocks(network.choices)))


def test_zero_costs_nothing(mobile, fitted):
    zero = mobile.edges()[1].block("Zero")
    assert fitted[zero] == 0 and fitted.predict(zero) == 0


def test_a_block_never_seen_is_predicted_from_those_like_it(mobile):
    blocks = candidates(mobile)
    left_out = [b for b in blocks if b.operation == "MB6 5x5" and b.residual]
    model = Model().fit([b for b in blocks if b not in left_out], [made_up(b) for b in blocks if b not in left_out])
    assert len(left_out) == 5
    assert [model[b] for b in left_out] == pytest.approx([made_up(b) for b in left_out], rel=0.35)


def test_noise_is_averaged_over_networks(mobile):
    rng = np.random.default_rng(0)
    networks, true = drawn(mobile, 250, seed=0)
    noisy = true[:, None] * (1 + 0.05 * rng.normal(size=(250, 7)))
    noisy[rng.random(noisy.shape) < 0.1] = np.nan  # some visits are missing
    unseen, wanted = drawn(mobile, 100, seed=1)
    off = Model().fit(networks, noisy).predict(unseen) / wanted - 1
    scatter = np.std(np.nanmedian(noisy, axis=1) / true)
    assert np.sqrt(np.mean(off**2)) < 0.8 * scatter


def test_a_model_stands_where_a_table_stands(mobile, fitted):
    costs = pl.costs.costs(mobile, fitted)
    assert costs.unit == "ms" and costs.fixed == pytest.approx(sum(fitted[b] for b in mobile.fixed_blocks()))
    for network in drawn(mobile, 5, seed=4)[0]:
        assert costs.cost_of(network) == pytest.approx(fitted.predict(network))


def test_leave_one_out_on_the_released_table_is_within_5_percent():
    if not (RELEASED / "mobile_trim.yaml").exists():
        pytest.skip("mobile_trim.yaml is not in shared/data/released beside this checkout")
    table = Table.load(RELEASED / "mobile_trim.yaml")
    blocks = list(table)
    off = [abs(Model().fit(blocks[:i] + blocks[i + 1:], [table[b] for b in blocks[:i] + blocks[i + 1:]])[b] / table[b] - 1)
           for i, b in enumerate(blocks)]
    assert np.mean(off) <= 0.05


@pytest.mark.parametrize("space", [pl.spaces.tree(1, 72, input_size=8), chain(), pl.spaces.mobile(classes=10, input_size=32)],
                         ids=lambda s: s.name)
def test_a_table_from_a_file_can_be_learned_from(space, tmp_path):
    metadata = {"space_settings": {"name": space.name, **space.settings}}
    table = Table({b: Entry(1. + i) for i, b in enumerate(candidates(space))}, metadata)
    table.save(tmp_path / "t.csv")
    model, network = Model().fit(Table.load(tmp_path / "t.csv")), random_networks(space, 1, 0)[0]
    assert model.predict(network) == pytest.approx(sum(table[b] for b in space.blocks(network.choices)), rel=0.5)


# -- uncertainty ------------------------------------------------------------------------------------------------------

def kernel(model, a, b):
    """Prior covariance of g between blocks, in units of 1/λ, from the definition in the module's docstring."""
    place_a, place_b = (np.stack([features(block)[1] for block in blocks]) for blocks in (a, b))
    squares = (((place_a[:, None] - place_b[None]) / model.scale / model.length)**2).sum(-1)
    return np.exp(-squares / 2) + model.own * np.array([[float(x == y) for y in b] for x in a])


@pytest.mark.parametrize("own", [0.0, 0.3])
def test_prediction_and_uncertainty_are_those_of_the_gaussian_process(own, monkeypatch):
    monkeypatch.setattr(model_file, "OWN", (own,))
    space = chain()
    networks, true = drawn(space, 40, seed=0)
    true *= 1 + 0.03 * np.random.default_rng(0).normal(size=40)
    model = Model().fit(networks, true)
    blocks = [b for b in candidates(space) if b.operation != "MB6 7x7"]
    far = [Block("MB6 7x7", 64, 64, 7, residual=True), Block("MB3 3x3", 16, 24, 56, stride=2)]
    known, asked = candidates(space), blocks + far
    physics = {b: model._physics(features(b)[0][None])[0] for b in known + far}
    share = np.array([[space.blocks(n.choices).count(b) * physics[b] for b in known] for n in networks])
    total = share.sum(1, keepdims=True)
    X, y = share / total, true / total[:, 0] - 1
    prior, cross = kernel(model, known, known), kernel(model, asked, known)
    gain = cross @ X.T @ np.linalg.inv(X @ prior @ X.T + model.ridge.lambda_ / model.ridge.alpha_ * np.eye(40))
    mean, covariance = gain @ y, (kernel(model, asked, asked) - gain @ X @ cross.T) / model.ridge.lambda_
    m = np.array([physics[b] for b in asked])
    np.testing.assert_allclose(model.predict(asked), m * (1 + mean), rtol=1e-4)
    np.testing.assert_allclose(model.uncertainty(asked), m * np.sqrt(np.diag(covariance)), rtol=1e-3)
    for row in ([0, 1, 2], [0, 1, 3, 5]):  # stem, head and the edges of a short chain: what is uncertain about them goes together
        short = pl.spaces.chain(edges=len(row) - 2, width=32, input_size=16)
        network = pl.Architecture(short, tuple(asked[i].operation for i in row[2:]))
        c = np.isin(np.arange(len(asked)), row) * m
        assert model.uncertainty(network) == pytest.approx(math.sqrt(c @ covariance @ c), rel=1e-3)


def test_uncertainty_is_larger_far_away_and_smaller_with_more_data(mobile):
    rng = np.random.default_rng(1)
    networks, true = drawn(mobile, 300, seed=0)
    true *= 1 + 0.01 * rng.normal(size=300)
    few, many = Model().fit(networks[:60], true[:60]), Model().fit(networks, true)
    seen, far = mobile.edges()[1].block("MB6 5x5"), Block("MB6 11x11", 640, 640, 28, residual=True)
    for model in (few, many):
        assert 0 < model.uncertainty(seen) / model[seen] < 0.5 * model.uncertainty(far) / model[far]
    unseen, wanted = drawn(mobile, 60, seed=1)
    assert (many.uncertainty(unseen) < few.uncertainty(unseen)).mean() > 0.95
    assert few.uncertainty(unseen).shape == (60,) and isinstance(few.uncertainty(unseen[0]), float)
    assert few.uncertainty(mobile.edges()[1].block("Zero")) == 0
    off = abs(many.predict(unseen) - wanted) / many.uncertainty(unseen)
    assert 0.3 < np.mean(off) < 3, "errors are about as large as it says"


# -- features ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name, stride", [("MB3 3x3", 1), ("MB6 7x7", 2), ("MB1 5x5", 1), ("DW 5x5", 1), ("conv 3x3", 2),
                                          ("linear", 1)])
def test_macs_in_the_features_are_those_of_the_architecture(name, stride):
    space = pl.spaces.Edge("e", (name,), 32, 32 if name.startswith("DW") else 48, 8, stride)
    work = dict(zip(WORK, features(space.block(name))[0]))
    assert work["matrix MACs"] + work["depthwise MACs"] == candidate_macs(space, name)
    assert work["weights"] == sum(p.numel() for p in space.operation(name).parameters())


def test_the_work_and_place_of_a_block_by_hand():
    work, place = features(Block("MB3 5x5", 16, 16, 8, residual=True))
    pixels, middle = 64, 48
    assert dict(zip(WORK, work)) == {
        "matrix MACs": pixels * 2 * 16 * middle, "depthwise MACs": pixels * middle * 25, "matrix reads": pixels * (16 + middle),
        "matrix writes": pixels * (middle + 16), "depthwise reads": pixels * middle, "depthwise writes": pixels * middle,
        "weights": 2 * 16 * middle + 25 * middle + 2 * (middle + middle + 16), "layers": 8, "additions": pixels * 16}
    shape, kinds = dict(zip(SHAPE, place)), dict(zip(KINDS, place[len(SHAPE):]))
    assert math.exp(shape["log expansion"]) == pytest.approx(3) and math.exp(shape["log kernel"]) == pytest.approx(5)
    assert shape["residual"] == 1 and math.exp(shape["log size out"]) == pytest.approx(8)
    assert {k for k, v in kinds.items() if v} == {"MB"} and len(place) == len(SHAPE) + len(KINDS)
    strided = dict(zip(SHAPE, features(Block("MB6 3x3", 16, 24, 8, stride=2))[1]))
    assert math.exp(strided["log size in"]) == pytest.approx(8) and math.exp(strided["log size out"]) == pytest.approx(4)


def test_features_of_operations_of_ones_own_are_found_by_running_them():
    def thin(name, in_channels, out_channels, stride):
        return nn.Conv2d(in_channels, out_channels, 1, stride)

    def wide(name, in_channels, out_channels, stride):
        return nn.Conv2d(in_channels, out_channels, 7, stride, 3)

    macs = [features(Block("mine", 16, 16, 8, make=make))[0][WORK.index("matrix MACs")] for make in (thin, wide)]
    assert macs == [64 * 256, 64 * 256 * 49], "also where two operations have the same name"


# -- the report -------------------------------------------------------------------------------------------------------

def test_accuracy_by_hand():
    predicted, repeats = np.array([10.8, 20., 29., 50.]), np.array([[10., 10, 11], [20, 21, 19], [30, 30, np.nan], [40, 30, 50]])
    found = accuracy(predicted, repeats)  # medians 10, 20, 30, 40: off by 0.8, 0, −1, 10
    assert list(found) == REPORT[:-1]
    assert found["networks"] == 4 and found["mean"] == 25
    assert found["rmse"] == pytest.approx(math.sqrt(101.64 / 4)) == 25 * found["rmse/mean"]
    assert found["r2"] == pytest.approx(1 - 101.64 / 500)
    assert found["kendall tau"] == 1 and accuracy(predicted[[1, 0, 2, 3]], repeats)["kendall tau"] == pytest.approx(4 / 6)
    assert found["within 5 %"] == 0.5 and found["within 10 %"] == 0.75
    assert math.isnan(found["noise"]) and math.isnan(found["noise, split-half"]), "three rounds have no two halves that count"
    assert found["autocorrelation"] == pytest.approx(np.corrcoef([.08, 0, -1 / 30], [0, -1 / 30, .25])[0, 1])


@pytest.mark.parametrize("rounds", [8, 20, 21])
def test_split_half_gives_the_scatter_of_the_median(rounds):
    rng = np.random.default_rng(rounds)
    level = rng.uniform(50, 100, size=(1500, 1))
    noise = 0.7 * rng.normal(size=(1500, rounds))
    true = np.median(noise, axis=1).std()
    assert split_half(level + noise) == pytest.approx(true, rel=0.1)
    noise[rng.random(noise.shape) < 0.05] = np.nan
    assert split_half(level + noise) == pytest.approx(true, rel=0.12)
    assert math.isnan(split_half(noise[:, :3]))


def test_split_half_of_an_odd_number_of_rounds_is_scaled_to_all_of_them():
    noise = np.random.default_rng(0).normal(size=(4000, 5))  # of unit variance; halves of two have their mean for median
    assert split_half(noise) == pytest.approx(math.sqrt((1 / 2 + 1 / 2) / 4 * 4 / 5), rel=0.03)


@pytest.mark.parametrize("rounds", [5, 8, 10])
def test_pooled_noise_is_right_for_visits_with_long_tails(rounds):
    rng = np.random.default_rng(rounds)
    level = rng.uniform(15, 25, size=(3000, 1))
    visits = level * (1 + 0.03 * rng.standard_t(3, size=(3000, rounds)))
    true = (np.median(visits, axis=1) - level[:, 0]).std()
    assert pooled_noise(visits) == pytest.approx(true, rel=0.08)
    assert split_half(visits) > pooled_noise(visits), "the stricter floor is the one reported as noise"
    visits[rng.random(visits.shape) < 0.02] = np.nan
    assert pooled_noise(visits) == pytest.approx(true, rel=0.1)


def test_autocorrelation_of_a_series_that_remembers():
    rng, series = np.random.default_rng(0), [0.0]
    for _ in range(20_000):
        series.append(0.6 * series[-1] + rng.normal())
    assert autocorrelation(series) == pytest.approx(0.6, abs=0.03)
    assert autocorrelation(series, lag=3) == pytest.approx(0.6**3, abs=0.03)
    assert abs(autocorrelation(rng.permutation(series))) < 0.03
    assert autocorrelation([1, -1, 1, -1, 1]) == pytest.approx(-1) and math.isnan(autocorrelation([1., 2.]))


def test_the_report_on_unseen_networks_is_that_of_their_predictions(mobile, fitted):
    unseen, true = drawn(mobile, 300, seed=6)
    measured = true[:, None] * (1 + 0.02 * np.random.default_rng(2).normal(size=(300, 8)))
    report = fitted.report(unseen, measured)
    predicted, median = fitted.predict(unseen), np.median(measured, axis=1)
    assert list(report) == REPORT and report["networks"] == 300
    assert report["rmse"] == pytest.approx(np.sqrt(np.mean((predicted - median)**2)))
    assert report["kendall tau"] == pytest.approx(kendalltau(predicted, median).statistic)
    assert report["uncertainty"] == pytest.approx(fitted.uncertainty(unseen).mean()) and report["uncertainty"] > 0
    assert report["noise"] == pytest.approx(np.std(np.median(measured / true[:, None], axis=1)) * true.mean(), rel=0.1)


def test_the_report_of_a_fit_is_on_networks_left_out(monkeypatch):
    networks, true = drawn(chain(), 43, seed=0)
    model, asked, predict = Model().fit(networks, true), [], Model.predict

    def watched(self, items):
        assert not {a.choices for a in items} & {a.choices for a in self.items} and len(self.items) >= 34
        asked.extend(a.choices for a in items)
        return predict(self, items)

    monkeypatch.setattr(Model, "predict", watched)
    report = model.report()
    assert sorted(asked) == sorted(a.choices for a in networks)
    assert report["networks"] == 43 and report["mean"] == pytest.approx(true.mean()) and report["rmse/mean"] < 0.01


# -- errors -----------------------------------------------------------------------------------------------------------

def few():
    return drawn(chain(), 30, seed=0)


@pytest.mark.parametrize("spoil, told", [
    (lambda a, t: (a[:4], t[:4]), r"4 timings given, but these blocks differ in \d kinds of work; give at least \d"),
    (lambda a, t: (a, t[:-1]), "30 items but 29 timings given"), (lambda a, t: ([], []), "no timings given"),
    (lambda a, t: (a, [*t[:3], np.nan, *t[4:]]), "timing 3 is nan ms; it must be a finite number above 0"),
    (lambda a, t: (a, [*t[:3], -1., *t[4:]]), "timing 3 is -1.0 ms"),
    (lambda a, t: (a, [*t[:3], 0., *t[4:]]), "timing 3 is 0.0 ms"),
    (lambda a, t: (a, [*t[:3], np.inf, *t[4:]]), "timing 3 is inf ms"),
    (lambda a, t: (a, np.stack([t, t, np.where(np.arange(30) == 3, -1., t)], 1)), "timing 3 .*-1.0 ms"),
])
def test_timings_that_cannot_be_are_refused_in_one_line(spoil, told):
    with pytest.raises(ValueError, match=told) as caught:
        Model().fit(*spoil(*few()))
    assert "\n" not in str(caught.value)


def test_the_report_wants_as_many_timings_as_networks():
    networks, times = few()
    with pytest.raises(ValueError, match="30 items but 29 timings given"):
        Model().fit(networks, times).report(networks, times[:-1])


def test_networks_need_timings():
    with pytest.raises((ValueError, TypeError), match="timings|milliseconds"):
        Model().fit(few()[0])


def test_a_table_with_a_row_of_zero_can_be_learned_from():
    space = chain()
    rows = {b: Entry(made_up(b)) for b in candidates(space)}
    model, with_zero = Model().fit(Table(rows)), Model().fit(Table({**rows, space.edges()[0].block("Zero"): Entry(1e-4)}))
    assert [with_zero[b] for b in rows] == pytest.approx([model[b] for b in rows])


def test_a_further_kind_of_work_is_learned(mobile):
    """Twenty networks do not tell a rule of our own; where the blocks' times on another device are a kind of work, they do."""
    networks, times = drawn(mobile, 220, seed=3)

    def with_times(block):
        work, shape = features(block)
        return [*work, 3 * made_up(block)], shape

    errors = [accuracy(model.fit(networks[:20], times[:20]).predict(networks[20:]), times[20:, None])["rmse/mean"]
              for model in (Model(with_times), Model())]
    assert errors[0] < 1e-3 < 5e-3 < errors[1]


@pytest.mark.parametrize("pool", [nn.MaxPool2d((3, 1), 1, (1, 0)), nn.AvgPool2d((1, 5), 1, (0, 2)), nn.MaxPool2d(3, 1, 1)], ids=str)
def test_a_pooling_window_may_have_two_sides(pool):
    block = Block("own", 4, 4, 8, make=lambda *_: pool)
    sides = (pool.kernel_size,) * 2 if isinstance(pool.kernel_size, int) else pool.kernel_size
    work, place = features(block)
    assert work[WORK.index("depthwise MACs")] == math.prod(sides) * 4 * 8 * 8 and place[SHAPE.index("log kernel")] == pytest.approx(math.log(max(sides)))
