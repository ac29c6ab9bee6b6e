"""Which columns are genes, by what the file says of them and by their names."""

from __future__ import annotations

import numpy as np
import pytest
from cell_libraries import pd, sp
from make_cells import GENES, SYMBOLS, adata, counts, named, read, tokens, z_scores

from c2t.runtime.cells.genes.feature_kinds import named_like_no_gene
from c2t.runtime.system.errors import CellFileError

BY_ID = tokens(read(adata()))
ANTIBODIES = [f"GENE{i}-1" for i in range(1, 9)]


def with_antibodies(**columns):
    """Cells with eight antibodies behind the genes, which have the names of genes."""
    x = np.hstack([counts(), np.full((40, 8), 300, np.float32)])
    return named([*SYMBOLS, *ANTIBODIES], sp.csr_matrix(x), **columns)


def kinds(antibody, gene="Gene Expression"):
    return [gene] * GENES + [antibody] * 8


@pytest.mark.parametrize(
    "columns",
    [
        {"feature_types": kinds("Antibody Capture")},
        {"feature_types": pd.Categorical(kinds("Antibody Capture"))},
        {"feature_types-0": kinds("Antibody Capture"), "feature_types-1": kinds("", "")},
        {"feature_types-0": kinds("nan", "Gene Expression"), "feature_types-1": kinds("ADT")},
        {"modality": kinds("prot", "rna")},
        {"feature_type": kinds("protein", "protein-coding")},
        {"feature_types": kinds("CRISPR Guide Capture")},
        {"feature_biotype": kinds("spike-in", "gene")},
        {"gene_biotype": kinds("antibody", "protein_coding_CDS_not_defined")},
    ],
    ids=lambda columns: " ".join(columns),
)
def test_kinds_that_are_no_genes_are_dropped(columns):
    reader = read(with_antibodies(**columns))
    assert tokens(reader) == BY_ID
    assert reader.gene_report.dropped == 8
    assert reader.warnings == ()


@pytest.mark.parametrize(
    "kind",
    [
        *("protein-coding", "protein_coding", "Protein coding", "lncRNA", "ncRNA", "pseudo"),
        *("transcribed_unitary_pseudogene", "IG_C_gene", "TR_V_gene", "Mt_rRNA", "Gene Expression"),
        *("unknown", "", "0", "nan", "RNA", "gene", "biological-region", "other"),
    ],
)
def test_kinds_that_are_genes_are_kept(kind):
    reader = read(named(SYMBOLS, feature_type=[kind, *["protein_coding"] * 79]))
    assert reader.gene_report.dropped == 0
    assert reader.warnings == ()


def test_unknown_kind_is_taken_and_said():
    reader = read(named(SYMBOLS, feature_types=["Whole Transcriptome"] * GENES))
    assert tokens(reader) == BY_ID
    (warning,) = reader.warnings
    assert warning == (
        "var['feature_types'] has kinds of features that c2t does not know, taken as genes: "
        "`Whole Transcriptome` (80)"
    )
    reader = read(with_antibodies(feature_types=kinds("Antibody mix 7")))
    assert tokens(reader) == BY_ID
    assert "that c2t does not know, dropped: `Antibody mix 7` (8)" in reader.warnings[0]


def test_most_columns_gone_is_warned_about_unless_they_are_peaks():
    x = sp.csr_matrix(np.hstack([counts(), counts(), np.ones((40, 5), np.float32)]))
    names = [*SYMBOLS, *[f"OTHER{i}" for i in range(GENES + 5)]]
    for kind, warnings in (("Antibody Capture", 1), ("Peaks", 0)):
        types = ["Gene Expression"] * GENES + [kind] * (GENES + 5)
        reader = read(named(names, x, feature_types=types))
        assert tokens(reader) == BY_ID
        assert len(reader.warnings) == warnings
    types[:GENES] = ["Antibody Capture"] * GENES
    with pytest.raises(CellFileError) as caught:
        read(named(names, x, feature_types=types))
    assert str(caught.value) == (
        "no column is a gene: by var['feature_types'] all are `Antibody Capture` (80), `Peaks` (85)"
        "\n\nhint: give the file with gene expression of these cells"
    )


def test_custom_features_with_names_of_genes_are_taken_where_there_are_no_others():
    reader = read(named(SYMBOLS, feature_types=["Custom"] * GENES))
    assert tokens(reader) == BY_ID
    (warning,) = reader.warnings
    assert warning == (
        "all features are `Custom` (80) by var['feature_types']: taken as genes, since the bundle "
        "knows 100% of their names"
    )
    with pytest.raises(CellFileError, match="no column is a gene"):
        read(named([f"tag{i}" for i in range(GENES)], feature_types=["Custom"] * GENES))
    assert read(with_antibodies(feature_types=kinds("Custom"))).gene_report.dropped == 8


def test_kinds_of_raw_stand_in_var():
    cells = with_antibodies(feature_types=kinds("Antibody Capture"))
    raw = cells.copy()
    raw.var = raw.var[[]]
    cells.X = z_scores(cells.X.toarray())
    cells.raw = raw
    reader = read(cells[:, ::-1].copy())
    assert reader.counts_report.location == "raw"
    assert reader.gene_report.dropped == 8
    assert tokens(reader) == BY_ID


@pytest.mark.parametrize(
    "name",
    [
        *("HTO-1", "HTO_2", "hto3", "Hashtag1", "anti-human Hashtag 2", "ADT-CD4", "adt_CD4"),
        *("AB_CD3", "prot_CD4", "CD4_TotalSeqB", "CD4-ADT", "CD4:SK3|CD4|AHS0032|pAbO"),
        *("chr1:1000-2000", "chrX-100000-100500", "1:9999-10500", "GRCh38_chr2:1234-2345"),
        *("ERCC-00002", "TotalSeqA-CD8"),
    ],
)
def test_names_that_are_no_genes(name):
    assert named_like_no_gene(name, is_known=False)
    known = name.startswith(("ERCC-", "HTO_", "AB_"))
    assert named_like_no_gene(name, is_known=True) == known


@pytest.mark.parametrize(
    "name",
    ["CD4", "ABCA1", "HTR1A", "PRNP", "TOR1A", "AL627309.1", "RP11-206L10.2", "1-Mar", "7SK"],
)
def test_names_of_genes_are_none_of_these(name):
    assert not named_like_no_gene(name, is_known=False)


def test_hashtags_do_not_count_as_lost_genes():
    x = np.hstack([counts(), np.full((40, 8), 2000, np.float32)])
    reader = read(named([*SYMBOLS, *[f"HTO-{i}" for i in range(8)]], sp.csr_matrix(x)))
    assert tokens(reader) == BY_ID
    assert (reader.gene_report.dropped, reader.gene_report.counts_coverage) == (8, 1)
