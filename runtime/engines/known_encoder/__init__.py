"""The encoder graph that our native encoder computes: what it looks like, and its weights."""
