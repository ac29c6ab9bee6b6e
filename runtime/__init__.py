"""The lean runtime: cells in, descriptions out, with NumPy and ONNX Runtime only."""
