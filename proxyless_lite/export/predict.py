"""Classify image files with the exported network: python predict.py photo.jpg … (needs onnxruntime, numpy and pillow only).

network.onnx says how images are prepared and what its outputs mean; pixels.py reads the files, as it did for training.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pixels

HERE = Path(__file__).parent


def network(path):
    """The network in a file, ready to run, and its preprocessing."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session, json.loads(session.get_modelmeta().custom_metadata_map["preprocessing"])


def prepared(path, how):
    """An image file as the network takes it: (1, 3, size, size) float32. Raises pixels.Unreadable."""
    size, edge = how["size"], (how["resize"] - how["size"]) // 2
    image = pixels.decode(path, how["resize"])[edge:edge + size, edge:edge + size]
    normalised = (image - np.float32(how["mean"])) / np.float32(how["std"])  # of 0 … 255, red green blue
    return normalised.astype(np.float32).transpose(2, 0, 1)[None]


def probabilities(session, images):
    """softmax of the logits, (n, classes)."""
    logits = session.run(["logits"], {"images": images})[0]
    weights = np.exp(logits - logits.max(1, keepdims=True))
    return weights / weights.sum(1, keepdims=True)


def main():
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # where a name has characters that the output lacks
    line = argparse.ArgumentParser(description="Classify image files with the exported network.")
    line.add_argument("images", nargs="+", help="image files")
    line.add_argument("--network", default=HERE / "network.onnx", help="default: network.onnx beside this file")
    line.add_argument("--top", type=int, default=3, help="how many classes are shown of each")
    args = line.parse_args()
    session, how = network(args.network)
    failed = 0
    for path in args.images:
        try:
            found = probabilities(session, prepared(path, how))[0]
        except pixels.Unreadable as error:
            failed += 1
            print(f"error: {error}", file=sys.stderr)
            continue
        best = found.argsort(kind="stable")[::-1][:args.top]
        print(f"{path}: " + ", ".join(f"{how['classes'][i]} {found[i]:.1%}" for i in best))
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
