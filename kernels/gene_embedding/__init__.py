"""Gene tokens to the encoder's input: gather, add, LayerNorm, cast, in one pass."""
