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
from ..costs import costs
from ..spaces import Block, Space
from . import convert, run
from .measure import blocks_of, random_networks, reference
from .rounds import Visits, summarize
from .table import SHAPE, Entry, Table, fixed_of

WHOLE = 4  # random networks in the kit of a space, which say how the times of blocks add up
EMPTY = "empty"  # a network that does next to nothing: what a call costs by itself


def make(out: str | Path, space: Space | None = None, networks=(), formats=("onnx",), seed: int = 0) -> int:
    """Write a kit for the blocks of a space and WHOLE random networks of it, or for given `networks`. Returns its size in bytes.

    `networks` are pairs (name, Architecture). `formats` are of convert.FORMATS; run.RUNTIMES says which runtime reads which. All weights
    are fresh, of `seed`. Raises ValueError in one line for a folder that is not empty, an unknown format or one whose converter is missing,
    and without a space and networks.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} exists already; give a new folder")
    if not space and not networks:
        raise ValueError("a kit is for a space or for networks; give --space or --networks")
    for kind in formats:
        convert.installed(kind)
    blocks = [] if space is None else blocks_of(space)
    wholes = [] if space is None else [(f"random {i}", each) for i, each in enumerate(random_networks(space, min(WHOLE, space.size()), seed), 1)]
    beside = reference(space or networks[0][1].space)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as temporary, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        folder, parts = Path(temporary) / "kit", [*blocks, *[EMPTY] * bool(space), ("reference", beside), *wholes, *networks]
        for kind in formats:
            (folder / kind).mkdir(parents=True)
        progress = runtime.Progress(len(parts), label=f"kit of {len(parts)} networks")
        items = []
        for number, part in enumerate(parts):
            items.append(item(folder, number, part, formats))
            progress.step()
        progress.close()
        manifest = {"format": 1, "batch": 1, "formats": list(formats), "reference": parts.index(("reference", beside)), "seed": seed, "items": items,
                    **(described(space) if space else {}), "made": {**runtime.describe()}}
        (folder / "manifest.json").write_bytes(runtime.to_json(manifest) + b"\n")
        (folder / "items.txt").write_text("".join(f"{i} {item['files'][kind][0]}\n" for kind in formats for i, item in enumerate(items)))
        for name in ("run.py", "bench.sh"):
            shutil.copy(Path(__file__).with_name(name), folder)
        seal(folder)
        if out.exists():
            out.rmdir()
        os.replace(folder, out)
    return sum(file.stat().st_size for file in out.rglob("*") if file.is_file())


def item(folder, number, part, formats):
    """Write the files of a Block, of a pair (name, Architecture), or of nothing, and describe them."""
    if isinstance(part, Block):
        module, shape = part.module(), (1, part.in_channels, part.input_size, part.input_size)
        told = {"block": {name: getattr(part, name) for name in SHAPE}}
    elif part == EMPTY:
        module, shape, told = torch.nn.AvgPool2d(2), (1, 8, 2, 2), {EMPTY: True}
    else:
        name, network = part
        module, shape = network.build(), (1, 3, network.space.input_size, network.space.input_size)
        told = {"network": {"name": name, **described(network.space), "choices": list(network.choices)}}
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
    visits, and beside a table predicted_ms. `architectures`, by name, are these networks.

    Blocks timed alone do not add up: every call costs something, which a whole network pays once, and what one block leaves in the cache
    helps the next. So the table holds block − call, times the factor by which whole networks differ from such sums.
    """

    table: Table | None
    networks: pd.DataFrame
    architectures: dict


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
    found = summarize(visits)
    about = {**{key: manifest[key] for key in ("space", "space_settings", "input_size") if key in manifest}, **metadata,
             "reference_ms": visits.reference_ms.median()}
    ms, sd, counts = (found[column].tolist() for column in ("ms", "sd", "visits"))
    wholes = {each["network"]["name"]: i for i, each in enumerate(items) if "network" in each}
    architectures = {name: Architecture(named_space(**items[i]["network"]["space_settings"]), tuple(items[i]["network"]["choices"]))
                     for name, i in wholes.items()}
    networks = found.loc[list(wholes.values())].set_axis(pd.Index(architectures, name="name"))
    networks.attrs = about
    blocks = [i for i, each in enumerate(items) if "block" in each]
    if not blocks:
        return Results(None, networks, architectures)
    # network ≈ factor · (call + Σ (block − call)), with call the time of a network that does nothing
    fixed, call = fixed_of(about), ms[next(i for i, each in enumerate(items) if EMPTY in each)]
    named = [Block(**items[i]["block"]) for i in blocks]
    net_of_call = [max(ms[i] - (call if number else 0.0), 0.0) for number, i in enumerate(blocks)]  # the first is in every network
    sums = Table({block: Entry(each) for block, each in zip(named, net_of_call)}, about)
    price = costs(named_space(**about["space_settings"]), sums)
    summed = pd.Series({name: price.cost_of(each) for name, each in architectures.items() if each.space == price.space})
    factor = (networks.ms[summed.index] / summed).median()
    entries = {fixed.get(block, block): Entry(factor * each, factor * sd[i], counts[i]) for block, each, i in zip(named, net_of_call, blocks)}
    table = Table(entries, {**about, "call_ms": call, "factor": factor})
    return Results(table, networks.assign(predicted_ms=factor * summed), architectures)
