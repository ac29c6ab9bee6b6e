"""One file per encoder family: its ONNX graph."""
