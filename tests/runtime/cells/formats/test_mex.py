"""MatrixMarket matrices: every maker's names of files, either way round, and what is refused."""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from cell_libraries import needs_anndata
from make_cells import GENES, IDS, SYMBOLS, adata, counts, read, tokens
from make_formats import counts_of, ids_of, matrix_text, put, write_mex, write_parse, zipped

from c2t.runtime.cells.formats.mex import matrix_market
from c2t.runtime.cells.formats.store import open_store
from c2t.runtime.system.errors import CellFileError

pytestmark = needs_anndata
# Names of the three files, by maker; the folder below what is given.
MAKERS = {
    "10x 3": ("matrix.mtx.gz", "features.tsv.gz", "barcodes.tsv.gz", ""),
    "10x 2": ("matrix.mtx", "genes.tsv", "barcodes.tsv", "filtered_gene_bc_matrices/hg19"),
    "GEO": ("GSM1_s1_matrix.mtx.gz", "GSM1_s1_features.tsv.gz", "GSM1_s1_barcodes.tsv.gz", ""),
    "DRAGEN": (
        *("s.scRNA.filtered.matrix.mtx.gz", "s.scRNA.genes.tsv.gz"),
        *("s.scRNA.filtered.barcodes.tsv.gz", ""),
    ),
    "DRAGEN features": (
        *("s.scRNA.filtered.matrix.mtx.gz", "s.scRNA.filtered.features.tsv.gz"),
        *("s.scRNA.filtered.barcodes.tsv.gz", ""),
    ),
    "STARsolo": ("matrix.mtx", "features.tsv", "barcodes.tsv", "Solo.out/Gene/filtered"),
    "kallisto": ("cells_x_genes.mtx", "cells_x_genes.genes.txt", "cells_x_genes.barcodes.txt", ""),
    "alevin": ("quants_mat.mtx", "quants_mat_cols.txt", "quants_mat_rows.txt", "alevin"),
    "plain": ("counts.mtx", "genes.tsv", "barcodes.tsv", ""),
}


def refusal(path: Path, **options: object) -> str:
    with pytest.raises(CellFileError) as caught:
        read(path, **options)
    assert caught.value.hint
    assert "\n" not in caught.value.problem + caught.value.hint
    return f"{caught.value.problem} | {caught.value.hint}"


def expected() -> list[list[int]]:
    return tokens(read(adata()))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("maker", MAKERS)
def test_names_of_makers(maker: str, packed: bool, tmp_path: Path) -> None:
    matrix, genes, barcodes, below = MAKERS[maker]
    folder = tmp_path / "run"
    write_mex(folder / below, adata(), matrix=matrix, genes=genes, barcodes=barcodes)
    put(folder / below / "web_summary.txt", "other files\n")
    path = zipped(tmp_path / "run.zip", folder) if packed else folder
    assert tokens(read(path)) == expected()
    if not packed:
        assert tokens(read(folder / below / matrix)) == expected()


def test_bd_has_symbols_twice_and_numbers_of_cells(tmp_path: Path) -> None:
    numbers = [str(n) for n in range(100, 140)]
    folder = write_mex(
        tmp_path / "mex",
        adata(),
        columns=lambda _: [SYMBOLS, SYMBOLS, ["Gene Expression"] * GENES],
        names=numbers,
    )
    path = zipped(tmp_path / "s1_RSEC_MolsPerCell_MEX.zip", folder)
    reader = read(path)
    assert tokens(reader) == expected()
    assert reader.cell_ids == numbers


def test_antibodies_are_dropped(tmp_path: Path) -> None:
    kinds = ["Antibody Capture"] * 5 + ["Gene Expression"] * (GENES - 5)
    folder = write_mex(tmp_path, adata(), columns=lambda _: [IDS, SYMBOLS, kinds])
    assert read(folder).gene_report.dropped == 5


def test_parse_lies_the_other_way(tmp_path: Path) -> None:
    reader = read(write_parse(tmp_path / "DGE_filtered", adata()))
    assert tokens(reader) == expected()
    assert reader.obs_column("cell_type")[:2] == ["B cell", "T cell"]


def test_as_many_cells_as_genes(tmp_path: Path) -> None:
    """Where numbers do not tell, the names of the files do."""
    square = adata(counts_of(adata(np.vstack([counts(), counts()])))[:GENES])
    square.obs_names = [f"c{n}" for n in range(GENES)]
    one = read(square)
    assert tokens(read(write_mex(tmp_path / "mex", square))) == tokens(one)
    assert tokens(read(write_parse(tmp_path / "parse", square))) == tokens(one)


def test_one_of_several_matrices_is_asked_for(tmp_path: Path) -> None:
    for sample in ("s1", "s2"):
        names = {
            n: f"{sample}_{n}" for n in ("matrix.mtx.gz", "features.tsv.gz", "barcodes.tsv.gz")
        }
        matrix, genes, barcodes = names.values()
        write_mex(tmp_path / "run", adata(), matrix=matrix, genes=genes, barcodes=barcodes)
    said = refusal(tmp_path / "run")
    assert "has 2 matrices: s1_matrix.mtx.gz, s2_matrix.mtx.gz" in said
    assert f"{tmp_path}/run/s1_matrix.mtx.gz" in said
    assert tokens(read(tmp_path / "run" / "s2_matrix.mtx.gz")) == expected()
    path = zipped(tmp_path / "run.zip", tmp_path / "run")
    assert "`--part s1_matrix.mtx.gz`" in refusal(path)
    assert tokens(read(path, part="s2_matrix.mtx.gz")) == expected()
    assert "no part `s3`" in refusal(path, part="s3")


def test_folders_of_several_runs(tmp_path: Path) -> None:
    for run in ("filtered_feature_bc_matrix", "raw_feature_bc_matrix", "other"):
        write_mex(tmp_path / run, adata())
    said = refusal(tmp_path)
    assert "has 3 matrices" in said
    assert f"{tmp_path}/filtered_feature_bc_matrix" in said
    assert tokens(read(tmp_path, part="other")) == expected()


def test_cells_go_before_droplets_of_the_same_run(tmp_path: Path) -> None:
    write_mex(tmp_path / "outs" / "filtered_feature_bc_matrix", adata())
    write_mex(tmp_path / "outs" / "raw_feature_bc_matrix", adata()[:7])
    reader = read(tmp_path / "outs")
    assert tokens(reader) == expected()
    (warning,) = reader.store.warnings
    assert "took filtered_feature_bc_matrix/matrix.mtx.gz; raw_feature_bc_matrix/" in warning
    raw = read(tmp_path / "outs" / "raw_feature_bc_matrix")
    assert "raw_feature_bc_matrix" in raw.store.warnings[0]
    assert "empty droplets" in raw.store.warnings[0]


@pytest.mark.parametrize("kind", ["integer", "real"])
def test_any_order_of_entries(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_mex(tmp_path, adata())
    text = matrix_text(counts_of(adata()).T, kind=kind).splitlines(keepends=True)
    head, entries = text[:3], text[3:]
    np.random.default_rng(1).shuffle(entries)
    put(folder / "matrix.mtx.gz", "".join(head + entries))
    assert tokens(read(folder)) == expected()
    put(folder / "matrix.mtx.gz", "".join(head + entries).replace("\n", "\r\n") + "\r\n \r\n")
    assert tokens(read(folder)) == expected()
    from c2t.runtime.cells.formats import streams

    monkeypatch.setattr(streams, "BLOCK_BYTES", 64)
    monkeypatch.setattr(streams.read_block, "__defaults__", (64,))
    assert tokens(read(folder)) == expected()


HEADER = "%%MatrixMarket matrix coordinate integer general\n"
GOOD = {
    "plain": "1 1 3\n2 1 4\n",
    "no last end": "1 1 3\n2 1 4",
    "Windows": "1 1 3\r\n2 1 4\r\n",
    "blanks": "1  1\t3 \n2 1 4 \t\n",
    "empty lines": "1 1 3\n\n  \n 2 1 4\n\n",
}


@pytest.mark.parametrize("kind", GOOD)
def test_ways_to_write_entries(kind: str) -> None:
    content = f"{HEADER}80 40 2\n{GOOD[kind]}".encode()
    read_entries = matrix_market.MatrixText(io.BytesIO(content), "m").entries()
    found = [entry for portion in read_entries for entry in zip(*portion, strict=True)]
    assert found == [(0, 0, 3), (1, 0, 4)]


BAD = {
    "array": ("%%MatrixMarket matrix array real general\n80 40\n1\n", "of another kind"),
    "pattern": (HEADER.replace("integer", "pattern") + "80 40 1\n1 1\n", "(`pattern`)"),
    "complex": (HEADER.replace("integer", "complex") + "80 40 1\n1 1 1 0\n", "`complex` values"),
    "symmetric": (HEADER.replace("general", "symmetric") + "80 40 0\n", "of another kind"),
    "vector": (HEADER.replace("matrix", "vector") + "80 40 0\n", "of another kind"),
    "no header": ("80 40 1\n1 1 1\n", "no MatrixMarket matrix: it begins with '80 40 1'"),
    "no sizes": (HEADER + "% only remarks\n", "cut off before its sizes"),
    "two sizes": (HEADER + "80 40\n", "has the sizes '80 40'"),
    "negative": (HEADER + "80 -40 1\n1 1 1\n", "has the sizes"),
    "huge": (HEADER + "80 99999999999 1\n1 1 1\n", "1 entries in 80 x 99,999,999,999"),
    "too dense": (HEADER + "80 40 3201\n1 1 1\n", "3,201 entries in 80 x 40"),
    "cut": (HEADER + "80 40 3\n1 1 1\n", "has 1 of the 3 entries"),
    "more": (HEADER + "80 40 1\n1 1 1\n2 2 2\n", "more entries than the 1"),
    "zero": (HEADER + "80 40 1\n0 1 1\n", "row 0 of 80"),
    "outside": (HEADER + "80 40 1\n81 1 1\n", "row 81 of 80"),
    "column": (HEADER + "80 40 1\n1 41 1\n", "column 41 of 40"),
    "fraction": (HEADER + "80 40 1\n1.5 1 1\n", "row 1.5 of 80"),
    "no integer": (HEADER + "80 40 1\n1 1 2.5\n", "some are none"),
    "large": (HEADER + "80 40 1\n1 1 5000000000\n", "too large"),
    "two numbers": (HEADER + "80 40 2\n1 1\n1 2 2 2\n3 3\n", "exactly a row, a column"),
    "two and four": (HEADER + "80 40 2\n1 1\n5 2 1 7\n", "exactly a row, a column"),
    "four and two": (HEADER + "80 40 3\n1 1 1\n5 2 1 7\n1 1", "exactly a row, a column"),
    "two, four, empty": (HEADER + "80 40 2\n1 1\n\n5 2 1 7\n", "exactly a row, a column"),
    "one line": (HEADER + "80 40 2\n1 1 1 2 2 2\n", "exactly a row, a column"),
    "three lines": (HEADER + "80 40 1\n1\n1\n1\n", "exactly a row, a column"),
    "word": (HEADER + "80 40 1\n1 1 many\n", "no number"),
    "other sizes": (HEADER + "79 40 1\n1 1 1\n", "79 rows and 40 columns"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_matrices(kind: str, tmp_path: Path) -> None:
    content, said = BAD[kind]
    folder = write_mex(tmp_path, adata())
    put(folder / "matrix.mtx.gz", content)
    assert said in refusal(folder)


def test_cut_off_and_damaged_archives(tmp_path: Path) -> None:
    folder = write_mex(tmp_path / "mex", adata())
    content = (folder / "matrix.mtx.gz").read_bytes()
    (folder / "matrix.mtx.gz").write_bytes(content[: len(content) // 2])
    assert "matrix.mtx.gz is cut off" in refusal(folder)
    (folder / "matrix.mtx.gz").write_bytes(content[:50] + b"\xff" * 9 + content[59:])
    assert "matrix.mtx.gz" in refusal(folder)
    put(folder / "matrix.mtx.gz", matrix_text(counts_of(adata()).T))
    whole = zipped(tmp_path / "mex.zip", folder).read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[: len(whole) // 2])
    assert "its list of members is missing" in refusal(tmp_path / "cut.zip")


def test_names_that_do_not_fit(tmp_path: Path) -> None:
    folder = write_mex(tmp_path, adata())
    put(folder / "barcodes.tsv.gz", "only one\n")
    assert "barcodes.tsv.gz 1" in refusal(folder)
    put(folder / "barcodes.tsv.gz", "".join(f"c{n}\n" for n in range(41)))
    assert "barcodes.tsv.gz 41" in refusal(folder)
    put(folder / "barcodes.tsv.gz", "x\n" * 1000)
    assert "more than 80 names" in refusal(folder)
    (folder / "barcodes.tsv.gz").unlink()
    said = refusal(folder)
    assert "no file with the names of its cells" in said
    assert "barcodes.tsv.gz" in said
    put(folder / "barcodes.tsv", "name\n" + "".join(f"c{n}\n" for n in range(40)))
    assert read(folder).cell_ids[0] == "c0"
    (folder / "barcodes.tsv").write_bytes(b"\xff\xfe\n" * 40)
    assert "UTF-8" in refusal(folder)


def test_many_entries_that_the_disk_has_no_room_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from c2t.runtime.cells.formats import spilled

    monkeypatch.setattr(spilled, "SPARE_BYTES", 1 << 60)
    assert "no room to unpack matrix.mtx.gz" in refusal(write_mex(tmp_path, adata()))


def test_links_and_encrypted_members_are_refused(tmp_path: Path) -> None:
    folder = write_mex(tmp_path / "mex", adata())
    (folder / "matrix.mtx.gz").rename(tmp_path / "elsewhere")
    (folder / "matrix.mtx.gz").symlink_to(tmp_path / "elsewhere")
    assert "is a link, which may lead out" in refusal(folder)
    (folder / "matrix.mtx.gz").unlink()
    path = tmp_path / "mex.zip"
    with zipfile.ZipFile(path, "w") as archive:
        link = zipfile.ZipInfo("matrix.mtx.gz")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        for name in ("features.tsv.gz", "barcodes.tsv.gz"):
            archive.write(folder / name, name)
    assert "is a link" in refusal(path)


def test_bomb_of_empty_lines(tmp_path: Path) -> None:
    folder = write_mex(tmp_path, adata())
    with gzip.open(folder / "matrix.mtx.gz", "wb") as stream:
        stream.write(HEADER.encode() + b"80 40 1\n")
        for _ in range(8):
            stream.write(b"\n" * (1 << 20))
    assert "more entries than the 1" in refusal(folder)


def test_header_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix_market, "COMMENT_BYTES_MAX", 1000)
    folder = write_mex(tmp_path, adata())
    put(folder / "matrix.mtx.gz", HEADER + "%\n" * 5000)
    assert "bytes of remarks" in refusal(folder)


def test_hidden_files_of_other_systems(tmp_path: Path) -> None:
    folder = write_mex(tmp_path / "mex", adata())
    put(folder / "__MACOSX" / "._matrix.mtx.gz", "x")
    assert tokens(read(zipped(tmp_path / "mex.zip", folder))) == expected()


def test_temporary_file_is_gone_with_the_reader(tmp_path: Path) -> None:
    store = open_store(write_mex(tmp_path, adata()))
    handle = store.matrix("X")._source._file
    del store
    import gc

    gc.collect()
    assert handle.closed


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("header", ['"","x"', '"","cell_type","x"', '"x"', "Unnamed: 0,x"])
def test_numbers_of_lines_are_no_barcodes(header: str, first: int, tmp_path: Path) -> None:
    """As R's `write.csv`, `write.table`, and pandas write a table of barcodes."""
    folder = write_mex(tmp_path, adata())
    (folder / "barcodes.tsv.gz").unlink()
    barcodes = adata().obs_names.tolist()
    label = '"T",' if "cell_type" in header else ""
    lines = "".join(f'"{n}",{label}"{name}"\n' for n, name in enumerate(barcodes, first))
    put(folder / "barcodes.csv", f"{header}\n{lines}")
    reader = read(folder)
    assert reader.cell_ids == barcodes
    assert not any("numbers of lines" in said for said in reader.warnings)
    if label:
        assert reader.obs_column("cell_type") == ["T"] * 40


@pytest.mark.parametrize("header", ['""', '"","cell_type"', "barcode"])
def test_numbers_of_lines_without_barcodes_are_said(header: str, tmp_path: Path) -> None:
    folder = write_mex(tmp_path, adata())
    (folder / "barcodes.tsv.gz").unlink()
    label = ',"T"' if "cell_type" in header else ""
    put(folder / "barcodes.csv", header + "\n" + "".join(f'"{n}"{label}\n' for n in range(1, 41)))
    reader = read(folder)
    assert reader.cell_ids == [str(n) for n in range(1, 41)]
    assert "barcodes.csv names the cells 1, 2, …: numbers of lines, no names" in reader.warnings


def test_numbers_with_a_gap_or_a_name_stay_names(tmp_path: Path) -> None:
    folder = write_mex(tmp_path, adata())
    (folder / "barcodes.tsv.gz").unlink()
    for header, numbers in (("cell_id,x", range(1, 41)), (",x", range(2, 42))):
        lines = "".join(f"{n},{name}\n" for n, name in zip(numbers, adata().obs_names, strict=True))
        put(folder / "barcodes.csv", f"{header}\n{lines}")
        assert read(folder).cell_ids == [str(n) for n in numbers]


def test_numbers_of_lines_are_no_genes(tmp_path: Path) -> None:
    folder = write_mex(tmp_path, adata())
    (folder / "features.tsv.gz").unlink()
    lines = "".join(f'"{n}","{name}"\n' for n, name in enumerate(ids_of(adata()), 1))
    put(folder / "features.csv", f'"","x"\n{lines}')
    assert tokens(read(folder)) == expected()
