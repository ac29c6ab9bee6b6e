"""Groups and embeddings of a run in every output, also where the run was stopped in between."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from cell_libraries import anndata, needs_anndata
from fake_descriptions import FakeModel, N, make_run
from tiny_data import tiny_bundle

from c2t.runtime.cells.formats.store import open_store
from c2t.runtime.describe.description import Description
from c2t.runtime.fields.reader import Field
from c2t.runtime.groups.labels import label_codes
from c2t.runtime.groups.options import GroupOptions
from c2t.runtime.output.grouping import Grouping, prepare_grouping
from c2t.runtime.output.journal import journal_path
from c2t.runtime.output.parquet import read_parquet
from c2t.runtime.output.parts.manifest import check_parts
from c2t.runtime.output.parts.write import describe_to_parts
from c2t.runtime.output.record import EMBEDDING_KEY, embedding_array
from c2t.runtime.output.write import DescribeInterrupted, describe_to_files
from c2t.runtime.system.errors import C2TError, OutputError

WIDTH = 3
MANIFEST = tiny_bundle().bundle.manifest
TYPES = ("B cell", "B cell", "T cell")
IDS = ("CL:0000236", "CL:0000236", "CL:0000084")
VALUES = ["x", "y", "", "x"] * 3  # of N cells; "": in no group


class TypedModel(FakeModel):
    """Names a cell type by the row, and gives an embedding; row 3 has an error."""

    def __call__(self, start: int) -> Iterator[Description]:
        for described in super().__call__(start):
            row = int(described.cell.removeprefix("cell"))
            vector = np.array([row, row % 3, 1], np.float32)
            if described.text is None:
                yield described
                continue
            said = {"cell_type": Field(words=TYPES[row % 3], ontology_id=IDS[row % 3])}
            yield replace(described, fields=said, embedding=vector, unsure=row % 2 == 0)


def grouping(**options: Any) -> Grouping:
    return Grouping(
        options=GroupOptions(by="mark", **options),
        given=label_codes(VALUES),
    )


def run_of(cells: Path, **about: Any) -> Any:
    run = make_run(cells)
    return replace(run, embedding=True, about=run.about | {"unsure": {"below": 0.5}} | about)


EMBEDDED = {EMBEDDING_KEY: {"is": "a mean", "size": WIDTH, "cells_without": "NaN"}}


def groups_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_the_table_has_shares_errors_and_the_runner_up(cells: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    done = describe_to_files(run_of(cells), (out,), TypedModel(), grouping=grouping(min_share=0.6))
    assert done.outputs == (str(out), str(tmp_path / "out.groups.csv"))
    assert (
        done.groups == "2 groups by obs['mark']: 2 with one answer (of at least 60 % of the cells)"
    )
    first, second = groups_of(tmp_path / "out.groups.csv")
    # x: rows 0, 3 (an error), 4, 7, 8, 11; y: rows 1, 5, 9
    assert (first["group"], first["cells"], first["errors"]) == ("x", "6", "1")
    assert (first["cell_type"], first["share"], first["state"]) == ("B cell", "0.6", "consensus")
    assert (first["runner_up"], first["runner_up_share"]) == ("T cell", "0.4")
    assert first["unsure"] == "3"
    assert first["cell_type_ontology_term_id"] == "CL:0000236"
    assert first["runner_up_ontology_term_id"] == "CL:0000084"
    assert float(first["median_cell_type_confidence"]) == 0.25
    assert [(s["cell_type"], s["cells"]) for s in json.loads(first["shares"])] == [
        *(("B cell", 3), ("T cell", 2))
    ]
    assert (second["group"], second["cells"], second["cell_type"]) == ("y", "3", "B cell")
    assert second["text_of_mean_vectors"] == ""


def test_cells_have_their_groups_answer(cells: Path, tmp_path: Path) -> None:
    outs = (tmp_path / "out.jsonl", tmp_path / "out.csv")
    describe_to_files(run_of(cells), outs, TypedModel(), grouping=grouping(min_share=0.7))
    lines = [json.loads(line) for line in outs[0].read_text(encoding="utf-8").splitlines()]
    assert [line["group"] for line in lines] == [value or None for value in VALUES]
    assert lines[0]["group_cell_type"] == "mixed"  # the share is 0.6
    assert (lines[2]["group_cell_type"], lines[2]["group_share"]) == (None, None)
    assert lines[3]["group"] == "x"  # a cell with an error, too
    assert "embedding" not in lines[0]
    with outs[1].open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["group"] for row in rows] == VALUES


@needs_anndata
def test_h5ad_has_columns_settings_and_embedding(cells: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5ad"
    run = replace(run_of(cells, **EMBEDDED), rows=np.arange(0, N, 2))
    model = TypedModel(rows=range(0, N, 2))
    half = replace(grouping(), given=label_codes(VALUES[::2]))
    describe_to_files(run, (out,), model, grouping=half)
    found = anndata.read_h5ad(out)
    group = found.obs["c2t_group"]
    assert group.astype(object).where(group.notna(), "").tolist() == [
        VALUES[row] if row % 2 == 0 else "" for row in range(N)
    ]
    for name in ("c2t_group", "c2t_group_cell_type", "c2t_group_cell_type_ontology_term_id"):
        assert found.obs[name].dtype == "category"
        assert "" not in found.obs[name].cat.categories
        assert found.obs[name].isna().iloc[1]
    assert found.obs["c2t_group_cell_type"].tolist()[0] == "B cell"
    assert np.isnan(found.obs["c2t_group_share"].to_numpy()[1])
    assert "c2t_group_cell_type_ontology_term_id" in found.obs
    about = found.uns["c2t"]
    assert about["groups"]["by"] == "obs['mark']"
    assert about["groups"]["cells_without_group"] == 3
    assert about["embedding"]["cells_without"] == "NaN"
    vectors = found.obsm["X_c2t"]
    assert (vectors.dtype, vectors.shape) == (np.float32, (N, WIDTH))
    expected = np.array([[r, r % 3, 1] if r % 2 == 0 else [np.nan] * 3 for r in range(N)])
    np.testing.assert_array_equal(vectors, expected)


@needs_anndata
def test_what_an_earlier_run_added_does_not_stay(cells: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first.h5ad", tmp_path / "second.h5ad"
    describe_to_files(run_of(cells, **EMBEDDED), (first,), TypedModel(), grouping=grouping())
    describe_to_files(make_run(first), (second,), FakeModel())
    found = anndata.read_h5ad(second)
    assert not [name for name in found.obs if name.startswith("c2t_group")]
    assert "X_c2t" not in found.obsm
    assert "groups" not in found.uns["c2t"]


def test_parquet_has_the_embedding_and_reads_it_back(cells: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    out = tmp_path / "out.parquet"
    describe_to_files(run_of(cells, **EMBEDDED), (out,), TypedModel(), grouping=grouping())
    table = parquet.read_table(out)
    assert str(table.schema.field("embedding").type) == "fixed_size_list<element: float>[3]"
    vectors = np.stack(table["embedding"].to_numpy())
    assert vectors[[2, 4]].tolist() == [[2, 2, 1], [4, 1, 1]]
    assert np.isnan(vectors[3]).all()
    assert table["group"].to_pylist() == [value or None for value in VALUES]
    records = list(read_parquet(out))
    assert records[3].embedding is None
    assert embedding_array(records[4]).tolist() == [4, 1, 1]


@pytest.mark.parametrize("at", [1, 5, 11])
def test_a_stopped_run_ends_in_the_same_groups(cells: Path, tmp_path: Path, at: int) -> None:
    run = run_of(cells, **EMBEDDED)
    for name in ("whole", "stopped"):
        (tmp_path / name).mkdir()
    whole, stopped = tmp_path / "whole" / "out.h5ad", tmp_path / "stopped" / "out.h5ad"
    describe_to_files(run, (whole,), TypedModel(), grouping=grouping())
    with pytest.raises(DescribeInterrupted):
        describe_to_files(run, (stopped,), TypedModel(at=at), grouping=grouping())
    assert not stopped.with_name("out.groups.csv").exists()
    model = TypedModel()
    done = describe_to_files(run, (stopped,), model, grouping=grouping())
    assert (done.resumed, model.seen) == (at, list(range(at, N)))
    tables = [path.with_name("out.groups.csv").read_bytes() for path in (whole, stopped)]
    assert tables[0] == tables[1]
    with h5py.File(whole) as one, h5py.File(stopped) as other:
        np.testing.assert_array_equal(one["obsm/X_c2t"][:], other["obsm/X_c2t"][:])
    assert not journal_path(stopped).exists()


def test_a_journal_without_embeddings_is_not_gone_on_with(cells: Path, tmp_path: Path) -> None:
    plain = make_run(cells)
    with pytest.raises(DescribeInterrupted):
        describe_to_files(plain, (tmp_path / "out.jsonl",), TypedModel(at=4))
    kept = replace(run_of(cells), options={**plain.options, "embedding": "kept"})
    with pytest.raises(C2TError, match="left by another run, which differs in: embedding"):
        describe_to_files(kept, (tmp_path / "out.jsonl",), TypedModel())


def test_clusters_are_computed_from_the_journal(cells: Path, tmp_path: Path) -> None:
    pytest.importorskip("igraph")
    computed = replace(grouping(resolution=1.0), options=GroupOptions(by="leiden"), given=None)
    out = tmp_path / "out.jsonl"
    describe_to_files(run_of(cells), (out,), TypedModel(), grouping=computed)
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert lines[3]["group"] is None  # it has no embedding
    rows = groups_of(tmp_path / "out.groups.csv")
    assert [row["group"] for row in rows] == [str(n) for n in range(len(rows))]
    assert sum(int(row["cells"]) for row in rows) == N - 1
    sizes = [int(row["cells"]) for row in rows]
    assert sizes == sorted(sizes, reverse=True)


def test_parts_have_a_table_of_groups_and_one_of_cells(cells: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    pytest.importorskip("igraph")
    folder = tmp_path / "out.parts"
    computed = replace(grouping(), options=GroupOptions(by="leiden"), given=None)
    run = run_of(cells, **EMBEDDED)
    with pytest.raises(DescribeInterrupted):
        describe_to_parts(run, folder, TypedModel(at=7), part_cells=5, grouping=computed)
    done = describe_to_parts(run, folder, TypedModel(), part_cells=5, grouping=computed)
    assert re.search(r"\d+ with one answer|mixed", done.groups)
    describe_to_files(run, (tmp_path / "one.parquet",), TypedModel(), grouping=computed)
    assert (folder / "groups.csv").read_bytes() == (tmp_path / "one.groups.csv").read_bytes()
    names = ["cell", "group", "group_cell_type", "group_share"]
    one = parquet.read_table(tmp_path / "one.parquet").select(names).to_pylist()
    assert parquet.read_table(folder / "cell_groups.parquet").select(names).to_pylist() == one
    about = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["about"]
    assert about["groups"]["by"].startswith("leiden")
    again = tmp_path / "again.parts"
    describe_to_parts(run, again, TypedModel(), part_cells=5)
    assert not (again / "groups.csv").exists()


def test_clusters_of_few_cells_are_said(cells: Path, tmp_path: Path) -> None:
    pytest.importorskip("igraph")
    said: list[str] = []
    options = GroupOptions(by="leiden", resolution=50)
    computed = replace(grouping(), options=options, given=None, report=said.append)
    run = run_of(cells, **EMBEDDED)
    describe_to_files(run, (tmp_path / "o.csv",), TypedModel(), grouping=computed)
    count = len(groups_of(tmp_path / "o.groups.csv"))
    assert f"warning: leiden has {count} groups for {N - 1} cells" in said[-1]


@pytest.mark.parametrize("name", ["groups.csv", "cell_groups.parquet"])
def test_groups_of_parts_are_hashed_and_checked(cells: Path, tmp_path: Path, name: str) -> None:
    pytest.importorskip("pyarrow")
    folder = tmp_path / "out.parts"
    done = describe_to_parts(run_of(cells), folder, TypedModel(), part_cells=5, grouping=grouping())
    files = [folder / one for one in ("manifest.json", "groups.csv", "cell_groups.parquet")]
    assert done.outputs == tuple(map(str, files))
    hashes = {file.name: sha256(file.read_bytes()).hexdigest() for file in files[1:]}
    assert check_parts(folder).beside == hashes
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-2] + bytes([content[-2] ^ 1]) + content[-1:])
    with pytest.raises(OutputError, match=f"{name} is not as it was written"):
        check_parts(folder)
    (folder / name).unlink()
    with pytest.raises(OutputError, match=f"{name} cannot be read"):
        check_parts(folder)
    (folder / name).write_bytes(content)
    manifest = json.loads(files[0].read_bytes())
    files[0].write_text(json.dumps(manifest | {"beside": {"../../cells.h5ad": "0" * 64}}))
    with pytest.raises(OutputError, match="is no file of such a folder"):
        check_parts(folder)
    # Manifests of before say nothing of them.
    del manifest["beside"]
    files[0].write_text(json.dumps(manifest))
    assert check_parts(folder).beside == {}


def test_groups_of_a_run_that_was_stopped_do_not_stay(
    cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was stopped before its manifest, and the next run does not group."""
    pytest.importorskip("pyarrow")
    folder = tmp_path / "out.parts"

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("c2t.runtime.output.parts.write._write_manifest", stop)
        with pytest.raises(DescribeInterrupted):
            describe_to_parts(
                run_of(cells), folder, TypedModel(), part_cells=5, grouping=grouping()
            )
    assert (folder / "groups.csv").exists()
    describe_to_parts(run_of(cells), folder, TypedModel(), part_cells=5)
    assert not list(folder.glob("*groups*"))


def test_texts_are_written_for_the_cells_of_each_group(cells: Path, tmp_path: Path) -> None:
    asked: list[list[int]] = []

    def write(places: list[list[int]]) -> list[tuple[str | None, str | None]]:
        asked.extend(places)
        return [("This sample consists of a T cell, a cell.", "T cell"), (None, None)]

    with_texts = replace(grouping(), texts=write)
    describe_to_files(run_of(cells), (tmp_path / "o.csv",), TypedModel(), grouping=with_texts)
    assert asked == [[0, 3, 4, 7, 8, 11], [1, 5, 9]]
    first, second = groups_of(tmp_path / "o.groups.csv")
    assert (first["text_cell_type"], second["text_cell_type"]) == ("T cell", "")
    assert first["text_of_mean_vectors"].startswith("This sample")


class Columns:
    """Columns of a file as the reader of cells gives them."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self._table = open_store(path).obs

    @property
    def obs_columns(self) -> list[str]:
        return self._table.columns

    def obs_column(self, name: str) -> list[str]:
        return self._table.column(name)


@needs_anndata
def test_columns_of_every_kind_group(tmp_path: Path) -> None:
    import pandas as pd

    obs = pd.DataFrame(
        {
            "category": pd.Categorical(["a", None, "b", "a"], categories=["a", "b", "unused"]),
            "number": [10, 2, 10, 1],
            "flag": [True, False, True, True],
            "maybe": pd.array([True, None, False, True], dtype="boolean"),
            "text": ["u", "v", "v", "ü"],
        },
        index=list("abcd"),
    )
    path = tmp_path / "kinds.h5ad"
    anndata.AnnData(np.ones((4, 2), np.float32), obs=obs).write_h5ad(path)
    expected = {
        "category": ["a", "b"],
        "number": ["1", "2", "10"],
        "flag": ["False", "True"],
        "maybe": ["False", "True"],
        "text": ["u", "v", "ü"],
    }
    for name, groups in expected.items():
        found = prepare_grouping(GroupOptions(by=name), Columns(path), MANIFEST)
        assert list(found.given.names) == groups, name
    missing = prepare_grouping(GroupOptions(by="category"), Columns(path), MANIFEST)
    assert missing.warnings[0] == "1 cell has no value in obs['category'] and is in no group"
