"""Massive activations of a constant first token, and what keeps them out of INT8."""
