"""Command line: python -m proxyless_lite.export --run runs/x/found --out exported"""

import logging
from pathlib import Path

from .. import data, runtime, zoo
from ..architecture import Architecture
from ..runtime.cli import OneLineParser, run
from . import FILES, export, load_weights

log = logging.getLogger("proxyless_lite.export")


def parser():
    line = OneLineParser(prog="python -m proxyless_lite.export", allow_abbrev=False,
                         description="Write a trained network as ONNX, for torch.export.load and as weights, each checked.")
    source = line.add_mutually_exclusive_group(required=True)
    source.add_argument("--run", metavar="FOLDER", help="the folder of a training run: its checkpoint is exported")
    source.add_argument("--weights", metavar="FILE",
                        help="a state_dict instead of a run: as torch.save writes it, or under the released names")
    line.add_argument("--architecture", metavar="FILE", help="the trained network; default: architecture.json in the run's folder")
    line.add_argument("--out", required=True, metavar="FOLDER", help="where to write")
    line.add_argument("--formats", nargs="+", choices=FILES, default=list(FILES), help="what to write; default: all")
    line.add_argument("--opset", type=int, help="of the ONNX file, for older runtimes: 17 is read by onnxruntime 1.14")
    line.add_argument("--int8", action="store_true",
                      help="also network-int8.onnx, with ranges from the validation images of the run's data, and how the two compare")
    line.add_argument("--data", help="for --int8: the data where they are now, if not where the run had them; or for --weights")
    line.add_argument("--input-size", type=int, metavar="PIXELS", help="height and width of the images; default: the space's")
    return line


def main(arguments=None):
    args = parser().parse_args(arguments)
    if args.weights and Path(args.weights).resolve().parent == Path(args.out).resolve():
        raise ValueError(f"--weights {args.weights} is in the folder --out, whose files are replaced; give another one")
    file = architecture_file(args)
    architecture = Architecture.load(file)
    model, how, loaded = architecture.build(), None, {}
    if args.run:
        state = state_of_run(Path(args.run), architecture, file)
        load_weights(model, state["model"], args.run)
        how, loaded = state.get("preprocessing"), state.get("loaded") or {}
    else:
        runtime.load_weights(model, args.weights, names=zoo.weights.released_names(model))
    size = how["size"] if how and args.input_size is None else args.input_size  # the training may have had other images than the space
    if how and args.input_size:
        how |= {"size": args.input_size, "resize": round(how["resize"] * args.input_size / how["size"])}
    if args.int8:
        how = data.load(**data_of(args, loaded, size or architecture.space.input_size))
    export(model, args.out, architecture, size, args.formats, how, args.opset, args.int8)


def data_of(args, loaded, size):
    """The arguments of data.load for --int8; without a run, images of `size` pixels. Raises ValueError where nothing says which data."""
    if not loaded and not args.data:
        raise ValueError("--int8 needs the data of the training, which the run does not name; add --data")
    return {**(loaded or {"image_size": size}), **({"name": args.data} if args.data else {})}


def architecture_file(args):
    """The file that describes the network. Raises ValueError if none is given or in the run's folder."""
    if args.architecture:
        return Path(args.architecture)
    if args.weights:
        raise ValueError("--weights needs --architecture, the file of the network that they belong to")
    file = Path(args.run) / FILES["json"]
    if not file.exists():
        raise ValueError(f"{args.run} holds no {file.name}; give the file of the trained network with --architecture")
    return file


def state_of_run(run, architecture, file):
    """What the checkpoint of a training run holds: `model`, a state_dict, and of images how they were prepared. Raises ValueError if there is none, or another network was trained."""
    saved = runtime.load_checkpoint(run / "checkpoint.pt")
    if saved is None:
        raise ValueError(f"{run} holds no checkpoint.pt; give the folder that train wrote to (its out)")
    identity = saved["identity"]
    if identity["run"] != "Training":
        raise ValueError(f"{run} is the folder of a {identity['run']}, not of a training; train the network that it found, "
                         f"and export that")
    trained, asked = identity["network"], architecture.signature
    if ": " in trained and trained != asked:  # a module given to train is identified by its class only
        raise ValueError(f"{run} trained a different network than {file}: {trained}")
    epochs, done = identity["epochs"], saved["done"] // identity["steps an epoch"]
    if done < epochs:
        log.warning(f"{run}: the training has not ended; these are the weights after {done} of {epochs} epochs")
    return saved["state"]


def cli():
    """The command: errors end in one line."""
    run(main)


if __name__ == "__main__":
    cli()
