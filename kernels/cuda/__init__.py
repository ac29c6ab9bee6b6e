"""A CUDA device: compiling, memory, launches, recorded graphs, and headers of all kernels."""
