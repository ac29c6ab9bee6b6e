"""A Llama decoder's step of up to 16 tokens on a CUDA device, in one kernel: `decoder_step.cu`.

One decision: the weights lie on the device once more, as float16 in the order in which the kernel
streams them, and each normalisation's weights are multiplied into the matrix that follows it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from c2t.kernels.cuda_launch import CudaDevice
from c2t.kernels.cuda_memory import DeviceArray
from c2t.kernels.native import TYPE_NUMBER

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_ROWS = 16
MOST_WIDTH = 4096  # of Llama 8B
LEAST_ARCHITECTURE = 80  # its tensor cores, and copies that a warp need not wait for
# Threads that pack, warps of a step's block, bytes of a piece of their rings, tokens of a cell that
# attend together. The sources are compiled for these, or check them.
PACK_THREADS = 256
WARPS = 16
PIECE_BYTES = 1024
ATTENDED = 4
# The kernel needs rings of 3 pieces. At 1B sizes 12 is what an H200 has room for.
MOST_STAGES, LEAST_STAGES = 12, 3
# How the columns of a matrix are ordered: as they are; so that numbers which a position turns
# together, or a gate and what it lets through, lie side by side.
PLAIN, TURNED, GATED = 0, 1, 2


@dataclass(frozen=True, kw_only=True)
class StepSizes:
    """Sizes of a Llama decoder."""

    layers: int
    width: int
    inner: int  # of the MLP
    heads: int
    kv_heads: int
    head_size: int
    vocabulary: int

    @property
    def queries(self) -> int:
        """Numbers of a row's queries, or of what its heads attended to."""
        return self.heads * self.head_size

    @property
    def heads_columns(self) -> int:
        """Numbers of a row's queries, keys and values."""
        return self.queries + 2 * self.kv_heads * self.head_size

    @property
    def problem(self) -> str:
        """Why the kernel cannot run such a decoder; empty where it can."""
        if self.head_size not in (8, 16, 32, 64, 128):
            return f"heads of {self.head_size} numbers"
        if self.width > MOST_WIDTH:
            return f"a width of {self.width}: its activations do not fit into registers"
        for what, count, unit in (
            ("a width", self.width, 16),
            ("queries, keys and values", self.heads_columns, 16),
            ("an MLP", self.inner, 8),
            ("query heads per KV head", self.heads, self.kv_heads),
        ):
            if count % unit:
                return f"{what} of {count}, no multiple of {unit}"
        return ""

    @property
    def packed_bytes(self) -> int:
        """Bytes of all matrices as the kernel streams them."""
        shapes = (
            (self.width, self.heads_columns),
            (self.queries, self.width),
            (self.width, 2 * self.inner),
            (self.inner, self.width),
        )
        layer = sum(_packed_bytes(*shape) for shape in shapes)
        return self.layers * layer + _packed_bytes(self.width, self.vocabulary)

    def macros(self, rows: int, stages: int) -> dict[str, int]:
        """What `decoder_step.cu` is compiled for."""
        return {
            "C2T_LAYERS": self.layers,
            "C2T_WIDTH": self.width,
            "C2T_INNER": self.inner,
            "C2T_HEADS": self.heads,
            "C2T_KV_HEADS": self.kv_heads,
            "C2T_HEAD": self.head_size,
            "C2T_VOCABULARY": self.vocabulary,
            "C2T_ROWS": rows,
            "C2T_STAGES": stages,
            "C2T_WARPS": WARPS,
            "C2T_ATTENDED": ATTENDED,
            "C2T_FIXED": _fixed_shared_bytes(self, rows),
        }


@dataclass(frozen=True, eq=False, kw_only=True)
class HostLayer:
    """A layer's weights on the host, float32 or float16, memory-mapped or not."""

    attention_norm: NDArray[np.float32]  # [D]
    qkv: NDArray[Any]  # [D, (heads + 2 KV heads) * head]
    output: NDArray[Any]  # [heads * head, D]
    mlp_norm: NDArray[np.float32]  # [D]
    gate_up: NDArray[Any]  # [D, 2 F]
    down: NDArray[Any]  # [F, D]


@dataclass(frozen=True, eq=False, kw_only=True)
class HostDecoder:
    """A decoder's weights on the host; see `HostLayer`."""

    layers: Iterable[HostLayer]
    norm: NDArray[np.float32]  # [D]
    logits: NDArray[Any]  # [V, D]
    cosines: NDArray[np.float32]  # [positions, head / 2]
    sines: NDArray[np.float32]
    epsilon: float
    scale: float  # of queries times keys


@dataclass(frozen=True, eq=False, kw_only=True)
class DeviceStepWeights:
    """A decoder's weights on the device."""

    sizes: StepSizes
    packed: DeviceArray
    cosines: DeviceArray
    sines: DeviceArray
    epsilon: float
    scale: float


@dataclass(frozen=True, eq=False)
class StepScratch:
    """Memory that a step works in; one step at a time uses it."""

    residual: DeviceArray  # [16, D] float32
    queries: DeviceArray  # [16, heads * head] float16
    context: DeviceArray
    product: DeviceArray  # [16, F] float16
    barrier: DeviceArray  # [2] uint32, zeros before and after a step

    @classmethod
    def allocate(cls, sizes: StepSizes) -> StepScratch:
        """Room for the largest step."""
        return cls(
            DeviceArray.allocate((MAX_ROWS, sizes.width), np.float32),
            DeviceArray.allocate((MAX_ROWS, sizes.queries), np.float16),
            DeviceArray.allocate((MAX_ROWS, sizes.queries), np.float16),
            DeviceArray.allocate((MAX_ROWS, sizes.inner), np.float16),
            DeviceArray.zeros((2,), np.uint32),
        )


@dataclass(frozen=True, kw_only=True)
class StepArguments:
    """Addresses on the device and sizes of one step; what is named int64 are `long long`."""

    embeds: int  # [batch, tokens, D] float16
    positions: int  # [batch, tokens] int64
    write_index: int  # [batch] int64
    logit_rows: int  # [batch, places] int64
    cache: int  # keys of the first layer [batch, KV heads, capacity, head] float16
    cache_stride: int  # float16 numbers from keys to values, and on to the next layer's keys
    logits: int  # [batch, places, V] float32
    batch: int
    tokens: int
    places: int
    capacity: int


def pack_decoder(device: CudaDevice, sizes: StepSizes, decoder: HostDecoder) -> DeviceStepWeights:
    """Bring a decoder's weights to the device, in the kernel's order.

    Raises:
        DeviceMemoryError: They do not fit.
    """
    packed = DeviceArray.allocate((sizes.packed_bytes,), np.uint8, what="the decoder's weights")
    place = packed.pointer
    for layer in decoder.layers:
        for matrix, norm, order in (
            (layer.qkv, layer.attention_norm, TURNED),
            (layer.output, None, PLAIN),
            (layer.gate_up, layer.mlp_norm, GATED),
            (layer.down, None, PLAIN),
        ):
            place += _pack(device, sizes, matrix, place, norm=norm, order=order)
    place += _pack(device, sizes, decoder.logits.T, place, norm=decoder.norm, order=PLAIN)
    if place != packed.pointer + packed.nbytes:
        message = f"{place - packed.pointer} bytes of weights, not {packed.nbytes}"
        raise ValueError(message)
    return DeviceStepWeights(
        sizes=sizes,
        packed=packed,
        cosines=DeviceArray.upload(decoder.cosines),
        sines=DeviceArray.upload(decoder.sines),
        epsilon=decoder.epsilon,
        scale=decoder.scale,
    )


def _pack(
    device: CudaDevice,
    sizes: StepSizes,
    matrix: NDArray[Any],
    place: int,
    *,
    norm: NDArray[np.float32] | None,
    order: int,
) -> int:
    """Write one matrix [K, N], or a transposed [N, K], in the kernel's order; returns its bytes."""
    sums, columns = matrix.shape
    transposed = not matrix.flags.c_contiguous
    source = DeviceArray.upload(matrix.T if transposed else matrix, what="a matrix")
    factor = None if norm is None else DeviceArray.upload(norm)
    size = _packed_bytes(sums, columns)
    strides = (1, sums) if transposed else (columns, 1)
    device.launch(
        "pack_weights",
        "pack_weights",
        (-(-size // 16 // PACK_THREADS), PACK_THREADS),
        (
            source.pointer,
            factor.pointer if factor else 0,
            place,
            *(np.int64(number) for number in (sums, columns, *strides)),
            np.int32(order),
            np.int32(sizes.head_size),
            np.int32(sizes.queries + sizes.kv_heads * sizes.head_size),
        ),
        C2T_TABLE=TYPE_NUMBER[matrix.dtype.name],
        C2T_THREADS=PACK_THREADS,
    )
    device.synchronize()  # before the source is freed
    return size


def launch_decoder_step(
    device: CudaDevice, weights: DeviceStepWeights, scratch: StepScratch, step: StepArguments
) -> None:
    """Start a step of at most `MAX_ROWS` rows; does not wait.

    Raises:
        KernelError: The device cannot run all its blocks at once.
    """
    rows = 8 if step.batch * step.tokens <= 8 else MAX_ROWS
    sizes = weights.sizes
    stages = _stages(device, sizes, rows)
    device.launch_together(
        "decoder_step",
        "decoder_step",
        WARPS * 32,
        _fixed_shared_bytes(sizes, rows) + stages * WARPS * PIECE_BYTES,
        (
            weights.packed.pointer,
            weights.cosines.pointer,
            weights.sines.pointer,
            step.embeds,
            step.positions,
            step.write_index,
            step.logit_rows,
            step.cache,
            step.logits,
            scratch.residual.pointer,
            scratch.queries.pointer,
            scratch.context.pointer,
            scratch.product.pointer,
            scratch.barrier.pointer,
            np.int64(step.cache_stride),
            *(np.int32(n) for n in (step.batch, step.tokens, step.places, step.capacity)),
            np.float32(weights.epsilon),
            np.float32(weights.scale),
        ),
        **sizes.macros(rows, stages),
    )


def runs_steps(device: CudaDevice, sizes: StepSizes) -> bool:
    """Whether the device can run steps of such a decoder."""
    if int(device.arch.removeprefix("sm_")) < LEAST_ARCHITECTURE or sizes.problem:
        return False
    return _stages(device, sizes, MAX_ROWS) >= LEAST_STAGES


def _stages(device: CudaDevice, sizes: StepSizes, rows: int) -> int:
    """Pieces of a warp's ring that fit beside what else a block keeps."""
    free = device.shared_bytes - _fixed_shared_bytes(sizes, rows)
    return min(MOST_STAGES, free // (WARPS * PIECE_BYTES))


def _fixed_shared_bytes(sizes: StepSizes, rows: int) -> int:
    """Shared memory of `decoder_step.cu` besides its ring, in its order."""
    meeting = 2 * rows * 16 * (WARPS + 1)
    attending = WARPS * ATTENDED * (sizes.head_size + 2)
    places = rows * (1 + sizes.head_size)
    return 4 * (max(meeting, attending) + rows * WARPS + places)


def _packed_bytes(sums: int, columns: int) -> int:
    return math.ceil(sums / 32) * math.ceil(columns / 16) * PIECE_BYTES
