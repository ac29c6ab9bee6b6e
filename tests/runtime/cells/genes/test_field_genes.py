"""Genes of public bug reports: the tokens of the clean file, a warning, or a refusal by name."""

from __future__ import annotations

import re
from pathlib import Path

import anndata
import numpy as np
import pytest
from shared_cases import cell_case
from shared_data import shared

from c2t.runtime.bundle.gene_vocabulary import GeneVocabulary
from c2t.runtime.bundle.manifest import GeneInput
from c2t.runtime.cells.options import CellOptions
from c2t.runtime.cells.reader import CellReader
from c2t.runtime.system.errors import CellFileError


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clean") / "clean40.h5ad"
    return cell_case("_clean40", path, shared("cells/pbmc3k_labelled_raw.h5ad"))


@pytest.fixture(scope="module")
def genes(clean: Path) -> GeneVocabulary:
    """The genes of the clean file, by their ids and symbols."""
    var = anndata.read_h5ad(clean).var
    var = var[var["ensembl_id"].astype(str) != ""].drop_duplicates("ensembl_id")
    rng = np.random.default_rng(0)
    return GeneVocabulary(
        ensembl_id=var["ensembl_id"].to_numpy().astype("S"),
        token=(rng.permutation(len(var)) + 4).astype(np.int32),
        median=rng.uniform(0.5, 4, len(var)),
        alias=var.index.to_numpy().astype("S"),
        alias_gene=np.arange(len(var), dtype=np.int32),
    )


def read(path: Path, genes: GeneVocabulary, **options: object) -> CellReader:
    spec = GeneInput(
        input_size=4096,
        vocabulary_size=len(genes) + 4,
        hidden_size=8,
        layer_norm_epsilon=1e-12,
        pad_token=0,
        cls_token=2,
        eos_token=3,
    )
    return CellReader(path, genes, spec, CellOptions(**options))


def tokens(reader: CellReader) -> list[list[int]]:
    with reader:
        return [row.tolist() for chunk in reader.chunks() for row in chunk.tokens]


@pytest.fixture(scope="module")
def expected(clean: Path, genes: GeneVocabulary) -> list[list[int]]:
    reader = read(clean, genes)
    assert reader.warnings == ()
    return tokens(reader)


# Read as the clean file is, and words of the warning if there is one.
ALIKE = {
    "cite_no_types": "look like antibodies",
    "cite_types_raw_without": "",
    "cite_types_suffix": "",
    "cite_with_types": "",
    "custom_type_all": r"all features are `Custom` .* taken as genes",
    "dup_ids_and_missing": "",
    "ensg_version": "",
    "grch38_prefix": "",
    "hashtags_no_types": "",
    "huge_genes": "",
    "ncbi_biotype": "",
    "numbers_features_col": "",
    "numbers_names_col": "",
    "r_make_names": "",
    "r_make_unique": "",
    "raw_other_order": "",
    "scanpy_make_unique": "",
    "seurat_underscore": "",
    "symbol_ensg_joined": "",
    "symbols_excel_float": "",
    "usa_mode": "",
}


@pytest.mark.parametrize("case", ALIKE)
def test_read_as_the_clean_file(case, tmp_path, clean, genes, expected):
    reader = read(cell_case(case, tmp_path / "case.h5ad", clean), genes)
    warnings = reader.warnings
    assert tokens(reader) == expected
    assert len(warnings) == bool(ALIKE[case])
    assert all(re.search(ALIKE[case], warning) for warning in warnings)


def test_symbols_of_an_outer_join_come_before_ids_that_half_the_genes_lack(
    tmp_path, clean, genes, expected
):
    reader = read(cell_case("outer_join_dense_ids", tmp_path / "case.h5ad", clean), genes)
    assert reader.gene_report.column == "var_names"
    assert reader.warnings == ()
    # Its first half are the first cells with their first 9,000 genes.
    names = anndata.read_h5ad(clean).var_names[:9000]
    kept = set(genes.token[genes.lookup(names)].tolist())
    half = expected[: len(expected) // 2]
    equal = [
        ours == [token for token in whole if token in kept or token < 4]
        for ours, whole in zip(tokens(reader), half, strict=False)
    ]
    # A few have counts in the second column of a gene, which lies behind the first 9,000.
    assert np.mean(equal) > 0.9


def test_scaled_data_beside_logarithms_in_raw(tmp_path, clean, genes, expected):
    reader = read(cell_case("seuratdisk_scaled", tmp_path / "case.h5ad", clean), genes)
    assert (reader.counts_report.location, reader.counts_report.kind) == ("raw", "log1p")
    for cell, whole in zip(tokens(reader), expected, strict=True):
        assert len(set(cell[:100]) & set(whole[:100])) > 98


def test_dates_of_excel_are_said_and_the_other_genes_stay(tmp_path, clean, genes, expected):
    path = cell_case("excel_dates", tmp_path / "case.h5ad", clean)
    reader = read(path, genes)
    (warning,) = reader.warnings
    assert "gene names are dates such as" in warning
    names = anndata.read_h5ad(clean).var_names
    changed = names[np.array(anndata.read_h5ad(path).var_names) != names]
    lost = set(genes.token[genes.lookup(changed)].tolist())
    kept = [[token for token in cell if token not in lost] for cell in expected]
    assert tokens(reader) == kept


def test_highly_variable_genes_only_are_warned_about(tmp_path, clean, genes):
    reader = read(cell_case("hvg_only", tmp_path / "case.h5ad", clean), genes)
    said = [warning for warning in reader.warnings if "highly variable genes only" in warning]
    assert len(said) == 1
    assert "and for 1 of 119 that nearly every cell expresses" in said[0]
    reader.close()


@pytest.mark.parametrize(
    ("case", "problem"),
    [
        ("ids_rolled", "`ensembl_id` and `var_names` name different genes"),
        ("macaque_ensembl", "another species: .*`Macaca mulatta`.*ENSMMUG"),
        ("mouse_ensembl", "another species: .*ENSMUSG"),
        ("mouse_ensembl_only", "another species: .*ENSMUSG"),
        ("mouse_symbols", "another species: .*`Mus musculus`"),
        ("entrez_ids", "gene names not recognised: 0 of 7,770 match"),
        ("zero_genes", "the file has no genes: its matrix has 0 columns"),
    ],
)
def test_refused_by_name(case, problem, tmp_path, clean, genes):
    path = cell_case(case, tmp_path / "case.h5ad", clean)
    with pytest.raises(CellFileError, match=problem) as caught:
        read(path, genes)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("case", "told"),
    [("mouse_symbols", {"organism": "any"}), ("ids_rolled", {"gene_column": "var_names"})],
)
def test_told_they_are_described(case, told, tmp_path, clean, genes):
    with read(cell_case(case, tmp_path / "case.h5ad", clean), genes, **told) as reader:
        assert reader.gene_report.coverage > 0.99
        assert all(len(row) > 100 for chunk in reader.chunks() for row in chunk.tokens)
