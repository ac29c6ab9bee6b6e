"""`obs["filter_pass"]` in the spellings of Python and R; what is neither is asked."""

import pytest

from c2t.runtime.cells.filter_pass import passed_cells
from c2t.runtime.system.errors import CellFileError


@pytest.mark.parametrize(
    "values",
    [
        ["1", "0", "1"],
        ["1.0", "0.0", "1.0"],
        ["True", "False", "True"],
        ["TRUE", "FALSE", "TRUE"],
        ["true", "", "true"],
        ["T", "F", "T"],
        ["yes", "no", "Yes"],
        ["PASS", "FAIL", "PASS"],
    ],
)
def test_spellings(values: list[str]) -> None:
    assert passed_cells(values, "x.h5ad").tolist() == [0, 2]


def test_other_values_are_named_with_the_option() -> None:
    with pytest.raises(CellFileError) as caught:
        passed_cells(["keep", "keep", "doublet"], "x.h5ad")
    assert "keep (2 cells), doublet (1 cells)" in caught.value.problem
    assert "--no-filter-pass" in caught.value.hint


def test_nothing_left() -> None:
    with pytest.raises(CellFileError) as caught:
        passed_cells(["0", "0", ""], "x.h5ad")
    assert "leaves out all 3 cells: 0 (2 cells), (missing) (1 cells)" in caught.value.problem
    assert "--no-filter-pass" in caught.value.hint
