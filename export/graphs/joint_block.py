"""The block that leads into a joint space, as nodes of a graph, with BatchNorm folded.

One decision: the first linear and the shortcut read the same input and are one packed linear.

Source: CellWhisperer (Schaefer et al., Nat. Biotechnol. 2025), `discriminator.img_block` and
`discriminator.text_block`.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from c2t.export.graphs.graph_builder import GraphBuilder

# A vector's length is at least this in `torch.nn.functional.normalize`.
SHORTEST = 1e-12


def fold_batch_norm(linear: nn.Linear, norm: nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    """Weight [J,W] and bias [J], float32, of a linear that does what `norm(linear(x))` does.

    Args:
        linear: [J,W], with or without a bias.
        norm: In evaluation mode: y = (x - mean) / sqrt(variance + eps) * weight + bias.
    """
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
    own = torch.zeros(()) if linear.bias is None else linear.bias
    bias = norm.bias.double() + (own.double() - norm.running_mean.double()) * scale
    weight = linear.weight.double() * scale[:, None]
    return weight.detach().float(), bias.detach().float()


def write_joint_block(
    graph: GraphBuilder,
    value: str,
    nonlinear: nn.Sequential,
    shortcut: nn.Linear,
    norm: nn.LayerNorm,
    *,
    name: str,
) -> str:
    """Add the block and the division by the vector's length; returns the result.

    Args:
        graph: The graph.
        value: The input, [..., W].
        nonlinear: Linear, BatchNorm1d, ReLU, Linear.
        shortcut: Linear beside them.
        norm: LayerNorm of their sum.
        name: What the nodes' names begin with.

    Returns:
        The name of a value [..., J] whose vectors have length 1.
    """
    first, batch_norm, _, second = nonlinear
    weight, bias = fold_batch_norm(first, batch_norm)
    size = weight.shape[0]
    packed = graph.packed_linear(
        value, [weight, shortcut.weight], [bias, shortcut.bias], name=f"{name}.in"
    )
    up, beside = graph.split(packed, [size] * 2, name=f"{name}.parts", parts=["up", "beside"])
    up = graph.node("Relu", [up], name=f"{name}.activation")
    up = graph.linear(up, [second], name=f"{name}.out")
    summed = graph.node("Add", [up, beside], name=f"{name}.sum")
    normed = graph.layer_norm(summed, norm, name=f"{name}.norm")
    # x / |x| is an RMSNormalization whose scale is 1 / sqrt(J), as its root is |x| / sqrt(J).
    scale = graph.constant(f"{name}.length.scale", np.full(size, size**-0.5, np.float32))
    attributes: dict[str, float | int] = {"axis": -1, "epsilon": SHORTEST**2 / size}
    return graph.node(
        "RMSNormalization", [normed, scale], name=f"{name}.length", attributes=attributes
    )
