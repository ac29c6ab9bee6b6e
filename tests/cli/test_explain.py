"""`c2t explain` as users call it: cells, groups, formats, and what is refused before the work."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
from cli_process import Command, random_cells
from explain_bundle import with_rules
from tiny_data import BUNDLES, JOINT

from c2t.runtime.explain.evidence import CellEvidence, GeneEvidence, Together
from c2t.runtime.fields.rules import RULES_VERSION, FieldRules
from c2t.runtime.output.evidence.rows import CELL_COLUMNS, GROUP_COLUMNS
from c2t.runtime.output.evidence.tables import evidence_table


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_rules(shutil.copytree(BUNDLES["mlp"], tmp_path_factory.mktemp("b") / "tiny"))


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cells") / "cells.h5ad"
    made = random_cells(8)
    made.obs["cluster"] = ["b", "a", "b", "a", "b", "a", "b", "c"]
    made.obs["empty"] = [""] * 8
    made.write_h5ad(path)
    return path


def lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_chosen_cells_as_lines(call_c2t: Command, bundle: Path, cells: Path) -> None:
    done = call_c2t("explain", bundle, cells, "--cells", "cell3,cell0,cell7", "--top", 4)
    assert done.returncode == 0, done.stderr
    found = lines(done.stdout)
    assert [cell["cell"] for cell in found] == ["cell0", "cell3", "cell7"]
    assert found[1]["error"] == "cell is empty"
    assert found[1]["genes"] == []
    first = found[0]
    assert first["words"] == first["written"]
    assert first["words"] in first["text"]
    assert 0 < first["probability"] <= 1
    assert first["complete"] is True
    strengths = [abs(gene["evidence"]) for gene in first["genes"]]
    assert len(strengths) == 4
    assert strengths == sorted(strengths, reverse=True)
    assert {gene["direction"] for gene in first["genes"]} <= {"for", "against", "none"}
    for gene in first["genes"]:
        assert gene["gene_id"].startswith("ENSG")
        assert gene["evidence"] == pytest.approx(gene["effect"] - gene["shift"])
    assert "3 cells, at most 256 runs each" in done.stderr
    assert "explained 3 cells, 1 of them with an error, with " in done.stderr


def test_every_format_says_the_same(
    call_c2t: Command, bundle: Path, cells: Path, tmp_path: Path
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    for name in ("out.jsonl", "out.csv", "out.parquet"):
        done = call_c2t("explain", bundle, cells, "--limit", 4, "-o", name, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert done.stdout == ""
    found = lines((tmp_path / "out.jsonl").read_text())
    genes = [(cell["cell"], gene) for cell in found for gene in cell["genes"] or [{}]]
    table = parquet.read_table(tmp_path / "out.parquet")
    assert table.column_names == list(CELL_COLUMNS)
    about = json.loads(table.schema.metadata[b"c2t"])
    assert about["explaining"] == {"field": "cell_type", "label": None, "runs": 256, "seed": 0}
    rows = table.to_pylist()
    with (tmp_path / "out.csv").open(newline="") as stream:
        plain = list(csv.DictReader(stream))
    assert len(rows) == len(plain) == len(genes)
    for (cell, gene), row, text in zip(genes, rows, plain, strict=True):
        assert cell == row["cell"] == text["cell"]
        for name, value in gene.items():
            assert row[name] == value
            assert text[name] == ("" if value is None else str(value))
    errors = [row for row in rows if row["error"] is not None]
    assert ("cell3", None) in [(row["cell"], row["gene_id"]) for row in errors]
    assert len(errors) == sum(cell["error"] is not None for cell in found) < 4


def test_groups(call_c2t: Command, bundle: Path, cells: Path, tmp_path: Path) -> None:
    options = ("--group-by", "cluster", "--per-group", 3, "--runs", 60)
    done = call_c2t("explain", bundle, cells, *options)
    assert done.returncode == 0, done.stderr
    found = lines(done.stdout)
    assert [group["group"] for group in found] == ["a", "b", "c"]
    assert [group["size"] for group in found] == [3, 4, 1]
    assert [group["sampled"] for group in found] == [3, 3, 1]
    assert found[0]["failed"] >= 2  # cell 3 is empty, cell 5 has a NaN
    assert found[1]["saying"] >= 1
    for group in found:
        assert (group["words"] is not None) == bool(group["saying"])
        for gene in group["genes"]:
            assert 0 < gene["share_for"] + gene["share_against"] <= 1
    again = call_c2t("explain", bundle, cells, *options)
    assert again.stdout == done.stdout
    written = call_c2t("explain", bundle, cells, *options, "-o", "g.csv", cwd=tmp_path)
    assert written.returncode == 0, written.stderr
    with (tmp_path / "g.csv").open(newline="") as stream:
        rows = list(csv.reader(stream))
    assert rows[0] == list(GROUP_COLUMNS)
    assert len(rows) == 1 + sum(len(group["genes"]) or 1 for group in found)


def test_groups_among_chosen_cells(call_c2t: Command, bundle: Path, cells: Path) -> None:
    options = ("--cells", "cell0,cell2,cell7", "--group-by", "cluster", "--runs", 60)
    done = call_c2t("explain", bundle, cells, *options)
    assert [(group["group"], group["size"]) for group in lines(done.stdout)] == [("b", 2), ("c", 1)]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ("", "which cells? Each takes up to 256 runs"),
        ("--cells cell0 --cells cell1", "--cells is given 2 times"),
        ("--cells cell0,cell1,cell0", "cell 'cell0' is asked for twice"),
        ("--cells nobody", "1 of the cells asked for are not in cells.h5ad: `nobody`"),
        ("--limit 1 --field mood", "no field 'mood'"),
        ("--limit 1 --field tissue", "no field 'tissue'"),
        ("--limit 1 --label=", "a candidate is empty"),
        ("--limit 1 --runs 3", "runs is 3"),
        ("--limit 1 --seed -1", "seed is -1"),
        ("--group-by nothing", "has no column 'nothing' in `obs`"),
        ("--group-by empty", "no cell of cells.h5ad is in a group of 'empty'"),
        ("--limit 1 --json -o FILE.csv", "--json prints what is found"),
        ("--limit 1 -o FILE.txt", "cannot be written as '.txt'"),
        ("--limit 1 -o FILE", "cannot be written as 'a file without a suffix'"),
        ("--limit 1 -o cells.h5ad", "cannot be written as '.h5ad'"),
    ],
)
def test_errors_are_two_lines(
    call_c2t: Command, bundle: Path, cells: Path, tmp_path: Path, arguments: str, problem: str
) -> None:
    words = arguments.split()
    if "-o" not in words and "which" not in problem:
        words += ["-o", "out.csv"]
    done = call_c2t("explain", bundle, cells, *words, cwd=tmp_path)
    assert done.returncode in (1, 2)
    *_, error, hint = done.stderr.splitlines()
    assert error.startswith("error: ")
    assert problem in error
    assert hint.startswith("hint: ")
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_nobody_is_asked_which_cells_where_none_can_be_explained(
    call_c2t: Command, cells: Path
) -> None:
    done = call_c2t("explain", JOINT, cells)
    assert done.returncode == 1
    error, hint = done.stderr.splitlines()
    assert "cannot explain" in error
    assert "it can " in hint


def test_a_bundle_without_fields(call_c2t: Command, cells: Path, tmp_path: Path) -> None:
    """The tiny bundle's own texts name no cell type: its cells have errors, and the run fails."""
    done = call_c2t("explain", BUNDLES["mlp"], cells, "--limit", 2)
    assert done.returncode == 1
    assert {cell["error"] for cell in lines(done.stdout)} == {
        "no cell type can be read from the text"
    }
    assert "no cell of" in done.stderr
    assert "hint: look at their texts with `c2t describe`" in done.stderr


def test_a_bundle_whose_texts_have_no_fields(
    call_c2t: Command, cells: Path, tmp_path: Path
) -> None:
    none = FieldRules(version=RULES_VERSION, sentences=())
    folder = with_rules(shutil.copytree(BUNDLES["mlp"], tmp_path / "tiny"), none)
    done = call_c2t("explain", folder, cells, "--limit", 2, "-o", tmp_path / "out.csv")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-2:] == [
        "error: the texts of this bundle have no field 'cell_type'",
        "hint: its rules read no fields",
    ]
    assert not (tmp_path / "out.csv").exists()


def test_tables_for_people(call_c2t: Command, bundle: Path, cells: Path) -> None:
    found = lines(call_c2t("explain", bundle, cells, "--limit", 4).stdout)
    read = {
        name: tuple(GeneEvidence(**gene) for gene in cell["genes"])
        for cell in found
        for name in [cell["cell"]]
    }
    for cell in found:
        together = cell["together"] and Together(**cell["together"])
        evidence = CellEvidence(**{**cell, "genes": read[cell["cell"]], "together": together})
        table = evidence_table(evidence, 3)
        if cell["error"] is not None:
            assert table == f"{cell['cell']}: {cell['error']}\n"
            continue
        first, _, random, head, *rows = table.splitlines()
        assert first.startswith(f'{cell["cell"]}: "')
        assert random.startswith("without the 10 strongest for it: ")
        assert head.split() == [
            *("gene", "id", "rank", "evidence", "effect", "probability", "direction")
        ]
        assert [row.split()[1] for row in rows] == [gene["gene_id"] for gene in cell["genes"][:3]]


def test_an_existing_file_stays(
    call_c2t: Command, bundle: Path, cells: Path, tmp_path: Path
) -> None:
    target = tmp_path / "out.csv"
    target.write_text("mine")
    done = call_c2t("explain", bundle, cells, "--limit", 1, "-o", target)
    assert done.returncode == 1
    assert "exists already" in done.stderr
    assert target.read_text() == "mine"
    assert call_c2t("explain", bundle, cells, "--limit", 1, "-o", target, "--force").returncode == 0
    assert target.read_text().startswith("cell,field,words,")
