"""A statically quantised copy of an ONNX file: 8-bit weights and activations, their ranges from validation images."""

import logging
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

IMAGES = 320  # for calibration
ROUNDS = 100  # of timing


def quantised(content, feeds):
    """The bytes of an ONNX file in int8, from those of a float one and inputs {name: array}, from which activations take their ranges.

    Weights have a scale per channel, and seven bits: of eight, x86 processors without VNNI instructions add two products in 16 bits,
    which overflow, and the network would compute something else there.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process
    with tempfile.TemporaryDirectory() as folder:
        source, ready, made = (Path(folder) / name for name in ("source.onnx", "ready.onnx", "int8.onnx"))
        source.write_bytes(content)
        disabled = logging.root.manager.disable
        logging.disable(logging.WARNING)  # advice to do what the next line does
        try:
            quant_pre_process(source, ready, skip_symbolic_shape=True)
            quantize_static(ready, made, Reader(feeds), quant_format=QuantFormat.QDQ, per_channel=True,
                            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, reduce_range=True)
        finally:
            logging.disable(disabled)
        return without_unused(made.read_bytes())


def without_unused(content):
    """The bytes of an ONNX file without the operation sets that it only names: older runtimes refuse those that they do not know."""
    import onnx
    model = onnx.load_from_string(content)
    used = {node.domain for node in model.graph.node}
    for entry in [entry for entry in model.opset_import if entry.domain not in used | {""}]:
        model.opset_import.remove(entry)
    return model.SerializeToString()


def calibration(data):
    """Validation images of `data`, of all classes, for `quantised`. Raises ValueError where there are none."""
    if not len(data.valid):
        raise ValueError(f"{data.name} has no validation images, from which int8 takes the ranges of activations")
    some = np.linspace(0, len(data.valid) - 1, min(IMAGES, len(data.valid))).round().astype(int)  # they come in order of classes
    return ({"images": images.cpu().contiguous().numpy()} for images, _ in data.eval_batches(data.valid[some], 32))


class Reader:
    """Inputs as onnxruntime's quantisation asks for them."""

    def __init__(self, feeds):
        self.feeds = iter(feeds)

    def get_next(self):
        return next(self.feeds, None)


def compared(sessions, data):
    """For each of several `sessions`, {name: onnxruntime session}: top-1 accuracy on the test images, and ms for one image.

    All are timed in one run, by turns; ms is the median of ROUNDS.
    """
    right = dict.fromkeys(sessions, 0)
    for images, labels in data.eval_batches(data.test, 250):
        for name, session in sessions.items():
            right[name] += int((session.run(None, {"images": images.cpu().contiguous().numpy()})[0].argmax(1) == labels.cpu().numpy()).sum())
    one, seconds = {"images": data.example(1)[0].cpu().contiguous().numpy()}, {name: [] for name in sessions}
    for _ in range(ROUNDS):
        for name, session in sessions.items():
            began = time.perf_counter()
            session.run(None, one)
            seconds[name].append(time.perf_counter() - began)
    return {name: {"accuracy": right[name] / len(data.test), "ms": 1e3 * statistics.median(seconds[name])} for name in sessions}
