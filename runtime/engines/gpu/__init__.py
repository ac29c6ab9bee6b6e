"""A bundle's graphs on a CUDA device, whichever library runs them."""
