"""The kernels around a decoder step on a CUDA device; `definition.py` says what they compute."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from c2t.kernels.cuda.device import CudaDevice
from c2t.kernels.cuda.memory import DeviceArray
from c2t.kernels.dtypes import TYPE_NUMBER

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The sources' C2T_THREADS.
ROW_THREADS = 256
CHOICE_THREADS = 256
CHOICE_PIECE = 16 * CHOICE_THREADS  # PIECE of choose_tokens.cu: columns of a block
PARTIAL_CHOICE_BYTES = 16  # its PartialChoice


@dataclass(frozen=True, eq=False)
class DeviceTokenTable:
    """The text token table on the device.

    Args:
        rows: [V, D] float32, float16 or int8.
        scale: [V] float32 of int8 rows, else None.
    """

    rows: DeviceArray
    scale: DeviceArray | None

    @classmethod
    def upload(
        cls, rows: NDArray[Any], scale: NDArray[np.float32] | None = None
    ) -> DeviceTokenTable:
        """A copy of the host's table, which may be memory-mapped.

        Raises:
            DeviceMemoryError: The GPU's memory is full.
        """
        return cls(
            DeviceArray.upload(rows, what="the text token table"),
            None if scale is None else DeviceArray.upload(scale, what="the text token table"),
        )


def launch_token_rows(
    device: CudaDevice,
    table: DeviceTokenTable,
    *,
    token_ids: int,
    given: int,
    out: int,
    count: int,
    dtype: str,
) -> None:
    """Write rows [count, D] for tokens; does not wait.

    Args:
        table: Rows [V, D].
        token_ids: Address of [count] int32, each below V; -1 takes the row from `given`.
        given: Address of [count, D] float32; 0 if no token is -1.
        out: Address of the rows [count, D].
        count: How many.
        dtype: Of the rows: "float32", "float16" or "uint16" (the bits of bfloat16).
    """
    vocabulary_size, hidden_size = table.rows.shape
    scale = table.scale.pointer if table.scale else 0
    sizes = (np.int64(vocabulary_size), np.int64(hidden_size))
    device.launch(
        "token_rows",
        "token_rows",
        (count, ROW_THREADS),
        (token_ids, table.rows.pointer, scale, given, out, *sizes),
        C2T_TABLE=TYPE_NUMBER[table.rows.dtype.name],
        C2T_OUT=TYPE_NUMBER[dtype],
    )


def choice_pieces(vocabulary_size: int) -> int:
    """Blocks that share a row of V logits."""
    return -(-vocabulary_size // CHOICE_PIECE)


def choice_scratch_bytes(count: int, vocabulary_size: int) -> int:
    """Bytes of scratch that `launch_choose_tokens` needs for up to `count` rows of V logits."""
    # For each row: a partial choice of each block, and the count of ended blocks.
    return count * (choice_pieces(vocabulary_size) + 1) * PARTIAL_CHOICE_BYTES


def launch_choose_tokens(
    device: CudaDevice,
    *,
    logits: int,
    dtype: str,
    banned: int,
    bans: int,
    scratch: int,
    tokens: int,
    probability: int,
    finite: int,
    count: int,
    vocabulary_size: int,
) -> None:
    """Choose from rows [count, V] of logits; does not wait.

    Args:
        logits: Address of the logits.
        dtype: Theirs, "float32" or "float16".
        banned: Address of [count, bans] int32, padded with -1; 0 without bans.
        bans: Most tokens banned in a row.
        scratch: Address of `choice_scratch_bytes`, zeros before the first launch. A launch leaves
            it ready for the next one over the same V and no more rows than it was allocated for.
        tokens: Address of the chosen tokens [count] int32.
        probability: Address of their probabilities [count] float32.
        finite: Address of [count] int32: whether the row is finite, 0 or 1.
        count: Rows.
        vocabulary_size: V.
    """
    device.launch(
        "choose_tokens",
        "choose_tokens",
        (count * choice_pieces(vocabulary_size), CHOICE_THREADS),
        (
            *(logits, banned, scratch, tokens, probability, finite),
            np.int32(vocabulary_size),
            np.int32(bans),
        ),
        C2T_LOGITS=TYPE_NUMBER[dtype],
    )
