"""A Llama decoder's step as one kernel: up to 16 tokens on a GPU, up to 32 on a CPU."""
