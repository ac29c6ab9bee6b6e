"""A bundle's graphs on the CPU: ONNX Runtime, and our kernel for short steps of the decoder."""
