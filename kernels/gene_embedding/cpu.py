"""Gene embedding on the CPU: checks the arguments, then runs the fastest implementation here."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

import numpy as np

from c2t.kernels.dtypes import TYPE_NUMBER
from c2t.kernels.errors import KernelError
from c2t.kernels.gene_embedding.definition import embed_genes_reference
from c2t.kernels.native import native_kernels, thread_count

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from c2t.kernels.gene_embedding.tables import GeneEmbeddingTables

OUTPUT_DTYPES = (np.float32, np.float16, np.uint16, np.int8)

_POINTER = ctypes.c_void_p


class EmbedArguments(ctypes.Structure):
    """struct c2t_embed_args of csrc/c2t_kernels.h."""

    _fields_ = (
        ("tokens", _POINTER),
        ("lengths", _POINTER),
        ("word", _POINTER),
        ("position", _POINTER),
        ("word_scale", _POINTER),
        ("position_scale", _POINTER),
        ("token_type", _POINTER),
        ("gamma", _POINTER),
        ("beta", _POINTER),
        ("out", _POINTER),
        ("cells", ctypes.c_int64),
        ("ranks", ctypes.c_int64),
        ("hidden_size", ctypes.c_int64),
        ("table_type", ctypes.c_int32),
        ("out_type", ctypes.c_int32),
        ("epsilon", ctypes.c_float),
        ("out_scale", ctypes.c_float),
    )


def embed_genes(
    tokens: NDArray[np.int32],
    lengths: NDArray[np.int32],
    tables: GeneEmbeddingTables,
    out: NDArray[Any],
    *,
    out_scale: float | None = None,
    threads: int | None = None,
) -> NDArray[Any]:
    """Fill `out` with LayerNorm(word[token] + position[rank] + type) * gamma + beta, in one pass.

    Args:
        tokens: [B, S] int32; tokens after a cell's length are not read.
        lengths: [B] int32, 0 ... S.
        tables: Of any storage type.
        out: [B, S, H] contiguous; float32, float16, uint16 (the bits of bfloat16) or int8. Rows
            after a cell's length become zero.
        out_scale: The calibrated scale of an int8 `out`, and only of one: y is stored as
            y / out_scale, rounded half to even, saturated to -128 ... 127 like QuantizeLinear.
        threads: How many to use at most; None means one per core that this process may use.

    Returns:
        `out`.

    Raises:
        KernelError: Shapes, dtypes, lengths or tokens do not fit; `out` is untouched then.
    """
    check_cells(tokens, lengths, tables)
    _check_out(tokens.shape, tables, out, out_scale)
    threads = thread_count(threads)
    kernels = native_kernels()
    if kernels is None:
        return embed_genes_reference(tokens, lengths, tables, out, out_scale=out_scale)
    tokens, lengths = _plain(tokens), _plain(lengths)
    kernels.run(
        "c2t_embed",
        EmbedArguments(
            tokens=tokens.ctypes.data,
            lengths=lengths.ctypes.data,
            **tables.addresses,
            out=out.ctypes.data,
            cells=tokens.shape[0],
            ranks=tokens.shape[1],
            hidden_size=tables.hidden_size,
            table_type=TYPE_NUMBER[tables.word.dtype.name],
            out_type=TYPE_NUMBER[out.dtype.name],
            epsilon=tables.epsilon,
            out_scale=1.0 if out_scale is None else out_scale,
        ),
        threads,
        numbers=out.size,
    )
    return out


def _plain(array: NDArray[np.int32]) -> NDArray[np.int32]:
    """The array, or a copy, contiguous and aligned."""
    flags = array.flags
    return array if flags.c_contiguous and flags.aligned else np.array(array, order="C")


def check_cells(
    tokens: NDArray[np.int32], lengths: NDArray[np.int32], tables: GeneEmbeddingTables
) -> None:
    """Check that every token read is a row of the table, and every rank a row of the positions.

    Raises:
        KernelError: One is not, or shapes or dtypes do not fit.
    """
    if tokens.dtype != np.int32 or tokens.ndim != 2 or lengths.dtype != np.int32:
        problem = f"tokens are {tokens.dtype} {tokens.shape}, lengths {lengths.dtype}"
        raise KernelError(problem, hint="give int32 tokens [B, S] and int32 lengths [B]")
    cells, ranks = tokens.shape
    if lengths.shape != (cells,):
        problem = f"lengths have shape {lengths.shape}, tokens {tokens.shape}"
        raise KernelError(problem, hint="give one length per cell")
    longest = int(lengths.max(initial=0))
    if int(lengths.min(initial=0)) < 0 or longest > ranks:
        problem = f"lengths are {int(lengths.min())} ... {longest}, the tokens have {ranks} columns"
        raise KernelError(problem, hint="lengths count the tokens of each cell")
    if longest > tables.positions:
        problem = f"a cell has {longest} tokens, the model has {tables.positions} positions"
        raise KernelError(problem, hint="truncate cells to the model's input size")

    if tokens.size and tokens.min() >= 0 and tokens.max() < tables.vocabulary_size:
        return  # nearly always, and sooner than a look at which of them are read
    used = np.arange(ranks, dtype=np.int32) < lengths[:, None]  # [B, S]
    outside = used & ((tokens < 0) | (tokens >= tables.vocabulary_size))
    if outside.any():
        cell, rank = (int(index[0]) for index in np.nonzero(outside))
        problem = (
            f"gene token {int(tokens[cell, rank])} (cell {cell}, rank {rank}) is not among the"
            f" {tables.vocabulary_size} tokens of the model"
        )
        raise KernelError(problem, hint="the vocabulary and the tables must come from one bundle")


def _check_out(
    shape: tuple[int, ...],
    tables: GeneEmbeddingTables,
    out: NDArray[Any],
    out_scale: float | None,
) -> None:
    expected = (*shape, tables.hidden_size)
    if out.shape != expected or not out.flags.carray:
        problem = f"the output has shape {out.shape}, expected {expected}, contiguous, writable"
        raise KernelError(problem, hint="allocate it from the tokens' shape and the hidden size")
    if out.dtype not in OUTPUT_DTYPES:
        problem = f"the output is {out.dtype}"
        raise KernelError(problem, hint="use float32, float16, uint16 (bfloat16 bits) or int8")
    if (out_scale is not None) != (out.dtype == np.int8):
        problem = f"the output is {out.dtype}, its scale {out_scale}"
        raise KernelError(problem, hint="int8 output, and only int8, needs the calibrated scale")
    if out_scale is not None and not (np.isfinite(out_scale) and out_scale > 0):
        problem = f"the output's scale is {out_scale}"
        raise KernelError(problem, hint="calibrate again: a scale is a positive number")
