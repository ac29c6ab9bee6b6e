"""What all steps of a decoder on the CPU have: their arrays, and the look-up of tokens."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from c2t.kernels.mapped import give_back
from c2t.kernels.tokens.cpu import TokenRows
from c2t.runtime.bundle.manifest import Decoder
from c2t.runtime.bundle.tensors import Int8Rows
from c2t.runtime.engine_protocol import Float32, Int32, Int64
from c2t.runtime.engines.buffers import HostBuffer, StepShape
from c2t.runtime.engines.cpu.logit_choices import LogitChoices

# Of a mapped token table whose pages are given back after each look-up: every token brings up to
# 2 MB of them. To map a few again takes some microseconds, and a step of such a model milliseconds.
LARGE_TABLE_BYTES = 32 << 20


class StepOwner(Protocol):
    """What a step needs of its decoder.

    Attributes:
        sizes: Of the bundle's manifest.
        token_embedding: Text token rows [V,D].
        embeds: Where the embeddings of all its steps lie.
        logits: Where their logits lie.
    """

    sizes: Decoder
    token_embedding: NDArray[Any]
    embeds: HostBuffer
    logits: HostBuffer


class HostStep:
    """The arrays of a bound step; embeddings and logits lie in the decoder's buffers.

    See `c2t.runtime.engine_protocol.BoundStep`.
    """

    def __init__(self, decoder: StepOwner, shape: StepShape) -> None:
        first, end, tokens, logit_rows = shape
        batch, sizes = end - first, decoder.sizes
        self.token_ids: Int32 = np.zeros((batch, tokens), dtype=np.int32)
        self.inputs_embeds: Float32 = decoder.embeds.view((batch, tokens, sizes.hidden_size))
        self.position_ids: Int64 = np.zeros((batch, tokens), dtype=np.int64)
        self.write_index: Int64 = np.zeros(batch, dtype=np.int64)
        self.logit_rows: Int64 = np.zeros((batch, logit_rows), dtype=np.int64)
        self.logits: Float32 = decoder.logits.view((batch, logit_rows, sizes.vocabulary_size))
        self.tokens = tokens
        table = decoder.token_embedding
        self._token_rows = _token_rows(self.token_ids, table, self.inputs_embeds)
        values = table.values if isinstance(table, Int8Rows) else table
        self._given_back = values if values.nbytes >= LARGE_TABLE_BYTES else None
        self._choices = LogitChoices(self.logits)
        self._buffers = decoder.embeds, decoder.logits
        self._moves = [buffer.moves for buffer in self._buffers]

    def is_current(self) -> bool:
        """Whether the step's arrays still lie in the decoder's buffers."""
        return self._moves == [buffer.moves for buffer in self._buffers]

    def close(self) -> None:
        """Do nothing: all that the step holds goes with it."""

    def run(self) -> Float32:
        """Logits [B,R,V]; overwritten by the next run.

        Raises:
            EngineError: The run failed.
        """
        self._token_rows.run()
        if self._given_back is not None:
            give_back(self._given_back)
        self.run_embedded()
        return self.logits

    def run_embedded(self) -> None:
        """Run on `inputs_embeds` as they are.

        Raises:
            EngineError: The run failed.
        """
        raise NotImplementedError

    def choose(self, banned: Int32) -> LogitChoices:
        """Run, and choose from the logits.

        Raises:
            EngineError: The run failed.
        """
        self.run()
        return self._choices.choose(banned)


def _token_rows(token_ids: Int32, table: NDArray[Any] | Int8Rows, embeds: Float32) -> TokenRows:
    """What writes the embeddings of text tokens beside those that the caller has written."""
    flat = embeds.reshape(-1, embeds.shape[-1])
    if isinstance(table, Int8Rows):
        return TokenRows(token_ids.reshape(-1), table.values, table.scale, flat)
    return TokenRows(token_ids.reshape(-1), table, None, flat)
