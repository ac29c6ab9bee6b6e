"""Rank-value encoding: the definition on cells worked out by hand, and every bit against it."""

import numpy as np
import pytest
from cell_libraries import sp
from shared_data import shared

from c2t.kernels.errors import KernelError
from c2t.kernels.rank_value.cpu import rank_value_encode
from c2t.kernels.rank_value.definition import rank_value_encode_reference
from c2t.kernels.rank_value.types import CellStatus, RankGenes, RankOptions

FIELDS = ("tokens", "lengths", "genes", "totals", "status")


def assert_same_bits(result, expected):
    for field in FIELDS:
        ours, theirs = getattr(result, field), getattr(expected, field)
        assert ours.dtype == theirs.dtype, field
        assert ours.tobytes() == theirs.tobytes(), field


def check(counts, genes, options):
    result = rank_value_encode(counts, genes, options, threads=2)
    assert_same_bits(result, rank_value_encode_reference(counts, genes, options))
    return result


def make_genes(columns, genes, *, seed=0, medians=None):
    draw = np.random.default_rng(seed)
    return RankGenes(
        column_gene=draw.integers(-1, genes, columns).astype(np.int32),
        token=draw.permutation(np.arange(4, 4 + genes)).astype(np.int32),
        median=draw.choice([0.5, 1.0, 1.0, 3.3], genes) if medians is None else medians,
    )


def csr(rows, dtype=np.float32):
    """Rows of (column, value) pairs, in the order given."""
    return sp.csr_matrix(
        (
            np.array([v for row in rows for _, v in row], dtype),
            np.array([c for row in rows for c, _ in row], np.int32),
            np.cumsum([0, *(len(row) for row in rows)]),
        ),
        shape=(len(rows), 8),
    )


BY_HAND = RankGenes(
    column_gene=np.array([0, 1, 2, -1, 3, 0, -1, 2], np.int32),
    token=np.array([13, 12, 11, 10], np.int32),
    median=np.array([1.0, 2.0, 1.0, 0.5], np.float64),
)


def test_cells_worked_out_by_hand():
    counts = csr(
        [
            [(0, 3), (1, 4), (2, 5), (3, 100), (4, 1)],  # 3, 2, 5, unknown, 2: a tie of 12 and 10
            [(0, 1), (5, 4), (2, 5), (7, 0)],  # column 5 is gene 0 again: 5 against 5
            [(4, 0), (0, 0)],
            [],
            [(3, 7), (6, 2)],
            [(7, 1), (7, 1), (7, 1), (0, 2)],  # three entries of one column
        ]
    )
    options = RankOptions(max_tokens=5, cls_token=2, eos_token=3, pad_token=0)
    result = check(counts, BY_HAND, options)
    assert result.tokens.tolist() == [
        [2, 11, 13, 10, 3],
        [2, 11, 13, 3, 0],
        [0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0],
        [2, 11, 13, 3, 0],
    ]
    assert result.lengths.tolist() == [5, 4, 0, 0, 0, 4]
    assert result.genes.tolist() == [4, 2, 0, 0, 0, 2]
    assert result.totals.tolist() == [113, 10, 0, 0, 9, 5]
    empty = CellStatus.EMPTY
    assert result.status.tolist() == [CellStatus.OK, CellStatus.OK, empty, empty, empty, 0]


def test_values_that_are_no_counts_are_named_and_stay_in_their_cell():
    nan, inf = np.nan, np.inf
    counts = csr(
        [
            [(0, nan), (1, -1), (2, inf)],
            [(3, inf), (1, -1)],  # in a column that is no gene
            [(6, -1), (1, 2)],
            [(0, -inf), (1, 1)],
            [(0, 1), (1, -0.0)],
        ]
    )
    result = check(counts, BY_HAND, RankOptions(max_tokens=5))
    assert result.status.tolist() == [
        CellStatus.NAN,
        CellStatus.INFINITE,
        CellStatus.NEGATIVE,
        CellStatus.INFINITE,
        CellStatus.OK,
    ]
    assert result.lengths.tolist() == [0, 0, 0, 0, 1]


@pytest.mark.parametrize(
    "dtype", ["float32", "float64", "int32", "int64", "uint16", "float16", ">f4"]
)
@pytest.mark.parametrize("density", [0.0, 0.02, 0.3, 1.0])
@pytest.mark.parametrize("max_tokens", [3, 40, 5000])
def test_random_counts_bit_for_bit(dtype, density, max_tokens):
    draw = np.random.default_rng(1)
    dense = draw.poisson(3, (40, 700)) * (draw.random((40, 700)) < density)
    counts = sp.csr_matrix(dense.astype(np.float64))
    counts.data = counts.data.astype(dtype)
    options = RankOptions(max_tokens=max_tokens, cls_token=2, eos_token=3, pad_token=1)
    check(counts, make_genes(700, 650), options)


@pytest.mark.parametrize("index", [np.int32, np.int64])
@pytest.mark.parametrize("genes", [1, 30, 20_000])
def test_unsorted_and_repeated_columns_bit_for_bit(index, genes):
    draw = np.random.default_rng(2)
    lengths = draw.integers(0, 2000, 30)
    indptr = np.concatenate([[7], 7 + np.cumsum(lengths)]).astype(index)  # a slice of a larger file
    stored = int(indptr[-1]) + 5

    class Rows:
        pass

    rows = Rows()
    rows.indptr = indptr
    rows.indices = draw.integers(0, 300, stored).astype(index)
    rows.data = draw.lognormal(0, 3, stored)
    check(rows, make_genes(300, genes), RankOptions(max_tokens=2048))


@pytest.mark.parametrize("genes", [1, 2, 25, 26, 1000])
@pytest.mark.parametrize("max_tokens", [1, 24, 500, 2048])
def test_all_ties_are_in_order_of_tokens(genes, max_tokens):
    columns = np.random.default_rng(3).permutation(genes)
    table = RankGenes(
        column_gene=np.arange(genes, dtype=np.int32),
        token=np.random.default_rng(4).permutation(genes).astype(np.int32),
        median=np.ones(genes),
    )
    counts = sp.csr_matrix((np.full(genes, 7.0), columns, [0, genes]), shape=(1, genes))
    result = check(counts, table, RankOptions(max_tokens=max_tokens))
    length = min(genes, max_tokens)
    assert result.tokens[0, :length].tolist() == list(range(length))


def test_neighbouring_doubles_and_the_ends_of_their_range():
    """Values that share their leading bits, subnormals, quotients that overflow or underflow."""
    close = 1.0 + np.arange(500) * 2.0**-52
    far = [5e-324, 1e-310, 2.2e-308, 1e-30, 1e30, 1e308, 1.7e308]
    values = np.random.default_rng(5).permutation(np.concatenate([close, far, close[:50]]))
    for median in (1.0, 5e-324, 1e-300, 1e300):
        genes = RankGenes(
            column_gene=np.arange(len(values), dtype=np.int32),
            token=np.arange(len(values), dtype=np.int32)[::-1].copy(),
            median=np.full(len(values), median),
        )
        for data in (values, values[:60], close):
            columns = np.arange(len(data))
            counts = sp.csr_matrix((data, columns, [0, len(data)]), shape=(1, len(values)))
            for max_tokens in (10, 520, 4096):
                check(counts, genes, RankOptions(max_tokens=max_tokens))


@pytest.mark.parametrize("base", [np.e, 2.0, 10.0])
def test_logarithms_give_the_order_of_the_counts(base):
    dense = np.random.default_rng(6).poisson(3, (20, 200)) * 1.0
    genes = make_genes(200, 150, medians=np.random.default_rng(7).lognormal(0, 1, 150))
    logged = sp.csr_matrix(np.log1p(dense) / np.log(base))
    options = RankOptions(max_tokens=100, log_base=base)
    result = check(logged, genes, options)
    plain = rank_value_encode(sp.csr_matrix(dense), genes, RankOptions(max_tokens=100))
    np.testing.assert_array_equal(result.tokens, plain.tokens)
    too_large = csr([[(0, 2000.0)]])
    assert check(too_large, BY_HAND, options).status.tolist() == [CellStatus.INFINITE]


def test_damaged_rows_raise_before_they_are_read():
    genes, options = BY_HAND, RankOptions(max_tokens=5)
    for column in (8, -1, 2**31 - 1):
        counts = csr([[(0, 1)]])
        counts.indices[0] = column
        with pytest.raises(KernelError, match="columns"):
            rank_value_encode(counts, genes, options)
    for indptr in ([0, 5], [-1, 1], [1, 0], []):
        counts = csr([[(0, 1)]])
        counts.indptr = np.array(indptr, np.int32)
        with pytest.raises(KernelError, match="row starts"):
            rank_value_encode(counts, genes, options)


def test_genes_that_do_not_fit_raise():
    column_gene, token, median = BY_HAND.column_gene, BY_HAND.token, BY_HAND.median
    for wrong in (
        {"column_gene": column_gene + np.int32(1)},
        {"column_gene": column_gene - np.int32(1)},
        {"token": token[:3].copy()},
        {"token": token.astype(np.int64)},
        {"median": median * 0},
        {"median": median * np.nan},
    ):
        fields = {"column_gene": column_gene, "token": token, "median": median} | wrong
        with pytest.raises(KernelError):
            RankGenes(**fields)
    with pytest.raises(KernelError, match="no room"):
        RankOptions(max_tokens=2, cls_token=2, eos_token=3)


def test_real_cells_bit_for_bit():
    """Whole-transcriptome cells, under random medians."""
    anndata = pytest.importorskip("anndata")
    cells = anndata.read_h5ad(shared("cells/sc_celseq2_raw.h5ad"))[:40].X
    genes = make_genes(
        cells.shape[1], 20_000, medians=np.random.default_rng(8).lognormal(0, 1, 20_000)
    )
    result = check(sp.csr_matrix(cells), genes, RankOptions(max_tokens=2048))
    assert (result.lengths == 2048).any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64])
@pytest.mark.parametrize("index", [np.int32, np.int64])
@pytest.mark.parametrize("kind", ["ascending", "descending", "repeated"])
def test_columns_that_are_one_gene_each_bit_for_bit(dtype, index, kind):
    """Ascending columns need no sums. Rows of every length modulo a vector, and of both sorts."""
    draw = np.random.default_rng(9)
    columns = 4000
    genes = RankGenes(
        column_gene=np.where(draw.random(columns) < 0.9, draw.permutation(columns), -1).astype(
            np.int32
        ),
        token=draw.permutation(columns).astype(np.int32),
        median=draw.choice([0.5, 1.0, 1.5, 3.3, 5e-324, 1e300], columns),
    )
    assert genes.distinct_columns is not None
    rows = [
        np.sort(draw.permutation(columns)[:n]) for n in (*range(36), 256, 257, 1700, 1701, 4000)
    ]
    if kind == "descending":
        rows = [row[::-1] for row in rows]
    if kind == "repeated":  # the last two entries are of one column
        rows = [np.concatenate([row, row[-1:]]) for row in rows]
    lengths = [len(row) for row in rows]
    values = draw.poisson(2, sum(lengths)).astype(dtype)
    counts = sp.csr_matrix(
        (values, np.concatenate(rows).astype(index), np.cumsum([0, *lengths]).astype(index)),
        shape=(len(rows), columns),
    )
    counts.indices, counts.indptr = counts.indices.astype(index), counts.indptr.astype(index)
    for max_tokens in (2, 100, 2048):
        check(counts, genes, RankOptions(max_tokens=max_tokens, cls_token=2))
    counts.data = values * dtype(20_000)  # beyond the integers that may be added in any order
    check(counts, genes, RankOptions(max_tokens=2048))
    if np.issubdtype(dtype, np.floating):
        for scale in (1.1, 1e-30, 1e30):
            counts.data = (values * scale).astype(dtype)
            check(counts, genes, RankOptions(max_tokens=2048))


def test_two_columns_of_one_gene_are_found():
    assert BY_HAND.distinct_columns is None
    one_each = RankGenes(
        column_gene=np.array([2, -1, 0, -1], np.int32), token=BY_HAND.token, median=BY_HAND.median
    )
    distinct = one_each.distinct_columns
    assert distinct is not None
    assert distinct.token.tolist() == [11, -1, 13, -1]
    assert distinct.median.tolist() == [1.0, 1.0, 1.0, 1.0]
