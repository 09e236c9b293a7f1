"""Packed data: the same batches as from memory; packing that is sized, resumed, shared and refused; reading ahead, uploads."""

import concurrent.futures
import contextlib
import errno
import gc
import itertools
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
import torch
from PIL import Image

import proxyless_lite as pl
from proxyless_lite import runtime
from proxyless_lite.data import folders, packed, pixels
from proxyless_lite.data.sampling import BatchSampler, shuffled

TINY = Path(__file__).resolve().parents[1].parent / "shared/data/tiny-imagenet-20.tar.gz"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Two classes, 16 training and 5 test images each, JPEG, 30×24 or larger."""
    root, number = tmp_path_factory.mktemp("pictures"), itertools.count()
    for part, count in (("train", 16), ("test", 5)):
        for label in ("cat", "dog"):
            (root / part / label).mkdir(parents=True)
            for i in range(count):
                noise = np.random.default_rng(next(number)).integers(0, 256, (5, 6, 3), dtype=np.uint8)
                Image.fromarray(noise).resize((30 + i, 24 + i), Image.Resampling.BICUBIC).save(root / part / label / f"{i:02}.jpg")
    return root


@pytest.fixture
def folder(pictures, tmp_path):
    """A copy of the pictures that a test may change, and `pack`, not there yet."""
    return SimpleNamespace(root=shutil.copytree(pictures, tmp_path / "pictures"), pack=tmp_path / "disk" / "pack")


@pytest.fixture
def decoded(monkeypatch):
    """Paths decoded from now on."""
    paths, decode = [], pixels.decode
    monkeypatch.setattr(pixels, "decode", lambda path, size: paths.append(path) or decode(path, size))
    return paths


def load(folder, **settings):
    return pl.data.load(str(folder.root), pack=folder.pack, **{"valid": 0.25, **settings})


def same(a, b):
    return all(map(torch.equal, a, b))


def expected_bytes(root, side=24):
    """What the pack's two files must hold."""
    return [pixels.decode_all(files, side)[0].tobytes() for files in folders.find(root)[::2]]


def packed_bytes(pack):
    return [(pack / f"{part}.uint8").read_bytes() for part in ("train", "test")]


# -- batches -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", (dict(), dict(color_jitter=True), dict(image_size=20), dict(image_size=24, crop=16),
                                      dict(crop=16, color_jitter=True, limit=20, seed=1)), ids=str)
def test_batches_are_those_of_resident_data_to_the_bit(folder, settings):
    ours, theirs = load(folder, **settings), pl.data.load(str(folder.root), **{"valid": 0.25, **settings})
    assert isinstance(ours, packed.Packed) and str(ours) == str(theirs) and ours.shape == theirs.shape
    assert (ours.mean, ours.std, ours.padding, ours.flip) == (theirs.mean, theirs.std, theirs.padding, theirs.flip)
    for name in ("train", "valid", "test", "full_train"):
        a, b = getattr(ours, name), getattr(theirs, name)
        assert torch.equal(a.labels, b.labels)
        for augment, (rank, world_size) in itertools.product((True, False), ((0, 1), (0, 2), (1, 2))):
            a_batches, b_batches = (data.batches(split, 4, 3, 1, augment, rank, world_size) for data, split in ((ours, a), (theirs, b)))
            assert a_batches.batches_per_epoch == b_batches.batches_per_epoch
            for i in (0, 1, 9, 2):                                                    # on, ahead and back, over several passes
                assert same(a_batches[i], b_batches[i]), (name, augment, rank, world_size, i)
                assert a_batches[i][0].is_contiguous(memory_format=torch.channels_last)
    for rank in range(2):
        for a, b in zip(ours.eval_batches(shuffled(ours.test), 3, rank, 2), theirs.eval_batches(shuffled(theirs.test), 3, rank, 2), strict=True):
            assert same(a, b)


@pytest.mark.slow
def test_digits_stored_as_images_are_not_mirrored(tmp_path):
    root = pl.data.digits_as_images(tmp_path / "digits")
    ours, theirs = pl.data.load(str(root), pack=tmp_path / "pack"), pl.data.load(str(root))
    assert ours.flip is theirs.flip is False
    assert same(ours.batches(ours.train, 50, 0, 0, True)[3], theirs.batches(theirs.train, 50, 0, 0, True)[3])


@pytest.mark.skipif(not TINY.exists(), reason="the 20 classes of Tiny ImageNet are missing")
def test_real_photographs(tmp_path):
    with tarfile.open(TINY) as tar:
        wanted = [m for m in tar.getmembers() if m.isfile() and ("/val/" in m.name or m.name.endswith(("_1.JPEG", "_2.JPEG")))]
        tar.extractall(tmp_path, wanted, filter="data")
    root = tmp_path / "tiny-imagenet-20"
    ours, theirs = (pl.data.load(str(root), crop=56, valid=0.5, **given) for given in (dict(pack=tmp_path / "pack"), dict()))
    assert ours.train.images.shape[1:] == (64, 64, 3) and len(ours.classes) == 20
    assert same(ours.batches(ours.train, 20, 0, 0, True)[1], theirs.batches(theirs.train, 20, 0, 0, True)[1])
    assert all(same(a, b) for a, b in zip(ours.eval_batches(ours.test, 16), theirs.eval_batches(theirs.test, 16), strict=True))


def test_splits_are_views_of_one_file_and_digests_tell_them_apart(folder):
    data = load(folder)
    assert packed_bytes(folder.pack) == expected_bytes(folder.root)                   # rows in the order of the files
    assert data.train.images is data.valid.images is data.full_train.images and isinstance(data.train.images, np.memmap)
    assert not data.train.images.flags.writeable and data.train[[1, 2]].rows.tolist() == data.train.rows[1:3].tolist()
    with pytest.raises(ValueError, match="only splits of one file can be joined"):
        data.train + data.test
    assert load(folder).digest == data.digest == data.to("cpu").digest
    other = folder.pack.with_name("other")
    assert len({data.digest, load(folder, seed=1).digest, load(folder, limit=20).digest,
                pl.data.load(str(folder.root), valid=0.25, image_size=20, pack=other).digest}) == 4


def test_mean_and_deviation_of_a_huge_set_are_taken_from_every_kth_image():
    class Huge:
        images = SimpleNamespace(shape=(10 ** 7, 10, 10, 3))

        def __len__(self):
            return 10 ** 7

        def __getitem__(self, indices):
            assert indices == slice(None, None, 12)                                   # 3e9 bytes: 11.2 times 2²⁸
            return pl.data.Split(torch.arange(12, dtype=torch.uint8).view(2, 2, 1, 3), None)
    assert pl.data.in_memory.statistics(Huge())["mean"] == (4.5, 5.5, 6.5)


def test_search_is_that_of_resident_data(folder):
    config = pl.SearchConfig(epochs=2, warmup_epochs=1, batch_size=8, alpha_batch_size=4, alpha_every=1, lr=0.05, warmup_lr=0.05)

    def weights(data):
        torch.manual_seed(0)
        space = pl.spaces.chain(edges=2, width=4, input_size=8, classes=2, candidates=("MB3 3x3", "MB3 5x5", "Zero"))
        search = pl.Search(pl.SuperNet(space), data, config=config, device="cpu")
        search.run()
        return search.net.state_dict().values()
    assert same(weights(load(folder, image_size=8)), weights(pl.data.load(str(folder.root), valid=0.25, image_size=8)))


# -- packing -----------------------------------------------------------------------------------------------------------


def test_packing_is_sized_in_words_and_done_once_for_all_splits(folder, decoded, capsys):
    load(folder, image_size=224)
    said = capsys.readouterr().out.splitlines()
    free = shutil.disk_usage(folder.pack).free / 1e9
    assert said[0].startswith(f"packing 42 images of 224×224 pixels into {folder.pack}: 0.01 GB, of which 0.01 GB are still needed; ")
    assert float(said[0].split("; ")[1].split(" GB")[0].replace(",", "")) == pytest.approx(free, abs=1) and said[-1].startswith("packing 100 %")
    assert len(decoded) == 42
    before = [path.stat().st_mtime_ns for path in sorted(folder.pack.iterdir())]
    for settings in (dict(), dict(limit=20), dict(valid=0.5), dict(seed=3), dict(crop=196, color_jitter=True)):
        load(folder, image_size=224, **settings)
    assert len(decoded) == 42 and capsys.readouterr().out == ""
    assert [path.stat().st_mtime_ns for path in sorted(folder.pack.iterdir())] == before


def test_a_full_disk_is_refused_before_packing(folder, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=42 * 3 * 224 ** 2 - 1))
    with pytest.raises(OSError, match="0.01 GB are still needed, but only 0.01 GB are free there; choose another folder or a smaller image_size") as caught:
        load(folder, image_size=224)
    assert "\n" not in str(caught.value) and [path.name for path in folder.pack.iterdir()] == ["lock"]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=42 * 3 * 224 ** 2))
    load(folder, image_size=224)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=0))
    load(folder, image_size=224)                                                      # nothing is missing


def test_a_disk_that_fills_up_meanwhile_costs_one_chunk_only(folder, monkeypatch, decoded):
    monkeypatch.setattr(packed, "CHUNK", 8 * 3 * 24 ** 2)
    fsync, calls = os.fsync, itertools.count()

    def full(file):
        if next(calls) == 4:                                                          # data, record, data, record, data
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(file)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"failed \(No space left on device\); what is packed is kept, load again to resume"):
        load(folder)
    del decoded[:]
    load(folder)
    assert len(decoded) == 42 - 16 and packed_bytes(folder.pack) == expected_bytes(folder.root)


def test_other_images_are_refused_and_their_pack_is_left_alone(folder):
    load(folder)
    before = packed_bytes(folder.pack)
    one = folder.root / "train/cat/03.jpg"

    def refused(message, **settings):
        with pytest.raises(ValueError, match=message) as caught:
            load(folder, **settings)
        assert "\n" not in str(caught.value) and "delete" not in str(caught.value) and str(caught.value).endswith("choose another folder")
        assert packed_bytes(folder.pack) == before
    refused("train.uint8 holds other images: image side is 24 there and 20 here", image_size=20)
    shutil.copy(one, folder.root / "test/cat/99.jpg")
    refused("test.uint8 holds other images: number of images is 10 there and 11 here")
    (folder.root / "test/cat/99.jpg").unlink()
    one.rename(folder.root / "train/cat/03x.jpg")
    refused("train.uint8 .* digest of file names is '.*' there and '.*' here")
    (folder.root / "train/cat/03x.jpg").rename(one)
    good = one.read_bytes()
    one.write_bytes(good + b"x")
    refused("train.uint8 .* digest of file sizes is")
    one.write_bytes(good)
    load(folder)
    for content in ("[1, 2]", "not JSON", "{}"):
        (folder.pack / "test.json").write_text(content)
        refused("test.uint8 .* format is None there and 'proxyless_lite pack 2' here")


def test_unreadable_images_are_named_once_all_others_are_packed(folder, decoded):
    victims = [folder.root / name for name in ("test/dog/01.jpg", "test/dog/04.jpg", "train/cat/05.jpg")]
    good = [victim.read_bytes() for victim in victims]
    for victim in victims:
        victim.write_bytes(victim.read_bytes()[:-100])

    def refused(message):
        with pytest.raises(ValueError, match=message) as caught:
            load(folder)
        assert "\n" not in str(caught.value)
        count = len(decoded)
        del decoded[:]
        return count
    named = ", ".join(rf"{victim} \(.*\)" for victim in (victims[2], *victims[:2]))
    assert refused(f"^3 of 42 images cannot be read: {named}; fix or remove them .all others are packed in {folder.pack}: once fixed, load again") == 42
    assert refused("3 of 42") == 3
    victims[0].write_bytes(good[0])
    assert refused("2 of 42") == 3
    for victim, content in zip(victims, good):
        victim.write_bytes(content)
    load(folder)
    assert len(decoded) == 2 and packed_bytes(folder.pack) == expected_bytes(folder.root)
    victims[0].write_bytes(good[0] + b"x")
    with pytest.raises(ValueError, match="digest of file sizes"):                     # once good it may no longer change
        load(folder)


def test_a_file_that_fails_once_is_not_taken_for_packed(folder, monkeypatch):
    victim, decode, failed = folder.root / "train/cat/05.jpg", pixels.decode, []

    def once(path, size):
        if path == victim and not failed:
            failed.append(path)
            raise pixels.Unreadable(path, "Input/output error")
        return decode(path, size)
    monkeypatch.setattr(pixels, "decode", once)
    with pytest.raises(ValueError, match="1 of 42 images cannot be read: .*05.jpg .Input/output error"):
        load(folder)
    load(folder)
    assert packed_bytes(folder.pack) == expected_bytes(folder.root)


def test_a_first_image_that_fails_once_is_named(folder, monkeypatch):
    files, read, failed = folders.find(folder.root)[0], pixels.read, []

    def once(path):
        if not failed:
            failed.append(path)
            raise pixels.Unreadable(path, "Input/output error")
        return read(path)
    monkeypatch.setattr(pixels, "read", once)
    with pytest.raises(ValueError, match="1 of .* images cannot be read: .*Input/output error"):
        files.shorter_side()


def test_a_file_may_change_until_it_is_packed(folder, monkeypatch):
    last = folder.root / "train/dog/15.jpg"
    measure, measured = packed.sizes_on_disk, []

    def then_changed(files):                                                          # after the sizes were taken first
        found = measure(files)
        if not measured:
            last.write_bytes(last.read_bytes() + b"x")
        measured.append(files)
        return found
    monkeypatch.setattr(packed, "sizes_on_disk", then_changed)
    load(folder)
    load(folder)


def test_a_file_that_was_cut_off_is_completed(folder, decoded):
    load(folder)
    del decoded[:]
    os.truncate(folder.pack / "train.uint8", 30 * 3 * 24 ** 2 + 5)
    load(folder)
    assert len(decoded) == 2 and packed_bytes(folder.pack) == expected_bytes(folder.root)


KILLED = """
import itertools, json, os, signal, sys
from pathlib import Path
import numpy as np
import proxyless_lite as pl
from proxyless_lite.data import folders, packed, pixels

root, pack = map(Path, sys.argv[1:])
packed.CHUNK = 5 * 3 * 24 ** 2
expected = [pixels.decode_all(files, 24)[0] for files in folders.find(root)[::2]]


class Torn:  # a file that may die in the middle of a row
    def __init__(self, file):
        self.file = file
    def __getattr__(self, name):
        return getattr(self.file, name)
    def __enter__(self):
        return self
    def __exit__(self, *error):
        self.file.close()
    def write(self, row):
        if next(calls) == last:
            self.file.write(bytes(row)[:1000])
            self.file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        self.file.write(row)


def dying(function):  # before it is done or after
    def called(*args):
        for done in (lambda: None, lambda: function(*args)):
            done()
            if next(calls) == last:
                os.kill(os.getpid(), signal.SIGKILL)
    return called


packed.open, os.fsync, os.replace = lambda *args: Torn(open(*args)), dying(os.fsync), dying(os.replace)
for last in itertools.cycle(range(20)):  # a chunk counts 11: 5 rows, twice its fsync, and for the record twice an fsync and a replace
    calls = itertools.count()
    child = os.fork()
    if child == 0:
        pl.data.load(str(root), pack=pack)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL), status
    print("killed" if status else "done")
    for part, rows in zip(("train", "test"), expected):  # what is recorded as good is good
        if (pack / f"{part}.json").exists():
            good = np.unpackbits(np.array(json.loads((pack / f"{part}.json").read_text())["good"], np.uint8), count=len(rows)).astype(bool)
            there = np.fromfile(pack / f"{part}.uint8", np.uint8)
            there = np.pad(there, (0, rows.size - there.size)).reshape(rows.shape)
            assert (there[good] == rows[good]).all()
    if status == 0:
        break
"""


@pytest.mark.slow
def test_packing_killed_anywhere_resumes_to_the_same_bits(folder):
    done = subprocess.run([sys.executable, "-c", KILLED, folder.root, folder.pack], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("killed") > 20 and done.stdout.count("done") == 1
    assert packed_bytes(folder.pack) == expected_bytes(folder.root)
    ours, theirs = load(folder), pl.data.load(str(folder.root), valid=0.25)
    assert same(ours.batches(ours.train, 4, 0, 0, True)[0], theirs.batches(theirs.train, 4, 0, 0, True)[0])


AT_ONCE = """
import os, sys, time
import proxyless_lite as pl
from proxyless_lite import runtime
from proxyless_lite.data import pixels
decode = pixels.decode


def slow(path, size):
    with open(sys.argv[3], "a") as log:
        log.write(f"{path}\\n")
    time.sleep(0.1)
    return decode(path, size)


pixels.decode = slow
children = []
for _ in range(2):
    children.append(os.fork())
    if children[-1] == 0:
        data = pl.data.load(sys.argv[1], pack=sys.argv[2], valid=0.25)
        print(runtime.digest(*data.batches(data.train, 8, 0, 0, True)[0]), data.digest, flush=True)
        os._exit(0)
assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
"""


@pytest.mark.slow
def test_of_processes_that_start_together_one_packs(folder, tmp_path):
    command = [sys.executable, "-c", AT_ONCE, folder.root, folder.pack, tmp_path / "log"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert len((tmp_path / "log").read_text().splitlines()) == 42 and sum("packing 42" in line for line in said) == 1
    assert said[-1] == said[-2] and len(said[-1].split()) == 2                        # the same batch and digest for both


def test_combinations_that_make_no_sense_are_refused(folder):
    for settings, message in ((dict(name="digits"), "digits is not a folder of images .* leave out pack="),
                              (dict(name=str(folder.root), workers=2), "packed images need no workers; leave out workers=2 or pack="),
                              (dict(name=str(folder.root), limit=1), "1 images asked for"), (dict(name=str(folder.root), crop=25, image_size=24), "crop=25")):
        with pytest.raises(ValueError, match=message):
            pl.data.load(**settings, pack=folder.pack)
    assert not folder.pack.exists()                                                   # refused before anything long


def test_named_data_sets_are_packed_as_they_are_loaded(folder, tmp_path):
    for name in ("cifar10", "imagenet"):
        (tmp_path / "root").mkdir(exist_ok=True)
        shutil.copytree(folder.root, tmp_path / "root" / name)
    (tmp_path / "root/imagenet/test").rename(tmp_path / "root/imagenet/val")
    ours, theirs = (pl.data.load("cifar10", root=tmp_path / "root", **given) for given in (dict(pack=tmp_path / "a"), dict()))
    assert same(ours.batches(ours.train, 8, 0, 0, True)[0], theirs.batches(theirs.train, 8, 0, 0, True)[0])
    for i, given in enumerate((dict(), dict(image_size=28), dict(image_size=24, crop=20))):
        ours, streamed = (pl.data.load("imagenet", root=tmp_path / "root", **given, **how) for how in (dict(pack=tmp_path / f"b{i}"), dict(workers=0)))
        assert str(ours) == str(streamed) and ours.train.images.shape[1] == streamed.resize
        assert (ours.mean, ours.std) == (streamed.mean, streamed.std)


# -- reading ahead -----------------------------------------------------------------------------------------------------


def test_a_thread_gathers_the_next_batches(folder, monkeypatch):
    data, gather, threads = load(folder), packed.View.in_memory, []
    monkeypatch.setattr(packed.View, "in_memory", lambda self, pinned=False: threads.append(threading.current_thread()) or gather(self, pinned))
    batches = data.batches(data.train, 4, 0, 0, augment=True)
    assert data.prefetches and threads == []                                               # nothing before it is needed
    for i, gathered in ((0, 3), (1, 4), (2, 5), (20, 8), (21, 9), (21, 10), (20, 12)):  # on, a leap, the same, back
        batches[i]
        until = time.monotonic() + 10
        while len(threads) < gathered and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(0.02)
        assert len(threads) == gathered, i
    (thread,) = set(threads)
    assert thread is not threading.main_thread()
    del batches
    gc.collect()
    thread.join(10)
    assert not thread.is_alive()
    del threads[:]
    assert len(list(data.eval_batches(data.test, 4))) == len(threads) == 3                    # none beyond the last


def test_errors_of_the_thread_are_raised_where_the_batch_is_asked_for(folder, monkeypatch):
    data, gather, broken = load(folder), packed.View.in_memory, [True]

    def failing(self, pinned=False):
        if broken[0] and fifth in self.rows:
            raise OSError("the disk is gone")
        return gather(self, pinned)
    fifth = data.train.rows[BatchSampler("", len(data.train), 4, 0, 0)[5][0]]
    monkeypatch.setattr(packed.View, "in_memory", failing)
    batches = data.batches(data.train, 4, 0, 0, augment=True)
    for i in (3, 4):
        batches[i]
    with pytest.raises(OSError, match="the disk is gone"):
        batches[5]
    broken[0] = False
    others = data.batches(data.train, 4, 0, 0, augment=True)
    assert same(batches[5], others[5])
    for each in (batches, others):  # a method put back while a thread enters it can crash CPython 3.11
        concurrent.futures.wait(each._sent.pending.values())


@pytest.mark.slow
def test_a_script_that_keeps_its_batches_comes_to_its_end(folder):
    load(folder)
    script = (f"import time, proxyless_lite as pl\ndata = pl.data.load({str(folder.root)!r}, pack={str(folder.pack)!r})\n"
              f"gather = pl.data.packed.View.in_memory\npl.data.packed.View.in_memory = lambda *args, **given: (time.sleep(0.3), gather(*args, **given))[1]\n"
              f"batches = data.batches(data.train, 8, 0, 0, True)\nprint(len(batches[0][1]), flush=True)\nraise SystemExit(3)")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (3, "8\n", "")


# -- uploads -----------------------------------------------------------------------------------------------------------


class Cuda:
    """What of torch.cuda an upload needs; `log` is what was called, in order."""

    def __init__(self, monkeypatch, request):
        self.log, self.inside = [], []
        self.computing = mock.Mock(wait_event=lambda event: self.log.append(("computing waits for", event)))
        self.side = mock.Mock(record_event=lambda: self.log.append("event recorded on the side") or "the copies")
        self.made = mock.Mock(side_effect=lambda device: self.side)
        for name, value in (("Stream", self.made), ("stream", self.stream), ("current_stream", lambda device: self.computing)):
            monkeypatch.setattr(torch.cuda, name, value)
        side_stream = runtime.upload.__globals__["side_stream"]
        side_stream.cache_clear()
        request.addfinalizer(side_stream.cache_clear)

    def stream(self, stream):
        assert stream is self.side
        self.inside.append(stream)
        return contextlib.closing(SimpleNamespace(close=self.inside.pop))

    def tensor(self, name):
        on_gpu = mock.Mock(record_stream=lambda stream: self.log.append((name, "kept for", stream)))

        def to(device, non_blocking=False):
            assert self.inside and non_blocking and device == torch.device("cuda:0")
            self.log.append((name, "copied on the side"))
            return on_gpu
        return mock.Mock(pin_memory=lambda: self.log.append((name, "pinned")) or mock.Mock(to=to)), on_gpu


def test_uploads_run_on_a_stream_of_their_own_and_nothing_waits_on_the_host(monkeypatch, request):
    cuda = Cuda(monkeypatch, request)
    (images, images_there), (labels, labels_there) = cuda.tensor("images"), cuda.tensor("labels")
    arrived = runtime.upload([images, labels], torch.device("cuda:0"))
    assert cuda.log == [("images", "pinned"), ("images", "copied on the side"), ("labels", "pinned"), ("labels", "copied on the side"),
                        "event recorded on the side"]
    del cuda.log[:]
    assert arrived() == [images_there, labels_there]
    assert cuda.log == [("computing waits for", "the copies"), ("images", "kept for", cuda.computing), ("labels", "kept for", cuda.computing)]
    assert not cuda.side.synchronize.called and not cuda.computing.synchronize.called
    runtime.upload([cuda.tensor("more")[0]], torch.device("cuda:0"))
    assert cuda.made.call_args_list == [mock.call(torch.device("cuda:0"))]            # one stream for all


def test_no_stream_is_made_and_nothing_pinned_on_the_cpu(folder, monkeypatch):
    never = mock.Mock(side_effect=AssertionError)
    for owner, name in ((torch.cuda, "Stream"), (torch.cuda, "stream"), (torch.cuda, "current_stream"), (torch.Tensor, "pin_memory")):
        monkeypatch.setattr(owner, name, never)
    tensor = torch.arange(3)
    assert runtime.upload([tensor], torch.device("cpu"))()[0] is tensor
    for data in (load(folder), pl.data.load(str(folder.root), image_size=20, workers=0)):
        data.batches(data.train, 4, 0, 0, True)[0]
        list(data.eval_batches(data.test, 4))


def test_packed_and_streamed_batches_are_uploaded_and_resident_ones_are_not(folder, monkeypatch):
    calls = []

    def upload(tensors, device):
        calls.append((threading.current_thread() is threading.main_thread(), [t.dtype for t in tensors], device.type))
        return lambda: tensors
    monkeypatch.setattr(runtime, "upload", upload)
    data = load(folder)
    list(data.eval_batches(data.test, 100))
    assert calls == [(False, [torch.uint8, torch.int64], "cpu")]                      # by the thread: ahead of need
    pinned = []
    monkeypatch.setattr(packed.View, "in_memory", lambda self, pinned_=False, **given: pinned.append(given) or pl.data.Split(*torch.zeros(2, 1)))
    data.to("cuda:0").sent(data.test), data.sent(data.test)
    assert pinned == [dict(pinned=True), dict(pinned=False)] and calls[1][2] == "cuda"
    del calls[:]
    streamed = pl.data.load(str(folder.root), image_size=20, workers=0)
    streamed.batches(streamed.train, 4, 0, 0, True)[0], list(streamed.eval_batches(streamed.test, 100))
    assert calls == [(True, [torch.uint8, torch.int64], "cpu")] * 2
    resident = pl.data.load(str(folder.root))
    resident.batches(resident.train, 4, 0, 0, True)[0], list(resident.eval_batches(resident.test, 100))
    assert len(calls) == 2


def test_the_order_goes_to_the_device_without_waiting(monkeypatch):
    to, asked = torch.Tensor.to, []
    monkeypatch.setattr(torch.Tensor, "to", lambda self, *args, **given: asked.append(given) or to(self, *args, **given))
    order = BatchSampler("x", 12, 4, 0, 0)
    [order[i] for i in range(6)]
    assert asked == [dict(non_blocking=True)] * 2                                     # once a pass
