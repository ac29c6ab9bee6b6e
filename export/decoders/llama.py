"""Llama decoders: which configs are taken, and the graph over caches that the caller owns.

One decision: the caches are buffers of the caller, bound as input and as output, that TensorScatter
updates in place; Attention is told how much of them is valid. So one graph serves prefill, single
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
"""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import (
    LlamaDecoderLayer,
    LlamaRMSNorm,
    LlamaRotaryEmbedding,
)

from c2t.export.graphs.graph_builder import Advance, Dimension, GraphBuilder, no_progress
from c2t.runtime.bundle.manifest import Decoder, TensorReference
from c2t.runtime.system.errors import CheckpointError

# Rows of the rotary tables: Llama 3.2 has 131,072 positions, a prompt and its caption hundreds.
MAX_POSITIONS = 8192
# Rotary schemes whose angles depend on the position alone, below `max_position_embeddings`.
ROPE_TYPES = ("default", "linear", "dynamic", "llama3", "yarn")

FIRST_LAYER = "model.layers.0."
# The second name of a tied output table, and the first.
TIED_BY_CONFIG = {"lm_head.weight": "model.embed_tokens.weight"}
# Old saves hold `model.layers.N.self_attn.rotary_emb.inv_freq`, a function of the config.
TOLERATED_ENDINGS = (".rotary_emb.inv_freq",)
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


def preset(
    *,
    layers: int,
    hidden_size: int,
    heads: int,
    kv_heads: int,
    head_size: int,
    intermediate_size: int,
    vocabulary_size: int,
) -> LlamaConfig:
    """The config of a Llama 3.2 of these sizes."""
    return LlamaConfig(
        vocab_size=vocabulary_size,
        hidden_size=hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=head_size,
        intermediate_size=intermediate_size,
        max_position_embeddings=131072,
        rms_norm_eps=1e-5,
        rope_theta=500000.0,
        rope_scaling=dict(LLAMA3_ROPE),
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=None,
    )


# The published sizes, and a tiny one with the same structure.
PRESETS = {
    "llama-3.2-1b": partial(
        preset, layers=16, hidden_size=2048, heads=32, kv_heads=8, head_size=64,
        intermediate_size=8192, vocabulary_size=128256,
    ),
    "llama-3.2-3b": partial(
        preset, layers=28, hidden_size=3072, heads=24, kv_heads=8, head_size=128,
        intermediate_size=8192, vocabulary_size=128256,
    ),
    "llama-tiny": partial(
        preset, layers=4, hidden_size=128, heads=4, kv_heads=2, head_size=32,
        intermediate_size=256, vocabulary_size=1024,
    ),
}  # fmt: skip


def check_config(config: LlamaConfig) -> None:
    """Refuse a config whose graph is not written here.

    Raises:
        CheckpointError: Another activation or rotary scheme.
    """
    if config.hidden_act != "silu":
        problem = f"the decoder's activation is {config.hidden_act!r}"
        raise CheckpointError(problem, hint="c2t exports Llama decoders, which use silu")
    scaling = config.rope_scaling or {}
    rope = scaling.get("rope_type", scaling.get("type", "default"))
    if rope not in ROPE_TYPES:
        problem = f"the decoder's rotary scheme is {rope!r}"
        raise CheckpointError(problem, hint=f"c2t exports {', '.join(ROPE_TYPES)}")


def restore_buffers(model: LlamaForCausalLM) -> None:
    """Compute the rotary frequencies, which checkpoints do not hold."""
    model.model.rotary_emb = LlamaRotaryEmbedding(config=model.config)


def manifest_entry(config: Any, token_embedding: TensorReference) -> Decoder:
    """What the manifest says of a Llama."""
    return Decoder(
        model=f"Llama, {config.num_hidden_layers} layers, width {config.hidden_size}",
        layers=int(config.num_hidden_layers),
        hidden_size=int(config.hidden_size),
        heads=int(config.num_attention_heads),
        kv_heads=int(config.num_key_value_heads),
        head_size=head_size_of(config),
        vocabulary_size=int(config.vocab_size),
        max_positions=cached_positions(config),
        token_embedding=token_embedding,
    )


def cached_positions(config: LlamaConfig, max_positions: int = MAX_POSITIONS) -> int:
    """How many positions the graph has: its longest sequence of prompt and text."""
    return min(int(config.max_position_embeddings), max_positions)


def write_decoder_graph(
    model: LlamaForCausalLM,
    path: Path,
    *,
    max_positions: int = MAX_POSITIONS,
    advance: Advance = no_progress,
) -> TensorReference:
    """Write the decoder's graph and its data file.

    The token table is stored once, row by row: the output layer reads it as it is when it is tied,
    and the runtime maps it to look up tokens in both cases.

    Args:
        model: The decoder; its weights are read, not copied.
        path: The graph file, `decoder.onnx`; the weights go to `decoder.onnx.data` beside it.
        max_positions: Most rows of the rotary tables; the model's own limit may be lower.
        advance: Called with the number of bytes written since its last call.

    Returns:
        Where the token table [V, D] lies.

    Raises:
        CheckpointError: An activation or rotary scheme that is not authored here.
    """
    config: LlamaConfig = model.config
    check_config(config)
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
        _rotary_tables(graph, config, cached_positions(config, max_positions))
        _shapes(graph, config)
        for index, layer in enumerate(model.model.layers):
            last = index == config.num_hidden_layers - 1
            hidden = _layer(graph, layer, hidden, index=index, config=config, last=last)
        hidden = _rms_norm(graph, hidden, model.model.norm, name="norm")
        token_table = _output_layer(graph, model, hidden)
        graph.output("logits", ["B", "R", config.vocab_size])
        for index in range(config.num_hidden_layers):
            graph.output(f"present_key.{index}", cache)
            graph.output(f"present_value.{index}", cache)
        graph.save()
    return token_table


def head_size_of(config: LlamaConfig) -> int:
    """Size of one attention head; older configs do not state it."""
    given = getattr(config, "head_dim", None)
    return int(given or config.hidden_size // config.num_attention_heads)


def _rotary_tables(graph: GraphBuilder, config: LlamaConfig, positions: int) -> None:
    """Store cosine and sine [positions, head_size / 2], computed as transformers computes them."""
    rotary = LlamaRotaryEmbedding(config)
    # In float32, like transformers: at large positions float64 would differ from the model.
    angles = torch.outer(torch.arange(positions, dtype=torch.float32), rotary.inv_freq.float())
    graph.weight("rotary.cos", angles.cos() * rotary.attention_scaling)
    graph.weight("rotary.sin", angles.sin() * rotary.attention_scaling)


def _shapes(graph: GraphBuilder, config: LlamaConfig) -> None:
    """Add the shapes that every layer uses, and the row indices in the form of GatherND."""
    head_size = head_size_of(config)
    for name, heads in (("query", config.num_attention_heads), ("kv", config.num_key_value_heads)):
        graph.constant(f"shape.{name}_heads", np.array([0, 0, heads, head_size], np.int64))
    graph.constant("shape.joined_heads", np.array([0, 0, -1], np.int64))
    graph.constant("axis.last", np.array([-1], np.int64))
    graph.node("Unsqueeze", ["logit_rows", "axis.last"], name="logit_row_indices")


def _layer(
    graph: GraphBuilder,
    layer: LlamaDecoderLayer,
    hidden: str,
    *,
    index: int,
    config: LlamaConfig,
    last: bool,
) -> str:
    """Add one decoder layer; the last one goes on with the wanted rows after its attention."""
    name = f"layers.{index}"
    normed = _rms_norm(graph, hidden, layer.input_layernorm, name=f"{name}.attention.norm")
    context = _attention(graph, layer, normed, index=index, config=config)
    if last:
        context = _wanted_rows(graph, context, name=f"{name}.attention.wanted_rows")
        hidden = _wanted_rows(graph, hidden, name=f"{name}.residual.wanted_rows")
    context = graph.linear(context, [layer.self_attn.o_proj], name=f"{name}.attention.output")
    hidden = graph.node("Add", [hidden, context], name=f"{name}.attention.residual")
    inner = _rms_norm(graph, hidden, layer.post_attention_layernorm, name=f"{name}.mlp.norm")
    mlp, inner_size = layer.mlp, config.intermediate_size
    inner = graph.linear(inner, [mlp.gate_proj, mlp.up_proj], name=f"{name}.mlp.gate_up")
    gate, up = graph.split(inner, [inner_size] * 2, name=f"{name}.mlp.halves", parts=["gate", "up"])
    sigmoid = graph.node("Sigmoid", [gate], name=f"{name}.mlp.sigmoid")
    inner = graph.node("Mul", [gate, sigmoid], name=f"{name}.mlp.silu")
    inner = graph.node("Mul", [inner, up], name=f"{name}.mlp.product")
    inner = graph.linear(inner, [mlp.down_proj], name=f"{name}.mlp.down")
    return graph.node("Add", [hidden, inner], name=f"{name}.mlp.residual")


def _attention(
    graph: GraphBuilder, layer: LlamaDecoderLayer, normed: str, *, index: int, config: LlamaConfig
) -> str:
    """Add rotary attention over the updated caches; returns [B, T, heads * head_size]."""
    name, own = f"layers.{index}.attention", layer.self_attn
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


def _rms_norm(graph: GraphBuilder, value: str, module: LlamaRMSNorm, *, name: str) -> str:
    weight = graph.weight(f"{name}.weight", module.weight)
    return graph.node(
        "RMSNormalization",
        [value, weight],
        name=name,
        attributes={"axis": -1, "epsilon": float(module.variance_epsilon)},
    )


def _output_layer(graph: GraphBuilder, model: LlamaForCausalLM, hidden: str) -> TensorReference:
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
