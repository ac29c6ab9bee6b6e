"""The `mlp` projector: two linears on each encoder row, so that K rows become K cell vectors.

One decision: parameter names are those of the published checkpoints, so that weights load without
renaming, and all sizes are read from the shapes of the weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from c2t.export.graphs.graph_builder import GraphBuilder
from c2t.export.model.projector import Projector, ProjectorConfig, ProjectorFacts
from c2t.runtime.system.errors import CheckpointError

MARKS = ("projection.0.weight",)  # a tensor of this name shows the family


class MlpProjector(Projector):
    """Linear, LayerNorm, GELU, [Dropout], Linear, LayerNorm on every row."""

    takes_top_k = True

    def __init__(self, config: ProjectorConfig) -> None:
        super().__init__(config)
        layers: list[nn.Module] = [
            nn.Linear(config.input_width, config.hidden, bias=config.bias),
            nn.LayerNorm(config.hidden),
            nn.GELU(),
        ]
        if config.dropout > 0:
            layers.append(nn.Dropout(config.dropout))
        layers.append(nn.Linear(config.hidden, config.output_width, bias=config.bias))
        layers.append(nn.LayerNorm(config.output_width))
        self.projection = nn.Sequential(*layers)

    def forward(self, hidden: Tensor) -> Tensor:
        """Project rows [B, K, H] to cell vectors [B, K, D]."""
        projected: Tensor = self.projection(hidden)
        return projected


def config_from_shapes(
    shapes: Mapping[str, Sequence[int]], facts: ProjectorFacts
) -> ProjectorConfig:
    """Read the sizes from the shapes of the weights, which show all.

    Raises:
        CheckpointError: The second linear is missing.
    """
    # With dropout the second Linear is entry 4 and the last LayerNorm entry 5; without, 3 and 4.
    # Entry 4 alone is ambiguous, entry 5 and entry 3 are not.
    dropped = "projection.5.weight" in shapes
    second = shapes.get(f"projection.{4 if dropped else 3}.weight")
    first = shapes["projection.0.weight"]
    if second is None or len(second) != 2 or len(first) != 2:
        problem = "the mlp projector lacks its second Linear:\n" + "\n".join(
            f"- {name} {list(shape)}" for name, shape in sorted(shapes.items())
        )
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


def check_config(config: ProjectorConfig) -> None:
    """Refuse sizes that no module can be made with.

    Raises:
        CheckpointError: A size is missing.
    """
    if min(config.input_width, config.hidden, config.output_width) < 1:
        problem = (
            f"an mlp projector cannot map {config.input_width} by {config.hidden} to "
            f"{config.output_width} numbers"
        )
        raise CheckpointError(problem, hint="check the sizes in the checkpoint's config.json")


def buffers(config: ProjectorConfig) -> dict[str, Tensor]:
    """It has none."""
    return {}


def vectors(config: ProjectorConfig, top_k: int) -> int:
    """Most cell vectors of one cell: one for each row that it sees."""
    return top_k


def size(config: ProjectorConfig) -> str:
    """The size that tells two of them apart, in words."""
    return f"hidden {config.hidden}"


def preset(encoder_hidden_size: int, decoder_hidden_size: int) -> ProjectorConfig:
    """The published size."""
    return ProjectorConfig(
        kind="mlp", input_width=encoder_hidden_size, hidden=2048, output_width=decoder_hidden_size
    )


def write_nodes(graph: GraphBuilder, model: MlpProjector) -> str:
    """Add the projector's nodes behind the input `hidden`; returns their result."""
    # A Dropout, where training had one, shifts the second half by one and does nothing here.
    first, norm, _, second, last_norm = [
        module for module in model.projection if not isinstance(module, nn.Dropout)
    ]
    rows = graph.linear("hidden", [first], name="mlp.up")
    rows = graph.layer_norm(rows, norm, name="mlp.norm")
    rows = graph.node("Gelu", [rows], name="mlp.activation")
    rows = graph.linear(rows, [second], name="mlp.down")
    return graph.layer_norm(rows, last_norm, name="norm")
