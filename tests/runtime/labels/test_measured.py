"""Columns of measurements are refused where labels are meant; numbers that are names are not."""

from __future__ import annotations

import numpy as np
import pytest

from c2t.runtime.cells.formats.table import as_strings
from c2t.runtime.labels.measured import check_labels
from c2t.runtime.system.errors import CellFileError


@pytest.mark.parametrize(
    "values",
    [
        np.random.default_rng(0).random(300),
        np.random.default_rng(0).random(300).astype(np.float32),
        np.array([0.5, 1.5, np.nan, 2.5]),
        np.array([1.0, 2e-7, 1.0, 1.0]),
        np.array([1.0, np.inf, 0.125, 1.0]),
    ],
)
def test_measurements_are_refused(values: np.ndarray) -> None:
    with pytest.raises(CellFileError, match=r"obs\['depth'\] holds measurements such as") as caught:
        check_labels("depth", as_strings(values))
    assert "types, clusters" in caught.value.hint


@pytest.mark.parametrize(
    "values",
    [
        ["0.0", "1.0", "2.0", ""],
        ["1", "2", "3"],
        ["1.1", "1.2", "2.10", "1.1", "1.2", "2.10"],
        ["0.123", "0.456", "B cell"],
        ["", ""],
        [],
        ["inf", "nan"],
    ],
)
def test_labels_are_not(values: list[str]) -> None:
    check_labels("kind", values)
