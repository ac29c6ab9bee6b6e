"""Reads what `c2t describe` wrote, whatever the format, into columns.

One decision: a column that a file lacks is None, never guessed. The fields of a caption are the
exception: where no rules of a bundle have made columns of them, they are read from the texts by the
paper's template, and the page says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.describe.caption import caption_fields
from c2t.runtime.report.read_h5ad import read_h5ad
from c2t.runtime.report.read_tables import read_csv, read_jsonl, read_parquet, read_parts
from c2t.runtime.summary.categories import FAILED, UNSURE
from c2t.runtime.system.errors import ReportError

FIELDS = ("cell_type", "tissue", "disease", "sex", "age", "pathways")
TERM = "_ontology_term_id"
WANTED = (
    *("cell", "text", "confidence", "cell_type_confidence", "cell_type_probability"),
    *("error", "genes_used", "unsure"),
    *("group", "group_cell_type", "group_cell_type_ontology_term_id", "group_share"),
    *FIELDS,
    *(f"{name}{TERM}" for name in FIELDS),
)
TEMPLATE = "read from the texts by the template of the paper's captions"
COLUMNS = "the fields that describing wrote"

_READERS: dict[str, Callable[[Path, Sequence[str]], tuple[Iterable[Mapping[str, Any]], Any]]] = {
    ".h5ad": read_h5ad,
    ".jsonl": read_jsonl,
    ".csv": read_csv,
    ".parquet": read_parquet,
    ".parts": read_parts,
}


@dataclass(frozen=True, kw_only=True)
class GroupAnswer:
    """What a cell's group is said to be."""

    name: str | None
    term: str | None
    share: float | None


@dataclass(frozen=True, eq=False, kw_only=True)
class Results:
    """Descriptions of n cells, in the order of their file.

    Attributes:
        path: The file.
        written: When it was written (UTC).
        about: What it says of how it was made, by name; may be empty.
        rows: [n] rows in the file of cells; None where the file does not say.
        left_out: Cells of an .h5ad file that were not described, being not asked for.
        cells: [n] their ids.
        texts: [n] None where there is an error.
        errors: [n] None where there is none.
        confidence: [n] of the whole text, NaN where there is none.
        cell_type_confidence: [n] of the words that name the cell type.
        cell_type_probability: [n] of the cell type being right, NaN where the file states none.
        fields: By name of the field, [n] what the text says.
        terms: By name of the field, [n] ontology ids.
        unsure: [n] whether the file calls the cell's type unsure; None: it does not say.
        fields_from: Where the fields come from.
        groups: [n] the group of each cell; None for a cell in none.
        group_answers: [n] the answer of that group.
    """

    path: Path
    written: datetime
    about: Mapping[str, Any]
    rows: NDArray[np.int64] | None
    left_out: int
    cells: list[str]
    texts: list[str | None]
    errors: list[str | None]
    confidence: NDArray[np.float64]
    cell_type_confidence: NDArray[np.float64]
    cell_type_probability: NDArray[np.float64]
    fields: dict[str, list[str | None]]
    terms: dict[str, list[str | None]]
    unsure: list[bool] | None
    fields_from: str
    groups: list[str | None]
    group_answers: list[GroupAnswer]

    def names(self) -> list[str | None]:
        """[n] what each cell is counted as: the type that its text says, or not described."""
        fields = zip(self.fields["cell_type"], self.errors, strict=True)
        return [name if error is None else FAILED for name, error in fields]

    def unsure_cells(self) -> NDArray[np.bool_]:
        """[n] which of the described cells are unsure of their type; none where none is marked."""
        if self.unsure is None:
            return np.zeros(len(self.cells), bool)
        described = np.array([error is None for error in self.errors], bool)
        unsure: NDArray[np.bool_] = np.array(self.unsure, bool) & described
        return unsure

    def types(self) -> list[str | None]:
        """[n] as `names`, but unsure cells apart."""
        marks = zip(self.names(), self.unsure_cells().tolist(), strict=True)
        return [UNSURE if unsure else name for name, unsure in marks]


@dataclass(kw_only=True)
class _Columns:
    """Columns in the making. Equal texts are kept once: a model writes few openings."""

    values: dict[str, list[Any]] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)

    def text(self, value: Any) -> str | None:
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return None
        words = value if isinstance(value, str) else str(value)
        return self.kept.setdefault(words, words) or None


def read_results(path: Path) -> Results:
    """Read descriptions.

    Raises:
        ReportError: Not there, of an unknown kind, damaged, or without descriptions.
        CellFileError: A damaged `.h5ad` file.
        OutputError: A folder of parts that is not complete, or no pyarrow.
    """
    if not path.exists():
        problem = f"no such file: {path}"
        raise ReportError(problem, hint="give what `c2t describe ... -o` wrote")
    if path.suffix not in _READERS:
        problem = f"{path} is of no kind that `c2t describe` writes"
        raise ReportError(problem, hint=f"give a file whose name ends in {', '.join(_READERS)}")
    if path.is_dir() != (path.suffix == ".parts"):
        problem = f"{path} is {'a folder' if path.is_dir() else 'no folder'}"
        raise ReportError(problem, hint="give what `c2t describe ... -o` wrote")
    records, about = _READERS[path.suffix](path, WANTED)
    return _columns(path, records, about)


def _columns(path: Path, records: Iterable[Mapping[str, Any]], about: Any) -> Results:
    made, rows, left_out = _Columns(), list[int](), 0
    values: dict[str, list[Any]] = {name: [] for name in WANTED}
    names: set[str] = set()
    for record in records:
        if not record.get("text") and not record.get("error"):
            left_out += 1
            continue
        names.update(record)
        for name in WANTED:
            values[name].append(_value(name, record.get(name), made))
        if "row" in record:
            rows.append(record["row"])
    if not values["cell"]:
        problem = f"{path} has no descriptions: " + (
            f"none of its {left_out:,} cells has a text" if left_out else "it has no cells"
        )
        raise ReportError(problem, hint="describe the cells first: `c2t describe`")
    stated = "cell_type" in names
    fields = {name: values[name] for name in FIELDS if name in names}
    if not stated:
        fields = _from_texts(values["text"])
    return Results(
        path=path,
        written=datetime.fromtimestamp(path.stat().st_mtime, UTC),
        about=about if isinstance(about, Mapping) else {},
        rows=np.array(rows, np.int64) if rows else None,
        left_out=left_out,
        cells=[cell or "" for cell in values["cell"]],
        texts=values["text"],
        errors=values["error"],
        confidence=np.array(values["confidence"], np.float64),
        cell_type_confidence=np.array(values["cell_type_confidence"], np.float64),
        cell_type_probability=np.array(values["cell_type_probability"], np.float64),
        fields=fields,
        terms={name: values[name + TERM] for name in FIELDS if name + TERM in names},
        unsure=values["unsure"] if "unsure" in names else None,
        fields_from=COLUMNS if stated else TEMPLATE,
        groups=values["group"],
        group_answers=_answers(values),
    )


def _answers(values: Mapping[str, list[Any]]) -> list[GroupAnswer]:
    columns = zip(
        values["group_cell_type"],
        values["group_cell_type_ontology_term_id"],
        values["group_share"],
        strict=True,
    )
    made: dict[tuple[Any, ...], GroupAnswer] = {}
    answers = []
    for name, term, share in columns:
        known = None if math.isnan(share) else share
        key = (name, term, known)
        if key not in made:
            made[key] = GroupAnswer(name=name, term=term, share=known)
        answers.append(made[key])
    return answers


def _value(name: str, value: Any, made: _Columns) -> Any:
    if name.endswith(("confidence", "probability", "share")):
        return _number(value)
    if name == "unsure":
        return str(value).casefold() in ("true", "1", "1.0", "yes")
    if isinstance(value, (list, tuple)):
        value = "; ".join(str(part) for part in value)
    return made.text(value)


def _number(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return math.nan
    return number if 0 <= number <= 1 else math.nan


def _from_texts(texts: Iterable[str | None]) -> dict[str, list[str | None]]:
    names = [name for name in FIELDS if name != "pathways"]
    seen: dict[str | None, dict[str, str | None]] = {None: dict.fromkeys(names)}
    rows = list(_each(texts, seen, names))
    return {name: [row[name] for row in rows] for name in names}


def _each(
    texts: Iterable[str | None], seen: dict[str | None, dict[str, str | None]], names: list[str]
) -> Iterator[dict[str, str | None]]:
    for text in texts:
        if text not in seen and text is not None:
            found = caption_fields(text)
            seen[text] = {name: getattr(found, name) for name in names}
        yield seen[text]
