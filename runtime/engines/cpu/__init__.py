"""A bundle's engines on the CPU: our kernels, and ONNX Runtime where they cannot run a graph."""
