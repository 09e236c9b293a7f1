"""A statically quantised copy of an ONNX file: 8-bit weights and activations, their ranges from validation images."""

import logging
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

IMAGES = 320  # for calibration
ROUNDS = 100  # of timing


def quantised(content, data):
    """The bytes of an ONNX file in int8, from those of a float one and the validation images of `data`.

    Weights have a scale per channel. Raises ValueError where there are no validation images.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process
    if not len(data.valid):
        raise ValueError(f"{data.name} has no validation images, from which int8 takes the ranges of activations")
    some = np.linspace(0, len(data.valid) - 1, min(IMAGES, len(data.valid))).round().astype(int)  # of all classes: they come in order
    batches = data.eval_batches(data.valid[some], 32)
    with tempfile.TemporaryDirectory() as folder:
        source, ready, made = (Path(folder) / name for name in ("source.onnx", "ready.onnx", "int8.onnx"))
        source.write_bytes(content)
        disabled = logging.root.manager.disable
        logging.disable(logging.WARNING)  # advice to do what the next line does
        try:
            quant_pre_process(source, ready, skip_symbolic_shape=True)
            quantize_static(ready, made, Reader(batches), quant_format=QuantFormat.QDQ, per_channel=True,
                            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)
        finally:
            logging.disable(disabled)
        return made.read_bytes()


class Reader:
    """Batches of images as onnxruntime's quantisation asks for them."""

    def __init__(self, batches):
        self.batches = iter(batches)

    def get_next(self):
        batch = next(self.batches, None)
        return batch and {"images": batch[0].cpu().contiguous().numpy()}


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
