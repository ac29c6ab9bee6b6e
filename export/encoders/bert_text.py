"""The text tower of a joint space: a BERT, its pooler and its block as one graph.

    text_ids [B, T] int64 -> text_vectors [B, J] float32 of length 1

One decision: only the first row ([CLS]) of the last layer is computed: the pooler reads no other.
All texts of a batch have the same number of tokens: there is no mask.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from transformers import BertConfig, BertModel

from c2t.export.encoders.bert_layer import ACTIVATIONS, bert_layer
from c2t.export.graphs.graph_builder import GraphBuilder, no_progress
from c2t.export.graphs.joint_block import write_joint_block
from c2t.export.model.family import ModelFamily, check_dropouts, check_number, check_sizes
from c2t.export.model.joint import TextTower
from c2t.runtime.system.errors import CheckpointError
from c2t.runtime.system.progress import Advance

FIRST_LAYER = "encoder.layer.0."
# Tensors that some saves hold and no output depends on, with the reason.
TOLERATED = {
    "embeddings.position_ids": "0, 1, 2, ...: saved by transformers before 4.31",
    "embeddings.token_type_ids": "zeros: a buffer, not a weight",
}
SETTINGS = frozenset({
    "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
    "hidden_act", "max_position_embeddings", "type_vocab_size", "layer_norm_eps",
    "position_embedding_type", "is_decoder", "add_cross_attention",
    "hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout",
    # What Google's first checkpoints say of a pooler that is like any BERT's.
    "pooler_fc_size", "pooler_num_attention_heads", "pooler_num_fc_layers",
    "pooler_size_per_head", "pooler_type", "directionality",
})  # fmt: skip


def check_config(config: BertConfig) -> None:
    """Refuse a config whose graph is not written here.

    Raises:
        CheckpointError: Another activation, attention or position scheme.
    """
    if config.hidden_act not in ACTIVATIONS:
        problem = f"the text tower's activation is {config.hidden_act!r}"
        raise CheckpointError(problem, hint=f"c2t exports {', '.join(sorted(ACTIVATIONS))}")
    sizes = (
        *("vocab_size", "hidden_size", "num_attention_heads", "intermediate_size"),
        *("num_hidden_layers", "max_position_embeddings", "type_vocab_size"),
    )
    check_sizes(config, sizes, part="text tower")
    check_number(config, "layer_norm_eps", part="text tower")
    check_dropouts(config, part="text tower")
    if config.hidden_size % config.num_attention_heads:
        problem = (
            f"the text tower's width {config.hidden_size} cannot have "
            f"{config.num_attention_heads} attention heads"
        )
        raise CheckpointError(problem, hint="check num_attention_heads in its config.json")
    scheme = getattr(config, "position_embedding_type", "absolute")
    if scheme != "absolute" or config.is_decoder or config.add_cross_attention:
        problem = f"not a plain BERT as text tower: position_embedding_type {scheme!r}"
        hint = "c2t exports towers with absolute positions and self-attention only"
        raise CheckpointError(problem, hint=hint)


def restore_buffers(model: BertModel) -> None:
    """Compute the positions and segments, which checkpoints do not hold."""
    positions = torch.arange(model.config.max_position_embeddings)[None]
    model.embeddings.register_buffer("position_ids", positions, persistent=False)
    segments = torch.zeros_like(positions)
    model.embeddings.register_buffer("token_type_ids", segments, persistent=False)


BERT_TEXT = ModelFamily(
    name="BERT text tower",
    config=BertConfig,
    module=BertModel,
    check_config=check_config,
    restore_buffers=restore_buffers,
    first_layer=FIRST_LAYER,
    tolerated=TOLERATED,
    renamed={"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"},
    settings=SETTINGS,
)


def write_text_graph(tower: TextTower, path: Path, *, advance: Advance = no_progress) -> None:
    """Write the text tower's graph and its data file.

    Args:
        tower: The tower; its weights are read, not copied.
        path: The graph file, `text.onnx`; the weights go to a file beside it.
        advance: Called with the number of bytes written since its last call.

    Raises:
        CheckpointError: A config that is not authored here.
    """
    bert, block = tower.bert, tower.block
    config: BertConfig = bert.config
    check_config(config)
    with GraphBuilder(path, name="text_encoder", advance=advance) as graph:
        graph.input("text_ids", ["B", "T"], integer=True)
        hidden = _embeddings(graph, bert)
        layers = int(config.num_hidden_layers)
        for index in range(layers):
            hidden = bert_layer(
                graph,
                bert.encoder.layer[index],
                hidden,
                name=f"layers.{index}",
                config=config,
                rows=1 if index == layers - 1 else None,
            )
        hidden = graph.linear(hidden, [bert.pooler.dense], name="pooler")
        hidden = graph.node("Tanh", [hidden], name="pooler.activation")
        vectors = write_joint_block(
            graph,
            hidden,
            block.feature_nonlinear,
            block.feature_shortcut,
            block.feature_block_ln,
            name="joint",
        )
        size = block.feature_shortcut.out_features
        shape = graph.constant("output.shape", np.array([-1, size], np.int64))
        graph.node("Reshape", [vectors, shape], name="output", outputs=["text_vectors"])
        graph.output("text_vectors", ["B", size])
        graph.save()


def _embeddings(graph: GraphBuilder, bert: BertModel) -> str:
    """Add word + position + segment rows, LayerNorm; every text is of segment 0."""
    tables = bert.embeddings
    words = graph.weight("embeddings.words", tables.word_embeddings.weight, mapped=True)
    last = graph.constant("embeddings.last_axis", np.array([-1], np.int64))
    indices = graph.node("Unsqueeze", ["text_ids", last], name="embeddings.indices")
    rows = graph.node("GatherND", [words, indices], name="embeddings.rows")
    segment = tables.token_type_embeddings.weight[0]
    positions = graph.weight("embeddings.positions", tables.position_embeddings.weight + segment)
    first = graph.constant("embeddings.first", np.array([0], np.int64))
    one = graph.constant("embeddings.one", np.array([1], np.int64))
    attributes = {"start": 1, "end": 2}
    count = graph.node("Shape", ["text_ids"], name="embeddings.count", attributes=attributes)
    # Data, starts, ends, axes and steps: the first T rows.
    positions = graph.node(
        "Slice", [positions, first, count, first, one], name="embeddings.position_rows"
    )
    summed = graph.node("Add", [rows, positions], name="embeddings.sum")
    return graph.layer_norm(summed, tables.LayerNorm, name="embeddings.norm")
