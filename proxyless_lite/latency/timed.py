"""Networks by name, timed against each other, as a file: one row a network, and in the first line what was measured on what."""

import json
from pathlib import Path

import pandas as pd

from .. import zoo
from ..architecture import Architecture
from ..runtime import check_target, write_atomically
from .measure import compare


def time_networks(names, command, out=None, **how):
    """Time networks, files or of the zoo, against each other; `how` are the options of `compare`.

    Returns a DataFrame network, ms, sd, visits. With `out` it is written there as `read_timed` reads it; `command` is
    noted as what made it. Raises what `compare` and Architecture.load raise, ValueError for an unknown network, OSError
    where no file `out` can be written.
    """
    if out:
        check_target(out)
    found = compare([network_of(name) for name in names], **how)
    found.insert(0, "network", names)
    if out:
        about = {"command": command, **found.attrs}
        write_atomically(out, (f"# {json.dumps(about)}\n" + found.to_csv(index=False, float_format="%.5g")).encode())
    return found


def read_timed(path):
    """(about, table) of a file that `time_networks` wrote."""
    with open(path) as file:
        about = json.loads(file.readline()[2:])
    return about, pd.read_csv(path, comment="#")


def network_of(name):
    """What `compare` times: the Architecture in a file, or the network of the zoo called so."""
    if name in zoo.RELEASED:
        return zoo.RELEASED[name]()
    if name in zoo.BASELINES:
        return zoo.baseline(name), (3, 224, 224)
    if not Path(name).exists():
        raise ValueError(f"unknown network {name!r}; allowed: an architecture file, or {', '.join([*zoo.RELEASED, *zoo.BASELINES])}")
    return Architecture.load(name)
