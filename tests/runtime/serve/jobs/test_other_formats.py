"""Uploads of every format that is one file: the same texts as of the `.h5ad` of the cells."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cell_libraries import anndata, needs_anndata, sp
from make_formats import FORMATS, write_mex
from serve_jobs import finish, lines_of

from c2t.runtime.serve.jobs.jobs import Jobs
from c2t.runtime.serve.jobs.picture.file_columns import file_columns
from c2t.runtime.serve.jobs.state import JobState
from c2t.runtime.system.errors import C2TError, CellFileError

pytestmark = needs_anndata
FILES = [name for name in FORMATS if name not in ("MEX", "Parse", "zarr 2", "zarr 3")]


def sent(jobs: Jobs, path: Path, name: str = "") -> JobState:
    with jobs.create_from_upload(name or path.name) as upload:
        upload.write(path.read_bytes())
        return upload.finish()


def counted(cells: Path) -> anndata.AnnData:
    """Those of the cells whose values are counts."""
    some = anndata.read_h5ad(cells)
    x = sp.csr_matrix(some.X).toarray()
    kept = some[np.isfinite(x).all(axis=1) & (x == np.floor(x)).all(axis=1)].copy()
    kept.X = sp.csr_matrix(kept.X)
    return kept


@pytest.mark.parametrize("name", FILES)
def test_upload(name: str, jobs: Jobs, cells: Path, tmp_path: Path) -> None:
    if "zarr" in name:
        pytest.importorskip("zarr", reason="zarr is not installed, which writes the store")
    some = counted(cells)[:6].copy()
    some.write_h5ad(tmp_path / "plain.h5ad")
    expected = lines_of(jobs, finish(jobs, sent(jobs, tmp_path / "plain.h5ad")))
    job = finish(jobs, sent(jobs, FORMATS[name](tmp_path, some)))
    assert lines_of(jobs, job) == expected
    assert "h5ad" not in job.formats
    assert "csv" in job.formats


def test_other_format_under_the_name_of_an_h5ad(jobs: Jobs, cells: Path, tmp_path: Path) -> None:
    some = counted(cells)[:3].copy()
    job = finish(jobs, sent(jobs, FORMATS["10x"](tmp_path, some), "cells.h5ad"))
    with pytest.raises(C2TError, match=r"results go into a copy of an \.h5ad file"):
        jobs.results(job.id, "h5ad")


@pytest.mark.parametrize("name", ["MuData", "Loom", "10x"])
def test_picture_takes_no_labels_of_other_rows(name: str, cells: Path, tmp_path: Path) -> None:
    path = FORMATS[name](tmp_path, counted(cells)[:6].copy())
    columns, left_out = file_columns(path, np.arange(6))
    assert (columns.arrays, columns.scatter, left_out) == ({}, None, [])


def test_matrix_alone_is_refused_at_once(jobs: Jobs, cells: Path, tmp_path: Path) -> None:
    folder = write_mex(tmp_path / "mex", counted(cells)[:3])
    with jobs.create_from_upload("matrix.mtx.gz") as upload:
        upload.write((folder / "matrix.mtx.gz").read_bytes())
        with pytest.raises(CellFileError, match="without the names of its genes") as caught:
            upload.finish()
    assert "zip" in caught.value.hint
