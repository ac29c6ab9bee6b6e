"""The recipe of a weight-only bundle: every product in blocks, no activation to calibrate."""

from __future__ import annotations

import numpy as np

from c2t.calibration.quantise.block_weights import block_dequantise, block_quantise
from c2t.calibration.quantise.calibration_plan import SQNR_MOST, CalibrationPlan, ProductReport
from c2t.calibration.quantise.recipe import Form, GraphRecipe, ProductRecipe
from c2t.calibration.ranges.products import Float32, StoredGraph
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.manifest import GRAPHS

# Output channels that the error of a weight is estimated from.
SAMPLED_CHANNELS = 256


def plan_weights(bundle: Bundle, form: Form) -> CalibrationPlan:
    """All products of the three graphs in one weight-only form.

    The output layer keeps 8 bits where the others have 4: it is known to make small models repeat
    themselves otherwise.
    """
    recipes, reports = {}, []
    for name in GRAPHS:
        graph = StoredGraph(bundle.file(name))
        chosen: dict[str, ProductRecipe] = {}
        for product in graph.products():
            own = Form.int8_weights if product.by_output else form
            chosen[product.name] = ProductRecipe(form=own)
            rows = _sample(graph.matrix(product))
            reports.append(
                ProductReport(
                    graph=name,
                    product=product.name,
                    inputs=product.inputs,
                    outputs=product.outputs,
                    largest=float("nan"),
                    strength=0.0,
                    foldable=False,
                    threshold=float("nan"),
                    sqnr=_weight_sqnr(rows, own),
                )
            )
        recipes[name] = GraphRecipe(products=chosen)
    return CalibrationPlan(recipes=recipes, reports=tuple(reports))


def _sample(matrix: Float32) -> Float32:
    """Some output channels of a weight [K, N], as rows [n, K]."""
    step = max(1, matrix.shape[1] // SAMPLED_CHANNELS)
    return np.ascontiguousarray(matrix[:, ::step].T)


def _weight_sqnr(rows: Float32, form: Form) -> float:
    """Of the weight itself, in dB: what it does to outputs when inputs are alike in size."""
    bits = 8 if form is Form.int8_weights else 4
    left = block_dequantise(*block_quantise(rows, bits=bits), inputs=rows.shape[1], bits=bits)
    noise = float(np.square(left - rows, dtype=np.float64).sum())
    signal = float(np.square(rows, dtype=np.float64).sum())
    if noise == 0:
        return SQNR_MOST
    return min(float(10 * np.log10(max(signal, 1e-30) / noise)), SQNR_MOST)
