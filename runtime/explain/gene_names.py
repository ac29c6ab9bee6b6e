"""What genes are called: by the bundle's id, and by a symbol where file or bundle have one.

One decision: the file's own symbol comes first, as its owner knows it. The bundle's names of a gene
are many, old ones among them, so they say something only where there is a single one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.bundle.gene_vocabulary import UNKNOWN, GeneVocabulary
from c2t.runtime.cells.reader import CellReader

# Columns of a gene table that hold symbols, by their names in lower case.
SYMBOL_COLUMNS = (
    *("gene_symbol", "gene_symbols", "symbol", "feature_name", "gene_name", "gene_names"),
)


class GeneNames:
    """Id and symbol of gene tokens.

    Args:
        vocabulary: The bundle's genes.
        reader: The file that the cells are from; None: only the bundle is asked.
    """

    def __init__(self, vocabulary: GeneVocabulary, reader: CellReader | None = None) -> None:
        self._ids = [value.decode() for value in vocabulary.ensembl_id.tolist()]
        self._gene = dict(zip(vocabulary.token.tolist(), range(len(vocabulary)), strict=True))
        self._symbols = _bundle_symbols(vocabulary)
        if reader is not None:
            for names in _symbol_columns(reader):
                self._symbols.update(_file_symbols(reader.gene_match.column_gene, names))

    def is_gene(self, token: int) -> bool:
        """Whether a token is a gene, not a special token."""
        return token in self._gene

    def name(self, token: int) -> tuple[str, str | None]:
        """Id and symbol of a gene token."""
        gene = self._gene[token]
        return self._ids[gene], self._symbols.get(gene)


def _is_symbol(name: str) -> bool:
    return bool(name) and not name.upper().startswith("ENS")


def _bundle_symbols(vocabulary: GeneVocabulary) -> dict[int, str]:
    """Symbols of genes that have a single one in the bundle."""
    found: dict[int, str] = {}
    several: set[int] = set()
    for alias, gene in zip(vocabulary.alias.tolist(), vocabulary.alias_gene.tolist(), strict=True):
        name = alias.decode()
        if _is_symbol(name):
            if gene in found:
                several.add(gene)
            found[gene] = name
    return {gene: name for gene, name in found.items() if gene not in several}


def _symbol_columns(reader: CellReader) -> list[list[str]]:
    """Names of the file's genes that can be symbols, the best last."""
    table = reader.store.var(reader.counts_report.location)
    named = {column.lower(): column for column in table.columns}
    columns = [named[name] for name in SYMBOL_COLUMNS if name in named]
    return [table.index(), *(table.column(column) for column in reversed(columns))]


def _file_symbols(column_gene: NDArray[np.int32], names: Sequence[str]) -> dict[int, str]:
    """The first name of each gene that is a symbol."""
    found: dict[int, str] = {}
    for gene, name in zip(column_gene.tolist(), names, strict=True):
        if gene != UNKNOWN and _is_symbol(name.strip()):
            found.setdefault(gene, name.strip())
    return found
