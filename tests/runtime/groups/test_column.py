"""Groups of a column: missing values, near names, too many groups; and what options are refused."""

from __future__ import annotations

import pytest

from c2t.runtime.explain.groups import NO_GROUP, sample_groups
from c2t.runtime.groups.column import check_column, column_groups, column_warnings
from c2t.runtime.groups.options import GroupOptions
from c2t.runtime.system.errors import C2TError, CellFileError

COLUMNS = ["louvain", "cell_type", "batch", "n_counts"]


@pytest.mark.parametrize(
    ("name", "hint"),
    [("Louvain", "louvain"), ("celltype", "cell_type"), ("batches", "batch")],
)
def test_near_names_are_offered(name: str, hint: str) -> None:
    with pytest.raises(CellFileError, match=rf"no column '{name}' in obs") as caught:
        check_column(name, COLUMNS, "cells.h5ad")
    assert f"near ones are: {hint}" in caught.value.hint


def test_without_a_near_name_some_are_listed() -> None:
    with pytest.raises(CellFileError) as caught:
        check_column("zzz", COLUMNS, "cells.h5ad")
    assert "there are: batch, cell_type" in caught.value.hint
    with pytest.raises(CellFileError) as caught:
        check_column("zzz", [], "cells.h5ad")
    assert "there are: none" in caught.value.hint


def test_missing_values_are_in_no_group_and_said() -> None:
    labels = column_groups("batch", ["a", "", "b", "a", "", "b"])
    assert labels.codes.tolist() == [0, -1, 1, 0, -1, 1]
    assert column_warnings("batch", labels) == [
        "2 cells have no value in obs['batch'] and are in no group"
    ]


@pytest.mark.parametrize("word", sorted(NO_GROUP))
def test_words_for_no_value_are_those_of_explain(word: str) -> None:
    values = ["a", word, "b", word, "a", "b"]
    labels = column_groups("batch", values)
    assert list(labels.names) == list(sample_groups(values, most=9, seed=0)) == ["a", "b"]
    assert labels.codes.tolist() == [0, -1, 1, -1, 0, 1]
    assert column_warnings("batch", labels) == [
        "2 cells have no value in obs['batch'] and are in no group"
    ]
    with pytest.raises(CellFileError, match="has no value"):
        column_groups("batch", [word] * 3)


def test_a_word_that_looks_like_no_value_is_a_group() -> None:
    assert list(column_groups("batch", ["nano", "Na", "none", "0"]).names) == [
        *("0", "Na", "nano", "none")
    ]


def test_one_group_is_fine() -> None:
    assert column_warnings("batch", column_groups("batch", ["a"])) == []


def test_a_group_for_each_cell_is_warned_about() -> None:
    labels = column_groups("barcode", [f"cell{n}" for n in range(30)])
    (warning,) = column_warnings("barcode", labels)
    assert "30 groups for 30 cells" in warning


def test_a_column_without_values_is_refused() -> None:
    with pytest.raises(CellFileError, match=r"obs\['batch'\] has no value for any of the 3 chosen"):
        column_groups("batch", ["", "", ""])


@pytest.mark.parametrize(
    "options",
    [
        {"by": ""},
        {"by": "a", "min_share": -0.1},
        {"by": "a", "min_share": float("nan")},
        {"by": "leiden", "resolution": 0.0},
        {"by": "leiden", "resolution": float("nan")},
        {"by": "leiden", "resolution": float("inf")},
    ],
)
def test_numbers_that_mean_nothing_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(C2TError) as caught:
        GroupOptions(**options).check()
    assert caught.value.hint


def test_own_clusters_come_first_unless_a_resolution_asks_for_new_ones() -> None:
    assert GroupOptions(by="leiden").computed(["louvain"])
    assert not GroupOptions(by="leiden").computed(["leiden"])
    assert GroupOptions(by="leiden", resolution=1.0).computed(["leiden"])
    assert not GroupOptions(by="louvain").computed(["louvain"])


def test_measurements_are_no_groups() -> None:
    with pytest.raises(CellFileError, match=r"holds measurements such as 0\.25"):
        column_groups("percent_mt", ["0.25", "3.0", "", "4.5"])
