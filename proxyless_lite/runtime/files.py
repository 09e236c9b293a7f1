"""Files that survive a crash: atomic writes, checkpoints, fingerprints."""

import copy
import errno
import fcntl
import hashlib
import io
import json
import os
import pickle
import re
import tempfile
import zipfile
from contextlib import suppress
from pathlib import Path, PurePath

import numpy as np
import torch

FORMAT = "proxyless_lite checkpoint 1"
HELD = errno.EACCES, errno.EAGAIN  # a lock is another's; any other error: the file system has no locks


def write_atomically(path, content):
    """Write bytes atomically: `path` is complete or unchanged whenever the process dies."""
    write_all(Path(path).parent, {Path(path).name: content})


def write_all(folder, contents):
    """Write files, name -> bytes, into a folder: none of them takes its place before all are on the disk. Raises OSError in one line."""
    partials = {}
    try:
        for name, content in contents.items():
            partials[Path(folder) / name] = write_partial(Path(folder) / name, content)
    except OSError:
        for partial in partials.values():
            partial.unlink(missing_ok=True)
        raise
    for path, partial in partials.items():
        os.replace(partial, path)


def write_partial(path, content):
    """Write bytes onto the disk next to `path`, as *.partial; returns where. Raises OSError in one line; then nothing is left there."""
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise OSError(f"{path} cannot be written ({error.strerror or error}); what was there is kept; make room, or choose another place") from None
    return partial


def save_checkpoint(path, state):
    """Write `state` (tensors, numbers, strings, lists, dicts) to `path`; the one before is kept as *.previous.

    Raises ValueError naming the entry that a safe loader would refuse later, OSError where the disk is full; then both files stay
    as they are.
    """
    path, state = Path(path), plain({"format": FORMAT, **state})
    torch.save(state, buffer := io.BytesIO())  # PyTorch tells a full disk in words of its own
    partial, previous = write_partial(path, buffer.getbuffer()), previous_of(path)
    try:
        read_checkpoint(partial)
    except ValueError as error:
        partial.unlink()
        raise ValueError(f"the checkpoint {path} could not be read back: {first_refused(state) or error}; "
                         f"the one before, if any, is kept") from None
    if path.exists():
        os.replace(path, previous)
    os.replace(partial, path)


def load_checkpoint(path, say=print):
    """The newest good state at `path` or its *.previous, None where neither exists. No code in the file is run.

    A file that cannot be read is reported through `say` when the previous one is used instead, and kept as *.refused.
    Raises ValueError naming the files when there are some and none can be read.
    """
    refused = []
    for candidate in (Path(path), previous_of(Path(path))):
        if not candidate.exists():
            continue
        try:
            state = read_checkpoint(candidate)
        except ValueError as error:
            refused.append(str(error))
            continue
        if refused:
            aside = candidate.with_name(Path(path).name + ".refused")
            say(f"{refused[0]}; resuming from {candidate}; the other is kept as {aside}")
            os.replace(path, aside)
            os.replace(candidate, path)  # else the next save would overwrite the good one with the refused file
        return state
    if refused:
        raise ValueError(f"{'; '.join(refused)}; to start again choose another folder, or move this one away")
    return None


def read_checkpoint(path):
    """Load one checkpoint file. Raises ValueError: damaged, not safe to read, or not a checkpoint of this version."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()  # torch.load would not notice a flipped bit
        if damaged:
            raise zipfile.BadZipFile(f"{damaged} is damaged")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # only once the checksums are right
        raise ValueError(f"{path} is intact, but holds what a safe loader does not read ({reason_of(error)})") from None
    except Exception as error:  # a damaged file can fail anywhere in zipfile or torch
        raise ValueError(f"{path} is truncated, damaged or not a checkpoint ({reason_of(error)})") from None
    if not (isinstance(state, dict) and state.get("format") == FORMAT):
        raise ValueError(f"{path} is not a checkpoint of this version ({FORMAT!r} expected)")
    return state


def reason_of(error):
    """The first line of an error; of PyTorch's text on safe loading, which advises unsafe loading, only what was refused."""
    refused = re.search(r"(?<= GLOBAL )\S+", str(error)) or re.search(r"(?<=WeightsUnpickler error: ).+", str(error))
    return (refused[0] if refused else (str(error).splitlines() or [type(error).__name__])[0])[:100]


def plain(value):
    """The value with NumPy's scalars in its dicts, lists and tuples converted to Python's, and paths to text: a safe loader reads these."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, dict):
        found = copy.copy(value)  # keeps the version attribute of a module's state_dict
        found.clear()
        found.update((plain(key), plain(one)) for key, one in value.items())
        return found
    return type(value)(map(plain, value)) if type(value) in (list, tuple) else value


def to_json(value, **how):
    """The value as JSON, UTF-8; arrays and tensors as lists, of one number as that number. Raises TypeError for what JSON has not."""
    def lists(other):
        if not hasattr(other, "tolist"):
            raise TypeError(f"{type(other).__name__} cannot be written as JSON: {other!r}")
        return other.tolist()
    return json.dumps(plain(value), default=lists, ensure_ascii=False, **how).encode()


def first_refused(value, where=""):
    """Path and type of the first entry of `value` that a safe loader refuses; None if it reads all."""
    try:
        file = io.BytesIO()
        torch.save(value, file)
        file.seek(0)
        torch.load(file, map_location="cpu", weights_only=True)
        return None
    except Exception:  # an entry's own pickling can raise anything
        inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, (list, tuple)) else ()
    kind = type(value)
    return next(filter(None, (first_refused(one, f"{where}/{key}") for key, one in inner)),
                f"{where[1:]} holds a {kind.__module__}.{kind.__qualname__}, which a safe loader refuses")


def previous_of(path):
    return path.with_name(path.name + ".previous")


def check_same(path, saved, ours):
    """Raises ValueError naming the first setting in which the run in folder `path` differs from the one asked for."""
    for key in sorted({*saved, *ours}):
        if saved.get(key) != ours.get(key):
            there, here = excerpts(repr(saved.get(key)), repr(ours.get(key)))
            raise ValueError(f"{path} belongs to another configuration: {key} is {there} there and {here} here; "
                             f"choose another, or move this one away")


def excerpts(one, other, most=100):
    """Two texts, cut to where they differ."""
    same = next((i for i, (a, b) in enumerate(zip(one, other)) if a != b), min(len(one), len(other)))
    start = max(0, same - most // 2) if max(len(one), len(other)) > most else 0
    return ["…" * (start > 0) + text[start:start + most] for text in (one, other)]


def digest(*parts):
    """A short fingerprint of tensors and of anything with a faithful repr, to distinguish the inputs of runs."""
    total = hashlib.sha256()
    for part in parts:
        total.update(as_array(part) if isinstance(part, torch.Tensor) else repr(part).encode())
    return total.hexdigest()[:12]


def as_array(tensor):
    """A tensor as an array whose bytes can be read, without a copy where it is on the CPU and contiguous."""
    tensor = tensor.detach().cpu()
    return np.ascontiguousarray((tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy())  # NumPy has no bfloat16


def check_writable(folder):
    """Make the folder if it is missing. Raises OSError in one line when it cannot be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
    except OSError as error:
        raise OSError(f"the folder {folder} cannot be written to ({error.strerror}); choose another") from None


def check_target(path):
    """Raises OSError in one line unless a file can be written at `path`; its folder is made if missing."""
    if Path(path).is_dir():
        raise OSError(f"{path} is a folder; give the name of a file")
    check_writable(Path(path).parent)


def lock(folder, wait=False):
    """Lock a folder against other processes until the returned file is closed or this process ends in any way.

    If another process holds it, `wait` for its end, else raise OSError in one line. File systems without locks are not locked.
    """
    file = open(folder / "lock", "w")
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))  # POSIX: not inherited by worker processes, which may live longer
    except OSError as error:
        if error.errno in HELD:
            file.close()
            raise OSError(f"another process is running in the folder {folder}; wait for its end or choose another folder") from None
    return file


def only_writer(file):
    """Lock an open file against other writers until it is closed. Raises ValueError if another process holds it.

    File systems without locks are not locked.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in HELD:
            raise ValueError(f"{file.name} is being built by another process; wait for its end or choose another file") from None
