"""What is compared of two bundles that write no text: where cells lie in the joint space."""

from __future__ import annotations

from dataclasses import dataclass

from c2t.calibration.metrics.bootstrap import Interval
from c2t.calibration.results.gate import Tolerance

# Of the mean cosine of a cell's two vectors; another model leaves far less.
LEAST_COSINE = 0.99
FOUND = 10  # cells of a text that are looked at


@dataclass(frozen=True, kw_only=True)
class VectorComparison:
    """Two bundles on the same cells and texts; cells that either cannot embed are left out.

    Args:
        cells: Cells compared.
        cosine: Mean over cells, of the two vectors of each.
        least_cosine: The smallest.
        texts: The bundle's golden texts, which cells are scored against.
        same_best_text: Share of cells whose highest score is of the same text.
        score_difference: Mean size of the difference of a score.
        same_found: Of the `FOUND` cells with the highest scores for a text, the share that both
            bundles find; mean over texts.
    """

    cells: int
    cosine: Interval
    least_cosine: float
    texts: int
    same_best_text: Interval
    score_difference: float
    same_found: float


def vector_failures(comparison: VectorComparison, tolerance: Tolerance) -> list[str]:
    """The figures that miss the gate's limits, a sentence each; empty if the bundle passes."""
    failures = []
    if not comparison.cosine.value >= LEAST_COSINE:
        failures.append(
            f"the cosine of a cell's vectors is {comparison.cosine.value:.4f}; "
            f"at least {LEAST_COSINE} is asked for"
        )
    same = comparison.same_best_text.value
    if not same >= tolerance.agreement:
        failures.append(
            f"{100 * same:.2f} % of the cells have the same best text; "
            f"at least {100 * tolerance.agreement:.2f} % are asked for"
        )
    return failures
