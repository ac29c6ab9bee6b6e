"""Cells of a file that an export is checked with: of different lengths, the most typical first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from c2t.runtime.bundle.gene_vocabulary import GeneVocabulary
from c2t.runtime.cells.options import CellOptions
from c2t.runtime.cells.reader import CellReader
from c2t.runtime.system.errors import CellFileError

CELLS_READ = 256  # cells of the file that are looked at
CELLS_CHOSEN = 6  # of them, with sequences of different lengths


def cell_sequences(cells: Path, genes: GeneVocabulary | None, made: Any) -> list[list[int]]:
    """Tokens of real cells: the median length first, then others from short to long.

    Args:
        cells: A file of cells.
        genes: See `c2t.runtime.cells.reader.CellReader`.
        made: Its `gene_input`: what a cell becomes.

    Raises:
        CellFileError: The file cannot be read, or holds no cell with known genes.
    """
    sequences: list[list[int]] = []
    errors: list[str] = []
    with CellReader(cells, genes, made, CellOptions(limit=CELLS_READ)) as reader:
        for chunk in reader.chunks():
            for tokens, error in zip(chunk.tokens, chunk.errors, strict=True):
                if error is None:
                    sequences.append(tokens.tolist())
                else:
                    errors.append(error)
    if not sequences:
        why = errors[0] if errors else "there are none"
        problem = f"none of the first {CELLS_READ} cells of {cells} can be used: {why}"
        raise CellFileError(problem, hint="give a file of cells that the model can describe")
    sequences.sort(key=len)
    spread = (
        np.linspace(0, len(sequences) - 1, min(CELLS_CHOSEN, len(sequences))).round().astype(int)
    )
    middle = len(sequences) // 2
    return [sequences[middle], *(sequences[i] for i in spread if i != middle)]
