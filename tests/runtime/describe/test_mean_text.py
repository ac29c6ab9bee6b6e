"""Texts of the mean of cell vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cli_process import make_cells
from tiny_data import TinyBundle, tiny_bundle

from c2t.runtime.cells.options import CellOptions
from c2t.runtime.cells.reader import open_cells
from c2t.runtime.describe import mean_text
from c2t.runtime.describe.describer import DescribeOptions, Describer
from c2t.runtime.describe.group_mean import mean_vectors
from c2t.runtime.describe.mean_text import write_mean_texts


@pytest.fixture(scope="module", params=["mlp", "perceiver"])
def tiny(request: pytest.FixtureRequest) -> TinyBundle:
    return tiny_bundle(request.param)


def test_ranks_are_averaged_over_the_cells_that_have_them() -> None:
    cells = [np.full((n, 2), value, np.float32) for n, value in ((1, 1), (2, 3), (3, 8))]
    found = mean_vectors(cells)
    assert found.tolist() == [[4, 4], [5.5, 5.5]]
    assert found.dtype == np.float32


def test_one_cell_is_its_own_mean(tiny: TinyBundle, tmp_path: Path) -> None:
    cells = make_cells(tmp_path / "cells.h5ad", 12)
    describer = Describer(tiny.bundle, DescribeOptions(threads=1))
    with open_cells(cells, tiny.bundle, CellOptions(min_coverage=0)) as reader:
        expected = [cell.text for cell in describer.describe(reader)]
        steps: list[int] = []
        alone = write_mean_texts(
            describer, reader, [[place] for place in range(12)], advance=steps.append
        )
        assert alone == expected  # cell 3 is empty, cell 5 has a NaN: no text
        assert alone[3] is None
        assert sum(steps) == 12
        (together,) = write_mean_texts(describer, reader, [[0, 3, 5]])
        assert together == expected[0]  # those that cannot be read are left out
        assert write_mean_texts(describer, reader, [[3, 5]]) == [None]


def test_a_large_group_is_sampled_evenly(
    tiny: TinyBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mean_text, "CELLS_OF_MEAN", 4)
    assert next(mean_text._rounds(range(10, 50))) == [10, 20, 30, 40]
    assert [*mean_text._rounds([3, 5])] == [[3, 5]]
    rounds = [*mean_text._rounds(range(11))]
    assert [len(places) for places in rounds] == [4, 4, 3]
    assert sorted(place for places in rounds for place in places) == [*range(11)]
    cells = make_cells(tmp_path / "cells.h5ad", 60)
    describer = Describer(tiny.bundle, DescribeOptions(threads=1))
    with open_cells(cells, tiny.bundle, CellOptions(min_coverage=0)) as reader:
        places = list(range(6, 46))
        assert write_mean_texts(describer, reader, [places]) == write_mean_texts(
            describer, reader, [[6, 16, 26, 36]]
        )
