"""A decoder's weights on the device, in the order in which the step's kernel streams them.

One decision: the weights lie on the device a second time, as float16, and each normalisation's
weights are multiplied into the matrix that follows it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from c2t.kernels.cuda.device import CudaDevice
from c2t.kernels.cuda.memory import DeviceArray
from c2t.kernels.decoder_step.sizes import STREAM_WARPS, TILE_BYTES, StepSizes
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


@dataclass(frozen=True, eq=False, kw_only=True)
class DeviceStepWeights:
    """A decoder's weights on the device."""

    sizes: StepSizes
    packed: DeviceArray
    first_tiles: DeviceArray  # see `StepSizes.first_tiles`
    cosines: DeviceArray
    sines: DeviceArray
    epsilon: float
    scale: float


def pack_decoder(device: CudaDevice, sizes: StepSizes, decoder: HostDecoder) -> DeviceStepWeights:
    """Bring a decoder's weights to the device, in the kernel's order.

    Raises:
        DeviceMemoryError: The GPU's memory is full.
        ValueError: The decoder's matrices have other sizes.
    """
    packed = DeviceArray.allocate((sizes.packed_bytes,), np.uint8, what="the decoder's weights")
    bounds = sizes.first_tiles(device.multiprocessors)
    next_tiles = bounds[:-1].copy()  # where each block's tiles of the next matrix begin
    for layer in decoder.layers:
        for matrix, norm, order in (
            (layer.qkv, layer.attention_norm, ColumnOrder.ROPE_INTERLEAVED),
            (layer.o, None, ColumnOrder.PLAIN),
            (layer.gate_up, layer.mlp_norm, ColumnOrder.GATE_UP_INTERLEAVED),
            (layer.down, None, ColumnOrder.PLAIN),
        ):
            _pack(device, sizes, _floats(matrix), packed, next_tiles, norm=norm, order=order)
    _pack(
        device,
        sizes,
        _floats(decoder.lm_head).T,
        packed,
        next_tiles,
        norm=decoder.norm,
        order=ColumnOrder.PLAIN,
    )
    if not np.array_equal(next_tiles, bounds[1:]):
        message = "the decoder's matrices do not have the sizes of the step"
        raise ValueError(message)
    return DeviceStepWeights(
        sizes=sizes,
        packed=packed,
        first_tiles=DeviceArray.upload(bounds),
        cosines=DeviceArray.upload(decoder.cosines),
        sines=DeviceArray.upload(decoder.sines),
        epsilon=decoder.epsilon,
        scale=decoder.scale,
    )


def _floats(matrix: Matrix) -> NDArray[Any]:
    """A matrix of floats; the GPU's kernel has no int8.

    Raises:
        ValueError: It is in int8.
    """
    if isinstance(matrix, Int8Matrix):
        message = "a matrix in int8 for the GPU's kernel"
        raise ValueError(message)
    return matrix


def _pack(
    device: CudaDevice,
    sizes: StepSizes,
    matrix: NDArray[Any],
    packed: DeviceArray,
    next_tiles: NDArray[np.int64],
    *,
    norm: NDArray[np.float32] | None,
    order: ColumnOrder,
) -> None:
    """Pack one matrix [inputs, columns], which may be a transposed view; advances `next_tiles`."""
    inputs, columns = matrix.shape
    transposed = not matrix.flags.c_contiguous
    source = DeviceArray.upload(matrix.T if transposed else matrix, what="a matrix")
    factor = None if norm is None else DeviceArray.upload(norm)
    first_tiles = DeviceArray.upload(next_tiles)
    strides = (1, inputs) if transposed else (columns, 1)
    tiles = math.ceil(columns / 16) * sizes.unit_tiles(inputs) * STREAM_WARPS
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
            np.int32(order),
            np.int32(sizes.head_size),
            np.int32(sizes.q_columns + sizes.kv_heads * sizes.head_size),
        ),
        C2T_TABLE=TYPE_NUMBER[matrix.dtype.name],
        C2T_THREADS=PACK_THREADS,
        **sizes.order_macros(device.multiprocessors),
    )
    device.synchronize()  # before the source is freed
    next_tiles += sizes.matrix_tiles(inputs, columns, len(next_tiles))
