"""The linears of an exported graph, and their float32 weights.

One decision: every matrix product with a stored matrix is a linear. So encoders, projectors and
decoders of any family and size need no list of names.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from c2t.runtime.graphs.data_file import read_graph, stored_values

Float32 = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Linear:
    """One matrix product `input @ weight` with a constant weight.

    Args:
        name: The node's name, for instance "layers.3.mlp.down".
        input: Name of its input, [..., K].
        output: Name of its output, [..., N], before a bias.
        weight: Name of the weight's initializer.
        inputs: K.
        outputs: N.
        by_output: The matrix is stored as [N, K] (a `Gemm` with `transB`), not as [K, N].
    """

    name: str
    input: str
    output: str
    weight: str
    inputs: int
    outputs: int
    by_output: bool


class StoredGraph:
    """An exported graph whose weights stay in its data file until they are asked for.

    Args:
        path: The graph file; its data file lies beside it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.model = read_graph(path)
        self.graph = self.model.graph
        self.initializers = {tensor.name: tensor for tensor in self.graph.initializer}
        self.producers = {name: node for node in self.graph.node for name in node.output}
        self.consumers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.graph.node:
            for name in node.input:
                self.consumers.setdefault(name, []).append(node)

    def array(self, name: str) -> NDArray[np.generic]:
        """An initializer's values, read-only; mapped if they lie in the data file.

        Raises:
            BundleError: See `stored_values`.
        """
        return stored_values(self.initializers[name], self.path)

    def linears(self) -> list[Linear]:
        """All linears with a float32 weight, in the order of the graph."""
        return [linear for node in self.graph.node if (linear := self._linear(node)) is not None]

    def matrix(self, linear: Linear) -> Float32:
        """The weight as [K, N], however it is stored; mapped, not copied."""
        stored = self.array(linear.weight)
        matrix: Float32 = stored.T if linear.by_output else stored  # type: ignore[assignment]  # it is float32
        return matrix

    def _linear(self, node: onnx.NodeProto) -> Linear | None:
        if node.op_type not in ("MatMul", "Gemm"):
            return None
        weight = self.initializers.get(node.input[1])
        if weight is None or weight.data_type != TensorProto.FLOAT or len(weight.dims) != 2:
            return None
        attributes = {
            entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute
        }
        by_output = bool(attributes.get("transB", 0))
        inputs, outputs = weight.dims[::-1] if by_output else weight.dims
        return Linear(
            name=node.name,
            input=node.input[0],
            output=node.output[0],
            weight=weight.name,
            inputs=int(inputs),
            outputs=int(outputs),
            by_output=by_output,
        )
