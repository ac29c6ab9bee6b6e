"""A CUDA device: compiler, memory, launches, CUDA graphs, and the headers that kernels share."""
