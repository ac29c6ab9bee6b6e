"""Damaged, truncated, foreign and malicious files of cells are refused by their place."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from cell_libraries import sp
from make_cells import CELLS, GENES, adata, counts, read, tokens, write, write_first_version

from c2t.runtime.cells.formats.hdf5 import naming
from c2t.runtime.system.errors import CellFileError

EXPECTED = tokens(read(adata()))


def damage(path, change, cells=None):
    write(path, adata() if cells is None else cells)
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def replace(file, key, values, **options):
    del file[key]
    file.create_dataset(key, data=values, **options)


def set_value(key, at, value):
    def change(file):
        values = file[key][:]
        values[at] = value
        replace(file, key, values)

    return change


def shorten(key):
    return lambda file: replace(file, key, file[key][:-1])


def set_attribute(key, name, value):
    return lambda file: file[key].attrs.__setitem__(name, value)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (set_value("X/indptr", 3, 10**6), "/X/indptr decreases from 1000000 to"),
        (set_value("X/indptr", -1, 10**6), "/X/indptr runs from 0 to 1000000, expected 0 to"),
        (set_value("X/indptr", 0, -5), "/X/indptr runs from -5 to"),
        (shorten("X/indptr"), "/X/indptr has shape (40,), expected (41,)"),
        (shorten("X/data"), "indices for"),
        (lambda f: f.__delitem__("X/indices"), "/X/indices is missing"),
        (lambda f: replace(f, "X/data", [b"a"] * 7), "/X/data holds object, not numbers"),
        (lambda f: replace(f, "X/indptr", [0.5]), "/X/indptr holds float64, not integers"),
        (lambda f: replace(f, "X/data", np.ones((2, 2))), "/X/data has 2 dimensions, expected 1"),
        (set_attribute("X", "shape", [40, 81]), "/X has shape (40, 81), but there are 40 cells"),
        (set_attribute("X", "shape", "40 x 80"), "/X has shape ('40 x 80',), but there are 40"),
        (set_attribute("X", "encoding-type", "coo"), "/X is neither a dense, a CSR nor a CSC"),
        (lambda f: replace(f, "X", np.ones((3, 80))), "/X has shape (3, 80), but there are 40"),
        (lambda f: replace(f, "X", np.ones(80)), "/X has 1 dimensions, expected 2"),
        (lambda f: f.__delitem__("obs"), "cells.h5ad has no /obs: not an .h5ad file"),
        (lambda f: f.__delitem__("var"), "cells.h5ad has no /var: not an .h5ad file"),
        (lambda f: f.__delitem__("obs/_index"), "/obs has no index: no column named '_index'"),
        (lambda f: f.__delitem__("X"), "it has no matrix X, raw or counts"),
    ],
)
def test_damaged_file_is_refused_by_its_place(tmp_path, change, problem):
    path = damage(tmp_path / "cells.h5ad", change)
    with pytest.raises(CellFileError) as caught, read(path) as reader:
        list(reader.chunks())
    assert problem in caught.value.problem
    assert caught.value.hint


@pytest.mark.parametrize("column", [80, -1])
@pytest.mark.parametrize("chosen", [None, [39, 0, 7]])
def test_a_column_outside_the_matrix_costs_its_cell_only(tmp_path, column, chosen):
    """Also where the cell is one of some that were chosen."""
    whole = adata(sp.csr_matrix(counts()))
    last = int(whole.X.indptr[-2])
    path = damage(tmp_path / "cells.h5ad", set_value("X/indices", last, column), whole)
    with read(path, cells=chosen) as reader:
        found = [chunk for chunk in reader.chunks(chunk_cells=16)]
    whole.write_h5ad(tmp_path / "whole.h5ad")
    with read(tmp_path / "whole.h5ad", cells=chosen) as reader:
        expected = [chunk for chunk in reader.chunks(chunk_cells=16)]
    errors = [error for chunk in found for error in chunk.errors]
    problem = f"/X/indices: column {column} is outside the matrix of 80 columns"
    assert errors == [None] * (len(errors) - 1) + [problem]
    tokens, whole_tokens = ([t for c in chunks for t in c.tokens] for chunks in (found, expected))
    assert len(tokens[-1]) == 0
    for ours, theirs in zip(tokens[:-1], whole_tokens[:-1], strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_row_wider_than_the_matrix_is_refused(tmp_path):
    x = sp.csr_matrix(counts())
    x = sp.csr_matrix((x.data, x.indices, np.r_[0, [x.nnz] * CELLS]), shape=x.shape)
    for form in (x, sp.csc_matrix((x.data, np.zeros(x.nnz, int), [0] * 80 + [x.nnz]), x.shape)):
        with pytest.raises(CellFileError, match="/X: a row has 1,"):
            read(damage(tmp_path / "cells.h5ad", lambda file: None, adata(form)))


def test_csc_with_rows_outside_is_refused(tmp_path):
    path = damage(
        tmp_path / "cells.h5ad", set_value("X/indices", 5, 40), adata(sp.csc_matrix(counts()))
    )
    with pytest.raises(CellFileError, match="/X/indices: row 40 is outside the matrix of 40 rows"):
        read(path)


def test_sparse_matrix_without_its_encoding_is_told_by_its_lengths(tmp_path):
    def forget(file):
        for name in list(file["X"].attrs):
            del file["X"].attrs[name]

    for x in (sp.csr_matrix(counts()), sp.csc_matrix(counts())):
        with read(damage(tmp_path / "cells.h5ad", forget, adata(x))) as reader:
            assert tokens(reader) == EXPECTED


def test_what_lies_outside_the_file_is_refused(tmp_path):
    other = write(tmp_path / "other.h5ad", adata(counts()))

    def link(file):
        del file["X"]
        file["X"] = h5py.ExternalLink(str(other), "X")

    def store_outside(file):
        del file["X"]
        (tmp_path / "raw.bin").write_bytes(bytes(40 * 80 * 4))
        outside = [(str(tmp_path / "raw.bin"), 0, 40 * 80 * 4)]
        file.create_dataset("X", (40, 80), "f4", external=outside)

    def virtual(file):
        del file["X"]
        layout = h5py.VirtualLayout((40, 80), "f4")
        layout[:] = h5py.VirtualSource(str(other), "X", (40, 80))
        file.create_virtual_dataset("X", layout)

    for change, problem in (
        (link, "/X is a link to another file"),
        (store_outside, "/X is stored outside the file"),
        (virtual, "/X is stored outside the file"),
    ):
        with pytest.raises(CellFileError, match=problem):
            read(damage(tmp_path / "cells.h5ad", change))


def test_huge_chunks_are_refused(tmp_path):
    def spread(file):
        del file["X"]
        file.create_dataset("X", (40, 80), "f8", chunks=(1 << 14, 1 << 14), maxshape=(None, None))

    with pytest.raises(CellFileError, match=r"/X is stored in chunks of 2,147,483,648 bytes"):
        read(damage(tmp_path / "cells.h5ad", spread))


def test_truncated_and_foreign_files(tmp_path):
    path = write(tmp_path / "cells.h5ad", adata(), "gzip")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CellFileError, match=r"cells.h5ad is not a readable .h5ad file"):
        read(path)
    with pytest.raises(CellFileError, match=r"no such file: .*none\.h5ad\n\nhint: check the path"):
        read(tmp_path / "none.h5ad")
    with pytest.raises(CellFileError, match=r"is a folder, not an \.h5ad file") as caught:
        read(tmp_path)
    assert "\n" not in caught.value.problem
    with pytest.raises(
        CellFileError,
        match=r"cells are the path of a file, an AnnData object or maps of .+, not list",
    ):
        read([1, 2])


def test_damaged_compressed_block_is_an_error_with_its_place(tmp_path):
    path = write(tmp_path / "cells.h5ad", adata(), "gzip")
    with h5py.File(path, "r+") as file:
        file["X/data"].id.write_direct_chunk((0,), b"not a deflate stream at all")
    with pytest.raises(CellFileError, match="/X/data cannot be read"), read(path) as reader:
        list(reader.chunks())


def test_names_in_tables_of_the_first_version_are_checked(tmp_path):
    path = write_first_version(tmp_path / "cells.h5ad")
    content = path.read_bytes()
    assert content.count(b"cell_type\0")
    path.write_bytes(content.replace(b"cell_type\0", b"cell\xd9type\0"))
    with pytest.raises(CellFileError, match="/obs cannot be read: 'utf-8' codec"):
        read(path)
    write_first_version(path)
    with h5py.File(path, "r+") as file:
        names = np.zeros(GENES, [("index", "S20", (2,)), ("n", "f4")])
        replace(file, "raw.var", names)
    with pytest.raises(CellFileError, match=r"/raw\.var/index has 2 dimensions, expected 1"):
        read(path)


def test_only_errors_of_h5py_are_put_down_to_the_file():
    with pytest.raises(KeyError), naming("/X"):
        {}["a bug of ours"]
