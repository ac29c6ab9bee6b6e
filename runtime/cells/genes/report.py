"""What is said about the genes of a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.bundle.gene_vocabulary import UNKNOWN
from c2t.runtime.cells.genes.coverage import Coverage
from c2t.runtime.cells.genes.feature_kinds import FeatureKinds
from c2t.runtime.cells.genes.names import NamedGenes, excel_dates
from c2t.runtime.cells.genes.orthologues import Orthologues
from c2t.runtime.cells.sparse_rows import SparseRows
from c2t.runtime.system.errors import CellFileError


@dataclass(frozen=True, kw_only=True)
class GeneReport:
    """How the genes of a file were recognised.

    Args:
        column: Column of the gene table that was used, "var_names" for its index.
        columns: Columns of the matrix.
        dropped: Columns that are no genes (antibodies, spike-ins), or of another species.
        summed: Columns of known genes, less one for each gene: these are summed with another.
        coverage_of: What the bundle knows of the file, and the file has of the bundle.
        sentence: All this in words.
        warnings: What is doubtful about it.
    """

    column: str
    columns: int
    dropped: int
    summed: int
    coverage_of: Coverage
    sentence: str
    warnings: tuple[str, ...]

    @property
    def expressed(self) -> int:
        """Columns of genes that have a value in the sampled cells."""
        return self.coverage_of.expressed

    @property
    def matched(self) -> int:
        """Expressed columns whose gene is known."""
        return self.coverage_of.matched

    @property
    def genes(self) -> int:
        """Different known genes among all columns."""
        return self.coverage_of.genes

    @property
    def coverage(self) -> float:
        """Share of the expressed genes that is known."""
        return self.coverage_of.share

    @property
    def counts_coverage(self) -> float:
        """Share of known genes in the counts of the sampled cells."""
        return self.coverage_of.counts


def summed(gene: NDArray[np.int32]) -> int:
    """Columns of known genes, less one for each gene."""
    known = gene[gene != UNKNOWN]
    return len(known) - len(np.unique(known))


def foreign_cells(
    foreign: NDArray[np.bool_], gene: NDArray[np.int32], rows: SparseRows
) -> NDArray[np.bool_]:
    """[B] cells with more counts in genes of another species than in known genes.

    Args:
        foreign: [columns] genes of another species.
        gene: [columns] gene of each column, -1 for none.
        rows: The cells.
    """
    values = np.asarray(rows.data, dtype=np.float64)
    values = np.where(np.isfinite(values) & (values > 0), values, 0)
    row, cells = rows.row_index(), rows.shape[0]
    theirs = np.bincount(row, weights=values * foreign[rows.indices], minlength=cells)
    own = np.bincount(row, weights=values * (gene[rows.indices] != UNKNOWN), minlength=cells)
    return np.asarray(theirs > own)


def make_report(
    column: str,
    names: Sequence[str],
    named: NamedGenes,
    coverage: Coverage,
    kinds: FeatureKinds,
    *,
    gene: NDArray[np.int32],
    is_gene: NDArray[np.bool_],
    foreign: NDArray[np.bool_],
    min_coverage: float,
) -> GeneReport:
    """Put what is known about the genes of a file into words.

    Args:
        column: The column of names that was used.
        names: [columns] its names.
        named: What they mean.
        coverage: How much of it the bundle knows.
        kinds: What the columns are.
        gene: [columns] gene of each column, -1 for none.
        is_gene: [columns] whether the column is a gene.
        foreign: [columns] genes of another species.
        min_coverage: The least share that was asked for.
    """
    known = gene[gene != UNKNOWN]
    summed = len(known) - len(np.unique(known))
    sentence = f"genes by `{column}`: {coverage.sentence(min_coverage)}"
    if named.unwrapped:
        ways = sorted(named.unwrapped.items(), key=lambda way: -way[1])
        sentence += "; names read " + ", ".join(f"{how} ({count:,})" for how, count in ways[:4])
    if summed:
        sentence += f"; {summed:,} columns of the same genes summed"
    no_genes = int((~is_gene & ~foreign).sum())
    if no_genes:
        shown = ", ".join(f"`{kind}`" for kind in list(kinds.dropped)[:4])
        sentence += f"; {no_genes:,} columns dropped that are no genes "
        sentence += f"({shown or 'antibodies, hashtags, peaks, spike-ins'})"
    if foreign.any():
        species = ", ".join(named.foreign_species) or "another species"
        sentence += f"; {int(foreign.sum()):,} columns dropped that are genes of {species}"
    return GeneReport(
        column=column,
        columns=len(gene),
        dropped=int((~is_gene).sum()),
        summed=summed,
        coverage_of=coverage,
        sentence=sentence,
        warnings=(*coverage.warnings(), *_dates_said(names, gene)),
    )


def not_recognised(
    coverage: Coverage,
    min_coverage: float,
    column: str,
    names: Sequence[str],
    table_columns: Sequence[str],
) -> CellFileError:
    """The error of a file of which too little is known: what its names look like, what helps."""
    if coverage.matched and coverage.share >= min_coverage:
        hint = "use the matrix with all genes"
    else:
        shown = ", ".join(f"`{name}`" for name in names[:3])
        hint = f"`{column}` has names such as {shown}; pass `--gene-column NAME` with the column "
        hint += "of Ensembl ids or symbols"
        if table_columns:
            hint += f" (there are: {', '.join(table_columns[:12])})"
    hint += ", or `--min-coverage 0` to go on all the same; see `c2t help formats`"
    return CellFileError(coverage.problem(min_coverage), hint=hint)


def carried_over(through: Orthologues, coverage: Coverage) -> str:
    """What to say where genes of another species are taken as those of the bundle's."""
    theirs = through.species.name
    return (
        f"{theirs} genes are taken as their one-to-one orthologues of {through.name}: "
        f"{coverage.matched:,} of {coverage.expressed:,} expressed genes ({coverage.share:.0%}) "
        f"and {coverage.counts:.0%} of the counts are carried over ({through.several:,} genes with "
        "several partners, or none of their own, are left out); the model was trained on cells of "
        f"its own species: of {theirs} cells its texts are guesses, to be checked"
    )


def _dates_said(names: Sequence[str], gene: NDArray[np.int32]) -> list[str]:
    dates = excel_dates(names)
    if not dates:
        return []
    lost = int((gene[dates] == UNKNOWN).sum())
    said = f"{len(dates):,} gene names are dates such as `{names[dates[0]]}`: Excel made them of "
    said += f"MARCH1, SEPT7 or DEC1; the bundle does not know {lost:,} of them. Ensembl ids do not "
    return [said + "suffer that: name their column with `--gene-column`"]
