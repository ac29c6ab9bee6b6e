"""A decoder's weights on the device, in the order in which the step's kernel streams them.

Three decisions. The weights lie on the device a second time, as float16 or int8. A normalisation's
weights are multiplied into the matrix that follows it if that one is in float16; in front of one in
int8 the kernel multiplies the activations. And sums of int8 are multiplied once, by the product of
both scales.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from c2t.kernels.cuda.device import CudaDevice
from c2t.kernels.cuda.memory import DeviceArray
from c2t.kernels.decoder_step.layout import STREAM_WARPS, TILE_BYTES, StepLayout, StepLinear
from c2t.kernels.decoder_step.sizes import StepSizes
from c2t.kernels.decoder_step.weights import HostDecoder
from c2t.kernels.dtypes import TYPE_NUMBER
from c2t.kernels.linears.matrix import Int8Matrix, Matrix

if TYPE_CHECKING:
    from numpy.typing import NDArray

PACK_THREADS = 256  # of a block of `pack_weights.cu`


class ColumnOrder(IntEnum):
    """The order in which the columns of a matrix are packed; `Order` of `pack_weights.cu`."""

    PLAIN = 0
    ROPE_INTERLEAVED = 1  # the two numbers that a rotary embedding rotates together, side by side
    GATE_UP_INTERLEAVED = 2  # each gate beside the number that it multiplies

    def sources(self, columns: int, sizes: StepSizes) -> NDArray[np.int64]:
        """[columns] which column of the matrix is packed as each; as `pack_weights.cu` has it."""
        packed = np.arange(columns)
        if self is ColumnOrder.ROPE_INTERLEAVED:
            dims = packed % sizes.head_size
            rotated = packed - dims + dims // 2 + dims % 2 * (sizes.head_size // 2)
            return np.where(packed < _rotated_columns(sizes), rotated, packed)
        if self is ColumnOrder.GATE_UP_INTERLEAVED:
            return packed // 2 + packed % 2 * (columns // 2)
        return packed


@dataclass(frozen=True, eq=False, kw_only=True)
class DeviceStepWeights:
    """A decoder's weights on the device."""

    layout: StepLayout
    packed: DeviceArray
    first_tiles: DeviceArray  # see `StepLayout.first_tiles`
    # Without a matrix in int8 both are empty.
    norms: DeviceArray  # [2 layers + 1, D] float32, of all normalisations in their order
    # float32, of all matrices' packed columns, in whole units: the product of the scales of the
    # column and of the input. 1 for float16.
    scales: DeviceArray
    # [4 layers + 1, 2] float32, of the matrices in their order: the input's scale and its inverse.
    input_scales: DeviceArray
    cosines: DeviceArray
    sines: DeviceArray
    epsilon: float
    scale: float

    @property
    def sizes(self) -> StepSizes:
        """The decoder's."""
        return self.layout.sizes


@dataclass(frozen=True, eq=False)
class _Matrix:
    """A matrix to be packed: [inputs, columns], perhaps a transposed view."""

    values: NDArray[Any]
    scales: NDArray[np.float32] | None  # of the columns, in int8
    input_scale: float
    norm: NDArray[np.float32] | None  # of its input
    order: ColumnOrder


def pack_decoder(device: CudaDevice, layout: StepLayout, decoder: HostDecoder) -> DeviceStepWeights:
    """Bring a decoder's weights to the device, in the kernel's order.

    Args:
        device: The device.
        layout: Of the decoder.
        decoder: The decoder.

    Raises:
        DeviceMemoryError: The GPU's memory is full.
        ValueError: The decoder's matrices have other sizes.
    """
    packed = DeviceArray.allocate((layout.packed_bytes,), np.uint8, what="the decoder's weights")
    bounds = layout.first_tiles(device.multiprocessors)
    next_tiles = bounds[:-1].copy()  # where each block's tiles of the next matrix begin
    norms, scales, input_scales = [], [], []
    matrices = _matrices(decoder)
    for linear in layout.linears:
        matrix = next(matrices, None)
        if matrix is None or matrix.values.shape != linear[:2]:
            message = "the decoder's matrices do not have the sizes of the step"
            raise ValueError(message)
        _pack(device, layout, linear, matrix, packed, next_tiles)
        if layout.has_int8:
            norms += [] if matrix.norm is None else [matrix.norm]
            scales.append(_packed_scales(matrix, layout.sizes))
            input_scales.append(matrix.input_scale)
    if next(matrices, None) is not None or not np.array_equal(next_tiles, bounds[1:]):
        message = "the decoder's matrices do not have the sizes of the step"
        raise ValueError(message)
    empty = np.empty(0, np.float32)
    return DeviceStepWeights(
        layout=layout,
        packed=packed,
        first_tiles=DeviceArray.upload(bounds),
        norms=DeviceArray.upload(np.concatenate([empty, *norms])),
        scales=DeviceArray.upload(np.concatenate([empty, *scales])),
        input_scales=DeviceArray.upload(_with_inverses(input_scales)),
        cosines=DeviceArray.upload(decoder.cosines),
        sines=DeviceArray.upload(decoder.sines),
        epsilon=decoder.epsilon,
        scale=decoder.scale,
    )


def _matrices(decoder: HostDecoder) -> Iterator[_Matrix]:
    """All matrices, in the kernel's order."""
    for layer in decoder.layers:
        for matrix, norm, order in (
            (layer.qkv, layer.attention_norm, ColumnOrder.ROPE_INTERLEAVED),
            (layer.o, None, ColumnOrder.PLAIN),
            (layer.gate_up, layer.mlp_norm, ColumnOrder.GATE_UP_INTERLEAVED),
            (layer.down, None, ColumnOrder.PLAIN),
        ):
            yield _Matrix(*_parts(matrix), norm, order)
    values, scales, input_scale = _parts(decoder.lm_head)
    yield _Matrix(values.T, scales, input_scale, decoder.norm, ColumnOrder.PLAIN)


def _parts(matrix: Matrix) -> tuple[NDArray[Any], NDArray[np.float32] | None, float]:
    """Values, scales of the outputs, and that of the input."""
    if isinstance(matrix, Int8Matrix):
        return matrix.values, matrix.scales, matrix.input_scale
    return matrix, None, 1.0


def _packed_scales(matrix: _Matrix, sizes: StepSizes) -> NDArray[np.float32]:
    """What the sums of a matrix's columns are multiplied by, in the packed order."""
    columns = matrix.values.shape[1]
    scales = np.ones(math.ceil(columns / 16) * 16, np.float32)
    if matrix.scales is not None:
        both = np.float32(matrix.input_scale) * matrix.scales
        scales[:columns] = both[matrix.order.sources(columns, sizes)]
    return scales


def _with_inverses(scales: list[float]) -> NDArray[np.float32]:
    """[scales, 2] each with its inverse."""
    column = np.array(scales, np.float32)[:, None]
    return np.concatenate([column, np.float32(1) / column], axis=1)


def _rotated_columns(sizes: StepSizes) -> int:
    """Columns of queries and keys, which come before values."""
    return sizes.q_columns + sizes.kv_heads * sizes.head_size


def _pack(
    device: CudaDevice,
    layout: StepLayout,
    linear: StepLinear,
    matrix: _Matrix,
    packed: DeviceArray,
    next_tiles: NDArray[np.int64],
) -> None:
    """Pack one matrix; advances `next_tiles`."""
    values, sizes = matrix.values, layout.sizes
    inputs, columns = values.shape
    transposed = not values.flags.c_contiguous
    source = DeviceArray.upload(values.T if transposed else values, what="a matrix")
    norm = None if linear.int8 else matrix.norm
    factor = None if norm is None else DeviceArray.upload(norm)
    first_tiles = DeviceArray.upload(next_tiles)
    strides = (1, inputs) if transposed else (columns, 1)
    tiles = math.ceil(columns / 16) * layout.unit_tiles(linear) * STREAM_WARPS
    words = tiles * TILE_BYTES // 16  # a thread writes 16 bytes
    device.launch(
        "pack_weights",
        "pack_weights",
        (-(-words // PACK_THREADS), PACK_THREADS),
        (
            source.pointer,
            factor.pointer if factor else 0,
            packed.pointer,
            first_tiles.pointer,
            *(np.int64(number) for number in (inputs, columns, *strides)),
            np.int32(matrix.order),
            np.int32(sizes.head_size),
            np.int32(_rotated_columns(sizes)),
        ),
        C2T_TABLE=TYPE_NUMBER[values.dtype.name],
        C2T_THREADS=PACK_THREADS,
        **layout.order_macros(device.multiprocessors),
    )
    device.synchronize()  # before the source is freed
    next_tiles += layout.matrix_tiles(linear, len(next_tiles))
