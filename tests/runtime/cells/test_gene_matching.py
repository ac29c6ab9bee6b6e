"""How the genes of a file are recognised, counted, and refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from make_cells import GENES, IDS, SYMBOLS, V2, adata, vocabulary

from c2t.runtime.cells.options import CellOptions
from c2t.runtime.cells.reader import CellReader
from c2t.runtime.system.errors import CellFileError


def read(cells, genes=None, **options):
    return CellReader(cells, genes or vocabulary(), V2, CellOptions(**options))


def named(names, **columns):
    cells = adata()
    cells.var = pd.DataFrame(columns, index=[str(name) for name in names])
    return cells


def tokens(reader):
    return [row.tolist() for chunk in reader.chunks() for row in chunk.tokens]


BY_ID = tokens(read(adata()))


@pytest.mark.parametrize(
    ("cells", "column"),
    [
        (adata(), "var_names"),
        (named(SYMBOLS), "var_names"),
        (named([name.lower() for name in SYMBOLS]), "var_names"),
        (named([f"{name}.{i}" for i, name in enumerate(IDS)]), "var_names"),
        (named(range(GENES), gene_ids=IDS), "gene_ids"),
        (named(range(GENES), feature_name=SYMBOLS), "feature_name"),
        (named(range(GENES), feature_name=pd.Categorical(SYMBOLS)), "feature_name"),
        (named(SYMBOLS, ensembl_id=IDS), "ensembl_id"),  # of equals, ids
        (named(SYMBOLS, ensembl_id=[*IDS[:10], *[""] * 70]), "var_names"),  # the fuller one
    ],
)
def test_best_column_is_found(cells, column):
    reader = read(cells)
    assert reader.gene_report.column == column
    assert reader.gene_report.coverage == 1
    assert reader.gene_report.genes == GENES
    assert tokens(reader) == BY_ID


def test_column_of_the_users_choice():
    cells = named(range(GENES), gene_ids=IDS, mine=SYMBOLS)
    assert read(cells, gene_column="mine").gene_report.column == "mine"
    assert read(named(SYMBOLS, gene_ids=IDS), gene_column="var_names").gene_report.genes == GENES
    with pytest.raises(CellFileError, match=r"var\['other'\] is missing\n\nhint: the columns are"):
        read(cells, gene_column="other")


def test_report_counts_expressed_genes_and_counts():
    cells = adata()
    x = cells.X.toarray()
    x[:, :20] = 0  # not expressed: they say nothing about the names
    x[:, 20:] = 1
    cells.X = x
    report = read(cells, vocabulary(50)).gene_report
    assert (report.columns, report.expressed, report.matched) == (80, 60, 30)
    assert (report.coverage, report.counts_coverage) == (0.5, 0.5)
    assert report.sentence == (
        "genes by `var_names`: 30 of 60 expressed genes known (50%), with 50% of the counts"
    )
    (warning,) = report.warnings
    assert warning.startswith("the bundle knows 50% of the expressed genes (50% of the counts)")


def test_columns_of_one_gene_are_summed_and_said_so():
    names = [*SYMBOLS[:78], "GENE1-1", IDS[1]]
    cells = named(names)
    reader = read(cells)
    assert reader.gene_report.summed == 2
    assert "2 columns of the same genes summed" in reader.gene_report.sentence
    x = cells.X.toarray()
    x[:, 0] += x[:, 78]
    x[:, 1] += x[:, 79]
    x[:, 78:] = 0
    assert tokens(reader) == tokens(read(adata(x)))


def test_features_that_are_no_genes_are_dropped():
    kinds = ["Gene Expression"] * 78 + ["Antibody Capture"] * 2
    report = read(named(SYMBOLS, feature_types=kinds)).gene_report
    assert (report.dropped, report.genes, report.coverage) == (2, 78, 1.0)
    assert "2 columns dropped that are no genes" in report.sentence
    report = read(named([*SYMBOLS[:78], "AB_CD3", "ERCC-00002"])).gene_report
    assert (report.dropped, report.coverage) == (2, 1.0)
    biotypes = ["protein_coding"] * 79 + ["lncRNA"]
    assert read(named(SYMBOLS, feature_type=biotypes)).gene_report.dropped == 0


def test_unknown_names_are_refused():
    with pytest.raises(CellFileError) as caught:
        read(named([f"probe{i}" for i in range(GENES)], batch=["a"] * GENES))
    assert str(caught.value) == (
        "gene names not recognised: 0 of 76 match the bundle's vocabulary\n\nhint: `var_names` has "
        "names such as `probe0`, `probe1`, `probe2`; pass `--gene-column NAME` with the column of "
        "Ensembl ids or symbols (there are: batch), or `--min-coverage 0` to go on all the same"
    )


def test_genes_of_another_species_are_named():
    with pytest.raises(CellFileError, match="which are mouse genes: map them to human"):
        read(named([f"ENSMUSG{i:011d}" for i in range(GENES)]))


def test_mouse_symbols_that_match_human_ones_are_warned_about():
    warnings = read(named([name.title() for name in SYMBOLS])).gene_report.warnings
    assert warnings == ("gene names look like mouse symbols (`Cd3e`), taken as the human ones",)


def test_low_coverage_can_be_allowed():
    few = vocabulary(4)
    with pytest.raises(CellFileError, match=r"not recognised: 4 of 76 match"):
        read(adata(), few)
    assert read(adata(), few, min_coverage=0).gene_report.matched == 4
    assert read(adata(), few, min_coverage=0.01).gene_report.matched == 4


def test_allowed_without_any_gene_it_gives_an_error_for_each_cell():
    reader = read(named([f"probe{i}" for i in range(GENES)]), min_coverage=0)
    errors = [error for chunk in reader.chunks() for error in chunk.errors]
    assert set(errors) == {"cell has no gene of the bundle's vocabulary"}
    assert np.isfinite(reader.gene_report.coverage)
