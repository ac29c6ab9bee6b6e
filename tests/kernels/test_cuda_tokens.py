"""The CUDA sources around a decoder step, emulated on the host, against their definitions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from emulation.device import EmulatedDevice
from fakes.cuda_driver import FakeDriver
from tolerance import FLOAT32

from c2t.kernels.cuda.memory import DeviceArray
from c2t.kernels.tokens.cuda import (
    CHOICE_PIECE,
    DeviceTokenTable,
    choice_scratch_bytes,
    launch_choose_tokens,
    launch_token_rows,
)
from c2t.kernels.tokens.definition import choose_tokens_reference, token_rows_reference
from c2t.runtime.engines.cpu.logit_choices import LogitChoices

Choice = tuple[np.ndarray, np.ndarray, np.ndarray]


@pytest.mark.parametrize(
    ("storage", "dtype"), [("float32", "float32"), ("int8", "float32"), ("int8", "uint16")]
)
def test_token_rows(storage: str, dtype: str, driver: FakeDriver) -> None:
    draw = np.random.default_rng(2)
    table = draw.integers(-128, 128, (11, 19)).astype(storage)
    scale = draw.random(11).astype(np.float32) if storage == "int8" else None
    on_device = DeviceTokenTable.upload(table, scale)
    given = draw.normal(size=(5, 19)).astype(np.float32)
    some = np.array([3, -1, 10, 0, -1], np.int32)
    for token_ids, rows in ((some, given), (np.abs(some), None)):
        out = DeviceArray.upload(np.full((5, 19), 0x2B, dtype))
        ids = DeviceArray.upload(token_ids)
        given_there = DeviceArray.upload(given)
        launch_token_rows(
            EmulatedDevice(),
            on_device,
            token_ids=ids.pointer,
            given=0 if rows is None else given_there.pointer,
            out=out.pointer,
            count=5,
            dtype=dtype,
        )
        expected = token_rows_reference(token_ids, table, scale, rows, dtype)
        np.testing.assert_array_equal(out.download(), expected)


@pytest.fixture
def choose(driver: FakeDriver) -> Callable[..., Choice]:
    """The emulated choice, launched twice with one scratch: both must agree."""

    def run(logits: np.ndarray, banned: np.ndarray, *, backwards: bool = False) -> Choice:
        rows, vocabulary_size = logits.shape
        device = EmulatedDevice()
        device.backwards = backwards
        memory = DeviceArray.upload(logits)
        bans = DeviceArray.upload(banned)
        scratch = DeviceArray.zeros((choice_scratch_bytes(rows, vocabulary_size),), np.uint8)
        results = []
        for _ in range(2):
            result = [DeviceArray.allocate((rows,), kind) for kind in ("i4", "f4", "i4")]
            launch_choose_tokens(
                device,
                logits=memory.pointer,
                dtype=logits.dtype.name,
                banned=bans.pointer,
                bans=banned.shape[1],
                scratch=scratch.pointer,
                tokens=result[0].pointer,
                probability=result[1].pointer,
                finite=result[2].pointer,
                count=rows,
                vocabulary_size=vocabulary_size,
            )
            results.append([array.download() for array in result])
        first, second = results
        assert [a.tobytes() for a in first] == [a.tobytes() for a in second]
        tokens, probability, finite = first
        return tokens, probability, finite.astype(bool)

    return run


def assert_chosen(result: Choice, expected: Choice) -> None:
    tokens, probability, finite = result
    np.testing.assert_array_equal(finite, expected[2])
    np.testing.assert_array_equal(tokens[finite], expected[0][finite])
    np.testing.assert_allclose(probability, expected[1], rtol=FLOAT32)


# Less than a vector, less than a piece; whole pieces, aligned rows and not; the last piece short.
@pytest.mark.parametrize(
    "vocabulary", [3, 101, CHOICE_PIECE, 2 * CHOICE_PIECE + 1, 3 * CHOICE_PIECE - 4]
)
def test_choices_are_those_of_the_definition(
    vocabulary: int, choose: Callable[..., Choice]
) -> None:
    draw = np.random.default_rng(3)
    logits = draw.normal(size=(9, vocabulary)).astype(np.float32) * 3
    first, middle, last = 0, vocabulary // 2, vocabulary - 1
    logits[1, [last, first, middle]] = 50  # ties, in three threads, in several pieces
    logits[2, last], logits[3, first], logits[4] = np.nan, np.inf, -np.inf
    logits[5, : vocabulary - 1] = -np.inf
    logits[6, middle] = 1e4
    logits[7, last] = -np.inf
    bans = [[], [first], [], [], [], [], [middle], draw.permutation(vocabulary)[: vocabulary // 2]]
    bans.append(range(vocabulary))
    banned = np.full((9, vocabulary), -1, np.int32)
    for row, tokens in enumerate(bans):
        banned[row, : len(tokens)] = list(tokens)
    for ban in (banned, banned[:, :0].copy()):
        expected = choose_tokens_reference(logits, ban)
        assert expected[2].tolist() == [True, True, False, False, False, True, True, True, True]
        assert_chosen(choose(logits, ban), expected)


def test_float16_logits(choose: Callable[..., Choice]) -> None:
    logits = np.random.default_rng(6).normal(size=(3, CHOICE_PIECE + 8)).astype(np.float16)
    banned = logits.argmax(axis=1).astype(np.int32)[:, None]
    assert_chosen(choose(logits, banned), choose_tokens_reference(logits, banned))


@pytest.mark.parametrize("vocabulary", [2 * CHOICE_PIECE, 2 * CHOICE_PIECE - 1])
def test_a_row_is_chosen_from_alike_alone_among_others_and_in_any_order_of_blocks(
    vocabulary: int, choose: Callable[..., Choice]
) -> None:
    draw = np.random.default_rng(5)
    logits = draw.normal(size=(9, vocabulary)).astype(np.float32) * 3
    banned = draw.integers(-1, vocabulary, (9, 9)).astype(np.int32)
    banned[:, 0] = logits.argmax(axis=1)
    together = choose(logits, banned)
    assert_chosen(together, choose_tokens_reference(logits, banned))
    backwards = choose(logits, banned, backwards=True)
    for row in range(9):
        # Of an odd vocabulary the rows are aligned in four ways; a copy of one always is.
        alone = choose(logits[[row]], banned[[row]])
        for whole, reverse, one in zip(together, backwards, alone, strict=True):
            assert whole[row].tobytes() == reverse[row].tobytes() == one[0].tobytes()


def test_the_choice_is_that_of_the_cpu_engine() -> None:
    draw = np.random.default_rng(4)
    logits = draw.normal(size=(2, 3, 101)).astype(np.float32) * 3
    banned = draw.integers(-1, 101, (2, 3, 40)).astype(np.int32)
    expected = choose_tokens_reference(logits.reshape(6, 101), banned.reshape(6, 40))
    choices = LogitChoices(logits).choose(banned)
    assert choices.tokens.reshape(-1).tolist() == expected[0].tolist()
    probabilities = choices.probabilities(np.repeat([0, 1], 3), np.tile([0, 1, 2], 2))
    np.testing.assert_allclose(probabilities, expected[1], rtol=FLOAT32)
