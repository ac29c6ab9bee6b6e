"""What the three graphs are given for a cell: the inputs that a calibration run feeds them.

One decision: prefill and generated steps are one run of the decoder. The prompt, the cell's vectors
and the text that the float32 bundle wrote are fed together; attention looks back only, so each row
holds exactly what a step of generation would hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2t.calibration.products import Float32
from c2t.kernels.gene_embedding import embed_genes
from c2t.runtime.bundle import Bundle

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
    out = np.empty((1, len(gene_tokens), tables.width), np.float32)
    lengths = np.array([len(gene_tokens)], np.int32)
    embed_genes(gene_tokens[None], lengths, tables, out, threads=1)
    return {"embeddings": out}


def decoder_inputs(bundle: Bundle, vectors: Float32, text_tokens: Sequence[int]) -> Inputs:
    """The inputs of one run over a prompt and the text after it.

    Args:
        bundle: The bundle.
        vectors: Cell vectors [K, D].
        text_tokens: Generated tokens; the last of them is never fed.
    """
    prompt, sizes = bundle.manifest.prompt, bundle.manifest.decoder
    table = bundle.token_embedding
    fed = list(text_tokens[:-1])
    before = np.asarray(table[list(prompt.prefix_ids)], np.float32)
    after = np.asarray(table[[*prompt.suffix_ids, *fed]], np.float32)
    rows = np.concatenate([before, vectors, after])
    length = len(rows)
    inputs: Inputs = {
        "inputs_embeds": rows[None],
        "position_ids": np.arange(length, dtype=np.int64)[None],
        "write_index": np.zeros(1, np.int64),
        "kv_length": np.array([length], np.int64),
        # The prompt's last row and every fed token: what generation asks logits of.
        "logit_rows": np.arange(length - len(fed) - 1, length, dtype=np.int64)[None],
    }
    shape = (1, sizes.kv_heads, length, sizes.head_size)
    for layer in range(sizes.layers):
        for part in ("key", "value"):
            inputs[f"past_{part}.{layer}"] = np.zeros(shape, np.float32)
    return inputs
