"""The PyTorch model that a checkpoint holds; the reference that graphs are compared with."""
