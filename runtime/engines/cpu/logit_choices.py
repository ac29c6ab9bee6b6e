"""Greedy choices from logits in host memory: arg-max first, softmax only where it is asked for.

One decision: probabilities are computed only at the logit rows whose tokens were accepted, in the
memory of the logits. A step of several drafted tokens has more logit rows than it yields tokens,
and a softmax over 128,000 logits costs as much as a layer of a small model.
"""

from __future__ import annotations

import numpy as np

from c2t.runtime.engine_protocol import Float32, Int32, Int64


class LogitChoices:
    """See `c2t.runtime.engine_protocol.Choices`.

    Args:
        logits: [B,R,V]; used up by `probabilities`.
        banned: [B,R,N], padded with -1.
    """

    def __init__(self, logits: Float32, banned: Int32) -> None:
        batch, logit_rows, vocabulary = logits.shape
        self._rows: Float32 = logits.reshape(-1, vocabulary)
        best: Int64 = self._rows.argmax(axis=1)
        # The largest logit, banned or not: the softmax needs it.
        self._top: Float32 = self._rows[np.arange(len(best)), best]
        self.finite = np.isfinite(self._top).reshape(batch, logit_rows)
        flat = banned.reshape(len(best), banned.shape[-1])
        for row in np.flatnonzero((flat == best[:, None]).any(axis=1)):
            best[row] = _best_allowed(self._rows[row], flat[row])
        self.tokens: Int64 = best.reshape(batch, logit_rows)

    def probabilities(self, rows: list[int], logit_rows: list[int]) -> list[float]:
        """Softmax probabilities of the chosen tokens at some logit rows; may be called once."""
        each = self.tokens.shape[1]  # R
        named = np.array(rows, dtype=np.int64) * each + np.array(logit_rows, dtype=np.int64)
        logits, top = self._rows, self._top
        chosen = logits[named, self.tokens.reshape(-1)[named]] - top[named]
        if len(named) < len(logits):  # some drafted tokens were not accepted
            logits, top = logits[named], top[named]
        logits -= top[:, None]
        np.exp(logits, out=logits)
        result: list[float] = (np.exp(chosen) / logits.sum(axis=1)).tolist()
        return result


def _best_allowed(logits: Float32, banned: Int32) -> int:
    """The best token [V] that is not banned."""
    allowed = logits.copy()
    allowed[banned[banned >= 0]] = -np.inf
    return int(allowed.argmax())
