"""Command line: python -m proxyless_lite.search --preset quick --data digits --out runs/x"""

import argparse
import os
import sys
from dataclasses import fields, replace
from pathlib import Path

import torch

from .. import data, latency, objective, presets, rules, runtime, spaces
from ..cli import OneLineParser, one_line
from ..supernet import SuperNet
from . import Search


def parser():
    cli = OneLineParser(
        allow_abbrev=False, prog="python -m proxyless_lite.search", formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        description="Search the tree space of §4.1 and write the found network. Run again with the same --out to resume.")
    cli.add_argument("--preset", default="quick", help=f"one of {', '.join(presets.PRESETS)}")
    cli.add_argument("--data", default="digits", help="digits, cifar10, or a folder with train/ and test/")
    cli.add_argument("--out", required=True, help="run folder: checkpoint, history.csv, architecture.json")
    cli.add_argument("--rule", default="two_path", choices=rules.BY_NAME, help="how α moves")
    cost = cli.add_argument_group("listen to a cost as well (§3.3)")
    cost.add_argument("--costs", help="a latency table (what proxyless_lite.latency measure wrote), or macs, or params")
    cost.add_argument("--weight", type=float, help="of the cost in the loss; needed with --costs by rules that use gradients")
    cost.add_argument("--target", type=float, help="the cost to aim at; needed by --form add#linear, abs#linear, mul#log and by reinforce")
    cost.add_argument("--form", default="linear", choices=objective.LatencyPenalty.FORMS, help="of the loss; linear is Eq. 7")
    cli.add_argument("--image-size", type=int, help="resize the images of a folder; default: the size of the first")
    cli.add_argument("--device", help="cpu or cuda; default: CUDA if there is")
    cli.add_argument("--forecast", action="store_true", help="only say how long it would take and how much memory")
    settings = cli.add_argument_group("override a setting of the preset")
    for name in ("blocks", "width", "images"):
        settings.add_argument(f"--{name}", type=int, default=argparse.SUPPRESS, help=" ")
    for field in fields(presets.SearchConfig):
        settings.add_argument(f"--{field.name.replace('_', '-')}", type=field.type, default=argparse.SUPPRESS, help=" ")
    return cli


def main(arguments=None):
    args = vars(parser().parse_args(arguments))
    experiment = presets.experiment(args["preset"])
    experiment = replace(experiment, **{k: args[k] for k in ("blocks", "width", "images") if k in args})
    config = replace(experiment.search, **{f.name: args[f.name] for f in fields(presets.SearchConfig) if f.name in args})
    if args["rule"] == "reinforce" and "alpha_lr" not in args:
        config = replace(config, alpha_lr=0.01 / 0.006 * config.alpha_lr)  # §4.1: 0.01 where the gradient rule has 0.006
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise ValueError("several processes were started, but the search runs in one; start it without torchrun")
    device = runtime.device(args["device"])
    sets = data.load(args["data"], limit=experiment.images, image_size=args["image_size"], seed=config.seed)
    torch.manual_seed(config.seed)
    space = spaces.tree(experiment.blocks, experiment.width, len(sets.classes), sets.shape[1])
    aim = aim_of(args, space)
    search = Search(SuperNet(space), sets, rules.BY_NAME[args["rule"]](), config, args["out"], device, aim)
    print(f"{sets}\n{space}: {len(space.edges())} decisions")
    forecast = search.forecast()
    print(f"forecast: {runtime.clock(3600 * forecast['hours'])}, {forecast['memory']:,.0f} MB on {device}")
    if args["forecast"]:
        return
    result = search.run()
    out = Path(args["out"])
    result.architecture.save(out / "architecture.json")
    result.history.drop(columns="probabilities").to_csv(out / "history.csv", index=False)
    print(f"\n{result.architecture}\n{result.architecture.params():,} params, {result.architecture.macs():,} MACs, "
          f"searched in {runtime.clock(result.seconds)}; written to {out / 'architecture.json'}")
    if search.costs:
        print(f"cost {search.costs.of(result.architecture):.4g} {search.costs.unit}, by {args['costs']}")


def aim_of(args, space):
    """The objective that the command line asks for, None without --costs."""
    if args["costs"] is None:
        if args["weight"] is not None or args["target"] is not None:
            raise ValueError("--weight and --target need --costs: a latency table, macs or params")
        return None
    source = args["costs"] if args["costs"] in ("macs", "params") else latency.Table.load(args["costs"])
    costs = objective.costs(space, source)
    if args["rule"] == "reinforce":
        return objective.Reward(costs, args["target"])
    if args["weight"] is None:
        raise ValueError(f"--costs with rule {args['rule']} needs --weight, the weight of the cost in the loss")
    penalty = objective.LatencyPenalty(costs, args["weight"], args["target"], args["form"])
    return (penalty, objective.Reward(costs, args["target"])) if args["rule"] == "combined" else penalty


if __name__ == "__main__":
    try:
        main()
    except (ValueError, KeyError, OSError, FloatingPointError) as error:
        sys.exit(one_line(error))
    except runtime.Stopped as stop:
        print(stop, file=sys.stderr)
        raise
