"""What a user of calibration chooses from; the command line shows these, so nothing loads here."""

from __future__ import annotations

import enum


class Precision(enum.StrEnum):
    """What a bundle is quantised to."""

    int8 = "int8"  # weights and activations, static scales
    int8_weights = "int8-weights"  # weights in blocks, activations float32
    int4_weights = "int4-weights"


class Estimator(enum.StrEnum):
    """How the threshold of an activation is found."""

    max = "max"
    percentile = "percentile"
    entropy = "entropy"
    mse = "mse"
