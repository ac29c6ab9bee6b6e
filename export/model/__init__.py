"""The PyTorch model of a checkpoint: the reference that the graphs are compared with."""
