"""Attention of an encoder in 8-bit integers, without a score matrix; also for ONNX Runtime."""
