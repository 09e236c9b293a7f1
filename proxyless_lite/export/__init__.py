"""Export a found network: ONNX, PyTorch's own format, JSON and weights."""

from .exporter import FILES, export, load_weights, onnx_session, to_onnx
