"""Values of any size, as a damaged file or a stranger's request has: judged without a warning."""

from __future__ import annotations

import numpy as np
import pytest
from serve_cells import GENES
from tiny_data import tiny_bundle

from c2t.runtime.cells.counted_cells import CountedCellReader
from c2t.runtime.cells.options import CellOptions
from c2t.runtime.system.errors import CellFileError

VALUES = (1.7e308, 1e308, 1e39, 1e20, 2.0**53, 3.0, 1.0, 0.5, 0.0, 1e-45, 1e-229, 5e-324)


@pytest.mark.parametrize("values", ["auto", "counts", "log1p", "normalized"])
def test_extreme_values_are_refused_or_encoded(values: str) -> None:
    reader = CountedCellReader(tiny_bundle().bundle)
    draw = np.random.default_rng(0)
    options = CellOptions(values=values, min_coverage=0)  # type: ignore[arg-type]
    for _ in range(60):
        cells = [
            {
                GENES[gene]: VALUES[draw.integers(len(VALUES))]
                for gene in draw.choice(60, draw.integers(1, 12), replace=False)
            }
            for _ in range(draw.integers(1, 3))
        ]
        try:
            read = reader.read(cells, [f"cell{n}" for n in range(len(cells))], options)
        except CellFileError:
            continue
        assert len(read.cells) == len(cells)
        for tokens, error in zip(read.cells.tokens, read.cells.errors, strict=True):
            assert error or len(tokens) > 2
