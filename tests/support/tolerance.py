"""How far a result may be from its reference: |difference| / (1 + |reference|), per dtype."""

import numpy as np

FLOAT32 = 1e-5
FLOAT16 = 1e-2
BFLOAT16 = 1e-1


def worst_difference(result: np.ndarray, reference: np.ndarray) -> float:
    """The largest difference relative to 1 + |reference|; the shapes must agree."""
    assert result.shape == reference.shape
    result, reference = result.astype(np.float64), reference.astype(np.float64)
    return float((np.abs(result - reference) / (1 + np.abs(reference))).max(initial=0.0))
