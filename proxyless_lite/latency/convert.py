"""A module as the files that other runtimes read: ONNX, ONNX in int8, ncnn's, and LiteRT's. The converters are optional packages."""

import contextlib
import io
import logging
import os
import shutil
import subprocess
import tempfile
import warnings
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

import torch

from ..export import to_onnx
from ..export.int8 import quantised
from . import run

CALIBRATED = 4  # random inputs, from which int8 takes ranges: speed does not depend on them


class Source:
    """A module in evaluation mode and its example input x, of `shape` (1, C, H, W)."""

    def __init__(self, module, shape):
        self.module, self.shape, self.x = module.eval(), shape, torch.from_numpy(run.example(shape))

    @cached_property
    def output(self):
        """What PyTorch computes."""
        with torch.inference_mode():
            return self.module(self.x)

    @cached_property
    def onnx(self):
        """The bytes of the ONNX file."""
        return to_onnx(self.module, (self.x,), input_names=["x"], output_names=["y"])


def onnx(source, stem):
    stem.with_suffix(".onnx").write_bytes(source.onnx)
    return [stem.with_suffix(".onnx")]


def int8(source, stem):
    feeds = ({"x": torch.randn(source.shape, generator=torch.Generator().manual_seed(i)).numpy()} for i in range(CALIBRATED - 1))
    stem.with_suffix(".onnx").write_bytes(quantised(source.onnx, iter([{"x": source.x.numpy()}, *feeds])))
    return [stem.with_suffix(".onnx")]


def ncnn(source, stem):
    import pnnx
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's, that TorchScript is old; pnnx knows it best
        torch.jit.trace(source.module, source.x).save(f"{folder}/x.pt")
        made = [Path(folder) / name for name in ("x.ncnn.param", "x.ncnn.bin")]
        done = subprocess.run([pnnx.EXEC_PATH, "x.pt", f"inputshape=[{','.join(map(str, source.shape))}]f32", "fp16=0"],
                              cwd=folder, capture_output=True, text=True, errors="replace")
        if not all(file.exists() for file in made):
            raise ValueError(f"pnnx made no files for ncnn: {' '.join((done.stderr or done.stdout).strip().splitlines()[-1:])}")
        return [Path(shutil.move(file, stem.with_suffix(file.suffix))) for file in made]


def litert(source, stem):
    """Inputs and outputs are (1, H, W, C): what TensorFlow Lite's kernels take, so that no transposition is timed."""
    with silent():
        import litert_torch
        images = [0] if source.output.ndim == 4 else None
        module = litert_torch.to_channel_last_io(source.module, args=[0], outputs=images)
        litert_torch.convert(module, (source.x.permute(0, 2, 3, 1).contiguous(),)).export(str(stem.with_suffix(".tflite")))
    return [stem.with_suffix(".tflite")]


@contextlib.contextmanager
def silent():
    """Converters print pages, some from below Python."""
    disabled, kept = logging.root.manager.disable, os.dup(2)
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()), open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        logging.disable(disabled)


FORMATS = {"onnx": onnx, "int8": int8, "ncnn": ncnn, "litert": litert}   # each: (source, path without ending) -> files written
PACKAGES = {"onnx": ("onnx", "onnxscript"), "int8": ("onnx", "onnxscript", "onnxruntime"), "ncnn": ("pnnx",),
            "litert": ("litert_torch",)}


def installed(kind):
    """Raises ValueError for an unknown format, and where a package of its converter is missing."""
    if kind not in FORMATS:
        raise ValueError(f"unknown format {kind!r}; allowed: {', '.join(FORMATS)}")
    if missing := [name.replace("_", "-") for name in PACKAGES[kind] if find_spec(name) is None]:
        raise ValueError(f"format {kind} asked for, but its converter is not installed: pip install {' '.join(missing)}")
