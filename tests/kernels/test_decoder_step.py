"""The kernel of a whole decoder step, emulated on the host, against its definition.

Nothing here runs on a GPU; tests/gpu does that where there is one.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from emulation.device import EmulatedDevice
from emulation.random_step import SMALL, PackedDecoder
from fakes.cuda_driver import FakeDevice, FakeDriver
from step_checks import WIDE, assert_rows_are_alone, assert_steps_agree

from c2t.kernels.cuda.memory import DeviceArray
from c2t.kernels.decoder_step.launch import max_step_rows
from c2t.kernels.decoder_step.layout import NO_INT8, Int8Linears, Ring, StepLayout
from c2t.kernels.decoder_step.pack import pack_decoder
from c2t.kernels.decoder_step.weights import LayerBiases
from c2t.kernels.errors import KernelError

ALL = Int8Linears(0b11, 0b11, 0b11, 0b11, 1)  # linears of SMALL in int8


@pytest.fixture
def small(driver: FakeDriver) -> PackedDecoder:
    """A decoder on a device of two blocks."""
    return PackedDecoder.make(SMALL, EmulatedDevice())


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


@pytest.mark.parametrize("int8", [NO_INT8, ALL])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_token_is_not_changed_by_a_later_one(
    int8: Int8Linears, bad: float, driver: FakeDriver
) -> None:
    """Of 12 tokens, two attend together. The fourth is the second of such a pair."""
    packed = PackedDecoder.make(SMALL, EmulatedDevice(), int8)
    embeds = np.random.default_rng(7).normal(size=(1, 12, SMALL.hidden_size)).astype(np.float32)
    index, every = np.array([5]), np.arange(12)[None]
    right = packed.step(packed.new_cache(1), embeds, index, every)
    embeds[0, 3, 5] = bad
    found = packed.step(packed.new_cache(1), embeds, index, every)
    assert found[0, :3].tobytes() == right[0, :3].tobytes()
    assert np.isnan(found[0, 3:]).any(axis=1).all()


def test_a_rows_bits_do_not_depend_on_the_rows_beside_it(small: PackedDecoder) -> None:
    assert_rows_are_alone(small)


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
    ("arch", "shared_bytes", "rows"),
    [("sm_89", 101_376, 16), ("sm_89", 49_152, 8), ("sm_89", 30_000, 0), ("sm_75", 101_376, 0)],
)
def test_devices_that_run_steps(arch: str, shared_bytes: int, rows: int) -> None:
    device = FakeDevice()
    device.arch, device.shared_bytes = arch, shared_bytes
    assert max_step_rows(device, StepLayout(sizes=SMALL)) == rows


def test_a_step_of_more_rows_than_fit_is_refused(small: PackedDecoder) -> None:
    embeds = np.zeros((1, 17, SMALL.hidden_size), np.float32)
    with pytest.raises(KernelError, match=r"a step of 17 rows does not fit .* has room for 16"):
        small.step(small.new_cache(1), embeds, np.zeros(1, np.int64), np.zeros((1, 1), np.int64))
