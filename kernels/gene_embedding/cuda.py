"""Gene embedding on a CUDA device: tokens go up, embeddings stay there, in the encoder's input.

`cuda.core` is loaded by the device, not by importing this module.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from c2t.kernels.cuda.device import CudaDevice
from c2t.kernels.cuda.memory import DeviceArray
from c2t.kernels.dtypes import TYPE_NUMBER
from c2t.kernels.errors import KernelError
from c2t.kernels.gene_embedding.cpu import check_cells

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from c2t.kernels.gene_embedding.tables import GeneEmbeddingTables

WARPS_PER_BLOCK = 8  # C2T_WARPS of the source: each warp embeds one token
MAX_HIDDEN_SIZE = 4096  # a lane keeps hidden_size / 32 numbers in registers
# In the order of the kernel's arguments.
TABLES = ("word", "position", "word_scale", "position_scale", "token_type", "gamma", "beta")


@dataclass(frozen=True, kw_only=True, eq=False)
class DeviceTables:
    """`GeneEmbeddingTables` on the device.

    Args:
        arrays: By name; tables that the model lacks are left out.
        host: The tables that were uploaded.
    """

    arrays: dict[str, DeviceArray]
    host: GeneEmbeddingTables

    @classmethod
    def upload(cls, tables: GeneEmbeddingTables) -> DeviceTables:
        """A copy of a bundle's tables.

        Raises:
            DeviceMemoryError: The GPU's memory is full.
        """
        present = {name: getattr(tables, name) for name in TABLES}
        arrays = {
            name: DeviceArray.upload(array, what="the gene embedding tables")
            for name, array in present.items()
            if array is not None
        }
        return cls(arrays=arrays, host=tables)

    def pointer(self, name: str) -> int:
        """Address of a table; 0 where the model lacks it."""
        return self.arrays[name].pointer if name in self.arrays else 0


@dataclass(frozen=True, kw_only=True, eq=False)
class DeviceCells:
    """Gene tokens on the device; the arrays must live until the kernel has read them.

    Args:
        tokens: [B, S] int32.
        lengths: [B] int32.
    """

    tokens: DeviceArray
    lengths: DeviceArray

    @classmethod
    def upload(
        cls, tokens: NDArray[np.int32], lengths: NDArray[np.int32], tables: GeneEmbeddingTables
    ) -> DeviceCells:
        """Tokens [B, S] and lengths [B] of the host, checked against the tables.

        Raises:
            KernelError: A token is not in the table, or a length not in the tokens.
        """
        check_cells(tokens, lengths, tables)
        return cls(tokens=DeviceArray.upload(tokens), lengths=DeviceArray.upload(lengths))


def launch_gene_embedding(
    device: CudaDevice,
    cells: DeviceCells,
    tables: DeviceTables,
    out: int,
    *,
    dtype: Any,
    out_scale: float | None = None,
) -> None:
    """Write embeddings [B, S, H]; does not wait.

    Args:
        cells: The tokens, rows of the table.
        tables: The model's tables.
        out: Address of the embeddings, such as an engine's input; a multiple of 16.
        dtype: Theirs: float32, float16, uint16 (the bits of bfloat16) or int8.
        out_scale: The calibrated scale of int8, and only of int8.

    Raises:
        KernelError: The arguments do not fit each other.
    """
    hidden_size, positions = tables.host.hidden_size, tables.host.positions
    count, ranks = cells.tokens.shape
    stored = np.dtype(dtype)
    if ranks > positions or hidden_size > MAX_HIDDEN_SIZE:
        problem = f"{ranks} ranks of {positions} positions, a hidden size of {hidden_size}"
        hint = f"no more ranks than positions, and a hidden size of {MAX_HIDDEN_SIZE} at most"
        raise KernelError(problem, hint=hint)
    if (out_scale is not None) != (stored == np.int8) or out % 16:
        problem = f"output of {stored} with scale {out_scale} at address {out:#x}"
        raise KernelError(problem, hint="int8, and only int8, has a scale; align to 16 bytes")
    device.launch(
        "gene_embedding",
        "embed_genes",
        (-(-count * ranks // WARPS_PER_BLOCK), 32 * WARPS_PER_BLOCK),
        (
            cells.tokens.pointer,
            cells.lengths.pointer,
            *(tables.pointer(name) for name in TABLES),
            out,
            np.int64(count),
            np.int64(ranks),
            np.int64(ranks),  # from one cell's tokens to the next's
            np.float32(tables.host.epsilon),
            np.float32(1.0 if out_scale is None else out_scale),
        ),
        C2T_HIDDEN_SIZE=hidden_size,
        C2T_TABLE=TYPE_NUMBER[tables.host.word.dtype.name],
        C2T_OUT=TYPE_NUMBER[stored.name],
    )
