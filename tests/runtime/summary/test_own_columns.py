"""Hints for columns that are not there."""

from __future__ import annotations

from c2t.runtime.summary.own_columns import columns_hint

COLUMNS = ["n_genes", "cell_type", "c2t_cell_type", "Louvain", "batch"]


def test_near_names_and_never_our_own() -> None:
    assert columns_hint("celltype", COLUMNS) == "near ones are: cell_type"
    assert columns_hint("louvain", COLUMNS) == "near ones are: Louvain"
    assert columns_hint("CELL_TYPE", COLUMNS) == "near ones are: cell_type"


def test_otherwise_all_in_their_order() -> None:
    hint = columns_hint("nope", COLUMNS)
    assert hint == "the columns there are: n_genes, cell_type, Louvain, batch"
    many = [f"x{n}" for n in range(25)]
    assert columns_hint("nope", many).endswith("x19, and 5 more")
    assert (
        columns_hint("nope", ["c2t_error"]) == "obs has no columns but those that begin with c2t_"
    )
    assert columns_hint("nope", []) == "obs is empty"
