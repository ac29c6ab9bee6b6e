"""The exported graphs compared with PyTorch, output by output."""
