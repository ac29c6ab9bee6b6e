"""What goes into generation for one cell, and what comes out."""

from __future__ import annotations

from dataclasses import dataclass

from c2t.runtime.engine_protocol import Float32

NOT_FINITE = "the decoder's logits are not finite"


@dataclass(frozen=True, eq=False)
class PromptedCell:
    """A cell to be written: a number to know it by, and its cell vectors [K,D]."""

    key: int
    vectors: Float32


@dataclass(frozen=True)
class GeneratedSequence:
    """The generated tokens of one cell, the EOS token included when it was generated.

    Args:
        token_ids: Text tokens in order.
        probabilities: Of each token: its probability under the model's softmax *before* the
            n-gram ban (the ban says nothing about what the model believes). With beams: along the
            chosen beam.
        steps: Decoder runs that produced them, the prefill included.
    """

    token_ids: tuple[int, ...]
    probabilities: tuple[float, ...]
    steps: int


@dataclass(frozen=True)
class GenerationFailure:
    """Why one cell could not be written."""

    error: str
