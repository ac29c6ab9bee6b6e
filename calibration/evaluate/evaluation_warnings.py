"""Warnings about an evaluation's figures, in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from c2t.calibration.metrics.field_score import FieldScore, JudgedField

SHOWN = 5


def field_warnings(
    fields: Mapping[str, JudgedField], without_ontology: Sequence[str], prefixes: Mapping[str, str]
) -> list[str]:
    """Warnings about labels that are missing, unread, or unknown to the ontology.

    Args:
        fields: The judged fields.
        without_ontology: Fields whose ontology has no term for any label.
        prefixes: Field -> name of its ontology, for the fields that have one.
    """
    warnings = []
    for name, judged in fields.items():
        what = name.replace("_", " ")
        warnings += _label_warnings(what, judged.score)
        if name in prefixes and judged.score.similarity is None:
            if name in without_ontology:
                reason = f"{prefixes[name]} has no term for any of the labels"
            else:
                reason = f"there is no {prefixes[name]} ontology: give a file, or install"
                reason += " cellxgene-ontology-guide"
            warnings.append(f"no ontology similarity of the {what}: {reason}")
    return warnings


def reference_warnings(references: Sequence[str | None]) -> list[str]:
    """A warning if some cells have a reference caption and some have none."""
    missing = sum(reference is None for reference in references)
    if not missing or missing == len(references):
        return []
    return [f"{missing:,} of {len(references):,} cells have no reference caption and are left out"]


def _label_warnings(what: str, score: FieldScore) -> list[str]:
    warnings = []
    every = score.cells + score.unlabelled
    if score.unlabelled:
        warnings.append(f"{score.unlabelled:,} of {every:,} cells have no {what} label, left out")
    if score.unread:
        warnings.append(
            f"{score.unread:,} of {score.cells:,} texts name no {what}: counted as wrong"
        )
    said = {label for row in score.confusion.values() for label in row if label}
    never = {label: row for label, row in score.labels.items() if label not in said}
    lost = sum(row.cells for row in never.values())
    # Texts may never name a rare type. If most cells' types are never named, the texts likely use
    # other names.
    if said and 2 * lost > score.cells:
        # Names that are labels too have the labels' spelling; they are none of those to map.
        others = sorted(said - set(score.labels))
        instead = f"; names of the texts that are no label: {_some(others)}" if others else ""
        warnings.append(
            f"{lost:,} of {score.cells:,} cells have a {what} in column {score.column!r} that no "
            f"text names ({_some(never)}){instead}: a --label-map may be needed"
        )
    near = score.similarity
    if near is not None and near.true_without_term:
        lost = sum(near.true_without_term.values())
        names = _some(near.true_without_term)
        warnings.append(
            f"{lost:,} cells have a {what} that is no term of {near.ontology} ({names}): "
            "left out of the similarity"
        )
    if near is not None and near.predicted_without_term:
        lost = sum(near.predicted_without_term.values())
        names = _some(near.predicted_without_term)
        warnings.append(
            f"{lost:,} texts name a {what} that is no term of {near.ontology} ({names}): "
            "counted as unrelated"
        )
    return warnings


def _some(names: Sequence[str] | Mapping[str, object]) -> str:
    listed = [f"`{name}`" for name in list(names)[:SHOWN]]
    more = len(names) - len(listed)
    return ", ".join(listed) + (f" and {more:,} more" if more > 0 else "")
