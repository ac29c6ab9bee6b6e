"""Names find their term, or nothing; damaged tables are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from c2t.runtime.fields.names import plain_name
from c2t.runtime.fields.terms import TERMS_NAME, TermTable, load_terms, make_table, split_id
from c2t.runtime.system.errors import BundleError

IDS = {
    ("cell_type", "cd4 positive, alpha beta t cell"): "CL:0000624",
    ("cell_type", "b cell"): "CL:0000236",
    ("cell_type", "cell"): "CL:0000000",
    ("tissue", "blood"): "UBERON:0000178",
    ("disease", "normal"): "PATO:0000461",
}


@pytest.fixture
def table(tmp_path: Path) -> TermTable:
    make_table(IDS).save(tmp_path / TERMS_NAME)
    return load_terms(tmp_path / TERMS_NAME)


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("B cells", "b cell"),
        ("  CD4-positive,\talpha\u2010beta T  Cell", "cd4 positive, alpha beta t cell"),
        ("cells", "cell"),
        ("natural_killer_cell", "natural killer cell"),
        ("excells", "excells"),
        ("\u03b1\u03b2 T cell", "\u03b1\u03b2 t cell"),
        ("", ""),
    ],
)
def test_what_counts_as_the_same_name(name: str, plain: str) -> None:
    assert plain_name(name) == plain
    assert plain_name(plain) == plain


def test_names_find_their_term_and_no_other(table: TermTable) -> None:
    assert table.id_of("cell_type", "CD4-positive, alpha-beta T cells") == "CL:0000624"
    assert table.id_of("cell_type", "B-cell") == "CL:0000236"
    assert table.id_of("cell_type", "Cells") == "CL:0000000"
    assert table.id_of("disease", "Normal") == "PATO:0000461"
    # Nothing is guessed: neither a part of a name, nor a name of another field.
    for name in ("B", "b cell s", "Bcell", "CD4-positive alpha-beta T cell", "blood", "", "normal"):
        assert table.id_of("cell_type", name) == "unknown"
        assert not table.knows("cell_type", name)
    assert table.id_of("sex", "female") is None
    assert table.knows("tissue", "Blood")
    assert len(table) == len(IDS)


def test_an_empty_table_knows_nothing(tmp_path: Path) -> None:
    make_table({}).save(tmp_path / TERMS_NAME)
    table = load_terms(tmp_path / TERMS_NAME)
    assert table.id_of("cell_type", "B cell") is None
    assert not table.knows("cell_type", "B cell")


@pytest.mark.parametrize(
    "term", ["CL:236", "CL0000236", "CL:00002361", "cl/0000236", ":0000236", "CL:000023x", "X" * 20]
)
def test_ids_of_another_form_are_not_kept(term: str) -> None:
    assert split_id(term) is None
    assert len(make_table({("cell_type", "b cell"): term})) == 0


def arrays(**changes: Any) -> dict[str, Any]:
    table = make_table(IDS)
    parts = {
        "hash": table.hash,
        "prefix": table.prefix,
        "number": table.number,
        "prefixes": np.array(table.prefixes, "S8"),
        "fields": np.array(sorted(table.fields), "S16"),
    }
    return parts | changes


@pytest.mark.parametrize(
    "changes",
    [
        {"hash": np.arange(5, dtype=np.uint64)[::-1].copy()},
        {"hash": np.zeros(5, np.uint64)},
        {"hash": np.arange(5, dtype=np.int64)},
        {"hash": np.arange(4, dtype=np.uint64)},
        {"hash": np.arange(5, dtype=">u8")},
        {"prefix": np.full(5, 9, np.uint8)},
        {"number": np.full(5, 10**7, np.uint32)},
        {"number": np.zeros((5, 1), np.uint32)},
        {"prefixes": np.array(["C:", "B", "D"], "S2")},
        {"prefixes": np.array(["C" * 17], "S17")},
        {"prefixes": np.zeros(3)},
        {"fields": np.array(["colour"], "S16")},
        {"fields": np.array("cell_type", "S16")},
        {"fields": np.array([None], object)},
    ],
    ids=str,
)
def test_damaged_tables_are_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    np.savez(tmp_path / TERMS_NAME, **arrays())
    load_terms(tmp_path / TERMS_NAME)
    np.savez(tmp_path / TERMS_NAME, **arrays(**changes))
    with pytest.raises(BundleError, match=TERMS_NAME):
        load_terms(tmp_path / TERMS_NAME)
