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
`c2t.export.decoders.parts` says what a layer can be made of.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from transformers import PretrainedConfig

from c2t.export.decoders.layer_graph import LayerWriter
from c2t.export.decoders.parts import DecoderParts, DecoderSizes, Rotary
from c2t.export.graphs.graph_builder import Dimension, GraphBuilder, no_progress
from c2t.runtime.bundle.manifest import TensorReference
from c2t.runtime.system.progress import Advance

# Rows of the rotary tables: Llama 3.2 has 131,072 positions, a prompt and its caption hundreds.
MAX_POSITIONS = 8192


def cached_positions(config: PretrainedConfig, max_positions: int = MAX_POSITIONS) -> int:
    """How many positions the graph has: its longest sequence of prompt and text."""
    return min(int(config.max_position_embeddings), max_positions)


def write_cached_decoder(
    parts: DecoderParts, path: Path, *, positions: int, advance: Advance = no_progress
) -> TensorReference:
    """Write a decoder's graph and its data file, layer by layer.

    The token table is stored once, row by row: the output layer reads it as it is when it is tied,
    and the runtime maps it to look up tokens in both cases.

    Args:
        parts: The decoder; its weights are read, not copied.
        path: The graph file, `decoder.onnx`; the weights go to `decoder.onnx.data` beside it.
        positions: Rows of the rotary tables.
        advance: Called with the number of bytes written since its last call.

    Returns:
        Where the token table [V, D] lies.
    """
    sizes = parts.sizes
    with GraphBuilder(path, name="decoder", advance=advance) as graph:
        hidden = graph.input("inputs_embeds", ["B", "T", sizes.hidden_size])
        graph.input("position_ids", ["B", "T"], integer=True)
        graph.input("write_index", ["B"], integer=True)
        graph.input("kv_length", ["B"], integer=True)
        graph.input("logit_rows", ["B", "R"], integer=True)
        cache: list[Dimension] = ["B", sizes.kv_heads, "C", sizes.head_size]
        for index in range(sizes.layers):
            graph.input(f"past_key.{index}", cache)
            graph.input(f"past_value.{index}", cache)
        rotated = _rotary_tables(graph, parts.rotary, positions)
        _shapes(graph, sizes)
        writer = LayerWriter(graph, sizes, positions=positions, rotated=rotated)
        if parts.embedding_scale != 1:
            graph.constant("embedding.scale", np.array(parts.embedding_scale, np.float32))
            hidden = graph.node("Mul", [hidden, "embedding.scale"], name="embedding.scaled")
        for index, layer in enumerate(parts.layers):
            hidden = writer.add(layer, hidden, index=index)
        hidden = writer.norm(hidden, parts.norm, name="norm")
        token_table = _output_layer(graph, parts, hidden)
        graph.output("logits", ["B", "R", sizes.vocabulary_size])
        for index in range(sizes.layers):
            graph.output(f"present_key.{index}", cache)
            graph.output(f"present_value.{index}", cache)
        graph.save()
    return token_table


def _rotary_tables(graph: GraphBuilder, rotary: Rotary, positions: int) -> int:
    """Store cosine and sine [positions, r / 2] as transformers computes them; returns r."""
    # In float32, like transformers: at large positions float64 would differ from the model.
    angles = torch.outer(torch.arange(positions, dtype=torch.float32), rotary.inv_freq.float())
    graph.weight("rotary.cos", angles.cos() * rotary.attention_scaling)
    graph.weight("rotary.sin", angles.sin() * rotary.attention_scaling)
    return 2 * len(rotary.inv_freq)


def _shapes(graph: GraphBuilder, sizes: DecoderSizes) -> None:
    """Add the shapes that every layer uses, and the row indices in the form of GatherND."""
    for name, heads in (("query", sizes.heads), ("kv", sizes.kv_heads)):
        graph.constant(f"shape.{name}_heads", np.array([0, 0, heads, sizes.head_size], np.int64))
    graph.constant("shape.joined_heads", np.array([0, 0, -1], np.int64))
    graph.constant("axis.last", np.array([-1], np.int64))
    graph.node("Unsqueeze", ["logit_rows", "axis.last"], name="logit_row_indices")


def _output_layer(graph: GraphBuilder, parts: DecoderParts, hidden: str) -> TensorReference:
    """Add the output layer [V, D]; returns where the token table lies.

    Gemm reads the table row by row (transB), so that a tied table is stored once.
    """
    table, output, sizes = parts.token_table, parts.output_table, parts.sizes
    weight = graph.weight("output.weight", output, mapped=True)
    tied = output is table or output.data_ptr() == table.data_ptr()
    reference = graph.reference(weight) if tied else graph.region("token_embedding", table)
    graph.constant("shape.flat_rows", np.array([-1, sizes.hidden_size], np.int64))
    flat = graph.node("Reshape", [hidden, "shape.flat_rows"], name="output.flat")
    flat = graph.node("Gemm", [flat, weight], name="output", attributes={"transB": 1})
    if parts.logit_cap:
        flat = _capped(graph, flat, parts.logit_cap)
    rows = graph.node("Shape", ["logit_rows"], name="output.rows")
    graph.constant("shape.vocabulary", np.array([sizes.vocabulary_size], np.int64))
    shape = graph.node(
        "Concat", [rows, "shape.vocabulary"], name="output.shape", attributes={"axis": 0}
    )
    graph.node("Reshape", [flat, shape], name="output.by_cell", outputs=["logits"])
    return reference


def _capped(graph: GraphBuilder, logits: str, cap: float) -> str:
    """Add cap * tanh(logits / cap)."""
    graph.constant("output.cap", np.array(cap, np.float32))
    graph.constant("output.cap.inverse", np.array(1 / cap, np.float32))
    logits = graph.node("Mul", [logits, "output.cap.inverse"], name="output.divided")
    logits = graph.node("Tanh", [logits], name="output.tanh")
    return graph.node("Mul", [logits, "output.cap"], name="output.capped")
