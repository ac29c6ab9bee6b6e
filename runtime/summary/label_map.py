"""A label map: what the labels of a data set are called in the texts, as `c2t evaluate` reads it.

{"CD14+ Mono": "CD14-positive monocyte"}, or by field: {"cell_type": {"labels": {...}}}.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from c2t.runtime.system.checked_read import read_json
from c2t.runtime.system.errors import ReportError

# A map has a line for each label of a data set, which makes kilobytes.
LABEL_MAP_BYTES_MAX = 64 << 20
HINT = 'give JSON such as {"CD14+ Mono": "CD14-positive monocyte"}'


class _FieldMap(msgspec.Struct, frozen=True):
    """The map of one field; what else it says is for `c2t evaluate`."""

    labels: dict[str, str] = {}


def read_label_map(path: Path, field: str = "cell_type") -> dict[str, str]:
    """Read the map of one field.

    Args:
        path: The file.
        field: The field whose labels are wanted.

    Raises:
        ReportError: The file is missing, is no such map, or has none for the field.
    """
    what = "a label map"
    document = read_json(
        path,
        dict[str, str | _FieldMap],
        bytes_max=LABEL_MAP_BYTES_MAX,
        error=ReportError,
        hint=HINT,
        what=what,
    )
    labels = {name: value for name, value in document.items() if isinstance(value, str)}
    maps = {name: value for name, value in document.items() if isinstance(value, _FieldMap)}
    if labels and maps:
        problem = f"{path} is not a label map: {next(iter(labels))!r} is a label among fields"
        raise ReportError(problem, hint=HINT)
    found = maps[field].labels if field in maps else labels
    if not found:
        problem = f"{path} maps no label of the field {field}"
        raise ReportError(problem, hint=HINT)
    return found
