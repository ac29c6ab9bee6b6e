"""Packing of a linear for the CPU's step, against plain NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from c2t.kernels.decoder_step.cpu import step_kernels
from c2t.kernels.linears.matrix import Int8Matrix
from c2t.kernels.linears.pack import pack_linear

KERNELS = step_kernels()
pytestmark = pytest.mark.skipif(KERNELS is None, reason="no step of ours runs on this processor")
# Few numbers; what vectors and threads leave over; more panels than a thread packs together.
SHAPES = [(1, 2), (4, 64), (7, 130), (64, 200), (30, 66), (107, 256), (128, 1218)]


def in_panels(matrix: np.ndarray, *, halves: bool) -> np.ndarray:
    """A matrix [K, N] as panels [panels, K, 64]."""
    parts = np.split(matrix, 2, axis=1) if halves else [matrix]
    width = 64 // len(parts)
    count = -(-parts[0].shape[1] // width)
    padded = [np.pad(p, ((0, 0), (0, count * width - p.shape[1]))) for p in parts]
    split = [p.reshape(len(matrix), count, width) for p in padded]
    return np.concatenate(split, axis=2).swapaxes(0, 1)


@pytest.mark.parametrize("by_output", [False, True])
@pytest.mark.parametrize("halves", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_floats_lie_in_panels(shape: tuple[int, int], halves: bool, by_output: bool) -> None:
    matrix = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    packed = pack_linear(
        KERNELS, matrix.T if by_output else matrix, by_output=by_output, halves=halves, threads=2
    )
    np.testing.assert_array_equal(packed.panels, in_panels(matrix, halves=halves))
    assert (packed.inputs, packed.columns) == shape
    assert packed.panels.ctypes.data % 64 == 0


@pytest.mark.parametrize("by_output", [False, True])
@pytest.mark.parametrize("halves", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_four_inputs_of_an_int8_column_lie_together(
    shape: tuple[int, int], halves: bool, by_output: bool
) -> None:
    draw = np.random.default_rng(0)
    values = draw.integers(-128, 128, shape).astype(np.int8)
    scales = draw.uniform(0.1, 1, shape[1]).astype(np.float32)
    given: Any = Int8Matrix(
        values=values.T if by_output else values, scales=scales, input_scale=0.3
    )
    packed = pack_linear(KERNELS, given, by_output=by_output, halves=halves, threads=2)
    panels = in_panels(values, halves=halves)
    whole = np.pad(panels, ((0, 0), (0, -shape[0] % 4), (0, 0)))
    groups = whole.reshape(len(panels), -1, 4, 64).swapaxes(2, 3)
    np.testing.assert_array_equal(packed.panels, groups)
    np.testing.assert_array_equal(packed.correction, -128 * panels.sum(axis=1, dtype=np.int32))
    expected = in_panels(np.float32(0.3) * scales[None], halves=halves)[:, 0]
    np.testing.assert_array_equal(packed.scale, expected)


@pytest.mark.parametrize("by_output", [False, True])
@pytest.mark.parametrize("value", [-128, 127])
def test_sums_of_a_column_do_not_saturate(value: int, by_output: bool) -> None:
    values = np.full((64, 1024) if by_output else (1024, 64), value, np.int8)
    given = Int8Matrix(values=values, scales=np.ones(64, np.float32), input_scale=1.0)
    packed = pack_linear(KERNELS, given, by_output=by_output)
    np.testing.assert_array_equal(packed.correction, np.full((1, 64), -128 * 1024 * value))
