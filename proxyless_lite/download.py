"""Download a file: resumable, complete or absent, with its SHA-256 told or checked."""

import hashlib
import math
import os
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from .runtime import Progress

TIMEOUT = 30     # seconds without a byte
PIECE = 1 << 20  # bytes read at a time


def fetch(url, path, sha256=None, say=print):
    """Download `url` to `path` and return the path; what an earlier attempt left in <path>.partial is not sent again.

    Its size and SHA-256 are told through `say`. `path` appears at the end, complete. Raises FileNotFoundError in one line when it
    cannot be had, and when its checksum is not `sha256`; a file of a wrong checksum is removed.
    """
    path = Path(path)
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        receive(url, partial)
        content = partial.read_bytes()
        found = hashlib.sha256(content).hexdigest()
        if sha256 not in (None, found):
            partial.unlink()
            raise OSError(f"its SHA-256 is {found} instead of {sha256}, so it was removed")
        os.replace(partial, path)
    except (OSError, HTTPException) as error:
        kept = partial.stat().st_size if partial.exists() else 0
        hint = f"run again to go on after {kept:,} bytes, or put it there" if kept else "put it there"
        raise FileNotFoundError(f"{path} is not there and could not be downloaded from {url} ({error}); {hint}") from None
    say(f"{path}: {len(content):,} bytes, SHA-256 {found}")
    return path


def receive(url, partial):
    """Get `url` into the file `partial`, going on where it ends. Raises OSError or HTTPException; what came by then stays."""
    have = partial.stat().st_size if partial.exists() else 0
    try:
        response = urlopen(Request(url, headers={"Range": f"bytes={have}-"} if have else {}), timeout=TIMEOUT)
    except HTTPError as error:
        if error.code != 416 or not have:
            raise
        partial.unlink()  # nothing comes after its end: it may be complete or of another file, so start anew
        return receive(url, partial)
    with response:
        if response.status != 206:  # all of it, from the first byte
            have = 0
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            raise OSError("the server sent another part than asked for")
        with open(partial, "ab" if have else "wb") as file:
            copy(response, file, have, partial.stem)
            file.flush()
            os.fsync(file.fileno())
        if response.length:
            raise OSError(f"the connection ended {response.length:,} bytes too early")


def copy(response, file, have, label):
    """Write what comes into `file`, showing progress in MiB where the server tells the length."""
    first = have // PIECE
    progress = Progress(first + math.ceil(response.length / PIECE), first, f"{label} (MiB)") if response.length else None
    while piece := response.read(PIECE):
        file.write(piece)
        if progress:
            progress.step()
    if progress:
        progress.close()
