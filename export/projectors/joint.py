"""The `joint` projector: all rows of a cell become one vector of a joint space of cells and texts.

One decision: parameter names are those of the published checkpoint (`discriminator.img_block`), and
widths are read from the shapes. How rows become one is not in the weights: it is an option.

Source: CellWhisperer (Schaefer et al., Nat. Biotechnol. 2025).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from c2t.export.graphs.graph_builder import GraphBuilder
from c2t.export.graphs.joint_block import write_joint_block
from c2t.export.model.joint import JointBlock
from c2t.export.model.projector import Projector, ProjectorConfig, ProjectorFacts
from c2t.runtime.system.errors import CheckpointError

# A tensor of this name shows the family.
MARKS = ("block.feature_nonlinear.1.running_mean",)
POOLINGS = ("mean", "cls")


class JointProjector(Projector):
    """The mean of a cell's genes, or its `<cls>` row, led into the joint space."""

    def __init__(self, config: ProjectorConfig) -> None:
        super().__init__(config)
        check_config(config)
        self.block = JointBlock(config.input_width, config.output_width)

    def forward(self, hidden: Tensor) -> Tensor:
        """One vector [B, 1, J] of length 1 of rows [B, S, H].

        With special tokens, the first row is `<cls>` and the last `<eos>`: no genes.
        """
        if self.config.pooling == "cls":
            pooled = hidden[:, 0]
        else:
            genes = hidden[:, 1:-1] if self.config.special_tokens else hidden
            pooled = genes.mean(dim=1)
        vectors: Tensor = self.block(pooled)[:, None]
        return vectors


def config_from_shapes(
    shapes: Mapping[str, Sequence[int]], facts: ProjectorFacts
) -> ProjectorConfig:
    """Read the widths from the shapes of the weights; the caller sets the pooling.

    Raises:
        CheckpointError: The shortcut is missing.
    """
    shortcut = shapes.get("block.feature_shortcut.weight", ())
    if len(shortcut) != 2:
        problem = f"the joint projector lacks its shortcut: there are {', '.join(sorted(shapes))}"
        raise CheckpointError(problem, hint="expected the tensors of discriminator.img_block")
    return ProjectorConfig(kind="joint", input_width=shortcut[1], output_width=shortcut[0])


def check_config(config: ProjectorConfig) -> None:
    """Refuse sizes that no module can be made with, and a way to pool that is not known.

    Raises:
        CheckpointError: A size is missing, or there is no `<cls>` row to take.
    """
    if min(config.input_width, config.output_width) < 1:
        problem = (
            f"a joint projector cannot map {config.input_width} to {config.output_width} numbers"
        )
        raise CheckpointError(problem, hint="check the sizes in the checkpoint")
    if config.pooling not in POOLINGS:
        problem = f"unknown pooling {config.pooling!r}"
        raise CheckpointError(problem, hint=f"use {' or '.join(POOLINGS)}")
    if config.pooling == "cls" and not config.special_tokens:
        problem = "pooling is cls, but the gene vocabulary has no <cls> token"
        raise CheckpointError(problem, hint="use mean, as the published model does")


def buffers(config: ProjectorConfig) -> dict[str, Tensor]:
    """It has none that a save leaves out."""
    return {}


def vectors(config: ProjectorConfig, top_k: int) -> int:
    """Cell vectors of one cell: one, whatever `top_k` is."""
    return 1


def size(config: ProjectorConfig) -> str:
    """The size that tells two of them apart, in words."""
    return f"{config.pooling} of the rows, {config.output_width} numbers"


def preset(encoder_hidden_size: int, decoder_hidden_size: int) -> ProjectorConfig:
    """Refuse: its vectors are compared with those of texts, and no decoder reads them.

    Raises:
        CheckpointError: Always.
    """
    problem = "no preset has the projector joint: it leads to no decoder"
    raise CheckpointError(problem, hint="use mlp, perceiver or qformer")


def write_nodes(graph: GraphBuilder, model: JointProjector) -> str:
    """Add the projector's nodes behind the input `hidden`; returns their result."""
    block = model.block
    pooled = _first_row(graph) if model.config.pooling == "cls" else _mean(graph, model.config)
    return write_joint_block(
        graph,
        pooled,
        block.feature_nonlinear,
        block.feature_shortcut,
        block.feature_block_ln,
        name="joint",
    )


def _first_row(graph: GraphBuilder) -> str:
    return _slice(graph, "hidden", first=0, stop=1, name="pool.cls")


def _mean(graph: GraphBuilder, config: ProjectorConfig) -> str:
    rows = "hidden"
    if config.special_tokens:
        rows = _slice(graph, rows, first=1, stop=-1, name="pool.genes")
    axes = graph.constant("pool.axes", np.array([1], np.int64))
    return graph.node("ReduceMean", [rows, axes], name="pool.mean", attributes={"keepdims": 1})


def _slice(graph: GraphBuilder, value: str, *, first: int, stop: int, name: str) -> str:
    bounds = [
        graph.constant(f"{name}.{bound}", np.array([number], np.int64))
        for bound, number in (("start", first), ("stop", stop), ("axis", 1))
    ]
    return graph.node("Slice", [value, *bounds], name=name)
