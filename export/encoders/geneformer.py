"""Geneformer, a BERT over ranked genes: which configs are taken, its tables and its graph.

One decision: only what the chosen hidden state needs is in the graph. Layers above it are left out,
and in the last needed layer queries (and all that follows them) are computed for the first `rows`
positions only, while keys and values still come from all of them. Both are exact.

    embeddings [B, S, H] float32 -> hidden [B, min(S, rows), H] float32

A model that makes one row of a cell (`mean_of`) has hidden [B, 1, H].

All cells of a batch have the same number of genes: there is no mask. A kernel in front of the graph
makes the embeddings (word + position + type row, LayerNorm) from `embedding_tables`.
"""

from functools import partial
from pathlib import Path

import numpy as np
import torch
from transformers import BertConfig, BertForMaskedLM

from c2t.export.encoders.bert_layer import ACTIVATIONS, bert_layer, first_rows, mean_row
from c2t.export.graphs.graph_builder import GraphBuilder, no_progress
from c2t.export.model.family import (
    EncoderGraph,
    EncoderPreset,
    check_dropouts,
    check_number,
    check_sizes,
)
from c2t.export.model.genes import EncoderVocabulary
from c2t.export.model.model import layers_needed
from c2t.runtime.bundle.manifest import Encoder, GeneInput
from c2t.runtime.system.errors import CheckpointError
from c2t.runtime.system.progress import Advance

FIRST_LAYER = "bert.encoder.layer.0."
# Second names of tensors, with their first names. The bias has two even where the table has one.
TIED = {"cls.predictions.decoder.bias": "cls.predictions.bias"}
TIED_BY_CONFIG = {"cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight"}
# Tensors that some saves hold and no output depends on, with the reason.
TOLERATED = {
    "bert.embeddings.position_ids": "0, 1, 2, ...: saved by transformers before 4.31",
    "bert.embeddings.token_type_ids": "zeros: a buffer, not a weight",
    "bert.pooler.dense.weight": "the pooler is not part of a masked LM",
    "bert.pooler.dense.bias": "the pooler is not part of a masked LM",
}
# Heads behind the hidden states: a classifier's folder has others than a masked LM's.
UNNEEDED = ("cls.", "classifier.", "qa_outputs.")
# Names before PyTorch 1.0, which transformers still reads.
RENAMED = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}
# Fields of config.json that are read, or that matter in training only.
SETTINGS = frozenset({
    "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
    "hidden_act", "max_position_embeddings", "type_vocab_size", "layer_norm_eps",
    "position_embedding_type", "is_decoder", "add_cross_attention",
    "hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout",
    # What Google's first checkpoints say of a pooler that they never had.
    "pooler_fc_size", "pooler_num_attention_heads", "pooler_num_fc_layers",
    "pooler_size_per_head", "pooler_type", "directionality",
})  # fmt: skip


def preset(
    *,
    layers: int,
    hidden_size: int,
    heads: int,
    intermediate_size: int,
    positions: int,
    vocabulary_size: int,
) -> BertConfig:
    """The config of a Geneformer of these sizes."""
    return BertConfig(
        vocab_size=vocabulary_size,
        hidden_size=hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=intermediate_size,
        max_position_embeddings=positions,
        hidden_act="relu",
        pad_token_id=0,
    )


# The published sizes, and a tiny one with the same structure.
PRESETS = {
    "geneformer-v1-10m": EncoderPreset(
        config=partial(
            preset, layers=6, hidden_size=256, heads=4, intermediate_size=512, positions=2048,
            vocabulary_size=25426,
        ),
        special_tokens=2,
    ),
    "geneformer-v2-104m": EncoderPreset(
        config=partial(
            preset, layers=12, hidden_size=768, heads=12, intermediate_size=3072, positions=4096,
            vocabulary_size=20275,
        ),
        special_tokens=4,
    ),
    "geneformer-v2-316m": EncoderPreset(
        config=partial(
            preset, layers=18, hidden_size=1152, heads=18, intermediate_size=4608, positions=4096,
            vocabulary_size=20275,
        ),
        special_tokens=4,
    ),
    "geneformer-tiny": EncoderPreset(
        config=partial(
            preset, layers=3, hidden_size=64, heads=4, intermediate_size=128, positions=512,
            vocabulary_size=2004,
        ),
        special_tokens=4,
    ),
}  # fmt: skip


def check_config(config: BertConfig) -> None:
    """Refuse a config whose graph is not written here.

    Raises:
        CheckpointError: Another activation, attention or position scheme.
    """
    if config.hidden_act not in ACTIVATIONS:
        problem = f"the encoder's activation is {config.hidden_act!r}"
        raise CheckpointError(problem, hint=f"c2t exports {', '.join(sorted(ACTIVATIONS))}")
    sizes = (
        *("vocab_size", "hidden_size", "num_attention_heads", "intermediate_size"),
        *("num_hidden_layers", "max_position_embeddings", "type_vocab_size"),
    )
    check_sizes(config, sizes, part="encoder")
    check_number(config, "layer_norm_eps", part="encoder")
    check_dropouts(config, part="encoder")
    heads = config.num_attention_heads
    if config.hidden_size % heads:
        problem = f"the encoder's width {config.hidden_size} cannot have {heads} attention heads"
        raise CheckpointError(problem, hint="check num_attention_heads in its config.json")
    scheme = getattr(config, "position_embedding_type", "absolute")
    if scheme != "absolute" or config.is_decoder or config.add_cross_attention:
        problem = f"not a plain BERT encoder: position_embedding_type {scheme!r}"
        hint = "c2t exports encoders with absolute positions and self-attention only"
        raise CheckpointError(problem, hint=hint)


def restore_buffers(model: BertForMaskedLM) -> None:
    """Compute the positions and segments, which checkpoints do not hold."""
    positions = torch.arange(model.config.max_position_embeddings)[None]
    embeddings = model.bert.embeddings
    embeddings.register_buffer("position_ids", positions, persistent=False)
    embeddings.register_buffer("token_type_ids", torch.zeros_like(positions), persistent=False)


def gene_input(config: BertConfig, genes: EncoderVocabulary) -> GeneInput:
    """How a cell becomes the input: genes ordered by their rank value, special tokens around."""
    return GeneInput(
        input_size=int(config.max_position_embeddings),
        vocabulary_size=int(config.vocab_size),
        hidden_size=int(config.hidden_size),
        layer_norm_epsilon=float(config.layer_norm_eps),
        pad_token=genes.pad_token,
        cls_token=genes.cls_token,
        eos_token=genes.eos_token,
    )


def embed(model: BertForMaskedLM, gene_tokens: torch.Tensor) -> torch.Tensor:
    """PyTorch's embeddings [B, S, H] of gene tokens [B, S], the input of the graph."""
    embeddings: torch.Tensor = model.bert.embeddings(gene_tokens)
    return embeddings


def embedding_tables(model: BertForMaskedLM) -> dict[str, torch.Tensor]:
    """The tables that the kernel in front of the graph adds up and normalises, by their names."""
    embeddings = model.bert.embeddings
    return {
        "word": embeddings.word_embeddings.weight,
        "position": embeddings.position_embeddings.weight,
        # Geneformer's sequences have one segment: every gene takes row 0.
        "token_type": embeddings.token_type_embeddings.weight[0],
        "gamma": embeddings.LayerNorm.weight,
        "beta": embeddings.LayerNorm.bias,
    }


def embed_with_tables(
    config: BertConfig, tables: dict[str, np.ndarray], gene_tokens: np.ndarray
) -> np.ndarray:
    """What the kernel makes of the tables of a bundle: the plain definition, in float32.

    Args:
        config: Holds the epsilon of the LayerNorm.
        tables: By the names of `embedding_tables`.
        gene_tokens: [B, S] integers.

    Returns:
        LayerNorm(word + position + token type), [B, S, H] float32.
    """
    rows = tables["word"][gene_tokens] + tables["position"][: gene_tokens.shape[1]]
    rows = rows + tables["token_type"]
    centred = rows - rows.mean(axis=-1, keepdims=True)
    variance = (centred**2).mean(axis=-1, keepdims=True)
    scale = 1 / np.sqrt(variance + np.float32(config.layer_norm_eps))
    embeddings: np.ndarray = centred * scale * tables["gamma"] + tables["beta"]
    return embeddings


def manifest_entry(config: BertConfig, graph: EncoderGraph) -> Encoder:
    """What the manifest says of a Geneformer."""
    return Encoder(
        model=f"BERT, {config.num_hidden_layers} layers, width {config.hidden_size}",
        layers=int(config.num_hidden_layers),
        layers_run=graph.layers_run,
        heads=int(config.num_attention_heads),
        rows=graph.rows,
    )


def write_encoder_graph(
    model: BertForMaskedLM,
    path: Path,
    *,
    emb_layer: int = -1,
    rows: int | None = None,
    mean_of: slice | None = None,
    advance: Advance = no_progress,
) -> EncoderGraph:
    """Write the encoder's graph and its data file.

    Args:
        model: The encoder; its weights are read, not copied.
        path: The graph file, `encoder.onnx`; the weights go to `encoder.onnx.data` beside it.
        emb_layer: Which hidden state is wanted, see `layers_needed`.
        rows: How many rows of it are wanted (`top_k`); None for all.
        mean_of: The rows whose mean is wanted in place of rows.
        advance: Called with the number of bytes written since its last call.

    Raises:
        CheckpointError: An activation, attention or position scheme that is not authored here.
    """
    config: BertConfig = model.config
    check_config(config)
    layers = layers_needed(config.num_hidden_layers, emb_layer)
    computed = rows if mean_of is None else None
    with GraphBuilder(path, name="encoder", advance=advance) as graph:
        hidden = graph.input("embeddings", ["B", "S", config.hidden_size])
        for index in range(layers):
            last = index == layers - 1
            hidden = bert_layer(
                graph,
                model.bert.encoder.layer[index],
                hidden,
                name=f"layers.{index}",
                config=config,
                rows=computed if last else None,
            )
        if layers == 0 and computed is not None:
            hidden = first_rows(graph, hidden, computed, name="rows")
        if mean_of is not None:
            hidden, rows = mean_row(graph, hidden, mean_of, name="mean"), 1
        graph.node("Identity", [hidden], name="output", outputs=["hidden"])
        graph.output("hidden", ["B", "S" if rows is None else "rows", config.hidden_size])
        graph.save()
    return EncoderGraph(layers_run=layers, rows=rows)
