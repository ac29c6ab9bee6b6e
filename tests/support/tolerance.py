"""How far a result may be from its reference: |difference| / (1 + |reference|), per dtype."""

import numpy as np

FLOAT64 = 1e-10
FLOAT32 = 1e-5  # a layer, a model
FLOAT32_FEW = 1e-6  # a few operations
FLOAT16 = 1e-2
FLOAT16_STEP = 5e-3  # of a decoder step's largest number: weights and activations have 11 bits
# The same of the mean difference, as a share of the mean. In int8 a number that is rounded
# otherwise moves an activation by a whole step.
INT8_STEP = 3e-2
BFLOAT16 = 1e-1
# Relative to the reference alone: what a softmax makes of the differences of float32 logits.
PROBABILITY = 1e-4


def worst_difference(result: np.ndarray, reference: np.ndarray) -> float:
    """The largest difference relative to 1 + |reference|; the shapes must agree."""
    assert result.shape == reference.shape
    result, reference = result.astype(np.float64), reference.astype(np.float64)
    return float((np.abs(result - reference) / (1 + np.abs(reference))).max(initial=0.0))
