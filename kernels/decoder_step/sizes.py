"""Sizes of a decoder step."""

from __future__ import annotations

from dataclasses import dataclass

MAX_HIDDEN_SIZE = 4096  # of Llama 8B, where a few registers are spilled


@dataclass(frozen=True, kw_only=True)
class StepSizes:
    """Sizes of a Llama decoder.

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
    def problem(self) -> str:
        """Why the kernel cannot run such a decoder; empty where it can."""
        if self.head_size not in (8, 16, 32, 64, 128):
            return f"a head size of {self.head_size}"
        if self.hidden_size > MAX_HIDDEN_SIZE:
            return f"a hidden size of {self.hidden_size}: its activations do not fit into registers"
        for what, count, unit in (
            ("a hidden size", self.hidden_size, 16),
            ("queries, keys and values", self.qkv_columns, 16),
            ("an intermediate size", self.intermediate_size, 8),
            ("query heads per KV head", self.heads, self.kv_heads),
        ):
            if count % unit:
                return f"{what} of {count}, no multiple of {unit}"
        return ""

    @property
    def q_columns(self) -> int:
        """Numbers of a row's queries, and of what attention returns for it."""
        return self.heads * self.head_size

    @property
    def qkv_columns(self) -> int:
        """Numbers of a row's queries, keys and values."""
        return self.q_columns + 2 * self.kv_heads * self.head_size
