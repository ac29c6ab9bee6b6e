"""Whether a kernel of ours gives what ONNX Runtime gives."""

from __future__ import annotations

import numpy as np

from c2t.runtime.engine_protocol import Float32


def rows_disagreement(
    ours: Float32, theirs: Float32, tolerances: tuple[float, float], *, what: str, row: str
) -> str:
    """How our numbers differ from ONNX Runtime's, in words; "" where they do not.

    Args:
        ours: Rows [..., N].
        theirs: As `ours`.
        tolerances: Norm of a row's difference as a share of its norm: of the median row, and of the
            worst.
        what: The numbers, such as "logits".
        row: What a row is of, such as "token".
    """
    differences = np.linalg.norm(ours - theirs, axis=-1) / np.linalg.norm(theirs, axis=-1)
    for found, most, which in zip(
        (np.median(differences), np.max(differences)), tolerances, ("median", "worst"), strict=True
    ):
        if not found <= most:  # NaN is no agreement either
            return f"its {what} are {found:.2%} from ONNX Runtime's, of the {which} {row}"
    return ""
