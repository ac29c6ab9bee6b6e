"""The `perceiver` projector: learned latents attend to all encoder rows and become cell vectors.

One decision: parameter names are those of the published checkpoints, so that weights load without
renaming, and every size except the attention heads is read from the shapes of the weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from c2t.export.graphs.graph_builder import GraphBuilder
from c2t.export.model.projector import Projector, ProjectorConfig, ProjectorFacts
from c2t.runtime.system.errors import CheckpointError

DEFAULT_POSITIONS = 10000  # rows of the reference's table of positions
MARKS = ("latents", "input_projection.weight")  # a tensor of one of these names shows the family


class SinusoidalPositions(nn.Module):
    """Adds row p of a fixed table to input row p: even columns sine, odd columns cosine."""

    def __init__(self, rows: int, hidden_size: int) -> None:
        super().__init__()
        self.register_buffer("pe", sinusoidal_table(rows, hidden_size)[None])

    def forward(self, rows: Tensor) -> Tensor:
        """Add positions to [B, S, D]."""
        return rows + self.pe[:, : rows.shape[1]]


def sinusoidal_table(rows: int, hidden_size: int) -> Tensor:
    """The table [rows, hidden_size] of "Attention Is All You Need", section 3.5, in float32."""
    position = torch.arange(rows, dtype=torch.float32)[:, None]
    frequency = torch.exp(
        torch.arange(0, hidden_size, 2).float() * (-math.log(10000.0) / hidden_size)
    )
    table = torch.zeros(rows, hidden_size)
    table[:, 0::2] = torch.sin(position * frequency)
    table[:, 1::2] = torch.cos(position * frequency)[:, : hidden_size // 2]
    return table


def _feed_forward(config: ProjectorConfig) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(config.output_width, config.feed_forward),
        nn.GELU(),
        nn.Dropout(config.dropout),
        nn.Linear(config.feed_forward, config.output_width),
        nn.Dropout(config.dropout),
    )


def _attention_module(config: ProjectorConfig) -> nn.MultiheadAttention:
    return nn.MultiheadAttention(
        config.output_width, config.heads, dropout=config.dropout, batch_first=True
    )


class CrossAttentionBlock(nn.Module):
    """Latents attend to the input rows. The latents are normalised before, the rows are not."""

    def __init__(self, config: ProjectorConfig) -> None:
        super().__init__()
        self.cross_attn = _attention_module(config)
        self.feedforward = _feed_forward(config)
        self.norm1 = nn.LayerNorm(config.output_width)
        self.norm2 = nn.LayerNorm(config.output_width)

    def forward(self, latents: Tensor, rows: Tensor) -> Tensor:
        """Update latents [B, N, D] from rows [B, S, D]."""
        seen, _ = self.cross_attn(self.norm1(latents), rows, rows, need_weights=False)
        latents = latents + seen
        return latents + self.feedforward(self.norm2(latents))


class SelfAttentionBlock(nn.Module):
    """Latents attend to each other; they are normalised before."""

    def __init__(self, config: ProjectorConfig) -> None:
        super().__init__()
        self.self_attn = _attention_module(config)
        self.feedforward = _feed_forward(config)
        self.norm1 = nn.LayerNorm(config.output_width)
        self.norm2 = nn.LayerNorm(config.output_width)

    def forward(self, latents: Tensor) -> Tensor:
        """Update latents [B, N, D]."""
        normed = self.norm1(latents)
        seen, _ = self.self_attn(normed, normed, normed, need_weights=False)
        latents = latents + seen
        return latents + self.feedforward(self.norm2(latents))


class PerceiverProjector(Projector):
    """A fixed number of learned latents that read all input rows and come out as cell vectors."""

    def __init__(self, config: ProjectorConfig) -> None:
        super().__init__(config)
        check_config(config)
        self.latents = nn.Parameter(torch.randn(config.num_latents, config.output_width) * 0.02)
        self.input_projection = nn.Linear(config.input_width, config.output_width)
        self.position_encoding = (
            SinusoidalPositions(config.positions, config.output_width) if config.positions else None
        )
        self.cross_attention_layers = nn.ModuleList(
            CrossAttentionBlock(config) for _ in range(config.cross_layers)
        )
        self.self_attention_layers = nn.ModuleList(
            SelfAttentionBlock(config) for _ in range(config.self_layers)
        )
        self.final_norm = nn.LayerNorm(config.output_width)

    def forward(self, hidden: Tensor) -> Tensor:
        """Project rows [B, S, H] to cell vectors [B, num_latents, D]."""
        rows = self.input_projection(hidden)
        if self.position_encoding is not None:
            rows = self.position_encoding(rows)
        latents = self.latents.expand(hidden.shape[0], -1, -1)
        for block in self.cross_attention_layers:
            latents = block(latents, rows)
        for block in self.self_attention_layers:
            latents = block(latents)
        normed: Tensor = self.final_norm(latents)
        return normed

    def longest_input(self) -> int | None:
        """Rows of the table of positions; without one, any number of rows is taken."""
        return self.config.positions or None


def config_from_shapes(
    shapes: Mapping[str, Sequence[int]], facts: ProjectorFacts
) -> ProjectorConfig:
    """Read the sizes from the shapes of the weights.

    Args:
        shapes: Shape of every tensor, by its name inside the projector.
        facts: What the weights do not show.

    Raises:
        CheckpointError: A tensor is missing, a fact is not stated, or the heads do not divide the
            hidden size.
    """
    needed = (
        "latents",
        "input_projection.weight",
        "cross_attention_layers.0.feedforward.0.weight",
    )
    lacking = [name for name in needed if len(shapes.get(name, ())) != 2]
    if lacking:
        problem = "the perceiver projector lacks: " + ", ".join(lacking)
        raise CheckpointError(
            problem,
            hint="an adapter folder alone may not hold `latents`; add the full checkpoint",
        )
    num_latents, hidden_size = shapes["latents"]
    positions = shapes.get("position_encoding.pe")
    if facts.heads is None or (positions is None and facts.positions is None):
        raise _unstated(facts, positions)
    config = ProjectorConfig(
        kind="perceiver",
        input_width=shapes["input_projection.weight"][1],
        output_width=hidden_size,
        num_latents=num_latents,
        heads=facts.heads,
        cross_layers=_count_blocks(shapes, "cross_attention_layers"),
        self_layers=_count_blocks(shapes, "self_attention_layers"),
        feed_forward=shapes["cross_attention_layers.0.feedforward.0.weight"][0],
        positions=_positions(positions, stated=facts.positions),
    )
    check_config(config)
    return config


def _unstated(facts: ProjectorFacts, positions: Sequence[int] | None) -> CheckpointError:
    """Ask for what the weights do not show."""
    lacking, hints = [], []
    if facts.heads is None:
        lacking.append("how many attention heads it has")
        hints.append("pass --perceiver-heads, the number of the training run (--num_heads there)")
    if positions is None and facts.positions is None:
        lacking.append("whether it adds positions (no `position_encoding.pe` was saved)")
        hints.append(
            "pass --perceiver-positions if it was trained with them, as by default, else "
            "--no-perceiver-positions"
        )
    problem = f"the perceiver's weights do not show {' and '.join(lacking)}"
    return CheckpointError(problem, hint="; ".join(hints))


def _positions(stored: Sequence[int] | None, *, stated: bool | None) -> int:
    """Rows of the table of positions, a buffer that saves of parameters do not hold; 0: none.

    Raises:
        CheckpointError: The weights hold one that was stated not to be there.
    """
    if stored is None:
        return DEFAULT_POSITIONS if stated else 0
    if stated is False or len(stored) != 3:
        problem = f"the perceiver's weights hold a table of positions, {list(stored)}"
        hint = "leave --no-perceiver-positions out, or check use_position_encoding of the run"
        raise CheckpointError(problem, hint=hint)
    return stored[1]


def check_config(config: ProjectorConfig) -> None:
    """Refuse sizes that no module can be made with.

    Raises:
        CheckpointError: A size is missing, or the heads do not divide the hidden size.
    """
    hidden_size, heads = config.output_width, config.heads
    if heads < 1 or hidden_size % heads:
        problem = f"a perceiver of width {hidden_size} cannot have {heads} attention heads"
        raise CheckpointError(
            problem,
            hint="the weights do not show how many there are: pass the number used in training",
        )
    if min(config.input_width, hidden_size, config.num_latents, config.feed_forward) < 1:
        problem = (
            f"a perceiver cannot have {config.num_latents} latents of {hidden_size} numbers and a "
            f"feed-forward of {config.feed_forward}"
        )
        raise CheckpointError(problem, hint="check the sizes in the checkpoint's config.json")


def buffers(config: ProjectorConfig) -> dict[str, Tensor]:
    """The table of positions by its name in a save: a constant, which some saves leave out."""
    if not config.positions:
        return {}
    table = sinusoidal_table(config.positions, config.output_width)
    return {"position_encoding.pe": table[None]}


def vectors(config: ProjectorConfig, top_k: int) -> int:
    """Cell vectors of one cell: the latents, whatever `top_k` is."""
    return config.num_latents


def size(config: ProjectorConfig) -> str:
    """The size that tells two of them apart, in words."""
    return f"{config.heads} heads"


def preset(encoder_hidden_size: int, decoder_hidden_size: int) -> ProjectorConfig:
    """The published sizes."""
    return ProjectorConfig(
        kind="perceiver",
        input_width=encoder_hidden_size,
        output_width=decoder_hidden_size,
        num_latents=128,
        feed_forward=2 * decoder_hidden_size,
        positions=DEFAULT_POSITIONS,
    )


def _count_blocks(shapes: Mapping[str, Sequence[int]], name: str) -> int:
    return len({key.split(".")[1] for key in shapes if key.startswith(f"{name}.")})


def write_nodes(graph: GraphBuilder, model: PerceiverProjector) -> str:
    """Add the projector's nodes behind the input `hidden`; returns their result."""
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
    """Add multi-head attention of `queries` over `rows`; one packed linear for each input."""
    prefix, hidden_size = f"{name}.attention", module.embed_dim
    weights = list(module.in_proj_weight.split(hidden_size))
    bias = module.in_proj_bias
    biases = [None] * 3 if bias is None else list(bias.split(hidden_size))
    if queries == rows:
        packed = graph.packed_linear(rows, weights, biases, name=f"{prefix}.qkv")
        q, k, v = graph.split(
            packed, [hidden_size] * 3, name=f"{prefix}.heads", parts=["q", "k", "v"]
        )
    else:
        q = graph.packed_linear(queries, weights[:1], biases[:1], name=f"{prefix}.q")
        packed = graph.packed_linear(rows, weights[1:], biases[1:], name=f"{prefix}.kv")
        k, v = graph.split(packed, [hidden_size] * 2, name=f"{prefix}.heads", parts=["k", "v"])
    context = graph.attention(q, k, v, heads=heads, head_size=hidden_size // heads, name=prefix)
    return graph.linear(context, [module.out_proj], name=f"{prefix}.output")


def _finish_block(
    graph: GraphBuilder,
    block: CrossAttentionBlock | SelfAttentionBlock,
    latents: str,
    seen: str,
    *,
    name: str,
) -> str:
    """Add the residual of an attention, and the feed-forward block with its residual."""
    latents = graph.node("Add", [latents, seen], name=f"{name}.attention.residual")
    intermediate = graph.layer_norm(latents, block.norm2, name=f"{name}.mlp.norm")
    intermediate = graph.linear(intermediate, [block.feedforward[0]], name=f"{name}.mlp.up")
    intermediate = graph.node("Gelu", [intermediate], name=f"{name}.mlp.activation")
    intermediate = graph.linear(intermediate, [block.feedforward[3]], name=f"{name}.mlp.down")
    return graph.node("Add", [latents, intermediate], name=f"{name}.mlp.residual")
