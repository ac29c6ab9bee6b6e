"""What the three graphs are given for a cell: the inputs that a calibration run feeds them.

One decision: prefill and generated steps are one run of the decoder. The cell's vectors, the rest
of the prompt and the text that the float32 bundle wrote are fed together, behind the prompt's
prefix; attention looks back only, so each row holds exactly what a step of generation would hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2t.calibration.ranges.products import Float32
from c2t.kernels.gene_embedding.cpu import embed_genes
from c2t.runtime.bundle.bundle import Bundle

Inputs = dict[str, NDArray[Any]]


@dataclass(frozen=True, eq=False, kw_only=True)
class CalibrationCell:
    """A cell and what the float32 bundle said of it.

    Args:
        gene_tokens: [S] int32.
        text_tokens: The tokens it generated.
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
    """The inputs of a run over the prompt's prefix, which is the same for every cell."""
    rows = np.asarray(bundle.token_embedding[list(bundle.manifest.prompt.prefix_ids)], np.float32)
    return _inputs(bundle, rows, None, np.array([max(0, len(rows) - 1)], np.int64))


def decoder_inputs(
    bundle: Bundle,
    vectors: Float32,
    text_tokens: Sequence[int],
    prefix: Sequence[Float32] | None = None,
) -> Inputs:
    """The inputs of one run over a prompt and the text after it.

    Args:
        bundle: The bundle.
        vectors: Cell vectors [K, D].
        text_tokens: Generated tokens; the last of them is never fed.
        prefix: Keys and values [1, KV, P, head] of the prompt's prefix, layer by layer, as a run of
            `prefix_inputs` left them; None: the prefix is run too.
    """
    prompt = bundle.manifest.prompt
    table = bundle.token_embedding
    fed = list(text_tokens[:-1])
    parts = [vectors, np.asarray(table[[*prompt.suffix_ids, *fed]], np.float32)]
    if prefix is None:
        parts.insert(0, np.asarray(table[list(prompt.prefix_ids)], np.float32))
    rows = np.concatenate(parts)
    # The prompt's last row and every fed token: what generation asks logits of.
    return _inputs(bundle, rows, prefix, np.arange(len(rows) - len(fed) - 1, len(rows)))


def _inputs(
    bundle: Bundle,
    rows: Float32,
    prefix: Sequence[Float32] | None,
    logit_rows: NDArray[np.int64],
) -> Inputs:
    """One run over rows [T, D] behind a prefix."""
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
