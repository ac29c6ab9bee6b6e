"""Whether the cells are of the bundle's species, by all that a file says about it.

The texts describe a cell as one of the bundle's species. So another species is refused, unless the
user says that it is meant.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.bundle.gene_vocabulary import UNKNOWN, GeneVocabulary
from c2t.runtime.cells.formats.store import Table
from c2t.runtime.cells.genes.species import (
    Species,
    foreign_ids,
    named_species,
    species_of_genome,
    species_of_ids,
)
from c2t.runtime.system.errors import CellFileError

T = TypeVar("T")

# Columns of `obs` and entries of `uns` that name the organism, in lower case.
ORGANISM_NAMES = (
    *("organism", "organism_ontology_term_id", "organism__ontology_label", "organism_label"),
    *("species", "species_ontology_term_id", "species__ontology_label", "donor_organism"),
)
ANY = "any"
# Columns of `var` that give each gene's genome (10x) or taxon (CELLxGENE).
_REFERENCE_COLUMN = re.compile(r"(?:genome|feature_reference)(?:[-.].*)?\Z", re.IGNORECASE)
_MOUSE = re.compile(r"[A-Z][a-z][^A-Z]*\Z")
_FISH = re.compile(r"[a-z]{2}[^A-Z]*\Z")


@dataclass(frozen=True, kw_only=True)
class Statements:
    """What a file says in words about the organism of the selected cells.

    Args:
        texts: Place in the file, text, number of cells; 0 for what is said of the file.
        cells: Selected cells.
    """

    texts: tuple[tuple[str, str, int], ...] = ()
    cells: int = 0


@dataclass(frozen=True, eq=False, kw_only=True)
class NameColumn:
    """A column with names of genes.

    Args:
        name: What it is called.
        names: [columns of the matrix] its names.
        gene: [columns of the matrix] int32, the gene of each, -1 for none.
        main: Whether it is the one that is used, or the index of the table.
    """

    name: str
    names: Sequence[str]
    gene: NDArray[np.int32]
    main: bool


def read_statements(
    obs_columns: Iterable[str],
    obs_column: Callable[[str], Sequence[str]],
    uns_text: Callable[[str], str],
    cells: int,
) -> Statements:
    """Collect what `obs` and `uns` say about the organism.

    Args:
        obs_columns: Names of the columns of `obs`.
        obs_column: Reads one, for the selected cells.
        uns_text: Reads an entry of `uns` that is a text; "" if there is none.
        cells: Selected cells.
    """
    texts = [(f"uns['{name}']", uns_text(name), 0) for name in ORGANISM_NAMES]
    for column in obs_columns:
        if column.lower() in ORGANISM_NAMES:
            counted = Counter(obs_column(column))
            texts += [(f"obs['{column}']", text, count) for text, count in counted.items()]
    return Statements(texts=tuple(text for text in texts if text[1]), cells=cells)


def bundle_species(vocabulary: GeneVocabulary) -> Species | None:
    """The species whose genes a bundle knows, by its ids; None where they are of no known kind."""
    some = vocabulary.ensembl_id[:: max(1, len(vocabulary) // 100)]
    return species_of_ids(name.decode() for name in some.tolist())


def check_organism(
    ours: Species,
    statements: Statements,
    columns: Sequence[NameColumn],
    *,
    allowed: str | None = None,
) -> list[str]:
    """Refuse cells of another species.

    Args:
        ours: The bundle's species.
        statements: What the file says in words.
        columns: Columns with names of genes: the one that is used, the index of the table, others.
        allowed: What the user says the cells are: a species, or "any" to take all.

    Returns:
        Warnings.

    Raises:
        CellFileError: The file is of another species, or the user says so.
    """
    told = _told(ours, allowed)
    other, same, warnings = _stated(ours, statements)
    other += _by_ids(ours, columns)
    if not other:
        cases = [said for column in columns if column.main for said in _by_case(ours, column)][:1]
        if same:
            warnings += [f"{said}: taken as {ours.name}" for said in cases]
        else:
            other = cases
    if not other:
        return warnings
    evidence = "; ".join(other)
    if told:
        return [*warnings, f"{evidence}: taken as {ours.name} all the same"]
    problem = f"the bundle describes {ours.name} cells, but these look like another species: "
    problem += evidence
    hint = "use a bundle of that species"
    if any(0 < count < statements.cells for _, _, count in statements.texts):
        hint += f", or name the {ours.name} cells with `--cells`"
    hint += f"; if all are {ours.name}, pass "
    hint += f"`--organism {ours.name}`, to describe them all the same `--organism {ANY}`"
    raise CellFileError(problem, hint=hint)


def foreign_columns(
    table: Table, columns: int, ours: Species
) -> tuple[NDArray[np.bool_], Statements]:
    """Genes of other species, by the columns that give each gene's genome or taxon.

    Returns:
        [columns] bool, all false where hardly any gene is of our species: the file as a whole is
        of another one, and the statements say so.
    """
    foreign = np.zeros(columns, dtype=bool)
    texts: list[tuple[str, str, int]] = []
    for column in table.columns:
        if not _REFERENCE_COLUMN.match(column):
            continue
        values = table.column(column)
        of_text = {text: _species_of_reference(text) for text in set(values)}
        other = np.fromiter(
            (of_text[text] is not None and of_text[text] != ours for text in values),
            bool,
            len(values),
        )
        own = sum(of_text[text] == ours for text in values)
        if not other.any():
            continue
        if own * 4 >= int(other.sum()):
            foreign |= other
            continue
        text, _ = Counter(values[c] for c in np.flatnonzero(other).tolist()).most_common(1)[0]
        texts.append((f"var['{column}']", text, 0))
    return foreign, Statements(texts=tuple(texts))


def _told(ours: Species, allowed: str | None) -> bool:
    """Whether the user says that the file may be used."""
    if allowed is None:
        return False
    if allowed.strip().lower() == ANY:
        return True
    said = named_species(allowed)
    if said == [ours]:
        return True
    hint = f"pass `--organism {ANY}` to describe them with it all the same"
    if not said:
        problem = f"--organism {allowed!r} is no species that c2t knows"
        raise CellFileError(problem, hint=f"pass `--organism {ours.name}` or `--organism {ANY}`")
    problem = f"--organism {allowed}: the bundle describes {ours.name} cells"
    raise CellFileError(problem, hint=hint)


def _stated(ours: Species, statements: Statements) -> tuple[list[str], bool, list[str]]:
    """What speaks for another species, whether something says that it is ours, and warnings."""
    other, same, warnings = [], False, []
    unknown: list[str] = []
    for place, text, count in statements.texts:
        species, said = named_species(text), f"{place} is `{text}`"
        if species is None:
            unknown.append(said)
        elif ours in species:
            same = True
            if len(species) > 1:
                warnings.append(f"{said}: taken as {ours.name}")
        elif species:
            part = f" for {count:,} of {statements.cells:,} cells"
            other.append(said + (part if 0 < count < statements.cells else ""))
    if unknown and not same and not other:
        shown = ", ".join(unknown[:3])
        warnings.append(f"{shown}, which c2t does not know: taken as {ours.name}")
    return other, same, warnings


def _by_ids(ours: Species, columns: Sequence[NameColumn]) -> list[str]:
    """Columns with ids of another species: the used one, the index, others where none has ours."""
    looked_at = [column for column in columns if column.main]
    if not any(species_of_ids(_some(column.names)) == ours for column in looked_at):
        looked_at = list(columns)
    said = []
    for column in looked_at:
        other = foreign_ids(column.names, ours)
        if other is not None:
            said.append(f"`{column.name}` has {other.id_prefix}… ids, of {other.name}")
    return said


def _by_case(ours: Species, column: NameColumn) -> list[str]:
    """How the known symbols are written: `CD3E` of a human, `Cd3e` of a mouse, `cd3e` of a fish."""
    known = np.flatnonzero(column.gene != UNKNOWN)
    some = [column.names[c].strip() for c in _some(known.tolist())]
    some = [name for name in some if name[:3].upper() != "ENS" and name[:2].isalpha()]
    for style, words in ((_MOUSE, "a mouse or rat"), (_FISH, "a fish")):
        written = [name for name in some if style.match(name)]
        if ours.name == "human" and len(written) * 2 > len(some):
            return [f"genes of `{column.name}` are written as those of {words} (`{written[0]}`)"]
    return []


def _species_of_reference(text: str) -> Species | None:
    of_genome = species_of_genome(text)
    if of_genome is None and text.lower().startswith("ncbitaxon"):
        named = named_species(text)
        return named[0] if named else None
    return of_genome


def _some(items: Sequence[T]) -> Sequence[T]:
    """At most 2,000 of them, spread evenly."""
    return items[:: max(1, len(items) // 1000)]
