"""Sizes of a decoder step, and how its work and its weights are laid out on a GPU's blocks.

The terms are those of `decoder_step.cu`: a tile is 16 columns (outputs) by 32 inputs of a matrix; a
unit is 16 columns; the streaming warps of a block share a unit's tiles; a warp has a ring of tiles
in shared memory, which is filled and waited for in groups.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_ROWS = 16
MAX_HIDDEN_SIZE = 4096  # of Llama 8B, where a few registers are spilled
STREAM_WARPS, EPILOGUE_WARPS = 8, 4
THREADS = 32 * (STREAM_WARPS + EPILOGUE_WARPS)  # of a block
TILE_BYTES = 1024  # float16
# By the most rows of a step: tokens of a batch row that a block attends with together, and tiles of
# a ring's group. More would spill registers.
QUERIES = {8: 1, MAX_ROWS: 2}
MAX_GROUP_TILES = {8: 4, MAX_ROWS: 2}
# Tiles of a warp's ring: at 1B sizes an H200 has room for 24. A ring of fewer groups than three
# would not keep copies in flight while a group is used.
MAX_RING_TILES, MIN_RING_GROUPS = 24, 3


@dataclass(frozen=True, kw_only=True)
class StepSizes:
    """Sizes of a Llama decoder.

    Args:
        layers: Layers of the decoder.
        hidden_size: D.
        intermediate_size: F, of the MLP.
        heads: Of queries.
        kv_heads: Of keys and values.
        head_size: Numbers of a head.
        vocabulary_size: V.
    """

    layers: int
    hidden_size: int
    intermediate_size: int
    heads: int
    kv_heads: int
    head_size: int
    vocabulary_size: int

    @property
    def problem(self) -> str:
        """Why the kernel cannot run such a decoder; empty where it can."""
        if self.head_size not in (8, 16, 32, 64, 128):
            return f"a head size of {self.head_size}"
        if self.hidden_size > MAX_HIDDEN_SIZE:
            return f"a hidden size of {self.hidden_size}: its activations do not fit into registers"
        for what, count, unit in (
            ("a hidden size", self.hidden_size, 16),
            ("queries, keys and values", self.qkv_columns, 16),
            ("an intermediate size", self.intermediate_size, 8),
            ("query heads per KV head", self.heads, self.kv_heads),
        ):
            if count % unit:
                return f"{what} of {count}, no multiple of {unit}"
        return ""

    @property
    def q_columns(self) -> int:
        """Numbers of a row's queries, and of what attention returns for it."""
        return self.heads * self.head_size

    @property
    def qkv_columns(self) -> int:
        """Numbers of a row's queries, keys and values."""
        return self.q_columns + 2 * self.kv_heads * self.head_size

    @property
    def chunk(self) -> int:
        """Tiles of a warp whose activations are in registers together: those of a whole row."""
        return math.ceil(self.hidden_size / (32 * STREAM_WARPS))

    def unit_tiles(self, inputs: int) -> int:
        """Tiles of each warp in a unit of a matrix [inputs, N], in whole chunks."""
        return math.ceil(inputs / (32 * STREAM_WARPS * self.chunk)) * self.chunk

    def matrix_tiles(self, inputs: int, columns: int, blocks: int) -> NDArray[np.int64]:
        """Tiles of each warp of each block [blocks]; a matrix's units are dealt to the blocks."""
        units = math.ceil(columns / 16)
        return (units - np.arange(blocks) + blocks - 1) // blocks * self.unit_tiles(inputs)

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
        layer = (
            (self.hidden_size, self.qkv_columns),
            (self.q_columns, self.hidden_size),
            (self.hidden_size, 2 * self.intermediate_size),
            (self.intermediate_size, self.hidden_size),
        )
        of_layer = sum(self.matrix_tiles(*shape, blocks) for shape in layer)
        return self.layers * of_layer + self.matrix_tiles(
            self.hidden_size, self.vocabulary_size, blocks
        )

    def ring(self, rows: int, *, blocks: int, shared_bytes: int) -> Ring | None:
        """The ring of a warp that fits into a block's shared memory.

        Args:
            rows: 8 or 16, the most rows of the step.
            blocks: Of the grid.
            shared_bytes: The most that a block can have.

        Returns:
            The ring with the largest groups that fits; None if none fits.
        """
        free = shared_bytes - self.fixed_shared_bytes(rows, blocks)
        tiles = min(MAX_RING_TILES, free // (STREAM_WARPS * TILE_BYTES))
        for group in range(MAX_GROUP_TILES[rows], 0, -1):
            if self.chunk % group == 0 and tiles // group >= MIN_RING_GROUPS:
                return Ring(group, tiles // group)
        return None

    def ring_bytes(self, ring: Ring) -> int:
        """Shared memory of a block's rings."""
        return ring.group * ring.stages * STREAM_WARPS * TILE_BYTES

    def fixed_shared_bytes(self, rows: int, blocks: int) -> int:
        """Shared memory of a block besides its rings; `decoder_step.cu` checks the number."""
        warps = STREAM_WARPS + EPILOGUE_WARPS
        partial_stride = STREAM_WARPS + 4
        sums = 2 * rows * 16 * partial_stride
        attention = warps * QUERIES[rows] * (self.head_size + 2)
        squares = rows * partial_stride
        own_columns = math.ceil(math.ceil(self.hidden_size / 16) / blocks) * rows * 16
        positions = rows * (3 + self.head_size)
        return 4 * (max(sums, attention) + squares + own_columns + positions)

    def step_macros(self, rows: int, ring: Ring, blocks: int) -> dict[str, int]:
        """Macros of `decoder_step.cu`."""
        return {
            "C2T_LAYERS": self.layers,
            "C2T_HIDDEN_SIZE": self.hidden_size,
            "C2T_INTERMEDIATE_SIZE": self.intermediate_size,
            "C2T_HEADS": self.heads,
            "C2T_KV_HEADS": self.kv_heads,
            "C2T_HEAD_SIZE": self.head_size,
            "C2T_VOCABULARY_SIZE": self.vocabulary_size,
            "C2T_ROWS": rows,
            "C2T_GROUP": ring.group,
            "C2T_STAGES": ring.stages,
            "C2T_EPILOGUE_WARPS": EPILOGUE_WARPS,
            "C2T_QUERIES": QUERIES[rows],
            "C2T_FIXED_SHARED_BYTES": self.fixed_shared_bytes(rows, blocks),
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
    """

    group: int
    stages: int
