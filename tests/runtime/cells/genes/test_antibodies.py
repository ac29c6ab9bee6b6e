"""Antibodies that no table tells from genes: dropped where their counts are far out of line."""

from __future__ import annotations

import numpy as np
import pytest
from cell_libraries import sp
from make_cells import V2, named

from c2t.runtime.bundle.gene_vocabulary import GeneVocabulary
from c2t.runtime.cells.options import CellOptions
from c2t.runtime.cells.reader import CellReader

GENES, CELLS = 900, 40
SYMBOLS = [f"GENE{i}" for i in range(GENES)]
PANEL = SYMBOLS[100:106]
LEVEL = 300


@pytest.fixture(scope="module")
def genes():
    return GeneVocabulary(
        ensembl_id=np.array([f"ENSG{i:011d}" for i in range(GENES)], dtype="S"),
        token=np.arange(4, GENES + 4, dtype=np.int32),
        median=np.ones(GENES),
        alias=np.array([*SYMBOLS, "OLD50"], dtype="S"),
        alias_gene=np.array([*range(GENES), 50], dtype=np.int32),
    )


def rna():
    rng = np.random.default_rng(0)
    depth = rng.lognormal(0, 0.6, (CELLS, 1))
    return rng.poisson(rng.gamma(0.4, 1.0, (1, GENES)) * depth).astype(np.float32)


def antibodies(count):
    return np.random.default_rng(1).poisson(LEVEL, (CELLS, count)).astype(np.float32)


def read(names, x, genes):
    return CellReader(named(names, sp.csr_matrix(x)), genes, V2, CellOptions())


def tokens(reader):
    return [row.tolist() for chunk in reader.chunks() for row in chunk.tokens]


@pytest.fixture(scope="module")
def expected(genes):
    return tokens(read(SYMBOLS, rna(), genes))


@pytest.mark.parametrize(
    "panel",
    [
        [f"{name}-1" for name in PANEL],
        [f"{name}.1" for name in PANEL],
        [name.title() for name in PANEL],
        [*[f"{name}-1" for name in PANEL], "OLD50"],  # an old name of a gene
    ],
    ids=["scanpy", "R", "case", "alias"],
)
def test_antibodies_are_dropped_and_said(panel, genes, expected):
    reader = read([*SYMBOLS, *panel], np.hstack([rna(), antibodies(len(panel))]), genes)
    assert tokens(reader) == expected
    assert reader.gene_report.dropped == len(panel)
    (warning,) = reader.warnings
    assert warning.startswith(f"{len(panel)} columns look like antibodies with names of genes")


def test_gene_may_be_the_one_with_the_number(genes, expected):
    names = [f"{name}-1" if name in PANEL else name for name in SYMBOLS]
    reader = read([*PANEL, *names], np.hstack([antibodies(len(PANEL)), rna()]), genes)
    assert tokens(reader) == expected
    assert reader.gene_report.dropped == len(PANEL)


def test_copies_of_genes_are_summed(genes, expected):
    x = rna()
    half = np.floor(x[:, :300] / 2)
    x[:, :300] -= half
    for sign in "-.":
        names = [*SYMBOLS, *[f"{name}{sign}1" for name in SYMBOLS[:300]]]
        reader = read(names, np.hstack([x, half]), genes)
        assert tokens(reader) == expected
        assert reader.gene_report.summed == 300
        assert reader.warnings == ()


def test_one_gene_with_a_silent_copy_is_no_panel(genes):
    x = rna()
    x[:, 100] = antibodies(1)[:, 0]
    names = [*SYMBOLS, "GENE100-1"]
    reader = read(names, np.hstack([x, np.zeros((CELLS, 1), np.float32)]), genes)
    assert tokens(reader) == tokens(read(SYMBOLS, x, genes))
    assert reader.gene_report.dropped == 0
