"""Which column of the gene table names the genes, and how many of them the bundle knows.

One decision: names are looked up, never guessed. The column that knows most expressed genes wins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.bundle.gene_vocabulary import UNKNOWN, GeneVocabulary
from c2t.runtime.cells.formats.store import Table
from c2t.runtime.cells.sparse_rows import SparseRows
from c2t.runtime.system.errors import CellFileError

LOW_COVERAGE = 0.60  # below this a warning
INDEX = "var_names"

# Columns with one of these in their name are tried.
_NAME_PARTS = ("ensembl", "gene", "symbol", "feature_id", "feature_name", "accession")
_CANDIDATES_MAX = 12
# Columns that say what a feature is, and their words for features that are no genes.
_KIND_COLUMNS = ("feature_types", "feature_type", "feature_biotype", "modality")
_NOT_GENES = (
    *("antibody", "protein", "adt", "crispr", "multiplexing", "hashtag", "hto", "custom", "peaks"),
    *("antigen", "spike-in"),
)
_GENE_KINDS = ("protein_coding", "protein coding")  # genes, although "protein" is in the word
_NOT_GENE_PREFIXES = ("AB_", "ADT_", "HTO_", "ERCC-")
_OTHER_SPECIES = {"ENSMUSG": "mouse", "ENSRNOG": "rat", "ENSDARG": "zebrafish", "FBGN": "fly"}
# An id always means one gene, a symbol may have meant another. So ids win, unless symbols know this
# much more of the file.
_ID_ADVANTAGE = 0.02


@dataclass(frozen=True, kw_only=True)
class GeneReport:
    """How the genes of a file were recognised.

    Args:
        column: Column of the gene table that was used, "var_names" for its index.
        columns: Columns of the matrix.
        expressed: Columns of genes that have a value in the sampled cells.
        matched: Expressed columns whose gene is known.
        genes: Different known genes among all columns.
        dropped: Columns that are no genes (antibodies, spike-ins).
        summed: Columns of known genes, less one for each gene: these are summed with another.
        coverage: matched / expressed.
        counts_coverage: Share of known genes in the counts of the sampled cells.
        sentence: All this in words.
        warnings: What is doubtful about it.
    """

    column: str
    columns: int
    expressed: int
    matched: int
    genes: int
    dropped: int
    summed: int
    coverage: float
    counts_coverage: float
    sentence: str
    warnings: tuple[str, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class GeneMatch:
    """The gene of each column of a file: [columns] int32, -1 for none, and the report."""

    column_gene: NDArray[np.int32]
    report: GeneReport


def match_genes(
    table: Table,
    vocabulary: GeneVocabulary,
    sample: SparseRows,
    *,
    gene_column: str | None = None,
    min_coverage: float = 0.10,
) -> GeneMatch:
    """Recognise the genes of a file.

    Args:
        table: Its table of genes.
        vocabulary: The genes that the bundle knows.
        sample: Some cells with their counts, to see which columns have values.
        gene_column: Column that names the genes; the best one if None.
        min_coverage: Least share of the expressed gene columns that must be known; 0 takes any.

    Raises:
        CellFileError: Too few names are known; says what the names look like.
    """
    total = _column_totals(sample)
    is_gene = _gene_columns(table)
    names = {INDEX: table.index()}
    if gene_column is not None and gene_column != INDEX:
        names = {gene_column: table.column(gene_column)}
    elif gene_column is None:
        names.update({name: table.column(name) for name in _candidates(table)})
    is_gene &= ~np.array([n.upper().startswith(_NOT_GENE_PREFIXES) for n in table.index()], bool)

    expressed = is_gene & (total > 0)
    if not expressed.any():
        expressed = is_gene
    matches = {name: _known(vocabulary, values, is_gene) for name, values in names.items()}
    score = {name: _score(genes, expressed, names[name]) for name, genes in matches.items()}
    column = max(score, key=lambda name: score[name])  # the first of equals
    genes = matches[column]
    report = _report(column, genes, is_gene, expressed, total, names[column])
    if report.coverage < min_coverage:
        raise _not_recognised(report, names[column], table)
    return GeneMatch(column_gene=genes, report=report)


def _column_totals(sample: SparseRows) -> NDArray[np.float64]:
    """[columns] sums over the cells; negative, infinite and missing values are left out."""
    values = np.asarray(sample.data, dtype=np.float64)
    values = np.where(np.isfinite(values) & (values > 0), values, 0)
    totals = np.bincount(sample.indices, weights=values, minlength=sample.columns)
    return totals.astype(np.float64)


def _candidates(table: Table) -> list[str]:
    likely = [c for c in table.columns if any(part in c.lower() for part in _NAME_PARTS)]
    return likely[:_CANDIDATES_MAX]


def _gene_columns(table: Table) -> NDArray[np.bool_]:
    """[columns] which features are genes, by the columns that say what a feature is."""
    is_gene = np.ones(len(table.index()), dtype=bool)
    for column in table.columns:
        if column.lower() not in _KIND_COLUMNS:
            continue
        for position, kind in enumerate(table.column(column)):
            kind = kind.lower()
            if any(word in kind for word in _NOT_GENES) and kind not in _GENE_KINDS:
                is_gene[position] = False
    return is_gene


def _known(
    vocabulary: GeneVocabulary, names: Sequence[str], is_gene: NDArray[np.bool_]
) -> NDArray[np.int32]:
    genes = vocabulary.lookup_columns(names)
    genes[~is_gene] = UNKNOWN
    return genes


def _score(genes: NDArray[np.int32], expressed: NDArray[np.bool_], names: Sequence[str]) -> float:
    share = float((genes[expressed] != UNKNOWN).mean()) if expressed.any() else 0.0
    return share + (_ID_ADVANTAGE if share and _are_ids(names) else 0.0)


def _are_ids(names: Sequence[str]) -> bool:
    some = names[:: max(1, len(names) // 200)]
    return sum(name.upper().startswith("ENS") for name in some) * 2 > len(some)


def _report(
    column: str,
    genes: NDArray[np.int32],
    is_gene: NDArray[np.bool_],
    expressed: NDArray[np.bool_],
    total: NDArray[np.float64],
    names: Sequence[str],
) -> GeneReport:
    known = genes != UNKNOWN
    matched, candidates = int((known & expressed).sum()), int(expressed.sum())
    coverage = matched / candidates if candidates else 0.0
    in_genes = float(total[is_gene].sum())
    counts_coverage = float(total[known].sum()) / in_genes if in_genes else 0.0
    distinct = len(np.unique(genes[known]))
    dropped, summed = int((~is_gene).sum()), int(known.sum()) - distinct
    sentence = f"genes by `{column}`: {matched:,} of {candidates:,} expressed genes known "
    sentence += f"({coverage:.0%}), with {counts_coverage:.0%} of the counts"
    if summed:
        sentence += f"; {summed:,} columns of the same genes summed"
    if dropped:
        sentence += f"; {dropped:,} columns dropped that are no genes (antibodies, spike-ins)"
    warnings = []
    if coverage < LOW_COVERAGE:
        warnings.append(
            f"the bundle knows {coverage:.0%} of the expressed genes "
            f"({counts_coverage:.0%} of the counts): descriptions may be unreliable"
        )
    if matched and _lower_case_share(names, known) > 0.5:
        warnings.append("gene names look like mouse symbols (`Cd3e`), taken as the human ones")
    return GeneReport(
        column=column,
        columns=len(genes),
        expressed=candidates,
        matched=matched,
        genes=distinct,
        dropped=dropped,
        summed=summed,
        coverage=coverage,
        counts_coverage=counts_coverage,
        sentence=sentence,
        warnings=tuple(warnings),
    )


def _lower_case_share(names: Sequence[str], known: NDArray[np.bool_]) -> float:
    """Share of the known names that are written like mouse symbols: `Cd3e`."""
    some = [names[position] for position in np.flatnonzero(known).tolist()]
    return sum(name[:1].isupper() and name[1:2].islower() for name in some) / max(len(some), 1)


def _not_recognised(report: GeneReport, names: Sequence[str], table: Table) -> CellFileError:
    problem = f"gene names not recognised: {report.matched:,} of {report.expressed:,} match "
    problem += "the bundle's vocabulary"
    shown = ", ".join(f"`{name}`" for name in names[:3])
    hint = f"`{report.column}` has names such as {shown}"
    species = [
        animal
        for prefix, animal in _OTHER_SPECIES.items()
        if sum(name.upper().startswith(prefix) for name in names) * 2 > len(names)
    ]
    if species:
        hint += f", which are {species[0]} genes: map them to human Ensembl ids first"
    else:
        hint += "; pass `--gene-column NAME` with the column of Ensembl ids or symbols"
        if table.columns:
            hint += f" (there are: {', '.join(table.columns[:12])})"
    return CellFileError(problem, hint=f"{hint}, or `--min-coverage 0` to go on all the same")
