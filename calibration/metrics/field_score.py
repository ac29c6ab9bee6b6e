"""Scores of one field of the captions: accuracy, by label, and ontology similarity."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from c2t.calibration.metrics.accuracy import LabelScore, score_labels
from c2t.calibration.metrics.bootstrap import Bootstrap, Interval
from c2t.calibration.metrics.labels import TrueLabels
from c2t.calibration.metrics.ontology_similarity import OntologySimilarity
from c2t.runtime.labels.normalise import normalise_label
from c2t.runtime.system.errors import EvaluationError

Float64 = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class SimilarityScore:
    """Mean ontology similarity, and the labels without a term.

    Args:
        ontology: Name of the file.
        mean: Over the cells whose true label is a term.
        best: The mean if every label were right.
        cells: How many cells these are.
        true_without_term: True label that is no term -> its cells, which are left out.
        predicted_without_term: Predicted label that is no term -> its cells, which count as
            unrelated (similarity 1).
    """

    ontology: str
    mean: Interval
    best: float
    cells: int
    true_without_term: dict[str, int]
    predicted_without_term: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class FieldScore:
    """Scores of one field.

    Labels are compared normalised (lower case, no "cell" at the end). They are named here as they
    are written most often. A resample's macro figures are over the labels that it drew, so rare
    labels make the interval lopsided.

    Args:
        field: "cell_type", "tissue", "disease", "sex" or "age".
        column: Column of the true labels, or "the label map".
        cells: Cells with a true label; all figures are over these.
        unlabelled: Cells without one, which are left out.
        unread: Cells whose text names no label, which count as wrong.
        labels: Scores of each true label.
        confusion: True label -> predicted label -> cells; "" is a text that names no label.
        similarity: None without an ontology for the field.
    """

    field: str
    column: str
    cells: int
    unlabelled: int
    unread: int
    accuracy: Interval
    macro_f1: Interval
    macro_precision: Interval
    macro_recall: Interval
    labels: dict[str, LabelScore]
    confusion: dict[str, dict[str, int]]
    similarity: SimilarityScore | None


@dataclass(frozen=True, eq=False, kw_only=True)
class JudgedField:
    """A field's score with its values of each cell, to compare two systems cell by cell.

    Args:
        score: The figures.
        right: [B] 1 or 0; NaN for a cell without a true label.
        similarity: [B]; NaN for a cell without a true term.
        macro_f1: [R] of the resamples.
        said: [B] label as the text writes it; None if it names none.
    """

    score: FieldScore
    right: Float64
    similarity: Float64
    macro_f1: Float64
    said: tuple[str | None, ...]


def judge_field(
    true: TrueLabels,
    said: Sequence[str | None],
    bootstrap: Bootstrap,
    similarity: OntologySimilarity | None = None,
) -> JudgedField:
    """Score the labels that texts name.

    Args:
        true: The true labels of B cells.
        said: [B] labels as the texts write them; None where a text names none.
        bootstrap: Resamples of the B cells.
        similarity: Similarities of the field's ontology; None without one.

    Raises:
        EvaluationError: No true label is a term of the ontology.
    """
    predicted = [None if label is None else normalise_label(label) for label in said]
    wanted = [None if name is None else normalise_label(name) for name in true.names]
    known = [cell for cell, name in enumerate(wanted) if name is not None]
    pairs = [(str(wanted[cell]), predicted[cell]) for cell in known]
    plain = score_labels([name for name, _ in pairs], [label for _, label in pairs])
    right = np.full(len(wanted), np.nan)
    right[known] = [name == label for name, label in pairs]
    macro = _resampled_macros(wanted, predicted, sorted(plain.labels), bootstrap)
    near, score = _similarities(true, said, bootstrap, similarity)
    written = _written((*true.names, *said))
    confusion: dict[str, dict[str, int]] = {written[name]: {} for name in plain.labels}
    for (name, label), count in Counter(pairs).items():
        confusion[written[name]][written[label] if label else ""] = count
    return JudgedField(
        score=FieldScore(
            field=true.field,
            column=true.column,
            cells=len(known),
            unlabelled=len(wanted) - len(known),
            unread=sum(label is None for _, label in pairs),
            accuracy=bootstrap.mean(right),
            macro_f1=bootstrap.interval(plain.macro_f1, macro["f1"]),
            macro_precision=bootstrap.interval(plain.macro_precision, macro["precision"]),
            macro_recall=bootstrap.interval(plain.macro_recall, macro["recall"]),
            labels={written[name]: label for name, label in plain.labels.items()},
            confusion=confusion,
            similarity=score,
        ),
        right=right,
        similarity=near,
        macro_f1=macro["f1"],
        said=tuple(said),
    )


def _written(names: Iterable[str | None]) -> dict[str, str]:
    """Normalised label -> its commonest spelling; of equal ones the first, so true labels win."""
    counts = Counter(name for name in names if name is not None)
    written: dict[str, str] = {}
    for name, _ in counts.most_common():
        written.setdefault(normalise_label(name), name)
    return written


def _resampled_macros(
    true: Sequence[str | None],
    predicted: Sequence[str | None],
    labels: Sequence[str],
    bootstrap: Bootstrap,
) -> dict[str, Float64]:
    """Macro figures [R] of each resample, over the labels that it drew."""
    number = {label: n for n, label in enumerate(labels)}
    judged = [
        (name, label) if name is not None else (None, None)
        for name, label in zip(true, predicted, strict=True)
    ]
    groups = (
        [number.get(name or "") for name, _ in judged],
        [number.get(label or "") for _, label in judged],
        [number.get(name or "") if name == label else None for name, label in judged],
    )
    cells, said, right = (bootstrap.sums(group, len(labels)) for group in groups)
    drawn = np.where(cells > 0, 1.0, np.nan)
    figures = {
        "precision": right / np.maximum(said, 1),
        "recall": right / np.maximum(cells, 1),
        "f1": 2 * right / np.maximum(cells + said, 1),
    }
    return {name: np.nanmean(values * drawn, axis=1) for name, values in figures.items()}


def true_terms(true: TrueLabels, similarity: OntologySimilarity) -> list[int | None]:
    """The term of each true label [B]; None for a label that is missing or no term.

    Raises:
        EvaluationError: No label is a term of the ontology.
    """
    find = _finder(true, similarity)
    terms = {name: find(name) for name in set(true.names) if name is not None}
    if all(term is None for term in terms.values()):
        shown = ", ".join(f"`{name}`" for name in sorted(terms)[:5])
        ontology = similarity.ontology.name
        problem = f"none of the labels in {true.column!r} is a term of {ontology}: {shown}"
        hint = "map them to the ontology's names or ids with --label-map, or give another ontology"
        raise EvaluationError(problem, hint=hint)
    return [None if name is None else terms[name] for name in true.names]


def _finder(true: TrueLabels, similarity: OntologySimilarity) -> Callable[[str], int | None]:
    ids = {normalise_label(name): term for name, term in true.terms.items()}
    return lambda label: similarity.ontology.find(ids.get(normalise_label(label), label))


def _similarities(
    true: TrueLabels,
    said: Sequence[str | None],
    bootstrap: Bootstrap,
    similarity: OntologySimilarity | None,
) -> tuple[Float64, SimilarityScore | None]:
    """Similarity of each cell [B], NaN without a true term, and their score."""
    near = np.full(len(said), np.nan)
    if similarity is None:
        return near, None
    find = _finder(true, similarity)
    best = []
    no_term: Counter[str] = Counter()
    not_found: Counter[str] = Counter()
    starts = true_terms(true, similarity)
    for cell, (name, start, label) in enumerate(zip(true.names, starts, said, strict=True)):
        if name is None:
            continue
        if start is None:
            no_term[name] += 1
            continue
        term = None if label is None else find(label)
        if label is not None and term is None:
            not_found[label] += 1
        near[cell] = similarity.similarity(start, term)
        best.append(similarity.similarity(start, start))
    return near, SimilarityScore(
        ontology=similarity.ontology.name,
        mean=bootstrap.mean(near),
        best=float(np.mean(best)),
        cells=len(best),
        true_without_term=dict(no_term.most_common()),
        predicted_without_term=dict(not_found.most_common()),
    )
