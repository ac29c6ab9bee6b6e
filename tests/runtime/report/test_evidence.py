"""Evidence of `c2t explain`, by type: of cells and of groups, in every format."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from described_cells import described_file

from c2t.runtime.report.cells import CellsAsked
from c2t.runtime.report.evidence import EvidenceGene, read_evidence
from c2t.runtime.report.page import make_page
from c2t.runtime.report.report import ReportOptions, make_report
from c2t.runtime.report.results import read_results
from c2t.runtime.system.errors import C2TError


def gene(name: str, evidence: float, direction: str, symbol: str | None = None) -> dict[str, Any]:
    return {
        "gene_id": name,
        "symbol": symbol,
        "rank": 1,
        "effect": evidence,
        "evidence": evidence,
        "direction": direction,
    }


CELLS = [
    {"cell": "a", "field": "cell_type", "words": "B cell", "error": None,
     "genes": [gene("E1", 2.0, "for", "CD79A"), gene("E2", -0.5, "against"),
               gene("E3", 0.1, "none")]},
    {"cell": "b", "field": "cell_type", "words": "B cell", "error": None,
     "genes": [gene("E1", 4.0, "for", "CD79A"), gene("E4", 1.0, "for", "MS4A1")]},
    {"cell": "c", "field": "cell_type", "words": "T cell", "error": None, "genes": []},
    {"cell": "d", "field": "cell_type", "words": None, "error": "no text", "genes": []},
]  # fmt: skip
EXPECTED = (
    EvidenceGene(name="CD79A", share=1.0, evidence=3.0),
    EvidenceGene(name="MS4A1", share=0.5, evidence=1.0),
    EvidenceGene(name="E2", share=0.5, evidence=-0.5),
)


def rows(things: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found = []
    for thing in things:
        whole = {name: value for name, value in thing.items() if name != "genes"}
        empty = dict.fromkeys(gene("", 0, ""))
        found += [{**whole, **one} for one in thing["genes"] or [empty]]
    return found


def write(path: Path, things: list[dict[str, Any]]) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(thing) + "\n" for thing in things))
    elif path.suffix == ".csv":
        with path.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, list(rows(things)[0]))
            writer.writeheader()
            writer.writerows(rows(things))
    else:
        pytest.importorskip("pyarrow", reason="pyarrow is not installed: c2t[parquet]")
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows(things)), path)
    return path


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_cells_in_every_format(tmp_path: Path, suffix: str) -> None:
    found = read_evidence(write(tmp_path / f"e.{suffix}", CELLS))
    assert list(found) == ["B cell", "T cell"]
    assert found["B cell"].cells == 2
    assert found["B cell"].genes == EXPECTED
    assert (found["T cell"].cells, found["T cell"].genes) == (1, ())


def test_groups_weigh_by_their_cells(tmp_path: Path) -> None:
    def group(name: str, saying: int, share: float, evidence: float) -> dict[str, Any]:
        one = {
            "gene_id": "E1",
            "symbol": "CD79A",
            "cells": saying,
            "share_for": share,
            "share_against": 0.0,
            "median_evidence": evidence,
            "median_probability_effect": 0,
        }
        return {"group": name, "size": 99, "sampled": saying, "failed": 0, "words": "B cell",
                "saying": saying, "genes": [one]}  # fmt: skip

    path = tmp_path / "g.jsonl"
    path.write_text(
        "\n".join(json.dumps(g) for g in (group("0", 9, 1.0, 3.0), group("1", 1, 0, 0)))
    )
    found = read_evidence(path)["B cell"]
    assert found.cells == 10
    assert found.genes == (EvidenceGene(name="CD79A", share=0.9, evidence=3.0),)


def test_the_page_shows_it(tmp_path: Path) -> None:
    path = write(tmp_path / "e.jsonl", CELLS)
    results = read_results(described_file(tmp_path))
    made = make_report(results, ReportOptions(cells=CellsAsked(most_genes=0), evidence=path))
    page = make_page(made)
    assert "words rest on, in 2 explained cells" in page
    assert "+3.00 in 2 of 2" in page
    assert "+1.00 in 1 of 2" in page
    assert "No single gene moves the words, in 1 explained cell." in page  # of the T cell
    assert page.count("natural logarithm of the words") == 1


def test_noise_is_no_evidence(tmp_path: Path) -> None:
    def cell(name: str, *genes: dict[str, Any]) -> dict[str, Any]:
        return {"cell": name, "field": "cell_type", "words": "B cell", "error": None,
                "genes": list(genes)}  # fmt: skip

    cells = [
        cell("a", gene("TINY", 1.8e-4, "for"), gene("MOST", 0.03, "for"), gene("TURN", 2.0, "for")),
        cell(
            "b", gene("TINY", 0.0, "none"), gene("MOST", 0.01, "none"), gene("TURN", -3.0, "none")
        ),
        cell("c", gene("NONE", 5.0, "none")),
    ]
    found = read_evidence(write(tmp_path / "e.jsonl", cells))["B cell"]
    assert found.genes == (EvidenceGene(name="MOST", share=1 / 3, evidence=0.02),)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("e.txt", "", "of no kind"),
        ("e.jsonl", "", "explains no cell type"),
        ("e.jsonl", "[" * 100_000, "cannot be read"),
        ("e.jsonl", '{"cell": "a"}', "no list of genes"),
        ("e.jsonl", '{"cell": "a", "words": "B cell", "genes": [1]}', "no list of genes"),
        ("e.jsonl", '{"words": "x", "genes": [{"gene_id": "g", "evidence": "much"}]}', "cannot be"),
        ("e.csv", "a,b\n1,2\n", "no table of evidence"),
        ("e.csv", "cell,words,gene_id,evidence,direction\na\n", "another number"),
        ("e.csv", "cell,words,gene_id,evidence,direction\na,B cell,g,x,for\n", "cannot be read"),
        ("e.csv", "cell,words,gene_id,evidence,direction\na,plasma,g,1,for\n", "no such type"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, name: str, content: str, words: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    results = read_results(described_file(tmp_path))
    for evidence in (path, tmp_path / "none.csv"):
        with pytest.raises(C2TError, match=words if evidence is path else "No such file") as caught:
            make_report(results, ReportOptions(evidence=evidence))
        assert caught.value.hint
