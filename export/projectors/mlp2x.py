"""The `mlp2x_8t` projector: a place in a joint space becomes eight cell vectors.

One decision: it holds the block that leads into the joint space, and takes one row a cell, which
the encoder's graph has pooled. So it takes a group as well: its place is the mean of the places of
its cells, each of length 1 as a search compares it. The mean itself is shorter, as published.

Source: CellWhisperer's chat (LLaVA's `mm_projector` of the type `mlp2x_8t_gelu`, keys 0 and 2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor, nn

from c2t.export.graphs.graph_builder import GraphBuilder
from c2t.export.graphs.joint_block import write_joint_block
from c2t.export.model.projector import Projector, ProjectorConfig, ProjectorFacts
from c2t.export.projectors import joint
from c2t.runtime.system.errors import CheckpointError

# Cell vectors of one cell. The weights show only their product with the decoder's hidden size.
VECTORS = 8
MARKS = ("mm_projector.2.weight",)  # a tensor of this name shows the family


class Mlp2xProjector(Projector):
    """A joint block, the mean, then Linear, GELU, Linear; the result is cut into cell vectors."""

    takes_cells = True

    def __init__(self, config: ProjectorConfig) -> None:
        super().__init__(config)
        check_config(config)
        self.joint = joint.JointProjector(_joint_config(config))
        width = VECTORS * config.output_width
        self.mm_projector = nn.Sequential(
            nn.Linear(config.hidden, width), nn.GELU(), nn.Linear(width, width)
        )

    def forward(self, hidden: Tensor) -> Tensor:
        """Project rows [B, N, H], of B groups of N cells each, to cell vectors [B, 8, D]."""
        places = self.joint.block(hidden.flatten(0, 1)).unflatten(0, hidden.shape[:2])
        wide: Tensor = self.mm_projector(places.mean(dim=1))
        return wide.view(len(hidden), VECTORS, self.config.output_width)

    def mean_of(self) -> slice | None:
        """All genes; with special tokens, the first row is `<cls>` and the last `<eos>`."""
        if self.config.pooling == "cls":
            return None
        return slice(1, -1) if self.config.special_tokens else slice(None)


def _joint_config(config: ProjectorConfig) -> ProjectorConfig:
    """Of the part that leads into the joint space; `hidden` is the size of that."""
    return ProjectorConfig(
        kind="joint",
        input_width=config.input_width,
        output_width=config.hidden,
        pooling=config.pooling,
        special_tokens=config.special_tokens,
    )


def config_from_shapes(
    shapes: Mapping[str, Sequence[int]], facts: ProjectorFacts
) -> ProjectorConfig:
    """Read the widths from the shapes of the weights; the caller sets the pooling.

    Raises:
        CheckpointError: A part is missing, or its width is not that of eight vectors.
    """
    first = shapes.get("mm_projector.0.weight", ())
    second = shapes["mm_projector.2.weight"]
    shortcut = shapes.get("joint.block.feature_shortcut.weight", ())
    if (len(first), len(second), len(shortcut)) != (2, 2, 2) or second[0] % VECTORS:
        listing = "\n".join(f"- {name} {list(shape)}" for name, shape in sorted(shapes.items()))
        problem = f"the mlp2x_8t projector is incomplete, or not {VECTORS} vectors wide:\n{listing}"
        raise CheckpointError(
            problem, hint="expected mm_projector.0 and .2 behind joint.block, the img_block"
        )
    return ProjectorConfig(
        kind="mlp2x_8t",
        input_width=shortcut[1],
        hidden=first[1],
        output_width=second[0] // VECTORS,
    )


def check_config(config: ProjectorConfig) -> None:
    """Refuse sizes that no module can be made with, and a way to pool that is not known.

    Raises:
        CheckpointError: A size is missing; see also `c2t.export.projectors.joint`.
    """
    if config.output_width < 1:
        problem = f"an mlp2x_8t projector cannot give vectors of {config.output_width} numbers"
        raise CheckpointError(problem, hint="check the sizes in the checkpoint's config.json")
    joint.check_config(_joint_config(config))


def buffers(config: ProjectorConfig) -> dict[str, Tensor]:
    """It has none that a save leaves out."""
    return {}


def vectors(config: ProjectorConfig, top_k: int) -> int:
    """Cell vectors of one cell: eight, whatever `top_k` is."""
    return VECTORS


def size(config: ProjectorConfig) -> str:
    """The size that tells two of them apart, in words."""
    return f"{VECTORS} vectors of a joint space of {config.hidden} numbers"


def preset(encoder_hidden_size: int, decoder_hidden_size: int) -> ProjectorConfig:
    """The published size of the joint space."""
    return ProjectorConfig(
        kind="mlp2x_8t",
        input_width=encoder_hidden_size,
        hidden=2048,
        output_width=decoder_hidden_size,
    )


def write_nodes(graph: GraphBuilder, model: Mlp2xProjector) -> str:
    """Add the projector's nodes behind the input `hidden`; returns their result."""
    block = model.joint.block
    places = write_joint_block(
        graph,
        "hidden",
        block.feature_nonlinear,
        block.feature_shortcut,
        block.feature_block_ln,
        name="joint",
    )
    axes = graph.constant("group.axes", np.array([1], np.int64))
    vector = graph.node("ReduceMean", [places, axes], name="group", attributes={"keepdims": 1})
    first, _, second = model.mm_projector
    wide = graph.linear(vector, [first], name="mlp.up")
    wide = graph.node("Gelu", [wide], name="mlp.activation")
    wide = graph.linear(wide, [second], name="mlp.out")
    width = model.config.output_width
    shape = graph.constant("vectors.shape", np.array([-1, VECTORS, width], np.int64))
    return graph.node("Reshape", [wide, shape], name="vectors")
