"""Cells in, gene tokens out: opens a file or AnnData object and encodes it in bounded portions."""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter
from typing import Any, Protocol

import numpy as np

from c2t.runtime.bundle.gene_vocabulary import GeneVocabulary
from c2t.runtime.bundle.manifest import GeneInput, Manifest
from c2t.runtime.cells.counts import CellCounts, CellOptions
from c2t.runtime.cells.encoded_cells import EncodedCells
from c2t.runtime.cells.gene_matching import GeneMatch, GeneReport, match_genes
from c2t.runtime.cells.inputs.rank_value import GeneTokens, RankEncoder
from c2t.runtime.cells.sparse_rows import SparseRows

__all__ = ["CellCounts", "CellOptions", "CellReader", "GeneSource", "open_cells"]


class GeneSource(Protocol):
    """What knows the genes and the shape of the encoder's input: a `Bundle`."""

    @property
    def genes(self) -> GeneVocabulary:
        """The genes with tokens, medians and aliases."""

    @property
    def manifest(self) -> Manifest:
        """The bundle's manifest, for `gene_input`."""


class CellReader(CellCounts):
    """Cells of a file, encoded for a bundle.

    Args:
        source: Path of an `.h5ad` file, or an AnnData object.
        genes: The genes that the bundle knows.
        gene_input: Longest sequence and special tokens.
        options: How to read it.

    Raises:
        CellFileError: No counts, too few known genes, damaged, or the selection is not in it.
    """

    def __init__(
        self,
        source: Any,
        genes: GeneVocabulary,
        gene_input: GeneInput,
        options: CellOptions | None = None,
    ) -> None:
        super().__init__(source, options)
        self.genes = genes
        self.gene_input = gene_input
        self.encode_seconds = 0.0  # spent on rank values so far; the rest of `chunks` is reading
        try:
            self.gene_match: GeneMatch = match_genes(
                self.store.var(self.counts_report.slot),
                genes,
                self._sample_counts(),
                gene_column=self.options.gene_column,
                min_coverage=self.options.min_coverage,
            )
        except BaseException:
            self.close()
            raise
        self._encoder = RankEncoder(
            self.gene_match.column_gene, genes, gene_input, log_base=self.counts_report.log_base
        )

    @property
    def gene_report(self) -> GeneReport:
        """How the genes of the file were recognised."""
        return self.gene_match.report

    @property
    def warnings(self) -> tuple[str, ...]:
        """All that the user should know about this input."""
        return (*super().warnings, *self.gene_report.warnings)

    def chunks(
        self, start: int = 0, stop: int | None = None, chunk_cells: int = 512
    ) -> Iterator[EncodedCells]:
        """Encode the selected cells [start, stop), `chunk_cells` at a time.

        Raises:
            CellFileError: The file turns out to be damaged.
        """
        stop = self.n_cells if stop is None else min(stop, self.n_cells)
        for first in range(start, stop, chunk_cells):
            end = min(first + chunk_cells, stop)
            parts = [self._encode(rows) for rows in self.rows(first, end)]
            yield EncodedCells(
                first=first,
                index=self.cell_index[first:end],
                ids=self.cell_ids[first:end],
                tokens=[tokens for part in parts for tokens in part.tokens],
                genes_used=np.concatenate([part.genes_used for part in parts]),
                genes_found=np.concatenate([part.genes_found for part in parts]),
                errors=[error for part in parts for error in part.errors],
            )

    def _encode(self, rows: SparseRows) -> GeneTokens:
        since = perf_counter()
        tokens = self._encoder.encode(rows)
        self.encode_seconds += perf_counter() - since
        return tokens

    def __enter__(self) -> CellReader:
        return self

    def _sample_counts(self) -> SparseRows:
        """Return the sample with a logarithm undone."""
        base, sample = self.counts_report.log_base, self.sample
        if base is None:
            return sample
        with np.errstate(over="ignore", invalid="ignore"):
            values = np.expm1(np.asarray(sample.data, dtype=np.float64) * np.log(base))
        return SparseRows(sample.indptr, sample.indices, values, sample.columns)


def open_cells(source: Any, bundle: GeneSource, options: CellOptions | None = None) -> CellReader:
    """Open cells to be described by a bundle; `reader.warnings` says what the user should know.

    Args:
        source: Path of an `.h5ad` file, or an AnnData object.
        bundle: The bundle, or what else knows genes and input.
        options: How to read them.

    Raises:
        CellFileError: No counts, too few known genes, damaged, or the selection is not in it.
    """
    return CellReader(source, bundle.genes, bundle.manifest.gene_input, options)
