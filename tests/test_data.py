"""Data sets, splits, augmentation on the device, and what is refused."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

import proxyless_lite as pl

REAL = pl.runtime.default_root() / "cifar10"
needs_cifar = pytest.mark.skipif(not REAL.is_dir(), reason="CIFAR-10 as an image folder is not in $PROXYLESS_DATA")


@pytest.fixture
def folder(tmp_path):
    """Two classes, 12 training and 4 test images each, 16×16 PNG."""
    random = np.random.default_rng(0)
    for split, count in (("train", 12), ("test", 4)):
        for label in ("cat", "dog"):
            (tmp_path / split / label).mkdir(parents=True)
            for i in range(count):
                Image.fromarray(random.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(tmp_path / split / label / f"{i}.png")
    return tmp_path


def test_digits_are_the_real_ones_and_split_per_class():
    from sklearn.datasets import load_digits
    data = pl.data.load("digits")
    assert (len(data.train), len(data.valid), len(data.test)) == (1078, 359, 360) and data.shape == (3, 8, 8)
    images = torch.cat([s.images for s in (data.train, data.valid, data.test)])[..., 0].flatten(1)
    raw = torch.from_numpy(load_digits().images).flatten(1)
    assert sorted(map(tuple, (images / 255 * 16).round().tolist())) == sorted(map(tuple, raw.tolist()))  # each image once
    for part in (data.train, data.valid, data.test):
        counts = torch.bincount(part.labels)
        assert counts.max() - counts.min() <= 8 and len(counts) == 10


def test_validation_split_depends_on_the_seed_only():
    a, b, c = (pl.data.load("digits", seed=s) for s in (0, 0, 1))
    assert torch.equal(a.valid.images, b.valid.images) and not torch.equal(a.valid.labels, c.valid.labels)
    assert torch.equal(a.test.images, c.test.images)


def test_batch_is_normalised_and_channels_last():
    data = pl.data.load("digits")
    images, labels = data.batch(data.train, torch.arange(len(data.train)))
    assert images.is_contiguous(memory_format=torch.channels_last) and images.dtype == torch.float32
    assert images.mean().item() == pytest.approx(0, abs=1e-5) and images.std().item() == pytest.approx(1, abs=1e-3)
    assert torch.equal(labels, data.train.labels)


def test_augmented_images_are_crops_of_the_padded_mirrored_originals(folder):
    data = pl.data.load(str(folder))
    indices = torch.arange(8)
    generator = lambda: torch.Generator().manual_seed(0)  # noqa: E731
    images, _ = data.batch(data.train, indices, generator())
    mean, std = torch.tensor(data.mean), torch.tensor(data.std)
    pixels = (images.permute(0, 2, 3, 1) * std + mean).round().to(torch.uint8)
    found = []
    for image, original in zip(pixels, data.train.images):
        padded = torch.nn.functional.pad(original, (0, 0, 2, 2, 2, 2))                # shift = 16 / 8 pixels
        crops = {(y, x, flip): padded.flip(1)[y:y + 16, x:x + 16] if flip else padded[y:y + 16, x:x + 16]
                 for y in range(5) for x in range(5) for flip in (False, True)}
        (how,) = [key for key, crop in crops.items() if torch.equal(crop, image)]
        found.append(how)
    assert len(set(found)) > 4 and {flip for *_, flip in found} == {False, True}
    assert torch.equal(images, data.batch(data.train, indices, generator())[0])


def test_digits_are_never_mirrored():
    assert pl.data.load("digits").flip is False


def test_image_folder(folder):
    data = pl.data.load(str(folder), valid=0.25)
    assert data.classes == ("cat", "dog") and data.shape == (3, 16, 16)
    assert [len(s) for s in (data.train, data.valid, data.test)] == [18, 6, 8]
    assert torch.bincount(data.valid.labels).tolist() == [3, 3]
    assert pl.data.load(str(folder), image_size=8).shape == (3, 8, 8)
    assert len(pl.data.load(str(folder), limit=10, valid=0.2).full_train) == 10


def test_images_of_other_shapes_are_resized_and_cropped_like_torchvision(tmp_path):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))
    image.save(tmp_path / "x.png")
    ours = pl.data.decode(tmp_path / "x.png", 20)
    theirs = np.asarray(transforms.CenterCrop(20)(transforms.Resize(20)(image)))
    assert np.array_equal(ours, theirs)


def test_bad_folders_are_refused_in_one_line(folder, tmp_path_factory):
    def refused(message, path=folder):
        with pytest.raises(ValueError, match=message) as caught:
            pl.data.load(str(path))
        assert "\n" not in str(caught.value)
    broken = folder / "train/cat/3.png"
    good = broken.read_bytes()
    broken.write_bytes(good[:60])
    refused("train/cat/3.png cannot be read")
    broken.write_bytes(b"not an image")
    refused("train/cat/3.png cannot be read")
    broken.write_bytes(good)
    (folder / "train/bird").mkdir()
    refused("class without any.*bird")
    (folder / "train/bird/0.png").write_bytes(good)
    refused("classes differ.*bird")
    one = tmp_path_factory.mktemp("one")
    for split in ("train", "test"):
        (one / split / "cat").mkdir(parents=True)
    refused("holds no images", one)
    for split in ("train", "test"):
        (one / split / "cat/0.png").write_bytes(good)
    refused("one class .cat.", one)
    refused("no image folder", tmp_path_factory.mktemp("empty"))
    with pytest.raises(ValueError, match="unknown data set 'mnist'; allowed: digits, cifar10, or the path"):
        pl.data.load("mnist")
    with pytest.raises(ValueError, match="valid=2"):
        pl.data.load("digits", valid=2)
    with pytest.raises(ValueError, match="5 images asked for, of 1437 in 10 classes; allowed: 10 to 1437"):
        pl.data.load("digits", limit=5)


def test_cifar10_that_is_not_there_says_where_to_put_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="PROXYLESS_DATA") as caught:
        pl.data.load("cifar10", root=tmp_path, download=False)
    assert "\n" not in str(caught.value)


def test_cifar10_is_read_from_torchvisions_files(tmp_path, monkeypatch):
    """The pickled batches of the original download, made here with a few images; torchvision checks their sums."""
    from torchvision.datasets import CIFAR10
    folder = tmp_path / CIFAR10.base_folder
    folder.mkdir()
    random = np.random.default_rng(0)
    for name, _ in CIFAR10.train_list + CIFAR10.test_list:
        batch = {"data": random.integers(0, 256, (40, 3072), dtype=np.uint8), "labels": [i % 10 for i in range(40)]}
        (folder / name).write_bytes(pickle.dumps(batch))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcdefghij")}))
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    data = pl.data.load("cifar10", root=tmp_path, download=False)
    assert len(data.full_train) == 200 and len(data.test) == 40 and data.shape == (3, 32, 32)
    assert data.mean == pl.data.CIFAR10_MEAN


@needs_cifar
def test_real_cifar10():
    data = pl.data.load("cifar10", limit=2000)
    assert len(data.full_train) == 2000 and len(data.test) == 10_000 and data.shape == (3, 32, 32)
    assert sorted(data.classes) == ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    assert torch.bincount(data.valid.labels).tolist() == [20] * 10
    pixels = data.test.images.float().flatten(0, 2)
    assert torch.allclose(pixels.mean(0), torch.tensor(data.mean), atol=2) and torch.allclose(pixels.std(0), torch.tensor(data.std), atol=2)


@needs_cifar
def test_search_on_real_cifar10_beats_chance(tmp_path):
    data = pl.data.load("cifar10", limit=2000)
    torch.manual_seed(0)
    config = pl.presets.SearchConfig(epochs=2, warmup_epochs=1, batch_size=100, alpha_batch_size=100, lr=0.05, warmup_lr=0.05, alpha_every=2)
    result = pl.Search(pl.SuperNet(pl.spaces.tree(1, 72)), data, config=config, out=tmp_path, device="cpu").run()
    assert result.history.derived_accuracy.iloc[-1] > 0.15
    assert result.architecture.build()(torch.randn(2, 3, 32, 32)).shape == (2, 10)
