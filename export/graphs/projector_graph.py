"""The projector graph: encoder rows in, decoder-wide cell vectors out (`mlp`, `perceiver`).

One decision: the graph follows the module, block by block, and takes any number of rows and cells.

    hidden [B, K, H] float32 -> cell_vectors [B, K', D] float32

K' is K for `mlp`, the number of latents for `perceiver`.
"""

from pathlib import Path

import numpy as np
from torch import nn

from c2t.export.graphs.graph_builder import GraphBuilder
from c2t.export.model.projector import (
    CrossAttentionBlock,
    MlpProjector,
    PerceiverProjector,
    SelfAttentionBlock,
)


def write_projector_graph(model: MlpProjector | PerceiverProjector, path: Path) -> None:
    """Write the projector's graph and its data file.

    Args:
        model: The projector; its weights are read, not copied.
        path: The graph file, `projector.onnx`; the weights go to `projector.onnx.data` beside it.
    """
    config = model.config
    with GraphBuilder(path, name="projector") as graph:
        graph.input("hidden", ["B", "K", config.input_width])
        if isinstance(model, PerceiverProjector):
            vectors = _perceiver(graph, model)
        else:
            vectors = _mlp(graph, model)
        graph.node("Identity", [vectors], name="output", outputs=["cell_vectors"])
        count = config.num_latents if isinstance(model, PerceiverProjector) else "K"
        graph.output("cell_vectors", ["B", count, config.output_width])
        graph.save()


def _mlp(graph: GraphBuilder, model: MlpProjector) -> str:
    # A Dropout, where training had one, shifts the second half by one and does nothing here.
    first, norm, _, second, last_norm = [
        module for module in model.projection if not isinstance(module, nn.Dropout)
    ]
    rows = graph.linear("hidden", [first], name="mlp.up")
    rows = graph.layer_norm(rows, norm, name="mlp.norm")
    rows = graph.node("Gelu", [rows], name="mlp.activation")
    rows = graph.linear(rows, [second], name="mlp.down")
    return graph.layer_norm(rows, last_norm, name="norm")


def _perceiver(graph: GraphBuilder, model: PerceiverProjector) -> str:
    rows = graph.linear("hidden", [model.input_projection], name="input")
    if model.position_encoding is not None:
        rows = _add_positions(graph, model, rows)
    latents = _latents_of_each_cell(graph, model)
    heads = model.config.heads
    for index, block in enumerate(model.cross_attention_layers):
        name = f"cross.{index}"
        normed = graph.layer_norm(latents, block.norm1, name=f"{name}.attention.norm")
        seen = _attention(graph, block.cross_attn, normed, rows, heads=heads, name=name)
        latents = _finish_block(graph, block, latents, seen, name=name)
    for index, block in enumerate(model.self_attention_layers):
        name = f"self.{index}"
        normed = graph.layer_norm(latents, block.norm1, name=f"{name}.attention.norm")
        seen = _attention(graph, block.self_attn, normed, normed, heads=heads, name=name)
        latents = _finish_block(graph, block, latents, seen, name=name)
    return graph.layer_norm(latents, model.final_norm, name="norm")


def _add_positions(graph: GraphBuilder, model: PerceiverProjector, rows: str) -> str:
    """Add the first K rows of the sinusoidal table; more rows than it has fail, as in PyTorch."""
    assert model.position_encoding is not None
    table = graph.weight("positions.table", model.position_encoding.pe[0])
    first = graph.constant("positions.first", np.array([0], np.int64))
    attributes = {"start": 1, "end": 2}
    count = graph.node("Shape", ["hidden"], name="positions.count", attributes=attributes)
    table = graph.node("Slice", [table, first, count, first], name="positions.rows")
    return graph.node("Add", [rows, table], name="positions.add")


def _latents_of_each_cell(graph: GraphBuilder, model: PerceiverProjector) -> str:
    """Repeat the latents [N, D] for every cell of the batch."""
    latents = graph.weight("latents", model.latents)
    attributes = {"start": 0, "end": 1}
    cells = graph.node("Shape", ["hidden"], name="latents.cells", attributes=attributes)
    shape = graph.constant("latents.shape", np.array(model.latents.shape, np.int64))
    shape = graph.node("Concat", [cells, shape], name="latents.batch_shape", attributes={"axis": 0})
    return graph.node("Expand", [latents, shape], name="latents.batch")


def _attention(
    graph: GraphBuilder,
    module: nn.MultiheadAttention,
    queries: str,
    rows: str,
    *,
    heads: int,
    name: str,
) -> str:
    """Add multi-head attention of `queries` over `rows`; one packed product for each input."""
    prefix, width = f"{name}.attention", module.embed_dim
    weights = list(module.in_proj_weight.split(width))
    bias = module.in_proj_bias
    biases = [None] * 3 if bias is None else list(bias.split(width))
    if queries == rows:
        packed = graph.product(rows, weights, biases, name=f"{prefix}.qkv")
        q, k, v = graph.split(packed, [width] * 3, name=f"{prefix}.heads", parts=["q", "k", "v"])
    else:
        q = graph.product(queries, weights[:1], biases[:1], name=f"{prefix}.q")
        packed = graph.product(rows, weights[1:], biases[1:], name=f"{prefix}.kv")
        k, v = graph.split(packed, [width] * 2, name=f"{prefix}.heads", parts=["k", "v"])
    context = graph.attention(q, k, v, heads=heads, head_size=width // heads, name=prefix)
    return graph.linear(context, [module.out_proj], name=f"{prefix}.output")


def _finish_block(
    graph: GraphBuilder,
    block: CrossAttentionBlock | SelfAttentionBlock,
    latents: str,
    seen: str,
    *,
    name: str,
) -> str:
    """Add the residual of an attention, and the feed-forward with its own."""
    latents = graph.node("Add", [latents, seen], name=f"{name}.attention.residual")
    inner = graph.layer_norm(latents, block.norm2, name=f"{name}.mlp.norm")
    inner = graph.linear(inner, [block.feedforward[0]], name=f"{name}.mlp.up")
    inner = graph.node("Gelu", [inner], name=f"{name}.mlp.activation")
    inner = graph.linear(inner, [block.feedforward[3]], name=f"{name}.mlp.down")
    return graph.node("Add", [latents, inner], name=f"{name}.mlp.residual")
