"""Reads the true labels of cells: columns of the file, renamed by a label map."""

from __future__ import annotations

from collections.abc import Mapping

from c2t.calibration.metrics.labels import TrueLabels
from c2t.runtime.cells.reader import CellCounts
from c2t.runtime.labels.label_map import FIELDS, UNKNOWN, FieldMap, check_known
from c2t.runtime.labels.measured import check_labels
from c2t.runtime.labels.ontology import Ontology
from c2t.runtime.system.errors import EvaluationError

# Where CELLxGENE's schema keeps them.
USUAL_COLUMNS = {
    "cell_type": "cell_type",
    "tissue": "tissue",
    "disease": "disease",
    "sex": "sex",
    "age": "development_stage",
}
# CELLxGENE's words for an unknown label. A cell with one of them is not judged.


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
        EvaluationError: A named column, or the one of cell types, is missing; no cell has a label;
            or the map has labels that no cell of the file has.
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
            if name != "age":
                check_labels(column, labels)
            if set(mapped.labels) - set(labels):
                check_known(mapped.labels, _every_label(cells, column), column=column)
        elif wanted is not None or name == "cell_type":
            raise _missing(cells, name, column)
        else:
            continue
        ontology = (ontologies or {}).get(name)
        meaning = {label: _name(label, mapped, ontology) for label in set(labels)}
        names = tuple(meaning[label] for label in labels)
        if any(name is not None for name in names):
            fields.append(
                TrueLabels(
                    field=name,
                    column=column,
                    names=names,
                    terms=mapped.terms,
                    own=tuple(labels),
                    renamed=tuple(mapped.labels),
                    assigned=tuple(mapped.assigned),
                )
            )
        elif wanted is not None or name == "cell_type":
            problem = f"no cell of {cells.name} has a label in obs[{column!r}]"
            raise EvaluationError(problem, hint=f"choose {_option(name)} from {_columns(cells)}")
    return fields


def _every_label(cells: CellCounts, column: str) -> set[str]:
    """Labels of all cells of the file: a map for all of them is good for some of them."""
    store = getattr(cells, "store", None)
    return set(cells.obs_column(column) if store is None else store.obs.column(column))


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
