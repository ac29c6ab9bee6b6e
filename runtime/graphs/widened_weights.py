"""Int8 weights of an INT8 graph as floats, for libraries that do not multiply them by halves.

One decision: it is a pass over the Q/DQ graph, as the weight-only variant is. What is left is the
graph as export wrote it, whose weights are multiples of their scales. ONNX Runtime's CUDA provider
would widen int8 weights at every step, and multiply in float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from c2t.runtime.graphs.data_file import BLOCK_BYTES, stored_values
from c2t.runtime.graphs.keep_nodes import keep_nodes
from c2t.runtime.graphs.weight_only import drop_activation_pairs
from c2t.runtime.system.errors import BundleError


@dataclass(frozen=True, eq=False)
class WeightScale:
    """What an int8 weight is multiplied by.

    Args:
        scale: [N] float32, or of one element.
        zero_point: Of the same shape; None: zeros.
        axis: Of the weight, which the scales belong to.
    """

    scale: NDArray[np.float32]
    zero_point: NDArray[np.int8] | None
    axis: int

    def blocks(self, values: NDArray[Any]) -> Iterator[NDArray[np.float32]]:
        """The weight in float32, in blocks of whole rows."""
        rows = max(1, BLOCK_BYTES // 4 // max(1, int(np.prod(values.shape[1:]))))
        for start in range(0, len(values), rows):
            block = np.asarray(values[start : start + rows], np.float32)
            if self.zero_point is not None:
                block = block - self._along(self.zero_point, start, block).astype(np.float32)
            yield block * self._along(self.scale, start, block)

    def _along(self, of: NDArray[Any], start: int, block: NDArray[Any]) -> NDArray[Any]:
        """Scales or zero points of a block's rows, shaped to be broadcast over it."""
        if of.size == 1:
            return of.reshape(())
        mine = of[start : start + len(block)] if self.axis == 0 else of
        return mine.reshape([-1 if axis == self.axis else 1 for axis in range(block.ndim)])


def take_weight_scales(model: onnx.ModelProto, source: Path) -> dict[str, WeightScale]:
    """Take quantisation out of a graph: what read a dequantised weight reads the weight itself.

    Args:
        model: A graph of `c2t.calibration.quantise.quantised_graph` in W8A8, changed in place.
        source: Its file, the data file beside it.

    Returns:
        What each weight must be multiplied by, by name; their initializers are int8 still.

    Raises:
        BundleError: Something else is quantised in it.
    """
    drop_activation_pairs(model)
    graph = model.graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    scales: dict[str, WeightScale] = {}
    widened, left = {}, []
    for node in graph.node:
        if node.op_type != "DequantizeLinear":
            left.append(node)
            continue
        weight = node.input[0]
        if weight not in tensors or tensors[weight].data_type != TensorProto.INT8:
            problem = f"{source.name} dequantises {weight}, which is no int8 weight"
            raise BundleError(problem, hint="build the float32 bundle")
        scale, *zero_point = (stored_values(tensors[name], source) for name in node.input[1:])
        axes = [attribute.i for attribute in node.attribute if attribute.name == "axis"]
        axis = (axes or [1])[0] % len(tensors[weight].dims)
        count = tensors[weight].dims[axis]
        for part in (scale, *zero_point):
            if part.size not in (1, count) or part.ndim > 1:
                problem = f"{source.name} has scales of {weight} in the shape {list(part.shape)}"
                raise BundleError(problem, hint="build the float32 bundle")
        scales[weight] = WeightScale(scale, zero_point[0] if zero_point else None, axis)
        widened[node.output[0]] = weight
    keep_nodes(graph, left, widened)
    return scales
