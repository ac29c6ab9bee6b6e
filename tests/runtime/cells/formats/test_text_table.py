"""Text tables: which way they lie, how they are written, and what is refused."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import pytest
from cell_libraries import needs_anndata
from make_cells import GENES, IDS, SYMBOLS, adata, read, tokens
from make_formats import put, write_table

from c2t.runtime.cells.formats import text_table
from c2t.runtime.cells.formats.opening import PLAIN
from c2t.runtime.cells.formats.store import open_store
from c2t.runtime.system.errors import CellFileError

pytestmark = needs_anndata


def expected() -> list[list[int]]:
    return tokens(read(adata()))


def refusal(path: Path, **options: object) -> str:
    with pytest.raises(CellFileError) as caught:
        read(path, **options)
    assert caught.value.hint
    assert "\n" not in caught.value.problem + caught.value.hint
    return f"{caught.value.problem} | {caught.value.hint}"


@pytest.mark.parametrize("genes_are_rows", [False, True])
@pytest.mark.parametrize("separator", [",", "\t", ";", " "])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
@pytest.mark.parametrize("corner", ["", None, "name"])
def test_ways_of_writing(
    genes_are_rows: bool, separator: str, quoting: int, corner: str | None, tmp_path: Path
) -> None:
    path = write_table(
        tmp_path / "counts.txt",
        adata(),
        genes_are_rows=genes_are_rows,
        separator=separator,
        quoting=quoting,
        corner=corner,
    )
    reader = read(path)
    assert tokens(reader) == expected()
    assert reader.cell_ids == adata().obs_names.tolist()
    way = "genes x cells" if genes_are_rows else "cells x genes"
    assert f"counts.txt is read as a table of {way}: 40 cells, 80 genes" in reader.warnings


def test_columns_in_front_of_counts(tmp_path: Path) -> None:
    path = write_table(
        tmp_path / "a.csv", adata(), genes_are_rows=True, corner="id", front={"symbol": SYMBOLS}
    )
    reader = read(path, gene_column="symbol")
    assert tokens(reader) == expected()
    labels = ["B, large", 'T "x"'] * 20
    path = write_table(tmp_path / "b.csv", adata(), front={"cell_type": labels})
    assert read(path).obs_column("cell_type") == labels
    assert tokens(read(path)) == expected()


@pytest.mark.parametrize("corner", ["", None, "Unnamed: 0"])
@pytest.mark.parametrize("first", [0, 1])
def test_numbers_of_lines_are_no_names(corner: str | None, first: int, tmp_path: Path) -> None:
    names, labels = adata().obs_names.tolist(), ["T", "B"] * 20
    numbered = adata()
    numbered.obs_names = [str(n) for n in range(first, 40 + first)]
    front = {"cell_type": labels, "barcode": names}
    reader = read(write_table(tmp_path / "a.csv", numbered, corner=corner, front=front))
    assert reader.cell_ids == names
    assert reader.obs_column("cell_type") == labels
    assert tokens(reader) == expected()
    plain = read(write_table(tmp_path / "b.csv", numbered, corner=corner))
    assert plain.cell_ids == numbered.obs_names.tolist()
    said = f"b.csv names the cells {first}, {first + 1}, …: numbers of lines, no names"
    assert said in plain.warnings


def test_remarks_marks_and_windows(tmp_path: Path) -> None:
    text = write_table(tmp_path / "a.csv", adata()).read_text()
    put(tmp_path / "a.csv", "\ufeff" + "##made by somebody, 2026\n" + text.replace("\n", "\r\n"))
    assert tokens(read(tmp_path / "a.csv")) == expected()
    put(tmp_path / "b.csv.gz", "\ufeff" + text + "\n\n")
    assert tokens(read(tmp_path / "b.csv.gz")) == expected()


def test_which_way_is_asked_where_names_do_not_tell(tmp_path: Path) -> None:
    cells = adata()
    cells.var_names = [f"thing{n}" for n in range(GENES)]
    del cells.var["gene_symbol"]
    path = write_table(tmp_path / "a.csv", cells)
    said = refusal(path)
    assert "which way a.csv lies is not clear" in said
    assert "0% of the lines (`cell0`) and 0% of the columns (`thing0`)" in said
    assert "--part cells-x-genes" in said
    reader = read(path, part="cells-x-genes", min_coverage=0)
    assert reader.cell_ids[:1] == ["cell0"]
    assert "has no part `rna`" in refusal(path, part="rna")
    both = adata()[:, :40].copy()
    both.obs_names = IDS[40:]
    assert "not clear" in refusal(write_table(tmp_path / "b.csv", both))


def test_no_bundle_cannot_tell(tmp_path: Path) -> None:
    with pytest.raises(CellFileError, match="not clear"):
        open_store(write_table(tmp_path / "a.csv", adata()), PLAIN)


BAD = {
    "no counts": ("a,b,c\nx,y,z\n", "has no counts"),
    "one line": ("a,b,c\n", "no lines of counts"),
    "ragged": ("{header}\nc1{zeros}\nc2,1,2\n", "line 3 has 2 counts for 80 columns"),
    "missing": ("{header}\nc1{zeros}\nc2,,{zeros}\n", "line 3 has 82 counts"),
    "word": ("{header}\nc1{zeros}\nc2,NA{zeros_less}\n", "'NA' in column `ENSG00000000001`"),
    "empty": ("{header}\nc1{zeros}\nc2,{zeros_less}\n", "'' in column `ENSG00000000001`"),
    "label last": ("{header},type\nc1{zeros},T cell\n", "no counts"),
    "no names": ("{gene_header}\n0{zeros_less}\n1{zeros_less}\n", "the first column has no names"),
    "comma": ("{semi}\nc1;1,5{semi_zeros}\nc2;1,5{semi_zeros}\n", "a point in decimal numbers"),
    "first is missing": ("{header}\nc1,NA{zeros_less}\nc2{zeros}\nc3{zeros}\n", "'NA' in column"),
    "other fields": ("a,b,c,d,e\nx,1\n", "is no table"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_tables(kind: str, tmp_path: Path) -> None:
    content, said = BAD[kind]
    path = tmp_path / "cells.csv"
    path.write_text(
        content.format(
            header=",".join(["", *IDS]),
            gene_header=",".join(IDS),
            zeros=",0" * GENES,
            zeros_less=",0" * (GENES - 1),
            semi=";".join(["", *IDS]),
            semi_zeros=";0" * (GENES - 1),
        )
    )
    assert said in refusal(path)


def test_cut_off_and_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_table(tmp_path / "a.csv.gz", adata())
    content = path.read_bytes()
    path.write_bytes(content[: len(content) - 20])
    assert "a.csv.gz is cut off" in refusal(path)
    text = gzip.decompress(content)
    (tmp_path / "b.csv").write_bytes(text[: len(text) - 30])
    assert "counts for 80 columns" in refusal(tmp_path / "b.csv")
    monkeypatch.setattr(text_table, "ROWS_MAX", 10)
    path.write_bytes(content)
    assert "more than 10 lines" in refusal(path)


def test_many_portions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_table, "ENTRIES_AT_ONCE", 50)
    monkeypatch.setattr(text_table, "LOOKED_AT", 3)
    for turned in (False, True):
        path = write_table(tmp_path / f"{turned}.csv", adata(), genes_are_rows=turned)
        assert tokens(read(path)) == expected()


def test_values_that_are_no_counts_need_others_not_layers(tmp_path: Path) -> None:
    path = tmp_path / "cells.csv"
    path.write_text(",".join(["", *IDS[:30]]) + "\n" + "c1," + ",".join(["-1.5"] * 30) + "\n")
    with pytest.raises(CellFileError, match="no counts found") as caught:
        read(path)
    assert caught.value.hint.startswith("write the raw counts, whole numbers")
    assert "layers" not in caught.value.hint
