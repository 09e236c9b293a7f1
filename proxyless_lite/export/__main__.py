"""Command line: python -m proxyless_lite.export --run runs/x/found --architecture runs/x/architecture.json --out exported"""

from pathlib import Path

from .. import runtime
from ..architecture import Architecture
from ..cli import OneLineParser, run
from . import FILES, export, load_weights


def parser():
    cli = OneLineParser(prog="python -m proxyless_lite.export", allow_abbrev=False,
                        description="Write a trained network as ONNX, for torch.export.load and as weights, each checked.")
    source = cli.add_mutually_exclusive_group(required=True)
    source.add_argument("--run", metavar="FOLDER", help="the folder of a training run: its checkpoint is exported")
    source.add_argument("--weights", metavar="FILE", help="a state_dict instead of a run: as torch.save writes it, or under the released names")
    cli.add_argument("--architecture", metavar="FILE", help="the trained network; default: architecture.json in the run's folder")
    cli.add_argument("--out", required=True, metavar="FOLDER", help="where to write")
    cli.add_argument("--formats", nargs="+", choices=FILES, default=list(FILES), help="what to write; default: all")
    cli.add_argument("--input-size", type=int, metavar="PIXELS", help="height and width of the images; default: the space's")
    return cli


def main(arguments=None):
    args = parser().parse_args(arguments)
    file = architecture_file(args)
    architecture = Architecture.load(file)
    model = architecture.build(args.weights)
    if args.run:
        load_weights(model, weights_of_run(Path(args.run), architecture, file), args.run)
    export(model, args.out, architecture, args.input_size, args.formats)


def architecture_file(args):
    """The file that describes the network. Raises ValueError if none is named and none is in the run's folder."""
    if args.architecture:
        return Path(args.architecture)
    if args.weights:
        raise ValueError("--weights needs --architecture, the file of the network that they belong to")
    file = Path(args.run) / FILES["json"]
    if not file.exists():
        raise ValueError(f"{args.run} holds no {file.name}; name the file of the network that was trained with --architecture")
    return file


def weights_of_run(run, architecture, file):
    """The state_dict in the checkpoint of a training run. Raises ValueError if there is none, or another network was trained."""
    saved = runtime.load_checkpoint(run / "checkpoint.pt")
    if saved is None:
        raise ValueError(f"{run} holds no checkpoint.pt; give the folder that was given to train as out")
    identity = saved["identity"]
    if identity["run"] != "Training":
        raise ValueError(f"{run} is the folder of a {identity['run']}, not of a training; train the network that it found, "
                         f"and export that")
    trained, asked = identity["network"], architecture.signature
    if ": " in trained and trained != asked:  # a module given to train is told by its class only
        raise ValueError(f"{run} trained another network than that of {file}: {trained}")
    epochs, done = identity["epochs"], saved["done"] // identity["steps an epoch"]
    if done < epochs:
        print(f"{run}: the training has not ended; these are the weights after {done} of {epochs} epochs")
    return saved["state"]["model"]


if __name__ == "__main__":
    run(main)
