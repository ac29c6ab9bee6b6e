"""One file per decoder family: its ONNX graph, and what of its configuration is taken."""
