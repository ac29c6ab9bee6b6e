"""A Llama decoder's step of up to 16 tokens in one CUDA kernel."""
