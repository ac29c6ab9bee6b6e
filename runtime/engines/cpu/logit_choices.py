"""Greedy choices from logits in host memory: arg-max first, softmax only where it is asked for.

One decision: probabilities are computed only at the logit rows whose tokens were accepted. A step
of several drafted tokens has more logit rows than it yields tokens, and a softmax over 128,000
logits costs as much as a layer of a small model.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from c2t.kernels.tokens.cpu import LogitRows
from c2t.runtime.engine_protocol import Float32, Int32, Int64


class LogitChoices:
    """See `c2t.runtime.engine_protocol.Choices`.

    Args:
        logits: [B,R,V], contiguous; may be written again, for the next `choose`.
    """

    def __init__(self, logits: Float32) -> None:
        batch, logit_rows, vocabulary = logits.shape
        self._rows = LogitRows(logits.reshape(-1, vocabulary))
        self._each = logit_rows
        self.tokens: Int64 = self._rows.tokens.reshape(batch, logit_rows)
        self._top = self._rows.top.reshape(batch, logit_rows)

    def choose(self, banned: Int32) -> LogitChoices:
        """Choose from the logits as they are now.

        Args:
            banned: [B,R,N], padded with -1.
        """
        self._rows.choose(banned.reshape(len(self._rows.tokens), banned.shape[-1]))
        return self

    @property
    def finite(self) -> NDArray[np.bool_]:
        """See `c2t.runtime.engine_protocol.Choices.finite`."""
        return np.isfinite(self._top)

    def probabilities(self, rows: Int64, logit_rows: Int64) -> Float32:
        """See `c2t.runtime.engine_protocol.Choices.probabilities`; valid until the next call."""
        return self._rows.probabilities(rows * self._each + logit_rows)
