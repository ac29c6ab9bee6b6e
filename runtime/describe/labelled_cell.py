"""What annotating gives: the probability of each given label, for each cell."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
DOUBTFUL = 0.5  # mass below which the model would rather say something else


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledCell:
    """How probable each label is for one cell.

    Two things are said apart: how the labels compare with each other (`probabilities`, which add up
    to 1), and how much the model gives to all of them together (`mass`). A small mass says that
    none of the labels may be right.

    Args:
        cell: The cell's id.
        labels: The labels, in the order of all arrays.
        log_probabilities: [N] Natural logarithm of the probability that the model names the cell
            so, among all that it could write; None where there is an error.
        temperature: What the logarithms are divided by before labels are compared; see
            `c2t.runtime.annotate.calibration`.
        genes_used: Genes that the encoder saw.
        error: Why there are none; None where there are.
        engine_failed: Whether the error is one of the engine, which may be no fault of the cell.
    """

    cell: str
    labels: Sequence[str] = field(repr=False)
    log_probabilities: Float64 | None = field(repr=False)
    temperature: float = 1.0
    genes_used: int
    error: str | None = None
    engine_failed: bool = False

    @cached_property
    def probabilities(self) -> Float64 | None:
        """[N] The probability of each label, given that one of them is right."""
        if self.log_probabilities is None:
            return None
        shares: Float64 = among_labels(self.log_probabilities[None], self.temperature)[0]
        return shares

    @property
    def best(self) -> int | None:
        """Place of the most probable label; of equal ones the first."""
        return None if self.log_probabilities is None else int(self.log_probabilities.argmax())

    @property
    def label(self) -> str | None:
        """The most probable label."""
        return None if self.best is None else self.labels[self.best]

    @property
    def probability(self) -> float | None:
        """Its probability among the labels."""
        if self.probabilities is None or self.best is None:
            return None
        return float(self.probabilities[self.best])

    @property
    def mass(self) -> float | None:
        """The probability that the model names the cell by any of the labels, before temperature.

        Rounding may raise the sum above 1; it is 1 then.
        """
        if self.log_probabilities is None:
            return None
        return min(float(np.exp(self.log_probabilities).sum()), 1.0)

    def top(self, count: int) -> list[int]:
        """Places of the most probable labels, best first."""
        if self.log_probabilities is None:
            return []
        order = np.argsort(-self.log_probabilities, kind="stable")
        return [int(place) for place in order[:count]]


def among_labels(log_probabilities: Float64, temperature: float) -> Float64:
    """Probabilities [B,N] of labels, given that one of them is right.

    Args:
        log_probabilities: [B,N]; -inf for a label that cannot be.
        temperature: Above 1 the probabilities come closer to each other.

    Returns:
        Equal shares where no label can be.
    """
    top = log_probabilities.max(axis=1, keepdims=True)
    top[~np.isfinite(top)] = 0.0
    # No probability is smaller than the least number that there is: so none is surely impossible.
    shifted = np.maximum(log_probabilities - top, -745.0) / temperature
    shares = np.exp(shifted - shifted.max(axis=1, keepdims=True))
    result: Float64 = shares / shares.sum(axis=1, keepdims=True)
    return result


def no_label_fits(masses: Iterable[float | None]) -> list[str]:
    """Say in how many cells the labels together have less than half of the probability.

    Args:
        masses: Of all cells; None or NaN for one with an error.

    Returns:
        One sentence; none where there is no such cell.
    """
    known = np.array([np.nan if mass is None else mass for mass in masses], dtype=np.float64)
    doubtful = int((known < DOUBTFUL).sum())  # NaN is not less
    if not doubtful:
        return []
    sentence = (
        f"in {doubtful:,} of {len(known):,} cell{'' if len(known) == 1 else 's'} the model would "
        f"rather say something else than any of the labels (mass below {DOUBTFUL:g})"
    )
    return [sentence]
