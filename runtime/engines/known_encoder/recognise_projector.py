"""The one projector graph that the native encoder computes behind its layers.

That is the projector `mlp`; see `c2t.export.projectors.mlp`, and
`c2t.calibration.quantise.quantised_graph` for int8. Others run on ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np

from c2t.kernels.encoder.weights import HostProjector
from c2t.runtime.bundle.graph_content import Node, read_content
from c2t.runtime.engines.known_encoder.weights import biased_linear, layer_norm
from c2t.runtime.engines.known_graph.compare import KnownGraph, Values, number_of
from c2t.runtime.engines.known_graph.nodes import linear_nodes, node
from c2t.runtime.system.errors import BundleError

UP, DOWN = LINEARS = "mlp.up", "mlp.down"
UP_NORM, DOWN_NORM = "mlp.norm", "norm"


class UnknownProjectorError(BundleError):
    """A projector that the native encoder would compute wrongly; ONNX Runtime runs it."""


def recognise_projector(path: Path) -> HostProjector:
    """Recognise a projector graph as a whole; its weights are mapped from the data file.

    Args:
        path: The `projector.onnx` of a bundle, its data file beside it.

    Raises:
        UnknownProjectorError: A node, an attribute, an input, a constant or a shape is not that of
            the known projector; the first difference is named.
        BundleError: The graph cannot be read.
    """
    graph = read_content(path)
    _KNOWN.check_opset(graph)
    nodes = {node.name: node for node in graph.nodes}
    quantised = frozenset(name for name in LINEARS if f"{name}.input.quantize" in nodes)
    up_epsilon, down_epsilon = (
        number_of(nodes.get(name), "epsilon") for name in (UP_NORM, DOWN_NORM)
    )
    _KNOWN.compare_nodes(graph.nodes, [*_expected_nodes(quantised, up_epsilon, down_epsilon)])
    _KNOWN.compare_ends(graph, "hidden", "cell_vectors")
    _check_tensors(graph.values, quantised)
    up, down = (biased_linear(graph.values, name, quantised=name in quantised) for name in LINEARS)
    return HostProjector(
        up=up,
        up_norm=layer_norm(graph.values, UP_NORM),
        up_epsilon=up_epsilon,
        down=down,
        down_norm=layer_norm(graph.values, DOWN_NORM),
        down_epsilon=down_epsilon,
    )


def _expected_nodes(
    quantised: Collection[str], up_epsilon: float, down_epsilon: float
) -> Iterator[Node]:
    value = "hidden"
    for linear, norm, epsilon in ((UP, UP_NORM, up_epsilon), (DOWN, DOWN_NORM, down_epsilon)):
        yield from linear_nodes("MatMul", value, linear, quantised=linear in quantised)
        yield node("Add", f"{linear} {linear}.bias", f"{linear}.add")
        inputs = f"{linear}.add {norm}.weight {norm}.bias"
        yield node("LayerNormalization", inputs, norm, axis=-1, epsilon=epsilon)
        if linear == UP:
            value = "mlp.activation"
            yield node("Gelu", norm, value)
    yield node("Identity", DOWN_NORM, "output", ["cell_vectors"])


def _check_tensors(values: Values, quantised: Collection[str]) -> None:
    """Check the shapes of all weights."""
    weights = [values.get(f"{linear}.weight") for linear in LINEARS]
    if any(weight is None or weight.ndim != 2 for weight in weights):
        _KNOWN.refuse("has linears of other shapes")
    inputs, wide, size = (
        weight.shape[axis]
        for weight, axis in zip((weights[0], *weights), (0, 1, 1), strict=True)
        if weight is not None
    )
    for linear, norm, shape in ((UP, UP_NORM, (inputs, wide)), (DOWN, DOWN_NORM, (wide, size))):
        _KNOWN.check_linear(values, linear, shape, shape[1], quantised=linear in quantised)
        for name in (f"{linear}.bias", f"{norm}.weight", f"{norm}.bias"):
            _KNOWN.check_tensor(values, name, np.float32, (shape[1],))


_KNOWN = KnownGraph("projector", "the native encoder", UnknownProjectorError)
