"""What a matrix holds, by its values: every kind that is taken, and every one that is refused."""

from __future__ import annotations

import re

import numpy as np
import pytest
from make_cells import CELLS, GENES, counts, cp10k, tpm, z_scores

from c2t.runtime.cells.sparse_rows import dense_to_rows
from c2t.runtime.cells.values.judge import judge

WIDE, SEED = 600, 11


def kind(values, **stated):
    finding = judge(dense_to_rows(np.asarray(values, np.float32)), **stated)
    return finding.kind, finding.log_base


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (counts(), ("counts", None)),
        (counts() + (counts() > 0) * 1e-4, ("counts", None)),
        (np.log1p(cp10k(counts())), ("log1p", np.e)),
        (np.log1p(counts()), ("log1p", np.e)),
        (np.log2(1 + cp10k(counts())), ("log1p", 2.0)),
        (np.log10(1 + cp10k(counts())), ("log1p", 10.0)),
        (cp10k(counts()), ("proportional", None)),
        (cp10k(counts()) * 100, ("proportional", None)),
        (tpm(counts()), ("normalized", None)),
        (np.rint(tpm(counts())), ("normalized", None)),
        (z_scores(counts()), ("scaled", None)),
        (np.zeros((5, 4)), ("nothing", None)),
        (np.full((5, 4), np.nan), ("nothing", None)),
        (np.zeros((0, 4)), ("nothing", None)),
    ],
)
def test_values_are_judged_by_themselves(values, expected):
    assert kind(values) == expected


def test_one_bad_cell_does_not_make_counts_into_something_else():
    for bad in (np.nan, np.inf, -3):
        values = counts()
        values[5, 3] = bad
        assert kind(values) == ("counts", None)


def test_logarithm_that_the_file_states_is_not_believed():
    # No whole multiples, and no equal totals.
    rng = np.random.default_rng(0)
    values = np.log1p(counts() * rng.uniform(0.2, 3, counts().shape))
    assert kind(values) == ("normalized", None)
    assert kind(values, stated_base=np.e) == ("normalized", None)


def test_logarithm_that_the_file_states_is_believed_where_values_say_nothing():
    values = (counts() > 0) * np.arange(1, CELLS + 1)[:, None] / 7.3  # one value in each cell
    assert kind(values) == ("normalized", None)
    finding = judge(dense_to_rows(values), stated_base=2.0)
    assert (finding.kind, finding.log_base) == ("log1p", 2.0)
    assert "taken as the file states" in finding.warning


def test_equal_totals_under_the_logarithm_name_its_base():
    for base in (np.e, 2.0, 10.0):
        finding = judge(dense_to_rows(np.log1p(tpm(counts()) / 100) / np.log(base)))
        assert (finding.kind, finding.log_base) == ("normalized", base)
        assert "of normalized values that are not counts (such as TPM)" in finding.words


def test_counts_of_equal_totals_are_still_counts():
    # Cells thinned to the same depth: few distinct totals, but most genes counted once.
    rng = np.random.default_rng(1)
    shares = rng.dirichlet(np.full(GENES, 0.5), 40)
    values = np.stack([rng.multinomial(60, share) for share in shares])
    assert kind(values) == ("counts", None)


def test_presence_alone_is_warned_about():
    finding = judge(dense_to_rows((counts() > 0).astype(np.float32)))
    assert finding.kind == "counts"
    assert "all values are 0 or 1" in finding.warning


def wide(cells=60, genes=WIDE):
    """Counts [cells, genes] like those of real cells: most genes few, some many; depths differ."""
    rng = np.random.default_rng(SEED)
    means = np.sort(rng.lognormal(-0.5, 1.6, genes))
    return rng.poisson(means * rng.lognormal(0, 0.4, (cells, 1)) * rng.lognormal(0, 0.3, genes))


def log_of(values, base=np.e):
    return np.log1p(values) / np.log(base)


def ambient(values, share):
    """Counts less a share of the profile of all cells together."""
    profile = values.sum(axis=0) / values.sum()
    return np.maximum(values - share * values.sum(axis=1, keepdims=True) * profile, 0)


def shared_reads(values, share):
    """Counts of which some were divided between genes."""
    rng = np.random.default_rng(SEED)
    return np.where(rng.random(values.shape) < share, values * rng.uniform(0.2, 1), values)


@pytest.mark.parametrize("base", [np.e, 2.0, 10.0])
@pytest.mark.parametrize("total", [None, 1, 100, 1e4, 1e6])
def test_base_is_found_by_the_fit_whatever_the_total(base, total):
    values = wide() if total is None else cp10k(wide()) / 1e4 * total
    found, log_base = kind(log_of(values, base), stated_base=3.0)
    # Logarithms of small fractions are the fractions themselves, but for a factor.
    assert (found, log_base) == ("log1p", base) or (total == 1 and found == "proportional")


@pytest.mark.parametrize("total", [1, 10, 100, 1e4, 1e6])
def test_scaled_counts_are_not_taken_for_logarithms(total):
    assert kind(cp10k(wide()) / 1e4 * total) == ("proportional", None)
    assert kind(cp10k(wide()) / 1e4 * total, stated_base=np.e) == ("proportional", None)


def test_grid_is_seen_through_rounding():
    logged = log_of(cp10k(wide()))
    assert kind(logged.astype(np.float16)) == ("log1p", np.e)
    assert kind(logged.round(3)) == ("log1p", np.e)
    assert kind(logged.round(2)) == ("log1p", np.e)


@pytest.mark.parametrize("change", [lambda v: ambient(v, 0.05), lambda v: shared_reads(v, 0.2)])
def test_corrected_counts_and_their_logarithms_are_taken_with_a_warning(change):
    values = change(wide())
    finding = judge(dense_to_rows(values))
    assert (finding.kind, "corrected counts" in finding.warning) == ("corrected", True)
    for base in (np.e, 2.0):
        finding = judge(dense_to_rows(log_of(cp10k(values), base)))
        assert (finding.kind, finding.log_base) == ("log1p", base)
        assert "corrected counts" in finding.warning


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda v: v + 1, "counts plus 1"),
        (lambda v: log_of(cp10k(v)) + 1, "with 1 added"),
        (lambda v: np.log2(cp10k(v) + 0.1), "with -3.322 added"),
        (lambda v: np.floor(log_of(cp10k(v))), "rounded logarithms"),
        (lambda v: np.rint(log_of(cp10k(v))), "rounded logarithms"),
        (lambda v: np.rint(log_of(cp10k(v) * 100, 2)), "rounded logarithms"),
        (lambda v: log_of(log_of(cp10k(v))), "log1p was applied twice"),
        (lambda v: np.sqrt(cp10k(v)), "square roots of counts"),
        (lambda v: np.sqrt(v), "square roots of counts"),
        (lambda v: log_of(v) / (log_of(v).std(axis=0) + 1e-9), "standard deviation of their gene"),
        (lambda v: smoothed(cp10k(v)), "imputed"),
        (lambda v: smoothed(log_of(cp10k(v))), "imputed"),
        (lambda v: cp10k(smoothed(v)) / 1e4, "imputed"),
        (lambda v: np.rint(cp10k(v)), "rounded to whole numbers"),
        (lambda v: np.rint(tpm(v)), "rounded to whole numbers"),
        (lambda v: np.rint(tpm(v))[:3], "rounded to whole numbers"),
        (lambda v: np.rint(tpm(v))[:1], "rounded to whole numbers"),
        (lambda v: v / np.random.default_rng(1).lognormal(1, 0.8, WIDE), "not counts"),
        (lambda v: log_of(v) - 0.2 * (np.random.default_rng(1).random(v.shape) < 0.05), "negative"),
    ],
)
@pytest.mark.parametrize("stated", [None, np.e])
def test_what_has_lost_the_order_is_refused_by_name(make, words, stated):
    finding = judge(dense_to_rows(np.asarray(make(wide()), np.float32)), stated_base=stated)
    assert finding.kind in ("normalized", "scaled")
    assert finding.cell is None
    assert words in finding.description


def smoothed(values):
    """Each cell mixed with those that are like it."""
    weights = np.exp(6 * np.corrcoef(values))
    return 0.5 * values + 0.5 * (weights / weights.sum(axis=1, keepdims=True)) @ values


def test_few_cells_of_whole_numbers_are_doubted():
    values = np.rint(wide(4) * 37.0 + (wide(4) > 0) * 2)
    finding = judge(dense_to_rows(values))
    assert (finding.kind, "only 4 cells" in finding.warning) == ("counts", True)
    values = np.floor(log_of(cp10k(wide(4, genes=3000))))
    finding = judge(dense_to_rows(values))
    assert (finding.kind, "rounded logarithms" in finding.warning) == ("counts", True)


def test_cells_of_rounded_lengths_among_counts_are_doubted():
    values = wide(genes=3000).astype(float)
    assert judge(dense_to_rows(values)).warning == ""
    values[::4] = np.rint(values[::4] * np.random.default_rng(1).lognormal(0.8, 0.8, 3000))
    finding = judge(dense_to_rows(values))
    assert finding.kind == "counts"
    seen = re.match(r"in (\d+) of 60 cells looked at, rare genes are seldom", finding.warning)
    assert 10 <= int(seen[1]) <= 15


def test_cells_of_corrected_counts_among_logarithms_are_told():
    values = wide().astype(float)
    values[::3] = ambient(values, 0.05)[::3]
    finding = judge(dense_to_rows(log_of(cp10k(values))))
    assert (finding.kind, finding.log_base) == ("log1p", np.e)
    seen = re.match(r"(\d+) of the cells looked at come from corrected counts", finding.warning)
    assert 15 <= int(seen[1]) <= 20


def test_counts_of_a_panel_where_no_gene_is_missing_are_counts():
    values = np.random.default_rng(SEED).poisson(9, (40, 60)) + 1
    assert kind(values) == ("counts", None)


def test_equal_cells_are_counts():
    assert kind(np.repeat(wide(1), 30, axis=0)) == ("counts", None)
