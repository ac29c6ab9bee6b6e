"""Cells read from every layout of file give the same tokens; selections."""

from __future__ import annotations

import dataclasses
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from cell_libraries import anndata, needs_anndata, sp
from make_cells import (
    CELLS,
    V2,
    adata,
    counts,
    cp10k,
    read,
    relative_values,
    tokens,
    vocabulary,
    write,
    write_first_version,
    write_second_version,
    z_scores,
)
from shared_data import shared

from c2t.runtime.cells import sparse_rows as cell_rows
from c2t.runtime.cells.formats import transpose as cell_transpose
from c2t.runtime.cells.reader import CellReader, open_cells
from c2t.runtime.system.errors import CellFileError

EXPECTED = tokens(read(adata()))


def with_raw(x, raw):
    cells = adata(x)
    cells.raw = adata(raw)
    return cells


def layouts():
    c, logged = counts(), np.log1p(cp10k(counts().astype(np.float64)))
    return {
        "csr": adata(sp.csr_matrix(c)),
        "csr float64": adata(sp.csr_matrix(c.astype(np.float64))),
        "csr int64": adata(sp.csr_matrix(c.astype(np.int64))),
        "csc": adata(sp.csc_matrix(c)),
        "dense": adata(c),
        "dense int32": adata(c.astype(np.int32)),
        "layer": adata(z_scores(c), counts=sp.csr_matrix(c)),
        "dense layer": adata(z_scores(c), counts=c),
        "csc layer": adata(z_scores(c), counts=sp.csc_matrix(c)),
        "raw": with_raw(z_scores(c), sp.csr_matrix(c)),
        "raw csc": with_raw(z_scores(c), sp.csc_matrix(c)),
        "log1p": adata(sp.csr_matrix(logged)),
        "log1p dense": adata(logged),
        "raw log1p": with_raw(z_scores(c), sp.csr_matrix(logged)),
    }


@pytest.mark.parametrize("compression", [None, "gzip"])
@pytest.mark.parametrize("layout", layouts())
def test_every_layout_gives_the_same_tokens(tmp_path, layout, compression):
    path = write(tmp_path / "cells.h5ad", layouts()[layout], compression)
    with read(path) as reader:
        assert tokens(reader) == EXPECTED
        assert reader.cell_ids == [f"cell{i}" for i in range(CELLS)]
        assert reader.warnings == ()


@pytest.mark.parametrize("layout", layouts())
def test_object_in_memory_gives_the_same_tokens(layout):
    cells = layouts()[layout]
    assert tokens(read(cells)) == EXPECTED
    assert tokens(read(cells[5:9])) == EXPECTED[5:9]


@needs_anndata
@pytest.mark.parametrize("layout", ["csr", "csc", "dense", "raw"])
def test_backed_object_gives_the_same_tokens(tmp_path, layout):
    path = write(tmp_path / "cells.h5ad", layouts()[layout])
    cells = anndata.read_h5ad(path, backed="r")
    assert tokens(read(cells)) == EXPECTED
    cells.file.close()


@pytest.mark.parametrize("old", [write_first_version, write_second_version])
def test_old_encodings(tmp_path, old):
    path = old(tmp_path / "old.h5ad")
    with read(path) as reader:
        assert tokens(reader) == EXPECTED
        assert reader.obs_column("cell_type")[:3] == ["B cell", "T cell", "B cell"]
        assert reader.cell_ids[-1] == f"cell{CELLS - 1}"


def test_codes_without_their_categories_are_read_as_numbers(tmp_path):
    path = write_first_version(tmp_path / "old.h5ad", categories_in_uns=False)
    with read(path) as reader:
        assert reader.obs_column("cell_type")[:2] == ["0", "1"]


def test_scanpy_example_with_log1p_in_raw_and_z_scores_in_x():
    scanpy = pytest.importorskip("scanpy")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the file is of anndata's first version
        cells = scanpy.datasets.pbmc68k_reduced()
    with CellReader(cells, symbols_of(cells), V2) as reader:
        assert reader.counts_report.location == "raw"
        assert reader.counts_report.log_base == pytest.approx(np.e)
        assert reader.n_cells == 700
        assert reader.gene_report.coverage == 1
        assert reader.obs_column("bulk_labels")[0] == cells.obs["bulk_labels"].iloc[0]
        logged = tokens(reader)
    path = shared("cells/pbmc68k_reduced_700x765_raw.h5ad")  # the same cells as counts
    with CellReader(path, symbols_of(cells), V2) as reader:
        assert reader.counts_report.kind == "counts"
        values = relative_values(reader)
        swapped = 0
        for cell, ours, theirs in zip(reader.cell_ids, tokens(reader), logged, strict=True):
            assert len(ours) == len(theirs)
            for one, other in zip(ours, theirs, strict=True):
                if one != other:  # the example's logarithms are rounded to three decimals
                    assert values[cell][one] == pytest.approx(values[cell][other], rel=2e-3)
                    swapped += 1
        assert swapped < 300  # of 9,800 ranks


def symbols_of(cells):
    genes = len(cells.var_names)
    return dataclasses.replace(
        vocabulary(1),
        ensembl_id=cells.var_names.to_numpy(dtype="S"),
        token=np.arange(4, genes + 4, dtype=np.int32),
        median=np.linspace(1, 2, genes),
        alias=np.empty(0, "S1"),
        alias_gene=np.empty(0, np.int32),
    )


def test_open_cells_takes_a_bundle():
    bundle = SimpleNamespace(
        genes=vocabulary(), manifest=SimpleNamespace(gene_input=V2, gene_sentence=None)
    )
    assert tokens(open_cells(adata(), bundle)) == EXPECTED


def test_chunks_say_which_cells_they_hold():
    reader = read(adata())
    chunks = list(reader.chunks(start=3, stop=20, chunk_cells=8))
    assert [(chunk.first, len(chunk.ids)) for chunk in chunks] == [(3, 8), (11, 8), (19, 1)]
    assert chunks[1].ids[0] == "cell11"
    assert chunks[1].index.tolist() == list(range(11, 19))
    assert [row.tolist() for chunk in chunks for row in chunk.tokens] == EXPECTED[3:20]
    assert list(reader.chunks(start=40)) == []


@pytest.mark.parametrize("layout", ["csr", "csc", "dense"])
def test_small_portions_make_no_difference(tmp_path, layout, monkeypatch):
    path = write(tmp_path / "cells.h5ad", layouts()[layout])
    for module in (cell_rows, cell_transpose):
        monkeypatch.setattr(module, "ENTRIES_AT_A_TIME", 100)
    monkeypatch.setattr(cell_transpose, "BLOCK_ENTRIES", 300)
    with warns_if(layout == "csc"), read(path) as reader:
        assert len(list(reader.rows())) > 5
        assert tokens(reader, chunk_cells=7) == EXPECTED
        tokens_of_some = [EXPECTED[i] for i in (1, 3, 38, 39)]
    with warns_if(layout == "csc"), read(path, cells=[3, 38, 1, 39]) as reader:
        assert tokens(reader) == tokens_of_some


def warns_if(expected):
    if expected:
        return pytest.warns(UserWarning, match=r"/X is stored by genes \(CSC\)")
    return pytest.MonkeyPatch.context()


def test_selection_by_name_position_and_limit(tmp_path):
    path = write(tmp_path / "cells.h5ad", adata())
    with read(path, cells=["cell7", "cell2", "cell7"]) as reader:
        assert reader.cell_ids == ["cell2", "cell7"]
        assert reader.cell_index.tolist() == [2, 7]
        assert tokens(reader) == [EXPECTED[2], EXPECTED[7]]
        assert reader.obs_column("cell_type") == ["B cell", "T cell"]
    with read(path, cells=[39, 0], limit=1) as reader:
        assert reader.cell_ids == ["cell0"]
    with read(path, limit=3) as reader:
        assert tokens(reader) == EXPECTED[:3]


def test_cells_that_are_not_there(tmp_path):
    path = write(tmp_path / "cells.h5ad", adata())
    with pytest.raises(CellFileError) as caught:
        read(path, cells=["cell1", "nobody", "none"])
    assert str(caught.value) == (
        "2 of the cells asked for are not in cells.h5ad: `nobody`, `none`\n\nhint: its 40 cells "
        "have names such as `cell0`"
    )
    with pytest.raises(CellFileError, match=r"asked for are not in cells.h5ad: `40`"):
        read(path, cells=[40])
    with pytest.raises(CellFileError, match="no cells to read"):
        read(path, limit=0)


def test_filter_pass_is_honoured_unless_cells_are_named():
    cells = adata()
    cells.obs["filter_pass"] = [1] * 30 + [0] * 10
    reader = read(cells)
    assert reader.n_cells == 30
    assert reader.warnings == ('obs["filter_pass"] leaves out 10 of 40 cells',)
    assert read(cells, filter_pass=False).n_cells == CELLS
    assert read(cells, cells=["cell35"]).n_cells == 1
    cells.obs["filter_pass"] = 0
    with pytest.raises(CellFileError, match="leaves out all 40 cells"):
        read(cells)


def test_repeated_names_of_cells_are_reported():
    cells = adata()
    cells.obs.index = ["same"] * 3 + [f"cell{i}" for i in range(37)]
    reader = read(cells)
    assert reader.warnings == ("2 cells have the name of an earlier cell",)
    assert read(cells, cells=["same"]).n_cells == 3


def test_bad_cells_have_errors_and_the_others_go_on(tmp_path):
    values = counts()
    values[3, 5], values[4, 5], values[5, 5], values[6] = np.nan, -1, np.inf, 0
    for x in (values, sp.csr_matrix(values), sp.csc_matrix(values)):
        with read(write(tmp_path / "cells.h5ad", adata(x))) as reader:
            (chunk,) = reader.chunks()
            assert {i: error for i, error in enumerate(chunk.errors) if error} == {
                3: "cell has 1 NaN value",
                4: "cell has 1 negative value",
                5: "cell has 1 infinite value",
                6: "cell is empty",
            }
            assert chunk.tokens[7].tolist() == EXPECTED[7]
            assert chunk.genes_used[3] == 0


def test_obs_column_that_is_not_there(tmp_path):
    with read(write(tmp_path / "cells.h5ad", adata())) as reader:
        with pytest.raises(CellFileError) as caught:
            reader.obs_column("tissue")
        assert str(caught.value) == "/obs/tissue is missing\n\nhint: the columns are: cell_type"
        assert reader.obs_columns == ["cell_type"]


@pytest.mark.parametrize(("value", "error"), [(0.0, "empty"), (np.nan, "NaN")])
def test_a_file_without_values_gives_every_cell_its_error(value, error):
    with CellReader(adata(np.full((4, 80), value, np.float32)), vocabulary(), V2) as reader:
        assert "nothing but zeros and NaN" in " ".join(reader.warnings)
        errors = [e for chunk in reader.chunks() for e in chunk.errors]
    assert len(errors) == 4
    assert all(error in e for e in errors)
