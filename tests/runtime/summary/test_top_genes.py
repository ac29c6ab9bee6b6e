"""The genes of groups, against the same figure computed from a dense matrix."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cell_libraries import anndata, pd, sp
from described_cells import GENES, TYPES, cells_file, counts, type_of

from c2t.runtime.cells.options import CellOptions
from c2t.runtime.cells.reader import CellCounts
from c2t.runtime.summary.top_genes import readable_names, top_genes

CELLS = 60
TYPE_OF = [type_of(row) for row in range(CELLS)]
CODES = np.array([TYPES.index(name) for name in TYPE_OF])


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    return cells_file(tmp_path / "cells.h5ad", [f"c{n}" for n in range(CELLS)], TYPE_OF)


def write(path: Path, matrix: np.ndarray, names: list[str], **var: list[str]) -> Path:
    adata = anndata.AnnData(
        sp.csr_matrix(matrix),
        obs=pd.DataFrame(index=[f"c{n}" for n in range(len(matrix))]),
        var=pd.DataFrame(var, index=names),
    )
    adata.write_h5ad(path)
    return path


def differences(matrix: np.ndarray, inside: np.ndarray) -> np.ndarray:
    values = np.log1p(matrix / matrix.sum(axis=1, keepdims=True) * 1e4)
    return values[inside].mean(axis=0) - values[~inside].mean(axis=0)


def test_the_figure_is_the_difference_of_means(cells: Path) -> None:
    matrix, read = counts(TYPE_OF).astype(np.float64), []
    with CellCounts(cells) as opened:
        found = top_genes(opened, CODES, 3, most=GENES, advance=read.append)
    assert sum(read) == CELLS
    for code, genes in enumerate(found):
        expected = differences(matrix, code == CODES)
        assert {gene.column for gene in genes[:3]} == {3 * code, 3 * code + 1, 3 * code + 2}
        for gene in genes:
            assert gene.difference == pytest.approx(expected[gene.column])
            assert gene.share == (matrix[code == CODES, gene.column] > 0).mean()
        shown = [gene.difference for gene in genes]
        assert shown == sorted(shown, reverse=True)
        assert min(shown) > 0


def test_logarithms_give_the_same_genes(cells: Path, tmp_path: Path) -> None:
    matrix = counts(TYPE_OF)
    logs = np.log1p(matrix / matrix.sum(axis=1, keepdims=True) * 1e4).astype(np.float32)
    names = [f"GENE{n}" for n in range(GENES)]
    of_logs = write(tmp_path / "logs.h5ad", logs, names)
    with CellCounts(cells) as one, CellCounts(of_logs) as other:
        assert other.counts_report.log_base is not None
        assert [[g.column for g in group] for group in top_genes(one, CODES, 3, most=3)] == [
            [g.column for g in group] for group in top_genes(other, CODES, 3, most=3)
        ]


def test_cells_without_a_group_are_among_the_others(cells: Path) -> None:
    codes = np.where(CODES == 0, 0, -1)
    with CellCounts(cells) as opened:
        found = top_genes(opened, codes, 1, most=3)
    assert {gene.column for gene in found[0]} == {0, 1, 2}


def test_too_few_cells_have_no_genes(cells: Path) -> None:
    codes = np.full(CELLS, 1)
    codes[:2] = 0
    with CellCounts(cells) as opened:
        few, many = top_genes(opened, codes, 2)
        assert few == []
        assert many
        assert top_genes(opened, np.zeros(CELLS, np.int64), 1) == [[]]  # nothing to compare with


def test_only_chosen_cells_take_part(cells: Path) -> None:
    chosen = list(range(0, CELLS, 3))
    with CellCounts(cells, CellOptions(cells=chosen)) as opened:
        found = top_genes(opened, CODES[chosen], 3, most=GENES)
    matrix = counts(TYPE_OF).astype(np.float64)[chosen]
    expected = differences(matrix, CODES[chosen] == 0)
    assert found[0][0].difference == pytest.approx(expected[found[0][0].column])


def test_antibodies_and_rare_genes_are_left_out(tmp_path: Path) -> None:
    matrix = counts(TYPE_OF)
    matrix[CODES == 1, 4] = 0
    matrix[np.flatnonzero(CODES == 1)[0], 4] = 100_000  # one cell makes the mean
    names = [f"GENE{n}" for n in range(GENES)]
    kinds = ["Antibody Capture" if n == 3 else "Gene Expression" for n in range(GENES)]
    path = write(tmp_path / "cite.h5ad", matrix, names, feature_types=kinds)
    with CellCounts(path) as opened:
        found = top_genes(opened, CODES, 3, most=GENES)[1]
    assert found[0].column == 5
    assert not {3, 4} & {gene.column for gene in found}


def test_ids_are_shown_as_symbols(tmp_path: Path) -> None:
    ids = [f"ENSG{n:011d}" for n in range(GENES)]
    symbols = [f"SYM{n}" if n else "" for n in range(GENES)]
    path = write(tmp_path / "ids.h5ad", counts(TYPE_OF), ids, feature_name=symbols)
    with CellCounts(path) as opened:
        assert readable_names(opened) == [ids[0], *symbols[1:]]
    plain = write(tmp_path / "plain.h5ad", counts(TYPE_OF), ids)
    with CellCounts(plain) as opened:
        assert readable_names(opened) == ids
