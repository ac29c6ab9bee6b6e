"""From sparse counts to the encoder's input: NumPy definitions and their native implementations."""
