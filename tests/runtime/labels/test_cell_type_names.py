"""Label maps in the two forms that `c2t evaluate` reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from c2t.runtime.labels.label_map import cell_type_names
from c2t.runtime.system.errors import EvaluationError

FLAT = {"NK": "natural killer cell"}


@pytest.mark.parametrize(
    "document",
    [FLAT, {"cell_type": {"labels": FLAT, "terms": {}}, "tissue": {"every_cell": "blood"}}],
)
def test_both_forms(tmp_path: Path, document: object) -> None:
    path = tmp_path / "map.json"
    path.write_text(json.dumps(document))
    assert cell_type_names(path) == FLAT


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"a": 1}',
        '{"tissue": {"labels": {"a": "b"}}}',
        '{"a": "b", "tissue": {"labels": {}}}',
    ],
)
def test_what_is_no_map_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "map.json"
    path.write_text(content)
    with pytest.raises(EvaluationError, match=r"map\.json") as caught:
        cell_type_names(path)
    assert caught.value.hint


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="No such file"):
        cell_type_names(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("map.csv", "label,name\nNK,natural killer cell\n"),
        ("map.csv", "\ufefflabel;name;use\nNK;natural killer cell;yes\nB;;no\n\n"),
        ("map.tsv", "Label\tontology_id\tName\nNK\tCL:0000623\tnatural killer cell\n"),
    ],
)
def test_tables(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    assert cell_type_names(path) == FLAT


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a,b\n", "no columns label and name"),
        ("label,name\n", "names no label"),
        ("label,name\nNK,x\nNK,y\n", "line 3 .* again"),
        ("label,name\n,x\n", "line 2 .* no label"),
        ("label,name\nNK,\n", "no name for 'NK'"),
        ("label,name,use\nNK,x,perhaps\n", "'perhaps' in the column use"),
        ("label,name\nNK," + "x" * 200_000, "cannot be read"),
        ("label,name\n\udcff,x", "no UTF-8 text"),
    ],
)
def test_slips_of_tables_are_refused(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "map.csv"
    path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(EvaluationError, match=words) as caught:
        cell_type_names(path)
    assert caught.value.hint
