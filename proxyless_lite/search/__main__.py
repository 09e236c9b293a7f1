"""Command line: python -m proxyless_lite.search --preset quick --data digits --out runs/x"""

import argparse
from dataclasses import fields, replace
from pathlib import Path

from .. import data, latency, objective, presets, rules, runtime
from ..config import ChoiceConfig, SearchConfig
from ..limits import Limits
from ..runtime.cli import OneLineParser, run
from . import forecast
from .fitting import CHOICES
from .outcome import keep_limit, report, report_front
from .search import Search


def parser():
    cli = OneLineParser(
        allow_abbrev=False, prog="python -m proxyless_lite.search", formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        description="Search a space of the paper and write the found network: the tree of §4.1 as notebook 03 does, or the ImageNet space "
                    "of §4.2 as notebook 06 does. Run again with the same --out to resume. Use torchrun for several GPUs.")
    cli.add_argument("--space", default="tree", choices=forecast.ALL, help="tree has no cost penalty by default; mobile penalises MACs")
    cli.add_argument("--preset", default="quick", help=f"one of {', '.join(presets.PRESETS)}")
    cli.add_argument("--data", default="digits", help="digits, cifar10, imagenet, or a folder with train/ and test/, perhaps val/, or with the classes alone")
    cli.add_argument("--out", help="run folder: checkpoint, history.csv, architecture.json")
    cli.add_argument("--rule", default="two_path", choices=rules.BY_NAME, help="how α moves")
    choice = cli.add_argument_group("choose among whole networks in the end")
    choice.add_argument("--choose", default="alpha", choices=CHOICES, help="alpha: the most probable network, as the paper does; shared: the best "
                        "expected one after short trainings of some; trained: of those, the best by a few full trainings")
    choice.add_argument("--targets", type=numbers, help="several costs, as 10,15,20: one search, for each a network that costs so much at most; needs --costs")
    choice.add_argument("--limit", action="append", default=[], metavar="COST<=NUMBER",
                        help="the found network keeps this: latency (of the table in --costs), macs, params, or memory (bytes alive at once "
                        "on one image); may be given several times")
    choice.add_argument("--verify", action="store_true",
                        help="measure the found network here; if it breaks the limit on latency, take the next cheaper one that keeps it. With a "
                        "table of another device, write up to four cheaper ones too, to be measured there")
    cost = cli.add_argument_group("add a cost penalty (§3.3)")
    cost.add_argument("--costs", help="a latency table (what proxyless_lite.latency measure wrote), or macs, or params")
    cost.add_argument("--weight", type=float, help="of the cost in the loss; needed by --space tree with --costs and rules that use gradients, except with --limit or --targets")
    cost.add_argument("--target", type=float, help="the target cost; default: for mobile the --limit on latency, else the preset's; for tree none, "
                                                   "but needed by --form add#linear, abs#linear, mul#log and by reinforce")
    cost.add_argument("--form", choices=objective.LatencyPenalty.FORMS, help="of the loss; by default that of the preset, for tree linear, Eq. 7")
    images = cli.add_argument_group("images")
    images.add_argument("--valid", type=float, help="share of the training images on which α learns; default 0.1, digits 0.25, or all of val/")
    images.add_argument("--split", type=float, help="share of the images for testing, for a folder without test/ and val/; default 0.2")
    images.add_argument("--image-size", type=int, help="resize the images; default: that of the preset, for tree the size of the first")
    images.add_argument("--no-flip", action="store_true", help="do not mirror training images: where left and right differ, as in letters")
    images.add_argument("--crop", type=int, help="random-resized crops of this size, as for ImageNet")
    images.add_argument("--workers", type=int, help="read images in this many processes instead of keeping all in memory")
    images.add_argument("--pack", help="decode all images once into this folder on a fast disk, and read them from there")
    machine = cli.add_argument_group("machine")
    machine.add_argument("--device", help="cpu, cuda or cuda:N; default: CUDA if available")
    machine.add_argument("--precision", default="float32", choices=(*runtime.PRECISIONS, "auto"), help="of weight steps: bfloat16 for devices that compute in it, float16 for older GPUs")
    machine.add_argument("--grad-accumulation", type=int, default=1, help="cut each batch into this many parts, for less memory")
    machine.add_argument("--activation-checkpointing", action="store_true",
                         help="keep only the input of each edge and recompute its path in backward: less memory, more time")
    machine.add_argument("--compile", action="store_true", help="compile every candidate; the first steps take minutes")
    machine.add_argument("--sync-batch-norm", action="store_true", help="batch norm over the images of all ranks")
    cli.add_argument("--forecast", action="store_true", help="only say how long every preset would take here, and how much memory")
    settings = cli.add_argument_group("override a setting of the preset", f"Behind each its values in {', '.join(presets.PRESETS)}. "
                                      "images: use at most this many training images; None: all of them.")
    for name, kind in (("blocks", int), ("width", float), ("images", int), *((f.name, f.type) for f in fields(SearchConfig))):
        settings.add_argument(f"--{name.replace('_', '-')}", type=kind, default=argparse.SUPPRESS, help=of_presets(name))
    return cli


def of_presets(name):
    """The values of a setting in all presets, for example "tree 16, 8, 200; mobile 6, 12, 120"."""
    values = {space: [str(getattr(one, name, getattr(one.search, name, ""))) for one in made.values()]
              for space, made in forecast.ALL.items()}
    return "; ".join(f"{space} {', '.join(each)}" for space, each in values.items() if any(each))


def main(arguments=None):
    args = vars(parser().parse_args(arguments))
    engine = runtime.engine(args["device"], args["precision"], args["grad_accumulation"], args["compile"], args["sync_batch_norm"],
                            args["activation_checkpointing"])
    search(args, engine)
    engine.close()  # not after an error: the other ranks must notice it


def search(args, engine):
    """What the command line asks for, on this rank; the first one writes files and prints."""
    say = print if engine.is_main else lambda *_, **__: None
    if args["forecast"]:
        refuse_unused(args)
        say(forecast.forecast(forecast.ALL[args["space"]], engine, say=say).round(3).to_string())
        return say(f"GPU-hours: hours × ranks on {engine.device}; the paper names {forecast.PAPER_GPU_HOURS} for ImageNet, on V100")
    if args["out"] is None:
        raise ValueError("no run folder given; add --out runs/x")
    found, costs = prepared(args, engine)
    expected = found.forecast(targets=len(args["targets"] or [1]))
    say(f"{found.data}\n{found.net.space}: {len(found.net.space.edges())} decisions\n"
        f"forecast: {runtime.clock(3600 * expected['hours'])} on {engine.world_size} × {engine.device}, {expected['memory']:,.0f} MB, "
        f"{expected['images_per_second']:,.0f} images/s a weight step, the loader alone {expected['loader_images_per_second']:,.0f}")
    if args["targets"]:
        networks, candidates = found.front(costs, args["targets"])
        return report_front(networks, costs, args["targets"], candidates, Path(args["out"])) if engine.is_main else None
    result = found.run()
    if engine.is_main:
        network = keep_limit(found, result.architecture, latency_table(args), Path(args["out"])) if args["verify"] else result.architecture
        report(found, replace(result, architecture=network), Path(args["out"]), args["costs"])


def refuse_unused(args):
    """Raises ValueError for options that change nothing in a --forecast."""
    usual = vars(parser().parse_args([]))
    used = {"forecast", "space", "device", "precision", "grad_accumulation", "compile", "sync_batch_norm", "activation_checkpointing"}
    if unused := [f"--{name.replace('_', '-')}" for name, value in args.items() if name not in used and (name not in usual or value != usual[name])]:
        raise ValueError(f"--forecast times all presets of --space as they are; leave out {', '.join(unused)}, or start the search, which prints its own forecast")


def prepared(args, engine):
    """The Search, and the Costs of --targets or None. What cannot work raises here, before anything long."""
    experiment = experiment_of(args)
    config = presets.for_reinforce(experiment.search, args["space"]) if args["rule"] == "reinforce" else experiment.search
    config = replace(config, **{f.name: args[f.name] for f in fields(SearchConfig) if f.name in args})
    sets = images_of(args, experiment, config.seed, engine)
    space = experiment.space(len(sets.classes), sets.shape[1])
    limits = limits_of(args, space)
    if args["verify"] and latency.is_of_this_machine(table := latency_table(args)):
        latency.clocks.clock_of(table.metadata["device"])  # a runtime that is missing is told now
    choice = ChoiceConfig(train=replace(experiment.train, seed=config.seed))
    found = Search(space, sets, rules.BY_NAME[args["rule"]](), config, args["out"], engine, objective_of(args, experiment, space),
                   choose=args["choose"], choice=choice, limits=limits)
    costs = objective.costs(space, source_of(args)) if args["targets"] else None
    if args["targets"]:
        found.goals(costs, args["targets"])
    elif args["target"] is not None or not limits:
        found.net.derive(found.cost_objective)
    return found, costs


def images_of(args, experiment, seed, engine):
    """The images that --data and its options name."""
    named = args["data"]
    if named == "digits" and args["space"] == "mobile":  # as notebook 06 does
        named = engine.from_first(lambda: data.digits_as_images(Path(args["out"]) / "digits"))
    elif named == "digits" and args["image_size"]:
        raise ValueError("--image-size does nothing here: the digits stay 8×8; leave it out, or search --space mobile")
    return data.load(named, limit=experiment.images, image_size=args["image_size"] or getattr(experiment, "image_size", None),
                     crop=args["crop"], workers=args["workers"], pack=args["pack"], seed=seed, valid=args["valid"], split=args["split"],
                     flip=False if args["no_flip"] else None)


def experiment_of(args):
    """The preset with the command line's overrides. Raises ValueError for a setting that its space does not have."""
    presets.experiment(args["preset"])  # its name
    experiment = forecast.ALL[args["space"]][args["preset"]]
    given = {name: args[name] for name in ("blocks", "width", "images") if name in args}
    if args["space"] == "mobile" and "blocks" in given:
        raise ValueError("--blocks belongs to --space tree; the mobile space has 21 blocks")
    if args["space"] == "tree" and "width" in given:
        if not given["width"].is_integer():
            raise ValueError(f"--width {given['width']}: the tree space counts channels; give a whole number")
        given["width"] = int(given["width"])
    return replace(experiment, **given)


def objective_of(args, experiment, space):
    """The objective that the command line asks for: for the tree None without --costs, for mobile that of its preset."""
    mobile = isinstance(experiment, presets.MobileExperiment)
    given = [f"--{name}" for name in ("weight", "form", "target") if args[name] is not None]
    if args["targets"]:
        if args["costs"] is None:
            raise ValueError("--targets needs --costs: a latency table, macs or params")
        if given:
            raise ValueError(f"--targets are for the choice in the end, {given[0]} is for the search; leave one of them out")
        return None
    if args["limit"] and not given and not mobile:
        return None  # --costs is for the limit
    if args["costs"] is None and not mobile:
        if given:
            raise ValueError(f"{given[0]} needs --costs: a latency table, macs or params")
        return None
    if args["rule"] == "reinforce" and {*given} - {"--target"}:
        raise ValueError("--weight and --form belong to a loss, and reinforce has a reward instead; leave them out")
    source = source_of(args)
    if mobile:
        experiment = replace(experiment, **{k: args[k] for k in ("weight", "form") if args[k] is not None})
        limit = latency_limit(args)
        if limit and limit >= objective.costs(space, source).bounds()[1]:
            limit = None  # every network keeps it
        penalty = experiment.objective(space, source, args["target"] or limit)
        target = penalty.target
    else:
        if args["weight"] is None and args["rule"] != "reinforce":
            raise ValueError(f"--costs with rule {args['rule']} needs --weight, the weight of the cost in the loss")
        costs, target = objective.costs(space, source), args["target"]
        penalty = objective.LatencyPenalty(costs, args["weight"] or 0.0, target, args["form"] or "linear")
    if args["rule"] in ("reinforce", "combined"):
        reward = objective.Reward(penalty.costs, target)
        return reward if args["rule"] == "reinforce" else (penalty, reward)
    return penalty


def latency_limit(args):
    """The lowest --limit on latency, or None."""
    return min((number for name, number in map(limit_of, args["limit"]) if name == "latency"), default=None)


def limit_of(text):
    """Name and number of a --limit. Raises ValueError for one that is not known."""
    name, _, most = text.partition("<=")
    try:
        number = float(most)
    except ValueError:
        raise ValueError(f"--limit {text!r}: give a cost and a number, such as \"memory<=2e6\"") from None
    if (name := name.strip()) not in ("latency", "macs", "params", "memory"):
        raise ValueError(f"--limit {text!r}: {name!r} is none of latency, macs, params, memory")
    return name, number


def limits_of(args, space):
    """The Limits that the command line asks for, or None. Raises ValueError for a limit on latency without a latency table."""
    limits = []
    for text in args["limit"]:
        name, number = limit_of(text)
        if name == "latency" and args["costs"] in (None, "macs", "params"):
            raise ValueError(f"--limit {text!r} needs --costs with a latency table")
        limits.append((objective.costs(space, source_of(args) if name == "latency" else name), number))
    return Limits(limits) if limits else None


def latency_table(args):
    """The table in --costs, for --verify. Raises ValueError without one, without a limit on latency, and for several targets."""
    if args["targets"]:
        raise ValueError("--verify is for one network, --targets for several; leave one of them out")
    if latency_limit(args) is None:
        raise ValueError("--verify needs a limit to be verified: --costs with a latency table, and --limit \"latency<=8\"")
    return latency.Table.load(args["costs"])


def source_of(args):
    """What costs are read from: "macs", "params" or a latency table."""
    source = args["costs"] or "macs"
    return source if source in ("macs", "params") else latency.Table.load(source)


def numbers(text):
    """The numbers in a text such as 10,15,20."""
    return [float(each) for each in text.split(",")]


def cli():
    """The command: errors end in one line."""
    run(main)


if __name__ == "__main__":
    cli()
