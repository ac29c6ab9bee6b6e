"""Descriptions read back from every kind of file that describing writes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import h5py
import numpy as np
import pytest
from cli_process import Command, make_cells
from described_cells import ABOUT, caption, described_file, type_of

from c2t.runtime.report.results import COLUMNS, TEMPLATE, Results, read_results
from c2t.runtime.summary.categories import FAILED, UNSURE
from c2t.runtime.system.errors import C2TError, ReportError

needs_pyarrow = pytest.mark.skipif(find_spec("pyarrow") is None, reason="no pyarrow")
KINDS = [
    "h5ad",
    "jsonl",
    "csv",
    pytest.param("parquet", marks=needs_pyarrow),
    pytest.param("parts", marks=needs_pyarrow),
]


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_cells(tmp_path_factory.mktemp("cells") / "cells.h5ad", 12)


@pytest.mark.parametrize("kind", KINDS)
def test_what_describe_wrote_is_read(
    call_c2t: Command, tiny_bundle_folder: Path, cells: Path, tmp_path: Path, kind: str
) -> None:
    out = tmp_path / f"out.{kind}"
    limits = ("--limit", 10, "--max-new-tokens", 6)
    done = call_c2t("describe", tiny_bundle_folder, cells, "-o", out, *limits)
    assert done.returncode == 0, done.stderr
    lines = tmp_path / "lines.jsonl"
    assert not call_c2t("describe", tiny_bundle_folder, cells, "-o", lines, *limits).returncode
    found, plain = read_results(out), read_results(lines)
    assert found.cells == [f"cell{n}" for n in range(10)]
    assert found.texts == plain.texts
    assert found.errors == plain.errors
    assert [n for n, error in enumerate(found.errors) if error] == [3, 5]
    np.testing.assert_array_equal(found.confidence, plain.confidence)
    assert math.isnan(found.confidence[3])
    assert found.types()[3] == FAILED
    if kind == "h5ad":
        assert found.rows is not None
        assert found.rows.tolist() == list(range(10))
        assert found.left_out == 2
    if kind in ("h5ad", "parquet", "parts"):
        assert found.about["bundle"] == "tiny"
        assert found.about["generation"]["max_new_tokens"] == 6


def test_fields_are_read_from_texts_where_no_column_has_them(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(json.dumps({"cell": "a", "text": caption("B cell"), "confidence": 0.5}))
    found = read_results(path)
    assert found.fields["cell_type"] == ["B cell"]
    assert found.fields["tissue"] == ["blood"]
    assert found.fields["sex"] == ["female"]
    assert found.fields_from == TEMPLATE
    assert found.unsure is None


def test_columns_of_fields_win(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text(
        "cell,text,confidence,cell_type_confidence,error,cell_type,cell_type_ontology_term_id,"
        "unsure\n"
        "a,This sample consists of a B cell.,0.5,0.25,,plasma cell,CL:0000786,false\n"
        "b,This sample consists of a B cell.,0.5,0.25,,,unknown,true\n"
    )
    found = read_results(path)
    assert found.fields_from == COLUMNS
    assert found.fields["cell_type"] == ["plasma cell", None]
    assert found.terms["cell_type"] == ["CL:0000786", "unknown"]
    assert found.types() == ["plasma cell", UNSURE]


def test_columns_of_an_h5ad_file(tmp_path: Path) -> None:
    path = described_file(tmp_path, cells=12)
    with h5py.File(path, "r+") as file:
        obs = file["obs"]
        made = obs.create_dataset("c2t_unsure", data=np.arange(12) == 4)
        made.attrs["encoding-type"], made.attrs["encoding-version"] = "array", "0.2.0"
    found = read_results(path)
    assert found.about == ABOUT
    assert found.types()[4] == UNSURE
    assert [name for n, name in enumerate(found.types()) if n != 4] == [
        type_of(n) for n in range(12) if n != 4
    ]


def refused(path: Path) -> C2TError:
    with pytest.raises(C2TError) as caught:
        read_results(path)
    assert caught.value.hint
    return caught.value


def write(name: str, content: str | bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return make


def link_out(folder: Path) -> Path:
    """A file whose descriptions lie in another file."""
    path = described_file(folder, cells=6)
    with h5py.File(path, "r+") as file:
        del file["obs/c2t_description"]
        file["obs/c2t_description"] = h5py.ExternalLink("cells.h5ad", "/obs/own")
    return path


BAD = {
    "nothing there": (lambda folder: folder / "none.jsonl", "no such file"),
    "another kind": (write("r.txt", "a"), "of no kind"),
    "an empty file": (write("r.jsonl", ""), "has no descriptions"),
    "no JSON": (write("r.jsonl", "{]"), "line 1"),
    "JSON of something else": (write("r.jsonl", '{"a": 1}\n'), "no `cell`"),
    "a list": (write("r.jsonl", "[1]\n"), "line 1"),
    "deep JSON": (write("r.jsonl", "[" * 100_000), "line 1"),
    "no UTF-8": (write("r.jsonl", b'{"cell": "\xff", "text": "a"}\n'), "line 1"),
    "a long line": (write("r.jsonl", '{"cell": "' + "a" * (5 << 20)), "longer than"),
    "no table": (write("r.csv", "a,b\n1,2\n"), "no columns `cell` and `text`"),
    "an uneven table": (write("r.csv", "cell,text\na\n"), "another number of values"),
    "an endless value": (write("r.csv", 'cell,text\na,"' + "b" * 200_000), "line"),
    "no Parquet": (write("r.parquet", "PAR1"), "Parquet"),
    "a file as a folder": (write("r.parts", ""), "no folder"),
    "no HDF5": (write("r.h5ad", "a"), "r.h5ad"),
    "cells without descriptions": (
        lambda folder: make_cells(folder / "r.h5ad", 3),
        "not described",
    ),
    "descriptions elsewhere": (link_out, "link to another file"),
    "no text at all": (
        lambda folder: described_file(folder, cells=3, records=[]),
        "none of its 3 cells has a text",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_are_no_results_is_refused(tmp_path: Path, name: str) -> None:
    make, words = BAD[name]
    if name == "no Parquet":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed: c2t[parquet]")
    assert words in str(refused(make(tmp_path)).problem)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").mkdir()
    assert isinstance(refused(tmp_path / "r.jsonl"), ReportError)


def test_numbers_out_of_range_are_no_confidence(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text('{"cell":"a","text":"b","confidence":1e9,"cell_type_confidence":"nan"}\n')
    found: Results = read_results(path)
    assert np.isnan(found.confidence[0])
    assert np.isnan(found.cell_type_confidence[0])
