"""The table of projector families, and what holds for all of them.

A projector graph takes any number of cells and rows:

    hidden [B, K, H] float32 -> cell_vectors [B, K', D] float32

To add a family, write its file and its entry here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from c2t.export.graphs.graph_builder import GraphBuilder, no_progress
from c2t.export.model.projector import NOTHING_STATED, Projector, ProjectorConfig, ProjectorFacts
from c2t.export.projectors import joint, mlp, mlp2x, perceiver, qformer
from c2t.runtime.system.errors import CheckpointError
from c2t.runtime.system.progress import Advance


@dataclass(frozen=True, kw_only=True)
class ProjectorFamily:
    """One family of projectors.

    Attributes:
        module: The PyTorch module, made from a config.
        marks: Names of tensors; one that is there shows that weights are of this family.
        config_from_shapes: Reads the config from shapes by tensor name, and what they do not show.
        check_config: Raises a `CheckpointError` for sizes that no module can be made with.
        buffers: Constant tensors by their names in a save, which may leave them out; from a config.
        vectors: Most cell vectors of one cell, from config and `top_k`.
        size: The size that tells two of them apart, in words.
        preset: The published sizes, from the hidden sizes of encoder and decoder.
        write_nodes: Adds the nodes of a module behind the input `hidden`; returns their result.
        unneeded: Whether no output depends on a tensor of that name that saves hold.
    """

    module: type[Projector]
    marks: tuple[str, ...]
    config_from_shapes: Callable[[Mapping[str, Sequence[int]], ProjectorFacts], ProjectorConfig]
    check_config: Callable[[ProjectorConfig], None]
    buffers: Callable[[ProjectorConfig], dict[str, Tensor]]
    vectors: Callable[[ProjectorConfig, int], int]
    size: Callable[[ProjectorConfig], str]
    preset: Callable[[int, int], ProjectorConfig]
    write_nodes: Callable[[GraphBuilder, Any], str]
    unneeded: Callable[[str], bool] = lambda name: False


# A Q-Former comes before the perceiver, as both have an `input_projection`.
FAMILIES = {
    "mlp": ProjectorFamily(
        module=mlp.MlpProjector,
        marks=mlp.MARKS,
        config_from_shapes=mlp.config_from_shapes,
        check_config=mlp.check_config,
        buffers=mlp.buffers,
        vectors=mlp.vectors,
        size=mlp.size,
        preset=mlp.preset,
        write_nodes=mlp.write_nodes,
    ),
    "qformer": ProjectorFamily(
        module=qformer.QFormerProjector,
        marks=qformer.MARKS,
        config_from_shapes=qformer.config_from_shapes,
        check_config=qformer.check_config,
        buffers=qformer.buffers,
        vectors=qformer.vectors,
        size=qformer.size,
        preset=qformer.preset,
        write_nodes=qformer.write_nodes,
        unneeded=qformer.unneeded,
    ),
    "perceiver": ProjectorFamily(
        module=perceiver.PerceiverProjector,
        marks=perceiver.MARKS,
        config_from_shapes=perceiver.config_from_shapes,
        check_config=perceiver.check_config,
        buffers=perceiver.buffers,
        vectors=perceiver.vectors,
        size=perceiver.size,
        preset=perceiver.preset,
        write_nodes=perceiver.write_nodes,
    ),
    "mlp2x_8t": ProjectorFamily(
        module=mlp2x.Mlp2xProjector,
        marks=mlp2x.MARKS,
        config_from_shapes=mlp2x.config_from_shapes,
        check_config=mlp2x.check_config,
        buffers=mlp2x.buffers,
        vectors=mlp2x.vectors,
        size=mlp2x.size,
        preset=mlp2x.preset,
        write_nodes=mlp2x.write_nodes,
    ),
    "joint": ProjectorFamily(
        module=joint.JointProjector,
        marks=joint.MARKS,
        config_from_shapes=joint.config_from_shapes,
        check_config=joint.check_config,
        buffers=joint.buffers,
        vectors=joint.vectors,
        size=joint.size,
        preset=joint.preset,
        write_nodes=joint.write_nodes,
    ),
}


def projector_family(kind: str) -> ProjectorFamily:
    """The family of a kind.

    Raises:
        CheckpointError: There is no such family; the hint lists those that there are.
    """
    if kind not in FAMILIES:
        problem = f"unknown projector kind {kind!r}"
        raise CheckpointError(problem, hint=f"use {' or '.join(f'`{name}`' for name in FAMILIES)}")
    return FAMILIES[kind]


def build_projector(config: ProjectorConfig) -> Projector:
    """A projector with freshly initialised weights.

    Raises:
        CheckpointError: The kind is unknown, or its sizes are impossible.
    """
    family = projector_family(config.kind)
    family.check_config(config)
    return family.module(config)


def projector_config_from_shapes(
    shapes: Mapping[str, Sequence[int]], facts: ProjectorFacts = NOTHING_STATED
) -> ProjectorConfig:
    """Recognise the family and the sizes of a projector by the shapes of its tensors.

    Args:
        shapes: Shape of every tensor, by its name inside the projector.
        facts: What the weights do not show.

    Raises:
        CheckpointError: The names fit no family, the sizes are impossible, or a fact that the
            family needs is not stated.
    """
    for family in FAMILIES.values():
        if any(mark in shapes for mark in family.marks):
            return family.config_from_shapes(shapes, facts)
    listing = "\n".join(f"- {name} {list(shape)}" for name, shape in sorted(shapes.items()))
    kinds = " nor ".join(f"`{kind}`" for kind in FAMILIES)
    problem = f"the projector's tensors fit neither {kinds}:\n{listing}"
    known = [f"`{kind}` has `{family.marks[0]}`" for kind, family in FAMILIES.items()]
    raise CheckpointError(problem, hint=", ".join(known))


def cell_vectors(config: ProjectorConfig, top_k: int) -> int:
    """Most cell vectors of one cell."""
    return projector_family(config.kind).vectors(config, top_k)


def write_projector_graph(model: Projector, path: Path, *, advance: Advance = no_progress) -> None:
    """Write the projector's graph and its data file.

    Args:
        model: The projector; its weights are read, not copied.
        path: The graph file, `projector.onnx`; the weights go to `projector.onnx.data` beside it.
        advance: Called with the number of bytes written since its last call.
    """
    config = model.config
    with GraphBuilder(path, name="projector", advance=advance) as graph:
        graph.input("hidden", ["B", "K", config.input_width])
        vectors = projector_family(config.kind).write_nodes(graph, model)
        graph.node("Identity", [vectors], name="output", outputs=["cell_vectors"])
        count = "K" if model.takes_top_k else cell_vectors(config, 0)
        graph.output("cell_vectors", ["B", count, config.output_width])
        graph.save()
