"""What goes through a door: the same types for HTTP, SiLA 2, stdio and C.

One decision: what JSON Schema can state is stated in the types, so that a door's own description of
itself (OpenAPI) is what the decoder checks. Cells are maps from gene to count: two lists of equal
length would be a rule that no schema can state.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from c2t.runtime.bundle.manifest import BEAMS_MAX, PENALTY_MAX, STOP_LETTERS_MAX, STOPS_MAX
from c2t.runtime.describe.describer import DescribeOptions
from c2t.runtime.describe.description import Description
from c2t.runtime.describe.text_settings import CHOSEN
from c2t.runtime.generation.drawn_choices import SEED_MAX
from c2t.runtime.output.record import make_record

CELL_ID_MAX = 256
GENE_NAME_MAX = 256
CELLS_MAX = 4096  # of one request; a job takes any number

Gene = Annotated[str, Meta(min_length=1, max_length=GENE_NAME_MAX)]
Count = Annotated[float, Meta(ge=0)]
StopString = Annotated[str, Meta(min_length=1, max_length=STOP_LETTERS_MAX)]


class CountedCell(msgspec.Struct, forbid_unknown_fields=True):
    """A cell to describe.

    Args:
        counts: Count of each gene: an Ensembl id, or a symbol. Genes that are left out are 0.
        id: Its name, returned with its text; its place among the cells if absent.
    """

    counts: dict[Gene, Count]
    id: Annotated[str, Meta(max_length=CELL_ID_MAX)] | None = None


class Settings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """How to describe; what is absent is the bundle's own setting. As of `c2t describe`."""

    max_new_tokens: Annotated[int, Meta(ge=1, le=1 << 20)] | None = None
    num_beams: Annotated[int, Meta(ge=1, le=BEAMS_MAX)] | None = None
    no_repeat_ngram_size: Annotated[int, Meta(ge=0, le=1 << 20)] | None = None
    repetition_penalty: Annotated[float, Meta(ge=1 / PENALTY_MAX, le=PENALTY_MAX)] | None = None
    stop_strings: Annotated[tuple[StopString, ...], Meta(max_length=STOPS_MAX)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=1 << 10)] | None = None
    top_k: Annotated[int, Meta(ge=0, le=1 << 31)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    seed: Annotated[int, Meta(ge=0, le=SEED_MAX)] | None = None
    drafts: bool = True
    counts_are: Literal["auto", "counts", "log1p", "normalized"] = "auto"
    min_coverage: Annotated[float, Meta(ge=0, le=1)] = 0.1
    organism: Annotated[str, Meta(max_length=64)] | None = None
    unsure_below: Annotated[float, Meta(ge=0, le=1)] | Literal["auto"] | None = None


class DescribeRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Cells to describe, and how."""

    cells: Annotated[list[CountedCell], Meta(min_length=1, max_length=CELLS_MAX)]
    settings: Settings = Settings()


class UnreadCell(msgspec.Struct, forbid_unknown_fields=True):
    """A `CountedCell` whose counts are still JSON."""

    counts: msgspec.Raw
    id: Annotated[str, Meta(max_length=CELL_ID_MAX)] | None = None


class UnreadRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A `DescribeRequest` whose counts are still JSON, of which nothing was checked."""

    cells: Annotated[list[UnreadCell], Meta(min_length=1, max_length=CELLS_MAX)]
    settings: Settings = Settings()


class CellResult(msgspec.Struct):
    """What the model says of one cell: the fields of an output file of `c2t describe`.

    Args:
        cell: Its id.
        text: The description; null where there is an error.
        confidence: Mean probability of the text's tokens, 0 to 1.
        cell_type_confidence: The same over the words that name the cell type.
        genes_used: Genes of the cell that the model saw.
        error: Why there is no description.
        cell_type: The words of the text. So are tissue, disease, sex and age; null where it does
            not say them.
        cell_type_ontology_term_id: Of the term with that name, or "unknown"; null where there are
            no words, or the bundle has no names of terms. So are the others.
        pathways: Those that the text names, joined by "; ".
        cell_type_probability: Probability that the cell type is right; only where a threshold for
            unsure cells is in force.
        unsure: Whether the cell has no answer at or above that threshold; likewise.
    """

    cell: str
    text: str | None
    confidence: float | None
    cell_type_confidence: float | None
    genes_used: int
    error: str | None
    cell_type: str | None = None
    cell_type_ontology_term_id: str | None = None
    tissue: str | None = None
    tissue_ontology_term_id: str | None = None
    disease: str | None = None
    disease_ontology_term_id: str | None = None
    sex: str | None = None
    sex_ontology_term_id: str | None = None
    age: str | None = None
    development_stage_ontology_term_id: str | None = None
    pathways: str | None = None
    cell_type_probability: float | msgspec.UnsetType | None = msgspec.UNSET
    unsure: bool | msgspec.UnsetType = msgspec.UNSET


class DescribeResponse(msgspec.Struct):
    """The cells of a request in their order, and what is doubtful about it as a whole."""

    cells: list[CellResult]
    warnings: list[str]


class Problem(msgspec.Struct):
    """Why something was refused: the two lines of the command line."""

    problem: str
    hint: str


def cell_result(description: Description) -> CellResult:
    """A description as a door sends it."""
    record = make_record(0, description)
    return CellResult(**{name: getattr(record, name) for name in record.fields})


def describe_options(settings: Settings, base: DescribeOptions) -> DescribeOptions:
    """The options of a request: those of the service, with the request's settings."""
    changes: dict[str, Any] = {"drafts": settings.drafts and base.drafts}
    for name in (*CHOSEN, "unsure_below"):
        value = getattr(settings, name)
        if value is not None:
            changes[name] = value
    return replace(base, **changes)
