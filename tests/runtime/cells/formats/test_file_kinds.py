"""What stands at the path is said, with the command that helps: files, folders, addresses."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from make_cells import adata, read, tokens, write

from c2t.runtime.cells.formats import filters
from c2t.runtime.cells.formats.store import open_store
from c2t.runtime.system.errors import CellFileError

RDS = b"X\n\0\0\0\x03\0\x04\x03\x02\0\x03\x05\0\0\0\0\x05UTF-8"


def zipped(name: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, "{}")
    return buffer.getvalue()


def tarred() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("matrix.mtx"))
    return buffer.getvalue()


def refusal(path: object) -> tuple[str, str]:
    with pytest.raises(CellFileError) as caught:
        open_store(path)
    assert "\n" not in caught.value.problem + caught.value.hint
    return caught.value.problem, caught.value.hint


# Content, what it is, the hint.
CONTENTS = {
    "empty": (b"", "is empty (0 bytes)", "fetch it again"),
    "gzip damaged": (b"\x1f\x8b\x08rubbish", "is packed with gzip", "gunzip"),
    "BAM": (gzip.compress(b"BAM\x01xxxx"), "is aligned reads (BAM)", "count them first"),
    "flow cytometry": (b"FCS3.0    58", "is a flow cytometry file (.fcs)", "no genes"),
    "PNG": (b"\x89PNG\r\n\x1a\n", "is a picture (PNG)", "filtered_feature_bc_matrix.h5"),
    "TIFF": (b"II*\0\x08\0", "is a picture (TIFF)", "filtered_feature_bc_matrix.h5"),
    "tar.gz": (gzip.compress(tarred()), "is a tar archive packed with gzip", "`tar xf "),
    "tar": (tarred(), "is a tar archive", "`tar xf "),
    "bzip2": (bz2.compress(b"x"), "is packed with bzip2", "bunzip2 -c < "),
    "xz": (lzma.compress(b"x"), "is packed with xz", "unxz -c < "),
    "zstd": (b"\x28\xb5\x2f\xfd\x04\0", "is packed with zstd", "unzstd -c < "),
    "zip": (zipped("cells.h5ad"), "is a zip archive of cells.h5ad", "`unzip "),
    "npz": (zipped("data.npy"), "is a NumPy archive", "AnnData"),
    "xlsx": (zipped("[Content_Types].xml"), "is an Excel workbook", "read_excel("),
    "rds": (RDS, "is an R object (.rds)", "`readRDS` it"),
    "rds gzip": (gzip.compress(RDS), "is an R object (.rds)", "writeH5AD"),
    "rds xz": (lzma.compress(RDS), "is an R object (.rds)", "writeH5AD"),
    "rds text": (b"A\n3\n262147\n", "is an R object (.rds)", "writeH5AD"),
    "RData": (bz2.compress(b"RDX3\nX\n\0\0\0\x03"), "is an R workspace (.RData)", "`load` it"),
    "qs": (b"\x0b\x0e\x0a\x0c\x01", "is an R object (.qs)", "`qs::qread` it"),
    "LFS": (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer", "`git lfs pull`"),
    "page": (b"\n<!DOCTYPE html><html>", "is a web page (HTML)", "log in first"),
    "page in capitals": (b"<HTML><BODY>", "is a web page (HTML)", "log in first"),
    "XML": (b"<?xml version='1.0'?><Error>", "is an XML document", "log in first"),
    "JSON": (b'{"message": "not found"}', "is JSON text", "a message instead of the file"),
    "text": (b"cells\n", "is a text file", "write_h5ad"),
    "parquet": (b"PAR1\x15\x04", "is a Parquet table", "read_parquet("),
    "feather": (b"ARROW1\0\0", "is an Arrow table", "read_feather("),
    "npy": (b"\x93NUMPY\x01\0", "is a NumPy array", "AnnData"),
    "pickle": (pickle.dumps([1], protocol=4), "is a Python pickle", "write_h5ad"),
    "SQLite": (b"SQLite format 3\0", "is an SQLite database", "write_h5ad"),
    "unknown": (b"\x00\x01\x02\x03", "(it begins with 00 01 02 03)", "download the file again"),
}


@pytest.mark.parametrize("kind", CONTENTS)
def test_content_says_what_a_file_is(kind: str, tmp_path: Path) -> None:
    content, what, command = CONTENTS[kind]
    path = tmp_path / "my cells.h5ad"
    path.write_bytes(content)
    problem, hint = refusal(path)
    assert problem.startswith(f"{path} ")
    assert what in problem
    assert problem.endswith("not an .h5ad file")
    assert command in hint


def test_command_for_a_packed_file_with_its_suffix(tmp_path: Path) -> None:
    path = tmp_path / "cells.h5ad.bz2"
    path.write_bytes(bz2.compress(b"\x89HDF\r\n\x1a\n"))
    _, hint = refusal(path)
    assert hint == f"unpack it: `bunzip2 -k {path}`, then describe {tmp_path / 'cells.h5ad'}"


def test_file_of_the_loupe_browser(tmp_path: Path) -> None:
    path = tmp_path / "run.cloupe"
    path.write_bytes(b'{"version":"0.0.1"}\0\0')
    problem, hint = refusal(path)
    assert problem == f"{path} is a file of the Loupe Browser (.cloupe), not an .h5ad file"
    assert "filtered_feature_bc_matrix.h5" in hint


def test_block_of_the_user_before_the_data(tmp_path: Path) -> None:
    plain = write(tmp_path / "plain.h5ad", adata())
    path = tmp_path / "cells.h5ad"
    with h5py.File(path, "w", userblock_size=2048) as file, h5py.File(plain) as source:
        for name in source:
            source.copy(name, file)
    assert tokens(read(path)) == tokens(read(plain))


def test_addresses() -> None:
    for address in ("https://a.org/x/cells.h5ad?raw=1", "http://a.org/x/cells.h5ad"):
        problem, hint = refusal(address)
        assert problem == f"{address} is an address, not a file here"
        assert hint.endswith("then describe cells.h5ad")
        assert "curl -L -O" in hint
        assert address in hint
    assert "`aws s3 cp s3://a/cells.h5ad .`" in refusal(Path("s3://a/cells.h5ad"))[1]
    assert "`gsutil cp gs://a/cells.h5ad .`" in refusal("gs://a/cells.h5ad")[1]
    assert refusal("file:///data/cells.h5ad")[1] == "give its path: /data/cells.h5ad"


@pytest.mark.parametrize(
    ("member", "what", "command"),
    [
        (".zgroup", "has no /obs: no AnnData in this zarr store", "anndata's `write_zarr`"),
        ("zarr.json", "no AnnData in this zarr store; it holds nothing", "`write_zarr`"),
        ("matrix.mtx.gz", "no file with the names of its genes", "called features.tsv.gz"),
        ("manifest.json", "is a bundle's folder", "c2t describe BUNDLE CELLS.h5ad"),
        ("a.h5ad", "is a folder", "give one file of cells of it: {}/a.h5ad"),
        ("notes.txt", "is a folder", "give one .h5ad file"),
    ],
)
def test_folders(member: str, what: str, command: str, tmp_path: Path) -> None:
    (tmp_path / member).touch()
    problem, hint = refusal(tmp_path)
    assert what in problem
    assert command.format(tmp_path) in hint


def h5(change: Callable[[h5py.File], object]) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with h5py.File(path, "w") as file:
            change(file)

    return make


def groups(*names: str) -> Callable[[Path], None]:
    return h5(lambda file: [file.require_group(name) for name in names])


def spatial(file: h5py.File) -> None:
    file.create_group("tables/table").attrs["encoding-type"] = "anndata"


# How it is made, what it is, the hint.
HDF5 = {
    "MuData": (groups("mod/atac", "mod/prot"), "2 modalities, none of them `rna`", "--part atac"),
    "10x 3": (groups("matrix/barcodes", "matrix/features"), "/matrix/shape is missing", "damaged"),
    "10x 2": (groups("hg19/barcodes", "hg19/gene_names"), "/hg19/shape is missing", "damaged"),
    "Loom": (groups("matrix", "row_attrs", "col_attrs"), "/matrix is not a data set", "damaged"),
    "molecules": (groups("barcode_idx", "feature_idx"), "molecule_info.h5", "filtered_feature"),
    "h5Seurat": (groups("assays", "cell.names"), "is an h5Seurat file", "SeuratDisk::Convert("),
    "inside": (h5(spatial), "AnnData at /tables/table", "['tables/table']).write_h5ad("),
    "unknown": (groups("model_weights"), "no /obs: not an .h5ad file; it holds model_", "write"),
    "no var": (groups("X", "obs"), "has no /var: not an .h5ad file; it holds X, obs", "write_h5ad"),
    "nothing": (groups(), "it holds nothing", "write_h5ad"),
}  # fmt: skip


@pytest.mark.parametrize("kind", HDF5)
def test_hdf5_files_of_other_kinds(kind: str, tmp_path: Path) -> None:
    make, what, command = HDF5[kind]
    path = tmp_path / "cells.h5ad"
    make(path)
    problem, hint = refusal(path)
    assert what in problem
    assert command in hint


def test_locked_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fcntl = pytest.importorskip("fcntl")
    monkeypatch.delenv("HDF5_USE_FILE_LOCKING", raising=False)
    path = write(tmp_path / "cells.h5ad", adata())
    with path.open("r+b") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        problem, hint = refusal(path)
    assert "is locked: another program has it open" in problem
    assert "close the program that writes it" in hint
    assert "HDF5_USE_FILE_LOCKING=FALSE" in hint


def packed(path: Path, number: int, mask: int = 0) -> Path:
    """Cells whose counts are said to be packed by a filter; with a mask of 1 they are not."""
    write(path, adata())
    with h5py.File(path, "r+") as file:
        data = file["X/data"][:]
        del file["X/data"]
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk(data.shape)
        plist.set_filter(number, h5py.h5z.FLAG_OPTIONAL, ())
        space, kind = h5py.h5s.create_simple(data.shape), h5py.h5t.IEEE_F32LE
        made = h5py.h5d.create(file["X"].id, b"data", kind, space, plist)
        made.write_direct_chunk((0,), data.tobytes(), mask)
    return path


@pytest.mark.parametrize("number", [305, 307, 32001, 32004, 32008, 32015, 40000])
def test_missing_filter_by_number_and_package(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filters, "PLUGIN", "no_such_plugin")
    if h5py.h5z.filter_avail(number):
        pytest.skip(f"filter {number} is registered in this process")
    path = packed(tmp_path / "cells.h5ad", number)
    with pytest.raises(CellFileError) as caught:
        read(path)
    assert f"/X/data is packed by HDF5 filter {number} (" in caught.value.problem
    assert ("pip install" in caught.value.hint) == (number in filters.IN_PLUGIN)
    assert "compression='gzip'" in caught.value.hint


def test_filter_that_the_writer_lacked_too(tmp_path: Path) -> None:
    path = packed(tmp_path / "cells.h5ad", 40000, mask=1)
    assert tokens(read(path)) == tokens(read(adata()))


def test_empty_matrix_is_no_matrix(tmp_path: Path) -> None:
    cells = adata()
    cells.layers["counts"] = cells.X
    path = write(tmp_path / "cells.h5ad", cells)
    with h5py.File(path, "r+") as file:
        del file["X"]
        file["X"] = h5py.Empty(np.float32)
    store = open_store(path)
    assert store.locations == ["layers/counts"]
    assert tokens(read(path)) == tokens(read(adata()))
