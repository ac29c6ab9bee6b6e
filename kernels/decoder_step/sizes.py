"""Sizes of a decoder step."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class StepSizes:
    """Sizes of a decoder.

    Args:
        layers: Layers of the decoder.
        hidden_size: D.
        intermediate_size: F, of the MLP.
        heads: Of queries.
        kv_heads: Of keys and values.
        head_size: Numbers of a head.
        vocabulary_size: V.
    """

    layers: int
    hidden_size: int
    intermediate_size: int
    heads: int
    kv_heads: int
    head_size: int
    vocabulary_size: int

    @property
    def q_columns(self) -> int:
        """Numbers of a row's queries, and of what attention returns for it."""
        return self.heads * self.head_size

    @property
    def qkv_columns(self) -> int:
        """Numbers of a row's queries, keys and values."""
        return self.q_columns + 2 * self.kv_heads * self.head_size
