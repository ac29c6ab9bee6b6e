"""The recipe of a weight-only bundle: every linear in blocks; no activations are calibrated."""

from __future__ import annotations

import numpy as np

from c2t.calibration.quantise.block_weights import block_dequantise, block_quantise
from c2t.calibration.quantise.calibration_plan import CalibrationPlan, sqnr
from c2t.calibration.quantise.recipe import GraphRecipe, LinearRecipe
from c2t.calibration.ranges.linears import Float32, StoredGraph
from c2t.calibration.results.calibration import LinearReport
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.precision import Precision
from c2t.runtime.system.progress import progress_bar

# Output channels that the error of a weight is estimated from.
SAMPLED_CHANNELS = 256


def plan_weights(bundle: Bundle, precision: Precision) -> CalibrationPlan:
    """All linears of a bundle's graphs in one weight-only precision.

    The output layer keeps 8 bits where the others have 4: with 4, small models are known to repeat
    themselves.
    """
    graphs = {name: StoredGraph(bundle.file(name)) for name in bundle.manifest.graphs}
    linears = [(name, linear) for name, graph in graphs.items() for linear in graph.linears()]
    recipes: dict[str, GraphRecipe] = {name: GraphRecipe() for name in graphs}
    reports = []
    with progress_bar("weights", len(linears), unit="linears") as advance:
        for name, linear in linears:
            own = Precision.int8_weights if linear.by_output else precision
            recipes[name].linears[linear.name] = LinearRecipe(precision=own)
            rows = _sample(graphs[name].matrix(linear))
            reports.append(
                LinearReport(
                    graph=name,
                    linear=linear.name,
                    inputs=linear.inputs,
                    outputs=linear.outputs,
                    largest=float("nan"),
                    strength=0.0,
                    foldable=False,
                    threshold=float("nan"),
                    sqnr=_weight_sqnr(rows, own),
                )
            )
            advance(1)
    return CalibrationPlan(recipes=recipes, reports=tuple(reports))


def _sample(matrix: Float32) -> Float32:
    """Some output channels of a weight [K, N], as rows [n, K]."""
    step = max(1, matrix.shape[1] // SAMPLED_CHANNELS)
    return np.ascontiguousarray(matrix[:, ::step].T)


def _weight_sqnr(rows: Float32, precision: Precision) -> float:
    """Of the weight itself, in dB: the same as of the output if all inputs are equally large."""
    bits = precision.weight_bits
    codes, scales = block_quantise(rows, bits=bits)
    return sqnr(rows, block_dequantise(codes, scales, inputs=rows.shape[1], bits=bits))
