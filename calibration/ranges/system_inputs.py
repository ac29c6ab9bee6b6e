"""The inputs of the three graphs for one cell.

One decision: the decoder runs once for a cell, not once for each token. The cell vectors, the
prompt's suffix and the text that the float32 bundle wrote are its input, behind the cached prefix.
Attention looks back only, so each row equals the one that a step of generation would compute.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2t.calibration.ranges.linears import Float32
from c2t.kernels.gene_embedding.cpu import embed_genes
from c2t.runtime.bundle.bundle import Bundle

Inputs = dict[str, NDArray[Any]]


@dataclass(frozen=True, eq=False, kw_only=True)
class CalibrationCell:
    """A cell and the text that the float32 bundle wrote of it.

    Args:
        gene_tokens: [S], special tokens included.
        text_tokens: The text's tokens, EOS included.
    """

    gene_tokens: NDArray[np.int32]
    text_tokens: tuple[int, ...]


def encoder_inputs(bundle: Bundle, gene_tokens: NDArray[np.int32]) -> Inputs:
    """`embeddings` [1, S, H]."""
    tables = bundle.gene_embedding_tables
    out = np.empty((1, len(gene_tokens), tables.hidden_size), np.float32)
    lengths = np.array([len(gene_tokens)], np.int32)
    embed_genes(gene_tokens[None], lengths, tables, out, threads=1)
    return {"embeddings": out}


def prefix_inputs(bundle: Bundle) -> Inputs:
    """The decoder's inputs for a run over the prompt's prefix, the same for every cell."""
    rows = np.asarray(bundle.token_embedding[list(bundle.manifest.prompt.prefix_ids)], np.float32)
    return _inputs(bundle, rows, None, np.array([max(0, len(rows) - 1)], np.int64))


def decoder_inputs(
    bundle: Bundle,
    vectors: Float32,
    text_tokens: Sequence[int],
    prefix: Sequence[Float32] | None = None,
) -> Inputs:
    """The decoder's inputs for one run over a prompt and the text after it.

    Args:
        vectors: Cell vectors [K, D].
        text_tokens: The text. Its last token is not fed: nothing follows it.
        prefix: Keys and values [1, kv_heads, P, head_size] of the prompt's P prefix tokens, layer
            by layer, from a run of `prefix_inputs`; None: the prefix is part of this run.
    """
    prompt = bundle.manifest.prompt
    table = bundle.token_embedding
    fed = list(text_tokens[:-1])
    parts = [vectors, np.asarray(table[[*prompt.suffix_ids, *fed]], np.float32)]
    if prefix is None:
        parts.insert(0, np.asarray(table[list(prompt.prefix_ids)], np.float32))
    rows = np.concatenate(parts)
    # Generation needs logits of the prompt's last row and of every fed token.
    return _inputs(bundle, rows, prefix, np.arange(len(rows) - len(fed) - 1, len(rows)))


def _inputs(
    bundle: Bundle,
    rows: Float32,
    prefix: Sequence[Float32] | None,
    logit_rows: NDArray[np.int64],
) -> Inputs:
    """Inputs of one run over rows [T, D], after the prefix's cache positions."""
    sizes = bundle.manifest.decoder
    first = prefix[0].shape[2] if prefix else 0
    end = first + len(rows)
    inputs: Inputs = {
        "inputs_embeds": rows[None],
        "position_ids": np.arange(first, end, dtype=np.int64)[None],
        "write_index": np.array([first], np.int64),
        "kv_length": np.array([end], np.int64),
        "logit_rows": logit_rows[None],
    }
    for number, name in enumerate(sizes.cache_names):
        cache = np.zeros((1, sizes.kv_heads, end, sizes.head_size), np.float32)
        if prefix:
            cache[:, :, :first] = prefix[number]
        inputs[f"past_{name}"] = cache
    return inputs
