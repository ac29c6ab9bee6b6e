"""One thing is not said as several."""

from __future__ import annotations

import pytest

from c2t.runtime.system.words import counted


@pytest.mark.parametrize(
    ("number", "said"), [(0, "0 cells"), (1, "1 cell"), (2, "2 cells"), (2000, "2,000 cells")]
)
def test_one_cell_is_not_cells(number: int, said: str) -> None:
    assert counted(number, "cell") == said
