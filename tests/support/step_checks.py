"""Checks of the decoder step's kernel that linears in float16 and in int8 share."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from emulation.random_step import SMALL, PackedDecoder
from tolerance import FLOAT16_STEP, INT8_STEP

from c2t.kernels.cuda.memory import DeviceArray
from c2t.kernels.decoder_step.definition import decoder_step_reference
from c2t.kernels.decoder_step.sizes import StepSizes

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


def difference(result: np.ndarray, expected: np.ndarray) -> float:
    wide, other = result.astype(np.float64), expected.astype(np.float64)
    return float(np.abs(wide - other).max() / np.abs(other).max())


def mean_difference(result: np.ndarray, expected: np.ndarray) -> float:
    wide, other = result.astype(np.float64), expected.astype(np.float64)
    return float(np.abs(wide - other).mean() / np.abs(other).mean())


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
        for ours, theirs in ((logits, expected), (cache.download(), expected_cache)):
            if packed.weights.layout.has_int8:
                assert mean_difference(ours, theirs) < INT8_STEP
            else:
                assert difference(ours, theirs) < FLOAT16_STEP
    assert not packed.scratch.counters.download().any()
    assert not packed.scratch.spoilt.download().any()


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
