"""Samples of groups, and the evidence of their cells taken together."""

from __future__ import annotations

from dataclasses import replace

import pytest

from c2t.runtime.explain.evidence import CellEvidence, GeneEvidence
from c2t.runtime.explain.groups import group_evidence, sample_groups

LABELS = ["b"] * 50 + ["a"] * 3 + ["", "nan"] + ["b"] * 10


def gene(name: str, evidence: float, direction: str) -> GeneEvidence:
    return GeneEvidence(
        gene_id=name,
        symbol=None,
        rank=1,
        effect=evidence + 0.1,
        probability_effect=evidence / 2,
        shift=0.1,
        evidence=evidence,
        direction=direction,
        control=False,
    )


def cell(name: str, words: str, *genes: GeneEvidence) -> CellEvidence:
    return CellEvidence(cell=name, text="", field="cell_type", words=words, genes=genes)


def test_a_sample_depends_on_its_group_alone() -> None:
    found = sample_groups(LABELS, most=5, seed=1)
    assert list(found) == ["a", "b"]
    assert found["a"] == [50, 51, 52]
    assert len(found["b"]) == 5 == len(set(found["b"]))
    assert found["b"] == sorted(found["b"])
    only = ["b" if label == "b" else "" for label in LABELS]
    assert sample_groups(only, most=5, seed=1) == {"b": found["b"]}
    assert sample_groups(LABELS, most=5, seed=2)["b"] != found["b"]


def test_no_group_at_all() -> None:
    assert sample_groups(["", "nan"], most=3, seed=0) == {}


def test_shares_are_of_the_cells_that_say_the_words() -> None:
    strong, weak = gene("G1", 0.5, "for"), gene("G1", 0.01, "none")
    cells = [
        cell("1", "B cell", strong, gene("G2", -0.3, "against")),
        cell("2", "B cell", gene("G1", 0.7, "for")),
        cell("3", "B cell", weak, gene("G3", 0.0, "none")),
        cell("4", "B cell"),
        cell("5", "T cell", gene("G9", 9.0, "for")),
        replace(cell("6", "B cell"), words=None, error="cell is empty"),
    ]
    found = group_evidence("g", 60, cells)
    assert (found.words, found.saying, found.sampled, found.failed) == ("B cell", 4, 6, 1)
    assert [g.gene_id for g in found.genes] == ["G1", "G2"]
    first, second = found.genes
    assert (first.cells, first.share_for, first.share_against) == (3, 0.5, 0.0)
    assert first.median_evidence == pytest.approx(0.5)
    assert (second.share_for, second.share_against) == (0.0, 0.25)


def test_a_group_of_failures_has_no_words() -> None:
    failed = CellEvidence(cell="1", text=None, field="cell_type", error="cell is empty")
    found = group_evidence("g", 3, [failed])
    assert (found.words, found.saying, found.failed, found.genes) == (None, 0, 1, ())
