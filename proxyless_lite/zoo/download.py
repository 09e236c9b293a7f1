"""Download a file by torch.hub: it is complete or absent, and every failure is one line."""

import os
import sys
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import hub


def fetch(url, path, sha256=None, check=lambda path: None):
    """Download `url` to `path` and return the path. The file appears there once it is complete.

    torch.hub compares its SHA-256 with `sha256`. A file without a published sum may be truncated: `check` is called
    with its path and raises ValueError if the file is no good. Raises FileNotFoundError in one line when the download fails.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=path.parent) as folder:
            received = Path(folder, path.name)
            hub.download_url_to_file(url, str(received), sha256, progress=sys.stderr.isatty())
            check(received)
            os.replace(received, path)
    except (OSError, HTTPException, RuntimeError, ValueError) as error:
        raise FileNotFoundError(f"{path} is missing and could not be downloaded from {url} ({error}); put it there") from None
    return path
