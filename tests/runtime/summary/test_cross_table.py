"""Own labels counted against described types."""

from __future__ import annotations

import numpy as np
import pytest

from c2t.runtime.summary.categories import FAILED, UNSURE
from c2t.runtime.summary.cross_table import (
    NO_LABEL,
    OTHER_LABELS,
    OTHER_TYPES,
    adjusted_rand_index,
    cross_table,
)


def test_agreement_is_a_diagonal_whatever_the_names() -> None:
    own = ["x"] * 5 + ["y"] * 4 + ["z"] * 3
    said = ["Q"] * 5 + ["P"] * 4 + ["R"] * 3
    table = cross_table(own, said)
    assert table.rows == ("x", "y", "z")
    assert table.columns == ("Q", "P", "R")
    assert table.counts.tolist() == [[5, 0, 0], [0, 4, 0], [0, 0, 3]]
    assert table.rand_index == 1
    assert (table.same, table.cells) == (0, 12)
    assert table.shares.tolist() == np.eye(3).tolist()


def test_a_map_renames_labels_and_letter_case_does_not_count() -> None:
    table = cross_table(
        ["NK", "B Cell", "T"],
        ["natural killer cell", "b cell", "B cell"],
        {"NK": "natural killer cell"},
    )
    assert table.same == 2
    assert "natural killer cell" in table.rows


def test_cells_without_a_label_or_a_type_are_counted_apart() -> None:
    table = cross_table(["a", None, "", "a"], ["a", "a", UNSURE, FAILED])
    assert table.rows == ("a", NO_LABEL)
    assert table.columns == ("a", UNSURE, FAILED)
    assert table.cells == 2
    assert table.counts.tolist() == [[1, 0, 1], [1, 1, 0]]


def test_rare_ones_are_summed_up() -> None:
    own = [str(n % 7) for n in range(70)] + ["0"] * 9
    said = [f"t{n % 7}" for n in range(70)] + ["t0"] * 9
    table = cross_table(own, said, most=3)
    assert table.rows == ("0", "1", "2", OTHER_LABELS)
    assert table.columns == ("t0", "t1", "t2", OTHER_TYPES)
    assert table.counts.sum() == len(own)
    assert table.counts[3, 3] == 40
    assert table.rand_index == 1  # of all labels, not of the shown ones


def test_adjusted_rand_index_is_that_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    generator = np.random.default_rng(0)
    for _ in range(5):
        left, right = generator.integers(0, 4, 200), generator.integers(0, 6, 200)
        right = np.where(generator.random(200) < 0.6, left, right)
        counts = np.zeros((4, 6), np.int64)
        np.add.at(counts, (left, right), 1)
        assert adjusted_rand_index(counts) == pytest.approx(
            metrics.adjusted_rand_score(left, right), abs=1e-12
        )


def test_adjusted_rand_index_of_one_group() -> None:
    assert adjusted_rand_index(np.array([[5]])) == 1
    assert adjusted_rand_index(np.array([[3, 2]])) == 0


def test_unsure_cells_count_by_their_text_and_the_sure_ones_are_told_beside() -> None:
    own = ["a"] * 4 + ["b"] * 4
    said = ["a", "a", "a", "b", "b", "b", "b", "a"]
    unsure = [False, False, True, True, False, False, True, True]
    table = cross_table(own, said, unsure=unsure)
    assert table.columns == ("a", "b")
    assert (table.same, table.cells) == (6, 8)
    assert table.rand_index == cross_table(own, said).rand_index
    assert table.sure is not None
    assert (table.sure.same, table.sure.cells, table.sure.rand_index) == (4, 4, 1)
    assert cross_table(own, said).sure is None
