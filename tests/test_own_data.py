"""Data of your own, of any kind of samples: searched, resumed, read by workers, and what is refused."""

import gc
import random
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import Dataset, IterableDataset, Subset, TensorDataset, random_split

import proxyless_lite as pl
from proxyless_lite.config import name_of

FEW = dict(epochs=2, batch_size=20, alpha_batch_size=20, alpha_every=2, lr=0.05, weight_decay=0.0)


class Dicts(Dataset):
    """Samples of a dict of tensors as dicts of single rows."""

    def __init__(self, **columns):
        self.columns = columns

    def __len__(self):
        return len(next(iter(self.columns.values())))

    def __getitem__(self, i):
        return {name: column[i] for name, column in self.columns.items()}


class Noisy(Dataset):
    """A number, its name, and what Python, NumPy and PyTorch draw when it is read."""

    def __init__(self, n):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        return torch.tensor([float(i), random.random(), np.random.rand(), torch.rand(()).item()]), {"name": f"sample {i}"}


def numbers(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# -- four tasks --------------------------------------------------------------------------------------------------------


class SignalNet(nn.Module):
    """(B, 2, 32) -> (B, 3)."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv1d(2, 8, 3, padding=1)
        self.edges = nn.Sequential(*[pl.MixedOp({
            "conv 3": nn.Sequential(nn.Conv1d(8, 8, 3, padding=1), nn.BatchNorm1d(8), nn.ReLU()),
            "conv 7": nn.Sequential(nn.Conv1d(8, 8, 7, padding=3), nn.BatchNorm1d(8), nn.ReLU()),
            "identity": nn.Identity()}) for _ in range(2)])
        self.last = nn.Linear(8, 3)

    def forward(self, x):
        return self.last(self.edges(F.relu(self.first(x))).mean(2))


def signals(n, seed):
    """Sines of three frequencies with random phase, and which it is."""
    labels = torch.arange(n) % 3
    phase, time = 6.28 * torch.rand(n, 2, 1, generator=torch.Generator().manual_seed(seed)), torch.arange(32.0)
    frequency = torch.tensor([0.2, 0.8, 2.0])[labels, None, None]
    return TensorDataset(torch.sin(phase + time * frequency) + 0.1 * numbers(seed, n, 2, 32), labels)


def classify_signals(out=None, workers=0, **settings):
    torch.manual_seed(0)
    splits = [signals(n, seed) for seed, n in enumerate((300, 90, 90))]
    data = pl.data.from_datasets(*splits, name="signals", classes=("low", "middle", "high"), workers=workers)
    return pl.Search(pl.SuperNet(SignalNet()), data, pl.rules.TwoPath(), pl.SearchConfig(**FEW | {"lr": 0.2} | settings), out, "cpu")


def linear_on(train, test):
    data = pl.data.from_datasets(train, train, test, name="signals")
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    return pl.train(net, data, pl.TrainConfig(epochs=1, batch_size=30, cutout=0, drop_path=0.0), device="cpu")


def test_labels_that_the_network_does_not_know_are_told():
    train, other = signals(60, 0), signals(60, 1)
    assert 0 <= linear_on(train, other).test_accuracy <= 1
    with pytest.raises(ValueError, match="33.3% of the test labels of signals are none of the network's classes, which count from 0"):
        linear_on(train, TensorDataset(other.tensors[0], other.tensors[1] + 1))
    with pytest.raises(ValueError, match="of the first training labels of signals are none of the network's classes, which count from 0"):
        linear_on(TensorDataset(train.tensors[0], train.tensors[1] + 1), other)
    ignored = train.tensors[1].where(train.tensors[1] > 0, -100)
    assert 0 <= linear_on(TensorDataset(train.tensors[0], ignored), other).test_accuracy <= 1, "PyTorch leaves out labels of -100"


@pytest.mark.parametrize("dataset", [
    TensorDataset(numbers(0, 60, 2, 32)), TensorDataset(numbers(0, 60, 2, 32), torch.zeros(60)), [{"x": torch.zeros(2, 32), "y": 0}] * 60])
def test_a_batch_that_is_no_pair_of_inputs_and_labels_is_told(dataset):
    with pytest.raises(ValueError, match="a batch of signals must be a pair of tensors, inputs and labels of type int64; give .* a collate"):
        linear_on(dataset, dataset)


def weighted(model, batch, weight):
    return weight * F.cross_entropy(model(batch[0]), batch[1])


def test_a_partial_as_loss_is_the_same_in_every_process():
    names = {name_of(partial(weighted, weight=weight)) for weight in (1.0, 1.0, 2.0)}
    assert len(names) == 2 and not [name for name in names if "0x" in name] and "0x" not in name_of(type("Loss", (), {"__call__": weighted})())


def dense(width):
    squashed = nn.Sequential(nn.Linear(width, width), nn.Tanh())
    return pl.MixedOp({"tanh": squashed, "linear": nn.Linear(width, width), "identity": nn.Identity()})


def regression_loss(model, batch):
    x, y = batch
    error = model(x)[:, 0] - y
    return {"loss": error.square().mean(), "mae": error.abs().mean()}


def regress(rule):
    """y = 2 x₀ − x₁ + x₂ x₃ / 2, of which the mean explains nothing: variance 5.25."""
    def sampled(n, seed):
        x = numbers(seed, n, 4)
        return TensorDataset(x, 2 * x[:, 0] - x[:, 1] + x[:, 2] * x[:, 3] / 2)
    torch.manual_seed(0)
    net = pl.SuperNet(nn.Sequential(nn.Linear(4, 16), dense(16), nn.Tanh(), dense(16), nn.Linear(16, 1)))
    data = pl.data.from_datasets(sampled(400, 0), sampled(100, 1))
    return pl.Search(net, data, rule, pl.SearchConfig(**FEW), device="cpu", loss=regression_loss)


class TwoHeads(nn.Module):
    """Two inputs, two outputs: a class of three and a number."""

    def __init__(self):
        super().__init__()
        self.left, self.right, self.edge = nn.Linear(4, 16), nn.Linear(2, 16), dense(16)
        self.heads = nn.ModuleDict({"kind": nn.Linear(16, 3), "value": nn.Linear(16, 1)})

    def forward(self, left, right):
        features = self.edge(torch.tanh(self.left(left) + self.right(right)))
        return {name: head(features) for name, head in self.heads.items()}


def two_headed_loss(model, batch):
    outputs = model(batch["left"], batch["right"])
    kind = F.cross_entropy(outputs["kind"], batch["kind"])
    value = F.mse_loss(outputs["value"][:, 0], batch["value"])
    return {"loss": kind + value, "kind": kind, "value": value}


def two_headed(engine="cpu", **settings):
    def sampled(n, seed):
        left, right = numbers(seed, n, 4), numbers(seed + 100, n, 2)
        return Dicts(left=left, right=right, kind=left[:, :3].argmax(1), value=right.sum(1))
    torch.manual_seed(0)
    data = pl.data.from_datasets(sampled(400, 0), sampled(100, 1))
    return pl.Search(pl.SuperNet(TwoHeads()), data, None, pl.SearchConfig(**FEW | settings), device=engine, loss=two_headed_loss)


TEXT = "the cat sat on the mat and the dog sat on the log while the cat and the dog ran to the mat. " * 20
LETTERS = sorted(set(TEXT))


class LanguageModel(nn.Module):
    """Letters (B, T) -> logits of the next ones (B, T, letters); all candidates look only back."""

    def __init__(self, width=24):
        super().__init__()
        self.embedding, self.last = nn.Embedding(len(LETTERS), width), nn.Linear(width, len(LETTERS))
        self.edges = nn.Sequential(*[
            pl.MixedOp({"back 2": Causal(width, 2), "back 4": Causal(width, 4), "now": nn.Linear(width, width)}) for _ in range(2)])

    def forward(self, letters):
        return self.last(self.edges(self.embedding(letters)))


class Causal(nn.Module):
    """(B, T, W) -> the same shape, from the last k places."""

    def __init__(self, width, k):
        super().__init__()
        self.k, self.convolution = k, nn.Conv1d(width, width, k)

    def forward(self, x):
        return x + torch.relu(self.convolution(F.pad(x.transpose(1, 2), (self.k - 1, 0)))).transpose(1, 2)


def next_letter_loss(model, letters):
    return F.cross_entropy(model(letters[:, :-1]).flatten(0, 1), letters[:, 1:].flatten())


def model_text():
    letters = torch.tensor([LETTERS.index(letter) for letter in TEXT])
    windows = [letters[i:i + 17] for i in range(0, len(letters) - 17, 2)]             # a list is a map-style dataset as well
    torch.manual_seed(0)
    data = pl.data.from_datasets(windows[:800], windows[800:], name="text", workers=1)
    return pl.Search(pl.SuperNet(LanguageModel()), data, None, pl.SearchConfig(**FEW | {"lr": 0.3}), device="cpu", loss=next_letter_loss)


def test_a_signal_classifier_with_the_default_loss(tmp_path):
    search = classify_signals(tmp_path / "a")
    result = search.run()
    assert str(search.data) == "signals: 300 train, 90 valid, 90 test samples, 3 classes, 2×32"
    assert {"train_loss", "train_accuracy", "valid_loss", "valid_accuracy", "derived_accuracy"} <= {*result.history.columns}
    assert result.history.train_loss.iloc[-1] < 0.8 * np.log(3) and result.history.derived_accuracy.iloc[-1] > 0.6
    report = pl.train(search.net.prune(), search.data, pl.TrainConfig(epochs=2, batch_size=20, lr=0.05, cutout=0), device="cpu")
    assert report.test_accuracy > 0.8
    untested = pl.data.from_datasets(signals(60, 0), signals(30, 1), name="signals")
    with pytest.raises(ValueError, match="signals has no test samples"):
        pl.train(search.net.prune(), untested, pl.TrainConfig(cutout=0), device="cpu")
    with pytest.raises(ValueError, match="cutout=16 .*signals"):
        pl.train(search.net.prune(), search.data, device="cpu", config=pl.TrainConfig(epochs=1))


@pytest.mark.parametrize("rule", [pl.rules.Reinforce(samples=3, reward=lambda metrics: -metrics["loss"]), pl.rules.TwoPath()], ids=repr)
def test_a_regression(rule):
    search = regress(rule)
    before = search.net.alpha_matrix()
    history = search.run().history
    names = {f"{part}_{name}" for part in ("train", "valid", "derived") for name in ("loss", "mae")}
    assert names <= {*history.columns} and "train_accuracy" not in history
    assert history.derived_loss.iloc[-1] < 0.5 * 5.25 and history.derived_mae.iloc[-1] < 1.4
    assert history[[*names]].notna().all(axis=None) and not torch.equal(search.net.alpha_matrix(), before)


def test_the_metrics_of_the_derived_network_are_exact():
    search = regress(pl.rules.TwoPath())
    history = search.run().history
    search.net.activate(search.net.best_paths())
    with torch.no_grad(), search.net.frozen():
        expected = regression_loss(search.net, [torch.stack(column) for column in zip(*search.data.valid.dataset)])
    for name, value in expected.items():
        assert history[f"derived_{name}"].iloc[-1] == pytest.approx(value.item(), abs=1e-6)


def test_a_reward_from_accuracy_is_refused_where_the_loss_gives_none():
    with pytest.raises(ValueError, match="no accuracy to reward"):
        regress(pl.rules.Reinforce(samples=2)).run()


def test_two_heads_and_dicts():
    search = two_headed()
    history = search.run().history
    assert {f"{part}_{name}" for part in ("train", "valid", "derived") for name in ("loss", "kind", "value")} <= {*history.columns}
    assert history.train_loss.iloc[-1] < 0.9 * (np.log(3) + 2)                        # of uniform classes and the mean value
    assert history.derived_kind.iloc[-1] < np.log(3) and history.derived_value.iloc[-1] < 2


def test_a_language_model():
    search = model_text()
    history = search.run().history
    letters = torch.bincount(torch.tensor([LETTERS.index(letter) for letter in TEXT])) / len(TEXT)
    assert history.derived_loss.iloc[-1] < 0.9 * torch.special.entr(letters).sum()    # of a model that knows how frequent letters are
    assert {"train_loss", "valid_loss", "derived_loss"} <= {*history.columns}


# -- resume, workers, ranks --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", (0, 2))
def test_a_resumed_search_ends_with_the_same_bits(tmp_path, workers):
    whole = classify_signals(tmp_path / "a")
    expected = whole.run().history
    classify_signals(tmp_path / "b", workers).run()
    (tmp_path / "b/checkpoint.pt").unlink()                                           # back by one epoch
    resumed = classify_signals(tmp_path / "b", workers)
    history = resumed.run().history
    assert all(map(torch.equal, whole.net.state_dict().values(), resumed.net.state_dict().values()))
    assert history.train_loss.tolist() == expected.train_loss.tolist()


def test_a_folder_of_other_data_or_another_loss_is_not_resumed(tmp_path):
    def search(data, loss):
        torch.manual_seed(0)
        net = pl.SuperNet(nn.Sequential(nn.Linear(4, 16), dense(16), nn.Linear(16, 1)))
        return pl.Search(net, data, None, pl.SearchConfig(**FEW | {"epochs": 1}), tmp_path, "cpu", loss=loss)
    x = numbers(0, 60, 4)
    a, b = (pl.data.from_datasets(*[TensorDataset(x + shift, x[:, 0])] * 2) for shift in (0, 1))
    search(a, regression_loss).run()
    search(a, regression_loss).run()
    with pytest.raises(ValueError, match="another configuration: images is"):
        search(b, regression_loss).run()
    with pytest.raises(ValueError, match="another configuration: loss is"):
        search(a, lambda model, batch: regression_loss(model, batch)["loss"]).run()


def same(a, b):
    """Whether two batches of Noisy are equal."""
    return torch.equal(a[0], b[0]) and a[1] == b[1]


@pytest.mark.slow
def test_batches_depend_neither_on_workers_nor_on_what_was_asked_before():
    data = pl.data.from_datasets(Noisy(24), Noisy(9))
    sequence = data.batches(data.train, 8, 3, 1, augment=True)
    expected = [sequence[i] for i in range(8)]                                        # more than two epochs
    assert sequence.batches_per_epoch == 3 and not data.prefetches
    parallel = pl.data.from_datasets(Noisy(24), Noisy(9), workers=2)
    batches = parallel.batches(parallel.train, 8, 3, 1, augment=True)
    assert parallel.prefetches
    for i in (5, 6, 7, 0, 1, 4, 4):                                                   # resume, go on, go back, leap, again
        assert same(batches[i], expected[i]), i
    for a, b in zip(data.eval_batches(data.valid, 4), parallel.eval_batches(parallel.valid, 4), strict=True):
        assert same(a, b)
    drawn = torch.cat([batch[:, 1:] for batch, _ in expected])
    assert all(len(column.unique()) == 64 for column in drawn.T)                      # nothing is drawn twice
    assert sorted(torch.cat([batch[:, 0] for batch, _ in expected[:3]]).tolist()) == [*range(24)]
    assert not same(data.batches(data.train, 8, 4, 1, augment=True)[0], expected[0])
    del batches
    gc.collect()


def test_ranks_share_the_batch_that_one_alone_would_get():
    data = pl.data.from_datasets(Noisy(24), Noisy(10))
    alone = data.batches(data.train, 12, 0, 0, augment=True)
    for i in (0, 3):
        parts = [data.batches(data.train, 12, 0, 0, True, rank, 3)[i] for rank in range(3)]
        assert torch.equal(torch.cat([numbers for numbers, _ in parts]), alone[i][0])
        assert sum((names["name"] for _, names in parts), []) == alone[i][1]["name"]
    evaluated = [list(data.eval_batches(data.valid, 4, rank, 2)) for rank in range(2)]
    assert [[len(batch) for batch, _ in share] for share in evaluated] == [[4, 2], [4]]
    assert torch.equal(torch.cat([evaluated[0][0][0], evaluated[1][0][0], evaluated[0][1][0]]), next(data.eval_batches(data.valid, 10))[0])


@pytest.mark.parametrize("workers", (0, 1))
def test_global_random_numbers_are_left_alone(workers):
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    data = pl.data.from_datasets(Noisy(24), Noisy(9), workers=workers)
    data.batches(data.train, 8, 0, 0, augment=True)[0], list(data.eval_batches(data.valid, 4)), data.example(2), data.digest
    assert before == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())


# -- splits and batches ------------------------------------------------------------------------------------------------


def test_splits_are_indexed_shuffled_and_joined():
    data = pl.data.from_datasets(Noisy(6), Noisy(4), Noisy(3))
    read = lambda split: next(data.eval_batches(split, len(split)))[0][:, 0].tolist()  # noqa: E731
    assert (read(data.train), read(data.train[torch.tensor([4, 1])])) == ([0, 1, 2, 3, 4, 5], [4, 1])
    assert read(data.full_train) == [0, 1, 2, 3, 4, 5, 0, 1, 2, 3] and read(data.full_train[torch.tensor([7, 2])]) == [1, 2]
    assert read(data.train[torch.tensor([5, 0])] + data.valid[torch.tensor([2])]) == [5, 0, 2]
    assert sorted(read(pl.data.shuffled(data.train))) == [0, 1, 2, 3, 4, 5] != read(pl.data.shuffled(data.train))
    assert str(data) == "own data: 6 train, 4 valid, 3 test samples, 4"


def test_a_sample_may_be_anything():
    of = lambda sample: pl.data.from_datasets([sample] * 4, [sample] * 2)  # noqa: E731
    image, array = torch.zeros(3, 5), np.zeros((2, 2), np.float32)
    for sample, shape in ((image, (3, 5)), (image.bfloat16(), (3, 5)), ((1, image), (3, 5)), ({"x": array, "y": 2}, (2, 2)),
                          (3.5, None), ("text", None)):
        assert of(sample).shape == shape and len(of(sample).digest) == 12
    batch = of({"x": array, "y": 2, "name": "a"}).example(2)
    assert batch["x"].shape == (2, 2, 2) and batch["y"].tolist() == [2, 2] and batch["name"] == ["a", "a"]
    assert len(of(1).example(9)) == 4 and of(1).to("cpu").device == torch.device("cpu") and of(1).classes == ()
    assert str(of(1)) == "own data: 4 train, 2 valid, 0 test samples"


@pytest.mark.parametrize("workers", (0, 1))
def test_batches_of_unequal_samples_need_a_collate(workers):
    ragged = [torch.ones(n) for n in (2, 3, 4, 5)]
    data = pl.data.from_datasets(ragged, ragged, name="ragged", workers=workers)
    with pytest.raises(ValueError, match=r"ragged: samples .*\(\(?.,\).*collate") as caught:
        data.batches(data.train, 4, 0, 0, True)[0]
    assert "\n" not in str(caught.value)
    pad = lambda many: nn.utils.rnn.pad_sequence(many, batch_first=True)  # noqa: E731
    padded = pl.data.from_datasets(ragged, ragged, collate=pad, workers=workers)
    assert next(padded.eval_batches(padded.valid, 4)).sum(1).tolist() == [2, 3, 4, 5] and padded.example(2).shape == (2, 3)


def test_collate_draws_the_same_with_any_number_of_workers():
    ones, mask = [torch.ones(8)] * 12, lambda many: F.dropout(torch.stack(many), 0.5)
    masked = [pl.data.from_datasets(ones, ones, workers=workers, collate=mask) for workers in (0, 1)]
    a, b = (data.batches(data.train, 4, 0, 0, True) for data in masked)
    assert torch.equal(a[0], b[0]) and torch.equal(a[4], b[4]) and not torch.equal(a[0], a[1])


def test_digest_tells_data_apart_without_reading_all():
    class Counted(TensorDataset):
        read = 0

        def __getitem__(self, i):
            Counted.read += 1
            return super().__getitem__(i)
    x = numbers(0, 1000, 3)
    whole = Counted(x)
    digest = lambda *sets: pl.data.from_datasets(*sets).digest  # noqa: E731
    splits = [random_split(whole, [800, 200], torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    digests = [digest(*pair) for pair in splits]
    assert digests[0] == digests[1] != digests[2] and Counted.read < 20
    assert len({digests[0], digest(whole, whole), digest(whole, whole, whole), digest(TensorDataset(x), whole),
                digest(Counted(x + 1), whole), digest(Subset(whole, range(999)), whole), digest(Subset(whole, range(1, 1000)), whole)}) == 7
    assert digest(Noisy(4), Noisy(2)) == digest(Noisy(4), Noisy(2))


def test_all_tensors_of_a_batch_are_uploaded_at_once(monkeypatch):
    sent = []

    def upload(tensors, device):
        sent.append((tensors, device))
        return lambda: [-tensor for tensor in tensors]                                # what has arrived
    data = two_headed().data
    expected = data.example(3)
    monkeypatch.setattr(pl.runtime, "upload", upload)
    batch = data.to("cuda:1").example(3)
    assert [*batch] == [*expected] and all(torch.equal(batch[name], -expected[name]) for name in batch)
    (tensors, device), = sent
    assert len(tensors) == 4 and device == torch.device("cuda:1")


# -- what is refused ---------------------------------------------------------------------------------------------------


class Stream(IterableDataset):
    def __iter__(self):
        return iter(range(10))


class Endless(Dataset):
    def __getitem__(self, i):
        return i


@pytest.mark.parametrize("arguments, message", (
    (([], [1]), "train of own data is an empty list"), (([1], [1], []), "test of own data is an empty list"),
    (([1], TensorDataset(torch.zeros(0, 3))), "valid of own data is an empty TensorDataset"),
    ((Stream(), [1]), "train of own data is a Stream, .* map-style"), (([1], Endless()), "valid of own data is a Endless, .* map-style")))
def test_datasets_that_cannot_be_used_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message) as caught:
        pl.data.from_datasets(*arguments)
    assert "\n" not in str(caught.value)


def test_other_settings_are_refused_in_one_line():
    data = pl.data.from_datasets(Noisy(6), Noisy(4))
    for call, message in ((lambda: pl.data.from_datasets([1], [1], workers=-1), "workers=-1 must be at least 0"),
                          (lambda: data.batches(data.train, 7, 0, 0, True), "a batch of 7 samples asked for, but own data has only 6"),
                          (lambda: list(data.eval_batches(data.test, 4)), "an empty split")):
        with pytest.raises(ValueError, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_a_network_that_does_not_fit_is_refused_before_the_search():
    x, y = numbers(0, 40, 4), torch.arange(40) % 3
    data = pl.data.from_datasets(*[TensorDataset(x, y)] * 2, classes="abc")
    search = lambda *layers, **settings: pl.Search(pl.SuperNet(nn.Sequential(*layers)), data, device="cpu", **settings)  # noqa: E731
    unnamed = lambda model, batch: {"mse": model(batch[0]).mean()}  # noqa: E731
    widths = pl.MixedOp({"wide": nn.Linear(4, 3), "wider": nn.Linear(4, 5)})
    for call, message in ((lambda: search(widths), "edge '0': candidates give different shapes from .4,.: wide .3,., wider .5,."),
                          (lambda: search(widths, loss=regression_loss), "edge '0': candidates give different shapes"),
                          (lambda: search(dense(4)), "the network gives .4,. for an image, but own data has 3 classes"),
                          (lambda: search(dense(4), loss=lambda model, batch: model(batch[0])), "a loss must return a scalar tensor"),
                          (lambda: search(dense(4), loss=unnamed), "the loss gives mse, but nothing")):
        with pytest.raises(ValueError, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_label_smoothing_with_a_loss_of_your_own_is_refused():
    x = numbers(0, 40, 4)
    data = pl.data.from_datasets(*[TensorDataset(x, x[:, 0])] * 2)
    with pytest.raises(ValueError, match="label_smoothing"):
        pl.Search(pl.SuperNet(dense(4)), data, config=pl.SearchConfig(label_smoothing=0.1), device="cpu", loss=regression_loss)


@pytest.mark.slow
def test_batches_of_dicts_in_parts_give_the_same_losses():
    whole, parts = (two_headed(pl.runtime.engine("cpu", grad_accumulation=count), epochs=1).run().history for count in (1, 4))
    for name in ("train_loss", "train_kind", "valid_value", "derived_loss"):
        assert parts[name].tolist() == pytest.approx(whole[name].tolist(), rel=1e-4)


def test_a_search_of_own_data_can_be_forecast():
    assert two_headed().forecast(steps=2)["hours"] > 0


def test_every_metric_of_a_loss_is_kept_whatever_its_name():
    def named(model, batch):
        found = regression_loss(model, batch)
        return {**found, "top5": found["loss"].detach()}
    data, config = pl.data.from_datasets(*[torch.utils.data.TensorDataset(torch.randn(40, 6), torch.randn(40))] * 2), pl.SearchConfig(
        epochs=1, batch_size=20, alpha_batch_size=20, alpha_every=1)
    history = pl.Search(pl.SuperNet(dense(6)), data, config=config, device="cpu", loss=named).run().history
    assert history.derived_top5.tolist() == history.derived_loss.tolist()
