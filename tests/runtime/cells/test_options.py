"""Options of reading cells that cannot be are refused before a file is opened."""

import pytest

from c2t.runtime.cells.options import CellOptions
from c2t.runtime.system.errors import CellFileError


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("values", "x"),
        ("values", None),
        ("min_coverage", float("nan")),
        ("min_coverage", -0.1),
        ("min_coverage", 1.1),
        ("limit", -1),
    ],
)
def test_values_that_an_option_cannot_have(option: str, value: object) -> None:
    with pytest.raises(CellFileError, match=f"{option} is {value}|{option} is '{value}'") as caught:
        CellOptions(**{option: value})  # type: ignore[arg-type]
    assert caught.value.hint


@pytest.mark.parametrize("coverage", [0, 0.5, 1])
def test_values_that_an_option_can_have(coverage: float) -> None:
    options = CellOptions(min_coverage=coverage, values="counts", limit=0)
    assert options.min_coverage == coverage
