"""Whether the cells are of the bundle's species, by all that a file says about it.

The texts describe a cell as one of the bundle's species. So another species is refused, unless the
user says that it is meant. Where only some of the cells are of another, these get an error each.
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
from c2t.runtime.cells.formats.protocol import Table
from c2t.runtime.cells.genes.species import (
    Species,
    foreign_ids,
    named_species,
    species_of_genome,
    species_of_genomes,
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
MOST_NAMES = 0.8  # a file of one species, with some genes of a virus or another species
# Said of files only: requests have no such settings.
CARRY_OVER = (
    ", or carry its genes over, such as with `--species mouse --orthologues FILE` "
    "(see `c2t help formats`)"
)
# Columns of `var` that give each gene's genome (10x) or taxon (CELLxGENE).
_REFERENCE_COLUMN = re.compile(r"(?:genome|feature_reference)(?:[-.].*)?\Z", re.IGNORECASE)
_MOUSE = re.compile(r"[A-Z][a-z][^A-Z]*\Z")
_FISH = re.compile(r"[a-z]{2}[^A-Z]*\Z")


@dataclass(frozen=True, kw_only=True)
class Statement:
    """What a file says in words about the organism.

    Args:
        place: Where: "uns['organism']".
        text: What.
        obs_column: The column of `obs` that says it; "" for what is said of the whole file.
        cells: Selected cells of which that column says it.
    """

    place: str
    text: str
    obs_column: str = ""
    cells: int = 0


@dataclass(frozen=True, kw_only=True)
class OrganismReport:
    """What became of the question.

    Args:
        warnings: What is doubtful.
        cell_errors: Errors of cells: for a column of `obs`, the error of the cells of each text.
    """

    warnings: list[str]
    cell_errors: dict[str, dict[str, str]]


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


def genome_statements(column: str, names: Sequence[str]) -> list[Statement]:
    """What names such as `mm10_Cd3e` say, where hardly any is of another species: not a mixture."""
    place = f"the genome in the names of `{column}`"
    return [
        Statement(place=place, text=species.name)
        for species, share in species_of_genomes(names).items()
        if share > MOST_NAMES
    ]


def read_statements(
    obs_columns: Iterable[str],
    obs_column: Callable[[str], Sequence[str]],
    uns_text: Callable[[str], str],
) -> list[Statement]:
    """Collect what `obs` and `uns` say about the organism.

    Args:
        obs_columns: Names of the columns of `obs`.
        obs_column: Reads one, for the selected cells.
        uns_text: Reads an entry of `uns` that is a text; "" if there is none.
    """
    said = [Statement(place=f"uns['{name}']", text=uns_text(name)) for name in ORGANISM_NAMES]
    for column in obs_columns:
        if column.lower() in ORGANISM_NAMES:
            said += [
                Statement(place=f"obs['{column}']", text=text, obs_column=column, cells=count)
                for text, count in Counter(obs_column(column)).items()
            ]
    return said


def bundle_species(vocabulary: GeneVocabulary) -> Species | None:
    """The species whose genes a bundle knows, by its ids; None where they are of no known kind."""
    some = vocabulary.ensembl_id[:: max(1, len(vocabulary) // 100)]
    return species_of_ids(name.decode() for name in some.tolist())


def check_organism(
    ours: Species,
    statements: Sequence[Statement],
    columns: Sequence[NameColumn],
    *,
    allowed: str | None = None,
    told_species: Species | None = None,
) -> OrganismReport:
    """Refuse cells of another species.

    Args:
        ours: The bundle's species.
        statements: What the file says in words.
        columns: Columns with names of genes: the one that is used, the index of the table, others.
        allowed: What the user says the cells are: a species, or "any" to take all.
        told_species: The species that the cells were said to be of, instead of the bundle's; it is
            `ours`, and what else the file says speaks against it.

    Raises:
        CellFileError: The file is of another species, or the user says so.
    """
    told = told_species is None and _told(ours, allowed)
    some, whole = _of_some_cells(ours, statements)
    other, same, warnings = _stated(ours, whole)
    other += _by_ids(ours, columns)
    if not other:
        cases = [said for column in columns if column.main for said in _by_case(ours, column)][:1]
        if same or some:
            warnings += [f"{said}: taken as {ours.name}" for said in cases]
        else:
            other = cases
    if other and told_species is not None:
        problem = f"--species says {ours.name}, but these cells look like another species: "
        hint = "give the species that they are of, with its orthologues, or leave --species out"
        raise CellFileError(problem + "; ".join(other), hint=hint)
    if other and not told:
        problem = f"the bundle describes {ours.name} cells, but these look like another species: "
        problem += "; ".join(other)
        hint = f"use a bundle of that species{CARRY_OVER}; if all are {ours.name}, pass "
        hint += f"`--organism {ours.name}`, to describe them all the same `--organism {ANY}`"
        raise CellFileError(problem, hint=hint)
    for said in some:
        other.append(f"{said.place} is `{said.text}` for {said.cells:,} cells")
    if not other:
        return OrganismReport(warnings=warnings, cell_errors={})
    if told:
        warnings.append(f"{'; '.join(other)}: taken as {ours.name} all the same")
        return OrganismReport(warnings=warnings, cell_errors={})
    whose = "the bundle describes" if told_species is None else "--species says"
    warnings.append(f"{'; '.join(other)}: these get an error, since {whose} {ours.name} cells")
    errors: dict[str, dict[str, str]] = {}
    for said in some:
        error = f"cell is of another species: {said.place} is `{said.text}`"
        errors.setdefault(said.obs_column, {})[said.text] = error
    return OrganismReport(warnings=warnings, cell_errors=errors)


def _of_some_cells(
    ours: Species, statements: Sequence[Statement]
) -> tuple[list[Statement], list[Statement]]:
    """Statements that some cells are of another species, while others are not; all others."""
    some: list[Statement] = []
    cells, others = Counter[str](), Counter[str]()
    for said in statements:
        cells[said.obs_column] += said.cells
        species = named_species(said.text)
        if said.cells and species and ours not in species:
            others[said.obs_column] += said.cells
            some.append(said)
    some = [said for said in some if others[said.obs_column] < cells[said.obs_column]]
    return some, [said for said in statements if said not in some]


def foreign_columns(
    table: Table, columns: int, ours: Species
) -> tuple[NDArray[np.bool_], list[Statement]]:
    """Genes of other species, by the columns that give each gene's genome or taxon.

    Returns:
        [columns] bool, all false where hardly any gene is of our species: the file as a whole is
        of another one, and the statements say so.
    """
    foreign = np.zeros(columns, dtype=bool)
    said: list[Statement] = []
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
        said.append(Statement(place=f"var['{column}']", text=text))
    return foreign, said


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


def _stated(ours: Species, statements: Sequence[Statement]) -> tuple[list[str], bool, list[str]]:
    """What speaks for another species, whether something says that it is ours, and warnings."""
    other, same, warnings = [], False, []
    unknown: list[str] = []
    for statement in statements:
        species, said = named_species(statement.text), f"{statement.place} is `{statement.text}`"
        if species is None:
            unknown.append(said)
        elif ours in species:
            same = True
            if len(species) > 1:
                warnings.append(f"{said}: taken as {ours.name}")
        elif species:
            other.append(said)
    if unknown and not same and not other:
        shown = ", ".join(unknown[:3])
        warnings.append(f"{shown}, which c2t does not know: taken as {ours.name}")
    return other, same, warnings


def _by_ids(ours: Species, columns: Sequence[NameColumn]) -> list[str]:
    """Columns with ids of another species: the used one, the index, others where none has ours."""
    looked_at = [column for column in columns if column.main]
    if not any(species_of_ids(some_looked_at(column.names)) == ours for column in looked_at):
        looked_at = list(columns)
    said = []
    for column in looked_at:
        other = foreign_ids(column.names, ours)
        if other is not None:
            said.append(f"`{column.name}` has {other.id_prefix}… ids, of {other.name}")
    return said


def written_as_of_another(symbol: str) -> bool:
    """Whether a symbol is written as those of a mouse or a fish, not as those of a human."""
    return bool(_MOUSE.match(symbol) or _FISH.match(symbol))


def _by_case(ours: Species, column: NameColumn) -> list[str]:
    """How the known symbols are written: `CD3E` of a human, `Cd3e` of a mouse, `cd3e` of a fish."""
    known = np.flatnonzero(column.gene != UNKNOWN)
    some = [column.names[c].strip() for c in some_looked_at(known.tolist())]
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


def some_looked_at(items: Sequence[T]) -> Sequence[T]:
    """At most 2,000 of them, spread evenly: what the species is judged by."""
    return items[:: max(1, len(items) // 1000)]
