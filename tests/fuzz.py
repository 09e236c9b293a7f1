"""Files that users bring, damaged at random: each ends in a result or in one line that names the file, and none is changed.

    python tests/fuzz.py 2500            # so many of each kind, from the first one
    python tests/fuzz.py 1 --first 137 --kind image  # the one that failed
"""

import argparse
import io
import json
import random
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import proxyless_lite as pl
from proxyless_lite.data import pixels
from proxyless_lite.latency import Entry, Table
from proxyless_lite.runtime import load_checkpoint, read_weights, save_checkpoint, silently

TOKENS = [b"", b"\0", b"\xff\xfe", b"-1", b"0", b"1e999", b"NaN", b"null", b"true", b"[]", b"{}", b'""', b",", b";", b"\n", b": ", b"- ", b"*a", b"&a ",
          b"99999999999999999999", "é×".encode(), b"!!python/object/apply:os.system ['touch owned']", b"cos\nsystem\n(S'touch owned'\ntR."]


def mutated(content, rng):
    """Bytes with one to six random changes."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 6)):
        a = rng.randrange(len(data) + 1)
        b = min(len(data), a + rng.choice((1, 1, 2, 4, 16, 64, 1000)))
        change = rng.randrange(6)
        if change == 0:
            data[a:b] = bytes(rng.randrange(256) for _ in range(b - a))
        elif change == 1:
            del data[a:b]
        elif change == 2:
            data[a:a] = data[a:b]
        elif change == 3:
            data[a:b] = rng.choice(TOKENS)
        elif change == 4:
            data[a:a] = rng.choice(TOKENS)
        else:
            del data[rng.randrange(len(data) + 1):]
    return bytes(data)


def saved(image, kind, **settings):
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()


def images():
    """(ending, content) of whole images of many kinds."""
    noise = np.random.default_rng(0).integers(0, 256, (24, 20, 4), dtype=np.uint8)
    colour, exif = Image.fromarray(noise[..., :3]), Image.Exif()
    exif[0x0112] = 6
    yield ".jpg", saved(colour, "JPEG", exif=exif)
    yield ".png", saved(Image.fromarray(noise), "PNG")
    yield ".png", saved(Image.fromarray(noise[..., 0].astype(np.uint16) * 257), "PNG")
    yield ".tif", saved(Image.fromarray(noise[..., 0].astype(np.uint16) * 257), "TIFF")
    yield ".tif", saved(colour, "TIFF", compression="tiff_lzw")
    yield ".gif", saved(colour.quantize(16), "GIF", transparency=0)
    yield ".webp", saved(colour, "WEBP", exif=exif)
    yield ".bmp", saved(colour, "BMP")
    yield ".ppm", saved(colour, "PPM")
    yield ".jp2", saved(colour, "JPEG2000")


def written(save):
    """What save(path) writes, as bytes."""
    with tempfile.TemporaryDirectory() as folder:
        save(path := Path(folder) / "x")
        return path.read_bytes()


def tables():
    space = pl.spaces.chain(edges=2, width=8)
    blocks = {*space.fixed_blocks(), *(edge.block(name) for edge in space.edges() for name in edge.candidates if name != "Zero")}
    about = {"device": "cpu", "threads": 1, "batch": 1, "space_settings": {"name": "chain", **space.settings}}
    yield ".csv", written(Table({block: Entry(1.5, 0.1, 3) for block in sorted(blocks, key=str)}, about).save)
    yield ".yaml", (b"Conv-input:224x224x3-output:112x112x32: {count: 3, mean: 2.5, var: 0.1}\n"
                    b"expanded_conv-input:7x7x80-output:7x7x96-expand:6-kernel:3-stride:1-idskip:0: {count: 3, mean: 2.5, var: 0.1}\n"
                    b"Logits-input:7x7x8-output:10: {count: 1, mean: 2, var: 3}\n")


def architectures():
    for space in (pl.spaces.chain(edges=3, width=8), pl.spaces.staged(), pl.spaces.nasbench201(), pl.spaces.mobile(width=0.25, classes=7, input_size=64)):
        yield ".json", written(pl.Architecture(space, tuple(edge.candidates[0] for edge in space.edges())).save)


def checkpoints():
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    yield ".pt", written(lambda path: save_checkpoint(path, {"state": net.state_dict(), "rows": [{"epoch": 0, "loss": 1.5}], "done": 3}))


def weights():
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    yield ".pth", written(lambda path: torch.save({"state_dict": net.state_dict()}, path))
    yield ".pth", written(lambda path: torch.save(net.state_dict(), path, _use_new_zipfile_serialization=False))


def configs():
    """Networks as the paper's authors release them: one made here, and theirs where the files are available."""
    layer = lambda **settings: {"name": "MBInvertedConvLayer", "in_channels": 32, "kernel_size": 3, "stride": 1, "expand_ratio": 3} | settings  # noqa: E731
    conv = {"name": "ConvLayer", "kernel_size": 3, "stride": 2, "in_channels": 3, "out_channels": 32, "use_bn": True, "act_func": "relu6"}
    layers = [layer(out_channels=16, expand_ratio=1), *(layer(out_channels=24) for _ in range(20)), layer(name="ZeroLayer", out_channels=24)]
    blocks = [{"name": "MobileInvertedResidualBlock", "mobile_inverted_conv": one, "shortcut": None} for one in layers]
    yield ".config", json.dumps({"name": "ProxylessNASNets", "bn": {"momentum": 0.1, "eps": 1e-5}, "first_conv": conv, "blocks": blocks,
                                 "feature_mix_layer": conv, "classifier": {"name": "LinearLayer", "in_features": 8, "out_features": 7}}).encode()
    for path in sorted((Path(__file__).resolve().parents[1].parent / "shared/data/released").glob("*.config")):
        yield ".config", path.read_bytes()


def read_config(path):
    try:
        config = json.loads(path.read_bytes())
    except ValueError:
        return None  # the user's own json.load says so
    try:
        return pl.Architecture.from_released(config) if isinstance(config, dict) else None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None  # it is given the content, not the file


def folders(seed, root):
    """A folder of images as users have them: two or three classes, odd names, odd files, parts that may be missing."""
    rng, whole = random.Random(seed), list(images())
    parts = rng.choice((["train", "test"], ["train", "val"], ["train", "val", "test"], [""], ["train"], ["test"]))
    names = rng.sample(["cat", "dog", "chat à", ".hidden", "日本 語", "a b", "x.y", "-"], rng.randint(1, 4))
    for part in parts:
        for name in names:
            (root / part / name).mkdir(parents=True)
            for i in range(rng.randint(0, 6) if rng.random() < 0.2 else rng.randint(2, 6)):
                ending, content = rng.choice(whole)
                file = root / part / name / f"{rng.choice(('', '._', ' '))}{i}{rng.choice((ending, ending.upper(), ending, '.txt', ''))}"
                file.write_bytes(content if rng.random() < 0.97 else mutated(content, rng))
    return root


READERS = {  # kind -> (whole files, what reads one)
    "image": (images, pixels.read), "table": (tables, Table.load), "architecture": (architectures, pl.Architecture.load),
    "checkpoint": (checkpoints, lambda path: load_checkpoint(path, say=lambda line: None)), "weights": (weights, read_weights),
    "config": (configs, read_config)}
KINDS = *READERS, "folder"


def attempt(kind, number, folder):
    """What was wrong with one mutated input, in one line; "" if all was right."""
    if kind == "folder":
        path, read = folders(number, folder / f"f{number}"), lambda path: pl.data.load(str(path), image_size=8)
    else:
        make, read = READERS[kind]
        rng, whole = random.Random(f"{kind} {number}"), list(make())
        ending, content = rng.choice(whole)
        path = folder / f"x{number}{ending}"
        path.write_bytes(mutated(content, rng))
    before = snapshot(path)
    try:
        read(path)
    except (ValueError, FileNotFoundError) as error:
        if "\n" in str(error) or path.name not in str(error):
            return f"the message does not name the file in one line: {error!r}"
    except Exception as error:
        return f"{type(error).__name__}: {error!r}"
    if snapshot(path) != before:
        return "the user's file was changed"
    return ""


def snapshot(path):
    return {file: file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()} if path.is_dir() else path.read_bytes()


def run(kinds, first, count):
    """Yields (kind, number, what was wrong) of the mutated inputs that were not handled."""
    warnings.simplefilter("ignore")
    for kind in kinds:
        for number in range(first, first + count):
            with tempfile.TemporaryDirectory() as folder, silently():
                wrong = attempt(kind, number, Path(folder))
            if wrong:
                yield kind, number, wrong
    if Path("owned").exists():
        yield "?", 0, "a file's content was executed: the file owned is there"


def main():
    line = argparse.ArgumentParser(description="Try damaged files of every kind.")
    line.add_argument("count", type=int, help="how many of each kind")
    line.add_argument("--first", type=int, default=0)
    line.add_argument("--kind", choices=KINDS, nargs="+", default=KINDS)
    args = line.parse_args()
    began, failed = time.monotonic(), 0
    for kind, number, wrong in run(args.kind, args.first, args.count):
        failed += 1
        print(f"{kind} {number}: {wrong[:300]}", flush=True)
    print(f"{args.count * len(args.kind):,} inputs, {failed} not handled, {time.monotonic() - began:.0f} s")
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
