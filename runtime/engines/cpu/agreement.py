"""Whether a kernel of ours gives what ONNX Runtime gives."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from c2t.runtime.engine_protocol import Float32


def row_differences(ours: Float32, theirs: Float32) -> list[float]:
    """Norm of each row's difference, as a share of its norm; without a copy of all rows.

    Args:
        ours: Rows [..., N].
        theirs: As `ours`, those of ONNX Runtime.
    """
    columns = ours.shape[-1]
    return [
        float(np.linalg.norm(one - other) / np.linalg.norm(other))
        for one, other in zip(ours.reshape(-1, columns), theirs.reshape(-1, columns), strict=True)
    ]


def rows_disagreement(
    differences: Sequence[float], tolerances: tuple[float, float], *, what: str, row: str
) -> str:
    """How our numbers differ from ONNX Runtime's, in words; "" where they do not.

    Args:
        differences: Of all rows, see `row_differences`.
        tolerances: Of the median row, and of the worst.
        what: The numbers, such as "logits".
        row: What a row is of, such as "token".
    """
    for found, most, which in zip(
        (np.median(differences), np.max(differences)), tolerances, ("median", "worst"), strict=True
    ):
        if not found <= most:  # NaN is no agreement either
            return f"its {what} are {found:.2%} from ONNX Runtime's, of the {which} {row}"
    return ""
