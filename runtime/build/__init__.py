"""`c2t build`: plans and half-precision graphs for a GPU; imports onnx."""
