"""A float32 graph with more outputs: statistics of its linears' inputs.

One decision: the graph itself reduces each input to two small outputs, the largest magnitude of
each channel over all rows, and every n-th row. So the outputs of a run stay small however long a
cell is, and no whole activation is kept longer than the graph needs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from c2t.calibration.ranges.linears import Float32, Linear, StoredGraph
from c2t.runtime.engine_protocol import EngineOptions
from c2t.runtime.engines.cpu.session import PROVIDERS, session_settings
from c2t.runtime.engines.onnxruntime_library import load_onnxruntime, onnxruntime_errors
from c2t.runtime.system.errors import EngineError, first_line

FIRST, STEP = "tap.first_row", "tap.row_step"
LARGEST, ROWS = ".tap.largest", ".tap.rows"


@dataclass(frozen=True, eq=False)
class Tap:
    """The input of a linear in one run, reduced: K channels, n of the rows."""

    largest: Float32  # [K] over all rows
    rows: Float32  # [n, K]


class TappedGraph:
    """A session of a graph whose linears' inputs are tapped.

    Args:
        threads: Threads of a run; None: all cores.

    Raises:
        EngineError: The graph cannot be opened.
    """

    def __init__(self, graph: StoredGraph, *, threads: int | None = None) -> None:
        self.linears = graph.linears()
        model = _tapped(graph.model, self.linears)
        options = EngineOptions(threads=threads, spin=False)
        self._session = _open(model, graph.path.parent, options)

    def run(
        self, inputs: dict[str, NDArray[Any]], first: int, step: int, *, also: Sequence[str] = ()
    ) -> tuple[dict[str, Tap], list[NDArray[Any]]]:
        """Run the graph once.

        Args:
            inputs: The graph's own inputs.
            first: Index of the first row to keep of each linear's input.
            step: Keep every `step`-th row from there.
            also: The graph's own outputs to return.

        Returns:
            Taps by the linear's name, and the outputs named in `also`.
        """
        values = sorted({linear.input for linear in self.linears})
        names = [value + end for value in values for end in (LARGEST, ROWS)]
        rows = {FIRST: np.array([first], np.int64), STEP: np.array([step], np.int64)}
        results = self._session.run([*names, *also], {**inputs, **rows})
        reduced = dict(zip(names, results, strict=False))
        taps = {
            linear.name: Tap(
                reduced[linear.input + LARGEST],
                reduced[linear.input + ROWS].reshape(-1, linear.inputs),
            )
            for linear in self.linears
        }
        return taps, results[len(names) :]


def _tapped(original: onnx.ModelProto, linears: Sequence[Linear]) -> onnx.ModelProto:
    model = onnx.ModelProto()
    model.CopyFrom(original)
    graph = model.graph
    for name in (FIRST, STEP):
        graph.input.append(helper.make_tensor_value_info(name, TensorProto.INT64, [1]))
    constants = {"tap.end": np.iinfo(np.int64).max, "tap.axis": -2, "tap.rows_axis": 0}
    for name, number in constants.items():
        graph.initializer.append(helper.make_tensor(name, TensorProto.INT64, [1], [number]))
    for value, channels in {linear.input: linear.inputs for linear in linears}.items():
        shape = helper.make_tensor(f"{value}.tap.shape", TensorProto.INT64, [2], [-1, channels])
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


def _open(model: onnx.ModelProto, folder: Path, options: EngineOptions) -> Any:
    """Open a graph that exists only in memory; its weights are mapped from a data file.

    Args:
        model: The graph.
        folder: Folder of the data file that holds its external weights.
        options: Threads.

    Raises:
        EngineError: The graph cannot be opened.
    """
    ort = load_onnxruntime()
    # No prepacking: a packed copy of the weights would be most of the memory of a calibration.
    settings = session_settings(options, prepack=False)
    settings.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(folder.resolve())
    )
    serialised = model.SerializeToString()
    try:
        return ort.InferenceSession(serialised, settings, providers=list(PROVIDERS))
    except onnxruntime_errors() as error:
        problem = f"ONNX Runtime cannot open a changed `{model.graph.name}`: {first_line(error)}"
        raise EngineError(problem, hint="export the bundle again") from error
