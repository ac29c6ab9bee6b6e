"""Linears in int8 of the decoder step's kernel, emulated on the host, against their definition.

Their sums are exact: what follows from them is compared bit by bit. Whole steps are compared with
the definition as far as rounding lets them: one number that is rounded otherwise moves an
activation by a whole step of int8.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from emulation.device import EmulatedDevice
from emulation.random_step import NORMED_SCALE, SMALL, PackedDecoder, random_decoder
from fakes.cuda_driver import FakeDriver
from step_checks import WIDE, assert_rows_are_alone, assert_steps_agree

from c2t.kernels.cuda.memory import DeviceArray
from c2t.kernels.decoder_step.layout import STREAM_WARPS, Int8Linears, Ring, StepLayout
from c2t.kernels.decoder_step.pack import ColumnOrder
from c2t.kernels.decoder_step.sizes import StepSizes
from c2t.kernels.decoder_step.weights import HostDecoder
from c2t.kernels.linears.matrix import Int8Matrix, Matrix

ALL = Int8Linears(0b11, 0b11, 0b11, 0b11, 1)  # of SMALL
# Every linear once in int8 and once in float16; a stream that changes its type often.
SOME = Int8Linears(qkv=0b01, o=0b11, gate_up=0b10, down=0b01, lm_head=1)
NOT_LM_HEAD = Int8Linears(qkv=0b11, o=0b10, gate_up=0b01, down=0b11)
ONE = Int8Linears(1, 1, 1, 1, 1)  # of a single layer
ONE_LAYER = replace(SMALL, layers=1)
# Of a row a lane has two tiles: 64 rows have room in shared memory, or in its registers.
LONG = replace(SMALL, layers=1, hidden_size=528, intermediate_size=408)
LLAMA_1B = StepSizes(
    layers=16,
    hidden_size=2048,
    intermediate_size=8192,
    heads=32,
    kv_heads=8,
    head_size=64,
    vocabulary_size=128256,
)


def steps_of(x: np.ndarray, matrix: Matrix) -> np.ndarray:
    """ONNX's QuantizeLinear, as int32."""
    assert isinstance(matrix, Int8Matrix)
    rounded = np.rint(x / np.float32(matrix.input_scale))
    return np.clip(rounded, -128, 127).astype(np.int32)


def result_of(steps: np.ndarray, matrix: Matrix, *, by_output: bool = False) -> np.ndarray:
    """A linear's result, float32, of its input in steps [rows, K]."""
    assert isinstance(matrix, Int8Matrix)
    values = matrix.values.astype(np.int32)
    sums = steps @ (values.T if by_output else values)
    result: np.ndarray = sums.astype(np.float32) * (np.float32(matrix.input_scale) * matrix.scales)
    return result


def normalised(x: np.ndarray, weights: np.ndarray, epsilon: float) -> np.ndarray:
    mean = np.square(x.astype(np.float64)).mean(axis=-1, keepdims=True)
    factor = 1 / np.sqrt((mean + epsilon).astype(np.float32))
    result: np.ndarray = x * factor * weights
    return result


def bytes_of(array: DeviceArray, rows: int, columns: int) -> np.ndarray:
    """int8 [rows, columns] of a step's scratch: rows begin at multiples of 16 bytes."""
    stride = -(-columns // 16) * 16
    whole = array.download().view(np.int8).ravel()[: rows * stride]
    return whole.reshape(rows, stride)[:, :columns].astype(np.int32)


def step_of_rows(packed: PackedDecoder, embeds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logits [rows, V] and values [rows, kv_heads * head_size] of cells with one token each."""
    rows, zeros = len(embeds), np.zeros((len(embeds), 1), np.int64)
    cache = packed.new_cache(rows)
    logits = packed.step(cache, embeds[:, None], zeros[:, 0], zeros)
    return logits[:, 0], cache.download()[-1, 1, :, :, 0].reshape(rows, -1)


@pytest.mark.parametrize("rows", [1, 8, 15, 16, 17, 31, 32, 33, 63, 64])
def test_products_are_exact(rows: int, driver: FakeDriver) -> None:
    """Each linear's results are those of the int32 sums over the bytes that it was given."""
    sizes = ONE_LAYER
    packed = PackedDecoder.make(sizes, EmulatedDevice(), ONE)
    assert packed.rows == 64
    host, (layer,) = packed.host, packed.host.layers
    embeds = np.random.default_rng(rows).normal(size=(rows, sizes.hidden_size)).astype(np.float16)
    logits, values = step_of_rows(packed, embeds)

    x = embeds.astype(np.float32)
    qkv = result_of(
        steps_of(normalised(x, layer.attention_norm, host.epsilon), layer.qkv), layer.qkv
    )
    first_value = sizes.q_columns + sizes.kv_heads * sizes.head_size
    np.testing.assert_array_equal(values, qkv[:, first_value:].astype(np.float16))
    x = x + result_of(bytes_of(packed.scratch.context, rows, sizes.q_columns), layer.o)
    gated = bytes_of(packed.scratch.gated, rows, sizes.intermediate_size)
    normed = normalised(x, layer.mlp_norm, host.epsilon)
    gate, up = np.split(result_of(steps_of(normed, layer.gate_up), layer.gate_up), 2, axis=-1)
    expected = steps_of(gate / (1 + np.exp(-gate)) * up, layer.down)
    assert np.mean(gated == expected) > 0.99  # exp may be rounded otherwise
    assert np.abs(gated - expected).max() <= 1
    x = x + result_of(gated, layer.down)
    np.testing.assert_array_equal(packed.scratch.residual.download()[:rows], x)
    steps = steps_of(normalised(x, host.norm, host.epsilon), host.lm_head)
    np.testing.assert_array_equal(logits, result_of(steps, host.lm_head, by_output=True))


def test_inputs_are_rounded_half_to_even_and_saturated(driver: FakeDriver) -> None:
    """Of embeddings of one and minus one, the normalised numbers are the norm's weights."""
    host = random_decoder(ONE_LAYER, ONE)
    weights = ((np.arange(ONE_LAYER.hidden_size) - 31.5) / 16).astype(np.float32)
    weights[:4] = 7.9, 8.1, 500, -500  # int8 ends at 7.9375 and -8
    (layer,) = host.layers
    qkv = replace(layer.qkv, input_scale=1 / 16)
    layers = [replace(layer, attention_norm=weights, qkv=qkv)]
    packed = PackedDecoder.of(
        ONE_LAYER, EmulatedDevice(), replace(host, layers=layers, epsilon=0.0)
    )
    embeds = np.resize([1, -1, -1], (2, ONE_LAYER.hidden_size)).astype(np.float16)
    _, values = step_of_rows(packed, embeds)
    steps = steps_of(embeds.astype(np.float32) * weights, qkv)
    assert (steps.min(), steps.max()) == (-128, 127)
    assert not (steps[:, 4:] % 2).any()  # all of them lay between two
    first_value = ONE_LAYER.q_columns + ONE_LAYER.kv_heads * ONE_LAYER.head_size
    expected = result_of(steps, qkv)[:, first_value:].astype(np.float16)
    np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize(
    ("int8", "blocks", "every"),
    [
        (SOME, 2, (2, 8, 15)),
        (ALL, 3, (1, 20, 64)),
        *(
            pytest.param(int8, blocks, range(1, most + 1), marks=pytest.mark.slow)
            for int8, blocks, most in ((ALL, 3, 64), (SOME, 2, 16), (NOT_LM_HEAD, 5, 16))
        ),
    ],
)
def test_steps_of_numbers_of_rows(
    int8: Int8Linears, blocks: int, every: Sequence[int], driver: FakeDriver
) -> None:
    packed = PackedDecoder.make(SMALL, EmulatedDevice(multiprocessors=blocks), int8)
    for rows in every:
        batch = 4 if rows == 64 else 2 if rows % 2 == 0 else 1
        assert_steps_agree(packed, batch, (rows % 50, rows % 50 + rows // batch))


@pytest.mark.parametrize(
    ("hidden_size", "intermediate_size", "chunk", "int8"),
    [
        (272, 408, 2, ONE),  # ends within a piece, a tile and a chunk; rows of bytes are padded
        (528, 136, 4, ONE),  # in float16 a chunk has three pieces
        (528, 136, 4, Int8Linears(gate_up=1)),
    ],
)
def test_odd_sizes(
    hidden_size: int, intermediate_size: int, chunk: int, int8: Int8Linears, driver: FakeDriver
) -> None:
    sizes = replace(WIDE, hidden_size=hidden_size, intermediate_size=intermediate_size)
    packed = PackedDecoder.make(sizes, EmulatedDevice(multiprocessors=4), int8)
    assert packed.weights.layout.chunk == chunk
    assert_steps_agree(packed, 1, (0, 1, 9, 25))


@pytest.mark.parametrize(("shared_bytes", "in_shared"), [(165_000, True), (100_000, False)])
def test_activations_of_many_rows_lie_where_there_is_room(
    shared_bytes: int, in_shared: bool, driver: FakeDriver
) -> None:
    device = EmulatedDevice(multiprocessors=3, shared_bytes=shared_bytes)
    packed = PackedDecoder.make(LONG, device, ONE)
    ring = packed.weights.layout.ring(64, blocks=3, shared_bytes=shared_bytes)
    assert ring is not None
    assert ring.shared_activations == in_shared
    assert_steps_agree(packed, 8, (3, 11))


@pytest.mark.parametrize(
    ("shared_bytes", "int8", "rows"),
    [
        (232_448, True, 64),  # Hopper
        (166_912, True, 32),  # sm_80
        (101_376, True, 32),  # sm_86, sm_89, sm_120: in registers
        (232_448, False, 16),
    ],
)
def test_rows_of_a_step_at_1b_sizes(shared_bytes: int, int8: bool, rows: int) -> None:
    every = (1 << 16) - 1
    linears = Int8Linears(every, every, every, every, int(int8))
    layout = StepLayout(sizes=LLAMA_1B, int8=linears)
    assert layout.max_rows(blocks=132, shared_bytes=shared_bytes) == rows
    assert (
        layout.ring(rows, blocks=132, shared_bytes=shared_bytes)
        == {
            (232_448, True): Ring(1, 6, shared_activations=True),
            (166_912, True): Ring(1, 8, shared_activations=True),
            (101_376, True): Ring(1, 8),
            (232_448, False): Ring(1, 23),
        }[shared_bytes, int8]
    )


def test_weights_are_streamed_as_bytes() -> None:
    """One byte a weight where nothing is padded."""
    sizes = StepSizes(
        layers=2,
        hidden_size=512,
        intermediate_size=1024,
        heads=4,
        kv_heads=2,
        head_size=128,
        vocabulary_size=96,
    )
    weights = 2 * 512 * (1024 + 512 + 2 * 1024 + 1024) + 512 * 96
    assert StepLayout(sizes=sizes).packed_bytes == 2 * weights
    assert StepLayout(sizes=sizes, int8=ALL).packed_bytes == weights
    assert StepLayout(sizes=sizes, int8=NOT_LM_HEAD).packed_bytes > weights


def test_a_lane_finds_its_operands_in_16_bytes(driver: FakeDriver) -> None:
    """As PTX has them for "mma.m16n8k32": of the first linear's first unit.

    Lane l has the bytes of columns l / 4 and 8 further. Of the 16 inputs that it takes of a tile,
    from 16 (l % 4) on, the first half is one instruction's, and the second half the next one's.
    """
    packed = PackedDecoder.make(ONE_LAYER, EmulatedDevice(multiprocessors=2), ONE)
    (layer,) = packed.host.layers
    assert isinstance(layer.qkv, Int8Matrix)
    columns = ColumnOrder.ROPE_INTERLEAVED.sources(ONE_LAYER.qkv_columns, ONE_LAYER)
    matrix = layer.qkv.values[:, columns]  # [64 inputs, columns]
    tiles = packed.weights.packed.download().view(np.int8).reshape(-1, STREAM_WARPS, 2, 32, 4, 4)
    first, others = tiles[0, 0], tiles[0, 1:]  # 64 inputs are one warp's
    for half in range(2):
        for lane in range(32):
            for register in range(4):
                column = lane // 4 + register % 2 * 8
                begin = lane % 4 * 16 + half * 8 + register // 2 * 4
                found = first[half, lane, register]
                np.testing.assert_array_equal(found, matrix[begin : begin + 4, column])
    assert not others.any()


@pytest.mark.parametrize("int8", [SOME, ALL])
def test_bits_of_a_row_do_not_depend_on_the_rows_beside_it(
    int8: Int8Linears, driver: FakeDriver
) -> None:
    assert_rows_are_alone(PackedDecoder.make(SMALL, EmulatedDevice(), int8))


def test_a_token_is_the_same_in_steps_of_all_sizes(driver: FakeDriver) -> None:
    packed = PackedDecoder.make(SMALL, EmulatedDevice(), ALL)
    embeds = np.random.default_rng(1).normal(size=(2, 32, SMALL.hidden_size)).astype(np.float32)
    index, every = np.zeros(2, np.int64), np.tile(np.arange(32), (2, 1))
    together = packed.step(packed.new_cache(2), embeds, index, every)  # 64 rows
    cache = packed.new_cache(1)
    for begin, end in ((0, 1), (1, 12), (12, 32)):  # for up to 8 rows, 16 and 32
        alone = packed.step(
            cache, embeds[1:, begin:end], index[:1] + begin, np.arange(end - begin)[None]
        )
        assert alone[0].tobytes() == together[1, begin:end].tobytes()


@pytest.mark.parametrize("int8", [SOME, ALL])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_reaches_the_rows_that_see_it(
    int8: Int8Linears, bad: float, driver: FakeDriver
) -> None:
    """int8 has no such numbers: they must not end as ordinary ones. The next step is clean."""
    packed = PackedDecoder.make(SMALL, EmulatedDevice(), int8)
    embeds = np.random.default_rng(6).normal(size=(2, 4, SMALL.hidden_size)).astype(np.float32)
    index, every = np.zeros(2, np.int64), np.tile(np.arange(4), (2, 1))
    right = packed.step(packed.new_cache(2), embeds, index, every)
    spoilt = embeds.copy()
    spoilt[0, 2, 5] = bad
    found = packed.step(packed.new_cache(2), spoilt, index, every)
    assert np.isnan(found[0, 2:]).all()
    assert found[0, :2].tobytes() == right[0, :2].tobytes()
    assert found[1].tobytes() == right[1].tobytes()
    assert packed.step(packed.new_cache(2), embeds, index, every).tobytes() == right.tobytes()


def test_an_infinite_value_of_an_earlier_step_reaches_the_logits(driver: FakeDriver) -> None:
    packed = PackedDecoder.make(SMALL, EmulatedDevice(), ALL)
    embeds = np.random.default_rng(5).normal(size=(2, 1, SMALL.hidden_size)).astype(np.float32)
    rows = np.zeros((2, 1), np.int64)
    cache = np.zeros(packed.cache_shape(2), np.float16)
    cache[0, 1, 0, 0, 3, 7] = np.inf
    logits = packed.step(DeviceArray.upload(cache), embeds, np.array([5, 5]), rows)
    assert np.isnan(logits[0]).all()
    assert np.isfinite(logits[1]).all()


def test_scales_are_those_of_the_bundle(driver: FakeDriver) -> None:
    """Without any input scale's effect this test would compare nothing: another one changes it."""
    host = random_decoder(ONE_LAYER, ONE)
    embeds = np.random.default_rng(3).normal(size=(3, ONE_LAYER.hidden_size)).astype(np.float16)

    def logits(decoder: HostDecoder) -> np.ndarray:
        return step_of_rows(PackedDecoder.of(ONE_LAYER, EmulatedDevice(), decoder), embeds)[0]

    coarse = replace(host, lm_head=replace(host.lm_head, input_scale=8 * NORMED_SCALE))
    assert not np.array_equal(logits(coarse), logits(host))
