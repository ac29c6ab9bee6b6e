"""The table of names of a bundle, from ontology files and a checkpoint's own names.

One decision: a name gets an id only where there is one answer. The names of terms go before their
synonyms, the checkpoint's own names before both; a name that two terms share is left out, and
counted; obsolete terms are left out as a whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from c2t.runtime.fields.names import NAME_MAX, plain_name
from c2t.runtime.fields.paper import NORMAL
from c2t.runtime.fields.rules import FIELD_NAMES
from c2t.runtime.fields.terms import NORMAL_ID, TermTable, make_table, split_id
from c2t.runtime.labels.ontology import Term
from c2t.runtime.labels.ontology_file import read_ontology
from c2t.runtime.system.checked_read import decode_json, read_bounded
from c2t.runtime.system.errors import CheckpointError

OWN_NAMES_BYTES_MAX = 16 << 20
# Which field a term belongs to, by the prefix of its id.
FIELD_OF = {"CL": "cell_type", "UBERON": "tissue", "MONDO": "disease", "HsapDv": "age"}
# What captions of any model may say, and no file above defines.
ALWAYS = {
    ("disease", NORMAL): NORMAL_ID,
    ("sex", "female"): "PATO:0000383",
    ("sex", "male"): "PATO:0000384",
    ("sex", "hermaphrodite"): "PATO:0001340",
}
_HINT = (
    "give files of CL, UBERON, MONDO or HsapDv (.obo, or .json of cellxgene-ontology-guide), or "
    'a JSON file of names, like {"cell_type": {"B cell": "CL:0000236"}}'
)

Ids = dict[tuple[str, str], str]  # field and plain name -> id


@dataclass(frozen=True, kw_only=True)
class TermCounts:
    """What went into a table.

    Args:
        names: Names and synonyms in it.
        shared: Names left out because two terms have them.
        obsolete: Terms left out because they were withdrawn.
    """

    names: int
    shared: int
    obsolete: int

    @property
    def sentence(self) -> str:
        """All of it in words."""
        return (
            f"names of ontology terms: {self.names:,}; left out: {self.shared:,} that several "
            f"terms share, and {self.obsolete:,} obsolete terms"
        )


def term_table(files: Sequence[Path]) -> tuple[TermTable, TermCounts]:
    """Read files into one table.

    Args:
        files: Ontologies, or JSON files of names; of two of the latter the first one counts.

    Raises:
        CheckpointError: A file of names is damaged, or nothing in a file is of use.
        EvaluationError: An ontology cannot be read.
    """
    own: Ids = {}
    labels: dict[tuple[str, str], set[str]] = {}
    synonyms: dict[tuple[str, str], set[str]] = {}
    obsolete = 0
    for path in files:
        named = _own_names(path)
        if named is not None:
            own = named | own
            continue
        terms = read_ontology(path).terms
        used = [term for term in terms if _field(term) is not None]
        if not used:
            problem = f"{path} has no term of {', '.join(FIELD_OF)}"
            raise CheckpointError(problem, hint=_HINT)
        current = [term for term in used if not term.obsolete]
        obsolete += len(used) - len(current)
        for term in current:
            field = str(_field(term))
            _add(labels, field, [term.label], term.id)
            _add(synonyms, field, term.synonyms, term.id)
    ids, shared = _sure(labels)
    more, shared_synonyms = _sure(
        {key: found for key, found in synonyms.items() if key not in labels}
    )
    ids = more | ids | ALWAYS | own
    # That "normal" has an id makes no diseases known: of the others a table may have none.
    fields = {field for field, _ in (*labels, *synonyms, *own)} | {"sex"}
    counts = TermCounts(names=len(ids), shared=shared + shared_synonyms, obsolete=obsolete)
    return make_table(ids, fields=fields), counts


def _field(term: Term) -> str | None:
    parts = split_id(term.id)
    return FIELD_OF.get(parts[0]) if parts else None


def _add(
    found: dict[tuple[str, str], set[str]], field: str, names: Iterable[str], term: str
) -> None:
    for name in names:
        plain = plain_name(name)
        if plain and len(plain) <= NAME_MAX:
            found.setdefault((field, plain), set()).add(term)


def _sure(found: Mapping[tuple[str, str], set[str]]) -> tuple[Ids, int]:
    """The names that one term has, and the number of the others."""
    sure = {key: next(iter(ids)) for key, ids in found.items() if len(ids) == 1}
    return sure, len(found) - len(sure)


def _own_names(path: Path) -> Ids | None:
    """The names of a JSON file of names; None if it is another file.

    Raises:
        CheckpointError: An id has no form that is known, or two names are one.
    """
    if path.suffix != ".json" or not path.is_file() or path.stat().st_size > OWN_NAMES_BYTES_MAX:
        return None
    content = read_bounded(
        path, bytes_max=OWN_NAMES_BYTES_MAX, error=CheckpointError, hint=_HINT, what="names"
    )
    try:
        fields = msgspec.json.decode(content, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None  # the reader of ontologies says what is wrong
    if not fields or not fields.keys() <= set(FIELD_NAMES):
        return None
    table = decode_json(
        content,
        dict[str, dict[str, str]],
        name=path,
        error=CheckpointError,
        hint=_HINT,
        what="a file of names",
    )
    ids: Ids = {}
    for field, names in table.items():
        for name, term in names.items():
            if split_id(term) is None:
                problem = f"{path} gives {name!r} the id {term!r}"
                raise CheckpointError(problem, hint='write ids like "CL:0000236"')
            if ids.setdefault((field, plain_name(name)), term) != term:
                problem = f"{path} gives {name!r} two ids"
                raise CheckpointError(problem, hint="letter case and hyphens do not count")
    return ids
