"""What describing gives: a description of each cell."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.fields.reader import Fields


@dataclass(frozen=True, kw_only=True)
class Description:
    """What the model says of one cell.

    Args:
        cell: The cell's id.
        text: None where there is an error.
        confidence: Mean probability of the text's tokens; None where there is no text.
        cell_type_confidence: The same of the words that name the cell type; None where the text
            names none.
        genes_used: Genes that the encoder saw.
        cell_type_probability: Probability that the cell type is right; None where the bundle states
            none, or the text names no cell type.
        unsure: Whether that is below the threshold in force, or there is no cell type; None where
            no threshold is in force.
        error: Why there is no text; None where there is one.
        tokens: Text tokens, the EOS token included.
        steps: Decoder runs that wrote them.
        fields: What the text says, by field: cell_type, tissue, disease, sex, age and pathways,
            as far as the bundle's rules know them; None for what it does not say, or says in a
            way that can be read twice. Empty where there is no text.
        engine_failed: Whether the error is one of the engine, which may be no fault of the cell.
        embedding: [H] float32, where it was asked for and the encoder took the cell; see
            `c2t.runtime.describe.embedding`.
    """

    cell: str
    text: str | None
    confidence: float | None
    cell_type_confidence: float | None
    genes_used: int
    error: str | None
    cell_type_probability: float | None = None
    unsure: bool | None = None
    tokens: tuple[int, ...] = ()
    steps: int = 0
    fields: Fields = field(default_factory=dict)
    engine_failed: bool = False
    embedding: NDArray[np.float32] | None = field(default=None, compare=False, repr=False)

    @property
    def line(self) -> tuple[str, str, float | None, float | None]:
        """What a table shows: the cell, its text or error, and how sure the model is of it."""
        said = self.text if self.text is not None else f"error: {self.error}"
        return self.cell, said, self.confidence, self.cell_type_confidence

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from c2t.runtime.describe.notebook import cells_html

        return cells_html([self.line])
