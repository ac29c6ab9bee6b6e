"""Genes of another species as genes of the bundle's, by a table of orthologues from the user.

One decision: only pairs that are one-to-one are taken, in the whole table: a gene with two partners
means neither. Nothing is fetched, and no name is matched by its spelling alone (`Cd3e`, `CD3E`).
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from c2t.runtime.cells.formats.streams import lines, reading, unpacked
from c2t.runtime.cells.genes.names import MISSING, QUOTES
from c2t.runtime.cells.genes.species import (
    Species,
    named_species,
    species_of_id,
    species_of_ids,
    strip_genome,
)
from c2t.runtime.system.errors import CellFileError

# BioMart's table of a mammal has about 70,000 lines; MGI's 45,000 of 150 bytes.
ROWS_MAX, LINE_BYTES_MAX, COLUMNS_MAX = 2_000_000, 1 << 16, 64
GET_ONE = (
    "pass `--orthologues FILE`: a table of Ensembl BioMart (genes of both species by id or name, "
    "and the homology type), MGI's HOM_MouseHumanSequence.rpt, or two columns called mouse and "
    "human"
)
_SPECIES_WORDS = {"mgi": "mouse", "mm": "mouse", "mmus": "mouse", "hgnc": "human", "hs": "human"}
_WORD = re.compile(r"[a-z0-9]+")
# Columns that name genes, and those that do so only seemingly.
_GENE_WORDS = frozenset(("gene", "symbol", "id", "name", "ensembl", "geneid", "genename"))
_NO_GENES = frozenset(
    (
        *("type", "confidence", "identity", "chromosome", "transcript", "protein", "peptide"),
        *("entrez", "ncbi", "entrezgene", "taxon", "start", "end", "score", "description", "key"),
        *("entrezid", "organism", "position", "query", "target", "whole", "order", "subtype"),
    )
)
_INNER_ID = re.compile(r"(ENS[A-Z]{0,6}?G\d{6,}|FBGN\d{6,}|WBGENE\d{6,})")


@dataclass(frozen=True, eq=False, kw_only=True)
class Orthologues:
    """The one-to-one orthologues of two species.

    Args:
        species: Of the cells.
        partner: The gene of the bundle's species, by each name (in upper case) of one of theirs.
        pairs: How many genes have one.
        several: How many genes of the cells' species were left out: they have several partners,
            or share one.
        name: The table.
    """

    species: Species
    partner: dict[str, str]
    pairs: int
    several: int
    name: str

    def translate(self, names: Iterable[str]) -> list[str]:
        """The gene of the bundle's species for each name; "" for one without."""
        return [self._one(name) for name in names]

    def _one(self, name: str) -> str:
        plain = name.strip().strip(QUOTES)
        stripped = strip_genome(plain)
        if stripped is not None:
            species, plain = stripped
            if species != self.species:
                return ""
        upper = plain.upper()
        found = self.partner.get(upper)
        if found is None and (inner := _INNER_ID.search(upper)) is not None:
            found = self.partner.get(inner[1])
        return found or ""


def told_species(text: str) -> Species:
    """The species that an option names.

    Raises:
        CellFileError: None, or several.
    """
    found = named_species(text)
    if found is None or len(found) != 1:
        problem = f"--species {text!r} is no species that c2t knows"
        raise CellFileError(problem, hint="give one, such as `--species mouse`")
    return found[0]


def read_orthologues(path: Path, theirs: Species, ours: Species) -> Orthologues:
    """Read a table of orthologues.

    Args:
        path: Tab- or comma-separated text, packed with gzip or not.
        theirs: The species of the cells.
        ours: The bundle's.

    Raises:
        CellFileError: It is not readable, or its columns are not those of genes of the two.
    """
    rows = _rows(path)
    if len(rows) < 2:
        problem = f"{path} has no lines of genes"
        raise CellFileError(problem, hint=GET_ONE)
    header = [" ".join(_WORD.findall(name.lower())) for name in rows[0]]
    if "db class key" in header:
        pairs = _by_class(rows, header, theirs, ours)
    else:
        pairs = _by_columns(path, rows, header, theirs, ours)
    return _one_to_one(pairs, theirs, path)


# The names of a gene of each species: the first is what it is told apart by.
_Pair = tuple[tuple[str, ...], tuple[str, ...], bool]


def _rows(path: Path) -> list[list[str]]:
    if not path.is_file():
        problem = f"no such table of orthologues: {path}"
        raise CellFileError(problem, hint=GET_ONE)
    found: list[list[str]] = []
    separator = ""
    with reading(str(path)), path.open("rb") as packed:
        for line in lines(unpacked(packed), str(path), longest=LINE_BYTES_MAX):
            try:
                text = line.decode().removeprefix("\ufeff")
            except UnicodeDecodeError as error:
                problem = f"{path} is no text in UTF-8: {error}"
                raise CellFileError(problem, hint=GET_ONE) from error
            if not text.strip() or (not found and text.startswith("#")):
                continue
            separator = separator or ("\t" if "\t" in text else ",")
            try:
                fields = next(csv.reader([text], delimiter=separator), [])
            except csv.Error as error:
                problem = f"{path}, after {len(found):,} lines: {error}"
                raise CellFileError(problem, hint=GET_ONE) from error
            if len(fields) > COLUMNS_MAX or len(found) > ROWS_MAX:
                problem = f"{path} has more than {COLUMNS_MAX} columns or {ROWS_MAX:,} lines"
                raise CellFileError(problem, hint=GET_ONE)
            found.append([field.strip() for field in fields])
    return found


def _by_class(
    rows: Sequence[Sequence[str]], header: Sequence[str], theirs: Species, ours: Species
) -> list[_Pair]:
    """Pairs of MGI's table of homology classes, a line a gene."""
    key, taxon, symbol = (header.index(n) for n in ("db class key", "ncbi taxon id", "symbol"))
    classes: dict[str, tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
    for row in rows[1:]:
        if len(row) > max(key, taxon, symbol) and row[symbol] not in MISSING:
            for side, species in enumerate((theirs, ours)):
                if row[taxon] == str(species.taxon):
                    classes[row[key]][side].append(row[symbol])
    return [
        ((one,), (other,), len(left) == len(right) == 1)
        for left, right in classes.values()
        for one in left
        for other in right
    ]


def _by_columns(
    path: Path,
    rows: Sequence[Sequence[str]],
    header: Sequence[str],
    theirs: Species,
    ours: Species,
) -> list[_Pair]:
    """Pairs of a table with a line for each: columns are told by their names and their ids."""
    sides: tuple[list[int], list[int]] = ([], [])
    unsaid: list[int] = []
    third = False
    headed = not any(species_of_id(name) for name in rows[0])
    for column, name in enumerate(header):
        species = _species_of_column(rows, column, name if headed else "")
        words = set(name.split())
        if species in (theirs, ours):
            sides[species == ours].append(column)
        elif species is not None:
            third = True
        elif headed and words & _GENE_WORDS and not words & _NO_GENES:
            unsaid.append(column)
    # BioMart says no species over the columns of the one that was asked for: "Gene name", beside
    # "Human gene name". Its ids say whose they are, else it is the one that has no columns yet.
    bare = [c for c in (*sides[0], *sides[1]) if _named_in(header[c]) is None]
    if unsaid and (bare or (bool(sides[0]) != bool(sides[1]) and not third)):
        side = bare[0] in sides[1] if bare else bool(sides[0])
        sides[side].extend(unsaid)
    if not sides[0] or not sides[1]:
        shown = ", ".join(f"`{name}`" for name in rows[0][:8])
        problem = f"{path} has no columns of {theirs.name} genes beside {ours.name} ones: {shown}"
        raise CellFileError(problem, hint=GET_ONE)
    kind = next((c for c, name in enumerate(header) if "homology type" in name), None)
    pairs = []
    for row in rows[1:] if headed else rows:
        one, other = (_names_in(row, _ids_first(rows, side)) for side in sides)
        if one and other:
            stated = row[kind] if kind is not None and len(row) > kind else ""
            pairs.append((one, other, stated in ("", "ortholog_one2one")))
    return pairs


def _species_of_column(rows: Sequence[Sequence[str]], column: int, name: str) -> Species | None:
    """Whose genes a column names: by its ids, else by the words over it; None for no genes."""
    words = set(name.split())
    if words & _NO_GENES:
        return None
    some = [row[column] for row in rows[1:400] if len(row) > column and row[column]]
    by_ids = species_of_ids(some) if some else None
    return by_ids or _named_in(name)


def _named_in(name: str) -> Species | None:
    words = [_SPECIES_WORDS.get(word, word) for word in name.split()]
    found = named_species(" ".join(words)) if words else None
    return found[0] if found and len(found) == 1 else None


def _ids_first(rows: Sequence[Sequence[str]], columns: Sequence[int]) -> list[int]:
    """Columns of ids before those of symbols."""
    some = rows[1:400]

    def is_symbol(column: int) -> bool:
        return species_of_ids(row[column] for row in some if len(row) > column) is None

    return sorted(columns, key=is_symbol)


def _names_in(row: Sequence[str], columns: Sequence[int]) -> tuple[str, ...]:
    names = (row[c].strip() for c in columns if len(row) > c)
    return tuple(dict.fromkeys(name for name in names if name not in MISSING))


def _one_to_one(pairs: Sequence[_Pair], theirs: Species, path: Path) -> Orthologues:
    """Keep the pairs of which neither gene has another partner."""
    partners: dict[str, set[str]] = defaultdict(set)
    sharers: dict[str, set[str]] = defaultdict(set)
    doubtful: set[str] = set()
    for one, other, single in pairs:
        left, right = one[0].upper(), other[0].upper()
        partners[left].add(right)
        sharers[right].add(left)
        if not single:
            doubtful.add(left)
    means: dict[str, set[str]] = defaultdict(set)  # a symbol may be that of two genes
    kept: set[str] = set()
    for one, other, _ in pairs:
        left, right = one[0].upper(), other[0].upper()
        alone = len(partners[left]) == 1 and len(sharers[right]) == 1 and left not in doubtful
        if alone:
            kept.add(left)
        for name in one:
            means[name.upper()].add(other[0] if alone else "")
    partner = {name: next(iter(found)) for name, found in means.items() if len(found) == 1}
    partner = {name: gene for name, gene in partner.items() if gene}
    if not kept:
        problem = f"{path} has no one-to-one orthologues: {len(pairs):,} pairs of genes"
        raise CellFileError(problem, hint=GET_ONE)
    return Orthologues(
        species=theirs,
        partner=partner,
        pairs=len(kept),
        several=len(partners) - len(kept),
        name=path.name,
    )
