"""What parameters and responses of the feature hold, to and from the program's own types."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from c2t.runtime.output.record import FIELD_COLUMNS
from c2t.runtime.serve.room.messages import (
    CELLS_MAX,
    CellResult,
    CountedCell,
    DescribeRequest,
    Settings,
)
from c2t.runtime.serve.room.names_once import check_names_once
from c2t.runtime.system.checked_read import decode_json
from c2t.runtime.system.errors import C2TError, CellFileError

T = TypeVar("T")

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
    hint = 'send a list of cells: [{"id": "c1", "counts": {"ENSG00000141510": 3}}]'
    decoded = decode_json(cells, Cells, name="Cells", error=CellFileError, hint=hint)
    check_names_once(cells, decoded, beside=0)
    if cells_max is not None and len(decoded) > cells_max:
        problem = f"the call has {len(decoded):,} cells, at most {cells_max:,} are described now"
        raise CellFileError(problem, hint="use Describe Cells")
    return DescribeRequest(cells=decoded, settings=read_text(settings, Settings, "Settings"))


def read_text(text: str, kind: type[T], name: str) -> T:
    """A parameter of the type JSON Text; an empty one is all defaults.

    Raises:
        C2TError: It is not as the feature says.
    """
    hint = f"see the feature for what {name} may hold, or leave it empty"
    content = text.encode("utf-8", "replace").strip() or b"{}"
    return decode_json(content, kind, name=name, error=C2TError, hint=hint)


def json_line(result: CellResult) -> bytes:
    """A result as a line of JSON, newline included: the line of an output file."""
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
