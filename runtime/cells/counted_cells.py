"""Cells that a program holds as counts by gene, encoded for a bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.cells.encoded_cells import EncodedCells
from c2t.runtime.cells.options import CellOptions
from c2t.runtime.cells.reader import open_cells


@dataclass(frozen=True, eq=False, kw_only=True)
class ReadCells:
    """Cells of a request.

    Args:
        cells: Encoded.
        warnings: What is doubtful about them as a whole.
    """

    cells: EncodedCells
    warnings: tuple[str, ...]


class CountedCellReader:
    """Reads cells that are maps from gene to count; threads may share it."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle

    def read(
        self, counts: Sequence[Mapping[str, float]], ids: Sequence[str], options: CellOptions
    ) -> ReadCells:
        """Read the cells of one request."""
        import anndata
        import numpy as np

        genes = list({gene: None for cell in counts for gene in cell})
        column = {gene: number for number, gene in enumerate(genes)}
        matrix = np.zeros((len(counts), len(genes)))
        for row, cell in enumerate(counts):
            for gene, count in cell.items():
                matrix[row, column[gene]] = count
        adata = anndata.AnnData(matrix)
        adata.var_names, adata.obs_names = genes, list(ids)
        with open_cells(adata, self._bundle, options) as reader:
            return ReadCells(
                cells=EncodedCells.joined(list(reader.chunks())), warnings=reader.warnings
            )
