"""Token rows and choices on the CPU against their definitions, whatever implementation runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from tolerance import FLOAT32_FEW

from c2t.kernels.native import ISA_NUMBER, native_kernels
from c2t.kernels.tokens import cpu
from c2t.kernels.tokens.cpu import LogitRows, TokenRows
from c2t.kernels.tokens.definition import choose_tokens_reference, token_rows_reference

# A vector of any width and more, whole blocks of vectors, what lies behind them; and so many
# numbers that the library runs without the interpreter lock.
VOCABULARIES = (1, 15, 256, 257, 1000, 3 * 256 + 16, 10_007)
ROWS = 7


@pytest.fixture(params=["numpy", *ISA_NUMBER])
def _implementation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """One implementation after the other chooses."""
    name, kernels = request.param, native_kernels()
    number, chosen = ISA_NUMBER.get(name, 0), None
    if name != "numpy":
        if kernels is None or not kernels.library.c2t_isa_mask() >> number & 1 or name == "neon":
            pytest.skip(f"{name} does not choose here")
        chosen = replace(kernels, isa=number)
    monkeypatch.setattr(cpu, "_choosing_kernels", lambda: chosen)


def table(dtype: str) -> tuple[np.ndarray, np.ndarray | None]:
    draw = np.random.default_rng(1)
    vocabulary, width = 40, 19
    if dtype != "int8":
        return draw.normal(size=(vocabulary, width)).astype(dtype), None
    values = draw.integers(-127, 128, (vocabulary, width)).astype(np.int8)
    return values, draw.random(vocabulary).astype(np.float32)


def unaligned(values: np.ndarray) -> np.ndarray:
    """The same values where a file may have them: NumPy looks them up."""
    return np.frombuffer(b"x" + values.tobytes(), values.dtype, offset=1).reshape(values.shape)


@pytest.mark.parametrize("place", [np.asarray, unaligned])
@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_rows_have_the_bits_of_the_definition(
    dtype: str, place: Callable[[np.ndarray], np.ndarray]
) -> None:
    values, scale = table(dtype)
    values = place(values)
    given = np.full((5, 19), 7, np.float32)
    token_ids, out = np.array([3, -1, 39, 0, -1], np.int32), given.copy()
    rows = TokenRows(token_ids, values, scale, out)
    for ids in ([3, -1, 39, 0, -1], [1, 2, 3, 4, 5]):
        token_ids[:] = ids
        expected = token_rows_reference(token_ids, values, scale, out.copy(), np.float32)
        rows.run()
        np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("place", [np.asarray, unaligned])
def test_a_token_that_is_not_in_the_table_is_refused(
    place: Callable[[np.ndarray], np.ndarray],
) -> None:
    values = place(table("float32")[0])
    rows = TokenRows(np.array([40], np.int32), values, None, np.zeros((1, 19), np.float32))
    with pytest.raises(IndexError, match="40"):
        rows.run()


def drawn(vocabulary: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(vocabulary)
    logits = (draw.normal(size=(ROWS, vocabulary)) * 4).astype(np.float32)
    banned = draw.integers(-1, vocabulary, (ROWS, 3)).astype(np.int32)
    banned[::2, 0] = logits[::2].argmax(axis=1)
    return logits, banned


@pytest.mark.usefixtures("_implementation")
@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_choices_are_those_of_the_definition(vocabulary: int) -> None:
    logits, banned = drawn(vocabulary)
    rows = LogitRows(logits)
    for bans in (banned, banned[:, :0]):
        tokens, probability, _ = choose_tokens_reference(logits, bans)
        rows.choose(bans)
        assert rows.tokens.tolist() == tokens.tolist()
        np.testing.assert_array_equal(rows.top, logits.max(axis=1))
        named = [5, 0, 3]
        np.testing.assert_allclose(
            rows.probabilities(named), probability[named], rtol=FLOAT32_FEW, atol=1e-30
        )


@pytest.mark.usefixtures("_implementation")
@pytest.mark.parametrize("vocabulary", [300, 1000])
def test_the_first_of_equal_logits_is_chosen(vocabulary: int) -> None:
    logits = np.zeros((2, vocabulary), np.float32)
    logits[1, [2, 17, 280]] = 1
    rows = LogitRows(logits)
    rows.choose(np.array([[-1, -1], [2, -1]], np.int32))
    assert rows.tokens.tolist() == [0, 17]


@pytest.mark.usefixtures("_implementation")
@pytest.mark.parametrize("place", [0, 20, 299])
@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite(odd: float, place: int) -> None:
    logits = np.random.default_rng(0).normal(size=(2, 300)).astype(np.float32)
    logits[1, place] = odd
    tokens, _, finite = choose_tokens_reference(logits, np.empty((2, 0), np.int32))
    rows = LogitRows(logits)
    rows.choose(np.empty((2, 0), np.int32))
    assert np.isfinite(rows.top).tolist() == finite.tolist() == [True, odd == -np.inf]
    assert rows.tokens[finite].tolist() == tokens[finite].tolist()


@pytest.mark.usefixtures("_implementation")
def test_a_row_is_chosen_from_alike_alone_and_among_others() -> None:
    logits, banned = drawn(1000)
    together = LogitRows(logits)
    together.choose(banned)
    probabilities = together.probabilities(range(ROWS))
    for row in range(ROWS):
        alone = LogitRows(logits[[row]])
        alone.choose(banned[[row]])
        assert alone.tokens[0] == together.tokens[row]
        assert alone.probabilities([0])[0] == probabilities[row]
