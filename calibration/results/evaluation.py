"""What an evaluation found: the contents of `evaluation.json`, and of a line of `cells.jsonl`."""

from __future__ import annotations

from dataclasses import dataclass

from c2t.calibration.confidence.score import CertaintyScore
from c2t.calibration.labels.note import LabelMapNote
from c2t.calibration.labels.scores import LabelProposal
from c2t.calibration.metrics.bootstrap import BootstrapOptions, Interval
from c2t.calibration.metrics.field_score import FieldScore


@dataclass(frozen=True, kw_only=True)
class SystemScores:
    """One bundle's texts, judged.

    Args:
        bundle: Name of the bundle.
        bundle_sha256: Hash of its manifest, which holds those of all its files.
        precision: Such as "fp32".
        engine: Library, version and device that ran it.
        failed: Cells that it could not describe; they count as wrong.
        mean_tokens: Mean length of the texts, in text tokens.
        seconds: Time to describe the cells.
        fields: Scores by field.
        texts: Scores against reference captions by metric; empty if there are none.
        certainty: Its confidence against the labels; None if no text names a cell type.
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
    certainty: CertaintyScore | None = None


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Figures of a field: judged bundle minus the other one, cell by cell."""

    accuracy: Interval
    macro_f1: Interval
    similarity: Interval | None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two bundles on the same cells; cells that either could not describe are left out.

    Args:
        cells: Cells compared.
        identical_texts: Share of cells with the same text.
        token_agreement: Positions with the same token in both texts, as a share of the longer
            text's length, over all cells. After an inserted token, all positions differ.
        forced_agreement: Share of positions of the reference's texts where both bundles find the
            same token the likeliest; None where the vocabularies differ.
        kl_per_token: Mean of KL(reference || judged), in nats, over the same positions.
        first_divergence: For each pair of texts that differ, the first position that does.
        text_lengths: Tokens of the longer text of each pair that differs.
        not_compared: Why there are no token figures; None if there are.
    """

    cells: int
    identical_texts: Interval
    token_agreement: Interval | None
    forced_agreement: Interval | None
    kl_per_token: Interval | None
    first_divergence: tuple[int, ...]
    text_lengths: tuple[int, ...]
    not_compared: str | None = None


@dataclass(frozen=True, kw_only=True)
class CellRecord:
    """One cell: a line of `cells.jsonl`. Labels are by field, as the file or text writes them."""

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
    cell_type_confidence: float | None = None
    cell_type_probability: float | None = None
    unsure: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A bundle judged on labelled cells, alone or against another bundle.

    Args:
        c2t_version: Version that judged it.
        cells_file: Name of the file of cells.
        cells: How many were described.
        generation: Settings that the texts were generated with.
        bootstrap: How intervals were computed.
        judged: The bundle.
        against: The other bundle.
        differences: By field: judged less against.
        comparison: Texts and tokens of the two.
        warnings: Sentences that qualify the figures.
        examples: Some cells, wrong ones first.
        label_map: What the figures owe to a label map; None without one.
        proposal: What labels may mean that texts name otherwise; None if none are.
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
    label_map: LabelMapNote | None = None
    proposal: LabelProposal | None = None
