"""Data sets, splits, augmentation on the device, and what is refused."""

import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import ks_2samp
from sklearn.metrics import top_k_accuracy_score
from torchvision import transforms
from torchvision.transforms.v2 import functional

import proxyless_lite as pl
from proxyless_lite.training import evaluate

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


@pytest.mark.parametrize("limit, kept", [(1436, 1427), (1428, 1427), (1427, 1427), (1437, 1437), (5000, 1437)])
def test_a_limit_is_never_exceeded(limit, kept):
    assert len(pl.data.load("digits", limit=limit).full_train) == kept <= limit


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


@pytest.mark.parametrize("padding", [None, 0, 1, 3 / 16])
def test_augmented_images_are_crops_of_the_padded_mirrored_originals(folder, padding):
    data, size = pl.data.load(str(folder), padding=padding), {None: 2, 3 / 16: 3}.get(padding, padding)  # of 16 pixels
    assert str(data).endswith(f", shifted by up to {size} pixels") == (padding is not None)
    indices = torch.arange(8)
    generator = lambda: torch.Generator().manual_seed(0)  # noqa: E731
    images, _ = data.batch(data.train, indices, generator())
    mean, std = torch.tensor(data.mean), torch.tensor(data.std)
    pixels = (images.permute(0, 2, 3, 1) * std + mean).round().to(torch.uint8)
    found = []
    for image, original in zip(pixels, data.train.images):
        padded = torch.nn.functional.pad(original, (0, 0, *[size] * 4))
        crops = {(y, x, flip): padded.flip(1)[y:y + 16, x:x + 16] if flip else padded[y:y + 16, x:x + 16]
                 for y in range(2 * size + 1) for x in range(2 * size + 1) for flip in (False, True)}
        (how,) = [key for key, crop in crops.items() if torch.equal(crop, image)]
        found.append(how)
    assert len(set(found)) >= min(5, 2 + 2 * size) and {flip for *_, flip in found} == {False, True}
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


def test_a_truncated_jpeg_is_not_filled_up_with_grey(folder):
    Image.open(folder / "train/cat/0.png").resize((64, 64)).save(folder / "train/cat/0.jpeg")
    whole = (folder / "train/cat/0.jpeg").read_bytes()
    (folder / "train/cat/0.jpeg").write_bytes(whole[:len(whole) // 2])
    with pytest.raises(ValueError, match="1 of 33 images cannot be read: .*train/cat/0.jpeg"):
        pl.data.load(str(folder), image_size=16)
    assert [path.name for path in pl.data.pixels.unreadable(pl.data.folders.find(folder)[0])] == ["0.jpeg"]


def test_images_of_other_shapes_are_resized_and_cropped_like_torchvision(tmp_path):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))
    image.save(tmp_path / "x.png")
    ours = pl.data.pixels.decode(tmp_path / "x.png", 20)
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
    refused("1 of 32 images cannot be read: .*train/cat/3.png .*; fix or remove it")
    for i in (0, 4, 5):  # not even the first, whose size counts, nor those of test/
        (folder / f"train/cat/{i}.png").write_bytes(b"not an image")
    refused("4 of 24 images cannot be read: .*train/cat/0.png .*, .*train/cat/3.png .*, .*train/cat/4.png .*, …; fix or remove them")
    for i in (0, 4, 5):
        (folder / f"train/cat/{i}.png").write_bytes(good)
    (folder / "test/dog/1.png").write_bytes(good[:-30])
    refused("2 of 32 images cannot be read: .*train/cat/3.png .*, .*test/dog/1.png .*; fix or remove them")
    (folder / "test/dog/1.png").write_bytes(good)
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
    refused(r"must hold train/ and test/ \(or val/\), or one folder per class", tmp_path_factory.mktemp("empty"))
    with pytest.raises(ValueError, match="split=0.5 is for a folder of images without a test set; leave it out for digits"):
        pl.data.load("digits", split=0.5)
    with pytest.raises(ValueError, match="unknown data set 'mnist'; allowed: digits, cifar10, imagenet, or the path"):
        pl.data.load("mnist")
    with pytest.raises(ValueError, match="valid=2"):
        pl.data.load("digits", valid=2)
    with pytest.raises(ValueError, match="split=1 must be a share"):
        pl.data.load(str(folder), split=1)
    with pytest.raises(ValueError, match="5 images asked for, of 1437 in 10 classes; allowed: 10 to 1437"):
        pl.data.load("digits", limit=5)
    for settings, message in ((dict(crop=9), "crop=9 is larger than the images of digits, 8×8"), (dict(crop=0), "crop=0 must be at least 1"),
                              (dict(padding=-1), "padding=-1: must not be negative"), (dict(padding=1, crop=8), "padding=1: .*leave out crop and workers"),
                              (dict(workers=2), "digits is not a folder of images .* leave out workers=2")):
        with pytest.raises(ValueError, match=message):
            pl.data.load("digits", **settings)


# -- what is a class, an image, a split ----------------------------------------------------------------------------------


def spoil_with_a_hidden_class(root):
    for part in ("train", "test"):
        shutil.copytree(root / part / "cat", root / part / ".ipynb_checkpoints")


def spoil_with_an_empty_hidden_class(root):
    (root / "train/.Trash-1000").mkdir()


def spoil_with_hidden_copies(root):
    (root / "train/cat/.ipynb_checkpoints").mkdir()
    shutil.copy(root / "train/cat/0.png", root / "train/cat/.ipynb_checkpoints/0-checkpoint.png")


def spoil_with_apple_doubles(root):
    (root / "train/cat/._0.png").write_bytes(b"\x00\x05\x16\x07" + bytes(60))


@pytest.mark.parametrize("spoil", [spoil_with_a_hidden_class, spoil_with_an_empty_hidden_class, spoil_with_hidden_copies, spoil_with_apple_doubles])
def test_what_begins_with_a_dot_is_no_class_and_no_image(folder, spoil):
    spoil(folder)
    data = pl.data.load(str(folder))
    assert data.classes == ("cat", "dog") and len(data.full_train) == 24 and len(data.test) == 8


def test_files_of_all_image_endings_are_read_and_others_counted(folder, capsys):
    image = Image.open(folder / "train/cat/0.png")
    for name, kind in (("a.jfif", "JPEG"), ("b.GIF", "GIF"), ("c.jp2", "JPEG2000"), ("d.webp", "WEBP")):
        image.save(folder / "train/cat" / name, kind)
    for name in ("x.heic", "y.HEIC", "Thumbs.db", "noending"):
        (folder / "train/dog" / name).write_bytes(b"x")
    assert len(pl.data.load(str(folder)).full_train) == 28
    assert f"{folder / 'train'}: files that are no images of a class were left out: 2 .heic, 1 .db, 1 noending" in capsys.readouterr().out


def test_images_beside_the_folders_of_classes_are_counted(folder, capsys):
    for name in "ab":
        Image.open(folder / "train/cat/0.png").save(folder / f"train/{name}.png")
    assert len(pl.data.load(str(folder)).full_train) == 24
    assert "left out: 2 beside the folders of the classes" in capsys.readouterr().out


def test_a_class_of_files_that_are_no_images_says_what_they_are(folder):
    (folder / "train/bird").mkdir()
    (folder / "train/bird/1.heic").write_bytes(b"x")
    with pytest.raises(ValueError, match="class without any: .*bird; these files are no images: 1 .heic$"):
        pl.data.load(str(folder))


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
@pytest.mark.parametrize("how", ["memory", "pack", "stream"])
def test_alpha_learns_from_val_where_there_is_a_test_set_too(folder, tmp_path_factory, name, how):
    for label in ("cat", "dog"):
        (folder / name / label).mkdir(parents=True)
        for i in range(6):
            Image.new("RGB", (16, 16), (100 + i,) * 3).save(folder / name / label / f"{i}.png")
    settings = {"pack": dict(pack=tmp_path_factory.mktemp("disk") / "pack"), "stream": dict(workers=0)}.get(how, {})
    data = pl.data.load(str(folder), **settings)
    assert [len(s) for s in (data.train, data.valid, data.test, data.full_train)] == [24, 12, 8, 36]
    images, _ = next(iter(data.eval_batches(data.valid, 12)))
    pixels = images * torch.tensor(data.std)[:, None, None] + torch.tensor(data.mean)[:, None, None]
    assert {*pixels.round().int().flatten().tolist()} == {*range(100, 106)}
    less = pl.data.load(str(folder), limit=12)
    assert [len(s) for s in (less.train, less.valid)] == [12, 6] and torch.bincount(less.valid.labels).tolist() == [3, 3]
    with pytest.raises(ValueError, match="valid=0.2: .* has images for that, its val/; leave out valid"):
        pl.data.load(str(folder), valid=0.2)


def test_cifar10_too_has_its_alpha_from_val(folder, tmp_path_factory):
    shutil.copytree(folder / "train", folder / "val")
    root = tmp_path_factory.mktemp("root")
    shutil.copytree(folder, root / "cifar10")
    data = pl.data.load("cifar10", root=root)
    assert [len(part) for part in (data.train, data.valid, data.test)] == [24, 24, 8]


def test_of_imagenet_val_is_the_test_set_and_its_test_without_labels_is_left_alone(folder, tmp_path_factory):
    (folder / "test").rename(folder / "val")
    shutil.copytree(folder / "val/cat", folder / "test")                                 # flat, as published
    root = tmp_path_factory.mktemp("root")
    shutil.copytree(folder, root / "imagenet")
    data = pl.data.load("imagenet", root=root, workers=0, valid=0.25)
    assert [len(part) for part in (data.train, data.valid, data.test)] == [18, 6, 8]


@pytest.mark.parametrize("layout", ["classes alone", "train alone"])
def test_a_folder_without_a_test_set_is_split_evenly_and_says_so(folder, tmp_path, layout, capsys):
    shutil.rmtree(folder / "test")
    root = folder / "train" if layout == "classes alone" else folder
    data, other, more = pl.data.load(str(root)), pl.data.load(str(root), seed=3), pl.data.load(str(root), split=0.5)
    assert "of its 24 images, of every class alike, are the test set" in capsys.readouterr().out
    assert [len(s) for s in (data.full_train, data.test, more.test)] == [19, 5, 12] and torch.bincount(more.test.labels).tolist() == [6, 6]
    assert torch.equal(data.test.images, other.test.images), "whatever the seed, or a network could be tested on what it has learned"
    tested = {*map(bytes, data.test.images.numpy())}
    assert not tested & {*map(bytes, data.full_train.images.numpy())} and len(tested) == 5


def test_a_share_for_testing_beside_a_test_set_is_refused(folder):
    with pytest.raises(ValueError, match="split=0.3: .* has a test set already, test/; leave out split"):
        pl.data.load(str(folder), split=0.3)
    shutil.rmtree(folder / "train")
    with pytest.raises(ValueError, match="has test/ but no train/"):
        pl.data.load(str(folder))


@pytest.mark.parametrize("names", [("Training", "Testing"), ("Train", "Test"), ("train", "testing")])
def test_parts_of_other_names_are_no_classes(folder, names):
    for before, name in zip(("train", "test"), names):
        (folder / before).rename(folder / name)
    with pytest.raises(ValueError, match="is not one of the parts that are read; call them train, val and test"):
        pl.data.load(str(folder))


def test_the_present_folder_is_loaded(folder, monkeypatch):
    monkeypatch.chdir(folder / "train")
    data = pl.data.load(".")
    assert (data.name, data.classes, len(data.full_train) + len(data.test)) == ("train", ("cat", "dog"), 24)


def numbered(root, **counts):
    """A folder of images with the given number of images of each class in train/, two each in test/."""
    for label, n in counts.items():
        for part, k in (("train", n), ("test", 2)):
            (root / part / label).mkdir(parents=True)
            for i in range(k):
                Image.new("RGB", (8, 8), (i, i, i)).save(root / part / label / f"{i}.png")
    return str(root)


@pytest.mark.parametrize("counts, valid", [
    (dict(common=200, rare=3), None), (dict(common=200, rare=2, other=90), None), ({f"species{i:02}": 5 for i in range(30)}, None),
    (dict(common=9, rare=2), 0.9)])
def test_every_class_is_in_every_part(tmp_path, counts, valid):
    data = pl.data.load(numbered(tmp_path, **counts), valid=valid)
    found = [torch.bincount(part.labels, minlength=len(counts)) for part in (data.train, data.valid)]
    assert (found[0] > 0).all() and (found[1] > 0).all() and sum(found).tolist() == [counts[name] for name in sorted(counts)]


def test_a_class_that_cannot_be_split_is_named(tmp_path):
    with pytest.raises(ValueError, match="class rare has one image; a split needs two"):
        pl.data.load(numbered(tmp_path, common=20, rare=1))


@pytest.mark.parametrize("settings", [dict(), dict(valid=0.01, split=0.01)])
def test_however_small_a_part_is_it_has_every_class(tmp_path, settings):
    root = Path(numbered(tmp_path, cat=3, dog=4)) / "train"  # the classes alone
    data = pl.data.load(root, **settings)
    for part in (data.train, data.valid, data.test):
        assert torch.bincount(part.labels).tolist() == [1, 1] or part is data.train and (torch.bincount(part.labels) >= 1).all()


@pytest.mark.parametrize("count", [1, 2])
def test_without_a_test_set_a_class_needs_three_images(tmp_path, count):
    root = Path(numbered(tmp_path, cat=3, dog=count)) / "train"
    with pytest.raises(ValueError, match=f"class dog has {count} image.*; without test/ each needs three, to learn the weights, to learn α and to test"):
        pl.data.load(root)
    with pytest.raises(ValueError, match="unknown data set"):
        pl.data.load(tmp_path / "elsewhere", split=0.3)


@pytest.mark.parametrize("settings", [dict(), dict(limit=2)])
def test_one_image_a_class_cannot_be_split(tmp_path, settings):
    folder = numbered(tmp_path, **{"cat": 1 + len(settings), "dog": 1 + len(settings)})
    with pytest.raises(ValueError, match="class cat has one image; a split needs two"):
        pl.data.load(folder, **settings)


@pytest.mark.parametrize("name", ["cifar10", "digits", "imagenet"])
def test_a_path_is_a_folder_whatever_it_is_called(folder, tmp_path_factory, monkeypatch, name):
    monkeypatch.chdir(tmp_path_factory.mktemp("here"))
    shutil.copytree(folder, name)
    found, plain = pl.data.load(Path(name)), pl.data.load(str(folder))
    assert found.mean == plain.mean and len(found.valid) == len(plain.valid) and found.loaded["name"] == str(Path(name).resolve())


def test_a_run_remembers_where_its_images_are_packed(folder, tmp_path_factory):
    pack = tmp_path_factory.mktemp("pack")
    data = pl.data.load(str(folder), pack=pack, image_size=8)
    assert type(pl.data.load(**data.loaded)) is type(data) and data.loaded["pack"] == str(pack)


def test_a_link_to_a_folder_around_it_adds_no_images(tmp_path, caplog):
    folder, caplog = Path(numbered(tmp_path, cat=8, dog=8)), caplog
    before = str(pl.data.load(folder))
    for name, target in (("cat/self", "."), ("dog/all", "..")):
        (folder / "train" / name).symlink_to(target)
    with caplog.at_level("INFO"):
        assert str(pl.data.load(folder)) == before
    assert "in a link to a folder around it" in caplog.text


def test_images_that_do_not_fit_into_memory_are_refused_before_they_are_read(tmp_path, monkeypatch):
    folder = numbered(tmp_path, cat=8, dog=8)
    need = 2 * 3 * 8 * 8 * sum(1 for _ in Path(folder).rglob("*.png"))
    monkeypatch.setattr(pl.runtime, "free_memory", lambda device: need)
    pl.data.load(folder)
    monkeypatch.setattr(pl.runtime, "free_memory", lambda device: need - 1)
    with pytest.raises(ValueError, match="images of 8×8 take up to .* GB of memory, and .* give a smaller image_size, or pack or workers"):
        pl.data.load(folder)


@pytest.mark.parametrize("parts", [1, 2])
def test_fewer_images_than_a_batch_make_a_smaller_batch(tmp_path, parts):
    data = pl.data.load(numbered(tmp_path, cat=21, dog=20))
    engine = pl.runtime.engine("cpu", grad_accumulation=parts)
    config = pl.SearchConfig(epochs=1, batch_size=64, alpha_batch_size=64, alpha_every=1)
    search = pl.Search(pl.SuperNet(pl.spaces.chain(edges=2, width=8, classes=2)), data, config=config, device=engine)
    search.run()
    assert search.loop.total == 1 and search.weight_size == len(data.train) // parts * parts
    assert len(pl.train(pl.spaces.chain(edges=1, width=8, classes=2).compact(["MB3 3x3"]), data,
                        pl.TrainConfig(epochs=2, batch_size=64, cutout=0), device=engine).history) == 2


def coordinates(side):
    """An image whose red is 3 x and whose green is 3 y, so that a crop of it tells where it comes from."""
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    return torch.stack([3 * x, 3 * y, 0 * x], -1).to(torch.uint8)


def boxes_of(crops):
    """Left, right, top, bottom edge in the source of crops (n, c, c, 3) of `coordinates`, from the slopes of red and green."""
    n, side, *_ = crops.shape
    inner = slice(side // 4, -(side // 4))                                            # the border may be clamped
    pixel = torch.arange(side, dtype=torch.float64)[inner] + 0.5
    edges = []
    for profile in (crops[:, :, inner, 0].double().mean(1), crops[:, inner, :, 1].double().mean(2)):
        slope = (profile[:, -1] - profile[:, 0]) / (pixel[-1] - pixel[0]) / 3
        start = profile.mean(1) / 3 + 0.5 - slope * pixel.mean()
        edges += [start, start + slope * side]
    return torch.stack(edges)


@pytest.mark.parametrize("crop", (48, 32, 16))
def test_resized_crops_are_torchvisions(crop):
    """Of the same boxes, on smooth images; RoIAlign reads beyond a box's edge, where torchvision repeats the border."""
    random = torch.Generator().manual_seed(0)
    coarse = torch.rand(20, 3, 6, 6, generator=random) * 255
    images = torch.nn.functional.interpolate(coarse, 64, mode="bicubic").clamp(0, 255).permute(0, 2, 3, 1).to(torch.uint8)
    seeded = lambda: torch.Generator().manual_seed(1)  # noqa: E731
    ours = pl.data.augment.resized(images, torch.arange(20), crop, False, seeded(), slice(None))
    for image, (x0, y0, x1, y1), found in zip(images, pl.data.augment.boxes(20, 64, seeded(), "cpu").int().tolist(), ours):
        theirs = functional.resized_crop(image.permute(2, 0, 1).float(), y0, x0, y1 - y0, x1 - x0, [crop, crop], antialias=True)
        error = (found - theirs.permute(1, 2, 0)).abs()
        assert error[2:-2, 2:-2].max() < 6 and error.mean() < 2


def test_boxes_are_drawn_as_torchvision_does():
    ours = pl.data.augment.boxes(4000, 64, torch.Generator().manual_seed(0), "cpu")
    assert ours.min() >= 0 and ours.max() <= 64 and torch.equal(ours, ours.round())
    torch.manual_seed(0)
    draw = transforms.RandomResizedCrop.get_params
    theirs = torch.tensor([draw(torch.empty(3, 64, 64), (0.08, 1), (3 / 4, 4 / 3)) for _ in range(4000)])     # y, x, h, w
    x0, y0, x1, y1 = ours.T
    top, left, height, width = theirs.T
    for a, b in ((x0, left), (y0, top), (x1 - x0, width), (y1 - y0, height), ((x1 - x0) * (y1 - y0), width * height),
                 ((x1 - x0) / (y1 - y0), width / height)):
        assert ks_2samp(a.numpy(), b.numpy()).pvalue > 0.001


def test_resident_crops_and_their_flips(folder):
    for i in range(12):
        Image.fromarray(coordinates(64).numpy()).save(folder / f"train/cat/{i}.png")
    data = pl.data.load(str(folder), image_size=64, crop=32)
    assert data.shape == (3, 32, 32) and str(data).endswith("3×32×32, resized crops")
    images, _ = data.batch(data.train, torch.arange(10).repeat(30), torch.Generator().manual_seed(0))
    assert images.shape == (300, 3, 32, 32) and images.is_contiguous(memory_format=torch.channels_last)
    pixels = images.permute(0, 2, 3, 1) * torch.tensor(data.std) + torch.tensor(data.mean)
    left, right, top, bottom = boxes_of(pixels)
    area = (right - left).abs() * (bottom - top) / 64 ** 2
    assert 0.07 < area.min() < 0.12 and 0.95 < area.max() < 1.01 and min(left.min(), right.min(), top.min()) > -0.1
    assert 0.4 < (right < left).double().mean() < 0.6 and (bottom > top).all()
    still, labels = data.batch(data.test, torch.arange(len(data.test)))
    assert torch.equal(still, data.normalised(data.test.images[:, 16:48, 16:48])) and torch.equal(labels, data.test.labels)
    assert pl.data.load(str(folder), crop=56).train.images.shape[1:3] == (64, 64)                    # 56 / 0.875


def test_colours_are_distorted_as_torchvision_does():
    pixels = torch.randint(0, 256, (200, 4, 4, 3), generator=torch.Generator().manual_seed(0)).float()
    pixels[:, 0, 0], pixels[:, 0, 1] = 128, torch.tensor([120.0, 100.0, 110.0])
    found = pl.data.augment.color_jittered(pixels, 200, torch.Generator().manual_seed(1), slice(None))
    brightness = found[:, 0, 0, 0] / 128                                              # saturation leaves grey alone
    grey = (found[:, 0, 1] * torch.tensor([0.2989, 0.587, 0.114])).sum(1)
    saturation = (found[:, 0, 1, 0] - grey) / (brightness * (120 - 0.2989 * 120 - 0.587 * 100 - 0.114 * 110))
    for factor, reach in ((brightness, 32 / 255), (saturation, 0.5)):
        assert (factor - 1).abs().max() < reach + 1e-3 and factor.min() < 1 - 0.9 * reach and factor.max() > 1 + 0.9 * reach
    for image, b, s, result in zip(pixels, brightness.tolist(), saturation.tolist(), found):
        theirs = functional.adjust_saturation(functional.adjust_brightness(image.permute(2, 0, 1) / 255, b), s)
        assert torch.allclose(result / 255, theirs.permute(1, 2, 0), atol=2e-3)


def test_distortion_is_of_training_only_and_named(folder):
    plain, changed = (pl.data.load(str(folder), color_jitter=color_jitter) for color_jitter in (False, True))
    assert str(changed) == f"{plain}, distorted"
    same, other = (data.batches(data.train, 8, 0, 0, augment=True)[0][0] for data in (plain, changed))
    assert not torch.equal(same, other)
    assert torch.equal(*(data.batches(data.train, 8, 0, 0, augment=False)[0][0] for data in (plain, changed)))


@pytest.mark.parametrize("settings", (dict(), dict(image_size=20, crop=16, color_jitter=True)), ids=("padding", "crop"))
def test_ranks_share_the_batch_that_one_alone_would_get(folder, settings):
    data = pl.data.load(str(folder), **settings)
    alone = data.batches(data.train, 12, 3, 1, augment=True)
    assert alone.batches_per_epoch == 1
    for i in (0, 5):
        shares = [data.batches(data.train, 12, 3, 1, True, rank, 3)[i] for rank in range(3)]
        assert [len(labels) for _, labels in shares] == [4, 4, 4]
        assert torch.equal(torch.cat([images for images, _ in shares]), alone[i][0])
        assert torch.equal(torch.cat([labels for _, labels in shares]), alone[i][1])
    assert not torch.equal(alone[0][0], alone[5][0])


def test_a_pass_takes_every_image_once_in_an_order_of_its_own():
    data = pl.data.load("digits")
    batches = data.batches(data.test, 36, 0, 0, augment=False)
    passes = [torch.cat([batches[p * 10 + i][0] for i in range(10)]).flatten(1) for p in range(2)]
    whole = next(data.eval_batches(data.test, 360))[0].flatten(1)
    assert batches.batches_per_epoch == 10 and not torch.equal(*passes)
    assert all(sorted(p.tolist()) == sorted(whole.tolist()) for p in passes)
    again = data.batches(data.test, 36, 0, 0, augment=False)
    assert torch.equal(again[13][0], batches[13][0])                                  # whatever was asked for before


@pytest.mark.parametrize("size, world_size, message", ((2000, 1, "a batch of 2000 images asked for, but digits has only 1078"),
                                                  (100, 8, "cannot be shared equally by 8 ranks; the next sizes that can: 96 and 104"),
                                                  (4, 8, "the next sizes that can: 8")))
def test_batches_that_cannot_be_given_are_refused(size, world_size, message):
    data = pl.data.load("digits")
    with pytest.raises(ValueError, match=message) as caught:
        data.batches(data.train, size, 0, 0, True, 0, world_size)
    assert "\n" not in str(caught.value)


class Alone(pl.runtime.Engine):
    """A rank without the others: what it would add up with theirs goes to `shares`."""

    def __init__(self, shares, **settings):
        super().__init__(**settings)
        object.__setattr__(self, "shares", shares)

    def from_first(self, make):
        return make()

    def sum(self, tensor):
        self.shares.append(tensor.tolist())
        return tensor


def test_evaluation_counts_top_1_and_top_5_over_ranks():
    data = pl.data.load("digits")
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 10))
    images, labels = data.batch(data.test, torch.arange(360))
    scores = model(images).detach().numpy()
    expected = [top_k_accuracy_score(labels, scores, k=k, normalize=False) for k in (1, 5)] + [360]
    for size in (250, 50, 7):
        assert evaluate(model, data, data.test, size=size) == {"accuracy": expected[0] / 360, "top5": expected[1] / 360}
    shares = []
    for rank in range(7):                                                             # 360 is no multiple of 7
        evaluate(model, data, data.test, size=50, engine=Alone(shares, rank=rank, world_size=7))
    assert [sum(column) for column in zip(*shares)] == expected
    few = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 3))
    assert evaluate(few, data, data.test)["top5"] == (labels < 3).sum().item() / 360  # all three of three classes


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
    assert data.mean == (125.3, 123.0, 113.9)


def test_cifar10_is_resized_alike_however_it_is_stored(tmp_path, monkeypatch):
    images = torch.randint(256, (40, 32, 32, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    split = pl.data.Split(images, torch.arange(40) % 2)
    for part in ("train", "test"):
        for i, (pixels, label) in enumerate(zip(images.numpy(), split.labels.tolist())):
            path = tmp_path / "cifar10" / part / str(label) / f"{i:02}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    settings = (dict(), dict(image_size=32), dict(image_size=8), dict(crop=16), dict(crop=28), dict(image_size=24, crop=20))
    load = lambda given: pl.data.load("cifar10", root=tmp_path, valid=0.5, **given)  # noqa: E731
    stored = [load(given) for given in settings]
    monkeypatch.setattr(pl.data.datasets, "cifar10", lambda root, download: (split[order], None, split[order], ["0", "1"]))
    order = torch.cat([torch.arange(0, 40, 2), torch.arange(1, 40, 2)])                  # as folders come
    for files, given in zip(stored, settings):
        tensors = load(given)
        assert str(files) == str(tensors) and files.digest == tensors.digest and (files.mean, files.padding) == (tensors.mean, tensors.padding)


def test_digits_stay_as_they_are():
    plain, asked = pl.data.load("digits"), pl.data.load("digits", image_size=32)
    assert asked.shape == (3, 8, 8) and asked.digest == plain.digest


def test_ranks_download_cifar10_one_after_another(tmp_path, monkeypatch):
    other = f"import fcntl; fcntl.lockf(open({str(tmp_path / 'root/lock')!r}, 'w'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    tried = []

    def downloading(root, train, download=False):
        tried.append(download)
        if not download and len(tried) == 1:
            raise RuntimeError("Dataset not found")
        assert b"BlockingIOError" in subprocess.run([sys.executable, "-c", other], capture_output=True).stderr
        return SimpleNamespace(data=np.zeros((40, 32, 32, 3), np.uint8), targets=[0, 1] * 20, classes=["a", "b"])
    monkeypatch.setattr(pl.data.datasets.datasets, "CIFAR10", downloading)
    assert pl.data.load("cifar10", root=tmp_path / "root", valid=0.5).shape == (3, 32, 32) and tried == [False, True, False]
    subprocess.run([sys.executable, "-c", other], check=True)                            # and then it is free


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
    config = pl.SearchConfig(epochs=2, warmup_epochs=1, batch_size=100, alpha_batch_size=100, lr=0.05, warmup_lr=0.05, alpha_every=2)
    result = pl.Search(pl.SuperNet(pl.spaces.tree(1, 72)), data, config=config, out=tmp_path, device="cpu").run()
    assert result.history.derived_accuracy.iloc[-1] > 0.15
    assert result.architecture.build()(torch.randn(2, 3, 32, 32)).shape == (2, 10)
