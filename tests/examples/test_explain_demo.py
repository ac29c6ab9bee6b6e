"""Evidence of the demonstration model on real cells: known markers, and more than random ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from shared_data import shared
from tiny_bundle import TinyBundle, write_bundle

import c2t
from c2t.examples.demo.held_out import is_held_out
from c2t.export.checkpoint.open import load_checkpoint
from c2t.export.checkpoint.options import CheckpointOptions
from c2t.runtime.bundle.bundle import open_bundle
from c2t.runtime.cells.reader import open_cells
from c2t.runtime.describe.model import Model
from c2t.runtime.explain.evidence import CellEvidence
from c2t.runtime.explain.groups import group_evidence

CHECKPOINT = Path(__file__).parents[2] / "examples" / "demo" / "checkpoint"
FILE = "cells/pbmc3k_labelled_raw.h5ad"
# Markers that textbooks give, of which the model should use some.
MARKERS = {
    "CD14-positive monocyte": {"S100A8", "S100A9", "LYZ", "CD14", "LGALS2", "FCN1", "MS4A6A"},
    "B cell": {"MS4A1", "CD79A", "CD79B", "CD74", "TCL1A", "LINC00926", "HLA-DRA", "HLA-DQA1"},
}
OPTIONS = c2t.DescribeOptions(threads=2)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> TinyBundle:
    loaded = load_checkpoint(CheckpointOptions(folder=CHECKPOINT))
    return write_bundle(tmp_path_factory.mktemp("demo"), loaded)


def explained(folder: Path, label: str, count: int, runs: int) -> list[CellEvidence]:
    bundle = open_bundle(folder)
    with open_cells(shared(FILE), bundle) as reader:
        labels = reader.obs_column("cell_type")
        names = [
            name
            for name, of_cell in zip(reader.cell_ids, labels, strict=True)
            if of_cell == label and is_held_out(name)
        ]
    with Model(bundle, OPTIONS) as model:
        options = c2t.ExplainOptions(runs=runs)
        reading = c2t.CellOptions(cells=names[:count])
        return list(model.explain(shared(FILE), options, reading=reading))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("label", "words"), [("CD14+ Mono", "CD14-positive monocyte"), ("B", "B cell")]
)
def test_the_markers_are_the_known_ones(demo: TinyBundle, label: str, words: str) -> None:
    cells = explained(demo.bundle.path, label, 6, 192)
    found = group_evidence(label, len(cells), cells)
    assert found.words == words
    strongest = {gene.symbol for gene in found.genes[:8]}
    assert len(strongest & MARKERS[words]) >= 2, strongest


@pytest.mark.slow
def test_the_strongest_move_more_than_random_genes(demo: TinyBundle) -> None:
    cells = explained(demo.bundle.path, "CD14+ Mono", 6, 192)
    shares = [
        cell.together.moved / cell.together.control_moved
        for cell in cells
        if cell.together is not None
    ]
    assert len(shares) == 6
    assert np.median(shares) > 5
