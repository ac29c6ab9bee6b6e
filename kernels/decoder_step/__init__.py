"""A decoder's step as one kernel: a Llama's, of few tokens, on a GPU; every family's on a CPU."""
