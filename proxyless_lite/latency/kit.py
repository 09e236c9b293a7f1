"""A kit: what another device needs to time the blocks of a space or given networks, and how its results come back.

A kit is a folder with the networks as files, manifest.json (what each is, and what it computes), run.py and bench.sh, which time them there,
and SHA256SUMS. It needs neither PyTorch nor this package on the device.
"""

import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch

from .. import runtime
from ..architecture import Architecture, named_space
from ..spaces import BY_NAME, Block, Space
from . import convert, run
from .parts import NOTHING, WHOLE, parts, reference, table_of
from .rounds import Visits, summarize
from .table import SHAPE, Table

OWN = "reference", *(f"random {i}" for i in range(1, WHOLE + 1))  # names of the networks that a kit of a space brings


def make(out: str | Path, space: Space | None = None, networks=(), formats=("onnx",), seed: int = 0) -> int:
    """Write a kit for the blocks of a space and a few networks of it, or for given `networks`. Returns its size in bytes.

    `networks` are pairs (name, Architecture). `formats` are of convert.FORMATS; run.RUNTIMES says which runtime reads which. All weights
    are fresh, of `seed`. Raises ValueError in one line for a folder that is not empty, an unknown format or one whose converter is missing,
    without a space and networks, for a network that is called like one of OWN, and for a space of your own, whose results could not be read.
    """
    out = Path(out).resolve()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} exists already; give a new folder")
    if not space and not networks:
        raise ValueError("a kit is for a space or for networks; give --space or --networks")
    if taken := [name for name, _ in networks if name in OWN]:
        raise ValueError(f"a kit has a network of its own called {taken[0]}; give yours another name")
    for one in [space] * bool(space) + [network.space for _, network in networks]:
        if one is None or one.name not in BY_NAME:
            raise ValueError(f"a kit is for spaces that a file can name: {', '.join(BY_NAME)}; {one or 'a module'} is of your own")
    for kind in formats:
        convert.installed(kind)
    timed = [reference(networks[0][1].space)] if space is None else parts(space, seed)
    names = iter(OWN)
    named = [(next(names) if isinstance(part, Architecture) else None, part) for part in timed] + list(networks)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as temporary, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        folder = Path(temporary) / "kit"
        for kind in formats:
            (folder / kind).mkdir(parents=True)
        progress, items = runtime.Progress(len(named), label=f"kit of {len(named)} networks"), []
        for name, part in named:
            items.append(item(folder, len(items), name, part, formats))
            progress.step()
        progress.close()
        manifest = {"format": 1, "batch": 1, "formats": list(formats), "reference": [name for name, _ in named].index("reference"), "seed": seed, "items": items,
                    **(described(space) if space else {}), "made": {**runtime.describe()}}
        (folder / "manifest.json").write_bytes(runtime.to_json(manifest) + b"\n")
        (folder / "items.txt").write_text("".join(f"{i} {item['files'][kind][0]}\n" for kind in formats for i, item in enumerate(items)))
        for name in ("run.py", "bench.sh"):
            shutil.copy(Path(__file__).with_name(name), folder)
        seal(folder)
        out.mkdir(exist_ok=True)
        for each in sorted(folder.iterdir(), key=lambda file: file.name == "SHA256SUMS"):  # this one last: without it a kit is not whole
            os.replace(each, out / each.name)
    return sum(file.stat().st_size for file in out.rglob("*") if file.is_file())


def item(folder, number, name, part, formats):
    """Write the files of a Block, a named Architecture, or NOTHING, and describe them."""
    if isinstance(part, Block):
        module, shape, told = part.module(), (part.in_channels, part.input_size, part.input_size), {"block": {each: getattr(part, each) for each in SHAPE}}
    elif isinstance(part, Architecture):
        module, shape = part.build(), (3, part.space.input_size, part.space.input_size)
        told = {"network": {"name": name, **described(part.space), "choices": list(part.choices)}}
    else:
        module, shape, told = *part, {}
    shape = (1, *shape)
    source = convert.Source(module, shape)
    files = {kind: [file.relative_to(folder).as_posix() for file in convert.FORMATS[kind](source, folder / kind / f"{number:04d}")]
             for kind in formats}
    return {**told, "shape": list(shape), "expected": [float(f"{value:.6g}") for value in run.sampled(source.output.numpy())], "files": files}


def described(space):
    return {"space": str(space), "space_settings": {"name": space.name, **space.settings}, "input_size": space.input_size}


def seal(folder):
    """Write SHA256SUMS, in the format of sha256sum."""
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file.name != "SHA256SUMS")
    lines = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(folder).as_posix()}\n" for file in files]
    (folder / "SHA256SUMS").write_text("".join(lines))


# -- back from the device ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Results:
    """What a device measured: the `table` of the blocks, or None for a kit of networks alone, and the frame `networks`, by name: ms, sd,
    visits, and beside a table predicted_ms. `architectures`, by name, are these networks. `unfinished` counts the items that are
    neither certain nor were visited as often as asked for; `uncertain` those that are not certain."""

    table: Table | None
    networks: pd.DataFrame
    architectures: dict
    unfinished: int
    uncertain: int


def results(path: str | Path, kit: str | Path) -> Results:
    """Read the CSV that run.py or bench.sh of a kit wrote.

    Raises ValueError in one line for a file that is damaged or belongs to another kit, a kit whose files were changed, and where a
    network has not been visited.
    """
    try:
        manifest, identity = run.verified(Path(kit))
    except run.Refused as error:
        raise ValueError(str(error)) from None
    visits = Visits.read(path)
    metadata = {key: value for key, value in visits.attrs.items() if key != "machines"}
    if metadata.get("kit") != identity:
        raise ValueError(f"{path} was not measured with the kit in {kit}; give the folder that was copied to the device")
    items = manifest["items"]
    if stray := sorted({*visits["item"]} - {*range(len(items))}):
        raise ValueError(f"{path} has visits of item {stray[0]}; this kit has 0 to {len(items) - 1}")
    if missing := sorted({*range(len(items))} - {*visits["item"]}):
        raise ValueError(f"{path} is not finished: {len(missing)} of {len(items)} networks have no visit; run it again on the device to go on")
    if visits.duplicated(["round", "item"]).any():
        raise ValueError(f"{path} has visits of two runs at once, which slowed each other; run it again with another --out")
    certain = run.certain_items(visits[["round", "item", "ms", "reference_ms"]].itertuples(index=False), metadata.get("precision", 0.01))
    seen = visits["item"].value_counts()
    unfinished = [i for i in range(len(items)) if i not in certain and seen[i] < metadata.get("rounds", 1)]
    found = summarize(visits)
    about = {**{key: manifest[key] for key in ("space", "space_settings", "input_size") if key in manifest}, **metadata,
             "reference_ms": visits.reference_ms.median()}
    timed = [part_of(each) for each in items]
    wholes = {each["network"]["name"]: i for i, each in enumerate(items) if "network" in each}
    networks = found.iloc[list(wholes.values())].set_axis(pd.Index(wholes, name="name"))
    table = None
    if "space" in manifest:
        table, predicted = table_of(named_space(**manifest["space_settings"]), timed, found, about)
        networks["predicted_ms"] = [predicted.get(i) for i in wholes.values()]
    networks.attrs = about
    return Results(table, networks, {name: timed[i] for name, i in wholes.items()}, len(unfinished), len(items) - len(certain))


def part_of(told):
    """What an item of the manifest describes."""
    if "block" in told:
        return Block(**told["block"])
    return Architecture(named_space(**told["network"]["space_settings"]), tuple(told["network"]["choices"])) if "network" in told else NOTHING
