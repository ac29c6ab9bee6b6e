"""Linears: their matrices, and how the CPU's kernels pack them."""
