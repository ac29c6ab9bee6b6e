"""INT8 attention against its definition, and the definition against exact attention."""

import numpy as np
import pytest

from c2t.kernels.attention.cpu import HEAD_SIZE_MAX, attention
from c2t.kernels.attention.definition import BLOCK, attention_reference
from c2t.kernels.errors import KernelError

# Differences, as a share of the largest value less the values' mean. Implementations sum in
# different orders, so a number may be rounded to the integer beside it: one step of 255.
SAME = 2 / 255
EXACT = 0.02  # of a result against exact attention, for rows of any kind
HEADS = 3


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def make(queries, keys, size, *, batch=1, heads=HEADS):
    shapes = [(batch, rows, heads * size) for rows in (queries, keys, keys)]
    return [normal(*shape, seed=seed) for seed, shape in enumerate(shapes)]


def exact_attention(query, key, value, *, heads, scale):
    """In float64, with the matrix of scores."""
    q, k, v = (
        array.reshape(*array.shape[:2], heads, -1).transpose(0, 2, 1, 3).astype(np.float64)
        for array in (query, key, value)
    )
    scores = q @ k.transpose(0, 1, 3, 2) * scale
    p = np.exp(scores - scores.max(axis=-1, keepdims=True))
    mixed = p / p.sum(axis=-1, keepdims=True) @ v
    return mixed.transpose(0, 2, 1, 3).reshape(query.shape)


def worst(found, expected, value):
    spread = np.abs(value - value.mean(axis=1, keepdims=True)).max()
    return np.abs(found - expected).max() / max(spread, 1e-30)


@pytest.mark.parametrize("size", [1, 7, 20, 64, 100, HEAD_SIZE_MAX])
@pytest.mark.parametrize("keys", [1, 2, 9, BLOCK - 1, BLOCK, BLOCK + 1, 300])
def test_it_computes_what_the_definition_says(size, keys):
    query, key, value = make(37, keys, size, batch=2)
    scale = size**-0.5
    found = attention(query, key, value, heads=HEADS, scale=scale)
    expected = attention_reference(query, key, value, heads=HEADS, scale=scale)
    assert worst(found, expected, value) <= SAME


def test_as_many_genes_as_geneformer_takes():
    query, key, value = make(5, 4096, 64, heads=1)
    found = attention(query, key, value, heads=1, scale=0.125)
    assert worst(found, attention_reference(query, key, value, heads=1, scale=0.125), value) <= SAME
    assert worst(found, exact_attention(query, key, value, heads=1, scale=0.125), value) <= EXACT


def plain(query, key, value):
    return query, key, value


def peaked(query, key, value):
    """The softmax of each query is one-hot: it looks for one of the keys."""
    return 5 * key[:, : query.shape[1]], key, value


def shifted(query, key, value):
    """All keys and values lie far from zero, on the same side."""
    return query, key + 100, value - 50


def outliers(query, key, value):
    """One column of all keys is huge, a few keys are large, and so are a few values."""
    key, value = key.copy(), value.copy()
    key[:, ::50] *= 3
    key[:, :, ::64] += 200
    value[:, 7::90] *= 30
    return query, key, value


def sink(query, key, value):
    """One key takes a third of the weight of every query; the others share the rest evenly."""
    heads = query.reshape(*query.shape[:2], HEADS, -1)
    direction = (heads / np.linalg.norm(heads, axis=3, keepdims=True))[:, :1].reshape(1, 1, -1)
    key = key * np.float32(0.01)
    key[:, 0] = 46 * direction  # 0.125 * 46 = log(700 / 2), nearly
    return direction + np.float32(0.01) * query, key, value


def even(query, key, value):
    """No key differs from another."""
    return query, np.zeros_like(key), value


@pytest.mark.parametrize(
    ("kind", "limit"),
    [
        (plain, 0.0015),
        (peaked, 0.007),
        (shifted, 0.0015),
        (outliers, 0.004),
        (sink, 0.012),
        (even, 0.0005),
    ],
)
def test_it_lies_near_exact_attention(kind, limit):
    """The limits are twice what was found."""
    query, key, value = kind(*make(50, 700, 64))
    found = attention(query, key, value, heads=HEADS, scale=0.125)
    expected = exact_attention(query, key, value, heads=HEADS, scale=0.125)
    assert worst(found, expected, value) <= limit


def test_a_row_does_not_see_its_neighbours_nor_what_is_behind_its_keys():
    query, key, value = make(70, 300, 64, batch=3)
    lengths = np.array([300, 129, 0], np.int64)
    for row, length in enumerate(lengths):  # what is behind must not even be read as numbers
        key[row, length:], value[row, length:] = np.nan, np.inf
    together = attention(query, key, value, heads=HEADS, scale=0.1, key_lengths=lengths)
    for row, length in enumerate(lengths[:2]):
        alone = attention(
            query[row : row + 1, 3:40],
            key[row : row + 1, :length],
            value[row : row + 1, :length],
            heads=HEADS,
            scale=0.1,
        )
        assert np.array_equal(together[row, 3:40], alone[0])
    assert not together[2].any()  # nothing to look at


def test_of_one_key_the_result_is_its_value():
    query, key, value = make(3, 1, 64)
    found = attention(query, key, value, heads=HEADS, scale=0.125)
    assert np.array_equal(found, np.broadcast_to(value, found.shape))


def test_what_is_no_number_stays_none():
    query, key, value = make(40, 200, 20)
    query[0, 5, 21] = np.nan  # head 1
    query[0, 6, 45] = np.inf  # head 2
    key[0, 150, 3] = -np.inf  # head 0
    found = attention(query, key, value, heads=HEADS, scale=0.2)
    wrong = np.zeros(found.shape, bool)
    wrong[0, 5, 20:40] = wrong[0, 6, 40:] = wrong[0, :, :20] = True
    assert np.array_equal(np.isnan(found), wrong)


def test_scores_beyond_all_numbers_are_no_result():
    query, key, value = make(9, 150, 20)
    with np.errstate(over="ignore", invalid="ignore"):  # of the definition
        found = attention(query * np.float32(1e25), key * np.float32(1e25), value, heads=3, scale=1)
    assert np.isnan(found).all()


@pytest.mark.parametrize("magnitude", [0, 1e-38, 1e-12, 1e12])
def test_very_small_and_large_numbers(magnitude):
    query, key, value = make(9, 150, 20)
    found = attention(query, key, value * np.float32(magnitude), heads=HEADS, scale=0.2)
    expected = exact_attention(query, key, value, heads=HEADS, scale=0.2) * magnitude
    if magnitude > 1e-30:
        assert worst(found / magnitude, expected / magnitude, value) <= EXACT
    else:
        assert np.abs(found).max() <= 1e-37
    # Zero queries, or keys that differ by too little to show: all keys weigh the same.
    small = attention(query * np.float32(1e-38), key, value, heads=HEADS, scale=0.2)
    assert worst(small, value.mean(axis=1, keepdims=True), value) <= EXACT


def test_no_queries_and_no_keys():
    query, key, value = make(4, 5, 20)
    assert attention(query[:, :0], key, value, heads=HEADS, scale=0.2).shape == (1, 0, 60)
    assert not attention(query, key[:, :0], value[:, :0], heads=HEADS, scale=0.2).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda q, k, v: ((q[0], k, v), {}), "queries, keys, values are"),
        (lambda q, k, v: ((q, k.astype(np.float64), v), {}), "float64"),
        (lambda q, k, v: ((q, k, v[:, 1:]), {}), "have shapes"),
        (lambda q, k, v: ((q, k[..., :30], v[..., :30]), {}), "have shapes"),
        (lambda q, k, v: ((q, k, v), {"heads": 7}), "7 heads over 60 columns"),
        (lambda q, k, v: ((q, k, v), {"scale": 0.0}), "the scale is 0.0"),
        (lambda q, k, v: ((q, k, v), {"key_lengths": np.array([6])}), r"6 \.\.\. 6 of 5 keys"),
        (lambda q, k, v: ((q, k, v), {"key_lengths": np.zeros(2, np.int64)}), r"\(2,\)"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    arrays, options = change(*make(4, 5, 20))
    with pytest.raises(KernelError, match=message):
        attention(*arrays, **({"heads": HEADS, "scale": 0.2} | options))


@pytest.mark.parametrize("keys", [3, BLOCK + 5, 301])
@pytest.mark.parametrize("size", [1e-3, 1, 1e4, 1e8])
def test_queries_of_any_size_find_the_same_keys(keys, size):
    """Zeros weigh all keys alike, those behind the last one excepted; huge ones take the best."""
    query, key, value = make(20, keys, 16)
    query *= np.float32(size)
    query[:, 3] = 0
    found = attention(query, key, value, heads=HEADS, scale=0.25)
    expected = attention_reference(query, key, value, heads=HEADS, scale=0.25)
    assert worst(found, expected, value) <= SAME
    assert np.abs(found[:, 3] - value.mean(axis=1)).max() < 0.02
