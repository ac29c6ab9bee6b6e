"""Values of public bug reports: taken right, doubted, or refused by name; token by token."""

from __future__ import annotations

import re

import anndata
import numpy as np
import pytest
import scipy.sparse as sp
from shared_cases import cell_case
from shared_data import shared

from c2t.runtime.bundle.gene_vocabulary import GeneVocabulary
from c2t.runtime.bundle.manifest import GeneInput
from c2t.runtime.cells.options import CellOptions
from c2t.runtime.cells.reader import CellReader
from c2t.runtime.system.errors import CellFileError

TOP = 100


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """The 40 cells that the cases change."""
    path = tmp_path_factory.mktemp("clean") / "clean40.h5ad"
    return cell_case("_clean40", path, shared("cells/pbmc3k_labelled_raw.h5ad"))


@pytest.fixture(scope="module")
def genes(clean):
    """A vocabulary of the genes of these cells."""
    ids = [name for name in anndata.read_h5ad(clean).var["ensembl_id"].astype(str) if name]
    rng = np.random.default_rng(0)
    return GeneVocabulary(
        ensembl_id=np.array(sorted(set(ids)), dtype="S"),
        token=np.arange(4, len(set(ids)) + 4, dtype=np.int32),
        median=rng.uniform(0.5, 4, len(set(ids))),
        alias=np.empty(0, "S1"),
        alias_gene=np.empty(0, np.int32),
    )


@pytest.fixture(scope="module")
def expected(clean, genes):
    """Gene tokens of the clean cells, by name."""
    return described(clean, genes)[0]


@pytest.fixture
def case(tmp_path, clean, genes):
    """Make a case and read it: tokens by cell, errors by cell, the reader."""

    def make(name, **options):
        return described(cell_case(name, tmp_path / "case.h5ad", clean), genes, **options)

    return make


def described(source, genes, **options):
    spec = GeneInput(
        input_size=4096,
        vocabulary_size=len(genes.token) + 4,
        hidden_size=8,
        layer_norm_epsilon=1e-12,
        pad_token=0,
        cls_token=2,
        eos_token=3,
    )
    tokens, errors = {}, {}
    with CellReader(source, genes, spec, CellOptions(**options)) as reader:
        for chunk in reader.chunks():
            for cell, row, error in zip(chunk.ids, chunk.tokens, chunk.errors, strict=True):
                if error is None:
                    tokens[cell] = row.tolist()
                else:
                    errors[cell] = error
                    assert len(row) == 0
    return tokens, errors, reader


def overlap(tokens, expected):
    """Mean share of the first 100 gene tokens that are the same."""
    shares = [
        len(set(row[1 : TOP + 1]) & set(expected[cell][1 : TOP + 1])) / TOP
        for cell, row in tokens.items()
    ]
    return np.mean(shares)


@pytest.mark.parametrize(
    ("name", "kind", "base"),
    [
        ("log1p_cp10k", "log1p", np.e),
        ("log1p_counts", "log1p", np.e),
        ("log10_cp10k", "log1p", 10),
        ("log_shifted", "log1p", 2),
        ("one_cell", "log1p", np.e),
        ("dtypes_float16", "log1p", np.e),
        ("raw_is_scaled", "log1p", np.e),
        ("uns_base_wrong", "log1p", 2),
        ("cp10k_nolog", "proportional", None),
        ("percent_target100", "proportional", None),
        ("frac_target1", "proportional", None),
        ("pearson_residuals", "counts", None),
        ("csr_dups_unsorted", "counts", None),
        ("null_x", "counts", None),
        ("csc_counts", "counts", None),
        ("dtypes_int8_indices16", "counts", None),
        ("dtypes_uint16_idx64", "counts", None),
        ("n_layers_velocity", "counts", None),
    ],
)
def test_taken_right_and_without_a_doubt(case, expected, name, kind, base):
    tokens, errors, reader = case(name)
    assert errors == {}
    assert (reader.counts_report.kind, reader.counts_report.log_base) == (
        kind,
        base if base is None else pytest.approx(base),
    )
    assert reader.counts_report.warnings == ()
    assert overlap(tokens, expected) > 0.995


@pytest.mark.parametrize("name", ["empty_and_nan", "visium_spots"])
def test_cells_without_counts_cost_only_themselves(case, expected, name):
    tokens, errors, _ = case(name)
    assert len(errors) == 5
    pattern = r"cell is empty|cell has 1 (NaN|negative|infinite) value"
    assert all(re.fullmatch(pattern, error) for error in errors.values())
    assert tokens == {cell: row for cell, row in expected.items() if cell not in errors}


def test_a_file_whose_second_half_is_zeros_is_refused(case):
    with pytest.raises(CellFileError, match="cannot be read") as caught:
        case("zero_tail")
    assert "the file is damaged" in caught.value.hint


@pytest.mark.parametrize("name", ["deep_fraction", "deep_percent"])
def test_fractions_of_deep_cells_are_in_the_order_of_their_counts(case, clean, genes, name):
    cells = anndata.read_h5ad(clean)
    counts, rng = sp.csr_matrix(cells.X, dtype=np.float64), np.random.default_rng(0)
    mixture = np.eye(cells.n_obs) + (rng.random((cells.n_obs, cells.n_obs)) < 0.25)
    cells.X = sp.csr_matrix(sp.csr_matrix(mixture) @ counts)
    expected = described(cells, genes)[0]
    tokens, errors, reader = case(name)
    assert (errors, reader.counts_report.kind) == ({}, "proportional")
    assert overlap(tokens, expected) > 0.995


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("lognorm_astype_int", "rounded logarithms: whole numbers up to 7"),
        ("counts_plus_one", "counts plus 1: every gene has a value in every cell"),
        ("scale_nocenter", "divided by the standard deviation of their gene"),
        ("scale_nocenter_nouns", "divided by the standard deviation of their gene"),
        ("log_twice_nouns", "log1p was applied twice)"),
        ("regress_positive", "a value for every gene in every cell (imputed"),
        ("magic_imputed", "a value for every gene in every cell (imputed"),
        ("scvi_lib1", "a value for every gene in every cell (imputed"),
        ("scvi_lib1e4", "a value for every gene in every cell (imputed"),
        ("tpm_rounded", "such as TPM), rounded to whole numbers"),
        ("tpm_rounded_few", "such as TPM), rounded to whole numbers"),
        ("log2_tpm", "log2 of normalized values that are not counts (such as TPM)"),
        ("log2_tpm10", "log2 of normalized values that are not counts (such as TPM)"),
        ("one_cell_tpm", "normalized values that are not counts (such as TPM)"),
        ("clr_genewise", "normalized values that are not counts (such as TPM)"),
        ("sqrt_counts", "square roots of counts"),
        ("log_pseudo01", "values with -3.322 added or subtracted"),
        ("bioturing_neg_few", "values of which 3.0% are negative (batch-corrected"),
        ("x_log_counts_layer_other", "values of which 1.5% are negative (batch-corrected"),
        ("combat_negative", "scaled values (z-scores: there are negative ones)"),
        ("x_is_embedding", "scaled values (z-scores: there are negative ones)"),
    ],
)
def test_refused_by_name(case, name, words):
    with pytest.raises(CellFileError, match=re.escape(words.replace("\\", ""))):
        case(name)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("velocyto_x_zero", "--layer layers/spliced"),
        ("raw_rows_mismatch", "--layer X"),
        ("null_x_layer_named", "--layer layers/raw_counts"),
        ("no_x_layers_only", "layers/raw_counts"),
        ("two_layers_counts", "--layer layers/raw_counts"),
        ("x_log_counts_layer_other", "--layer layers/raw_counts"),
        ("log2_tpm", "--counts-are log1p"),
        ("magic_imputed", "--counts-are normalized"),
    ],
)
def test_hint_names_the_option(case, name, hint):
    with pytest.raises(CellFileError) as caught:
        case(name)
    assert hint in str(caught.value.hint)


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("velocyto_x_zero", "spliced"),
        ("raw_rows_mismatch", "X"),
        ("two_layers_counts", "raw_counts"),
    ],
)
def test_hint_that_is_followed_helps(case, expected, name, layer):
    tokens, errors, _ = case(name, layer=layer)
    assert (tokens, errors) == (expected, {})


@pytest.mark.parametrize(
    ("name", "odd", "looks"),
    [
        ("mixed_10pct_log", range(5, 40, 10), "log1p of counts"),
        ("mixed_4pct_log", [7], "log1p of counts"),
        ("mixed_30pct_soupx", range(0, 40, 3), "corrected counts"),
    ],
)
def test_cells_that_are_not_like_the_others_get_an_error(case, expected, name, odd, looks):
    tokens, errors, reader = case(name)
    names = list(expected)
    assert list(errors) == [names[position] for position in odd]
    for error in errors.values():
        assert error.startswith(f"cell looks like {looks}")
        assert error.endswith("but the others hold raw counts")
    assert tokens == {cell: row for cell, row in expected.items() if cell not in errors}
    (warning,) = reader.warnings
    assert f"{len(errors)} of 40: cell looks like {looks}" in warning


def test_corrected_counts_are_taken_with_a_warning(case, expected):
    tokens, errors, reader = case("soupx_decimals")
    assert errors == {}
    assert "corrected counts" in reader.counts_report.sentence
    assert "may differ a little" in " ".join(reader.warnings)
    assert overlap(tokens, expected) > 0.97


def test_layer_of_logarithms_named_counts_is_told(case, expected):
    tokens, errors, reader = case("layer_counts_is_log")
    assert (tokens, errors) == (expected, {})
    assert reader.warnings == ("layers/counts holds log1p of counts, in spite of its name",)


@pytest.mark.parametrize(
    ("name", "genes_missing"),
    [("nan_gene_in_all", 2000), ("nan_gene_in_every_cell", 1200), ("outer_join_dense", 1214)],
)
def test_genes_missing_after_an_outer_join_are_absent(case, expected, name, genes_missing):
    tokens, errors, reader = case(name)
    assert errors == {}
    assert f"{genes_missing:,} genes of X are missing (NaN)" in " ".join(reader.warnings)
    for cell, row in tokens.items():
        # The other genes keep their order.
        left = set(row)
        assert row == [token for token in expected[cell] if token in left]
        assert len(row) > 0.8 * len(expected[cell])


def test_cells_that_are_empty_in_one_of_split_layers_are_told(case):
    tokens, errors, reader = case("seurat_v5_split")
    assert len(tokens) == 20
    assert set(errors.values()) == {"cell is empty"}
    warning = " ".join(reader.warnings)
    assert "20 of 40 cells looked at are empty in X" in warning
    assert "layers/counts.1, layers/counts.2" in warning
