"""The names of the ways to find an activation's threshold; `scales.threshold` computes them.

Nothing loads here: the command line shows these names before a command runs.
"""

from __future__ import annotations

import enum


class Estimator(enum.StrEnum):
    """How the threshold of an activation is found; what lies above it is clipped."""

    max = "max"  # the largest magnitude: clips nothing
    percentile = "percentile"  # 99.99 % of the values lie below
    entropy = "entropy"  # least KL divergence of the distribution of magnitudes
    mse = "mse"  # least squared error of rounding and clipping together
