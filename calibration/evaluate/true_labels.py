"""Reads the true labels of cells: columns of the file, renamed by a label map.

Each data set has its own names ("CD14+ Mono"); captions use one name for each kind of cell. A JSON
file maps them, for the cell type alone: {"CD14+ Mono": "CD14-positive monocyte"}, or by field:

    {"cell_type": {"labels": {"CD14+ Mono": "CD14-positive monocyte"},
                   "terms": {"CD14-positive monocyte": "CL:0001054"}},
     "tissue": {"every_cell": "blood"}}
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from c2t.calibration.metrics.labels import TrueLabels
from c2t.calibration.metrics.ontology import Ontology
from c2t.runtime.cells.reader import CellCounts
from c2t.runtime.system.checked_read import read_json
from c2t.runtime.system.errors import EvaluationError

FIELDS = ("cell_type", "tissue", "disease", "sex", "age")
# Where CELLxGENE's schema keeps them.
USUAL_COLUMNS = {
    "cell_type": "cell_type",
    "tissue": "tissue",
    "disease": "disease",
    "sex": "sex",
    "age": "development_stage",
}
# CELLxGENE's words for an unknown label. A cell with one of them is not judged.
UNKNOWN = {"", "unknown", "na", "nan"}
# A map has a line for each label of a data set, which makes kilobytes.
LABEL_MAP_BYTES_MAX = 64 << 20


class FieldMap(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The map of one field.

    Args:
        labels: Label of the data set -> name that captions use; other labels stay as they are.
        terms: Name that captions use -> id of its term, where the ontology has another name.
        every_cell: Label of all cells, for a file without a column for the field.
    """

    labels: dict[str, str] = {}
    terms: dict[str, str] = {}
    every_cell: str | None = None


def read_label_map(path: Path | None) -> dict[str, FieldMap]:
    """Read a label map.

    Raises:
        EvaluationError: The file is missing, or not such a map.
    """
    if path is None:
        return {}
    hint = 'give JSON such as {"CD14+ Mono": "CD14-positive monocyte"}'
    document = read_json(
        path,
        dict[str, str | FieldMap],
        bytes_max=LABEL_MAP_BYTES_MAX,
        error=EvaluationError,
        hint=hint,
        what="a label map",
    )
    labels = {name: value for name, value in document.items() if isinstance(value, str)}
    maps = {name: value for name, value in document.items() if isinstance(value, FieldMap)}
    if not maps:
        return {"cell_type": FieldMap(labels=labels)}
    if labels:
        problem = f"{path} is not a label map: {next(iter(labels))!r} is a label among fields"
        raise EvaluationError(problem, hint=hint)
    unknown = sorted(set(maps).difference(FIELDS))
    if unknown:
        problem = f"{path} has maps for {', '.join(unknown)}"
        raise EvaluationError(problem, hint=f"the fields are: {', '.join(FIELDS)}")
    return maps


def read_true_labels(
    cells: CellCounts,
    columns: dict[str, str | None],
    maps: dict[str, FieldMap],
    ontologies: Mapping[str, Ontology] | None = None,
) -> list[TrueLabels]:
    """Read the labels of every field that the file has.

    Args:
        cells: The opened file.
        columns: Field -> column that the user named.
        maps: See `read_label_map`.
        ontologies: Field -> ontology, which names labels that are ids of terms.

    Raises:
        EvaluationError: A named column, or the one of cell types, is missing; or no cell has a
            label.
    """
    fields = []
    for name in FIELDS:
        wanted, mapped = columns.get(name), maps.get(name, FieldMap())
        column = wanted or USUAL_COLUMNS[name]
        if wanted is None and mapped.every_cell is not None:
            labels = [mapped.every_cell] * cells.n_cells
            column = "the label map"
        elif column in cells.obs_columns:
            labels = cells.obs_column(column)
        elif wanted is not None or name == "cell_type":
            raise _missing(cells, name, column)
        else:
            continue
        ontology = (ontologies or {}).get(name)
        meaning = {label: _name(label, mapped, ontology) for label in set(labels)}
        names = tuple(meaning[label] for label in labels)
        if any(name is not None for name in names):
            fields.append(TrueLabels(field=name, column=column, names=names, terms=mapped.terms))
        elif wanted is not None or name == "cell_type":
            problem = f"no cell of {cells.name} has a label in obs[{column!r}]"
            raise EvaluationError(problem, hint=f"choose {_option(name)} from {_columns(cells)}")
    return fields


def _name(label: str, mapped: FieldMap, ontology: Ontology | None) -> str | None:
    """The name that captions use for a label of the data set; None for an unknown label."""
    if label in mapped.labels:
        return mapped.labels[label].strip()
    if label.strip().lower() in UNKNOWN:
        return None
    return ontology.label(label.strip()) if ontology else label.strip()


def _missing(cells: CellCounts, name: str, column: str) -> EvaluationError:
    problem = f"{cells.name} has no column {column!r} of labels ({name.replace('_', ' ')})"
    return EvaluationError(problem, hint=f"choose {_option(name)} from {_columns(cells)}")


def _option(name: str) -> str:
    return "--label-column" if name == "cell_type" else f"--{name}-column"


def _columns(cells: CellCounts) -> str:
    return f"the columns there are: {', '.join(sorted(cells.obs_columns)) or 'none'}"
