"""Command line: python -m proxyless_lite.latency measure --space mobile --device cpu --out t.csv"""

import argparse
import inspect
import json
import shlex
import sys
from pathlib import Path
from typing import get_args

from .. import spaces, zoo
from ..architecture import Architecture
from ..runtime import read_table
from ..runtime.cli import OneLineParser, run
from . import Model, Table, Timings, measure, networks, time_networks
from . import kit as kits
from .convert import FORMATS
from .rounds import visits_path
from .run import RUNTIMES
from .timed import network_of


def parser():
    cli = OneLineParser(prog="python -m proxyless_lite.latency", allow_abbrev=False,
                        description="Measure the latency of a space on this machine, and predict the latency of networks.")
    commands = cli.add_subparsers(dest="command", required=True, metavar="measure | networks | time | predict | kit | import")
    for name, told in (("measure", "time every distinct candidate block of a space: a latency table"),
                       ("networks", "time random whole networks of a space: data for a latency model"),
                       ("time", "time given networks against each other")):
        again = "" if name == "time" else ". Run again with the same --out to resume"
        command = commands.add_parser(name, help=told, description=f"{told.capitalize()}{again}.",
                                      formatter_class=argparse.ArgumentDefaultsHelpFormatter, allow_abbrev=False)
        command.add_argument("--device", default="cpu", help=f"cpu or cuda (PyTorch), or the converted network on the CPU: {', '.join(RUNTIMES)}")
        command.add_argument("--threads", type=int, default=1, help="CPU threads")
        command.add_argument("--batch", type=int, help="batch size; default: 1 on a CPU, 8 on a GPU")
        command.add_argument("--rounds", type=int, default=8 if name == "networks" else 40, help="at most this many visits of each")
        command.add_argument("--seed", type=int, default=0, help="of the order of visits, and of random networks")
        if name == "time":
            command.add_argument("networks", nargs="+",
                                 help=f"architecture files (JSON), or names: {', '.join([*zoo.RELEASED, *zoo.BASELINES])}")
            command.add_argument("--out", help="CSV to write: one row per network, with how it was measured")
            continue
        add_space(command, "mobile")
        command.add_argument("--out", required=True, help="CSV to write; every single visit is kept next to it")
    for name in ("measure", "time"):
        commands.choices[name].add_argument("--precision", type=float, default=0.01,
                                            help="stop visiting a block or network when its relative standard error is below this")
    commands.choices["networks"].add_argument("--count", type=int, default=5000, help="how many networks")
    predict = commands.add_parser("predict", help="predict networks from a table or from timings", allow_abbrev=False,
                                  description="Fit the model to a table or to timings of networks, and predict.")
    predict.add_argument("--data", required=True, help="what measure or networks wrote, or a released .yaml")
    predict.add_argument("networks", nargs="+", help="architecture files (JSON)")
    kit = commands.add_parser("kit", help="a folder that times a space or given networks on another device", allow_abbrev=False,
                              description="Write a folder for another device: networks as files, run.py (Python and a runtime), bench.sh (no Python).")
    add_space(kit, None)
    kit.add_argument("--networks", nargs="*", default=[], help="also these, or these alone: architecture files, or released networks of the zoo")
    kit.add_argument("--formats", nargs="+", default=["onnx"], metavar="FORMAT", help=f"of {', '.join(FORMATS)}; default: onnx")
    kit.add_argument("--seed", type=int, default=0, help="of weights and random networks")
    kit.add_argument("--out", required=True, help="folder to write")
    back = commands.add_parser("import", help="a latency table from what a kit measured", allow_abbrev=False,
                               description="Read the results of a kit: a latency table, and the times of whole networks.")
    back.add_argument("results", help="the CSV that run.py or bench.sh wrote")
    back.add_argument("--kit", required=True, help="the folder that was copied to the device")
    back.add_argument("--out", help="latency table to write (CSV)")
    back.add_argument("--limit", type=float, help="ms: say which is the first of the kit's --networks that takes at most this; else an error")
    return cli


def add_space(command, default):
    command.add_argument("--space", default=default, choices=spaces.BY_NAME)
    command.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE",
                         help="settings of the space, for example width=1.4 (mobile), blocks=1 (tree), input_size=32, or a list in JSON, "
                         "'entry=[\"conv 3x3\", \"MB3 3x3\"]' (staged); else its own")


def main(arguments=None):
    args = vars(parser().parse_args(arguments))
    if args["command"] in ("predict", "kit", "import"):
        return {"predict": predict, "kit": make_kit, "import": import_results}[args["command"]](args)
    how = {name: args[name] for name in ("device", "threads", "batch", "rounds", "seed")}
    if args["command"] == "time":
        command = f"python -m proxyless_lite.latency {shlex.join(sys.argv[1:])}"
        for row in time_networks(args["networks"], command, args["out"], precision=args["precision"], **how).itertuples():
            print(f"{row.network}: {row.ms:.4g} ms, sd {row.sd:.2g} between {row.visits} visits (measured)")
        return
    space = space_of(args["space"], args["set"])
    if args["command"] == "measure":
        table = measure(space, precision=args["precision"], out=args["out"], **how)
        print(f"{table}\nwritten to {args['out']}")
    else:
        timings = networks(space, args["count"], out=args["out"], **how)
        print(f"written to {args['out']}")
        try:
            report = Model().fit(timings.architectures, timings.repeats()).report()
            print("\n".join(f"{name:16s} {value:.4g}" for name, value in report.items()))
        except ValueError as error:
            print(f"no model fitted: {error}")


def space_of(name, settings):
    """The space with settings such as "width=1.4". Raises ValueError for one that it does not have."""
    make = spaces.BY_NAME[name]
    kinds = {p.name: numeric(p.annotation) for p in inspect.signature(make).parameters.values() if not callable(p.default)}
    given = {}
    for setting in settings:
        key, _, value = setting.partition("=")
        if key not in kinds:
            raise ValueError(f"the {name} space has no setting {key!r}; allowed: {', '.join(kinds)}")
        if kind := kinds[key]:
            try:
                given[key] = kind(value)
            except ValueError:
                raise ValueError(f"--set {setting}: {value!r} is not a valid {kind.__name__}") from None
        else:
            given[key] = listed(value, str if key in ("entry", "candidates") else int, setting)
    return make(**given)


def numeric(annotation):
    """The kind of number that a parameter takes, int or float; None for a list."""
    return next((kind for kind in get_args(annotation) or [annotation] if kind in (int, float)), None)


def listed(text, kind, setting):
    """A list in JSON of names or of whole numbers; one name may stand alone. Raises ValueError for anything else."""
    all_are = lambda value: all(map(all_are, value)) if isinstance(value, list) else type(value) is kind  # noqa: E731
    try:
        value = json.loads(text)
    except ValueError:
        value = [text] if kind is str and "[" not in text else None
    if not isinstance(value, list) or not all_are(value):
        raise ValueError(f"--set {setting}: give a list in JSON of {'names' if kind is str else 'whole numbers'}")
    return value


def predict(args):
    """Print one line per network: predicted ms ± one standard deviation."""
    path = Path(args["data"])
    if path.suffix == ".csv" and visits_path(path).exists() and "choices" in read_table(path):
        timings = Timings.load(path)
        model, told = Model().fit(timings.architectures, timings.repeats()), "prediction"
    else:
        table = Table.load(path)
        model, told = Model().fit(table), f"prediction from blocks {'and whole networks' if 'factor' in table.metadata else 'timed alone'}"
    for file in args["networks"]:
        network = Architecture.load(file)
        print(f"{file}: {model.predict(network):.4g} ± {model.uncertainty(network):.2g} ms ({told})")


def make_kit(args):
    space = args["space"] and space_of(args["space"], args["set"])
    networks = [(name, network_of(name)) for name in args["networks"]]
    if baselines := [name for name, network in networks if not isinstance(network, Architecture)]:
        raise ValueError(f"{baselines[0]} is no network of a space; a kit takes architecture files and {', '.join(zoo.RELEASED)}")
    size = kits.make(args["out"], space, networks, args["formats"], args["seed"])
    print(f"{args['out']}: {size / 1e6:.0f} MB. Copy it to the device and run there: python run.py, or sh bench.sh")


def import_results(args):
    if args["out"] and Path(args["out"]).resolve() == Path(args["results"]).resolve():
        raise ValueError(f"--out {args['out']} is the file of results, and would be replaced; give another one")
    found = kits.results(args["results"], args["kit"])
    print(found.networks.drop(columns="sd").to_string(float_format="%.4g"))
    if found.unfinished:
        print(f"not finished: {found.unfinished} of the kit's networks have fewer visits than asked for; run it again on the device to go on")
    if found.uncertain:
        print(f"{found.uncertain} of the kit's networks are not certain to {100 * found.networks.attrs.get('precision', 0.01):g} %; more rounds make them so")
    if found.table is not None and args["out"]:
        found.table.save(args["out"])
        print(f"{found.table}\nwritten to {args['out']}: proxyless-search --costs {args['out']}")
    elif args["out"]:
        raise ValueError(f"--out {args['out']}: this kit has networks alone, of which no table can be made; leave out --out")
    if args["limit"] is not None:
        given = found.networks.loc[[name for name in found.networks.index if name not in kits.OWN]]
        within = given[given.ms <= args["limit"]]
        if given.empty:
            raise ValueError("--limit is for a kit of your own networks, made with --networks; this one has none")
        if within.empty:
            raise ValueError(f"none of {len(given)} networks takes at most {args['limit']} ms here; the fastest takes {given.ms.min():.4g} ms")
        print(f"first within {args['limit']} ms: {within.index[0]}, {within.ms.iloc[0]:.4g} ms")


def cli():
    """The command: errors end in one line."""
    run(main)


if __name__ == "__main__":
    cli()
