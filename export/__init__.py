"""Trained PyTorch checkpoint in, verified ONNX bundle out. The only part that imports torch."""
