"""Which column of the gene table has the symbols that a gene sentence is written with.

One decision: a symbol is taken as the file has it, known or not, as in the texts that such models
were trained on; in upper case where these were. Only Ensembl ids are looked up, and only where the
file has no symbols.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.bundle.gene_vocabulary import UNKNOWN, GeneVocabulary
from c2t.runtime.cells.formats.protocol import Table
from c2t.runtime.cells.gene_matching import GeneMatch, GeneOptions, column_totals, name_columns
from c2t.runtime.cells.genes.coverage import USUAL_GENES, Coverage
from c2t.runtime.cells.genes.feature_kinds import (
    FeatureKinds,
    check_feature_kinds,
    named_like_no_gene,
    read_feature_kinds,
)
from c2t.runtime.cells.genes.names import MISSING, QUOTES, excel_dates, numbered_stem, some_of
from c2t.runtime.cells.genes.organism import NameColumn, foreign_columns, genome_statements
from c2t.runtime.cells.genes.report import GeneReport, foreign_cells, summed
from c2t.runtime.cells.genes.several_species import judge_species
from c2t.runtime.cells.genes.species import (
    SPECIES,
    Species,
    species_of_genomes,
    species_of_id,
    strip_genome,
)
from c2t.runtime.cells.sparse_rows import SparseRows
from c2t.runtime.system.errors import CellFileError

# A file with so many columns, and none of those that nearly every cell expresses, is named oddly.
MANY_COLUMNS = 1000


def match_symbols(
    table: Table,
    species: Sequence[str],
    sample: SparseRows,
    options: GeneOptions,
    *,
    vocabulary: GeneVocabulary | None = None,
    upper_case: bool = True,
) -> GeneMatch:
    """Find the symbols of a file.

    Args:
        table: Its table of genes.
        species: Names of the species that the bundle knows.
        sample: Some cells with their counts.
        options: How to go about it.
        vocabulary: Genes by their Ensembl ids; None: there is no such table.
        upper_case: Whether symbols are written in upper case.

    Raises:
        CellFileError: No column has symbols, no column is a gene, or the cells are of another
            species; says what was seen.
    """
    index = table.index()
    if not index:
        problem = "the file has no genes: its matrix has 0 columns"
        raise CellFileError(problem, hint="write the file again with its genes")
    names = name_columns(table, index, options.gene_column)
    column = _symbol_column(names, vocabulary)
    kinds, warnings = check_feature_kinds(
        read_feature_kinds(table, index, options.kinds_table), _usual(names[column]) > 0
    )
    no_gene = np.array([named_like_no_gene(name, is_known=False) for name in names[column]])
    is_gene = kinds.is_gene & ~no_gene
    known = [one for one in SPECIES if one.name in species]
    main = np.where(is_gene, 0, UNKNOWN).astype(np.int32)
    looked_at = [
        NameColumn(name=name, names=values, gene=main, main=name in (column, "var_names"))
        for name, values in sorted(names.items(), key=lambda item: item[0] != column)
    ]
    judged = judge_species(
        known,
        [*options.statements, *genome_statements(column, names[column])],
        looked_at,
        genomes=species_of_genomes(names[column]),
        told=options.species,
        allowed=options.organism,
    )
    foreign, _ = foreign_columns(table, len(index), judged.species)
    written, of_others = _written(names[column], vocabulary, judged.species)
    foreign |= of_others
    if upper_case:
        written = [name.upper() for name in written]
    symbols, gene = _numbered(written, is_gene & ~foreign)
    if not symbols:
        problem = "no column of the file is a gene with a name"
        raise CellFileError(problem, hint="give the file with gene expression of these cells")
    mixed = bool(foreign.any()) and options.organism is None
    theirs = int(foreign_cells(foreign, gene, sample).sum()) if mixed else 0
    if theirs:
        said = f"{theirs:,} of {sample.shape[0]:,} cells looked at have most of their counts in "
        warnings.append(said + "genes of another species: such cells get an error")
    warnings += [*judged.warnings, *_doubts(names[column], column)]
    report = _report(column, gene, kinds, sample, judged.species, warnings)
    return GeneMatch(
        column_gene=gene,
        report=report,
        cell_errors=judged.cell_errors,
        foreign=foreign if mixed else None,
        symbols=symbols,
        species=judged.species.name,
        cell_species=judged.by_column,
    )


def _symbol_column(names: dict[str, Sequence[str]], vocabulary: GeneVocabulary | None) -> str:
    """The column with symbols: the one with most that any cell has, the first of equals.

    Raises:
        CellFileError: There is none, and no table to look ids up in.
    """
    symbols = {name: values for name, values in names.items() if _has_symbols(values)}
    if symbols:
        return max(symbols, key=lambda name: _usual(symbols[name]))
    first = next(iter(names))
    ids = [name for name, values in names.items() if _ids(values) > 0.5]
    if vocabulary is not None and ids:
        return ids[0]
    shown = ", ".join(f"`{name}`" for name in names[first][:3])
    problem = f"the bundle reads gene symbols, and the file has none: `{first}` has {shown}"
    if ids:
        problem += "; the bundle has no table to look Ensembl ids up in"
    hint = "pass `--gene-column NAME` with the column of symbols"
    raise CellFileError(problem, hint=hint)


def _has_symbols(names: Sequence[str]) -> bool:
    """Whether a column may be one of symbols: mostly different words that are no ids."""
    some = some_of(names)
    words = [name for name in some if name.strip() not in MISSING and not name.strip().isdigit()]
    different = len(set(names)) * 2 > len(names)
    return different and len(words) * 2 > len(some) and _ids(names) <= 0.5


def _ids(names: Sequence[str]) -> float:
    some = some_of(names)
    return sum(species_of_id(name) is not None for name in some) / max(1, len(some))


def _usual(names: Sequence[str]) -> int:
    """How many of the genes that nearly every cell expresses are among the names."""
    return len(_USUAL.intersection(name.strip().upper() for name in names))


_USUAL = frozenset(USUAL_GENES)


def _written(
    names: Sequence[str], vocabulary: GeneVocabulary | None, ours: Species
) -> tuple[list[str], NDArray[np.bool_]]:
    """The symbol of each name, "" for none; and which are genes of another species."""
    symbols = list[str]()
    foreign = np.zeros(len(names), dtype=bool)
    for place, name in enumerate(names):
        plain = name.strip().strip(QUOTES).strip()
        if (genome := strip_genome(plain)) is not None:
            foreign[place] = genome[0] != ours
            plain = genome[1]
        if vocabulary is not None and species_of_id(plain) is not None:
            plain = vocabulary.symbol(vocabulary.lookup_one(plain)) or plain
        symbols.append("" if plain in MISSING else plain)
    return symbols, foreign


def _numbered(
    written: Sequence[str], is_gene: NDArray[np.bool_]
) -> tuple[tuple[str, ...], NDArray[np.int32]]:
    """Different symbols in the order of their bytes, and which of them each column has.

    "CD3E-1" is "CD3E" again where that is a column too: so scanpy makes names unique.
    """
    there = {name for name, good in zip(written, is_gene.tolist(), strict=True) if good and name}
    again = {name: stem for name in there if (stem := _stem(name)) in there}
    symbols = sorted(there - again.keys(), key=str.encode)
    number = {name: place for place, name in enumerate(symbols)}
    gene = [
        number[again.get(name, name)] if good and name else UNKNOWN
        for name, good in zip(written, is_gene.tolist(), strict=True)
    ]
    return tuple(symbols), np.array(gene, dtype=np.int32)


def _stem(name: str) -> str | None:
    stem, dash, _ = name.rpartition("-")
    return stem if dash and numbered_stem(name) == stem else None


def _doubts(names: Sequence[str], column: str) -> list[str]:
    doubts = []
    if len(names) >= MANY_COLUMNS and not _usual(names):
        doubts.append(
            f"`{column}` has none of the genes that nearly every cell expresses: see that it has "
            "gene symbols"
        )
    if dates := excel_dates(names):
        doubts.append(
            f"{len(dates):,} gene names are dates such as `{names[dates[0]]}`: Excel made them of "
            "MARCH1, SEPT7 or DEC1"
        )
    return doubts


def _report(
    column: str,
    gene: NDArray[np.int32],
    kinds: FeatureKinds,
    sample: SparseRows,
    species: Species,
    warnings: list[str],
) -> GeneReport:
    named = gene != UNKNOWN
    expressed = int((named & (column_totals(sample) > 0)).sum())
    genes = len(np.unique(gene[named]))
    again, dropped = summed(gene), int((~named).sum())
    sentence = f"genes by `{column}`, as they are written: {genes:,} symbols, {expressed:,} of "
    sentence += f"them expressed in the cells looked at; {species.name} cells"
    if again:
        sentence += f"; {again:,} columns of the same symbols summed"
    if dropped:
        shown = ", ".join(f"`{kind}`" for kind in list(kinds.dropped)[:4])
        sentence += f"; {dropped:,} columns dropped that are no genes or have no name"
        sentence += f" ({shown})" if shown else ""
    return GeneReport(
        column=column,
        columns=len(gene),
        dropped=dropped,
        summed=again,
        coverage_of=Coverage(
            expressed=expressed,
            matched=expressed,
            counts=1.0,
            genes=genes,
            bundle_genes=genes,
            usual=0,
            usual_known=0,
        ),
        sentence=sentence,
        warnings=tuple(warnings),
    )
