"""The file of cells beside results: text tables that lie either way, and files of several parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cell_libraries import anndata, needs_anndata
from described_cells import LABELS, add_obsm, cells_file, lines_file, plane, record, type_of
from make_formats import write_mudata, write_table, write_tenx_2
from report_pages import page_of, report

from c2t.runtime.report.cells import CellsAsked
from c2t.runtime.report.report import ReportOptions, make_report
from c2t.runtime.report.results import read_results
from c2t.runtime.system.errors import C2TError

pytestmark = needs_anndata
N = 60


@pytest.fixture
def cells(tmp_path: Path) -> anndata.AnnData:
    path = tmp_path / "cells.h5ad"
    cells_file(path, [f"cell{n}" for n in range(N)], [type_of(n) for n in range(N)])
    return anndata.read_h5ad(path)


def lines(folder: Path, chosen: range = range(N)) -> Path:
    made = [record(n, f"cell{n}", type_of(n)) for n in chosen]
    return lines_file(folder / "results.jsonl", made)


def genes(made: object) -> list[list[str]]:
    return [[gene.name for gene in some[:3]] for some in made.cells_part.genes]


@pytest.mark.parametrize("chosen", [range(N), range(7, N)])
@pytest.mark.parametrize("turned", [False, True])
def test_text_tables_are_read_whichever_way_they_lie(
    cells: anndata.AnnData, tmp_path: Path, chosen: range, turned: bool
) -> None:
    table = write_table(tmp_path / "table.csv", cells, genes_are_rows=turned)
    results = lines(tmp_path, chosen)
    made = report(results, path=table)
    assert genes(made) == genes(report(results, path=tmp_path / "cells.h5ad"))
    assert genes(made)[0] == ["GENE0", "GENE1", "GENE2"]
    assert "GENE0" in page_of(made).text
    part = "genes-x-cells" if turned else "cells-x-genes"
    assert genes(report(results, path=table, part=part)) == genes(made)
    other = "cells-x-genes" if turned else "genes-x-cells"
    with pytest.raises(C2TError, match="described cells are not in"):
        report(results, path=table, part=other)


def test_a_column_in_front_of_the_counts_is_a_label(cells: anndata.AnnData, tmp_path: Path) -> None:
    own = [LABELS[type_of(n)] for n in range(N)]
    table = write_table(tmp_path / "table.tsv", cells, separator="\t", front={"own": own})
    assert report(lines(tmp_path), path=table, labels="own").cells_part.labels == own


def test_a_table_of_other_cells_is_refused(cells: anndata.AnnData, tmp_path: Path) -> None:
    cells.obs_names = [f"other{n}" for n in range(N)]
    table = write_table(tmp_path / "table.csv", cells)
    with pytest.raises(C2TError, match="neither the lines nor the columns") as caught:
        report(lines(tmp_path), path=table)
    assert "the file that was described" in str(caught.value.hint)


def test_a_table_whose_cells_are_called_like_its_genes_is_asked_about(
    cells: anndata.AnnData, tmp_path: Path
) -> None:
    cells = cells[:30].copy()
    cells.var_names = cells.obs_names.tolist()
    table = write_table(tmp_path / "table.csv", cells)
    results = lines(tmp_path, range(30))
    with pytest.raises(C2TError, match="both lines and columns") as caught:
        report(results, path=table)
    assert "--part cells-x-genes" in str(caught.value.hint)
    assert genes(report(results, path=table, part="cells-x-genes"))[0][0] == "cell0"


def test_one_of_several_parts_is_chosen(cells: anndata.AnnData, tmp_path: Path) -> None:
    genomes = write_tenx_2(tmp_path / "two.h5", cells, ("GRCh38", "hg19"))
    results = lines(tmp_path)
    with pytest.raises(C2TError, match="GRCh38, hg19") as caught:
        report(results, path=genomes)
    assert "--part" in str(caught.value.hint)
    assert genes(report(results, path=genomes, part="hg19"))[0][0] == "GENE0"
    with pytest.raises(C2TError, match="no part `mm10`"):
        report(results, path=genomes, part="mm10")
    with pytest.raises(C2TError, match="no part `hg19`"):
        report(results, path=tmp_path / "cells.h5ad", part="hg19")
    with pytest.raises(C2TError, match="no part 'hg19', nor cells") as caught:
        make_report(read_results(results), ReportOptions(cells=CellsAsked(part="hg19")))
    assert "--cells" in str(caught.value.hint)


def test_places_are_those_of_the_modality(cells: anndata.AnnData, tmp_path: Path) -> None:
    """Rows of the whole file are other cells than those of a modality."""
    mudata = write_mudata(tmp_path / "cells.h5mu", rna=cells)
    add_obsm(mudata, "X_umap", plane(N)[::-1])
    results = lines(tmp_path)
    assert report(results, path=mudata).cells_part.places is None
    cells.obsm["X_umap"] = plane(N)
    both = write_mudata(tmp_path / "both.h5mu", prot=cells[::-1].copy(), rna=cells)
    for part in (None, "prot"):
        made = report(results, path=both, part=part)
        np.testing.assert_array_equal(made.cells_part.places, plane(N))
