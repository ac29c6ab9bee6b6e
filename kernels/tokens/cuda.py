"""The kernels around a decoder step on a CUDA device; see `c2t.kernels.tokens.definition`."""

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
# choose_tokens.cu: columns of one block, bytes of what it finds.
CHOICE_PIECE = 16 * CHOICE_THREADS
CHOICE_FINDING = 16


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
        """A copy of a table of the host, which may be memory-mapped."""
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
        device: The device.
        table: The table.
        token_ids: Address of [count] int32, each below V, or -1 where the row is given.
        given: Address of [count, D] float32; 0 where all are tokens.
        out: Address of the rows.
        count: How many.
        dtype: Of the rows: "float32", "float16" or "uint16" (the bits of bfloat16).
    """
    vocabulary, width = table.rows.shape
    scale = table.scale.pointer if table.scale else 0
    sizes = (np.int64(vocabulary), np.int64(width))
    device.launch(
        "token_rows",
        "token_rows",
        (count, ROW_THREADS),
        (token_ids, table.rows.pointer, scale, given, out, *sizes),
        C2T_TABLE=TYPE_NUMBER[table.rows.dtype.name],
        C2T_OUT=TYPE_NUMBER[dtype],
    )


def choice_pieces(vocabulary: int) -> int:
    """Blocks that share a row of V logits."""
    return -(-vocabulary // CHOICE_PIECE)


def choice_scratch_bytes(count: int, vocabulary: int) -> int:
    """Bytes that `launch_choose_tokens` needs beside its arguments for up to `count` rows of V."""
    # What each block of a row finds, and the row's ticket.
    return count * (choice_pieces(vocabulary) + 1) * CHOICE_FINDING


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
    vocabulary: int,
) -> None:
    """Choose from rows [count, V] of logits; does not wait.

    Args:
        device: The device.
        logits: Address of the logits.
        dtype: Theirs, "float32" or "float16".
        banned: Address of [count, bans] int32, padded with -1; 0 without bans.
        bans: W.
        scratch: Address of `choice_scratch_bytes`, zeros before its first launch. A launch leaves
            them fit for the next one of the same V, of no more rows than it was made for.
        tokens: Address of the result [count] int32.
        probability: Address of the result [count] float32.
        finite: Address of the result [count] int32.
        count: Rows.
        vocabulary: V.
    """
    device.launch(
        "choose_tokens",
        "choose_tokens",
        (count * choice_pieces(vocabulary), CHOICE_THREADS),
        (
            *(logits, banned, scratch, tokens, probability, finite),
            np.int32(vocabulary),
            np.int32(bans),
        ),
        C2T_LOGITS=TYPE_NUMBER[dtype],
    )
