"""A float32 graph that also gives what goes into its products: the inputs of calibration.

One decision: the graph itself reduces every input to its largest magnitude per channel, over all
rows, and to every n-th row. So what leaves a run is small however long a cell is, and whole
activations exist only as long as the graph needs them anyway.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from c2t.calibration.ranges.graph_session import open_graph
from c2t.calibration.ranges.products import Float32, Product, StoredGraph
from c2t.runtime.engine_protocol import EngineOptions

FIRST, STEP = "tap.first_row", "tap.row_step"
LARGEST, ROWS = ".tap.largest", ".tap.rows"


@dataclass(frozen=True, eq=False)
class Tap:
    """What a product was given in one run: K channels, n of the rows."""

    largest: Float32  # [K] over all rows
    rows: Float32  # [n, K]


class TappedGraph:
    """A session of a graph with the inputs of its products tapped.

    Args:
        graph: The graph.
        threads: Threads of a run; None: all cores.

    Raises:
        EngineError: The graph cannot be opened.
    """

    def __init__(self, graph: StoredGraph, *, threads: int | None = None) -> None:
        self.products = graph.products()
        model = _tapped(graph.model, self.products)
        options = EngineOptions(threads=threads, spin=False)
        self._session = open_graph(model, graph.path.parent, options)

    def run(
        self, inputs: dict[str, NDArray[Any]], first: int, step: int, *, also: Sequence[str] = ()
    ) -> tuple[dict[str, Tap], list[NDArray[Any]]]:
        """Run the graph once.

        Args:
            inputs: The graph's own inputs.
            first: Index of the first row to take, in each product's input.
            step: Take every `step`-th row.
            also: Outputs of the graph that are wanted too.

        Returns:
            Taps by the product's name, and the outputs asked for.
        """
        values = sorted({product.input for product in self.products})
        names = [value + end for value in values for end in (LARGEST, ROWS)]
        rows = {FIRST: np.array([first], np.int64), STEP: np.array([step], np.int64)}
        results = self._session.run([*names, *also], {**inputs, **rows})
        found = dict(zip(names, results, strict=False))
        taps = {
            product.name: Tap(
                found[product.input + LARGEST],
                found[product.input + ROWS].reshape(-1, product.inputs),
            )
            for product in self.products
        }
        return taps, results[len(names) :]


def _tapped(original: onnx.ModelProto, products: Sequence[Product]) -> onnx.ModelProto:
    model = onnx.ModelProto()
    model.CopyFrom(original)
    graph = model.graph
    for name in (FIRST, STEP):
        graph.input.append(helper.make_tensor_value_info(name, TensorProto.INT64, [1]))
    constants = {"tap.end": np.iinfo(np.int64).max, "tap.axis": -2, "tap.rows_axis": 0}
    for name, number in constants.items():
        graph.initializer.append(helper.make_tensor(name, TensorProto.INT64, [1], [number]))
    for value, width in {product.input: product.inputs for product in products}.items():
        shape = helper.make_tensor(f"{value}.tap.shape", TensorProto.INT64, [2], [-1, width])
        graph.initializer.append(shape)
        flat, magnitude, largest = f"{value}.tap.flat", f"{value}.tap.abs", value + LARGEST
        slices = [value, FIRST, "tap.end", "tap.axis", STEP]
        graph.node.extend(
            [
                helper.make_node("Reshape", [value, shape.name], [flat]),
                helper.make_node("Abs", [flat], [magnitude]),
                helper.make_node("ReduceMax", [magnitude, "tap.rows_axis"], [largest], keepdims=0),
                helper.make_node("Slice", slices, [value + ROWS]),
            ]
        )
        for end in (LARGEST, ROWS):
            graph.output.append(helper.make_tensor_value_info(value + end, TensorProto.FLOAT, None))
    return model
