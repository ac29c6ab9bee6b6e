"""Label maps in the two forms that `c2t evaluate` reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from c2t.runtime.summary.label_map import read_label_map
from c2t.runtime.system.errors import ReportError

FLAT = {"NK": "natural killer cell"}


@pytest.mark.parametrize(
    "document",
    [FLAT, {"cell_type": {"labels": FLAT, "terms": {}}, "tissue": {"every_cell": "blood"}}],
)
def test_both_forms(tmp_path: Path, document: object) -> None:
    path = tmp_path / "map.json"
    path.write_text(json.dumps(document))
    assert read_label_map(path) == FLAT


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
    with pytest.raises(ReportError, match=r"map\.json") as caught:
        read_label_map(path)
    assert caught.value.hint


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="No such file"):
        read_label_map(tmp_path / "none.json")
