"""Stands where a bundle has no encoder: what asks it for cell vectors is told so."""

from __future__ import annotations

from typing import NoReturn

from c2t.runtime.engine_protocol import Int32
from c2t.runtime.system.errors import EngineError


class NoEncoder:
    """See `c2t.runtime.engine_protocol.EncoderEngine`."""

    batch_tokens = 0

    def encode(self, tokens: Int32) -> NoReturn:
        """Refuse.

        Raises:
            EngineError: Always.
        """
        problem = "the bundle has no encoder: its cells are texts"
        raise EngineError(problem, hint="see `c2t info` for what it can do")

    def encode_with_hidden(self, tokens: Int32) -> NoReturn:
        """Refuse, as `encode` does."""
        self.encode(tokens)

    def clone(self) -> NoEncoder:
        """Itself: it holds nothing."""
        return self
