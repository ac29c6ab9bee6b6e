"""How the genes of a file are recognised, counted, and refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from cell_libraries import pd
from make_cells import GENES, IDS, SYMBOLS, V2, adata, counts, named, tokens, vocabulary

from c2t.runtime.cells.options import CellOptions
from c2t.runtime.cells.reader import CellReader
from c2t.runtime.system.errors import CellFileError


def read(cells, genes=None, **options):
    return CellReader(cells, genes or vocabulary(), V2, CellOptions(**options))


BY_ID = tokens(read(adata()))


@pytest.mark.parametrize(
    ("cells", "column"),
    [
        (adata(), "var_names"),
        (named(SYMBOLS), "var_names"),
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


def test_symbols_in_lower_case_are_taken_where_the_file_or_the_user_says_human():
    cells = named([name.lower() for name in SYMBOLS])
    with pytest.raises(CellFileError, match=r"written as those of a fish \(`gene1`\)"):
        read(cells)
    reader = read(cells, organism="human")
    assert (reader.gene_report.coverage, reader.gene_report.genes) == (1, GENES)
    assert tokens(reader) == BY_ID
    cells.uns["organism"] = "Homo sapiens"
    assert tokens(read(cells)) == BY_ID


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
        "genes by `var_names`: 30 of 60 expressed genes known (50%), with 50% of the counts "
        "(warned about below 60%, refused below 10%); "
        "columns for 50 of the bundle's 50 genes (100%)"
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
        "Ensembl ids or symbols (there are: batch), or `--min-coverage 0` to go on all the same; "
        "see `c2t help formats`"
    )


def test_low_coverage_can_be_allowed():
    few = vocabulary(4)
    with pytest.raises(CellFileError, match=r"not recognised: 4 of 76 match"):
        read(adata(), few)
    assert read(adata(), few, min_coverage=0).gene_report.matched == 4
    assert read(adata(), few, min_coverage=0.01).gene_report.matched == 4


def test_file_without_columns_is_refused():
    with pytest.raises(CellFileError, match="has no genes: its matrix has 0 columns"):
        read(adata()[:, :0])


def test_counts_that_are_mostly_in_unknown_genes():
    x = counts()
    x[:, 79] = 3 * x[:, :79].sum(axis=1)
    names = [*IDS[:79], "OTHER"]
    report = read(named(names, x)).gene_report
    assert report.coverage > 0.95
    assert report.counts_coverage == pytest.approx(0.25)
    (warning,) = report.warnings
    assert warning.startswith("the bundle knows 99% of the expressed genes (25% of the counts)")
    x[:, 79] *= 10
    with pytest.raises(CellFileError, match=r"have 3\.2% of the counts, at least 10% are needed"):
        read(named(names, x))
    assert read(named(names, x), min_coverage=0).gene_report.counts_coverage < 0.1


def test_missing_words_are_no_names():
    genes = dataclasses.replace(
        vocabulary(2), alias=np.array([b"NAN", b"NA"]), alias_gene=np.array([0, 1], np.int32)
    )
    names = ["nan", "NA", "", *IDS[:2], *[f"none{i}" for i in range(75)]]
    reader = read(named(names), genes, min_coverage=0)
    assert reader.gene_match.column_gene[:5].tolist() == [-1, -1, -1, 0, 1]


def test_allowed_without_any_gene_it_gives_an_error_for_each_cell():
    reader = read(named([f"probe{i}" for i in range(GENES)]), min_coverage=0)
    errors = [error for chunk in reader.chunks() for error in chunk.errors]
    assert set(errors) == {"cell has no gene of the bundle's vocabulary"}
    assert np.isfinite(reader.gene_report.coverage)
