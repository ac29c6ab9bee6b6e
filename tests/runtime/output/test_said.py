"""What texts say, in every output: words and ids, also the columns of CELLxGENE's schema."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from cell_libraries import anndata, needs_anndata
from cli_process import make_cells
from fake_descriptions import FakeModel, N, description, make_run
from tiny_data import BUNDLES

from c2t.runtime.bundle.bundle import Bundle, open_bundle
from c2t.runtime.describe.description import Description
from c2t.runtime.fields.paper import PAPER_RULES
from c2t.runtime.fields.reader import FieldReader
from c2t.runtime.fields.terms import TERMS_NAME, make_table
from c2t.runtime.output.cellxgene import (
    SchemaColumns,
    check_outputs,
    check_schema_columns,
    schema_columns,
)
from c2t.runtime.output.describe_file import DescribeFileOptions, check_paths, describe_file
from c2t.runtime.output.journal import journal_path
from c2t.runtime.output.record import FIELD_COLUMNS, FIELDS, make_record, record_fields
from c2t.runtime.output.write import describe_to_files, plan_outputs
from c2t.runtime.system.errors import C2TError, OutputError

TABLE = make_table(
    {
        ("cell_type", "b cell"): "CL:0000236",
        ("cell_type", "cell"): "CL:0000000",
        ("tissue", "blood"): "UBERON:0000178",
        ("disease", "normal"): "PATO:0000461",
        ("sex", "female"): "PATO:0000383",
    }
)
READER = FieldReader(PAPER_RULES, TABLE)
TEXTS = (
    (
        "This sample consists of a B cell, a lymphocyte. It originates from the blood of a normal "
        "female during youth. This cell is associated with growth. Additionally, it involves death."
    ),
    'This sample consists of a "T, cell", a lymphocyte. It originates from the lung of a donor.',
    "This sample consists of a cell, a thing.",
    "nothing \0 of the kind",
)


class SayingModel(FakeModel):
    """Writes captions in turn; row 3 has an error."""

    def __call__(self, start: int) -> Iterator[Description]:
        for row in range(start, N):
            if row == 3:
                yield description("cell3", genes_used=0, error="no counts")
                continue
            text = TEXTS[row % 4]
            fields = READER.read(text, lambda spans: 0.5)
            yield replace(description(f"cell{row}", genes_used=1), text=text, fields=fields)


def said(cells: Path, target: Path, schema: SchemaColumns | None = None) -> Path:
    targets = plan_outputs(cells, target)
    describe_to_files(make_run(cells), targets, SayingModel(), schema=schema)
    return target


def test_text_files_say_it(cells: Path, tmp_path: Path) -> None:
    lines = said(cells, tmp_path / "out.jsonl").read_text().splitlines()
    first, second = (json.loads(line) for line in lines[:2])
    assert tuple(first) == FIELDS
    assert {name: first[name] for name in FIELD_COLUMNS} == {
        "cell_type": "B cell",
        "cell_type_ontology_term_id": "CL:0000236",
        "tissue": "blood",
        "tissue_ontology_term_id": "UBERON:0000178",
        "disease": "normal",
        "disease_ontology_term_id": "PATO:0000461",
        "sex": "female",
        "sex_ontology_term_id": "PATO:0000383",
        "age": "youth",
        "development_stage_ontology_term_id": None,  # the table has no names of ages
        "pathways": "growth; death",
    }
    assert second["cell_type"] == '"T, cell"'
    assert second["cell_type_ontology_term_id"] == second["tissue_ontology_term_id"] == "unknown"
    assert second["disease"] is second["disease_ontology_term_id"] is second["sex"] is None
    with said(cells, tmp_path / "out.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row, line in zip(rows, map(json.loads, lines), strict=True):
        assert {name: row[name] for name in FIELD_COLUMNS} == {
            name: line[name] or "" for name in FIELD_COLUMNS
        }


def test_parquet_says_it(cells: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    lines = said(cells, tmp_path / "out.jsonl").read_text().splitlines()
    table = parquet.read_table(said(cells, tmp_path / "out.parquet"))
    assert tuple(table.column_names) == FIELDS
    assert table.to_pylist() == [json.loads(line) for line in lines]


@needs_anndata
def test_obs_has_categories_that_can_be_plotted(cells: Path, tmp_path: Path) -> None:
    copy = anndata.read_h5ad(said(cells, tmp_path / "out.h5ad"))
    for name in FIELD_COLUMNS:
        assert copy.obs[f"c2t_{name}"].dtype == "category"
    types = copy.obs["c2t_cell_type"]
    assert types.cat.categories.tolist() == ['"T, cell"', "B cell", "cell"]
    assert types.tolist()[:3] == ["B cell", '"T, cell"', "cell"]
    assert types.isna().tolist()[3:5] == [True, False]
    assert copy.obs["c2t_sex"].cat.categories.tolist() == ["female"]
    assert copy.obs["c2t_development_stage_ontology_term_id"].isna().all()
    copy.write_h5ad(tmp_path / "again.h5ad")
    # Described again by a model that says nothing: what was said before is not left to stand.
    again = tmp_path / "other.h5ad"
    describe_to_files(make_run(tmp_path / "out.h5ad"), (again,), FakeModel())
    assert anndata.read_h5ad(again).obs["c2t_cell_type"].isna().all()


def test_a_record_gives_the_fields_back() -> None:
    for described in SayingModel()(0):
        record = make_record(0, described)
        again = replace(described, fields=record_fields(record))
        assert make_record(0, again) == record
        parts = {name: field.parts for name, field in described.fields.items() if field}
        assert {name: field.parts for name, field in again.fields.items() if field} == parts


def test_a_journal_of_an_older_c2t_is_refused(cells: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.jsonl"
    with pytest.raises(KeyboardInterrupt):
        describe_to_files(make_run(cells), (target,), FakeModel(at=5))
    journal = journal_path(target)
    content = journal.read_bytes()
    assert content.count(b'"journal":4') == 1
    journal.write_bytes(content.replace(b'"journal":4', b'"journal":3'))
    with pytest.raises(OutputError, match="left by another run") as caught:
        said(cells, target)
    assert "--restart" in caught.value.hint
    assert not target.exists()
    describe_to_files(make_run(cells), (target,), SayingModel(), restart=True)
    assert json.loads(target.read_text().splitlines()[0])["cell_type"] == "B cell"


COLUMNS = (
    *("cell_type_ontology_term_id", "tissue_ontology_term_id", "disease_ontology_term_id"),
    "sex_ontology_term_id",
)


@needs_anndata
def test_the_schemas_columns_hold_ids_and_unknown(cells: Path, tmp_path: Path) -> None:
    schema = SchemaColumns(columns=COLUMNS, labels=("cell_type",))
    obs = anndata.read_h5ad(said(cells, tmp_path / "out.h5ad", schema)).obs
    assert "cell_type" not in obs
    assert "development_stage_ontology_term_id" not in obs
    kinds = obs["cell_type_ontology_term_id"]
    # The schema asks for "unknown" rather than the root of the ontology.
    assert kinds.tolist()[:4] == ["CL:0000236", "unknown", "unknown", "unknown"]
    assert kinds.cat.categories.tolist() == ["CL:0000236", "unknown"]
    assert obs["c2t_cell_type_ontology_term_id"].tolist()[2] == "CL:0000000"
    assert set(obs["sex_ontology_term_id"]) == {"PATO:0000383", "unknown"}
    assert schema.unknown["tissue_ontology_term_id"] == N - N // 4
    tissue, disease, labels = schema.warnings
    assert f"{N - N // 4} cells have no term for tissue_ontology_term_id" in tissue
    assert "disease_ontology_term_id" in disease
    assert "obs has cell_type" in labels


def test_columns_that_the_cells_have_are_kept(cells: Path, tmp_path: Path) -> None:
    with h5py.File(cells, "r+") as file:
        file["obs"]["sex_ontology_term_id"] = np.array([b"PATO:0000384"] * N)
        file["obs"]["tissue"] = np.array([b"blood"] * N)
    with pytest.raises(OutputError, match=r"columns of its own.*: sex_ontology_term_id") as caught:
        check_schema_columns(cells, COLUMNS, replace=False)
    assert "--replace-columns" in caught.value.hint
    assert check_schema_columns(cells, COLUMNS, replace=True) == ("tissue",)
    assert check_schema_columns(cells, COLUMNS[:3], replace=False) == ("tissue",)
    schema = SchemaColumns(columns=COLUMNS)
    with h5py.File(said(cells, tmp_path / "out.h5ad", schema)) as file:
        sexes = file["obs"]["sex_ontology_term_id"]
        names = sexes["categories"].asstr()[:]
        # The cell that could not be described keeps its own; those whose text says none do not.
        assert names[sexes["codes"][:]].tolist()[:4] == [
            *("PATO:0000383", "unknown", "unknown", "PATO:0000384")
        ]
        assert "sex_ontology_term_id" in file["obs"].attrs["column-order"]
    assert schema.kept == {"sex_ontology_term_id": 1}
    assert "1 cell without a description keeps the sex_ontology_term_id" in schema.warnings[2]


@needs_anndata
def test_cells_outside_the_selection_keep_their_curated_ids(cells: Path, tmp_path: Path) -> None:
    with h5py.File(cells, "r+") as file:
        own = ["UBERON:0002048"] * N
        own[-1] = ""
        file["obs"]["tissue_ontology_term_id"] = np.array(own, dtype=object)
    schema = SchemaColumns(columns=COLUMNS)
    copy = tmp_path / "out.h5ad"
    records = [make_record(row, one) for row, one in zip(range(2), SayingModel()(0), strict=False)]
    copy.write_bytes(cells.read_bytes())
    schema.write(copy, records)
    with h5py.File(copy) as file:
        column = file["obs"]["tissue_ontology_term_id"]
        found = column["categories"].asstr()[:][column["codes"][:]].tolist()
    assert found == ["UBERON:0000178", "unknown", *["UBERON:0002048"] * (N - 3), "unknown"]
    assert schema.kept == {"tissue_ontology_term_id": N - 3}
    assert schema.unknown["tissue_ontology_term_id"] == 2


def test_a_link_to_another_file_is_not_written_through(cells: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["x"] = [1, 2, 3]
    with h5py.File(cells, "r+") as file:
        file["obs"]["sex_ontology_term_id"] = h5py.ExternalLink(str(other), "x")
    before = other.read_bytes()
    with pytest.raises(C2TError, match="sex_ontology_term_id"):
        check_schema_columns(cells, COLUMNS, replace=True)
    assert other.read_bytes() == before


@pytest.mark.parametrize(
    ("names", "good"),
    [((), False), (("a.csv",), False), (("a.csv", "b.h5ad"), True), (("a.parts",), False)],
)
def test_the_schemas_columns_need_a_copy_of_the_cells(names: tuple[str, ...], good: bool) -> None:
    if good:
        check_outputs(names)
        return
    with pytest.raises(OutputError, match="no output is a copy") as caught:
        check_outputs(names)
    assert "--write-obs" in caught.value.hint


def test_a_bundle_without_names_is_refused_before_the_work(tmp_path: Path) -> None:
    options = DescribeFileOptions(
        cells=make_cells(tmp_path / "cells.h5ad", 3), output=tmp_path / "o.h5ad", cellxgene=True
    )
    check_paths(options)
    with pytest.raises(OutputError, match="no table of ontology terms") as caught:
        describe_file(open_bundle(BUNDLES["mlp"]), options, stream=io.BytesIO(), report=print)
    assert "--ontology" in caught.value.hint
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cells.h5ad"]


def test_the_whole_way_with_a_bundle_that_has_names(tmp_path: Path, named_bundle: Bundle) -> None:
    assert schema_columns(named_bundle) == COLUMNS
    cells = make_cells(tmp_path / "cells.h5ad", 6)
    options = DescribeFileOptions(
        cells=cells, output=tmp_path / "o.jsonl", write_obs=True, cellxgene=True
    )
    said: list[str] = []
    describe_file(named_bundle, options, stream=io.BytesIO(), report=said.append)
    with h5py.File(tmp_path / "cells.c2t.h5ad") as file:
        obs = file["obs"]
        # The tiny model's texts name nothing.
        assert obs["tissue_ontology_term_id"]["categories"].asstr()[:].tolist() == ["unknown"]
        assert "c2t_tissue" not in obs
    assert any("6 cells have no term for tissue" in line for line in said)


@pytest.fixture
def named_bundle(tmp_path: Path) -> Bundle:
    """The tiny bundle with a table of names."""
    from more_files import bundle_with

    TABLE.save(tmp_path / TERMS_NAME)
    content = (tmp_path / TERMS_NAME).read_bytes()
    (tmp_path / TERMS_NAME).unlink()
    return bundle_with(tmp_path / "bundle", {TERMS_NAME: content})
