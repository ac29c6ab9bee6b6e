"""What parameters and responses of the feature hold, to and from the program's own types."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from c2t.runtime.output.record import FIELD_COLUMNS
from c2t.runtime.serve.room.analysis_messages import (
    ANNOTATED_MAX,
    EXPLAINED_MAX,
    AnnotateRequest,
    CountsAre,
    EvidenceResult,
    EvidenceSettings,
    ExplainRequest,
    LabelResult,
)
from c2t.runtime.serve.room.messages import (
    CELLS_MAX,
    CellResult,
    CountedCell,
    DescribeRequest,
    Settings,
)
from c2t.runtime.serve.room.names_once import check_names_once
from c2t.runtime.serve.room.questions import ASKED_MAX, AnswerResult, AskRequest
from c2t.runtime.serve.room.vector_messages import (
    EmbedRequest,
    ScoreResult,
    SearchRequest,
    VectorResult,
)
from c2t.runtime.system.checked_read import decode_json
from c2t.runtime.system.errors import C2TError, CellFileError

T = TypeVar("T")
Result = CellResult | LabelResult | EvidenceResult | VectorResult | ScoreResult | AnswerResult

Cells = Annotated[list[CountedCell], Meta(min_length=1, max_length=CELLS_MAX)]
NONE = -1  # where SiLA 2 has no null


def read_request(cells: bytes, settings: str, cells_max: int | None = None) -> DescribeRequest:
    """The cells and settings of a call.

    Args:
        cells: JSON.
        settings: JSON, or nothing.
        cells_max: Most cells; None: as many as any request may have.

    Raises:
        C2TError: They are not as the feature says.
    """
    decoded = _read_cells(cells)
    if cells_max is not None and len(decoded) > cells_max:
        problem = f"the call has {len(decoded):,} cells, at most {cells_max:,} are described now"
        raise CellFileError(problem, hint="use Describe Cells")
    return DescribeRequest(cells=decoded, settings=read_text(settings, Settings, "Settings"))


def read_annotate(parameters: dict[str, Any]) -> AnnotateRequest:
    """The parameters of Annotate Now.

    Raises:
        C2TError: They are not as the feature says.
    """
    cells = _few(_read_cells(parameters["Cells"]), ANNOTATED_MAX, "are annotated now")
    settings = read_text(parameters["Settings"], CountsAre, "Settings")
    labels, top = parameters["Labels"], parameters["Top"]
    try:
        return msgspec.convert(
            {"cells": cells, "labels": labels, "top": top, "settings": settings}, AnnotateRequest
        )
    except msgspec.ValidationError as error:
        problem = f"Labels or Top: {error}"
        raise C2TError(problem, hint="see the feature for what they may hold") from None


def read_explain(parameters: dict[str, Any]) -> ExplainRequest:
    """The parameters of Explain Now.

    Raises:
        C2TError: They are not as the feature says.
    """
    return ExplainRequest(
        cells=_few(_read_cells(parameters["Cells"]), EXPLAINED_MAX, "are explained now"),
        evidence=read_text(parameters["Evidence"], EvidenceSettings, "Evidence"),
        settings=read_text(parameters["Settings"], CountsAre, "Settings"),
    )


def read_embed(parameters: dict[str, Any]) -> EmbedRequest:
    """The parameters of Embed.

    Raises:
        C2TError: They are not as the feature says.
    """
    return EmbedRequest(
        cells=_few(_read_cells(parameters["Cells"]), ANNOTATED_MAX, "are embedded now"),
        settings=read_text(parameters["Settings"], CountsAre, "Settings"),
    )


def read_search(parameters: dict[str, Any]) -> SearchRequest:
    """The parameters of Search; the library has looked at the texts.

    Raises:
        C2TError: They are not as the feature says.
    """
    return SearchRequest(
        cells=_few(_read_cells(parameters["Cells"]), ANNOTATED_MAX, "are searched now"),
        texts=parameters["Texts"],
        settings=read_text(parameters["Settings"], CountsAre, "Settings"),
    )


def read_ask(parameters: dict[str, Any]) -> AskRequest:
    """The parameters of Ask; the library has looked at question and labels.

    Raises:
        C2TError: They are not as the feature says.
    """
    return AskRequest(
        cells=_few(_read_cells(parameters["Cells"]), ASKED_MAX, "are asked about now"),
        question=parameters["Question"],
        labels=parameters["Labels"],
        together=parameters["Together"],
        settings=read_text(parameters["Settings"], Settings, "Settings"),
    )


def _read_cells(content: bytes) -> list[CountedCell]:
    hint = 'send a list of cells: [{"id": "c1", "counts": {"ENSG00000141510": 3}}]'
    cells = decode_json(content, Cells, name="Cells", error=CellFileError, hint=hint)
    check_names_once(content, cells, beside=0)
    return cells


def _few(cells: list[CountedCell], most: int, done: str) -> list[CountedCell]:
    if len(cells) > most:
        problem = f"the call has {len(cells):,} cells, at most {most:,} {done}"
        raise CellFileError(problem, hint="send fewer at a time, or give the command line a file")
    return cells


def read_text(text: str, kind: type[T], name: str) -> T:
    """A parameter of the type JSON Text; an empty one is all defaults.

    Raises:
        C2TError: It is not as the feature says.
    """
    hint = f"see the feature for what {name} may hold, or leave it empty"
    content = text.encode("utf-8", "replace").strip() or b"{}"
    return decode_json(content, kind, name=name, error=C2TError, hint=hint)


def json_line(result: Result) -> bytes:
    """A result as a line of JSON, newline included."""
    return msgspec.json.encode(result) + b"\n"


def join_lines(lines: Iterable[bytes], bytes_max: int) -> tuple[int, bytes]:
    """As many of the lines as fit, in one piece.

    Returns:
        How many, and the piece. The first line is taken however long it is.
    """
    taken: list[bytes] = []
    size = 0
    for line in lines:
        size += len(line)
        if taken and size > bytes_max:
            break
        taken.append(line)
    return len(taken), b"".join(taken)


def cell_responses(place: int, result: CellResult) -> dict[str, Any]:
    """The intermediate responses of Describe Cells for a cell that is finished."""
    confidence, of_type = result.confidence, result.cell_type_confidence
    return {
        "Index": place,
        "CellId": result.cell,
        "Text": result.text or "",
        "Confidence": float(NONE if confidence is None else confidence),
        "CellTypeConfidence": float(NONE if of_type is None else of_type),
        "GenesUsed": result.genes_used,
        "Error": result.error or "",
        **{_identifier(name): getattr(result, name) or "" for name in FIELD_COLUMNS},
    }


def _identifier(column: str) -> str:
    """What SiLA calls a column: "CellType" for "cell_type"."""
    return "".join(word.capitalize() for word in column.split("_"))
