"""What a decoder wrote behind a prompt, whatever the prompt was made of."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class WrittenText:
    """A text, or why there is none.

    Args:
        text: None where there is an error.
        confidence: Mean probability of its tokens; None where there are none.
        error: Why there is no text; None where there is one.
        tokens: Text tokens, the EOS token included.
        steps: Decoder runs that wrote them.
        whole: Whether it ended of itself or with a stop string, not at the longest length.
        engine_failed: Whether the error is one of the engine.
    """

    text: str | None
    confidence: float | None
    error: str | None
    tokens: tuple[int, ...] = ()
    steps: int = 0
    whole: bool = False
    engine_failed: bool = False
