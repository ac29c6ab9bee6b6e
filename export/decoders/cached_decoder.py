"""A decoder graph over key and value caches that the caller owns, from standard operators.

One decision: the caches are buffers of the caller, bound as input and as output, that TensorScatter
updates in place; Attention gets the length of their valid part. So one graph serves prefill, single
steps, and steps of several tokens for several cells, each with its own length.

    inputs_embeds [B, T, D] float32       the T new rows; shorter cells padded on the right
    position_ids  [B, T] int64            their positions
    write_index   [B] int64               cache position of the first of them
    kv_length     [B] int64               write_index + T
    logit_rows    [B, R] int64            which of the T rows want logits
    past_key.{i}, past_value.{i}          [B, KV, C, head_size] float32, C the capacity of the cache
    -> logits [B, R, V] float32, present_key.{i}, present_value.{i} (the same buffers)

Padding writes into cache positions that no real row sees before the next step overwrites them.
Only rows that want logits go through what follows the last layer's attention: exact, and less work.

The layers are those that Llama and its relatives share: a norm before attention and MLP, grouped
heads, rotary positions, a gated MLP.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from c2t.export.graphs.graph_builder import Dimension, GraphBuilder, no_progress
from c2t.runtime.bundle.manifest import Decoder, TensorReference
from c2t.runtime.system.progress import Advance

# Rows of the rotary tables: Llama 3.2 has 131,072 positions, a prompt and its caption hundreds.
MAX_POSITIONS = 8192
# Adds nodes behind queries or keys [B, heads, T, head_size] before they are rotated; returns their
# result. Called with the graph, the attention's module, "q" or "k", and the value.
BeforeRotary = Callable[[GraphBuilder, Any, str, str], str]


def manifest_entry(
    name: str, config: PretrainedConfig, token_embedding: TensorReference
) -> Decoder:
    """What the manifest says of a decoder, for a family's name and a config."""
    return Decoder(
        model=f"{name}, {config.num_hidden_layers} layers, width {config.hidden_size}",
        layers=int(config.num_hidden_layers),
        hidden_size=int(config.hidden_size),
        heads=int(config.num_attention_heads),
        kv_heads=int(config.num_key_value_heads),
        head_size=head_size_of(config),
        vocabulary_size=int(config.vocab_size),
        max_positions=cached_positions(config),
        token_embedding=token_embedding,
    )


def cached_positions(config: PretrainedConfig, max_positions: int = MAX_POSITIONS) -> int:
    """How many positions the graph has: its longest sequence of prompt and text."""
    return min(int(config.max_position_embeddings), max_positions)


def write_cached_decoder(
    model: PreTrainedModel,
    path: Path,
    *,
    rotary: nn.Module,
    before_rotary: BeforeRotary | None = None,
    max_positions: int = MAX_POSITIONS,
    advance: Advance = no_progress,
) -> TensorReference:
    """Write a decoder's graph and its data file, layer by layer.

    The token table is stored once, row by row: the output layer reads it as it is when it is tied,
    and the runtime maps it to look up tokens in both cases.

    Args:
        model: The decoder; its weights are read, not copied.
        path: The graph file, `decoder.onnx`; the weights go to `decoder.onnx.data` beside it.
        rotary: The family's rotary embedding: its `inv_freq` and `attention_scaling` are used.
        before_rotary: What the family does to queries and keys before they are rotated.
        max_positions: Most rows of the rotary tables; the model's own limit may be lower.
        advance: Called with the number of bytes written since its last call.

    Returns:
        Where the token table [V, D] lies.
    """
    config = model.config
    heads, head_size = int(config.num_key_value_heads), head_size_of(config)
    with GraphBuilder(path, name="decoder", advance=advance) as graph:
        hidden = graph.input("inputs_embeds", ["B", "T", config.hidden_size])
        graph.input("position_ids", ["B", "T"], integer=True)
        graph.input("write_index", ["B"], integer=True)
        graph.input("kv_length", ["B"], integer=True)
        graph.input("logit_rows", ["B", "R"], integer=True)
        cache: list[Dimension] = ["B", heads, "C", head_size]
        for index in range(config.num_hidden_layers):
            graph.input(f"past_key.{index}", cache)
            graph.input(f"past_value.{index}", cache)
        _rotary_tables(graph, rotary, cached_positions(config, max_positions))
        _shapes(graph, config)
        for index, layer in enumerate(model.model.layers):
            last = index == config.num_hidden_layers - 1
            hidden = _layer(
                graph,
                layer,
                hidden,
                index=index,
                config=config,
                last=last,
                before_rotary=before_rotary,
            )
        hidden = rms_norm(graph, hidden, model.model.norm, name="norm")
        token_table = _output_layer(graph, model, hidden)
        graph.output("logits", ["B", "R", config.vocab_size])
        for index in range(config.num_hidden_layers):
            graph.output(f"present_key.{index}", cache)
            graph.output(f"present_value.{index}", cache)
        graph.save()
    return token_table


def head_size_of(config: PretrainedConfig) -> int:
    """Size of one attention head; older configs do not state it."""
    given = getattr(config, "head_dim", None)
    return int(given or config.hidden_size // config.num_attention_heads)


def _rotary_tables(graph: GraphBuilder, rotary: nn.Module, positions: int) -> None:
    """Store cosine and sine [positions, head_size / 2], computed as transformers computes them."""
    # In float32, like transformers: at large positions float64 would differ from the model.
    angles = torch.outer(torch.arange(positions, dtype=torch.float32), rotary.inv_freq.float())
    graph.weight("rotary.cos", angles.cos() * rotary.attention_scaling)
    graph.weight("rotary.sin", angles.sin() * rotary.attention_scaling)


def _shapes(graph: GraphBuilder, config: PretrainedConfig) -> None:
    """Add the shapes that every layer uses, and the row indices in the form of GatherND."""
    head_size = head_size_of(config)
    for name, heads in (("query", config.num_attention_heads), ("kv", config.num_key_value_heads)):
        graph.constant(f"shape.{name}_heads", np.array([0, 0, heads, head_size], np.int64))
    graph.constant("shape.joined_heads", np.array([0, 0, -1], np.int64))
    graph.constant("axis.last", np.array([-1], np.int64))
    graph.node("Unsqueeze", ["logit_rows", "axis.last"], name="logit_row_indices")


def _layer(
    graph: GraphBuilder,
    layer: Any,
    hidden: str,
    *,
    index: int,
    config: PretrainedConfig,
    last: bool,
    before_rotary: BeforeRotary | None,
) -> str:
    """Add one decoder layer; the last one goes on with the wanted rows after its attention."""
    name = f"layers.{index}"
    normed = rms_norm(graph, hidden, layer.input_layernorm, name=f"{name}.attention.norm")
    context = _attention(
        graph, layer.self_attn, normed, index=index, config=config, before_rotary=before_rotary
    )
    if last:
        context = _wanted_rows(graph, context, name=f"{name}.attention.wanted_rows")
        hidden = _wanted_rows(graph, hidden, name=f"{name}.residual.wanted_rows")
    context = graph.linear(context, [layer.self_attn.o_proj], name=f"{name}.attention.output")
    hidden = graph.node("Add", [hidden, context], name=f"{name}.attention.residual")
    intermediate = rms_norm(graph, hidden, layer.post_attention_layernorm, name=f"{name}.mlp.norm")
    mlp, intermediate_size = layer.mlp, config.intermediate_size
    intermediate = graph.linear(
        intermediate, [mlp.gate_proj, mlp.up_proj], name=f"{name}.mlp.gate_up"
    )
    gate, up = graph.split(
        intermediate, [intermediate_size] * 2, name=f"{name}.mlp.halves", parts=["gate", "up"]
    )
    sigmoid = graph.node("Sigmoid", [gate], name=f"{name}.mlp.sigmoid")
    intermediate = graph.node("Mul", [gate, sigmoid], name=f"{name}.mlp.silu")
    intermediate = graph.node("Mul", [intermediate, up], name=f"{name}.mlp.product")
    intermediate = graph.linear(intermediate, [mlp.down_proj], name=f"{name}.mlp.down")
    return graph.node("Add", [hidden, intermediate], name=f"{name}.mlp.residual")


def _attention(
    graph: GraphBuilder,
    own: Any,
    normed: str,
    *,
    index: int,
    config: PretrainedConfig,
    before_rotary: BeforeRotary | None,
) -> str:
    """Add rotary attention over the updated caches; returns [B, T, heads * head_size]."""
    name = f"layers.{index}.attention"
    head_size = head_size_of(config)
    sizes = [
        heads * head_size
        for heads in (
            config.num_attention_heads,
            config.num_key_value_heads,
            config.num_key_value_heads,
        )
    ]
    packed = graph.linear(normed, [own.q_proj, own.k_proj, own.v_proj], name=f"{name}.qkv")
    q, k, v = graph.split(packed, sizes, name=f"{name}.heads", parts=["q", "k", "v"])
    q = _by_head(graph, q, name=f"{name}.q", shape="shape.query_heads")
    k = _by_head(graph, k, name=f"{name}.k", shape="shape.kv_heads")
    v = _by_head(graph, v, name=f"{name}.v", shape="shape.kv_heads")
    tables = ["rotary.cos", "rotary.sin", "position_ids"]
    if before_rotary is not None:
        q, k = before_rotary(graph, own, "q", q), before_rotary(graph, own, "k", k)
    q = graph.node("RotaryEmbedding", [q, *tables], name=f"{name}.q.rotary")
    k = graph.node("RotaryEmbedding", [k, *tables], name=f"{name}.k.rotary")
    caches = [
        graph.node(
            "TensorScatter",
            [f"past_{part}.{index}", update, "write_index"],
            name=f"{name}.{part}_cache",
            outputs=[f"present_{part}.{index}"],
        )
        for part, update in (("key", k), ("value", v))
    ]
    context = graph.node(
        "Attention",
        [q, *caches, "", "", "", "kv_length"],
        name=name,
        attributes={"is_causal": 1, "scale": float(head_size**-0.5)},
    )
    context = graph.node(
        "Transpose", [context], name=f"{name}.rows", attributes={"perm": [0, 2, 1, 3]}
    )
    return graph.node("Reshape", [context, "shape.joined_heads"], name=f"{name}.joined")


def _by_head(graph: GraphBuilder, value: str, *, name: str, shape: str) -> str:
    """Turn [B, T, heads * head_size] into [B, heads, T, head_size]."""
    value = graph.node("Reshape", [value, shape], name=f"{name}.split")
    return graph.node(
        "Transpose", [value], name=f"{name}.by_head", attributes={"perm": [0, 2, 1, 3]}
    )


def _wanted_rows(graph: GraphBuilder, value: str, *, name: str) -> str:
    """Gather rows [B, R, D] of [B, T, D], for each cell its own."""
    indices = "logit_row_indices"
    return graph.node("GatherND", [value, indices], name=name, attributes={"batch_dims": 1})


def rms_norm(graph: GraphBuilder, value: str, module: nn.Module, *, name: str) -> str:
    """Add an RMSNormalization over the last dimension; returns its result."""
    weight = graph.weight(f"{name}.weight", module.weight)
    return graph.node(
        "RMSNormalization",
        [value, weight],
        name=name,
        attributes={"axis": -1, "epsilon": float(module.variance_epsilon)},
    )


def _output_layer(graph: GraphBuilder, model: PreTrainedModel, hidden: str) -> TensorReference:
    """Add the output layer [V, D]; returns where the token table lies.

    Gemm reads the table row by row (transB), so that a tied table is stored once.
    """
    table, output = model.model.embed_tokens.weight, model.lm_head.weight
    weight = graph.weight("output.weight", output, mapped=True)
    tied = output is table or output.data_ptr() == table.data_ptr()
    reference = graph.reference(weight) if tied else graph.region("token_embedding", table)
    hidden_size, vocabulary = model.config.hidden_size, model.config.vocab_size
    graph.constant("shape.flat_rows", np.array([-1, hidden_size], np.int64))
    flat = graph.node("Reshape", [hidden, "shape.flat_rows"], name="output.flat")
    flat = graph.node("Gemm", [flat, weight], name="output", attributes={"transB": 1})
    rows = graph.node("Shape", ["logit_rows"], name="output.rows")
    graph.constant("shape.vocabulary", np.array([vocabulary], np.int64))
    shape = graph.node(
        "Concat", [rows, "shape.vocabulary"], name="output.shape", attributes={"axis": 0}
    )
    graph.node("Reshape", [flat, shape], name="output.by_cell", outputs=["logits"])
    return reference
