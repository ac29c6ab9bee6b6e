"""Text tokens beside a decoder step: rows of the token table, and the choice from logits."""
