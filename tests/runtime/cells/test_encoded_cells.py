"""Encoded cells: parts of them, parts joined again, and cells that no file is read for."""

from __future__ import annotations

import numpy as np
import pytest

from c2t.runtime.cells.encoded_cells import EncodedCells


def three() -> EncodedCells:
    return EncodedCells.of_tokens(
        [[5, 6], np.array([7]), []], ids=["a", "b", "c"], errors=[None, None, "cell is empty"]
    )


def test_cells_of_tokens() -> None:
    cells = EncodedCells.of_tokens([[5, 6], [7]])
    assert (cells.ids, cells.errors, cells.first) == (["0", "1"], [None, None], 0)
    assert [tokens.dtype for tokens in cells.tokens] == [np.int32, np.int32]
    assert cells.genes_used.tolist() == cells.genes_found.tolist() == [2, 1]
    assert len(EncodedCells.of_tokens([])) == 0


def test_part_knows_its_place() -> None:
    part = three()[1:9]
    assert (part.ids, part.first, part.index.tolist()) == (["b", "c"], 1, [1, 2])
    assert part.errors == [None, "cell is empty"]
    assert part.genes_used.tolist() == [1, 0]
    assert part[1:].first == 2
    with pytest.raises(ValueError, match="by steps of 2"):
        part[::2]


def test_parts_joined_are_the_whole() -> None:
    whole = three()
    again = EncodedCells.joined([whole[:1], whole[1:]])
    assert (again.ids, again.errors, again.first) == (whole.ids, whole.errors, 0)
    assert [t.tolist() for t in again.tokens] == [[5, 6], [7], []]
    assert again.genes_found.tolist() == [2, 1, 0]
    assert again.index.tolist() == [0, 1, 2]
