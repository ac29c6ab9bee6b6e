"""The `qformer` projector: learned queries read all encoder rows through a BERT of their own.

The queries attend to each other in every layer, and to the rows in every second one (BLIP-2,
arXiv 2301.12597, section 3.1). Cell2Text starts from PubMedBERT, 12 layers of 768 numbers.

One decision: parameter names are those of the published checkpoints, so that weights load without
renaming. A save also holds the BERT's side for texts, which no query passes: it is left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from c2t.export.graphs.graph_builder import GraphBuilder
from c2t.export.model.projector import Projector, ProjectorConfig, ProjectorFacts
from c2t.runtime.system.errors import CheckpointError

# A tensor of one of these names shows the family.
MARKS = ("query_tokens", "Qformer.bert.embeddings.LayerNorm.weight", "ln_cell.weight")
# Weights show no heads. The reference takes PubMedBERT, whose hidden size is this, with so many.
PUBMEDBERT_HIDDEN_SIZE, PUBMEDBERT_HEADS = 768, 12
# Of every BERT that is published; weights do not show it.
BERT_EPSILON = 1e-12
_LAYER = "Qformer.bert.encoder.layer"
# Tensors of the side for texts, and of the head that writes them.
_TEXT_SIDE = re.compile(
    r"Qformer\.(cls\..+"
    r"|bert\.embeddings\.(word_embeddings\.weight|position_embeddings\.weight|position_ids)"
    r"|bert\.encoder\.layer\.\d+\.(intermediate|output)\..+)"
)


class _Attention(nn.Module):
    """The three linears in front of an attention, under BERT's names."""

    def __init__(self, hidden_size: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(hidden_size, hidden_size) for _ in range(3))

    def forward(self, queries: Tensor, rows: Tensor) -> Tensor:
        """Mix rows [B, S, W] for queries [B, Q, W]."""
        q, k, v = (
            linear(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for linear, x in ((self.query, queries), (self.key, rows), (self.value, rows))
        )
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class _Output(nn.Module):
    """A linear, added to what went in and normalised, under BERT's names."""

    def __init__(self, inputs: int, hidden_size: int) -> None:
        super().__init__()
        self.dense = nn.Linear(inputs, hidden_size)
        self.LayerNorm = nn.LayerNorm(hidden_size, eps=BERT_EPSILON)

    def forward(self, value: Tensor, residual: Tensor) -> Tensor:
        """Map [B, Q, inputs] and add [B, Q, W]."""
        normed: Tensor = self.LayerNorm(self.dense(value) + residual)
        return normed


def _attention_block(config: ProjectorConfig) -> nn.ModuleDict:
    width = config.hidden
    return nn.ModuleDict({"self": _Attention(width, config.heads), "output": _Output(width, width)})


class QFormerLayer(nn.Module):
    """Self-attention of the queries, cross-attention to the rows in some layers, feed-forward."""

    def __init__(self, config: ProjectorConfig, *, crosses: bool) -> None:
        super().__init__()
        self.attention = _attention_block(config)
        self.crossattention = _attention_block(config) if crosses else None
        self.intermediate_query = nn.ModuleDict(
            {"dense": nn.Linear(config.hidden, config.feed_forward)}
        )
        self.output_query = _Output(config.feed_forward, config.hidden)

    def forward(self, queries: Tensor, rows: Tensor) -> Tensor:
        """Update queries [B, Q, W] from rows [B, S, W]."""
        return self.read(self.attend(queries), rows)

    def attend(self, queries: Tensor) -> Tensor:
        """Let queries [B, Q, W] attend to each other."""
        seen: Tensor = self.attention["output"](self.attention["self"](queries, queries), queries)
        return seen

    def read(self, queries: Tensor, rows: Tensor) -> Tensor:
        """Let queries [B, Q, W] read rows [B, S, W], if this layer does, and think about it."""
        if self.crossattention is not None:
            seen = self.crossattention["self"](queries, rows)
            queries = self.crossattention["output"](seen, queries)
        inner = F.gelu(self.intermediate_query["dense"](queries))
        updated: Tensor = self.output_query(inner, queries)
        return updated


class QFormerProjector(Projector):
    """A fixed number of learned queries that read all input rows and come out as cell vectors."""

    def __init__(self, config: ProjectorConfig) -> None:
        super().__init__(config)
        check_config(config)
        width = config.hidden
        self.input_projection = nn.Linear(config.input_width, width)
        self.ln_cell = nn.LayerNorm(width)
        self.query_tokens = nn.Parameter(torch.randn(1, config.queries, width) * 0.02)
        layers = nn.ModuleList(
            QFormerLayer(config, crosses=index % config.cross_every == 0)
            for index in range(config.layers)
        )
        embeddings = nn.ModuleDict({"LayerNorm": nn.LayerNorm(width, eps=BERT_EPSILON)})
        encoder = nn.ModuleDict({"layer": layers})
        bert = nn.ModuleDict({"embeddings": embeddings, "encoder": encoder})
        self.Qformer = nn.ModuleDict({"bert": bert})
        self.output_projection = nn.Linear(width, config.output_width)

    def layers(self) -> list[QFormerLayer]:
        """The layers, first to last."""
        return list(self.Qformer["bert"]["encoder"]["layer"])

    def first_queries(self) -> Tensor:
        """The queries [1, Q, W] as they come to the first rows: the same for every cell."""
        normed = self.Qformer["bert"]["embeddings"]["LayerNorm"](self.query_tokens)
        return self.layers()[0].attend(normed)

    def forward(self, hidden: Tensor) -> Tensor:
        """Project rows [B, S, H] to cell vectors [B, queries, D]."""
        rows = self.ln_cell(self.input_projection(hidden))
        first, *others = self.layers()
        queries = first.read(self.first_queries().expand(len(hidden), -1, -1), rows)
        for layer in others:
            queries = layer(queries, rows)
        vectors: Tensor = self.output_projection(queries)
        return vectors


def config_from_shapes(
    shapes: Mapping[str, Sequence[int]], facts: ProjectorFacts
) -> ProjectorConfig:
    """Read the sizes from the shapes of the weights.

    Args:
        shapes: Shape of every tensor, by its name inside the projector.
        facts: What the weights do not show.

    Raises:
        CheckpointError: A tensor is missing, the layers that read rows follow no rule, or the heads
            are neither PubMedBERT's nor stated.
    """
    needed = {
        "query_tokens": 3,
        "input_projection.weight": 2,
        "output_projection.weight": 2,
        f"{_LAYER}.0.attention.self.query.weight": 2,
        f"{_LAYER}.0.crossattention.self.query.weight": 2,
        f"{_LAYER}.0.intermediate_query.dense.weight": 2,
    }
    lacking = [name for name, rank in needed.items() if len(shapes.get(name, ())) != rank]
    if lacking:
        problem = "the qformer projector lacks: " + ", ".join(lacking)
        hint = "an adapter folder alone may not hold `query_tokens`; add the full checkpoint"
        raise CheckpointError(problem, hint=hint)
    _, queries, width = shapes["query_tokens"]
    layers = _layers_with(shapes, "attention")
    config = ProjectorConfig(
        kind="qformer",
        input_width=shapes["input_projection.weight"][1],
        hidden=width,
        output_width=shapes["output_projection.weight"][0],
        queries=queries,
        heads=_heads(width, facts.qformer_heads),
        layers=len(layers),
        cross_every=_cross_every(_layers_with(shapes, "crossattention"), len(layers)),
        feed_forward=shapes[f"{_LAYER}.0.intermediate_query.dense.weight"][0],
    )
    check_config(config)
    return config


def _layers_with(shapes: Mapping[str, Sequence[int]], part: str) -> list[int]:
    """The layers that have such a part."""
    pattern = re.compile(rf"{re.escape(_LAYER)}\.(\d+)\.{part}\.self\.query\.weight")
    return sorted(int(match[1]) for name in shapes if (match := pattern.fullmatch(name)))


def _heads(width: int, stated: int | None) -> int:
    """Attention heads, which weights do not show.

    Raises:
        CheckpointError: The width is not PubMedBERT's, and none are stated.
    """
    if stated is None and width != PUBMEDBERT_HIDDEN_SIZE:
        problem = f"the Q-Former's weights do not show how many heads its {width} numbers have"
        raise CheckpointError(
            problem, hint="pass --qformer-heads, num_attention_heads of the BERT it started from"
        )
    return PUBMEDBERT_HEADS if stated is None else stated


def _cross_every(crossing: list[int], layers: int) -> int:
    """Every how many layers the rows are read.

    Raises:
        CheckpointError: There is no such number.
    """
    every = crossing[1] if len(crossing) > 1 else layers
    if crossing != list(range(0, layers, every)):
        problem = f"of {layers} layers of the Q-Former, {crossing} have cross-attention"
        raise CheckpointError(problem, hint="expected every n-th layer, from layer 0 on")
    return every


def check_config(config: ProjectorConfig) -> None:
    """Refuse sizes that no module can be made with.

    Raises:
        CheckpointError: A size is missing, or the heads do not divide the hidden size.
    """
    width, heads = config.hidden, config.heads
    if heads < 1 or width % heads:
        problem = f"a Q-Former of width {width} cannot have {heads} attention heads"
        raise CheckpointError(problem, hint="pass --qformer-heads, the number used in training")
    sizes = (config.input_width, width, config.output_width, config.queries, config.feed_forward)
    if min(*sizes, config.layers, config.cross_every) < 1:
        problem = (
            f"a Q-Former cannot have {config.queries} queries of {width} numbers, {config.layers} "
            f"layers and a feed-forward of {config.feed_forward}"
        )
        raise CheckpointError(problem, hint="check the sizes in the checkpoint's config.json")


def unneeded(name: str) -> bool:
    """Whether a tensor of a save is of the side for texts."""
    return _TEXT_SIDE.fullmatch(name) is not None


def buffers(config: ProjectorConfig) -> dict[str, Tensor]:
    """It has none."""
    return {}


def vectors(config: ProjectorConfig, top_k: int) -> int:
    """Cell vectors of one cell: the queries, whatever `top_k` is."""
    return config.queries


def size(config: ProjectorConfig) -> str:
    """The size that tells two of them apart, in words."""
    return f"{config.queries} queries, {config.layers} layers, {config.heads} heads"


def preset(encoder_hidden_size: int, decoder_hidden_size: int) -> ProjectorConfig:
    """The published sizes."""
    return ProjectorConfig(
        kind="qformer",
        input_width=encoder_hidden_size,
        hidden=PUBMEDBERT_HIDDEN_SIZE,
        output_width=decoder_hidden_size,
        queries=256,
        heads=PUBMEDBERT_HEADS,
        layers=12,
        cross_every=2,
        feed_forward=3072,
    )


def write_nodes(graph: GraphBuilder, model: QFormerProjector) -> str:
    """Add the projector's nodes behind the input `hidden`; returns their result."""
    rows = graph.linear("hidden", [model.input_projection], name="input")
    rows = graph.layer_norm(rows, model.ln_cell, name="input.norm")
    heads = model.config.heads
    # What queries say to each other before they have seen a row is computed here, once.
    queries = _queries_of_each_cell(graph, model)
    for index, layer in enumerate(model.layers()):
        name = f"layers.{index}"
        if index > 0:
            seen = _self_attention(graph, layer, queries, heads=heads, name=f"{name}.attention")
            queries = _output(
                graph, layer.attention["output"], seen, queries, name=f"{name}.attention"
            )
        if layer.crossattention is not None:
            seen = _cross_attention(graph, layer, queries, rows, heads=heads, name=f"{name}.cross")
            queries = _output(
                graph, layer.crossattention["output"], seen, queries, name=f"{name}.cross"
            )
        inner = graph.linear(queries, [layer.intermediate_query["dense"]], name=f"{name}.mlp.up")
        inner = graph.node("Gelu", [inner], name=f"{name}.mlp.activation")
        queries = _output(graph, layer.output_query, inner, queries, name=f"{name}.mlp")
    return graph.linear(queries, [model.output_projection], name="projection")


def _queries_of_each_cell(graph: GraphBuilder, model: QFormerProjector) -> str:
    """Repeat the first queries [Q, W] for every cell of the batch."""
    with torch.no_grad():
        first = model.first_queries()[0]
    queries = graph.weight("queries", first)
    attributes = {"start": 0, "end": 1}
    cells = graph.node("Shape", ["hidden"], name="queries.cells", attributes=attributes)
    shape = graph.constant("queries.shape", np.array(first.shape, np.int64))
    shape = graph.node("Concat", [cells, shape], name="queries.batch_shape", attributes={"axis": 0})
    return graph.node("Expand", [queries, shape], name="queries.batch")


def _self_attention(
    graph: GraphBuilder, layer: QFormerLayer, queries: str, *, heads: int, name: str
) -> str:
    """Add attention of the queries to each other; one packed linear in front of it."""
    module = layer.attention["self"]
    hidden_size = module.query.out_features
    packed = graph.linear(queries, [module.query, module.key, module.value], name=f"{name}.qkv")
    q, k, v = graph.split(packed, [hidden_size] * 3, name=f"{name}.heads", parts=["q", "k", "v"])
    return graph.attention(q, k, v, heads=heads, head_size=hidden_size // heads, name=name)


def _cross_attention(
    graph: GraphBuilder, layer: QFormerLayer, queries: str, rows: str, *, heads: int, name: str
) -> str:
    """Add attention of the queries to the rows."""
    assert layer.crossattention is not None
    module = layer.crossattention["self"]
    hidden_size = module.query.out_features
    q = graph.linear(queries, [module.query], name=f"{name}.q")
    packed = graph.linear(rows, [module.key, module.value], name=f"{name}.kv")
    k, v = graph.split(packed, [hidden_size] * 2, name=f"{name}.heads", parts=["k", "v"])
    return graph.attention(q, k, v, heads=heads, head_size=hidden_size // heads, name=name)


def _output(graph: GraphBuilder, module: _Output, value: str, residual: str, *, name: str) -> str:
    """Add a linear, its residual and its norm."""
    value = graph.linear(value, [module.dense], name=f"{name}.output")
    value = graph.node("Add", [value, residual], name=f"{name}.residual")
    return graph.layer_norm(value, module.LayerNorm, name=f"{name}.norm")
