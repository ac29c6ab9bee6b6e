"""Accuracy, and macro precision, recall and F1 of labels read from captions.

Source: Cell2Text (arXiv 2509.24840), evaluation. Macro figures are means over the labels that occur
among the true ones, so that a rare cell type counts as much as a common one.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class LabelScore:
    """One true label: its cells, and precision, recall and F1 of predicting it."""

    cells: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """Scores of predicted against true labels; all between 0 and 1."""

    cells: int
    accuracy: float
    macro_precision: float
    macro_recall: float  # also called macro or balanced accuracy
    macro_f1: float
    labels: dict[str, LabelScore]


def score_labels(true: Sequence[str], predicted: Sequence[str | None]) -> Accuracy:
    """Compare predicted with true labels; a prediction of None is always wrong.

    Args:
        true: [B] labels, already normalised.
        predicted: [B] labels, already normalised; None where no label could be read.

    Raises:
        ValueError: The lengths differ, or there is no cell.
    """
    if len(true) != len(predicted) or not true:
        message = f"{len(true)} true and {len(predicted)} predicted labels cannot be compared"
        raise ValueError(message)
    cells, said = Counter(true), Counter(predicted)
    right = Counter(t for t, p in zip(true, predicted, strict=True) if t == p)
    labels: dict[str, LabelScore] = {}
    for label, count in sorted(cells.items()):
        precision = right[label] / said[label] if said[label] else 0.0
        recall = right[label] / count
        both = precision + recall
        f1 = 2 * precision * recall / both if both else 0.0
        labels[label] = LabelScore(cells=count, precision=precision, recall=recall, f1=f1)
    scores = labels.values()
    return Accuracy(
        cells=len(true),
        accuracy=sum(right.values()) / len(true),
        macro_precision=sum(s.precision for s in scores) / len(labels),
        macro_recall=sum(s.recall for s in scores) / len(labels),
        macro_f1=sum(s.f1 for s in scores) / len(labels),
        labels=labels,
    )
