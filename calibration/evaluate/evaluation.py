"""What an evaluation found out: plain records, written as they are to `evaluation.json`."""

from __future__ import annotations

from dataclasses import dataclass

from c2t.calibration.evaluate.comparison import Comparison
from c2t.calibration.metrics.bootstrap import BootstrapOptions, Interval
from c2t.calibration.metrics.field_score import FieldScore


@dataclass(frozen=True, kw_only=True)
class SystemScores:
    """One bundle's texts, judged.

    Args:
        bundle: Name of the bundle.
        bundle_sha256: Hash of its manifest, which holds those of all its files.
        precision: Such as "fp32".
        engine: What ran it.
        failed: Cells that it could not describe; they count as wrong.
        mean_tokens: Mean length of the texts, in text tokens.
        seconds: Time to describe the cells.
        fields: Scores by field.
        texts: Scores against reference captions by metric; empty if there are none.
    """

    bundle: str
    bundle_sha256: str
    precision: str
    engine: str
    failed: int
    mean_tokens: float
    seconds: float
    fields: dict[str, FieldScore]
    texts: dict[str, Interval]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A field's figures of the judged bundle less those of the one it is held against, in pairs."""

    accuracy: Interval
    macro_f1: Interval
    similarity: Interval | None


@dataclass(frozen=True, kw_only=True)
class CellRecord:
    """One cell: a line of `cells.jsonl`. Labels are by field, as written."""

    cell: str
    text: str | None
    error: str | None
    true: dict[str, str | None]
    said: dict[str, str | None]
    similarity: dict[str, float]
    reference: str | None = None
    against_text: str | None = None
    against_said: dict[str, str | None] | None = None
    first_divergence: int | None = None


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A bundle judged on labelled cells, and held against another one if there was one.

    Args:
        c2t_version: What judged it.
        cells_file: Name of the file of cells.
        cells: How many were described.
        generation: Settings that the texts were generated with.
        bootstrap: How intervals were found.
        judged: The bundle.
        against: The other bundle.
        differences: By field: judged less against.
        comparison: Texts and tokens of the two.
        warnings: What a reader of the figures must know.
        examples: Some cells, wrong ones first.
    """

    c2t_version: str
    cells_file: str
    cells: int
    generation: dict[str, str]
    bootstrap: BootstrapOptions
    judged: SystemScores
    against: SystemScores | None
    differences: dict[str, Difference]
    comparison: Comparison | None
    warnings: tuple[str, ...]
    examples: tuple[CellRecord, ...]
