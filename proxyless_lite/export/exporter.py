"""Export a found network: ONNX, PyTorch's own format, JSON and weights, each checked before it is written."""

import copy
import functools
import importlib.util
import io
import logging
import warnings
from contextlib import contextmanager
from pathlib import Path

import torch

from .. import runtime
from ..architecture import count_macs
from ..data import ImageData
from ..mixed_op import MixedOp
from .folder import FILES, INT8, check_own, standalone, written_earlier
from .int8 import calibration, compared, quantised

ONNX = "onnx", "onnxscript", "onnxruntime"  # the packages of the extra `export`
BATCHES = 1, 3    # images at once in the check
TOLERANCE = 1e-4  # of the largest logit
log = logging.getLogger(__name__)


@torch.no_grad()
def export(model: torch.nn.Module, out: str | Path, architecture=None, input_size: int | None = None, formats: tuple = tuple(FILES),
           data: ImageData | dict | None = None, opset: int | None = None, int8: bool = False):
    """Write `model`, a compact network, into folder `out`; each file is first run and compared with the model.

    * "onnx": network.onnx, from "images" (batch, 3, input_size, input_size), float32 and normalised as in training, to
      "logits" (batch, classes), for any batch; one file, standard ONNX operations only;
    * "pt2": network.pt2, the same for torch.export.load;
    * "json": architecture.json for Architecture.load, where an `architecture` is given;
    * "weights": weights.pt, a state_dict for architecture.build(), or without an `architecture` for a model built like yours.

    export.json next to them says what was checked; a line is logged for each file. `input_size` is by default the space's.

    With the `data` of the training, or what their preprocessing() returned, export.json and the metadata of network.onnx tell how
    an image file becomes an input and what the classes are called, and predict.py, with pixels.py, classifies image files without
    PyTorch. With `int8` network-int8.onnx is written too, whose ranges come from validation images; export.json compares its test
    accuracy and its time with the float file's. `opset` is that of the ONNX file, for older runtimes; by default PyTorch's.

    The model is not changed, even in training mode or on a GPU: a copy on the CPU is exported, in evaluation mode. What an earlier
    export left in the folder is replaced. Raises ValueError, before anything is written, for a model that cannot be exported or that
    the architecture does not describe, for a file that computes something else, and where a file of yours would be replaced.
    OSError for a folder that cannot be written to; ImportError for "onnx" where the packages of the extra `export` are missing.
    """
    check_arguments(model, formats, data, int8)
    images = example_images(architecture, input_size)
    runtime.check_writable(out := Path(out))
    network = copy.deepcopy(model).cpu().eval().to(memory_format=torch.contiguous_format)
    classes = classes_of(network, images)
    how = preprocessing_of(data, images.shape[-1], classes)
    described = {FILES["json"]: architecture.to_json()} if architecture is not None and "json" in formats else {}
    earlier = written_earlier(out)
    check_own(out, earlier, [*(FILES[kind] for kind in formats if kind != "json"), *[INT8] * int8, *standalone(how, formats)], described)
    made = make(network, twin_of(network, architecture, images), images, formats, opset, how)
    small, comparison = int8_of(made[FILES["onnx"]][0], data) if int8 else (None, None)

    params, macs, size = sum(p.numel() for p in network.parameters()), count_macs(network, images[:1]), images.shape[-1]
    told = {"params": params, "macs": macs, "input_size": size, "classes": classes,
            "max_difference": {file: difference for file, (_, difference) in made.items()},  # of the largest logit
            **({"preprocessing": how} if how else {}), **({"int8": comparison} if comparison else {}), **own_architecture(out, earlier, described),
            "tolerance": TOLERANCE, "batches": BATCHES, "machine": {**runtime.describe(), **onnx_versions(formats)}}
    contents = {**{file: content for file, (content, _) in made.items()}, **({INT8: small} if int8 else {}), **described, **standalone(how, formats)}
    runtime.write_all(out, {**contents, "export.json": runtime.to_json(told, indent=1)})
    for file in earlier - contents.keys():  # those of another export must never be next to it
        (out / file).unlink(missing_ok=True)
    for file, (_, difference) in made.items():
        say(out / file, f"differs from the model by {difference:.1g} of the largest logit at most")
    if described:
        say(out / FILES["json"], f"{len(architecture.choices)} operations")
    say(out / "export.json", f"{params:,} params, {macs:,} MACs, images of {size}×{size}, {classes} classes")
    if comparison:
        say(out / INT8, "; ".join(f"{name}: {of['accuracy']:.1%} of the test images, {of['ms']:.3g} ms" for name, of in comparison.items()))


def own_architecture(out, earlier, described):
    """The digest of architecture.json, for export.json, if it is written by this export and was not there before, as after a search."""
    file = FILES["json"]
    return {"architecture": runtime.digest(described[file])} if file in described and (file in earlier or not (out / file).exists()) else {}


def make(network, twin, images, formats, opset, how):
    """File name -> (its bytes, its largest difference from the network), for the files that hold weights.

    Raises ValueError for one that cannot be made, does not run, or differs by more than TOLERANCE.
    """
    traced = functools.cache(lambda: trace(network, images))  # once for two files, never for the weights alone
    makers = {"onnx": lambda: onnx_file(traced(), opset, how), "pt2": lambda: pt2_file(traced()),
              "weights": lambda: weights_file(network, twin)}
    made = {}
    for file, maker in ((FILES[kind], maker) for kind, maker in makers.items() if kind in formats):
        with attempt(f"{file} cannot be made"):
            content, run = maker()
        with attempt(f"{file} was made but does not run"):
            difference = largest_difference(run, network, images)
        if not difference <= TOLERANCE:  # NaN fails
            raise ValueError(f"{file} would differ from the model by {difference:.1g} of the largest logit, "
                             f"allowed is {TOLERANCE:g}; nothing was written")
        made[file] = content, difference
    return made


# -- what may be exported ---------------------------------------------------------------------------------------------

def check_arguments(model, formats, data, int8):
    """Raises ValueError for an unknown format, a network with open edges or int8 without data, ImportError for a missing package."""
    if not isinstance(data, (ImageData, dict, type(None))):
        raise ValueError(f"a {type(data).__name__} has no preprocessing of images; give what data.load returns, or leave data out")
    if int8 and not (isinstance(data, ImageData) and "onnx" in formats):
        raise ValueError("int8 needs the format \"onnx\", and the data of the training, whose validation images give the ranges of activations")
    if unknown := [kind for kind in formats if kind not in FILES]:
        raise ValueError(f"unknown format {unknown[0]!r}; allowed: {', '.join(FILES)}")
    missing = [name for name in ONNX if importlib.util.find_spec(name) is None]
    if "onnx" in formats and missing:
        raise ImportError(f"format 'onnx' needs {', '.join(missing)}; install proxyless_lite[export], or leave out that format")
    if edges := sum(isinstance(m, MixedOp) for m in model.modules()):
        raise ValueError(f"the model is a supernet with {edges} open edges; give what its prune() returns, "
                         f"or train what its derive() returns")


def example_images(architecture, input_size):
    """Random normalised images (3, 3, input_size, input_size). Raises ValueError where the size is missing or below 1."""
    if input_size is None and (architecture is None or architecture.space is None):
        raise ValueError("the image size of a model of your own is unknown; give input_size")
    size = architecture.space.input_size if input_size is None else input_size
    if size < 1:
        raise ValueError(f"input_size={size}: must be at least 1")
    return torch.randn(max(BATCHES), 3, size, size, generator=runtime.generator("cpu", 0))


def classes_of(network, images):
    """Number of logits for an image. Raises ValueError if the network does not take the images, or gives something else."""
    with attempt(f"the network does not take images of {tuple(images.shape[1:])}"):
        shape = tuple(network(images).shape)
    if len(shape) != 2:
        raise ValueError(f"the network gives {shape} for {len(images)} images; expected is one number per class, "
                         f"({len(images)}, classes)")
    return shape[1]


def preprocessing_of(data, size, classes):
    """How an image becomes an input, a dict; None without data. Raises ValueError for data of another network."""
    if data is None:
        return None
    how = data.preprocessing() if isinstance(data, ImageData) else data
    if (how["size"], len(how["classes"])) != (size, classes):
        raise ValueError(f"the network takes images of {size}×{size} and has {classes} classes, but the data have images of "
                         f"{how['size']}×{how['size']} and {len(how['classes'])} classes; give those of its training")
    return how


def int8_of(content, data):
    """The int8 copy of an ONNX file, and how the two compare on the test images."""
    with attempt(f"{INT8} cannot be made"):
        small = quantised(content, calibration(data))
    sessions = {"float": onnx_session(content, 1), "int8": onnx_session(small, 1)}
    return small, compared(sessions, data)


def twin_of(network, architecture, images):
    """architecture.build() with the network's weights; for a model of your own, a copy.

    Raises ValueError if they do not fit, or if the two do not compute the same: some operations have no weights.
    """
    if architecture is None or architecture.space is None:
        return copy.deepcopy(network)
    with torch.random.fork_rng(devices=[]):  # its initial weights are overwritten
        twin = architecture.build().eval()
    load_weights(twin, network.state_dict(), "the model")
    if not largest_difference(twin, network, images) <= TOLERANCE:
        raise ValueError("the model has the weights of the architecture but computes something else; "
                         "give the architecture that it was built from")
    return twin


def load_weights(model, weights, told):
    """Load a state_dict strictly. Raises ValueError naming whose weights they are and the first key that does not fit."""
    try:
        runtime.fill(model, weights, {key: key for key in model.state_dict()})
    except ValueError as error:
        raise ValueError(f"{told}: {error}; give the architecture that was trained") from None


# -- the files: each as bytes, and a function that runs them ----------------------------------------------------------

def trace(network, images):
    """The network as torch.export sees it, for any batch, without the paths of this machine in its stack traces."""
    program = torch.export.export(network, (images,), dynamic_shapes=({0: torch.export.Dim("batch")},), strict=False)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    return program


def onnx_file(program, opset, how):
    import onnx
    model = onnx.load_from_string(to_onnx(program, input_names=["images"], output_names=["logits"], dynamic_shapes=({0: "batch"},)))
    if opset is not None:
        model = converted(model, opset)
        for node in model.graph.node:  # the converter leaves an attribute that older opsets lack; 0 is what they do
            for default in [a for a in node.attribute if a.name == "noop_with_empty_axes" and not a.i]:
                node.attribute.remove(default)
        model.ir_version = min(model.ir_version, onnx.helper.find_min_ir_version_for(model.opset_import))  # older runtimes refuse newer ones
    if how:
        onnx.helper.set_model_props(model, {"preprocessing": runtime.to_json(how).decode()})
    content = model.SerializeToString()
    onnx.checker.check_model(model)
    if foreign := {used.domain for used in model.opset_import} - {"", "ai.onnx"}:
        raise ValueError(f"it needs operations from {', '.join(sorted(foreign))}, which runtimes do not know")
    session = onnx_session(content, torch.get_num_threads())
    return content, lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


def converted(model, opset):
    """An ONNX model in another opset. Raises ValueError where the network cannot be written in it."""
    import onnx.version_converter
    try:
        return onnx.version_converter.convert_version(model, opset)
    except Exception:  # RuntimeError of onnx's own, with the place in its C++ code
        own = model.opset_import[0].version
        raise ValueError(f"not all of its operations can be written in opset {opset}; allowed: up to {own}, the higher the likelier") from None


def to_onnx(model, args=(), **names):
    """A module with its arguments, or an exported program, as the bytes of an ONNX file; `names` as for torch.onnx.export."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # mostly PyTorch's own deprecations
        return torch.onnx.export(model, args, dynamo=True, verbose=False, **names).model_proto.SerializeToString()


def onnx_session(content, threads):
    """The bytes of an ONNX file, ready to run in onnxruntime on the CPU."""
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def pt2_file(program):
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    return file.getvalue(), torch.export.load(file).module()


def weights_file(network, twin):
    file = io.BytesIO()
    torch.save(network.state_dict(), file)
    file.seek(0)
    twin.load_state_dict(torch.load(file, weights_only=True))
    return file.getvalue(), twin


# -- the check --------------------------------------------------------------------------------------------------------

def largest_difference(run, network, images):
    """max |run(x) − network(x)| / max |network(x)|, the largest over the batches of the check."""
    pairs = ((run(images[:n]), network(images[:n])) for n in BATCHES)
    return torch.stack([(ours - theirs).abs().max() / theirs.abs().max().clamp_min(1e-30) for ours, theirs in pairs]).max().item()


@contextmanager
def attempt(failed):
    """A context that silences exporters and turns an error into a one-line ValueError: what failed, and the reason."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:  # exporters and runtimes raise many kinds
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise ValueError(f"{failed} ({reason})") from None
    finally:
        logging.disable(disabled)


def say(path, told):
    log.info(f"{path.name:18}{path.stat().st_size / 1e3:10,.1f} kB   {told}")


def onnx_versions(formats):
    if "onnx" not in formats:
        return {}
    import onnx
    import onnxruntime
    return {"onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__}
