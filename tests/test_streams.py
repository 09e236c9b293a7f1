"""Streamed data: order, augmentation, resume, ranks, workers, damaged files; ImageNet from folders and from archives."""

import gc
import hashlib
import io
import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image
from torchvision import datasets, transforms

import proxyless_lite as pl
from proxyless_lite.course import plots
from proxyless_lite.data import workers as workers_file
from proxyless_lite.data.pixels import decode

TINY = Path(__file__).resolve().parents[1].parent / "shared/data/tiny-imagenet-20.tar.gz"


def picture(number, side=40):
    """A smooth coloured JPEG, never the same twice."""
    random = np.random.default_rng(number)
    image = Image.fromarray(random.integers(0, 256, (5, 6, 3), dtype=np.uint8)).resize((side + 10, side), Image.Resampling.BICUBIC)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=95)
    return stream.getvalue()


@pytest.fixture
def folder(tmp_path):
    """Two classes, 16 training and 5 validation images each, 50×40."""
    number = itertools.count()
    for part, count in (("train", 16), ("val", 5)):
        for label in ("cat", "dog"):
            (tmp_path / part / label).mkdir(parents=True)
            for i in range(count):
                (tmp_path / part / label / f"{i:02}.jpg").write_bytes(picture(next(number)))
    return tmp_path


def load(folder, workers=0, **settings):
    return pl.data.load(str(folder), workers=workers, **{"crop": 28, "valid": 0.25, **settings})


def test_face_is_that_of_resident_data(folder):
    streamed, resident = load(folder), pl.data.load(str(folder), image_size=32, crop=28, valid=0.25)
    assert str(streamed) == str(resident) and streamed.shape == resident.shape == (3, 28, 28)
    assert [len(s) for s in (streamed.train, streamed.valid, streamed.test, streamed.full_train)] == [24, 8, 10, 32]
    assert all(torch.equal(getattr(streamed, s).labels, getattr(resident, s).labels) for s in ("train", "valid", "test"))
    a, b = (data.batches(data.train, 6, 3, 1, augment=True) for data in (streamed, resident))
    assert a.batches_per_epoch == b.batches_per_epoch == 4
    for i in (0, 3, 4):  # the same order, so the same labels
        assert torch.equal(a[i][1], b[i][1]) and a[i][0].shape == b[i][0].shape and a[i][0].dtype == b[i][0].dtype
        assert a[i][0].is_contiguous(memory_format=torch.channels_last)
    assert load(folder, crop=None).shape == (3, 40, 40) and load(folder, crop=None, image_size=24).shape == (3, 24, 24)
    assert len(load(folder, limit=20).full_train) == 20


@pytest.mark.parametrize("workers", [None, 0])
def test_images_are_drawn_from_memory_and_from_files(folder, workers):
    data = load(folder, workers) if workers is not None else pl.data.load(str(folder), image_size=28, valid=0.25)
    figure = plots.images(data, count=3)
    assert [ax.get_title() for ax in figure.axes] == ["cat", "dog", "cat"]
    images = next(data.eval_batches(data.valid, 8))[0].permute(0, 2, 3, 1) * torch.tensor(data.std) + torch.tensor(data.mean)
    for ax, label in zip(figure.axes, (0, 1, 0)):
        drawn = torch.from_numpy(np.asarray(ax.images[0].get_array())).float()
        assert torch.allclose(drawn, images[data.valid.labels == label][0], atol=0.6)


def test_without_augmentation_images_are_those_of_torchvisions_test_transform(folder):  # where all differences are even
    data = load(folder)
    theirs = datasets.ImageFolder(str(folder / "val"), transforms.Compose([
        transforms.Resize(32), transforms.CenterCrop(28), transforms.ToTensor(),
        transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]))
    expected = torch.stack([image for image, _ in theirs])
    whole = list(data.eval_batches(data.test, 4))
    assert [len(labels) for _, labels in whole] == [4, 4, 2]
    assert torch.allclose(torch.cat([images for images, _ in whole]), expected, atol=1e-5)
    assert torch.cat([labels for _, labels in whole]).tolist() == theirs.targets
    shares = [list(data.eval_batches(data.test, 2, rank, 3)) for rank in range(3)]
    labels = torch.cat([labels for share in shares for _, labels in share])
    assert sorted(labels.tolist()) == theirs.targets and [*map(len, shares)] == [2, 2, 1]  # whole batches, of ten images
    images = torch.cat([images for share in shares for images, _ in share]).flatten(1)
    assert torch.allclose(images.sum(1).sort()[0], expected.flatten(1).sum(1).sort()[0], atol=1e-2)


@pytest.mark.parametrize("size", [20, 21, 32])
def test_streamed_test_images_are_those_that_an_exported_network_sees(folder, size):
    data = load(folder, crop=None, image_size=size)
    how, theirs = data.preprocessing(), []
    edge = (how["resize"] - how["size"]) // 2
    for path in sorted((folder / "val").glob("*/*.jpg")):
        theirs.append(torch.from_numpy(decode(path, how["resize"])[edge:edge + size, edge:edge + size].copy()))
    (images, _), = data.eval_batches(data.test, 10)
    assert torch.allclose(images, data.normalised(torch.stack(theirs)))


@pytest.mark.parametrize("workers", [None, 0])
@pytest.mark.parametrize("flip", [None, True, False])
def test_images_are_mirrored_unless_one_says_no(folder, workers, flip):
    for part in folder.rglob("*.jpg"):                                  # black on the left, white on the right
        Image.fromarray(np.repeat(np.repeat([[0, 255]], 20, 1), 40, 0).astype(np.uint8)).save(part, quality=95)
    data = load(folder, workers, flip=flip)
    images, _ = data.batches(data.train, 16, 0, 0, augment=True)[0]
    mirrored = images[..., 0].mean((1, 2)) > images[..., -1].mean((1, 2))
    assert mirrored.any() == (flip is not False) and not mirrored.all() and ("not mirrored" in str(data)) == (flip is False)
    assert data.loaded.get("flip") is flip


@pytest.mark.parametrize("workers", [None, 0])
def test_no_image_is_left_alone_at_the_end(folder, workers):
    data = load(folder, workers) if workers is not None else pl.data.load(str(folder), image_size=28, valid=0.25)
    sizes = lambda split, size, *rank: [len(labels) for _, labels in data.eval_batches(split, size, *rank)]  # noqa: E731
    assert sizes(data.test, 3) == [3, 3, 4] and sizes(data.test, 9) == [10]           # of 10; a batch norm needs two values
    assert sizes(data.test, 4) == [4, 4, 2] and sizes(data.test, 1) == [1] * 10 and sizes(data.test, 10) == [10]
    assert [sizes(data.test, 4, rank, 2) for rank in (0, 1)] == [[4, 2], [4]] and sizes(data.test[:1], 4) == [1]
    assert [sizes(data.test, 3, rank, 4) for rank in range(4)] == [[3], [3], [4], []]  # a rank may have nothing to do
    labels = torch.cat([labels for _, labels in data.eval_batches(data.test, 9)])
    assert labels.tolist() == data.test.labels.tolist()


def test_augmented_images_are_resized_crops_half_of_them_mirrored(tmp_path):
    y, x = np.mgrid[:64, :64].astype(np.uint8)
    ramp = Image.fromarray(np.stack([3 * x, 3 * y, 0 * x], -1))                       # a crop of it tells where it comes from
    for part in ("train", "val"):
        for label in ("cat", "dog"):
            (tmp_path / part / label).mkdir(parents=True)
            for i in range(10):
                ramp.save(tmp_path / part / label / f"{i}.png")
    data = load(tmp_path, crop=32)
    batches = data.batches(data.train, 15, 0, 0, augment=True)
    mean, std = (torch.tensor(v) for v in (data.mean, data.std))
    pixels = torch.cat([batches[i][0].permute(0, 2, 3, 1) * std + mean for i in range(20)])
    red, green = pixels[:, :, 8:24, 0].mean(1), pixels[:, 8:24, :, 1].mean(2)         # (n, 16): along x, along y
    width, height = ((p[:, -1] - p[:, 0]) / 15 / 3 * 32 for p in (red, green))        # in source pixels; mirrored < 0
    area, ratio = width.abs() * height / 64 ** 2, width.abs() / height
    assert 0.06 < area.min() < 0.15 and 0.85 < area.max() < 1.02
    assert 0.68 < ratio.min() < 0.85 and 1.2 < ratio.max() < 1.45                      # sizes are whole pixels
    assert 0.4 < (width < 0).float().mean() < 0.6 and len(width.unique()) > 60
    assert not any(torch.equal(batches[0][0], data.batches(data.train, 15, *key, True)[0][0]) for key in ((1, 0), (0, 1)))


def test_distortion_is_as_released(tmp_path):
    for part in ("train", "val"):
        for label, colour in (("grey", (128,) * 3), ("red", (160, 100, 100))):
            (tmp_path / part / label).mkdir(parents=True)
            for i in range(10):
                Image.new("RGB", (32, 32), colour).save(tmp_path / part / label / f"{i}.png")
    def colours(label, **settings):
        data = load(tmp_path, crop=8, **settings)
        batches = data.batches(data.train, 15, 0, 0, augment=True)
        found = [(images.permute(0, 2, 3, 1) * torch.tensor(data.std) + torch.tensor(data.mean))[labels == label]
                 for images, labels in (batches[i] for i in range(20))]
        return torch.cat(found)[:, 0, 0].round()
    assert set(colours(0).flatten().tolist()) == {128} and len(colours(1).unique(dim=0)) == 1
    brightness = colours(0, color_jitter=True)[:, 0] / 128
    assert 0.87 < brightness.min() < 0.9 and 1.1 < brightness.max() < 1.13                # 1 ± 32/255
    red = colours(1, color_jitter=True)
    spread = (red[:, 0] - red[:, 1]) / (red[:, 0] * 0.2989 + red[:, 1] * 0.7011)          # free of brightness
    spread = spread / (60 / (160 * 0.2989 + 100 * 0.7011))
    assert 0.45 < spread.min() < 0.6 and 1.4 < spread.max() < 1.55
    assert str(load(tmp_path, color_jitter=True)).endswith(", resized crops, distorted")


def test_only_workers_read_ahead(folder):
    assert [load(folder, workers).prefetches for workers in (0, 2)] == [False, True]
    assert not pl.data.load("digits").prefetches


def test_batches_depend_neither_on_workers_nor_on_what_was_asked_before(folder):
    sequence = load(folder).batches(load(folder).train, 8, 3, 1, augment=True)
    expected = [sequence[i] for i in range(8)]                                        # more than two passes
    data = load(folder, workers=2)
    batches = data.batches(data.train, 8, 3, 1, augment=True)
    for i in (5, 6, 7, 0, 1, 4, 4):                                                   # resume, go on, go back, leap, again
        assert all(map(torch.equal, batches[i], expected[i])), i
    other = data.batches(data.train, 8, 4, 1, augment=True)
    assert not torch.equal(other[0][0], expected[0][0])
    images = torch.cat([images for images, _ in expected]).flatten(1)
    assert len(images.unique(dim=0)) == 64                                            # no augmentation comes twice


def test_ranks_share_the_batch_that_one_alone_would_get(folder):
    data = load(folder, color_jitter=True)
    alone = data.batches(data.train, 12, 0, 0, augment=True)
    for i in (0, 3):
        shares = [data.batches(data.train, 12, 0, 0, True, rank, 3)[i] for rank in range(3)]
        assert [len(labels) for _, labels in shares] == [4, 4, 4]
        for part in (0, 1):
            assert torch.equal(torch.cat([share[part] for share in shares]), alone[i][part])
    with pytest.raises(ValueError, match="the next sizes that can: 10 and 15"):
        data.batches(data.train, 12, 0, 0, True, 0, 5)
    with pytest.raises(ValueError, match="a batch of 50 images asked for, but .* has only 24"):
        data.batches(data.train, 50, 0, 0, True)


@pytest.mark.parametrize("workers", (0, 1))
def test_a_pass_takes_every_image_once_and_resuming_decodes_none_in_vain(folder, monkeypatch, workers):
    read, log = pl.data.pixels.read, folder / "log"

    def logged(path):
        with open(log, "a") as file:                                                  # workers are other processes
            file.write(f"{path}\n")
        return read(path)
    monkeypatch.setattr(pl.data.streaming, "read", logged)
    data = load(folder, workers)
    batches = data.batches(data.train, 8, 0, 0, augment=True)
    for i in range(6):
        batches[i]
    done = log.read_text().splitlines()
    passes = done[:24], done[24:48]
    assert sorted(passes[0]) == sorted(passes[1]) == sorted(str(data.train.path(i)) for i in range(24)) and passes[0] != passes[1]
    del batches
    log.unlink()
    data.batches(data.train, 8, 0, 0, augment=True)[4]
    assert log.read_text().splitlines()[:8] == passes[1][8:16]


@pytest.mark.parametrize("workers", (0, 1))
def test_the_global_random_numbers_are_left_alone(folder, workers):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    data = load(folder, workers)
    data.batches(data.train, 8, 0, 0, augment=True)[0]
    list(data.eval_batches(data.test, 10))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("workers", (0, 1))
def test_damaged_images_are_named_by_the_batch_they_are_in(folder, workers):
    data = load(folder, workers)
    victim = data.train.path(3)
    victim.write_bytes(victim.read_bytes()[:-200])                                    # truncated: Pillow must not fill it up
    batches = data.batches(data.train, 12, 0, 0, augment=True)
    problems = []
    for i in range(2):
        try:
            batches[i]
        except ValueError as error:
            problems.append(str(error))
    (problem,) = problems
    assert problem.startswith(f"1 of 12 images cannot be read: {victim} (") and problem.endswith("); fix or remove it")
    assert pl.data.pixels.unreadable(data.full_train) == [victim]
    victim.unlink()
    assert pl.data.pixels.unreadable(data.full_train) == [victim]


def test_digest_tells_files_splits_and_sizes_apart_but_not_places(folder, tmp_path_factory):
    digest = load(folder).digest
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "copy"
    folder.rename(elsewhere)
    assert load(elsewhere).digest == digest == load(elsewhere, workers=3).digest
    assert len({digest, load(elsewhere, seed=1).digest, load(elsewhere, crop=24).digest, load(elsewhere, limit=20).digest,
                load(elsewhere, image_size=36).digest}) == 5
    (elsewhere / "train/cat/00.jpg").rename(elsewhere / "train/cat/x.jpg")
    assert load(elsewhere).digest != digest


def test_workers_end_with_their_batches_and_outlive_stray_signals(folder):
    data = load(folder, workers=2)
    before = set(multiprocessing.active_children())
    batches = data.batches(data.train, 8, 0, 0, augment=True)
    batches[0]
    workers = set(multiprocessing.active_children()) - before
    assert len(workers) == 2
    stranger = f"import os\nfor pid in {[w.pid for w in workers]}: os.kill(pid, {int(signal.SIGTERM)}), os.kill(pid, {int(signal.SIGINT)})"
    subprocess.run([sys.executable, "-c", stranger], check=True)                      # as job managers and terminals do
    time.sleep(0.2)
    for i in range(1, 8):
        batches[i]
    assert all(w.is_alive() for w in workers)
    batches[3]                                                                        # going back starts no others
    assert set(multiprocessing.active_children()) - before == workers
    del batches
    gc.collect()
    for w in workers:
        w.join(10)
    assert not any(w.is_alive() for w in workers)


def test_workers_that_are_still_starting_outlive_signals(folder, monkeypatch):
    """The signal comes after the fork and before the worker can tell who sent it."""
    ready = workers_file.outlive_signals

    def struck(worker):
        subprocess.run(["kill", "-TERM", str(os.getpid())], check=True)
        subprocess.run(["kill", "-INT", str(os.getpid())], check=True)
        ready(worker)
    monkeypatch.setattr(workers_file, "outlive_signals", struck)
    data = load(folder, workers=2)
    whole = [batch[1].tolist() for batch in load(folder, workers=0).eval_batches(data.train, 8)]
    assert [batch[1].tolist() for batch in data.eval_batches(data.train, 8)] == whole
    batches = data.batches(data.train, 8, 0, 0, augment=True)
    assert len(batches[0][1]) == len(batches[1][1]) == 8


def test_a_script_that_keeps_its_batches_comes_to_its_end(folder):
    script = (f"import proxyless_lite as pl\ndata = pl.data.load({str(folder)!r}, crop=28, workers=2)\n"
              f"batches = data.batches(data.train, 8, 0, 0, True)\nprint(len(batches[0][1]))")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "8\n", "")


def test_search_and_training_run_streamed_and_resume_to_the_same_bits(folder, tmp_path_factory):
    data = load(folder, crop=8, workers=1)
    config = pl.SearchConfig(epochs=2, warmup_epochs=1, batch_size=8, alpha_batch_size=4, alpha_every=1, lr=0.05, warmup_lr=0.05)

    def search(out):
        torch.manual_seed(0)
        space = pl.spaces.chain(edges=2, width=4, input_size=8, classes=2, candidates=("MB3 3x3", "MB3 5x5", "Zero"))
        return pl.Search(pl.SuperNet(space), data, config=config, out=out, device="cpu")
    out = tmp_path_factory.mktemp("runs")
    whole = search(out / "a")
    whole.run()
    search(out / "b").run()
    (out / "b/checkpoint.pt").unlink()                                                # back by one epoch
    resumed = search(out / "b")
    result = resumed.run()
    for a, b in zip(whole.net.state_dict().values(), resumed.net.state_dict().values()):
        assert torch.equal(a, b)
    report = pl.train(result.architecture, data, pl.TrainConfig(epochs=1, batch_size=8, cutout=0), device="cpu")
    assert 0 <= report.test_accuracy <= 1


# -- ImageNet ----------------------------------------------------------------------------------------------------------


def archive(path, files):
    """A tar with files {name: content}; its MD5 sum."""
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.fixture
def archives(tmp_path, monkeypatch):
    """Archives like the official ones: a development kit, a tar of one tar a class, and numbered validation images."""
    folder = tmp_path / "imagenet"
    folder.mkdir()
    wnids = ["n00000010", "n00000020", "n00000030"]
    fields = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("gloss", "O"), ("num_children", "O")]
    synsets = np.array([(i + 1, w, f"name {w}, other", "a thing", 0) for i, w in enumerate(wnids)] + [(4, "n00000040", "all", "all", 3)], dtype=fields)
    mat = io.BytesIO()
    scipy.io.savemat(mat, {"synsets": synsets})
    labels = [3, 1, 2, 2, 3, 1]
    inner = {}
    for c, wnid in enumerate(wnids):
        archive(tmp_path / "class.tar", {f"{wnid}_{i}.JPEG": picture(10 * c + i) for i in range(8)})
        inner[f"{wnid}.tar"] = (tmp_path / "class.tar").read_bytes()
    sums = {"devkit": {"ILSVRC2012_devkit_t12/data/meta.mat": mat.getvalue(),
                       "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt": "\n".join(map(str, labels)).encode()},
            "train": inner, "val": {f"ILSVRC2012_val_{i + 1:08}.JPEG": picture(100 + i) for i in range(6)}}
    meta = datasets.imagenet.ARCHIVE_META
    assert pl.data.datasets.ARCHIVES == tuple(meta[k][0] for k in sums)
    monkeypatch.setattr(datasets.imagenet, "ARCHIVE_META", {k: (meta[k][0], archive(folder / meta[k][0], v)) for k, v in sums.items()})
    return tmp_path


def test_imagenet_is_unpacked_from_its_archives(archives):
    data = pl.data.load("imagenet", root=archives, valid=0.25, crop=24)
    assert data.classes == ("n00000010", "n00000020", "n00000030") and data.name == "imagenet" and data.workers > 0
    assert [len(s) for s in (data.train, data.valid, data.test)] == [18, 6, 6]
    assert data.test.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert [data.test.path(i).name[-7:-5] for i in range(6)] == ["02", "06", "03", "04", "01", "05"]   # of labels above
    assert data.mean == (123.675, 116.28, 103.53) and data.std == (58.395, 57.12, 57.375)
    images, _ = next(data.eval_batches(data.test, 6))
    assert images.shape == (6, 3, 24, 24)
    for given, (crop, resize) in ((dict(), (224, 256)), (dict(image_size=224), (224, 256)), (dict(image_size=64), (64, 73)),
                                  (dict(image_size=64, crop=60), (60, 64))):
        sized = pl.data.load("imagenet", root=archives, valid=0.25, **given)
        assert (sized.shape, sized.resize, sized.workers) == ((3, crop, crop), resize, data.workers)
    (archives / "imagenet/train/n00000020.tar").write_bytes(b"")
    with pytest.raises(ValueError, match="unpacking was interrupted; move .*train away, and load again to unpack it again"):
        pl.data.load("imagenet", root=archives)


def test_imagenet_that_is_not_there_says_what_to_put_where(tmp_path, archives):
    (archives / "imagenet" / pl.data.datasets.ARCHIVES[1]).unlink()
    for root in (tmp_path / "nowhere", archives):
        with pytest.raises(FileNotFoundError, match="put train/ and val/ there.*devkit_t12.tar.gz, .*img_train.tar, .*img_val.tar") as caught:
            pl.data.load("imagenet", root=root)
        assert "\n" not in str(caught.value)


MEANWHILE = """
import fcntl, shutil, sys, time
from pathlib import Path
made, held, wanted = map(Path, sys.argv[1:])
file = open(held / "lock", "w")
fcntl.lockf(file, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(1)
for path in made.iterdir():
    path.rename(wanted / path.name)
"""


def test_ranks_wait_for_the_one_that_unpacks(folder):
    root = folder / "root"
    (root / "imagenet").mkdir(parents=True)
    (folder / "made").mkdir()
    for part in ("train", "val"):
        (folder / part).rename(folder / "made" / part)
    other = subprocess.Popen([sys.executable, "-c", MEANWHILE, folder / "made", root / "imagenet", root / "imagenet"], stdout=subprocess.PIPE)
    other.stdout.readline()
    data = pl.data.load("imagenet", root=root, valid=0.25)                            # without archives, so it can only have waited
    assert other.wait(10) == 0 and len(data.full_train) == 32


def test_50_000_images_of_imagenet_are_for_validation(monkeypatch):
    n = 600_000
    files = pl.data.folders.Files(Path("."), np.array([b"x.jpg"] * n), torch.arange(n) % 100)
    monkeypatch.setattr(pl.data.datasets, "imagenet", lambda root: (files, None, files[:100], list(map(str, range(100)))))
    data = pl.data.load("imagenet")
    assert len(data.valid) == 50_000 and torch.bincount(data.valid.labels).tolist() == [500] * 100
    assert len(pl.data.load("imagenet", limit=1000).valid) == 100


@pytest.mark.skipif(not TINY.exists(), reason="the 20 classes of Tiny ImageNet are missing")
def test_real_photographs(tmp_path):
    with tarfile.open(TINY) as tar:
        wanted = [m for m in tar.getmembers() if m.isfile() and "/train/" in m.name and m.name.endswith(("_1.JPEG", "_2.JPEG"))
                  or "/val/" in m.name and m.isfile()]
        tar.extractall(tmp_path, wanted, filter="data")
    root = str(tmp_path / "tiny-imagenet-20")
    streamed, resident = (pl.data.load(root, crop=56, valid=0.5, workers=workers) for workers in (1, None))
    assert len(streamed.classes) == 20 and len(streamed.test) == 1000 and resident.train.images.shape[1:] == (64, 64, 3)
    assert np.allclose(resident.mean, streamed.mean, atol=20) and np.allclose(resident.std, streamed.std, atol=25)
    scale = torch.tensor(streamed.std)[:, None, None] / torch.tensor(resident.std)[:, None, None]
    padding = (torch.tensor(streamed.mean) - torch.tensor(resident.mean))[:, None, None] / torch.tensor(resident.std)[:, None, None]
    for (a, labels), (b, same) in zip(streamed.eval_batches(streamed.test, 250), resident.eval_batches(resident.test, 250)):
        assert torch.equal(labels, same) and torch.allclose(a * scale + padding, b, atol=1e-4)
