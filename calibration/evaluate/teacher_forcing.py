"""Next-token distributions of a bundle along a given text (teacher forcing).

One decision: the text is fed in blocks of one size, and the last block is padded on the right. An
engine keeps the logits of every shape of step that it has run. With a vocabulary of 128,000, a step
for each length of text would keep gigabytes. Padding changes nothing, because attention looks back
only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.constant_prefix import ConstantPrefix
from c2t.runtime.cells.encoded_cells import GeneTokenArray
from c2t.runtime.engine_protocol import Engines, Float32
from c2t.runtime.generation.bundle_prompts import bundle_prompts
from c2t.runtime.generation.prompt import CellPrompt
from c2t.runtime.generation.top_candidates import log_softmax_in_place

BLOCK = 16

Float64 = NDArray[np.float64]


class TeacherForcing:
    """Scores texts with one bundle.

    Args:
        engines: Its opened engines.
        longest: Most tokens of a text.
        constant: Keys and values of what prompts begin with; None: the bundle's own, if it has any.
    """

    def __init__(
        self,
        bundle: Bundle,
        engines: Engines,
        *,
        longest: int,
        constant: ConstantPrefix | None = None,
    ) -> None:
        self._decoder = engines.decoder
        self._encoder = engines.encoder
        self._encodes, self._prompts = bundle.manifest.has_encoder, bundle_prompts(bundle)
        if constant is not None:
            self._prompts = replace(self._prompts, constant=constant)
        self._runner = self._prompts.runner(engines.decoder)
        longest += bundle.manifest.prompt_length
        self._cache = engines.decoder.new_cache(1, longest + BLOCK)

    def prompt(self, tokens: GeneTokenArray) -> CellPrompt:
        """The prompt of one cell, from its tokens [S]."""
        tokens = tokens.astype(np.int32, copy=False)
        if not self._encodes:
            return self._prompts.of_tokens(tokens)
        # The encoder may use its memory again.
        return self._prompts.of_vectors(self._encoder.encode(tokens[None])[0].copy())

    def log_probabilities(self, cell: CellPrompt, token_ids: Sequence[int]) -> Iterator[Float64]:
        """Log-probabilities of all tokens at each position of a text, before any n-gram ban.

        Args:
            cell: The prompt of a cell.
            token_ids: The text's N tokens.

        Yields:
            Arrays [n,V], n <= BLOCK, together N rows. Row i is the distribution of token i, given
            the tokens before it.
        """
        if not token_ids:
            return
        prompt = len(cell)
        yield _log_softmax(self._runner.prefill(self._cache, 0, cell)[None])
        given = np.asarray(token_ids[:-1], dtype=np.int64)
        for start in range(0, len(given), BLOCK):
            block = given[start : start + BLOCK]
            step = self._decoder.bind(self._cache, (0, 1), BLOCK, BLOCK)
            step.token_ids[0] = 0  # any token does for padding
            step.token_ids[0, : len(block)] = block
            # Padding repeats the last position: the model has no positions past its maximum.
            step.position_ids[0] = prompt + start + np.minimum(np.arange(BLOCK), len(block) - 1)
            step.write_index[0] = prompt + start
            step.logit_rows[0] = np.arange(BLOCK)
            yield _log_softmax(step.run()[0, : len(block)])


def kl_divergence(first: Float64, second: Float64) -> Float64:
    """KL(first || second) of each row, in nats.

    Args:
        first: Log-probabilities [N,V].
        second: Log-probabilities [N,V].

    Returns:
        [N], never below 0.
    """
    # exp(-inf) * anything is 0: a token with probability 0 in the first adds nothing.
    with np.errstate(invalid="ignore"):
        terms = np.where(np.isneginf(first), 0.0, np.exp(first) * (first - second))
    sums: Float64 = terms.sum(axis=1)
    return np.maximum(sums, 0.0)  # rounding can leave -1e-17


def _log_softmax(logits: Float32) -> Float64:
    """Log-probabilities [N,V] in float64: a divergence is a small difference of large numbers."""
    values: Float64 = logits.astype(np.float64)
    log_softmax_in_place(values)
    return values
