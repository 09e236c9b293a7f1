"""Networks by name, timed against each other, as a file: one row per network; its metadata say how they were measured."""

from pathlib import Path

from .. import zoo
from ..architecture import Architecture
from ..runtime import check_target, write_table
from .measure import compare


def time_networks(names, command, out=None, **how):
    """Time networks, from files or the zoo, against each other; `how` are the options of `compare`.

    Returns a DataFrame network, ms, sd, visits. With `out` it is written there, for runtime.read_table; `command` is recorded
    as its origin. Raises what `compare` and Architecture.load raise, ValueError for an unknown network, OSError where no
    file `out` can be written.
    """
    if out:
        check_target(out)
    found = compare([network_of(name) for name in names], **how)
    found.insert(0, "network", names)
    if out:
        write_table(out, found, {"command": command, **found.attrs}, digits=5)
    return found


def network_of(name):
    """What `compare` times: the Architecture in a file, or the network of the zoo with this name."""
    if name in zoo.RELEASED:
        return zoo.RELEASED[name]()
    if name in zoo.BASELINES:
        return zoo.baseline(name), (3, 224, 224)
    if not Path(name).exists():
        raise ValueError(f"unknown network {name!r}; allowed: an architecture file, or {', '.join([*zoo.RELEASED, *zoo.BASELINES])}")
    return Architecture.load(name)
