"""Each cell is checked as it is read: odd ones get an error, genes that a data set lacks do not."""

from __future__ import annotations

import numpy as np
import pytest
from cell_libraries import sp
from make_cells import adata, counts, read, tokens, write
from shared_data import shared

from c2t.runtime.cells.count_detection import choose_counts
from c2t.runtime.cells.formats.store import open_store
from c2t.runtime.cells.sparse_rows import concatenate_rows, dense_to_rows, portions
from c2t.runtime.cells.values.cell_check import CellCheck, absent_columns, drop_absent
from c2t.runtime.cells.values.judge import judge

GENES, SEED = 4000, 3
CHANGES = {
    "raw counts": lambda v: v,
    "counts scaled cell by cell": lambda v: v / v.sum(axis=1, keepdims=True) * 1e4,
    "log1p of counts": lambda v: np.log1p(v / v.sum(axis=1, keepdims=True) * 1e4),
    "log1p of counts (base 2)": lambda v: np.log2(1 + v / v.sum(axis=1, keepdims=True) * 1e4),
    "log1p of counts (base 10)": lambda v: np.log10(1 + v / v.sum(axis=1, keepdims=True) * 1e4),
    "logarithms of logarithms of counts (log1p was applied twice)": lambda v: np.log1p(
        np.log1p(v / v.sum(axis=1, keepdims=True) * 1e4)
    ),
    "square roots of counts": np.sqrt,
    "rounded logarithms": lambda v: np.floor(np.log1p(v / v.sum(axis=1, keepdims=True) * 1e4)),
    "corrected counts (not whole, as SoupX, DecontX or EM give)": lambda v: np.maximum(
        v - 0.05 * v.sum(axis=1, keepdims=True) * v.sum(axis=0) / v.sum(), 0
    ),
    "values that are not multiples of a count (by gene length, imputed, or scaled)": lambda v: (
        v / np.random.default_rng(SEED).lognormal(1, 0.8, GENES)
    ),
    "values for every gene (imputed, or a number was added to each)": lambda v: v + 1,
}
TAKEN = tuple(CHANGES)[:5]


def cells(number=60):
    """Counts like those of real cells."""
    rng = np.random.default_rng(SEED)
    means = rng.lognormal(-2.2, 1.7, GENES)
    means = means * rng.lognormal(0, 0.4, (number, 1)) * rng.lognormal(0, 0.3, GENES)
    return rng.poisson(means).astype(np.float64)


def check_of(values):
    rows = dense_to_rows(np.asarray(values, np.float32))
    return CellCheck(judge(rows), rows, absent_columns(rows), judged=True)


@pytest.mark.parametrize("others", TAKEN)
@pytest.mark.parametrize("odd", CHANGES)
def test_odd_cell_is_named_and_so_are_the_others(others, odd):
    values = CHANGES[others](cells())
    check = check_of(values)
    assert check.errors(dense_to_rows(values.astype(np.float32))) == {}
    if odd == others:
        return
    values[7] = CHANGES[odd](cells())[7]
    rows = dense_to_rows(values.astype(np.float32))
    if odd == "rounded logarithms" and others != "raw counts":
        odd = "raw counts"  # whole numbers, which is odd enough
    if odd == "values for every gene (imputed, or a number was added to each)":
        others = judge(rows).cell.words
    if others != "raw counts" and odd.startswith("corrected counts") and "log" not in others:
        return  # beside the grid, but in the right order
    assert check.errors(rows) == {7: f"cell looks like {odd}, but the others hold {others}"}
    assert f"1 of 60: cell looks like {odd}" in check.warning(rows)


def test_cells_of_rounded_tpm_among_counts_are_odd():
    values = cells()
    lengths = np.random.default_rng(SEED).lognormal(0.8, 0.8, GENES)
    per_length = values / lengths
    values[::6] = np.rint(per_length / per_length.sum(axis=1, keepdims=True) * 1e6)[::6]
    errors = check_of(values).errors(dense_to_rows(values.astype(np.float32)))
    words = (
        "cell looks like values scaled to a total and rounded (such as TPM), but the others hold "
    )
    assert errors == dict.fromkeys(range(0, 60, 6), words + "raw counts")


def test_cells_of_counts_may_hold_a_few_divided_reads():
    values, rng = cells(), np.random.default_rng(SEED)
    check = check_of(values)
    for share, odd in ((0.01, []), (0.06, []), (0.5, [7])):
        mixed = values.copy()
        divided = rng.random(GENES) < share
        mixed[7] = np.where(divided, mixed[7] * rng.uniform(0.2, 0.9, GENES), mixed[7])
        assert list(check.errors(dense_to_rows(mixed.astype(np.float32)))) == odd


def test_cells_beyond_the_sample_are_judged_too(tmp_path):
    number = 1500
    values = np.tile(counts(), (38, 1))[:number]
    rng = np.random.default_rng(SEED)
    values = rng.poisson(values * 2.0 + 0.5).astype(np.float32)
    path = write(tmp_path / "cells.h5ad", adata(sp.csr_matrix(values)))
    with read(path) as reader:
        clean = tokens(reader)
    store = open_store(path)
    seen = {tuple(row) for row in rows_of(choose_counts(store).sample)}
    store.close()
    odd = next(cell for cell in range(700, number) if tuple(values[cell]) not in seen)
    values[odd] = np.log1p(values[odd])
    with read(write(tmp_path / "mixed.h5ad", adata(sp.csr_matrix(values)))) as reader:
        assert reader.warnings == ()
        chunks = list(reader.chunks(chunk_cells=100))
    errors = [error for chunk in chunks for error in chunk.errors]
    assert {cell: error for cell, error in enumerate(errors) if error} == {
        odd: "cell looks like log1p of counts, but the others hold raw counts"
    }
    rows = [row.tolist() for chunk in chunks for row in chunk.tokens]
    assert rows[odd] == []
    assert rows[:odd] + rows[odd + 1 :] == clean[:odd] + clean[odd + 1 :]
    assert [int(n) for chunk in chunks for n in chunk.genes_used][odd] == 0


def rows_of(rows):
    return sp.csr_matrix((rows.data, rows.indices, rows.indptr), rows.shape).toarray()


def test_earlier_errors_stay():
    values = counts()
    values[3] = np.log1p(values[3])
    values[3, 5] = np.nan
    (chunk,) = read(adata(values)).chunks()
    assert chunk.errors[3] == "cell has 1 NaN value"


def test_what_the_user_says_is_not_checked():
    values = counts()
    values[3] = np.log1p(values[3])
    (chunk,) = read(adata(values), values="counts").chunks()
    assert chunk.errors[3] is None


@pytest.mark.parametrize(
    "name",
    [
        "pbmc3k_labelled_raw",
        "kang18_lupus_6donors_raw",
        "fetal_forebrain_2236x2000_raw",
        "sc_celseq2_raw",
        "glioblastoma_5000x300_raw",
    ],
)
@pytest.mark.parametrize("change", [None, np.log1p, lambda v: np.log2(1 + v)])
def test_no_cell_of_real_files_is_odd(name, change):
    store = open_store(shared(f"cells/{name}.h5ad"))
    chosen = choose_counts(store)
    number = min(2000, chosen.matrix.shape[0])
    parts = [chosen.matrix.rows(*part) for part in portions(chosen.matrix, 0, number)]
    store.close()
    rows = concatenate_rows(parts, chosen.matrix.shape[1])
    if change is not None:
        total = np.add.reduceat(rows.data, rows.indptr[:-1].clip(max=len(rows.data) - 1))
        scaled = rows.data * np.repeat(1e4 / np.maximum(total, 1), np.diff(rows.indptr))
        rows = type(rows)(rows.indptr, rows.indices, change(scaled).astype("f4"), rows.columns)
    assert CellCheck(judge(rows), rows, absent_columns(rows), judged=True).errors(rows) == {}


def test_genes_that_a_data_set_lacks_are_absent():
    values = counts()
    values[::2, 10:20] = np.nan
    values[1::2, 30:40] = np.nan
    expected = np.nan_to_num(values)
    for x in (values, sp.csr_matrix(values)):
        with read(adata(x)) as reader:
            (warning,) = reader.warnings
            assert warning.startswith("20 genes of X are missing (NaN) in some or all cells, as")
            assert warning.endswith("they are taken as absent there")
            assert tokens(reader) == tokens(read(adata(expected)))


def test_nan_here_and_there_stays_an_error():
    values = counts()
    rng = np.random.default_rng(SEED)
    hit = [3, 8, 20]
    for cell in hit:
        values[cell, rng.choice(80, 4, replace=False)] = np.nan
    with read(adata(values)) as reader:
        assert reader.warnings == ()
        (chunk,) = reader.chunks()
    assert [cell for cell, error in enumerate(chunk.errors) if error] == hit
    assert {chunk.errors[cell] for cell in hit} == {"cell has 4 NaN values"}


def test_cell_of_nothing_but_nan_keeps_its_error():
    values = np.full((3, 4), np.nan, np.float32)
    rows = dense_to_rows(values)
    assert not absent_columns(rows).any()
    assert drop_absent(rows, np.ones(4, bool)).indptr.tolist() == rows.indptr.tolist()
