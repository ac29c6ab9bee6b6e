"""How the work and the weights of a decoder step are laid out on a GPU's blocks.

The terms are those of `decoder_step.cu`: a tile is 16 columns (outputs) by 32 inputs of a matrix in
float16, by 64 inputs in int8; a unit is 16 columns; the streaming warps of a block share a unit's
tiles; a warp has a ring of tiles in shared memory, which is filled and waited for in groups. A tile
has the same bytes in both types, so one stream may hold both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import MISSING, Field, dataclass, fields
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from c2t.kernels.decoder_step.sizes import StepSizes
from c2t.kernels.decoder_step.weights import HostDecoder, HostLayer, LayerBiases
from c2t.kernels.errors import KernelError
from c2t.kernels.linears.matrix import Int8Matrix

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The most rows (tokens of all batch rows) of the kernel's sizes. More than 16 only where all
# linears are in int8: activations in float16 of more rows have no room on a multiprocessor.
ROWS = (8, 16, 32, 64)
MAX_FLOAT16_ROWS = 16
STREAM_WARPS, EPILOGUE_WARPS = 8, 4
THREADS = 32 * (STREAM_WARPS + EPILOGUE_WARPS)  # of a block
TILE_BYTES = 1024
# By the most rows of a step: tokens of a batch row that a block attends with together, and pieces
# of 32 inputs in a ring's group. More would spill registers. Steps of many rows are mostly those of
# many cells, with one token of each.
QUERIES = {8: 1, 16: 2, 32: 1, 64: 1}
MAX_GROUP_PIECES = {8: 4, 16: 2, 32: 2, 64: 2}
# Tiles of a warp's ring: at 1B sizes an H200 has room for 24. A ring of fewer groups than three
# would not keep copies in flight while a group is used.
MAX_RING_TILES, MIN_RING_GROUPS = 24, 3
# Tiles of activations in int8 (4 registers of a lane each) that lie in registers rather than in
# shared memory. Up to the second number they may, where that has no room: some are spilled.
REGISTER_TILES, MAX_REGISTER_TILES = 8, 16
MAX_HIDDEN_SIZE = 4096  # of Llama 8B, where a few registers are spilled
HEAD_SIZES = (8, 16, 32, 64, 128)
MAX_INT8_LAYERS = 63  # a bit of a 64-bit number says whether a layer's linear is in int8

# What the kernel computes. A decoder with anything else is refused: it would be left out.
KNOWN_SIZES = {
    "layers",
    "hidden_size",
    "intermediate_size",
    "heads",
    "kv_heads",
    "head_size",
    "vocabulary_size",
}
KNOWN_PARTS = {"layers", "norm", "lm_head", "cosines", "sines", "epsilon", "scale"}
KNOWN_LAYER_PARTS = {"attention_norm", "qkv", "o", "mlp_norm", "gate_up", "down"}


class Int8Linears(NamedTuple):
    """Which linears are in int8: for each kind, the layers as bits; the others are in float16."""

    qkv: int = 0
    o: int = 0
    gate_up: int = 0
    down: int = 0
    lm_head: int = 0


NO_INT8 = Int8Linears()


class StepLinear(NamedTuple):
    """A linear of a decoder, in the order in which the kernel streams them."""

    inputs: int
    columns: int
    int8: bool


@dataclass(frozen=True, kw_only=True)
class StepLayout:
    """A decoder's weights on a GPU's blocks.

    Args:
        sizes: The decoder's.
        int8: Its linears in int8.
    """

    sizes: StepSizes
    int8: Int8Linears = NO_INT8

    @classmethod
    def of(cls, sizes: StepSizes, decoder: HostDecoder) -> StepLayout:
        """The layout of a decoder, whose `layers` must be a sequence.

        Raises:
            KernelError: The decoder has something that the kernel does not compute, which is named.
            TypeError: Its layers are no sequence.
        """
        if not isinstance(decoder.layers, Sequence):
            message = "the decoder's layers can be read only once"
            raise TypeError(message)
        others = [f"a {name} of its own" for name in _others(sizes, KNOWN_SIZES)]
        others += _others(decoder, KNOWN_PARTS)
        if 2 * decoder.cosines.shape[1] != sizes.head_size:
            others.append(f"{2 * decoder.cosines.shape[1]} rotated numbers of a head")
        for number, layer in enumerate(decoder.layers):
            others += [f"layers.{number}.{name}" for name in _others(layer, KNOWN_LAYER_PARTS)]
        if others:
            problem = f"the decoder has {others[0]}, which the GPU's step kernel does not know"
            raise KernelError(problem, hint="ONNX Runtime runs all of it")

        def bits(name: str) -> int:
            return sum(
                isinstance(getattr(layer, name), Int8Matrix) << number
                for number, layer in enumerate(decoder.layers)
            )

        int8 = Int8Linears(
            qkv=bits("qkv"),
            o=bits("o"),
            gate_up=bits("gate_up"),
            down=bits("down"),
            lm_head=int(isinstance(decoder.lm_head, Int8Matrix)),
        )
        return cls(sizes=sizes, int8=int8)

    @property
    def has_int8(self) -> bool:
        """Whether a linear is in int8."""
        return any(self.int8)

    @property
    def problem(self) -> str:
        """Why the kernel cannot run such a decoder; empty where it can."""
        if self.has_int8 and self.sizes.layers > MAX_INT8_LAYERS:
            return f"{self.sizes.layers} layers, some in int8"
        s = self.sizes
        if s.head_size not in HEAD_SIZES:
            return f"a head size of {s.head_size}"
        if s.hidden_size > MAX_HIDDEN_SIZE:
            return f"a hidden size of {s.hidden_size}: its activations do not fit into registers"
        for what, count, unit in (
            ("a hidden size", s.hidden_size, 16),
            ("queries, keys and values", s.qkv_columns, 16),
            ("an intermediate size", s.intermediate_size, 8),
            ("query heads per KV head", s.heads, s.kv_heads),
        ):
            if count % unit:
                return f"{what} of {count}, no multiple of {unit}"
        return ""

    @property
    def chunk(self) -> int:
        """Pieces of 32 inputs of a warp whose activations are in registers together.

        Those of a whole row. In int8 a tile has two pieces.
        """
        chunk = math.ceil(self.sizes.hidden_size / (32 * STREAM_WARPS))
        return chunk + chunk % 2 if self.has_int8 else chunk

    @property
    def linears(self) -> list[StepLinear]:
        """All linears, in the order in which the kernel streams them."""
        s, linears = self.sizes, []
        for layer in range(s.layers):
            for inputs, columns, bits in (
                (s.hidden_size, s.qkv_columns, self.int8.qkv),
                (s.q_columns, s.hidden_size, self.int8.o),
                (s.hidden_size, 2 * s.intermediate_size, self.int8.gate_up),
                (s.intermediate_size, s.hidden_size, self.int8.down),
            ):
                linears.append(StepLinear(inputs, columns, bool(bits >> layer & 1)))
        return [*linears, StepLinear(s.hidden_size, s.vocabulary_size, bool(self.int8.lm_head))]

    def unit_tiles(self, linear: StepLinear) -> int:
        """Tiles of each warp in a unit of a linear, in whole chunks."""
        tiles = self.chunk // 2 if linear.int8 else self.chunk
        return math.ceil(linear.inputs / (32 * STREAM_WARPS * self.chunk)) * tiles

    def matrix_tiles(self, linear: StepLinear, blocks: int) -> NDArray[np.int64]:
        """Tiles of each warp of each block [blocks]; a matrix's units are dealt to the blocks."""
        units = math.ceil(linear.columns / 16)
        return (units - np.arange(blocks) + blocks - 1) // blocks * self.unit_tiles(linear)

    def first_tiles(self, blocks: int) -> NDArray[np.int64]:
        """[blocks + 1] where the tiles of each block begin, and where those of the last one end.

        Of all matrices together, counted in tiles of one warp.
        """
        return np.concatenate([[0], np.cumsum(self._all_tiles(blocks))]).astype(np.int64)

    @property
    def packed_bytes(self) -> int:
        """Bytes of all matrices as the kernel streams them."""
        return int(self._all_tiles(1)[0]) * STREAM_WARPS * TILE_BYTES

    def _all_tiles(self, blocks: int) -> NDArray[np.int64]:
        tiles = [self.matrix_tiles(linear, blocks) for linear in self.linears]
        total: NDArray[np.int64] = np.sum(tiles, axis=0)
        return total

    @property
    def all_int8(self) -> bool:
        """Whether all linears are in int8."""
        every = (1 << self.sizes.layers) - 1
        return self.int8 == Int8Linears(every, every, every, every, 1)

    def max_rows(self, *, blocks: int, shared_bytes: int) -> int:
        """The most rows of a step that a GPU runs; 0: none.

        Args:
            blocks: Of the grid.
            shared_bytes: The most that a block can have.
        """
        fitting = 0
        for rows in ROWS if self.all_int8 else (8, MAX_FLOAT16_ROWS):
            if self.ring(rows, blocks=blocks, shared_bytes=shared_bytes) is None:
                break
            fitting = rows
        return fitting

    def ring(self, rows: int, *, blocks: int, shared_bytes: int) -> Ring | None:
        """The ring of a warp that fits into a block's shared memory.

        Args:
            rows: Of `ROWS`, the most rows of the step.
            blocks: Of the grid.
            shared_bytes: The most that a block can have.

        Returns:
            The ring with the largest groups that fits; None if none fits.
        """
        pieces = 2 if self.has_int8 else 1  # of a tile
        for in_shared in self._places_of_activations(rows):
            free = shared_bytes - self.fixed_shared_bytes(rows, blocks, in_shared=in_shared)
            tiles = min(MAX_RING_TILES, free // (STREAM_WARPS * TILE_BYTES))
            for group in range(MAX_GROUP_PIECES[rows] // pieces, 0, -1):
                if self.chunk % (pieces * group) == 0 and tiles // group >= MIN_RING_GROUPS:
                    return Ring(group, tiles // group, in_shared)
        return None

    def _places_of_activations(self, rows: int) -> tuple[bool, ...]:
        """Whether normalised activations may lie in shared memory, and in registers; best first."""
        tiles = rows // 8 * self.chunk // 2
        if not self.all_int8 or tiles <= REGISTER_TILES:
            return (False,)
        return (True, False) if tiles <= MAX_REGISTER_TILES else (True,)

    def shared_bytes(self, rows: int, ring: Ring, blocks: int) -> int:
        """Shared memory of a block."""
        fixed = self.fixed_shared_bytes(rows, blocks, in_shared=ring.shared_activations)
        return fixed + ring.group * ring.stages * STREAM_WARPS * TILE_BYTES

    def fixed_shared_bytes(self, rows: int, blocks: int, *, in_shared: bool = False) -> int:
        """Shared memory of a block besides its rings; `decoder_step.cu` checks the number.

        Args:
            rows: Of `ROWS`.
            blocks: Of the grid.
            in_shared: Whether normalised activations lie there.
        """
        sizes = self.sizes
        warps = STREAM_WARPS + EPILOGUE_WARPS
        partial_stride = STREAM_WARPS + 4
        norm = 32 * STREAM_WARPS * self.chunk if self.has_int8 else 0
        sums = 0 if self.all_int8 else 2 * rows * 16 * partial_stride
        integers = rows * (2 * (16 + 4) + 1) if self.has_int8 else 0
        activations = STREAM_WARPS * rows * 8 * self.chunk if in_shared else 0
        attention = warps * QUERIES[rows] * (sizes.head_size + 2)
        squares = rows * partial_stride
        own_columns = math.ceil(math.ceil(sizes.hidden_size / 16) / blocks) * rows * 16
        positions = rows * (3 + sizes.head_size)
        exchanges = max(sums, attention) + integers
        return 4 * (norm + exchanges + squares + own_columns + activations + positions)

    def step_macros(self, rows: int, ring: Ring, blocks: int) -> dict[str, int]:
        """Macros of `decoder_step.cu`."""
        sizes = self.sizes
        return {
            "C2T_LAYERS": sizes.layers,
            "C2T_HIDDEN_SIZE": sizes.hidden_size,
            "C2T_INTERMEDIATE_SIZE": sizes.intermediate_size,
            "C2T_HEADS": sizes.heads,
            "C2T_KV_HEADS": sizes.kv_heads,
            "C2T_HEAD_SIZE": sizes.head_size,
            "C2T_VOCABULARY_SIZE": sizes.vocabulary_size,
            **{f"C2T_INT8_{name.upper()}": bits for name, bits in self.int8._asdict().items()},
            "C2T_ROWS": rows,
            "C2T_GROUP": ring.group,
            "C2T_STAGES": ring.stages,
            "C2T_EPILOGUE_WARPS": EPILOGUE_WARPS,
            "C2T_QUERIES": QUERIES[rows],
            "C2T_SHARED_ACTIVATIONS": int(ring.shared_activations),
            "C2T_FIXED_SHARED_BYTES": self.fixed_shared_bytes(
                rows, blocks, in_shared=ring.shared_activations
            ),
            **self.order_macros(blocks),
        }

    def order_macros(self, blocks: int) -> dict[str, int]:
        """Macros of both sources, which must agree on the order of the tiles."""
        return {
            "C2T_BLOCKS": blocks,
            "C2T_STREAM_WARPS": STREAM_WARPS,
            "C2T_CHUNK": self.chunk,
        }


@dataclass(frozen=True)
class Ring:
    """How a warp's ring is divided.

    Args:
        group: Tiles of a group.
        stages: Groups of the ring.
        shared_activations: Whether normalised activations in int8 lie in shared memory beside it.
    """

    group: int
    stages: int
    shared_activations: bool = False


def _others(parts: StepSizes | HostDecoder | HostLayer, known: set[str]) -> list[str]:
    """Fields beyond those that are known, where they are not left at their default."""
    return [
        field.name
        for field in fields(parts)
        if field.name not in known and not _is_default(getattr(parts, field.name), field)
    ]


def _is_default(value: Any, field: Field[Any]) -> bool:
    default = field.default
    if default is MISSING or isinstance(value, np.ndarray):
        return False
    if isinstance(value, LayerBiases):
        return all(bias is None for bias in vars(value).values())
    return value is default or bool(value == default)
