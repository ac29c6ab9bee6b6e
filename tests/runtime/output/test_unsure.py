"""Probabilities and marks in every format, and files without a threshold as they were."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cell_libraries import anndata, needs_anndata
from fake_descriptions import FakeModel, N, make_run

from c2t.runtime.describe.description import Description
from c2t.runtime.output.parquet import read_parquet
from c2t.runtime.output.record import FIELDS, UNSURE_FIELDS
from c2t.runtime.output.write import describe_to_files

ABOUT = {"unsure": {"below": 0.5, "compared": "cell_type_probability"}}


class Marking(FakeModel):
    """Rows below 8 are unsure; one names no cell type, and one fails."""

    def __call__(self, start: int) -> Iterator[Description]:
        for row, described in enumerate(super().__call__(start), start):
            sure = row >= 8 and described.text is not None
            probability = None if described.cell_type_confidence is None else row / 16
            yield replace(described, cell_type_probability=probability, unsure=not sure)


def written(cells: Path, target: Path, *, marked: bool = True, model: FakeModel | None = None):
    run = make_run(cells)
    if marked:
        run = replace(run, about=run.about | ABOUT)
    describe_to_files(run, (target,), model or (Marking() if marked else FakeModel()))
    return target


def records_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_lines_and_tables(cells: Path, tmp_path: Path) -> None:
    lines = records_of(written(cells, tmp_path / "a.jsonl"))
    assert list(lines[0])[-2:] == list(UNSURE_FIELDS)
    assert (lines[9]["cell_type_probability"], lines[9]["unsure"]) == (9 / 16, False)
    assert (lines[3]["cell_type_probability"], lines[3]["unsure"]) == (None, True)
    with written(cells, tmp_path / "a.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["unsure"] for row in rows] == ["true"] * 8 + ["false"] * 4
    assert (rows[6]["cell_type_probability"], rows[9]["cell_type_probability"]) == ("", "0.5625")


def test_without_a_threshold_nothing_is_added(cells: Path, tmp_path: Path) -> None:
    plain = written(cells, tmp_path / "plain.jsonl", marked=False)
    assert all(tuple(record) == FIELDS for record in records_of(plain))
    head = written(cells, tmp_path / "plain.csv", marked=False).read_text().splitlines()[0]
    assert head == ",".join(FIELDS)


def test_parquet_goes_there_and_back(cells: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    records = list(read_parquet(written(cells, tmp_path / "a.parquet")))
    assert [record.unsure for record in records] == [True] * 8 + [False] * 4
    assert records[9].cell_type_probability == 9 / 16
    plain = list(read_parquet(written(cells, tmp_path / "plain.parquet", marked=False)))
    assert {record.unsure for record in plain} == {None}


@needs_anndata
def test_obs_has_a_plain_mask(cells: Path, tmp_path: Path) -> None:
    target = written(cells, tmp_path / "a.h5ad")
    obs = anndata.read_h5ad(target).obs
    assert obs["c2t_unsure"].dtype == bool
    assert (~obs["c2t_unsure"]).sum() == 4
    assert np.isnan(obs["c2t_cell_type_probability"].iloc[3])
    # Cells that a run did not describe have no sure answer either.
    some = tmp_path / "some.h5ad"
    run = make_run(cells, rows=np.array([8, 9]))
    run = replace(run, about=run.about | ABOUT)
    described = [d for row, d in enumerate(Marking()(0)) if row in (8, 9)]
    describe_to_files(run, (some,), lambda start: iter(described[start:]))
    assert (~anndata.read_h5ad(some).obs["c2t_unsure"]).sum() == 2


@needs_anndata
def test_an_older_mark_does_not_stay(cells: Path, tmp_path: Path) -> None:
    marked = written(cells, tmp_path / "marked.h5ad")
    again = tmp_path / "again.h5ad"
    describe_to_files(make_run(marked), (again,), FakeModel())
    obs = anndata.read_h5ad(again).obs
    assert not {"c2t_unsure", "c2t_cell_type_probability"} & set(obs.columns)
    assert len(obs) == N
