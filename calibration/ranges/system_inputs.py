"""The inputs of a bundle's graphs for one cell.

One decision: the decoder runs once for a cell, not once for each token. Its prompt and the text
that the float32 bundle wrote are its input, behind the cached beginning of all prompts.
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
from c2t.runtime.bundle.manifest import DECODER_GRAPH, ENCODER_GRAPHS
from c2t.runtime.engine_protocol import NO_TOKEN
from c2t.runtime.generation.bundle_prompts import BundlePrompts, bundle_prompts
from c2t.runtime.generation.prompt import CellPrompt

Inputs = dict[str, NDArray[Any]]


@dataclass(frozen=True, eq=False, kw_only=True)
class CalibrationCell:
    """A cell and the text that the float32 bundle wrote of it.

    Args:
        gene_tokens: [S], special tokens included; text tokens of the prompt without an encoder.
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


def shared_beginning(prompts: BundlePrompts, cells: Sequence[CalibrationCell]) -> tuple[int, ...]:
    """The text tokens that the prompts of all these cells begin with, to be run once."""
    beginning = prompts.beginning
    if prompts.ending is None:  # a text of genes, which leaves what most share sooner or later
        for cell in cells:
            own = cell.gene_tokens.tolist()[:-1]  # one token at least is the cell's own
            same = (
                n for n, pair in enumerate(zip(beginning, own, strict=False)) if pair[0] != pair[1]
            )
            beginning = beginning[: next(same, min(len(beginning), len(own)))]
    return beginning


def prefix_inputs(bundle: Bundle, beginning: Sequence[int]) -> Inputs:
    """The decoder's inputs for a run over the beginning that every prompt has."""
    rows = np.asarray(bundle.token_embedding[list(beginning)], np.float32)
    return _inputs(bundle, rows, None, np.array([max(0, len(rows) - 1)], np.int64))


def decoder_inputs(
    bundle: Bundle,
    prompt: CellPrompt,
    text_tokens: Sequence[int],
    prefix: Sequence[Float32] | None = None,
) -> Inputs:
    """The decoder's inputs for one run over a prompt and the text after it.

    Args:
        bundle: Has the text token table.
        prompt: Of the cell.
        text_tokens: The text. Its last token is not fed: nothing follows it.
        prefix: Keys and values [1, kv_heads, P, head_size] of the prompt's first P tokens, layer by
            layer, from a run of `prefix_inputs`; None: they are part of this run.
    """
    fed = list(text_tokens[:-1])
    first = prefix[0].shape[2] if prefix else 0
    ids = np.concatenate([prompt.token_ids[first:], np.array(fed, np.int32)])
    places = ids == NO_TOKEN
    rows = np.array(bundle.token_embedding[np.where(places, 0, ids)], np.float32)
    if prompt.vectors is not None:
        rows[places] = prompt.vectors
    # Generation needs logits of the prompt's last row and of every fed token.
    return _inputs(bundle, rows, prefix, np.arange(len(rows) - len(fed) - 1, len(rows)))


def example_inputs(bundle: Bundle, cell: CalibrationCell) -> dict[str, Inputs]:
    """Inputs of each graph for a cell, by its file; cell vectors and hidden states are zeros."""
    sizes, inputs = bundle.manifest, dict[str, Inputs]()
    if sizes.has_encoder:
        encoder, projector = ENCODER_GRAPHS
        inputs[encoder] = encoder_inputs(bundle, cell.gene_tokens)
        hidden = np.zeros((1, 8, sizes.gene_input.hidden_size), np.float32)
        inputs[projector] = {"hidden": hidden}
    if sizes.has_decoder:
        prompts = bundle_prompts(bundle)
        vectors = np.zeros((8, sizes.decoder.hidden_size), np.float32)
        prompt = (
            prompts.of_vectors(vectors)
            if sizes.has_encoder
            else prompts.of_tokens(cell.gene_tokens)
        )
        inputs[DECODER_GRAPH] = decoder_inputs(bundle, prompt, cell.text_tokens)
    return inputs


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
