"""Command line: python -m proxyless_lite.ground_truth build cifar10"""

import argparse

from ..architecture import Architecture
from ..runtime import check_target, describe, write_table
from ..runtime.cli import OneLineParser, positive, run
from . import BY_NAME, FOLDER, METHODS, build, choices, estimators, load, rank, read, rivals, seed_sd, sweep, verify
from .criteria import spreads
from .searches import CONFIG


def parser():
    cli = OneLineParser(prog="python -m proxyless_lite.ground_truth", allow_abbrev=False,
                        description="Train every network of a small space, and say how good one of them is among all.")
    commands = cli.add_subparsers(dest="command", required=True, metavar="build | verify | rank | rivals | search | choose | estimators")
    for name, told in (("build", "train what the table lacks, one row per run; run again to resume"),
                       ("verify", "can the table tell a good search from a lucky one? The criteria and their values"),
                       ("rank", "how good is a network among all of equal cost?"),
                       ("rivals", "how near the best competitors without a supernet come, by what they spend"),
                       ("search", "search by every method with every seed, one row per search; run again to resume"),
                       ("choose", "search, then choose among whole networks, for no target and for several; run again to resume"),
                       ("estimators", "bias and variance of the gradients of α, by enumerating all paths on real images")):
        command = commands.add_parser(name, help=told, description=f"{told}.", allow_abbrev=False,
                                      formatter_class=argparse.ArgumentDefaultsHelpFormatter)
        command.add_argument("setting", choices=CONFIG if name in ("search", "estimators") else BY_NAME, help="which table")
    for name in ("build", "verify", "rank", "rivals"):
        commands.choices[name].add_argument("--table", help="its file; default: the package's own")
    for name in ("build", "search", "choose"):
        commands.choices[name].add_argument("--workers", type=positive, default=2, help="single-threaded processes")
    commands.choices["rank"].add_argument("architectures", nargs="+", help="architecture files (JSON)")
    commands.choices["search"].add_argument("--methods", nargs="+", choices=METHODS, default=[*METHODS], help="how to search")
    commands.choices["search"].add_argument("--seeds", type=positive, default=20, help="searches per method, with seeds from 0 up")
    commands.choices["choose"].add_argument("--kinds", nargs="+", choices=choices.TARGETS, default=[*choices.TARGETS], help="costs of the targets")
    commands.choices["choose"].add_argument("--seeds", type=positive, default=10, help="searches per kind")
    commands.choices["choose"].add_argument("--first-seed", type=int, default=0, help="of the searches")
    commands.choices["estimators"].add_argument("--seeds", type=positive, default=3, help="searches whose weights are taken")
    commands.choices["estimators"].add_argument("--batches", type=positive, default=4, help="of 64 validation images each")
    commands.choices["rivals"].add_argument("--repetitions", type=positive, default=500, help="games of each")
    for name in ("rivals", "search", "choose", "estimators"):
        commands.choices[name].add_argument("--out", required=True, help="file to write (CSV)")
    return cli


def main(arguments=None):
    args = parser().parse_args(arguments)
    path = vars(args).get("table") or str(FOLDER / f"{args.setting}.csv")
    if args.command == "build":
        build(BY_NAME[args.setting], path, args.workers)
    elif args.command == "search":
        sweep(BY_NAME[args.setting], args.methods, args.seeds, args.out, args.workers)
    elif args.command == "choose":
        seeds = range(args.first_seed, args.first_seed + args.seeds)
        choices.sweep(BY_NAME[args.setting], args.setting, args.kinds, seeds, args.out, args.workers)
    elif args.command == "estimators":
        estimators.measure(BY_NAME[args.setting], args.out, args.seeds, args.batches)
    elif args.command == "rivals":
        check_target(args.out)
        command = f"python -m proxyless_lite.ground_truth rivals {args.setting} --repetitions {args.repetitions}"
        write_table(args.out, rivals.by_seed(load(path), read(path), args.repetitions), {"command": command, "machine": describe()}, digits=4)
    elif args.command == "verify":
        table = load(path)
        print(f"sd between seeds {seed_sd(table):.4f}\n{spreads(table).round(4).to_string(index=False)}")
        for row in verify(table).itertuples():
            print(f"{'met' if row.met else 'NOT MET'}: {row.criterion}: {row.value} (wanted: {row.wanted})")
    else:
        table = load(path)
        for file in args.architectures:
            print(f"{file}: " + told(rank(table, Architecture.load(file))))


def told(found):
    """A rank in a sentence."""
    return (f"{found['accuracy']:.2%} top-1 over {found['runs']} seeds at {found['macs']:,} MACs; {found['better']} of the "
            f"{found['networks']} networks within 5 % of that cost are better; regret {100 * found['regret']:.2f} points = "
            f"{found['regret_sd']:.1f} sd between seeds: {'in' if found['tied'] else 'not in'} a tie of {found['ties']} at the top")


if __name__ == "__main__":
    run(main)
