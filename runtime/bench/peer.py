"""What the benchmark asks of others that run the same weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from c2t.runtime.cells.encoded_cells import GeneTokenArray
from c2t.runtime.engine_protocol import Float32


class TextPeer(Protocol):
    """Describes cells from their gene tokens."""

    @property
    def name(self) -> str:
        """What to call it in a report."""
        ...

    def describe(self, cells: Sequence[GeneTokenArray], beams: int) -> list[list[int]]:
        """Text tokens of cells that are described as one batch, the end token included."""
        ...


class DecoderPeer(Protocol):
    """A decoder with a cache for one sequence."""

    @property
    def name(self) -> str:
        """What to call it in a report."""
        ...

    @property
    def takes_vectors(self) -> bool:
        """Whether it can run cell vectors; one that cannot runs as many tokens, unchecked."""
        ...

    def prefill(self, prefix: Sequence[int], vectors: Float32, suffix: Sequence[int]) -> Float32:
        """Run a whole prompt from nothing; logits [V] of the first text token."""
        ...

    def step(self, tokens: Sequence[int]) -> Float32:
        """Run tokens behind the prompt; logits [V] after the last. The cache is as before then."""
        ...
