"""The encoder graph: BERT's layers from gene embeddings to the projector's input.

One decision: only what the chosen hidden state needs is in the graph. Layers above it are left out,
and in the last needed layer queries (and all that follows them) are computed for the first `rows`
positions only, while keys and values still come from all of them. Both are exact.

    embeddings [B, S, H] float32 -> hidden [B, min(S, rows), H] float32

All cells of a batch have the same number of genes: there is no mask. The embedding stage (word +
position + type row, LayerNorm) is not here, a kernel in front of the graph does it.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from transformers import BertConfig, BertForMaskedLM
from transformers.models.bert.modeling_bert import BertLayer

from c2t.export.graphs.graph_builder import GraphBuilder
from c2t.export.model.model import layers_needed
from c2t.runtime.system.errors import CheckpointError

# Names that configs of transformers give to functions which are one standard operator each.
ACTIVATIONS = {"relu": "Relu", "gelu": "Gelu"}


@dataclass(frozen=True, kw_only=True)
class EncoderGraph:
    """What was written: layers in the graph, and rows computed in the last of them."""

    layers_run: int
    rows: int | None


def write_encoder_graph(
    model: BertForMaskedLM, path: Path, *, emb_layer: int = -1, rows: int | None = None
) -> EncoderGraph:
    """Write the encoder's graph and its data file.

    Args:
        model: The encoder; its weights are read, not copied.
        path: The graph file, `encoder.onnx`; the weights go to `encoder.onnx.data` beside it.
        emb_layer: Which hidden state is wanted, see `layers_needed`.
        rows: How many rows of it are wanted (`top_k`); None for all.

    Raises:
        CheckpointError: An activation, attention or position scheme that is not authored here.
    """
    config: BertConfig = model.config
    _check(config)
    layers = layers_needed(config.num_hidden_layers, emb_layer)
    with GraphBuilder(path, name="encoder") as graph:
        hidden = graph.input("embeddings", ["B", "S", config.hidden_size])
        for index in range(layers):
            last = index == layers - 1
            hidden = _layer(
                graph,
                model.bert.encoder.layer[index],
                hidden,
                name=f"layers.{index}",
                config=config,
                rows=rows if last else None,
            )
        if layers == 0:
            hidden = hidden if rows is None else _first_rows(graph, hidden, rows, name="rows")
        graph.node("Identity", [hidden], name="output", outputs=["hidden"])
        graph.output("hidden", ["B", "S" if rows is None else "rows", config.hidden_size])
        graph.save()
    return EncoderGraph(layers_run=layers, rows=rows)


def _check(config: BertConfig) -> None:
    if config.hidden_act not in ACTIVATIONS:
        problem = f"the encoder's activation is {config.hidden_act!r}"
        raise CheckpointError(problem, hint=f"c2t exports {', '.join(sorted(ACTIVATIONS))}")
    scheme = getattr(config, "position_embedding_type", "absolute")
    if scheme != "absolute" or config.is_decoder or config.add_cross_attention:
        problem = f"not a plain BERT encoder: position_embedding_type {scheme!r}"
        hint = "c2t exports encoders with absolute positions and self-attention only"
        raise CheckpointError(problem, hint=hint)


def _layer(
    graph: GraphBuilder,
    layer: BertLayer,
    hidden: str,
    *,
    name: str,
    config: BertConfig,
    rows: int | None,
) -> str:
    """Add one BERT layer; with `rows`, only the first rows of its result. Returns the result."""
    attention = layer.attention
    query, key, value = (getattr(attention.self, part) for part in ("query", "key", "value"))
    width = config.hidden_size
    prefix = f"{name}.attention"
    if rows is None:
        packed = graph.linear(hidden, [query, key, value], name=f"{prefix}.qkv")
        q, k, v = graph.split(packed, [width] * 3, name=f"{prefix}.heads", parts=["q", "k", "v"])
    else:
        packed = graph.linear(hidden, [key, value], name=f"{prefix}.kv")
        k, v = graph.split(packed, [width] * 2, name=f"{prefix}.heads", parts=["k", "v"])
        hidden = _first_rows(graph, hidden, rows, name=f"{name}.rows")
        q = graph.linear(hidden, [query], name=f"{prefix}.q")
    heads = config.num_attention_heads
    context = graph.attention(q, k, v, heads=heads, head_size=width // heads, name=prefix)
    context = graph.linear(context, [attention.output.dense], name=f"{prefix}.output")
    hidden = graph.node("Add", [context, hidden], name=f"{prefix}.residual")
    hidden = graph.layer_norm(hidden, attention.output.LayerNorm, name=f"{prefix}.norm")
    inner = graph.linear(hidden, [layer.intermediate.dense], name=f"{name}.mlp.up")
    inner = graph.node(ACTIVATIONS[config.hidden_act], [inner], name=f"{name}.mlp.activation")
    inner = graph.linear(inner, [layer.output.dense], name=f"{name}.mlp.down")
    hidden = graph.node("Add", [inner, hidden], name=f"{name}.mlp.residual")
    return graph.layer_norm(hidden, layer.output.LayerNorm, name=f"{name}.mlp.norm")


def _first_rows(graph: GraphBuilder, hidden: str, rows: int, *, name: str) -> str:
    """Keep the first `rows` positions; a shorter cell keeps all of its own."""
    bounds = [
        graph.constant(f"{name}.{bound}", np.array([number], np.int64))
        for bound, number in (("start", 0), ("stop", rows), ("axis", 1))
    ]
    return graph.node("Slice", [hidden, *bounds], name=name)
