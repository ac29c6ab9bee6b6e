"""The projector in PyTorch: encoder rows in, decoder-wide cell vectors out (`mlp`, `perceiver`).

One decision: parameter names are those of the published checkpoints, so that weights load without
renaming, and every size except the attention heads is read from the shapes of the weights.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from c2t.runtime.system.errors import CheckpointError

# nn.MultiheadAttention stores no trace of its number of heads; the published training runs used 8
# unless told otherwise (2 in some), so 8 is what a perceiver gets when the caller is silent.
DEFAULT_PERCEIVER_HEADS = 8


@dataclass(frozen=True, kw_only=True)
class ProjectorConfig:
    """Sizes of a projector; fields of the other kind keep their defaults."""

    kind: str  # "mlp" | "perceiver"
    input_width: int  # H of the encoder
    output_width: int  # D of the decoder
    dropout: float = 0.0  # for training only; in `mlp`, > 0 shifts the indices of the second half
    # mlp
    hidden: int = 0
    bias: bool = True
    # perceiver
    num_latents: int = 0
    heads: int = DEFAULT_PERCEIVER_HEADS
    cross_layers: int = 1
    self_layers: int = 4
    feed_forward: int = 0  # inner width, ff_mult * output_width
    positions: int = 0  # rows of the sinusoidal table; 0: none is added

    def __post_init__(self) -> None:
        if self.kind not in ("mlp", "perceiver"):
            problem = f"unknown projector kind {self.kind!r}"
            raise CheckpointError(problem, hint="use `mlp` or `perceiver`")

    def to_json(self) -> dict[str, Any]:
        """The fields as a JSON object."""
        return asdict(self)


class MlpProjector(nn.Module):
    """Linear, LayerNorm, GELU, [Dropout], Linear, LayerNorm on every row."""

    def __init__(self, config: ProjectorConfig) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Linear(config.input_width, config.hidden, bias=config.bias),
            nn.LayerNorm(config.hidden),
            nn.GELU(),
        ]
        if config.dropout > 0:
            layers.append(nn.Dropout(config.dropout))
        layers.append(nn.Linear(config.hidden, config.output_width, bias=config.bias))
        layers.append(nn.LayerNorm(config.output_width))
        self.config = config
        self.projection = nn.Sequential(*layers)

    def forward(self, hidden: Tensor) -> Tensor:
        """Project rows [B,K,H] to cell vectors [B,K,D]."""
        projected: Tensor = self.projection(hidden)
        return projected


class SinusoidalPositions(nn.Module):
    """Adds row p of a fixed table to input row p: even columns sine, odd columns cosine."""

    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        self.register_buffer("pe", sinusoidal_table(rows, width)[None])

    def forward(self, rows: Tensor) -> Tensor:
        """Add positions to [B,S,D]."""
        return rows + self.pe[:, : rows.shape[1]]


def sinusoidal_table(rows: int, width: int) -> Tensor:
    """The table [rows, width] of "Attention Is All You Need", section 3.5, in float32."""
    position = torch.arange(rows, dtype=torch.float32)[:, None]
    frequency = torch.exp(torch.arange(0, width, 2).float() * (-math.log(10000.0) / width))
    table = torch.zeros(rows, width)
    table[:, 0::2] = torch.sin(position * frequency)
    table[:, 1::2] = torch.cos(position * frequency)[:, : width // 2]
    return table


def _feed_forward(config: ProjectorConfig) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(config.output_width, config.feed_forward),
        nn.GELU(),
        nn.Dropout(config.dropout),
        nn.Linear(config.feed_forward, config.output_width),
        nn.Dropout(config.dropout),
    )


def _attention(config: ProjectorConfig) -> nn.MultiheadAttention:
    return nn.MultiheadAttention(
        config.output_width, config.heads, dropout=config.dropout, batch_first=True
    )


class CrossAttentionBlock(nn.Module):
    """Latents look at the input rows; only the latents are normalised before it."""

    def __init__(self, config: ProjectorConfig) -> None:
        super().__init__()
        self.cross_attn = _attention(config)
        self.feedforward = _feed_forward(config)
        self.norm1 = nn.LayerNorm(config.output_width)
        self.norm2 = nn.LayerNorm(config.output_width)

    def forward(self, latents: Tensor, rows: Tensor) -> Tensor:
        """Update latents [B,N,D] from rows [B,S,D]."""
        seen, _ = self.cross_attn(self.norm1(latents), rows, rows, need_weights=False)
        latents = latents + seen
        return latents + self.feedforward(self.norm2(latents))


class SelfAttentionBlock(nn.Module):
    """Latents look at each other, pre-norm."""

    def __init__(self, config: ProjectorConfig) -> None:
        super().__init__()
        self.self_attn = _attention(config)
        self.feedforward = _feed_forward(config)
        self.norm1 = nn.LayerNorm(config.output_width)
        self.norm2 = nn.LayerNorm(config.output_width)

    def forward(self, latents: Tensor) -> Tensor:
        """Update latents [B,N,D]."""
        normed = self.norm1(latents)
        seen, _ = self.self_attn(normed, normed, normed, need_weights=False)
        latents = latents + seen
        return latents + self.feedforward(self.norm2(latents))


class PerceiverProjector(nn.Module):
    """A fixed number of learned latents that read all input rows and come out as cell vectors."""

    def __init__(self, config: ProjectorConfig) -> None:
        super().__init__()
        if config.output_width % config.heads:
            problem = f"perceiver: {config.heads} heads do not divide width {config.output_width}"
            raise CheckpointError(problem, hint="pass the number of heads used in training")
        self.config = config
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
        """Project rows [B,S,H] of any number to cell vectors [B,num_latents,D]."""
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


def build_projector(config: ProjectorConfig) -> MlpProjector | PerceiverProjector:
    """A projector with freshly initialised weights."""
    return MlpProjector(config) if config.kind == "mlp" else PerceiverProjector(config)


def projector_config_from_shapes(
    shapes: Mapping[str, Sequence[int]], *, heads: int | None = None
) -> ProjectorConfig:
    """Recognise the kind and the sizes of a projector by the shapes of its tensors.

    Args:
        shapes: Shape of every tensor, by its name inside the projector.
        heads: Attention heads of a perceiver, which its weights do not tell;
            None means `DEFAULT_PERCEIVER_HEADS`.

    Raises:
        CheckpointError: The names fit neither kind.
    """
    if "projection.0.weight" in shapes:
        return _mlp_config(shapes)
    if "latents" in shapes or "input_projection.weight" in shapes:
        return _perceiver_config(shapes, heads)
    problem = "the projector's tensors fit neither `mlp` nor `perceiver`:\n" + _listing(shapes)
    raise CheckpointError(
        problem, hint="`mlp` has `projection.0.weight`, `perceiver` has `latents`"
    )


def _mlp_config(shapes: Mapping[str, Sequence[int]]) -> ProjectorConfig:
    # With dropout the second Linear is entry 4 and the last LayerNorm entry 5; without, 3 and 4.
    # Entry 4 alone is ambiguous, entry 5 and entry 3 are not.
    dropped = "projection.5.weight" in shapes
    second = shapes.get(f"projection.{4 if dropped else 3}.weight")
    first = shapes["projection.0.weight"]
    if second is None or len(second) != 2 or len(first) != 2:
        problem = "the mlp projector lacks its second Linear:\n" + _listing(shapes)
        raise CheckpointError(
            problem, hint="expected `projection.3.weight` or `projection.4.weight`"
        )
    return ProjectorConfig(
        kind="mlp",
        input_width=first[1],
        hidden=first[0],
        output_width=second[0],
        bias="projection.0.bias" in shapes,
        # The rate itself is not in the weights and has no effect on inference.
        dropout=0.1 if dropped else 0.0,
    )


def _perceiver_config(shapes: Mapping[str, Sequence[int]], heads: int | None) -> ProjectorConfig:
    needed = (
        "latents",
        "input_projection.weight",
        "cross_attention_layers.0.feedforward.0.weight",
    )
    lacking = [name for name in needed if name not in shapes]
    if lacking:
        problem = "the perceiver projector lacks: " + ", ".join(lacking)
        raise CheckpointError(
            problem,
            hint="an adapter folder alone may not hold `latents`; add the full checkpoint",
        )
    num_latents, width = shapes["latents"]
    heads = DEFAULT_PERCEIVER_HEADS if heads is None else heads
    if heads < 1 or width % heads:
        problem = f"a perceiver of width {width} cannot have {heads} attention heads"
        raise CheckpointError(
            problem, hint="the weights do not tell the heads: pass the number used in training"
        )
    return ProjectorConfig(
        kind="perceiver",
        input_width=shapes["input_projection.weight"][1],
        output_width=width,
        num_latents=num_latents,
        heads=heads,
        cross_layers=_count_blocks(shapes, "cross_attention_layers"),
        self_layers=_count_blocks(shapes, "self_attention_layers"),
        feed_forward=shapes["cross_attention_layers.0.feedforward.0.weight"][0],
        positions=shapes.get("position_encoding.pe", (1, 0, width))[1],
    )


def _count_blocks(shapes: Mapping[str, Sequence[int]], name: str) -> int:
    return len({key.split(".")[1] for key in shapes if key.startswith(f"{name}.")})


def _listing(shapes: Mapping[str, Sequence[int]]) -> str:
    return "\n".join(f"- {name} {list(shape)}" for name, shape in sorted(shapes.items()))
