"""One layer of a BERT as nodes of a graph: of Geneformer, and of the text tower of a joint space.

One decision: all sequences of a batch are equally long, so there is no mask. Where only the first
rows of the last layer are wanted, only their queries are computed.
"""

from __future__ import annotations

import numpy as np
from transformers import BertConfig
from transformers.models.bert.modeling_bert import BertLayer

from c2t.export.graphs.graph_builder import GraphBuilder

# Activations as configs of transformers name them, and the standard operator that each one is.
ACTIVATIONS = {"relu": "Relu", "gelu": "Gelu"}


def bert_layer(
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
    hidden_size = config.hidden_size
    prefix = f"{name}.attention"
    if rows is None:
        packed = graph.linear(hidden, [query, key, value], name=f"{prefix}.qkv")
        q, k, v = graph.split(
            packed, [hidden_size] * 3, name=f"{prefix}.heads", parts=["q", "k", "v"]
        )
    else:
        packed = graph.linear(hidden, [key, value], name=f"{prefix}.kv")
        k, v = graph.split(packed, [hidden_size] * 2, name=f"{prefix}.heads", parts=["k", "v"])
        hidden = first_rows(graph, hidden, rows, name=f"{name}.rows")
        q = graph.linear(hidden, [query], name=f"{prefix}.q")
    heads = config.num_attention_heads
    context = graph.attention(q, k, v, heads=heads, head_size=hidden_size // heads, name=prefix)
    context = graph.linear(context, [attention.output.dense], name=f"{prefix}.output")
    hidden = graph.node("Add", [context, hidden], name=f"{prefix}.residual")
    hidden = graph.layer_norm(hidden, attention.output.LayerNorm, name=f"{prefix}.norm")
    intermediate = graph.linear(hidden, [layer.intermediate.dense], name=f"{name}.mlp.up")
    intermediate = graph.node(
        ACTIVATIONS[config.hidden_act], [intermediate], name=f"{name}.mlp.activation"
    )
    intermediate = graph.linear(intermediate, [layer.output.dense], name=f"{name}.mlp.down")
    hidden = graph.node("Add", [intermediate, hidden], name=f"{name}.mlp.residual")
    return graph.layer_norm(hidden, layer.output.LayerNorm, name=f"{name}.mlp.norm")


def first_rows(graph: GraphBuilder, hidden: str, rows: int, *, name: str) -> str:
    """Keep the first `rows` positions; a shorter cell keeps all of its own."""
    bounds = [
        graph.constant(f"{name}.{bound}", np.array([number], np.int64))
        for bound, number in (("start", 0), ("stop", rows), ("axis", 1))
    ]
    return graph.node("Slice", [hidden, *bounds], name=name)


def mean_row(graph: GraphBuilder, hidden: str, of: slice, *, name: str) -> str:
    """The mean of some positions [B, S, H] -> [B, 1, H]."""
    if of != slice(None):
        bounds = [
            graph.constant(f"{name}.{bound}", np.array([number], np.int64))
            for bound, number in (("start", of.start), ("stop", of.stop), ("axis", 1))
        ]
        hidden = graph.node("Slice", [hidden, *bounds], name=f"{name}.genes")
    axes = graph.constant(f"{name}.axes", np.array([1], np.int64))
    return graph.node("ReduceMean", [hidden, axes], name=name, attributes={"keepdims": 1})
