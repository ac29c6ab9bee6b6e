"""Which column of the gene table names the genes, and how many of them the bundle knows.

One decision: names are looked up, never guessed. The column that knows most expressed genes wins,
and the other columns must not contradict it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.bundle.gene_vocabulary import UNKNOWN, GeneVocabulary
from c2t.runtime.cells.formats.protocol import Table
from c2t.runtime.cells.genes.agreement import check_agreement
from c2t.runtime.cells.genes.antibodies import antibodies_said, out_of_line
from c2t.runtime.cells.genes.coverage import expressed_columns, measure
from c2t.runtime.cells.genes.feature_kinds import (
    check_feature_kinds,
    named_like_no_gene,
    read_feature_kinds,
)
from c2t.runtime.cells.genes.names import NamedGenes, read_names
from c2t.runtime.cells.genes.organism import (
    MOST_NAMES,
    NameColumn,
    Statement,
    bundle_species,
    check_organism,
    foreign_columns,
)
from c2t.runtime.cells.genes.orthologues import Orthologues
from c2t.runtime.cells.genes.report import (
    GeneReport,
    carried_over,
    foreign_cells,
    make_report,
    not_recognised,
)
from c2t.runtime.cells.genes.species import Species
from c2t.runtime.cells.sparse_rows import SparseRows
from c2t.runtime.system.errors import CellFileError

INDEX = "var_names"

# Columns with one of these in their name are tried, and those of one of these names.
_NAME_PARTS = ("ensembl", "gene", "symbol", "feature_id", "feature_name", "accession")
_WHOLE_NAMES = ("features", "feature", "names", "name", "id", "ids")
_CANDIDATES_MAX = 12
# An id always means one gene, a symbol may have meant another. So ids win, unless symbols know this
# much more of the file.
_ID_ADVANTAGE = 0.02


@dataclass(frozen=True, eq=False, kw_only=True)
class GeneMatch:
    """The genes of a file.

    Args:
        column_gene: [columns] int32, gene of each column, -1 for none.
        report: How they were recognised.
        cell_errors: Errors of cells of other species: for a column of `obs`, the error of the
            cells of each text.
        foreign: [columns] genes of another species, where cells of it are to get an error.
        symbols: Of gene sentences: what each gene is called. Then `column_gene` counts these.
        species: Of gene sentences: of the cells of which nothing else is said.
        cell_species: Likewise, where cells differ: for a column of `obs`, the species of the cells
            of each text.
    """

    column_gene: NDArray[np.int32]
    report: GeneReport
    cell_errors: dict[str, dict[str, str]]
    foreign: NDArray[np.bool_] | None
    symbols: tuple[str, ...] = ()
    species: str = ""
    cell_species: dict[str, dict[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class GeneOptions:
    """How to recognise the genes of a file.

    Args:
        gene_column: Column that names the genes; the best one if None.
        min_coverage: Least share of the expressed genes, and of the counts, that must be known,
            and, up to 1 %, of the bundle's genes that must have a column; 0 takes any.
        organism: What the user says the cells are: a species, or "any".
        species: What the user says the cells are, of those that the bundle knows; the file must not
            speak against it.
        orthologues: Genes of the cells' species as genes of the bundle's; None where it is its own.
        statements: What the file says about the organism.
        kinds_table: Another table of genes, to look up what a feature is by its name.
        silent_genes: Whether genes that no cell has have a column too.
    """

    gene_column: str | None = None
    min_coverage: float = 0.10
    organism: str | None = None
    species: str | None = None
    orthologues: Orthologues | None = None
    statements: Sequence[Statement] = ()
    kinds_table: Table | None = None
    silent_genes: bool = True


def match_genes(
    table: Table,
    vocabulary: GeneVocabulary,
    sample: SparseRows,
    options: GeneOptions | None = None,
) -> GeneMatch:
    """Recognise the genes of a file.

    Args:
        table: Its table of genes.
        vocabulary: The genes that the bundle knows.
        sample: Some cells with their counts, to see which columns have values.
        options: How to go about it.

    Raises:
        CellFileError: Too few names are known, columns of names contradict each other, no column
            is a gene, or the cells are of another species; says what was seen.
    """
    options = options or GeneOptions()
    index = table.index()
    if not index:
        problem = "the file has no genes: its matrix has 0 columns"
        raise CellFileError(problem, hint="write the file again with its genes")
    total = column_totals(sample)
    home = bundle_species(vocabulary)
    names = name_columns(table, index, options.gene_column)
    through = options.orthologues
    ours = home if through is None else through.species
    named = {
        column: read_names(
            values if through is None else through.translate(values),
            vocabulary,
            home,
            silent_genes=options.silent_genes,
        )
        for column, values in names.items()
    }

    known = max(float((here.gene != UNKNOWN).mean()) for here in named.values())
    kinds, warnings = check_feature_kinds(
        read_feature_kinds(table, index, options.kinds_table), known
    )
    foreign, statements = _foreign(table, len(index), named, ours)
    is_gene = kinds.is_gene & ~foreign & ~_named_as_no_genes(index, named)
    column = _best_column(named, is_gene, total)
    cell_errors: dict[str, dict[str, str]] = {}
    if ours is not None:
        columns = _columns_looked_at(names, named, column, ~foreign)
        statements = [*options.statements, *statements]
        told = None if through is None else ours
        organism = check_organism(
            ours, statements, columns, allowed=options.organism, told_species=told
        )
        warnings += organism.warnings
        cell_errors = organism.cell_errors
    genes = {name: _of_genes(here.gene, is_gene) for name, here in named.items()}
    warnings += check_agreement(column, genes, names)

    gene = genes[column]
    if named[column].ids < 0.5:  # an antibody has no Ensembl id
        antibodies = out_of_line(gene, names[column], named[column].numbered, sample, total)
        if antibodies.any():
            warnings.append(antibodies_said(antibodies, names[column]))
            is_gene &= ~antibodies
            gene = _of_genes(gene, is_gene)
    mixed = bool(foreign.any()) and options.organism is None
    theirs = int(foreign_cells(foreign, gene, sample).sum()) if mixed else 0
    if theirs:
        said = f"{theirs:,} of {sample.shape[0]:,} cells looked at have most of their counts in "
        warnings.append(said + "genes of another species: such cells get an error")
    coverage = measure(gene, is_gene, total, vocabulary, silent_genes=options.silent_genes)
    if coverage.problem(options.min_coverage):
        raise not_recognised(coverage, options.min_coverage, column, names[column], table.columns)
    report = make_report(
        column,
        names[column],
        named[column],
        coverage,
        kinds,
        gene=gene,
        is_gene=is_gene,
        foreign=foreign,
        min_coverage=options.min_coverage,
    )
    if through is not None:
        warnings.append(carried_over(through, coverage))
    report = replace(report, warnings=(*report.warnings, *warnings))
    return GeneMatch(
        column_gene=gene,
        report=report,
        cell_errors=cell_errors,
        foreign=foreign if mixed else None,
    )


def column_totals(sample: SparseRows) -> NDArray[np.float64]:
    """[columns] sums over the cells; negative, infinite and missing values are left out."""
    values = np.asarray(sample.data, dtype=np.float64)
    values = np.where(np.isfinite(values) & (values > 0), values, 0)
    totals = np.bincount(sample.indices, weights=values, minlength=sample.columns)
    return totals.astype(np.float64)


def name_columns(
    table: Table, index: list[str], gene_column: str | None
) -> dict[str, Sequence[str]]:
    """The columns whose names are tried: the index first, or the one that the user names."""
    if gene_column is not None and gene_column != INDEX:
        return {gene_column: table.column(gene_column)}
    names: dict[str, Sequence[str]] = {INDEX: index}
    if gene_column is None:
        likely = [c for c in table.columns if any(part in c.lower() for part in _NAME_PARTS)]
        likely += [c for c in table.columns if c.lower() in _WHOLE_NAMES]
        names.update({name: table.column(name) for name in likely[:_CANDIDATES_MAX]})
    return names


def _foreign(
    table: Table, columns: int, named: dict[str, NamedGenes], ours: Species | None
) -> tuple[NDArray[np.bool_], list[Statement]]:
    """[columns] genes of other species in a file with genes of ours, and what else they say."""
    foreign, statements = np.zeros(columns, dtype=bool), list[Statement]()
    if ours is not None:
        foreign, statements = foreign_columns(table, columns, ours)
    for column, here in named.items():
        theirs = int(here.foreign.sum())
        if (
            theirs > MOST_NAMES * columns
        ):  # not a mixture of two species, but a file of the other one
            place = f"the genome in the names of `{column}`"
            statements.append(Statement(place=place, text=here.foreign_species[0]))
        else:
            foreign = foreign | here.foreign
    return foreign, statements


def _named_as_no_genes(index: Sequence[str], named: dict[str, NamedGenes]) -> NDArray[np.bool_]:
    """[columns] named like antibodies, hashtags, peaks, spike-ins, where no column knows them."""
    known = np.zeros(len(index), dtype=bool)
    for here in named.values():
        known |= here.as_written
    return np.fromiter(
        (named_like_no_gene(name, is_known) for name, is_known in zip(index, known, strict=True)),
        bool,
        len(index),
    )


def _best_column(
    named: dict[str, NamedGenes], is_gene: NDArray[np.bool_], total: NDArray[np.float64]
) -> str:
    """The column that knows most expressed genes; ids of nearly equals, the first of equals."""
    expressed = expressed_columns(is_gene, total)
    score = {}
    for name, here in named.items():
        share = float((here.gene[expressed] != UNKNOWN).mean()) if expressed.any() else 0.0
        score[name] = share + (_ID_ADVANTAGE if share and here.ids > 0.5 else 0.0)
    return max(score, key=lambda name: score[name])


def _columns_looked_at(
    names: dict[str, Sequence[str]],
    named: dict[str, NamedGenes],
    used: str,
    here: NDArray[np.bool_],
) -> list[NameColumn]:
    """Columns of names at some of the columns of the matrix, the used one first."""
    positions = np.flatnonzero(here).tolist()
    return [
        NameColumn(
            name=name,
            names=[names[name][c] for c in positions],
            gene=named[name].gene[here],
            main=name in (used, INDEX),
        )
        for name in sorted(names, key=lambda name: name != used)
    ]


def _of_genes(gene: NDArray[np.int32], is_gene: NDArray[np.bool_]) -> NDArray[np.int32]:
    return np.where(is_gene, gene, np.int32(UNKNOWN)).astype(np.int32)
