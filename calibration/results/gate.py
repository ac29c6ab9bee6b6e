"""The gate: how much worse than another bundle a bundle may be, in the paper's own figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from c2t.runtime.system.errors import EvaluationError

if TYPE_CHECKING:  # the command line shows the defaults before anything loads
    from c2t.calibration.results.evaluation import Comparison, Evaluation

# A loss of exactly the tolerance passes: differences of shares carry this much rounding.
ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """What a bundle may lose against the other.

    Args:
        accuracy: Accuracy of any field, as a share: 0.005 is half a percentage point.
        similarity: Ontology similarity of any field, as a share of the other's.
        agreement: Least share of equal tokens.
    """

    accuracy: float = 0.005
    similarity: float = 0.005
    agreement: float = 0.97

    @classmethod
    def of_percent(cls, *, accuracy: float, similarity: float, agreement: float) -> Tolerance:
        """From percentage points (accuracy) and percent, as the command line takes them."""
        return cls(accuracy=accuracy / 100, similarity=similarity / 100, agreement=agreement / 100)


def gate_failures(evaluation: Evaluation, tolerance: Tolerance) -> list[str]:
    """The figures that miss the tolerance, a sentence each; empty if the bundle passes.

    Raises:
        EvaluationError: The evaluation was against no other bundle.
    """
    judged, against, comparison = evaluation.judged, evaluation.against, evaluation.comparison
    if against is None or comparison is None:
        problem = "a gate needs another bundle to hold this one against"
        raise EvaluationError(problem, hint="give it with --against")
    failures = []
    for name, score in judged.fields.items():
        field, other = name.replace("_", " "), against.fields[name]
        lost = other.accuracy.value - score.accuracy.value
        if lost > tolerance.accuracy + ROUNDING:
            failures.append(
                f"{field} accuracy is {100 * lost:.2f} points lower; "
                f"{100 * tolerance.accuracy:.2f} are allowed"
            )
        if score.similarity is not None and other.similarity is not None:
            share = 1 - score.similarity.mean.value / other.similarity.mean.value
            if share > tolerance.similarity + ROUNDING:
                failures.append(
                    f"{field} ontology similarity is {100 * share:.2f} % lower; "
                    f"{100 * tolerance.similarity:.2f} % are allowed"
                )
    return failures + agreement_failures(comparison, tolerance)


def agreement_failures(comparison: Comparison, tolerance: Tolerance) -> list[str]:
    """The part of the gate that needs no labels: token agreement; empty if it is enough."""
    agreement = comparison.token_agreement
    if agreement is None or agreement.value >= tolerance.agreement:
        return []
    least = f"at least {100 * tolerance.agreement:.2f} % is asked for"
    return [f"token agreement is {100 * agreement.value:.2f} %; {least}"]
