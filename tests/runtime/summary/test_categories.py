"""Cells sorted into groups."""

from __future__ import annotations

import numpy as np

from c2t.runtime.summary.categories import FAILED, NOT_NAMED, UNSURE, categorise, shares


def test_the_most_frequent_come_first_and_what_is_no_type_last() -> None:
    values = [UNSURE, "b", "a", None, "a", FAILED, "b", "c", UNSURE, UNSURE, "", "a"]
    groups = categorise(values)
    assert groups.labels == ("a", "b", "c", UNSURE, NOT_NAMED, FAILED)
    assert groups.counts.tolist() == [3, 2, 1, 3, 2, 1]
    assert groups.types == 3
    assert [groups.labels[code] for code in groups.codes] == [v or NOT_NAMED for v in values]
    assert groups.share(0) == 3 / 12


def test_equal_numbers_are_sorted_by_name() -> None:
    assert categorise(["z", "y", "x"]).labels == ("x", "y", "z")


def test_rare_types_lose_their_code_and_no_others() -> None:
    groups = categorise(["a", "a", "a", "b", "b", "c", UNSURE])
    few, left_out = groups.of_at_most(2)
    assert left_out == 1
    assert few.labels == ("a", "b", UNSURE)
    assert few.codes.tolist() == [0, 0, 0, 1, 1, -1, 2]
    assert few.counts.tolist() == [3, 2, 1]
    assert groups.of_at_most(3) == (groups, 0)


def test_no_cells() -> None:
    groups = categorise([])
    assert groups.labels == ()
    assert groups.codes.dtype == np.int64
    assert groups.of_at_most(5) == (groups, 0)


def test_shares_are_of_all_values() -> None:
    assert shares(["a", None, "a", "b"]) == [("a", 0.5), ("b", 0.25)]
    assert shares(["a", "b", "c", "d"], most=2) == [("a", 0.25), ("b", 0.25)]
