"""Graphs that our kernels compute as a whole: how one is compared with what is known."""
