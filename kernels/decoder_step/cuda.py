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

from c2t.kernels.cuda.device import CudaDevice
from c2t.kernels.cuda.memory import DeviceArray
from c2t.kernels.dtypes import TYPE_NUMBER
from c2t.kernels.errors import KernelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_ROWS = 16
MOST_WIDTH = 4096  # of Llama 8B, where a few registers are spilled
LEAST_ARCHITECTURE = 80  # its tensor cores, and copies that a warp need not wait for
# Threads that pack, warps of a step's block that stream and that finish, bytes of a tile (16
# columns by 32 numbers of the sum), tokens of a cell that attend together, by the most rows. The
# sources are compiled for these, or check them.
PACK_THREADS = 256
WARPS, FINISHERS = 8, 4
TILE_BYTES = 1024
ATTENDED = {8: 1, MAX_ROWS: 2}
# Tiles of a warp's ring: at 1B sizes 24 is what an H200 has room for. They are waited for in
# groups, of which a ring needs some.
MOST_TILES, LEAST_GROUPS = 24, 3
MOST_IN_GROUP = {8: 4, MAX_ROWS: 2}
# Counters by which the blocks know of each other, each on a line of memory of its own.
COUNTERS, COUNTER_STRIDE = 3, 32
# How the columns of a matrix are ordered: as they are; so that numbers which a position turns
# together, or a gate and what it lets through, lie side by side.
PLAIN, TURNED, GATED = 0, 1, 2


@dataclass(frozen=True, kw_only=True)
class StepSizes:
    """Sizes of a Llama decoder."""

    layers: int
    hidden_size: int
    intermediate_size: int  # of the MLP
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
        if self.hidden_size > MOST_WIDTH:
            return f"a hidden size of {self.hidden_size}: its activations do not fit into registers"
        for what, count, unit in (
            ("a hidden size", self.hidden_size, 16),
            ("queries, keys and values", self.heads_columns, 16),
            ("an MLP", self.intermediate_size, 8),
            ("query heads per KV head", self.heads, self.kv_heads),
        ):
            if count % unit:
                return f"{what} of {count}, no multiple of {unit}"
        return ""

    @property
    def chunk(self) -> int:
        """Tiles of a warp whose activations are held together: all of a row's normalised ones."""
        return math.ceil(self.hidden_size / (32 * WARPS))

    def tiles(self, sums: int) -> int:
        """Tiles of each warp in 16 columns of a matrix with such a sum, in whole chunks."""
        return math.ceil(sums / (32 * WARPS * self.chunk)) * self.chunk

    @property
    def packed_bytes(self) -> int:
        """Bytes of all matrices as the kernel streams them."""
        return int(self._block_tiles(1)[0]) * WARPS * TILE_BYTES

    def starts(self, blocks: int) -> NDArray[np.int64]:
        """Tiles of a warp before each block's first, and of all blocks, [blocks + 1]."""
        return np.concatenate([[0], np.cumsum(self._block_tiles(blocks))]).astype(np.int64)

    def _block_tiles(self, blocks: int) -> NDArray[np.int64]:
        layer = (
            (self.hidden_size, self.heads_columns),
            (self.queries, self.hidden_size),
            (self.hidden_size, 2 * self.intermediate_size),
            (self.intermediate_size, self.hidden_size),
        )
        tiles = self.layers * sum(self.matrix_tiles(blocks, *shape) for shape in layer)
        return tiles + self.matrix_tiles(blocks, self.hidden_size, self.vocabulary)

    def matrix_tiles(self, blocks: int, sums: int, columns: int) -> NDArray[np.int64]:
        """Tiles of a warp of each block in a matrix [K, N], whose units of 16 columns go round."""
        units = math.ceil(columns / 16)
        return (units - np.arange(blocks) + blocks - 1) // blocks * self.tiles(sums)

    def macros(self, rows: int, ring: Ring, blocks: int) -> dict[str, int]:
        """What `decoder_step.cu` is compiled for."""
        return {
            "C2T_LAYERS": self.layers,
            "C2T_WIDTH": self.hidden_size,
            "C2T_INNER": self.intermediate_size,
            "C2T_HEADS": self.heads,
            "C2T_KV_HEADS": self.kv_heads,
            "C2T_HEAD": self.head_size,
            "C2T_VOCABULARY": self.vocabulary,
            "C2T_ROWS": rows,
            "C2T_GROUP": ring.group,
            "C2T_STAGES": ring.groups,
            "C2T_FINISHERS": FINISHERS,
            "C2T_ATTENDED": ATTENDED[rows],
            "C2T_FIXED": _fixed_shared_bytes(self, rows, blocks),
            **self.order(blocks),
        }

    def order(self, blocks: int) -> dict[str, int]:
        """What both sources must agree on: in which order the blocks find their tiles."""
        return {"C2T_BLOCKS": blocks, "C2T_WARPS": WARPS, "C2T_CHUNK": self.chunk}


@dataclass(frozen=True)
class Ring:
    """How a warp's ring is divided: tiles of a group, and groups."""

    group: int
    groups: int

    @property
    def bytes_of_block(self) -> int:
        """Shared memory of a block's rings."""
        return self.group * self.groups * WARPS * TILE_BYTES


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
    starts: DeviceArray  # see `StepSizes.starts`
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
    counters: DeviceArray  # [3, 32] uint32, zeros before and after a step

    @classmethod
    def allocate(cls, sizes: StepSizes) -> StepScratch:
        """Room for the largest step."""
        return cls(
            DeviceArray.allocate((MAX_ROWS, sizes.hidden_size), np.float32),
            DeviceArray.allocate((MAX_ROWS, sizes.queries), np.float16),
            DeviceArray.allocate((MAX_ROWS, sizes.queries), np.float16),
            DeviceArray.allocate((MAX_ROWS, sizes.intermediate_size), np.float16),
            DeviceArray.zeros((COUNTERS, COUNTER_STRIDE), np.uint32),
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
    starts = sizes.starts(device.multiprocessors)
    places = starts[:-1].copy()  # of the next matrix's tiles
    for layer in decoder.layers:
        for matrix, norm, order in (
            (layer.qkv, layer.attention_norm, TURNED),
            (layer.output, None, PLAIN),
            (layer.gate_up, layer.mlp_norm, GATED),
            (layer.down, None, PLAIN),
        ):
            _pack(device, sizes, matrix, packed, places, norm=norm, order=order)
    _pack(device, sizes, decoder.logits.T, packed, places, norm=decoder.norm, order=PLAIN)
    if not np.array_equal(places, starts[1:]):
        message = "the decoder has other weights than its sizes say"
        raise ValueError(message)
    return DeviceStepWeights(
        sizes=sizes,
        packed=packed,
        starts=DeviceArray.upload(starts),
        cosines=DeviceArray.upload(decoder.cosines),
        sines=DeviceArray.upload(decoder.sines),
        epsilon=decoder.epsilon,
        scale=decoder.scale,
    )


def _pack(
    device: CudaDevice,
    sizes: StepSizes,
    matrix: NDArray[Any],
    packed: DeviceArray,
    places: NDArray[np.int64],
    *,
    norm: NDArray[np.float32] | None,
    order: int,
) -> None:
    """Write one matrix [K, N], or a transposed [N, K], in the kernel's order; moves `places` on."""
    sums, columns = matrix.shape
    transposed = not matrix.flags.c_contiguous
    source = DeviceArray.upload(matrix.T if transposed else matrix, what="a matrix")
    factor = None if norm is None else DeviceArray.upload(norm)
    place = DeviceArray.upload(places)
    strides = (1, sums) if transposed else (columns, 1)
    words = math.ceil(columns / 16) * sizes.tiles(sums) * WARPS * TILE_BYTES // 16
    device.launch(
        "pack_weights",
        "pack_weights",
        (-(-words // PACK_THREADS), PACK_THREADS),
        (
            source.pointer,
            factor.pointer if factor else 0,
            packed.pointer,
            place.pointer,
            *(np.int64(number) for number in (sums, columns, *strides)),
            np.int32(order),
            np.int32(sizes.head_size),
            np.int32(sizes.queries + sizes.kv_heads * sizes.head_size),
        ),
        C2T_TABLE=TYPE_NUMBER[matrix.dtype.name],
        C2T_THREADS=PACK_THREADS,
        **sizes.order(device.multiprocessors),
    )
    device.synchronize()  # before the source is freed
    places += sizes.matrix_tiles(len(places), sums, columns)


def launch_decoder_step(
    device: CudaDevice, weights: DeviceStepWeights, scratch: StepScratch, step: StepArguments
) -> None:
    """Start a step of at most `MAX_ROWS` rows; does not wait.

    Raises:
        KernelError: The device cannot run all its blocks at once, or has no room for one.
    """
    rows = 8 if step.batch * step.tokens <= 8 else MAX_ROWS
    sizes = weights.sizes
    ring = step_ring(device, sizes, rows)
    if ring is None:
        problem = f"a step of {rows} rows does not fit into the GPU's shared memory"
        raise KernelError(problem, hint="ask `runs_steps` first")
    device.launch_together(
        "decoder_step",
        "decoder_step",
        (WARPS + FINISHERS) * 32,
        _fixed_shared_bytes(sizes, rows, device.multiprocessors) + ring.bytes_of_block,
        (
            weights.packed.pointer,
            weights.starts.pointer,
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
            scratch.counters.pointer,
            np.int64(step.cache_stride),
            *(np.int32(n) for n in (step.batch, step.tokens, step.places, step.capacity)),
            np.float32(weights.epsilon),
            np.float32(weights.scale),
        ),
        **sizes.macros(rows, ring, device.multiprocessors),
    )


def runs_steps(device: CudaDevice, sizes: StepSizes) -> bool:
    """Whether the device can run steps of such a decoder."""
    if int(device.arch.removeprefix("sm_")) < LEAST_ARCHITECTURE or sizes.problem:
        return False
    return step_ring(device, sizes, MAX_ROWS) is not None


def step_ring(device: CudaDevice, sizes: StepSizes, rows: int) -> Ring | None:
    """A warp's ring that fits beside what else a block keeps.

    Args:
        device: What is to run the step.
        sizes: The decoder's.
        rows: 8 or 16, the most rows of the step.

    Returns:
        The largest groups of which enough fit; None where not even single tiles do.
    """
    free = device.shared_bytes - _fixed_shared_bytes(sizes, rows, device.multiprocessors)
    tiles = min(MOST_TILES, free // (WARPS * TILE_BYTES))
    for group in range(MOST_IN_GROUP[rows], 0, -1):
        if sizes.chunk % group == 0 and tiles // group >= LEAST_GROUPS:
            return Ring(group, tiles // group)
    return None


def _fixed_shared_bytes(sizes: StepSizes, rows: int, blocks: int) -> int:
    """Shared memory of `decoder_step.cu` besides its rings, in its order."""
    parts = WARPS + 4  # of a number, by the warps; so far apart for the banks
    meeting = 2 * rows * 16 * parts
    attending = (WARPS + FINISHERS) * ATTENDED[rows] * (sizes.head_size + 2)
    own = math.ceil(math.ceil(sizes.hidden_size / 16) / blocks) * rows * 16
    places = rows * (3 + sizes.head_size)
    return 4 * (max(meeting, attending) + rows * parts + own + places)
