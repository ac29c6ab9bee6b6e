"""The seam between counts and models: how the counts of a cell become a model's input.

A kind of input is a file beside this one and a line in `CELL_INPUTS`. The manifest says which kind
a bundle takes.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.bundle.gene_vocabulary import GeneVocabulary
from c2t.runtime.bundle.manifest import GeneInput
from c2t.runtime.cells.encoded_cells import EncodedCells
from c2t.runtime.cells.inputs.rank_value import RankValueInput
from c2t.runtime.cells.sparse_rows import SparseRows


class CellInput(Protocol):
    """Makes the input of cells from their counts, for one bundle and one file."""

    def encode(self, counts: SparseRows) -> EncodedCells:
        """Encode B cells, which are named by their numbers: 0 to B - 1.

        A cell that cannot be encoded has an error, and never stops the others.

        Args:
            counts: Rows of the matrix, as the file has them.
        """


class CellInputKind(Protocol):
    """Makes a `CellInput`."""

    def __call__(
        self,
        gene_input: GeneInput,
        vocabulary: GeneVocabulary,
        column_gene: NDArray[np.int32],
        *,
        log_base: float | None,
    ) -> CellInput:
        """Make the input for a file.

        Args:
            gene_input: What the manifest says of the encoder's input.
            vocabulary: The genes of the bundle.
            column_gene: [columns] the gene of each column of the file, -1 for none.
            log_base: Base b of the file's values, log_b(1 + x), which are undone; None for counts.
        """


# By the class that the manifest's `gene_input` is read into.
CELL_INPUTS: dict[type[GeneInput], CellInputKind] = {GeneInput: RankValueInput}
