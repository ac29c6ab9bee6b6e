"""The kernel of a whole decoder step, emulated on the host, against its definition.

Nothing here runs on a GPU; tests/gpu does that where there is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from emulation.device import EmulatedDevice
from emulation.random_step import SMALL, PackedDecoder
from fakes.cuda_driver import FakeDevice, FakeDriver
from tolerance import FLOAT16_STEP

from c2t.kernels.cuda.memory import DeviceArray
from c2t.kernels.decoder_step.definition import decoder_step_reference
from c2t.kernels.decoder_step.launch import runs_steps
from c2t.kernels.decoder_step.layout import MAX_ROWS, Int8Linears, Ring, StepLayout
from c2t.kernels.decoder_step.pack import pack_decoder
from c2t.kernels.decoder_step.sizes import StepSizes
from c2t.kernels.decoder_step.weights import LayerBiases
from c2t.kernels.errors import KernelError

# Two tiles in a chunk, heads of 128, an intermediate size that ends within a chunk.
WIDE = StepSizes(
    layers=1,
    hidden_size=272,
    intermediate_size=408,
    heads=2,
    kv_heads=2,
    head_size=128,
    vocabulary_size=97,
)


@pytest.fixture
def small(driver: FakeDriver) -> PackedDecoder:
    """A decoder on a device of two blocks."""
    return PackedDecoder.make(SMALL, EmulatedDevice())


def difference(result: np.ndarray, expected: np.ndarray) -> float:
    wide, other = result.astype(np.float64), expected.astype(np.float64)
    return float(np.abs(wide - other).max() / np.abs(other).max())


def assert_steps_agree(packed: PackedDecoder, batch: int, begins: tuple[int, ...]) -> None:
    """Logits and cache of steps that follow each other, from one of `begins` to the next.

    Cache positions before the first are random.
    """
    draw = np.random.default_rng(4)
    expected_cache = np.zeros(packed.cache_shape(batch), np.float16)
    expected_cache[..., : begins[0], :] = draw.normal(
        size=expected_cache[..., : begins[0], :].shape
    )
    cache = DeviceArray.upload(expected_cache)
    for begin, end in pairwise(begins):
        positions = np.tile(np.arange(begin, end), (batch, 1))
        every, index = positions - begin, np.full(batch, begin)
        embeds = draw.normal(size=(*positions.shape, packed.sizes.hidden_size)).astype(np.float16)
        logits = packed.step(cache, embeds, index, every)
        expected = decoder_step_reference(
            packed.sizes,
            packed.host,
            embeds.astype(np.float32),
            expected_cache,
            positions=positions,
            write_index=index,
            logit_rows=every,
        )
        assert difference(logits, expected) < FLOAT16_STEP
        assert difference(cache.download(), expected_cache) < FLOAT16_STEP
    assert not packed.scratch.counters.download().any()


@pytest.mark.parametrize("blocks", [2, 5])
def test_steps_that_follow_each_other(blocks: int, driver: FakeDriver) -> None:
    """Of five blocks one has no unit of the hidden size, and attends first."""
    packed = PackedDecoder.make(SMALL, EmulatedDevice(multiprocessors=blocks))
    assert_steps_agree(packed, 2, (0, 7, 8, 9))  # 14 rows, then 2 and 2


@pytest.mark.parametrize(
    ("shared_bytes", "stages", "begins"),
    [(80_000, 5, (0, 16, 17, 20)), (70_000, 3, (90, 106, 107))],
)
def test_wide_heads_long_sums_and_long_caches(
    shared_bytes: int, stages: int, begins: tuple[int, ...], driver: FakeDriver
) -> None:
    """A ring that can hold back two groups, or only one; cache positions of one round, or of two.

    With more blocks than heads, some attend with tokens behind others of the same step, whose keys
    and values another block writes.
    """
    assert StepLayout(sizes=WIDE).ring(16, blocks=4, shared_bytes=shared_bytes) == Ring(1, stages)
    device = EmulatedDevice(multiprocessors=4, shared_bytes=shared_bytes)
    packed = PackedDecoder.make(WIDE, device)
    assert_steps_agree(packed, 1, begins)


ALL = Int8Linears(0b11, 0b11, 0b11, 0b11, 1)  # of SMALL
# Every linear once in int8 and once in float16; a stream that changes its type often.
SOME = Int8Linears(qkv=0b01, o=0b11, gate_up=0b10, down=0b01, lm_head=1)
NOT_LM_HEAD = Int8Linears(qkv=0b11, o=0b10, gate_up=0b01, down=0b11)


@pytest.mark.parametrize(
    ("int8", "blocks", "every"),
    [
        (SOME, 2, (2, 8, 15)),
        *(
            pytest.param(int8, blocks, range(1, MAX_ROWS + 1), marks=pytest.mark.slow)
            for int8, blocks in ((ALL, 3), (SOME, 2), (NOT_LM_HEAD, 5))
        ),
    ],
)
def test_int8_weights_of_numbers_of_rows(
    int8: Int8Linears, blocks: int, every: Sequence[int], driver: FakeDriver
) -> None:
    """Against the definition of the same weights in floats; input scales would spoil everything."""
    packed = PackedDecoder.make(SMALL, EmulatedDevice(multiprocessors=blocks), int8)
    for rows in every:
        batch = 2 if rows % 2 == 0 else 1
        assert_steps_agree(packed, batch, (rows, rows + rows // batch))


@pytest.mark.parametrize(
    ("hidden_size", "intermediate_size", "chunk", "int8"),
    [
        (272, 408, 2, Int8Linears(1, 1, 1, 1, 1)),  # ends within a piece, a tile and a chunk
        (528, 136, 4, Int8Linears(1, 1, 1, 1, 1)),  # in float16 a chunk has three pieces
        (528, 136, 4, Int8Linears(gate_up=1)),
    ],
)
def test_int8_weights_of_odd_sizes(
    hidden_size: int, intermediate_size: int, chunk: int, int8: Int8Linears, driver: FakeDriver
) -> None:
    sizes = replace(WIDE, hidden_size=hidden_size, intermediate_size=intermediate_size)
    packed = PackedDecoder.make(sizes, EmulatedDevice(multiprocessors=4), int8)
    assert packed.weights.layout.chunk == chunk
    assert_steps_agree(packed, 1, (0, 1, 9, 25))


def test_int8_weights_are_streamed_as_bytes() -> None:
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


def test_bits_of_a_row_do_not_depend_on_the_rows_beside_it_in_int8(driver: FakeDriver) -> None:
    packed = PackedDecoder.make(SMALL, EmulatedDevice(), SOME)
    assert_rows_are_alone(packed)


def test_parts_that_the_kernel_does_not_know_are_refused_by_name(small: PackedDecoder) -> None:
    first, plain = small.host.layers[0], small.host
    assert StepLayout.of(SMALL, plain) == small.weights.layout
    fresh = replace(plain, layers=[replace(layer, biases=LayerBiases()) for layer in plain.layers])
    assert StepLayout.of(SMALL, fresh) == small.weights.layout
    one = np.ones(1, np.float32)
    layers = {
        "biases": {"biases": LayerBiases(qkv=one)},
        "q_norm": {"q_norm": one},
        "after_mlp": {"after_mlp": one},
        "window": {"window": 5},
    }
    decoders = {
        f"layers.1.{n}": {"layers": [first, replace(first, **c)]} for n, c in layers.items()
    }
    decoders |= {
        "norm_bias": {"norm_bias": one},
        "activation": {"activation": "gelu"},
        "gated": {"gated": False},
        "parallel": {"parallel": True},
        "attention_cap": {"attention_cap": 30.0},
        "logit_cap": {"logit_cap": 30.0},
        "embedding_scale": {"embedding_scale": 2.0},
        "2 rotated numbers": {"cosines": plain.cosines[:, :1]},
    }
    for name, change in decoders.items():
        with pytest.raises(
            KernelError, match=rf"has {name}\b.* which the GPU's step kernel does not"
        ):
            StepLayout.of(SMALL, replace(plain, **change))


def test_a_row_is_not_changed_by_infinities_of_another(small: PackedDecoder) -> None:
    """A block that has attended for the one goes on to the other."""
    embeds = np.random.default_rng(5).normal(size=(2, 1, SMALL.hidden_size)).astype(np.float32)
    index, rows = np.array([5, 0]), np.zeros((2, 1), np.int64)
    bad = np.zeros(small.cache_shape(2), np.float16)
    bad[:, :, 0, :, :5] = np.inf
    together = small.step(DeviceArray.upload(bad), embeds, index, rows)
    alone = small.step(small.new_cache(1), embeds[1:], index[1:], rows[1:])
    assert together[1].tobytes() == alone[0].tobytes()
    assert np.isnan(together[0]).any()


def test_a_rows_bits_do_not_depend_on_the_rows_beside_it(small: PackedDecoder) -> None:
    assert_rows_are_alone(small)


def assert_rows_are_alone(small: PackedDecoder) -> None:
    """A token's logits are the same to the bit in steps of both sizes."""
    embeds = np.random.default_rng(1).normal(size=(2, 5, SMALL.hidden_size)).astype(np.float32)
    index = np.zeros(2, np.int64)
    every = np.tile(np.arange(5), (2, 1))
    together = small.step(small.new_cache(2), embeds, index, every)  # 10 rows: for up to 16
    cache = small.new_cache(1)
    for begin, end in ((0, 1), (1, 2), (2, 5)):  # for up to 8 rows; one token, and three
        alone = small.step(
            cache, embeds[1:, begin:end], index[:1] + begin, np.arange(end - begin)[None]
        )
        assert alone[0].tobytes() == together[1, begin:end].tobytes()


def test_logits_are_those_of_the_tokens_asked_for(small: PackedDecoder) -> None:
    embeds = np.random.default_rng(2).normal(size=(2, 4, SMALL.hidden_size)).astype(np.float32)
    index = np.zeros(2, np.int64)
    every = np.tile(np.arange(4), (2, 1))
    whole = small.step(small.new_cache(2), embeds, index, every)
    some = small.step(small.new_cache(2), embeds, index, np.array([[3], [1]]))
    assert some.tobytes() == np.stack([whole[0, 3:], whole[1, 1:2]]).tobytes()


def test_float16_weights_are_packed_as_they_are(small: PackedDecoder) -> None:
    """The same bytes as from the float32 numbers that they are; each of them is there."""
    host = small.host
    layers = [
        replace(
            layer,
            attention_norm=np.ones_like(layer.attention_norm),
            mlp_norm=np.ones_like(layer.mlp_norm),
            qkv=layer.qkv.astype(np.float16),
            o=layer.o.astype(np.float16),
            gate_up=layer.gate_up.astype(np.float16),
            down=layer.down.astype(np.float16),
        )
        for layer in host.layers
    ]
    halves = replace(host, layers=layers, lm_head=host.lm_head.astype(np.float16))
    floats = replace(
        halves,
        layers=[
            replace(
                layer,
                qkv=layer.qkv.astype(np.float32),
                o=layer.o.astype(np.float32),
                gate_up=layer.gate_up.astype(np.float32),
                down=layer.down.astype(np.float32),
            )
            for layer in layers
        ],
        lm_head=halves.lm_head.astype(np.float32),
    )
    packed = [
        pack_decoder(small.device, small.weights.layout, decoder).packed.download()
        for decoder in (halves, floats)
    ]
    assert packed[0].tobytes() == packed[1].tobytes()
    numbers = packed[0].view(np.float16)
    assert np.isin(np.concatenate([layers[0].qkv.ravel(), layers[0].down.ravel()]), numbers).all()


def test_weights_of_other_sizes_are_refused(small: PackedDecoder) -> None:
    layers = list(small.host.layers)
    with pytest.raises(ValueError, match="sizes of the step"):
        pack_decoder(small.device, small.weights.layout, replace(small.host, layers=layers[:1]))


def test_sizes_that_the_kernel_cannot_run() -> None:
    assert not StepLayout(sizes=SMALL).problem
    for change, what in (
        ({"head_size": 24}, "a head size of 24"),
        ({"hidden_size": 72}, "a hidden size of 72, no multiple of 16"),
        ({"hidden_size": 8192}, "a hidden size of 8192"),
        ({"intermediate_size": 100}, "an intermediate size of 100, no multiple of 8"),
        ({"heads": 3}, "query heads per KV head of 3, no multiple of 2"),
    ):
        assert StepLayout(sizes=replace(SMALL, **change)).problem.startswith(what)


@pytest.mark.parametrize(
    ("arch", "shared_bytes", "runs"),
    [("sm_89", 101_376, True), ("sm_89", 49_152, False), ("sm_75", 101_376, False)],
)
def test_devices_that_run_steps(arch: str, shared_bytes: int, runs: bool) -> None:
    device = FakeDevice()
    device.arch, device.shared_bytes = arch, shared_bytes
    assert runs_steps(device, StepLayout(sizes=SMALL)) == runs
