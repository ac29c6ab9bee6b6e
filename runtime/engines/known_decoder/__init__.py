"""The decoder graph that our step kernels compute: what it looks like, and its weights."""
