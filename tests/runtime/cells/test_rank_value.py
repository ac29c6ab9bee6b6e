"""Rank-value encoding: by hand on small cells, and against the reference's own sequences."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from cell_libraries import sp
from make_cells import V1, V2, counts, relative_values, vocabulary
from msgspec import structs
from shared_data import shared

from c2t.runtime.bundle.gene_vocabulary import GeneVocabulary
from c2t.runtime.bundle.manifest import GeneInput
from c2t.runtime.cells.inputs.rank_value import RankValueInput
from c2t.runtime.cells.options import CellOptions
from c2t.runtime.cells.reader import CellReader

TIE_TOLERANCE = 2e-7  # float32 products of the reference may swap neighbours closer than this


def few_genes(token=(10, 11, 12), median=(1.0, 2.0, 4.0)):
    return GeneVocabulary(
        ensembl_id=np.array([b"A", b"B", b"C"]),
        token=np.array(token, np.int32),
        median=np.array(median),
        alias=np.empty(0, "S1"),
        alias_gene=np.empty(0, np.int32),
    )


def encode(rows, columns=(0, 1, 2), genes=None, gene_input=V1, log_base=None):
    maker = RankValueInput(
        gene_input, genes or few_genes(), np.array(columns, np.int32), log_base=log_base
    )
    return maker.encode(sp.csr_matrix(np.asarray(rows)))


def sequences(result):
    return [tokens.tolist() for tokens in result.tokens]


def test_order_is_by_count_over_median():
    # relative to the medians: 3, 4, 1 | 1, -, 2
    result = encode([[3, 8, 4], [1, 0, 8]])
    assert sequences(result) == [[11, 10, 12], [12, 10]]
    assert result.genes_used.tolist() == result.genes_found.tolist() == [3, 2]
    assert result.errors == [None, None]
    assert result.tokens[0].dtype == np.int32


def test_equal_values_are_ordered_by_the_smaller_token():
    genes = few_genes(token=(12, 11, 10), median=(1.0, 2.0, 4.0))
    assert sequences(encode([[2, 4, 8]], genes=genes)) == [[10, 11, 12]]


def test_special_tokens_take_room_from_the_genes():
    narrow = structs.replace(V2, input_size=4)
    result = encode([[3, 8, 4]], gene_input=narrow)
    assert sequences(result) == [[2, 11, 10, 3]]
    assert (result.genes_used[0], result.genes_found[0]) == (2, 3)
    narrow = structs.replace(V1, input_size=2)
    assert sequences(encode([[3, 8, 4]], gene_input=narrow)) == [[11, 10]]


def test_columns_of_one_gene_are_summed_before_ranking():
    # gene A: 1 + 3 = 4, gene B: 6 / 2 = 3
    assert sequences(encode([[1, 6, 3]], columns=(0, 1, 0))) == [[10, 11]]


def test_repeated_entries_of_one_column_are_summed():
    rows = sp.csr_matrix((np.array([1.0, 3, 6]), [0, 0, 1], [0, 3]), shape=(1, 3))
    result = RankValueInput(V1, few_genes(), np.arange(3, dtype=np.int32)).encode(rows)
    assert sequences(result) == [[10, 11]]


def test_explicit_zeros_and_unknown_columns_are_left_out():
    rows = sp.csr_matrix((np.array([0.0, 5, 9]), [0, 1, 2], [0, 3]), shape=(1, 3))
    result = RankValueInput(V1, few_genes(), np.array([0, 1, -1], np.int32)).encode(rows)
    assert sequences(result) == [[11]]


@pytest.mark.parametrize("base", [np.e, 2.0, 10.0])
def test_logarithm_is_undone(base):
    values = counts()
    scaled = values / values.sum(axis=1, keepdims=True) * 1e4
    genes, columns = vocabulary(), np.arange(values.shape[1])
    logged = np.log1p(scaled.astype(np.float64)) / np.log(base)
    plain = encode(scaled.astype(np.float64), columns, genes, V2)
    assert sequences(encode(logged, columns, genes, V2, log_base=base)) == sequences(plain)


@pytest.mark.parametrize(
    ("row", "error"),
    [
        ([0, 0, 0], "cell is empty"),
        ([0, 0, 5], "cell has no gene of the bundle's vocabulary"),
        ([np.nan, 1, 1], "cell has 1 NaN value"),
        ([np.nan, -1, np.nan], "cell has 2 NaN values"),
        ([1, 1, np.nan], "cell has 1 NaN value"),  # also in a column of no known gene
        ([np.inf, 1, 0], "cell has 1 infinite value"),
        ([-1, -2, 0], "cell has 2 negative values"),
    ],
)
def test_bad_cell_has_an_error_and_the_others_go_on(row, error):
    result = encode([[1, 2, 0], row, [0, 2, 0]], columns=(0, 1, -1), gene_input=V2)
    assert result.errors == [None, error, None]
    assert sequences(result) == [[2, 10, 11, 3], [], [2, 11, 3]]
    assert result.genes_used.tolist() == [2, 0, 1]


def test_value_that_overflows_when_its_logarithm_is_undone():
    result = encode([[800.0, 1, 1]], log_base=np.e)
    assert result.errors == ["cell has values too large to undo their logarithm"]


def test_no_cells():
    result = encode(np.zeros((0, 3)))
    assert (result.tokens, result.errors, result.genes_used.tolist()) == ([], [], [])


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64, np.uint16, bool])
def test_any_kind_of_number(dtype):
    assert sequences(encode(np.array([[1, 0, 1]], dtype=dtype))) == [[10, 12]]


@functools.cache
def geneformer(version: int) -> tuple[GeneVocabulary, GeneInput]:
    """The real dictionaries, as the export reads them."""
    gene_vocabulary = pytest.importorskip("c2t.export.checkpoint.gene_dictionaries.vocabulary")
    read = pytest.importorskip(
        "c2t.export.checkpoint.gene_dictionaries.pickled_dictionary"
    ).read_pickled_dictionary
    name = ("V1_gc30M", "V2_gc104M")[version - 1]
    folder, suffix = shared(f"geneformer/{name}"), name.split("_")[1]

    def load(what):
        return read(folder / f"{what}_{suffix}.pkl")

    arrays = gene_vocabulary.build_gene_vocabulary(
        load("token_dictionary"),
        load("gene_median_dictionary"),
        ensembl_mapping=load("ensembl_mapping_dict"),
        gene_names=load("gene_name_id_dict"),
    )
    spec = GeneInput(
        input_size=(2048, 4096)[version - 1],
        vocabulary_size=int(arrays.token.max()) + 1,
        hidden_size=256,
        layer_norm_epsilon=1e-12,
        pad_token=0,
        cls_token=arrays.cls_token,
        eos_token=arrays.eos_token,
    )
    return arrays, spec


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    ("example", "cells"), [("pbmc3k_200", "pbmc3k_labelled_raw"), ("celseq2_60", "sc_celseq2_raw")]
)
def test_equal_to_the_reference_on_real_cells(version, example, cells, record_property):
    parquet = pytest.importorskip("pyarrow.parquet")
    genes, spec = geneformer(version)
    table = parquet.read_table(shared(f"oracles/{example}_V{version}.parquet")).to_pylist()
    expected = {row["cell"]: row for row in table}
    ties, values = 0, None
    with CellReader(
        shared(f"cells/{cells}.h5ad"), genes, spec, CellOptions(cells=list(expected))
    ) as reader:
        assert sorted(reader.cell_ids) == sorted(expected)
        for chunk in reader.chunks(chunk_cells=64):
            for cell, tokens, found in zip(chunk.ids, chunk.tokens, chunk.genes_found, strict=True):
                assert found == expected[cell]["length_untruncated"]
                theirs = expected[cell]["input_ids"]
                assert len(tokens) == len(theirs)
                for ours, other in zip(tokens.tolist(), theirs, strict=True):
                    if ours != other:
                        values = values or relative_values(reader)
                        ratio = values[cell][ours] / values[cell][other]
                        assert abs(ratio - 1) <= TIE_TOLERANCE
                        ties += 1
    record_property("ranks that differ by ties", ties)
    assert ties == 0  # so it is with these examples
