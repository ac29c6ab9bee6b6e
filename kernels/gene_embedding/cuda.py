"""Both kernels on a CUDA device: a chunk of counts goes up once, and its embeddings stay there.

Not for import where there is no GPU: `cuda.core` is loaded when `CudaKernels` is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from c2t.kernels.cuda.device import CudaDevice
from c2t.kernels.cuda.memory import DeviceArray
from c2t.kernels.errors import KernelError
from c2t.kernels.gene_embedding.definition import as_counts
from c2t.kernels.native import TYPE_NUMBER
from c2t.kernels.rank_value.encode import check_rows
from c2t.kernels.rank_value.types import CsrRows, RankedCells, RankGenes, RankOptions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from c2t.kernels.gene_embedding.tables import GeneEmbeddingTables

# The sources' C2T_WARPS, C2T_THREADS and C2T_SHARED.
ROWS_PER_BLOCK = 8
RANK_THREADS = 512
SHARED_ENTRIES = 2048
# A lane keeps width / 32 numbers in registers.
MAX_WIDTH = 4096


@dataclass(frozen=True, kw_only=True, eq=False)
class DeviceTables:
    """`GeneEmbeddingTables` on the device; fields that are None have no memory."""

    arrays: dict[str, DeviceArray]
    host: GeneEmbeddingTables

    def pointer(self, name: str) -> int:
        """Address of a table, 0 where it is None."""
        return self.arrays[name].pointer if name in self.arrays else 0


@dataclass(frozen=True, kw_only=True, eq=False)
class DeviceGenes:
    """`RankGenes` on the device."""

    column_gene: DeviceArray
    token: DeviceArray
    median: DeviceArray
    host: RankGenes


@dataclass(frozen=True, kw_only=True, eq=False)
class DeviceCells:
    """`RankedCells` on the device, fields as there.

    `totals` are added in another order than the definition's: equal for counts, else to 1e-12.
    """

    tokens: DeviceArray
    lengths: DeviceArray
    genes: DeviceArray
    totals: DeviceArray
    status: DeviceArray
    inputs: tuple[DeviceArray, ...] = ()  # kept while the kernel may read them

    def download(self) -> RankedCells:
        """A copy on the host, after the kernels that were started before."""
        return RankedCells(
            tokens=self.tokens.download(),
            lengths=self.lengths.download(),
            genes=self.genes.download(),
            totals=self.totals.download(),
            status=self.status.download(),
        )


class CudaKernels:
    """The kernels of one device, compiled for it when first used.

    Args:
        device: The device; None: the first.

    Raises:
        KernelError: If there is no such device, or the `[gpu]` extra is not installed.
    """

    def __init__(self, device: CudaDevice | None = None) -> None:
        self.device = device or CudaDevice()

    def upload_tables(self, tables: GeneEmbeddingTables) -> DeviceTables:
        """Put the tables of a bundle on the device."""
        names = (
            "word",
            "position",
            "token_type",
            "gamma",
            "beta",
            "word_scale",
            "position_scale",
        )
        present = {name: getattr(tables, name) for name in names}
        arrays = {n: DeviceArray.upload(a) for n, a in present.items() if a is not None}
        return DeviceTables(arrays=arrays, host=tables)

    def upload_genes(self, genes: RankGenes) -> DeviceGenes:
        """Put the genes of a file on the device."""
        return DeviceGenes(
            column_gene=DeviceArray.upload(genes.column_gene),
            token=DeviceArray.upload(genes.token),
            median=DeviceArray.upload(genes.median),
            host=genes,
        )

    def rank_value_encode(
        self, counts: CsrRows, genes: DeviceGenes, options: RankOptions
    ) -> DeviceCells:
        """Upload a chunk of counts and rank it; does not wait for the kernel.

        Raises:
            KernelError: If rows point outside the counts or columns outside the genes.
        """
        check_rows(counts, genes.host)
        begin, end = int(counts.indptr[0]), int(counts.indptr[-1])
        cells = len(counts.indptr) - 1
        stored = np.diff(counts.indptr).astype(np.int64)
        padded = np.maximum(2, 1 << np.ceil(np.log2(np.maximum(stored, 1))).astype(np.int64))
        words = np.where(padded > SHARED_ENTRIES, 2 * padded, 0)
        uploads = [
            DeviceArray.upload(np.asarray(counts.indptr, np.int64) - begin),
            DeviceArray.upload(np.asarray(counts.indices[begin:end], np.int32)),
            DeviceArray.upload(as_counts(counts.data[begin:end], options)),
            DeviceArray.upload(np.cumsum(words) - words),
            DeviceArray.allocate((int(words.sum()),), np.uint64),
        ]
        result = DeviceCells(
            tokens=DeviceArray.allocate((cells, options.max_tokens), np.int32),
            lengths=DeviceArray.allocate((cells,), np.int32),
            genes=DeviceArray.allocate((cells,), np.int32),
            totals=DeviceArray.allocate((cells,), np.float64),
            status=DeviceArray.allocate((cells,), np.uint8),
            inputs=tuple(uploads),
        )
        indptr, indices, data, scratch_start, scratch = (array.pointer for array in uploads)
        self.device.launch(
            "rank_value",
            "rank_value_encode",
            (cells, RANK_THREADS),
            (
                indptr,
                indices,
                data,
                genes.column_gene.pointer,
                genes.token.pointer,
                genes.median.pointer,
                scratch_start,
                scratch,
                result.tokens.pointer,
                result.lengths.pointer,
                result.genes.pointer,
                result.totals.pointer,
                result.status.pointer,
                np.int32(options.max_tokens),
                np.int32(-1 if options.cls_token is None else options.cls_token),
                np.int32(-1 if options.eos_token is None else options.eos_token),
                np.int32(options.pad_token),
            ),
        )
        return result

    def embed_genes(
        self,
        cells: DeviceCells,
        tables: DeviceTables,
        out: int,
        *,
        ranks: int,
        dtype: Any,
        out_scale: float | None = None,
    ) -> None:
        """Fill [B, ranks, H] at the device address `out`; does not wait for the kernel.

        Args:
            cells: From `rank_value_encode` or `upload_cells`, whose tokens are rows of the table.
            tables: The model's tables.
            out: Device address, such as an engine's input buffer; 16-byte aligned.
            ranks: S, at most the width of `cells.tokens`; a cell's tokens after these are left out.
            dtype: float32, float16, uint16 (the bits of bfloat16) or int8.
            out_scale: The calibrated scale of int8, and only of int8.

        Raises:
            KernelError: If the arguments do not fit each other.
        """
        width = tables.host.hidden_size
        count, stride = cells.tokens.shape
        kind = np.dtype(dtype)
        if not 0 <= ranks <= min(stride, tables.host.positions) or width > MAX_WIDTH:
            problem = (
                f"{ranks} ranks of {stride} tokens, {tables.host.positions} positions, {width} wide"
            )
            raise KernelError(
                problem, hint=f"at most {MAX_WIDTH} wide, no more ranks than positions"
            )
        if (out_scale is not None) != (kind == np.int8) or out % 16:
            problem = f"output of {kind} with scale {out_scale} at address {out:#x}"
            raise KernelError(problem, hint="int8, and only int8, has a scale; align to 16 bytes")
        names = ("word", "position", "word_scale", "position_scale", "token_type", "gamma", "beta")
        self.device.launch(
            "gene_embedding",
            "embed_genes",
            (-(-count * ranks // ROWS_PER_BLOCK), 32 * ROWS_PER_BLOCK),
            (
                cells.tokens.pointer,
                cells.lengths.pointer,
                *(tables.pointer(name) for name in names),
                out,
                np.int64(count),
                np.int64(ranks),
                np.int64(stride),
                np.float32(tables.host.epsilon),
                np.float32(1.0 if out_scale is None else out_scale),
            ),
            C2T_WIDTH=width,
            C2T_TABLE=TYPE_NUMBER[tables.host.word.dtype.name],
            C2T_OUT=TYPE_NUMBER[kind.name],
        )

    def upload_cells(
        self, tokens: NDArray[np.int32], lengths: NDArray[np.int32], tables: GeneEmbeddingTables
    ) -> DeviceCells:
        """Token sequences made elsewhere, [B, S] and [B], checked against the tables.

        Raises:
            KernelError: If a token is not in the table or a length not in the tokens.
        """
        from c2t.kernels.gene_embedding.embed import check_cells

        check_cells(tokens, lengths, tables)
        cells = len(lengths)
        return DeviceCells(
            tokens=DeviceArray.upload(tokens),
            lengths=DeviceArray.upload(lengths),
            genes=DeviceArray.upload(np.zeros(cells, np.int32)),
            totals=DeviceArray.upload(np.zeros(cells, np.float64)),
            status=DeviceArray.upload(np.zeros(cells, np.uint8)),
        )
