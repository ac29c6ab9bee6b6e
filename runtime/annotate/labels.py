"""The labels that cells are to be compared with: read from a file, or a branch of an ontology.

One decision: labels are the words that the decoder reads, and are never changed: not to a synonym,
nor to what the training captions say. What is doubtful about one is said
(`c2t.runtime.describe.caption_names`).
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from c2t.runtime.fields.reader import UNKNOWN, FieldReader
from c2t.runtime.generation.candidate_names import NAME_LETTERS_MAX
from c2t.runtime.labels.ontology import Ontology
from c2t.runtime.labels.ontology_file import installed_ontology, read_ontology
from c2t.runtime.system.checked_read import read_bounded
from c2t.runtime.system.errors import C2TError

LABELS_MAX = 1000  # 717 terms lie below "hematopoietic cell"
FILE_BYTES_MAX = 4 << 20
TERM = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,20}:\d{1,12}")  # "CL:0000542"
SHOWN = 5  # doubts about ids
LABEL_COLUMNS = ("label", "name", "cell_type")
ID_COLUMNS = ("id", "ontology_id", "term", "cell_type_ontology_term_id", "ontology_term_id")
_TABLES = {".csv": ",", ".tsv": "\t"}
_HINT = "give a text file with a label a line, or a .csv with a column called label"


class LabelError(C2TError):
    """Labels that cells cannot be compared with."""


@dataclass(frozen=True)
class Label:
    """One label.

    Args:
        name: The words that are compared.
        id: Passed through: usually an id of an ontology.
    """

    name: str
    id: str | None = None


@dataclass(frozen=True)
class Labels:
    """Different labels, at least one.

    Args:
        labels: In the order of all columns and matrices.
        source: Where they are from, in words.
    """

    labels: tuple[Label, ...]
    source: str

    @property
    def names(self) -> tuple[str, ...]:
        """Their words."""
        return tuple(label.name for label in self.labels)

    @property
    def ids(self) -> tuple[str, ...] | None:
        """Their ids, "" for a label without one; None if no label has one."""
        if not any(label.id for label in self.labels):
            return None
        return tuple(label.id or "" for label in self.labels)


def read_labels(wanted: str, ontology: Path | None = None) -> Labels:
    """Read labels.

    Args:
        wanted: Path of a file (`.csv` and `.tsv` have a header; any other has a label a line), or
            the id of a term: then it and all below it.
        ontology: File with the terms; None: the installed one. A line of a file that is an id is
            looked up there, too. Ids beside labels are looked up if a file is given.

    Raises:
        LabelError: No such file or term, no labels, too many, one twice, or one that no caption
            could say.
        EvaluationError: The ontology cannot be read.
    """
    path = Path(wanted)
    if not path.exists() and TERM.fullmatch(wanted):
        opened = _open_ontology(wanted, ontology)
        return checked(_branch(opened, wanted), f"{wanted} and what is below it in {opened.name}")
    labels = _table(path) if path.suffix.lower() in _TABLES else _lines(path)
    ids = [label.name for label in labels if TERM.fullmatch(label.name)]
    if ids:
        opened = _open_ontology(ids[0], ontology)
        labels = [_named(opened, label) for label in labels]
    found = checked(labels, str(path))
    if ontology is not None and not ids:
        _check_ids(found, read_ontology(ontology))
    return found


def checked(labels: Iterable[Label], source: str) -> Labels:
    """Labels that can be compared.

    Raises:
        LabelError: None, too many, one that is empty or too long, or one twice.
    """
    found = tuple(labels)
    if not found:
        problem = f"{source} has no labels"
        raise LabelError(problem, hint=_HINT)
    if len(found) > LABELS_MAX:
        problem = f"{source} has {len(found):,} labels; at most {LABELS_MAX:,} are compared"
        raise LabelError(problem, hint="leave out those that cannot be, or take a smaller branch")
    first: dict[str, Label] = {}
    for label in found:
        if not label.name:
            problem = f"{source} has an empty label"
            raise LabelError(problem, hint="give every row a label")
        if len(label.name) > NAME_LETTERS_MAX or not label.name.isprintable():
            problem = f"{source} has a label that no caption could say: {label.name[:60]!r}"
            raise LabelError(problem, hint=f"give at most {NAME_LETTERS_MAX} letters in one line")
        if same := first.get(label.name.casefold()):
            problem = f"{source} has the label {label.name!r} twice"
            if same.name != label.name:
                problem = f"{source} has {same.name!r} and {label.name!r}, which are the same label"
            raise LabelError(problem, hint="leave one out: they would share one probability")
        first[label.name.casefold()] = label
    return Labels(found, source)


def with_ids(labels: Labels, reader: FieldReader) -> Labels:
    """The labels with ids of the bundle's table of terms, where they have none of their own."""

    def named(label: Label) -> Label:
        found = None if label.id else reader.id_of("cell_type", label.name)
        return label if found in (None, UNKNOWN) else Label(label.name, found)

    return Labels(tuple(map(named, labels.labels)), labels.source)


def id_doubts(labels: Labels, reader: FieldReader) -> list[str]:
    """What is doubtful about the ids of labels, a sentence each.

    Args:
        labels: With the ids that the user gave.
        reader: Has the bundle's table of terms.
    """
    said, of_id = [], dict[str, list[str]]()
    for label in labels.labels:
        if not label.id:
            continue
        of_id.setdefault(label.id, []).append(label.name)
        found = reader.id_of("cell_type", label.name)
        if found not in (None, UNKNOWN, label.id):
            said.append(f"`{label.name}` is {found} in the bundle's table, not {label.id}")
    said += [
        f"{term} is the id of {' and '.join(f'`{name}`' for name in names)}"
        for term, names in of_id.items()
        if len(names) > 1
    ]
    if not said:
        return []
    more = f"; and {len(said) - SHOWN:,} more" if len(said) > SHOWN else ""
    return [f"look at the ids of {labels.source}: {'; '.join(said[:SHOWN])}{more}"]


def _lines(path: Path) -> list[Label]:
    return [Label(name) for line in _text(path).splitlines() if (name := _tidy(line))]


def _table(path: Path) -> list[Label]:
    text = _text(path)
    try:
        rows = list(csv.reader(io.StringIO(text), delimiter=_TABLES[path.suffix.lower()]))
    except csv.Error as error:
        problem = f"{path} is no table: {error}"
        raise LabelError(problem, hint=_HINT) from error
    rows = [row for row in rows if any(value.strip() for value in row)]
    if not rows:
        return []
    header = [name.strip().lower() for name in rows[0]]
    column = _column(header, LABEL_COLUMNS)
    if column is None:
        problem = f"{path} has no column called {' or '.join(LABEL_COLUMNS)}"
        hint = f"its columns are: {', '.join(map(repr, rows[0][:8]))}; a first line names them"
        raise LabelError(problem, hint=hint)
    ids = _column(header, ID_COLUMNS)
    labels = []
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            problem = f"row {number} of {path} has {len(row)} values for {len(header)} columns"
            raise LabelError(problem, hint="put values that hold commas between quotes")
        labels.append(
            Label(_tidy(row[column]), (row[ids].strip() or None) if ids is not None else None)
        )
    return labels


def _column(header: Sequence[str], names: Sequence[str]) -> int | None:
    return next((header.index(name) for name in names if name in header), None)


def _text(path: Path) -> str:
    if not path.exists():
        problem = f"there is no file {path}, and it is no id of an ontology's term"
        raise LabelError(problem, hint=f"{_HINT}, or a term such as CL:0000542")
    content = read_bounded(
        path, bytes_max=FILE_BYTES_MAX, error=LabelError, hint=_HINT, what="a list of labels"
    )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        problem = f"{path} is not text in UTF-8: {error}"
        raise LabelError(problem, hint="save it again as UTF-8") from error


def _tidy(text: str) -> str:
    return " ".join(text.split())


def _open_ontology(term: str, given: Path | None) -> Ontology:
    """The ontology that has a term.

    Raises:
        LabelError: None is given or installed.
    """
    prefix = term.partition(":")[0]
    path = given or installed_ontology(prefix.upper())
    if path is None:
        problem = f"{term} is an id of an ontology, and no ontology with {prefix} ids is installed"
        hint = "pass its file with --ontology, such as --ontology cl.obo; or, for CL, UBERON and "
        hint += "MONDO, `pip install cellxgene-ontology-guide` and run again; see `c2t help labels`"
        raise LabelError(problem, hint=hint)
    return read_ontology(path)


def _named(ontology: Ontology, label: Label) -> Label:
    """A label whose words are an id: the term's name, and the id."""
    if not TERM.fullmatch(label.name):
        return label
    number = ontology.find(label.name)
    if number is None:
        raise _unknown(ontology, label.name)
    term = ontology.terms[number]
    return Label(_tidy(term.label), term.id)


def _check_ids(labels: Labels, ontology: Ontology) -> None:
    """Refuse ids of this ontology that it does not have."""
    prefixes = {term.id.partition(":")[0] for term in ontology.terms}
    for term in labels.ids or ():
        if term.partition(":")[0] in prefixes and ontology.find(term) is None:
            raise _unknown(ontology, term)


def _branch(ontology: Ontology, root: str) -> list[Label]:
    """A term and all below it, in the order of the ontology, without withdrawn ones."""
    first = ontology.find(root)
    if first is None:
        raise _unknown(ontology, root)
    below: dict[int, list[int]] = {}
    for parent, child in ontology.edges:
        below.setdefault(parent, []).append(child)
    seen, open_terms = {first}, [first]
    while open_terms:
        for child in below.get(open_terms.pop(), ()):
            if child not in seen:
                seen.add(child)
                open_terms.append(child)
    terms = (ontology.terms[number] for number in sorted(seen))
    return [Label(_tidy(term.label), term.id) for term in terms if not term.obsolete]


def _unknown(ontology: Ontology, term: str) -> LabelError:
    problem = f"{ontology.name} has no term {term}, or it was withdrawn without a replacement"
    return LabelError(problem, hint="look the id up, or give a newer file with --ontology")
