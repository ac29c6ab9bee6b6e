"""What goes through a door beside descriptions: labels that are compared, and evidence."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from c2t.runtime.describe.labelled_cell import LabelledCell
from c2t.runtime.explain.evidence import CellEvidence
from c2t.runtime.explain.options import RUNS_MIN
from c2t.runtime.output.record import DIGITS
from c2t.runtime.serve.room.messages import CountedCell

ANNOTATED_MAX = 256  # cells of a request; a file is for `c2t annotate`
EXPLAINED_MAX = 16
LABELS_MAX = 1024
RUNS_MAX = 8192
GENES_MAX = 8192

Label = Annotated[str, Meta(min_length=1, max_length=200)]


class CountsAre(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """How counts are read; see `Settings`."""

    counts_are: Literal["auto", "counts", "log1p", "normalized"] = "auto"
    min_coverage: Annotated[float, Meta(ge=0, le=1)] = 0.1
    organism: Annotated[str, Meta(max_length=64)] | None = None


class AnnotateRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Cells, and the labels to compare for them.

    Args:
        cells: They are compared one like the other.
        labels: Different ones, in the words that captions use.
        top: Labels of each cell in the answer.
        settings: How to read the counts.
    """

    cells: Annotated[list[CountedCell], Meta(min_length=1, max_length=ANNOTATED_MAX)]
    labels: Annotated[list[Label], Meta(min_length=1, max_length=LABELS_MAX)]
    top: Annotated[int, Meta(ge=1, le=LABELS_MAX)] = 3
    settings: CountsAre = CountsAre()


class LabelShare(msgspec.Struct):
    """A label, and its probability among those given."""

    label: str
    probability: float


class LabelResult(msgspec.Struct):
    """The labels of one cell: as a line of `c2t annotate`.

    Args:
        cell: Its name.
        label: The most probable label.
        probability: Its probability among those given.
        mass: What the model gives to all of them together; little says that none may be right.
        top: The most probable labels.
        genes_used: Genes of the cell that the model saw.
        error: Why there are none.
    """

    cell: str
    label: str | None
    probability: float | None
    mass: float | None
    top: list[LabelShare]
    genes_used: int
    error: str | None


class AnnotateResponse(msgspec.Struct):
    """The cells of a request in their order, and what is doubtful about it as a whole."""

    cells: list[LabelResult]
    warnings: list[str]


class EvidenceSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What is explained, and how thoroughly.

    Args:
        field: Of the text.
        label: Another name than the one that is written there.
        runs: Most runs of the encoder for a cell.
        genes: Most genes of a cell in the answer.
        seed: Of the controls.
    """

    field: Annotated[str, Meta(min_length=1, max_length=64)] = "cell_type"
    label: Label | None = None
    runs: Annotated[int, Meta(ge=RUNS_MIN, le=RUNS_MAX)] = 256
    genes: Annotated[int, Meta(ge=1, le=GENES_MAX)] = 30
    seed: Annotated[int, Meta(ge=0, le=1 << 53)] = 0


class ExplainRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Cells whose texts are to be explained, and how."""

    cells: Annotated[list[CountedCell], Meta(min_length=1, max_length=EXPLAINED_MAX)]
    evidence: EvidenceSettings = EvidenceSettings()
    settings: CountsAre = CountsAre()


class GeneResult(msgspec.Struct):
    """A gene that was left out; see `c2t.runtime.explain.evidence.GeneEvidence`."""

    gene_id: str
    symbol: str | None
    rank: int
    direction: Literal["for", "against", "none"]
    evidence: float
    effect: float
    shift: float
    probability_effect: float


class TogetherResult(msgspec.Struct):
    """The strongest genes left out together; see `c2t.runtime.explain.evidence.Together`."""

    genes: int
    probability: float
    moved: float
    control_moved: float


class EvidenceResult(msgspec.Struct):
    """What the words of a cell's text rest on; see `c2t.runtime.explain.evidence.CellEvidence`."""

    cell: str
    text: str | None
    field: str
    words: str | None
    written: str | None
    probability: float | None
    noise: float | None
    complete: bool
    runs: int
    genes: list[GeneResult]
    together: TogetherResult | None
    genes_used: int
    error: str | None


class ExplainResponse(msgspec.Struct):
    """The cells of a request in their order, and what is doubtful about it as a whole."""

    cells: list[EvidenceResult]
    warnings: list[str]


def label_result(cell: LabelledCell, top: int) -> LabelResult:
    """A cell's labels as a door sends them."""
    shares = cell.probabilities
    best = [] if shares is None else cell.top(top)
    return LabelResult(
        cell=cell.cell,
        label=cell.label,
        probability=_rounded(cell.probability),
        mass=_significant(cell.mass),
        top=[
            LabelShare(label=cell.labels[place], probability=round(float(shares[place]), DIGITS))
            for place in best
            if shares is not None
        ],
        genes_used=cell.genes_used,
        error=cell.error,
    )


def evidence_result(cell: CellEvidence, genes: int) -> EvidenceResult:
    """A cell's evidence as a door sends it."""
    together = cell.together
    return EvidenceResult(
        cell=cell.cell,
        text=cell.text,
        field=cell.field,
        words=cell.words,
        written=cell.written,
        probability=_rounded(cell.probability),
        noise=_significant(cell.noise),
        complete=cell.complete,
        runs=cell.runs,
        genes=[
            GeneResult(
                gene_id=gene.gene_id,
                symbol=gene.symbol,
                rank=gene.rank,
                direction=gene.direction,  # type: ignore[arg-type]  # one of the three
                evidence=_plain(gene.evidence),
                effect=_plain(gene.effect),
                shift=_plain(gene.shift),
                probability_effect=_plain(gene.probability_effect),
            )
            for gene in cell.strongest(genes)
        ],
        together=None
        if together is None
        else TogetherResult(
            genes=together.genes,
            probability=_plain(together.probability),
            moved=_plain(together.moved),
            control_moved=_plain(together.control_moved),
        ),
        genes_used=cell.genes_used,
        error=cell.error,
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, DIGITS)


def _significant(value: float | None) -> float | None:
    return None if value is None else _plain(value)


def _plain(value: float) -> float:
    """Five significant digits: those beyond depend on the batch."""
    return float(f"{value:.{DIGITS}g}")
