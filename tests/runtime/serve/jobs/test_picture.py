"""Columns for the page: laid out as agreed, right, and from nothing outside the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from cell_libraries import anndata, pd
from cli_process import make_cells
from serve_cells import anndata_of, counted_cells, counts
from serve_jobs import MakeJobs, finish, lines_of, send, until_some_are_done

from c2t.runtime.cells.reader import open_cells
from c2t.runtime.describe.caption import caption_fields
from c2t.runtime.describe.model import Model
from c2t.runtime.output.record import Record
from c2t.runtime.serve.jobs.jobs import Jobs
from c2t.runtime.serve.jobs.picture.blob import Columns, read_blob, write_blob
from c2t.runtime.serve.jobs.picture.build import CELL_TYPES_MAX, FROM_FILE, OTHER, write_columns
from c2t.runtime.serve.jobs.picture.vectors import VectorFile, principal_places, projection
from c2t.runtime.serve.jobs.state import JobState, Reading
from c2t.runtime.serve.room.messages import DescribeRequest, Settings
from c2t.runtime.serve.room.room import EngineRoom
from c2t.runtime.system.errors import OutputError

N = 24
DTYPES = {"f4": "<f4", "u2": "<u2", "u1": "u1"}


def parse(content: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """As the page reads it: by the agreement alone."""
    assert content[:8] == b"C2TCOLS1"
    length = int.from_bytes(content[8:12], "little")
    header = json.loads(content[12 : 12 + length])
    start = 12 + length
    assert start % 8 == 0
    arrays = {}
    for column in header["columns"]:
        assert column["offset"] % 8 == 0
        dtype = DTYPES[column["dtype"]]
        arrays[column["name"]] = np.frombuffer(
            content, dtype, header["cells"], start + column["offset"]
        )
    return header, arrays


def labelled(obsm: dict[str, np.ndarray] | None = None) -> anndata.AnnData:
    adata = anndata_of(counts(N))
    adata.obs["sample"] = pd.Categorical(["a", "b", None] * (N // 3))
    adata.obs["depth"] = np.arange(N)
    adata.obs["barcode"] = pd.Categorical([f"x{n}" for n in range(N)])
    for name, places in (obsm or {}).items():
        adata.obsm[name] = places
    return adata


def places(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(N, 2))


def described(jobs: Jobs, adata: anndata.AnnData, path: Path, **how: Any) -> JobState:
    adata.write_h5ad(path)
    job = finish(jobs, send(jobs, path, **how))
    assert job.state == "done", job
    return job


def test_columns_say_what_the_lines_say(jobs: Jobs, cells: Path) -> None:
    job = finish(jobs, send(jobs, cells))
    header, arrays = parse(jobs.columns(job.id).read_bytes())
    lines = [json.loads(line) for line in lines_of(jobs, job).splitlines()]
    assert header["cells"] == len(lines)
    types = header["categories"]["cell_type"]
    for place, line in enumerate(lines):
        assert arrays["error"][place] == (line["error"] is not None)
        for name in ("confidence", "cell_type_confidence"):
            expected = np.nan if line[name] is None else np.float32(line[name])
            np.testing.assert_equal(arrays[name][place], expected)
        expected = caption_fields(line["text"]).cell_type if line["text"] else None
        code = arrays["cell_type"][place]
        assert (None if code == 65535 else types[code]) == expected


def test_the_plane_and_the_labels_of_the_file_are_taken(jobs: Jobs, tmp_path: Path) -> None:
    adata = labelled({"X_tsne": places(1), "X_umap": places(2)})
    job = described(jobs, adata, tmp_path / "cells.h5ad")
    header, arrays = parse(jobs.columns(job.id).read_bytes())
    assert header["scatter"] == "obsm X_umap"
    np.testing.assert_array_equal(arrays["x"], adata.obsm["X_umap"][:, 0].astype(np.float32))
    np.testing.assert_array_equal(arrays["y"], adata.obsm["X_umap"][:, 1].astype(np.float32))
    assert header["categories"]["obs:sample"] == ["a", "b"]
    assert arrays["obs:sample"][:3].tolist() == [0, 1, 65535]
    assert header["categories"]["obs:barcode"][:3] == ["x0", "x1", "x10"]
    assert "obs:depth" not in arrays
    assert [column["name"] for column in header["columns"]][:2] == ["x", "y"]
    assert not (jobs.options.folder / "jobs" / job.id / "picture" / "vectors").exists()


def test_chosen_cells_have_their_own_places(jobs: Jobs, tmp_path: Path) -> None:
    adata = labelled({"X_tsne": places()})
    reading = Reading(cells=("cell3", "cell20"))
    job = described(jobs, adata, tmp_path / "cells.h5ad", reading=reading)
    header, arrays = parse(jobs.columns(job.id).read_bytes())
    assert header["scatter"] == "obsm X_tsne"
    np.testing.assert_array_equal(arrays["x"], adata.obsm["X_tsne"][[3, 20], 0].astype(np.float32))
    assert [header["categories"]["obs:barcode"][code] for code in arrays["obs:barcode"]] == [
        *("x3", "x20")
    ]


def components(model: Model, adata: anndata.AnnData) -> np.ndarray:
    """The first two principal components of the embeddings, by the plain definition."""
    room = EngineRoom(model)
    with open_cells(adata, model.bundle) as reader:
        found = list(
            room.describe_job(reader.chunks(), Settings(), cancelled=lambda: False, embed=True)
        )
    room.close()
    vectors = np.array([one.embedding for one in found], np.float64)
    centred = vectors - vectors.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    return centred @ axes[:2].T


def test_without_a_plane_components_of_the_embedding_are_drawn(
    jobs: Jobs, model: Model, tmp_path: Path
) -> None:
    adata = labelled()
    job = described(jobs, adata, tmp_path / "cells.h5ad")
    header, arrays = parse(jobs.columns(job.id).read_bytes())
    assert header["scatter"] == "first two principal components of the encoder's embedding"
    expected = components(model, adata)
    found = np.stack([arrays["x"], arrays["y"]], axis=1)
    signs = np.sign((found * expected).sum(axis=0))
    np.testing.assert_allclose(found * signs, expected, atol=1e-4)


def test_cells_of_a_request_are_drawn_too(jobs: Jobs) -> None:
    job = finish(jobs, jobs.create_from_cells(DescribeRequest(cells=counted_cells(counts(9)))))
    header, arrays = parse(jobs.columns(job.id).read_bytes())
    assert header["scatter"] == "first two principal components of the encoder's embedding"
    assert np.isfinite(arrays["x"]).all()


@pytest.mark.parametrize("kind", ["link", "wrong length", "one column", "text", "group"])
def test_a_plane_that_cannot_be_used_is_left_out_and_said(
    jobs: Jobs, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "cells.h5ad"
    labelled({"X_umap": places()}).write_h5ad(path)
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["places"] = places()
    with h5py.File(path, "r+") as file:
        obsm = file["obsm"]
        del obsm["X_umap"]
        if kind == "link":
            obsm["X_umap"] = h5py.ExternalLink(str(other), "/places")
        elif kind == "wrong length":
            obsm["X_umap"] = places()[:5]
        elif kind == "one column":
            obsm["X_umap"] = places()[:, :1]
        elif kind == "text":
            obsm["X_umap"] = np.full((N, 2), b"a")
        else:
            obsm.create_group("X_umap")
    job = finish(jobs, send(jobs, path))
    assert job.state == "done"
    assert any("/obsm/X_umap is not drawn" in warning for warning in job.warnings)
    header, arrays = parse(jobs.columns(job.id).read_bytes())
    assert header["scatter"] == "first two principal components of the encoder's embedding"
    assert np.isfinite(arrays["x"]).any()


def test_labels_that_are_damaged_are_left_out_and_said(jobs: Jobs, tmp_path: Path) -> None:
    path = tmp_path / "cells.h5ad"
    labelled().write_h5ad(path)
    with h5py.File(path, "r+") as file:
        file["obs/sample/codes"][2] = 7
    job = finish(jobs, send(jobs, path))
    assert job.state == "done"
    assert any("obs['sample'] is not drawn" in warning for warning in job.warnings)
    assert "obs:sample" not in parse(jobs.columns(job.id).read_bytes())[1]


def test_columns_of_a_running_job_hold_what_is_done(make_jobs: MakeJobs, tmp_path: Path) -> None:
    jobs = make_jobs()
    job = send(jobs, make_cells(tmp_path / "many.h5ad", 400))
    until_some_are_done(jobs, job)
    header, arrays = parse(jobs.columns(job.id).read_bytes())
    assert 0 < header["cells"] < 400
    assert len(arrays["x"]) == header["cells"]
    again = jobs.columns(job.id)  # not made anew at once
    assert parse(again.read_bytes())[0]["cells"] == header["cells"]
    finish(jobs, job)
    assert parse(jobs.columns(job.id).read_bytes())[0]["cells"] == 400


def test_a_resumed_job_has_the_places_of_all_cells(make_jobs: MakeJobs, tmp_path: Path) -> None:
    path = make_cells(tmp_path / "many.h5ad", 300)
    jobs = make_jobs()
    whole = finish(jobs, send(jobs, path))
    job = send(jobs, path)
    until_some_are_done(jobs, job)
    jobs.close()
    assert 0 < jobs.get(job.id).done < 300
    again = make_jobs()
    finish(again, job)
    expected = parse(again.columns(whole.id).read_bytes())[1]
    found = parse(again.columns(job.id).read_bytes())[1]
    for axis in ("x", "y"):
        assert np.isfinite(found[axis]).sum() == 298  # two cells cannot be encoded
        np.testing.assert_allclose(found[axis], expected[axis], atol=1e-5)


def test_components_of_vectors_far_from_zero(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    vectors = (rng.normal(size=(500, 8)) * [9, 3, 1, 1, 1, 1, 1, 1] + 1e4).astype(np.float32)
    with VectorFile(tmp_path / "vectors", 8, done=0) as file:
        for number, vector in enumerate(vectors):
            file.append(None if number == 7 else vector)
    x, y = principal_places(tmp_path / "vectors", 8, 500)
    assert np.isnan([x[7], y[7]]).all()
    kept = np.delete(vectors, 7, axis=0).astype(np.float64)
    centred = kept - kept.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    expected = centred @ axes[:2].T
    found = np.delete(np.stack([x, y], axis=1), 7, axis=0)
    signs = np.sign((found * expected).sum(axis=0))
    np.testing.assert_allclose(found * signs, expected, atol=0.05)


def test_the_projection_keeps_lengths_and_never_changes() -> None:
    matrix = projection(2048)
    assert matrix is not None
    vectors = np.random.default_rng(0).normal(size=(200, 2048)).astype(np.float32)
    ratio = np.linalg.norm(vectors @ matrix, axis=1) / np.linalg.norm(vectors, axis=1)
    assert abs(ratio.mean() - 1) < 0.03
    assert projection(64) is None
    # A job that was begun with another version of NumPy goes on with these very signs.
    assert np.sign(matrix[0, :8]).astype(int).tolist() == [1, -1, 1, -1, 1, 1, -1, -1]
    assert int(np.sign(matrix).sum()) == 222


@pytest.mark.parametrize("cut", [0, 5, 256, 10_000])
def test_vectors_are_as_many_as_the_cells_that_have_results(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "vectors"
    rows = np.arange(20 * 4, dtype=np.float32).reshape(20, 4)
    with VectorFile(path, 4, done=0) as file:
        for row in rows:
            file.append(row)
    path.write_bytes(path.read_bytes()[: max(320 - cut, 0)])
    with VectorFile(path, 4, done=15) as file:
        file.append(rows[15])
    found = np.fromfile(path, "<f4").reshape(-1, 4)
    assert len(found) == 16
    np.testing.assert_array_equal(found[15], rows[15])
    kept = min(15, max(320 - cut, 0) // 16)
    np.testing.assert_array_equal(found[:kept], rows[:kept])
    assert np.isnan(found[kept:15]).all()


def test_more_cell_types_than_codes_are_one(tmp_path: Path) -> None:
    count = CELL_TYPES_MAX + 10
    types = ["T cell"] * 3 + [f"type{n}" for n in range(count - 3)]
    records = (
        Record(
            row=row,
            cell=str(row),
            text=f"It is a {cell_type}.",
            confidence=None,
            cell_type_confidence=None,
            genes_used=1,
            error=None,
            cell_type=cell_type,
        )
        for row, cell_type in enumerate(types)
    )
    write_blob(tmp_path / FROM_FILE, Columns(cells=count, arrays={}))
    write_columns(tmp_path / "columns", tmp_path, records, count=count, width=8)
    header, arrays = parse((tmp_path / "columns").read_bytes())
    types = header["categories"]["cell_type"]
    assert header["scatter"] is None
    assert types[:2] == [OTHER, "T cell"]
    assert arrays["cell_type"][:4].tolist() == [1, 1, 1, 2]
    assert types[arrays["cell_type"][-1]] == OTHER


@pytest.mark.parametrize("change", ["magic", "header", "short", "long header"])
def test_damaged_columns_are_refused(tmp_path: Path, change: str) -> None:
    path = tmp_path / "columns"
    write_blob(path, Columns(cells=9, arrays={"x": np.zeros(9, np.float32)}))
    content = bytearray(path.read_bytes())
    if change == "magic":
        content[0] = 0
    elif change == "header":
        content[14] = 0
    elif change == "long header":
        content[8:12] = b"\xff" * 4
    else:
        del content[-8:]
    path.write_bytes(content)
    with pytest.raises(OutputError):
        read_blob(path)
