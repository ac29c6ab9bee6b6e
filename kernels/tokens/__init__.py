"""Text tokens on a CUDA device: rows of the token table, and the choice from logits."""
