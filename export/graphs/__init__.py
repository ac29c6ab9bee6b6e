"""Writing an ONNX graph node by node."""
