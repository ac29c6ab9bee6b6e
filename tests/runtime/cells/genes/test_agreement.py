"""Columns of names that contradict each other."""

from __future__ import annotations

import re

import numpy as np
import pytest
from make_cells import IDS, SYMBOLS, adata, named, read, tokens

from c2t.runtime.system.errors import CellFileError

BY_ID = tokens(read(adata()))


def rolled(count):
    """Ids of which the first ones belong to other rows."""
    return [*np.roll(IDS[:count], 1), *IDS[count:]]


def test_ids_of_other_rows_are_refused():
    with pytest.raises(CellFileError) as caught:
        read(named(SYMBOLS, ensembl_id=rolled(80)))
    assert str(caught.value) == (
        "`ensembl_id` and `var_names` name different genes in 80 of 80 rows (100%; warned about "
        "above 2%, refused above 10%), such as `ENSG00000000080` and `GENE1`\n\nhint: one of them "
        "belongs to other rows; pass the right one: `--gene-column ensembl_id` or `--gene-column "
        "var_names`"
    )


def test_a_part_of_them_is_enough():
    with pytest.raises(CellFileError, match=r"in 9 of 80 rows \(11%"):
        read(named(SYMBOLS, gene_ids=rolled(9)))


def test_some_are_warned_about():
    reader = read(named(SYMBOLS, gene_ids=rolled(3)))
    (warning,) = reader.warnings
    assert re.match(
        r"`gene_ids` and `var_names` name different genes in 3 of 80 rows \(4%", warning
    )


def test_user_says_which_column_is_right():
    cells = named(SYMBOLS, ensembl_id=rolled(80))
    reader = read(cells, gene_column="var_names")
    assert tokens(reader) == BY_ID
    assert reader.warnings == ()


def test_column_that_may_mean_other_genes_is_only_warned_about():
    reader = read(named(IDS, nearest_gene=list(np.roll(SYMBOLS, 1))))
    assert tokens(reader) == BY_ID
    (warning,) = reader.warnings
    assert warning.startswith("`var_names` and `nearest_gene` name different genes")


def test_columns_that_hold_no_names_contradict_nothing():
    reader = read(named(SYMBOLS, gene_ids=IDS, n_genes=range(80), gene_length=range(80)))
    assert reader.warnings == ()
