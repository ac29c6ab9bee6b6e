"""Gene embedding against its definition, for every storage type and output type."""

from dataclasses import replace

import numpy as np
import pytest
from tolerance import FLOAT32, worst_difference

from c2t.kernels.dtypes import bfloat16_bits
from c2t.kernels.errors import KernelError
from c2t.kernels.gene_embedding.cpu import embed_genes
from c2t.kernels.gene_embedding.definition import embed_genes_reference
from c2t.kernels.gene_embedding.tables import (
    GeneEmbeddingTables,
    convert_tables,
    load_gene_embedding_tables,
)

HIDDEN_SIZES = (1, 7, 8, 63, 64, 256, 768, 1152)
VOCABULARY = 300
POSITIONS = 70
OUT_SCALE = 0.03
# The last place of a dtype: a value may lie between two, and float32's own error then decides.
LAST_PLACE = {"float32": FLOAT32, "float16": 2.0**-10, "uint16": 2.0**-7}


def make_tables(hidden_size, *, seed=0, token_type=True):
    draw = np.random.default_rng(seed)

    def normal(*shape):
        return draw.normal(size=shape).astype(np.float32)

    return GeneEmbeddingTables(
        word=normal(VOCABULARY, hidden_size),
        position=normal(POSITIONS, hidden_size),
        token_type=normal(hidden_size) if token_type else None,
        gamma=normal(hidden_size),
        beta=normal(hidden_size),
    )


def make_cells(*, seed=0):
    """Full, empty and short cells, with the table's first and last token; rubbish follows each."""
    tokens = np.random.default_rng(seed).integers(0, VOCABULARY, (5, 61)).astype(np.int32)
    lengths = np.array([61, 0, 1, 17, 60], np.int32)
    tokens[3, :17] = [0, VOCABULARY - 1] * 8 + [0]
    for cell, length in enumerate(lengths):
        tokens[cell, length:] = np.iinfo(np.int32).max
    return tokens, lengths


def poisoned(shape, dtype, *, offset=0):
    """A buffer full of rubbish that begins `offset` elements after an aligned address."""
    size = int(np.prod(shape)) + offset
    return (
        np.full(size * np.dtype(dtype).itemsize, 0xAB, np.uint8).view(dtype)[offset:].reshape(shape)
    )


def check(tokens, lengths, tables, dtype, **options):
    """Compare with the definition, as exactly as the dtype allows; padding must be zero."""
    scale = OUT_SCALE if dtype == "int8" else None
    shape = (*tokens.shape, tables.hidden_size)
    result = embed_genes(
        tokens, lengths, tables, poisoned(shape, dtype, offset=3), out_scale=scale, **options
    )
    expected = embed_genes_reference(
        tokens, lengths, tables, poisoned(shape, dtype), out_scale=scale
    )
    for cell, length in enumerate(lengths):
        assert not result[cell, length:].any()
    if dtype == "int8":
        steps = np.abs(result.astype(int) - expected)
        assert steps.max(initial=0) <= 1
        assert (steps > 0).mean() < 1e-3
        return
    if dtype == "uint16":
        result, expected = (
            (a.astype(np.uint32) << 16).view(np.float32) for a in (result, expected)
        )
    assert worst_difference(result, expected) <= LAST_PLACE[dtype]


@pytest.mark.parametrize("dtype", ["float32", "float16", "uint16", "int8"])
@pytest.mark.parametrize("storage", ["float32", "float16", "int8"])
@pytest.mark.parametrize("hidden_size", HIDDEN_SIZES)
def test_agrees_with_the_definition(hidden_size, storage, dtype):
    tables = convert_tables(make_tables(hidden_size), np.dtype(storage))
    check(*make_cells(), tables, dtype)


def test_agrees_without_token_types():
    check(*make_cells(), make_tables(64, token_type=False), "float32")


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_do_not_change_a_bit(threads):
    tables = make_tables(768)
    tokens, lengths = make_cells()
    tokens, lengths = np.tile(tokens, (8, 1)), np.tile(lengths, 8)
    one = embed_genes(tokens, lengths, tables, np.empty((40, 61, 768), np.float32), threads=1)
    many = embed_genes(
        tokens, lengths, tables, np.empty((40, 61, 768), np.float32), threads=threads
    )
    assert one.tobytes() == many.tobytes()


@pytest.mark.parametrize("hidden_size", [7, 64, 768])
@pytest.mark.parametrize("factor", [1e-42, 1e-20, 1e-6, 1e6, 1e15])
def test_agrees_for_tiny_and_huge_tables(hidden_size, factor):
    tables = make_tables(hidden_size)
    tables = replace(
        tables,
        word=(tables.word * np.float64(factor)).astype(np.float32),
        position=(tables.position * np.float64(factor)).astype(np.float32),
        token_type=None,
    )
    check(*make_cells(), tables, "float32")


@pytest.mark.parametrize("hidden_size", HIDDEN_SIZES)
def test_rows_of_equal_values_become_beta(hidden_size):
    tables = make_tables(hidden_size, token_type=False)
    tables.word[:] = 1.3
    tables.position[:] = 0.7
    tokens, lengths = make_cells()
    result = embed_genes(tokens, lengths, tables, poisoned((5, 61, hidden_size), np.float32))
    expected = np.broadcast_to(tables.beta, (61, hidden_size))
    assert worst_difference(result[0], expected) <= FLOAT32


def test_halves_round_as_numpy_rounds_them():
    """Values of every exponent, subnormals, ties and overflow: beta alone, as gamma is zero."""
    bits = np.random.default_rng(0).integers(0, 2**32, 64 * 64, dtype=np.uint32)
    ties = (np.arange(64, dtype=np.uint32) << 12) + np.uint32(0x38800000 - (32 << 12))
    beta = np.concatenate([bits.view(np.float32), ties.view(np.float32)])
    beta[~np.isfinite(beta)] = 65520.0
    tables = replace(make_tables(len(beta), token_type=False), beta=beta, gamma=np.zeros_like(beta))
    tokens, lengths = np.zeros((1, 1), np.int32), np.ones(1, np.int32)
    shape = (1, 1, len(beta))
    half = embed_genes(tokens, lengths, tables, poisoned(shape, np.float16))[0, 0]
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(half, beta.astype(np.float16))
    bfloat = embed_genes(tokens, lengths, tables, poisoned(shape, np.uint16))[0, 0]
    np.testing.assert_array_equal(bfloat, bfloat16_bits(beta))


def test_int8_saturates_and_rounds_half_to_even():
    beta = np.array([1e9, -1e9, 200, -200, 127.4, -128.4, 0.5, 1.5, 2.5, -0.5, -1.5], np.float32)
    tables = replace(make_tables(11, token_type=False), beta=beta, gamma=np.zeros(11, np.float32))
    tokens, lengths = np.zeros((1, 1), np.int32), np.ones(1, np.int32)
    out = embed_genes(tokens, lengths, tables, poisoned((1, 1, 11), np.int8), out_scale=1.0)
    assert out[0, 0].tolist() == [127, -128, 127, -128, 127, -128, 0, 2, 2, 0, -2]


def test_no_cells_and_no_ranks():
    tables = make_tables(8)
    none = np.empty((0, 5), np.int32)
    out = embed_genes(none, np.empty(0, np.int32), tables, np.empty((0, 5, 8), np.float32))
    assert out.shape == (0, 5, 8)
    rankless = np.empty((3, 0), np.int32)
    out = embed_genes(rankless, np.zeros(3, np.int32), tables, np.empty((3, 0, 8), np.float32))
    assert out.shape == (3, 0, 8)


@pytest.mark.parametrize(
    ("token", "length", "message"),
    [
        (VOCABULARY, 61, "gene token 300 .cell 2, rank 5."),
        (-1, 61, "gene token -1 .cell 2, rank 5."),
        (0, 62, "lengths are 0 ... 62"),
        (0, -1, "lengths are -1"),
    ],
)
def test_what_lies_outside_raises_and_leaves_the_buffer(token, length, message):
    tokens, lengths = np.zeros((5, 61), np.int32), np.array([0, 0, length, 0, 0], np.int32)
    tokens[2, 5] = token
    out = poisoned((5, 61, 8), np.float32)
    with pytest.raises(KernelError, match=message):
        embed_genes(tokens, lengths, make_tables(8), out)
    assert (out.view(np.uint8) == 0xAB).all()


def test_more_ranks_than_positions_raise():
    tokens = np.zeros((1, POSITIONS + 1), np.int32)
    lengths = np.array([POSITIONS + 1], np.int32)
    out = np.empty((1, POSITIONS + 1, 8), np.float32)
    with pytest.raises(KernelError, match="71 tokens, the model has 70 positions"):
        embed_genes(tokens, lengths, make_tables(8), out)


@pytest.mark.parametrize(
    ("out", "scale"),
    [
        (np.empty((5, 61, 9), np.float32), None),
        (np.empty((5, 61, 8), np.float64), None),
        (np.empty((5, 61, 16), np.float32)[:, :, ::2], None),
        (np.empty((5, 61, 8), np.int8), None),
        (np.empty((5, 61, 8), np.int8), 0.0),
        (np.empty((5, 61, 8), np.float32), 1.0),
        (np.empty(5 * 61 * 32 + 1, np.uint8)[1:].view(np.float32).reshape(5, 61, 8), None),
    ],
)
def test_unfit_buffers_raise(out, scale):
    with pytest.raises(KernelError):
        embed_genes(*make_cells(), make_tables(8), out, out_scale=scale)


def test_tables_that_do_not_fit_raise():
    tables = make_tables(8)
    for wrong in (
        {"position": tables.position[:, :7].copy()},
        {"position": tables.position.astype(np.float16)},
        {"gamma": tables.gamma.astype(np.float64)},
        {"word_scale": np.ones(VOCABULARY, np.float32)},
        {"word": tables.word.astype(np.int8), "position": tables.position.astype(np.int8)},
    ):
        with pytest.raises(KernelError):
            replace(tables, **wrong)


def test_tables_are_read_from_the_bundles_file(tmp_path):
    from safetensors.numpy import save_file

    tables = make_tables(8)
    names = ("word", "position", "token_type", "gamma", "beta")
    path = tmp_path / "gene_embedding.safetensors"
    save_file({name: getattr(tables, name) for name in names}, path)
    loaded = load_gene_embedding_tables(path, epsilon=1e-5)
    assert loaded.epsilon == 1e-5
    for name in names:
        np.testing.assert_array_equal(getattr(loaded, name), getattr(tables, name))
    save_file({"word": tables.word}, path)
    with pytest.raises(KernelError, match="position, gamma, beta"):
        load_gene_embedding_tables(path)


def test_int8_tables_of_two_rows_written_out():
    word = np.array([[0, 0, 0, 0], [-2.54, 1.27, 0.01, 0.03]], np.float32)
    tables = GeneEmbeddingTables(
        word=word, position=word, token_type=None, gamma=word[0].copy(), beta=word[0].copy()
    )
    int8 = convert_tables(tables, np.dtype(np.int8))
    assert int8.word.tolist() == [[0, 0, 0, 0], [-127, 64, 0, 2]]  # 63.5 and 1.5 to even
    np.testing.assert_allclose(int8.word_scale, [1.0, 0.02])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no tensors",
        (1 << 40).to_bytes(8, "little") + b"{}",
        (4).to_bytes(8, "little") + b"\xff\xfe{}",
    ],
)
def test_a_damaged_file_of_tables(tmp_path, content):
    path = tmp_path / "gene_embedding.safetensors"
    path.write_bytes(content)
    with pytest.raises(KernelError, match="cannot be read") as caught:
        load_gene_embedding_tables(path)
    assert caught.value.hint == "export the bundle again"


@pytest.mark.parametrize("name", ["word", "position"])
def test_a_table_without_rows(tmp_path, name):
    from safetensors.numpy import save_file

    tables = {"word": (3, 4), "position": (2, 4), "gamma": (4,), "beta": (4,)}
    stored = {key: np.zeros(shape, np.float32) for key, shape in tables.items()}
    stored[name] = np.zeros((), np.float32)
    save_file(stored, tmp_path / "t.safetensors")
    with pytest.raises(KernelError, match=f"`{name}` has shape"):
        load_gene_embedding_tables(tmp_path / "t.safetensors")
