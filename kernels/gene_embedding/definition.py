"""The NumPy definition of both kernels: every other implementation is tested against this file.

It is written to be read, not to be fast, yet it serves where no native library could be built.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from c2t.kernels.rank_value.types import CellStatus, CsrRows, RankedCells, RankGenes, RankOptions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from c2t.kernels.gene_embedding.tables import GeneEmbeddingTables

# Ranks computed at a time: keeps the float64 rows in the cache, whatever the length of the cells.
RANK_BLOCK = 128


def embed_genes_reference(
    tokens: NDArray[np.int32],
    lengths: NDArray[np.int32],
    tables: GeneEmbeddingTables,
    out: NDArray[Any],
    *,
    out_scale: float | None = None,
) -> NDArray[Any]:
    """Fill `out` with LayerNorm(word[token] + position[rank] + token_type) * gamma + beta.

    Args:
        tokens: [B, S] int32; what stands after a cell's length is not looked at.
        lengths: [B] int32.
        tables: The model's tables.
        out: [B, S, H] float32, float16, uint16 (the bits of bfloat16) or int8; rows after a cell's
            length become zero.
        out_scale: For int8: out = clip(round_half_even(y / out_scale), -128, 127).

    Returns:
        `out`.
    """
    token_type = 0.0 if tables.token_type is None else tables.token_type.astype(np.float64)
    for cell, length in enumerate(lengths):
        for first in range(0, int(length), RANK_BLOCK):
            ranks = slice(first, min(first + RANK_BLOCK, int(length)))
            row_tokens = tokens[cell, ranks]
            x = tables.word[row_tokens].astype(np.float64)  # [R, H]
            if tables.word_scale is not None:
                x *= tables.word_scale[row_tokens, None]
            position = tables.position[ranks].astype(np.float64)
            if tables.position_scale is not None:
                position *= tables.position_scale[ranks, None]
            x += position
            x += token_type
            x -= x.mean(axis=1, keepdims=True)
            variance = np.square(x).mean(axis=1, keepdims=True)
            y = x / np.sqrt(variance + tables.epsilon) * tables.gamma + tables.beta
            out[cell, ranks] = _as_stored(y, out.dtype, out_scale)
        out[cell, int(length) :] = 0
    return out


def _as_stored(y: NDArray[np.float64], dtype: np.dtype[Any], scale: float | None) -> NDArray[Any]:
    """float64 [R, H] as float32, float16, bfloat16 bits or int8."""
    if dtype == np.int8:
        steps = y.astype(np.float32) / np.float32(1.0 if scale is None else scale)
        saturated: NDArray[Any] = np.clip(np.rint(steps), -128, 127).astype(np.int8)
        return saturated
    if dtype == np.uint16:
        return bfloat16_bits(y.astype(np.float32))
    with np.errstate(over="ignore", under="ignore"):
        stored: NDArray[Any] = y.astype(dtype)
    return stored


def bfloat16_bits(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The upper half of float32, rounded half to even; NaN stays NaN, its payload is dropped."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    rounded = ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype(np.uint16)
    return np.where(np.isnan(values), np.uint16(0x7FC0), rounded)


def rank_value_encode_reference(
    counts: CsrRows, genes: RankGenes, options: RankOptions
) -> RankedCells:
    """Rank the genes of each cell by count / median; the rules that all implementations share.

    - Values of one gene, from duplicate columns or entries, are added in stored order, in float64.
    - Genes whose sum is above zero are ordered by sum / median (float64) descending, ties by
      smaller token. (The cell's total and the 10,000 of the published formula leave the order.)
    - The first `max_genes` are kept, between the special tokens.
    - A cell with NaN, a negative or an infinite value in any column, or no gene, has no tokens.
    """
    indptr = np.asarray(counts.indptr)
    result = RankedCells.empty(len(indptr) - 1, options)
    result.tokens.fill(options.pad_token)
    for cell in range(len(indptr) - 1):
        entries = slice(int(indptr[cell]), int(indptr[cell + 1]))
        values = as_counts(counts.data[entries], options)
        status = status_of(values)
        used = np.empty(0, np.int64)
        total = 0.0
        if status is CellStatus.OK:
            gene = genes.column_gene[counts.indices[entries]]
            with np.errstate(over="ignore"):
                total = float(np.add.accumulate(values)[-1]) if len(values) else 0.0
            sums = np.bincount(gene[gene >= 0], weights=values[gene >= 0])
            used = np.flatnonzero(sums)
            # The quotient of a positive finite sum may be 0 or infinite: still ordered.
            with np.errstate(over="ignore", under="ignore"):
                ratio = sums[used] / genes.median[used]
            used = used[np.lexsort((genes.token[used], -ratio))]
            if not len(used):
                status = CellStatus.EMPTY
        result.totals[cell] = total
        result.genes[cell] = len(used)
        result.status[cell] = status
        result.lengths[cell] = _write_tokens(
            result.tokens[cell], genes.token[used[: options.max_genes]], options
        )
    return result


def _write_tokens(row: NDArray[np.int32], tokens: NDArray[np.int32], options: RankOptions) -> int:
    """Put one cell's tokens and the special tokens at the front of `row`; returns how many."""
    if not len(tokens):
        return 0
    first = int(options.cls_token is not None)
    if options.cls_token is not None:
        row[0] = options.cls_token
    length = first + len(tokens)
    row[first:length] = tokens
    if options.eos_token is not None:
        row[length] = options.eos_token
        length += 1
    return length


def as_counts(values: NDArray[Any], options: RankOptions) -> NDArray[np.float64]:
    """Stored values as float64 counts.

    Every implementation calls this for logarithms: the last bit of expm1 differs between
    mathematical libraries, and with it the order of near ties.
    """
    values = values.astype(np.float64)
    if options.log_base is not None:
        with np.errstate(over="ignore"):  # an overflow becomes infinite, which is reported
            values = np.expm1(values * np.log(options.log_base))
    return values


def status_of(values: NDArray[np.float64]) -> CellStatus:
    """What is wrong with the values of a cell, or OK."""
    if np.isnan(values).any():
        return CellStatus.NAN
    if np.isinf(values).any():
        return CellStatus.INFINITE
    if (values < 0).any():
        return CellStatus.NEGATIVE
    return CellStatus.OK
