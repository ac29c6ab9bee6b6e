"""From cells to a recipe: ranges, smoothing factors, scales, and each product's own error.

Two passes over the cells: the first finds channel ranges, smoothing is searched on them, and the
second counts the smoothed activations for the estimators that look at the distribution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from c2t.calibration.quantise.choices import Estimator
from c2t.calibration.quantise.recipe import Form, GraphRecipe, ProductRecipe
from c2t.calibration.quantise.scales import (
    channel_scales,
    fake_quantise,
    scale_of,
    threshold,
)
from c2t.calibration.quantise.smoothing import (
    JUDGED_ROWS,
    Fold,
    find_fold,
    judged_channels,
    search_smoothing,
)
from c2t.calibration.ranges.activation_statistics import (
    ChannelStatistics,
    Histogram,
    add_channels,
    add_counts,
)
from c2t.calibration.ranges.collect import TappedSystem
from c2t.calibration.ranges.products import Float32, Product, StoredGraph
from c2t.calibration.ranges.system_inputs import CalibrationCell

# A product whose error is nothing at all.
SQNR_MOST = 200.0


@dataclass(frozen=True, kw_only=True)
class ProductReport:
    """What calibration found out about one product.

    Args:
        graph: File of its graph.
        product: Its name.
        inputs: K.
        outputs: N.
        largest: Largest magnitude of its input before smoothing.
        strength: Of smoothing; 0: none.
        foldable: Whether there was a place to fold smoothing into.
        threshold: Magnitude above which its input, after smoothing, is clipped.
        sqnr: Power of its output over the power of the error that quantising it alone makes, in dB,
            on a sample of rows.
    """

    graph: str
    product: str
    inputs: int
    outputs: int
    largest: float
    strength: float
    foldable: bool
    threshold: float
    sqnr: float


@dataclass(frozen=True, eq=False, kw_only=True)
class CalibrationPlan:
    """Recipes by graph file, everything in the form int8, and what is known of each product."""

    recipes: dict[str, GraphRecipe]
    reports: tuple[ProductReport, ...]


@dataclass(frozen=True, eq=False)
class _Settled:
    """A product between the passes."""

    graph: str
    product: Product
    statistics: ChannelStatistics
    fold: Fold | None
    strength: float
    factors: Float32
    histogram: Histogram


def make_plan(
    system: TappedSystem,
    cells: Sequence[CalibrationCell],
    *,
    estimator: Estimator,
    smooth: bool,
    seed: int,
) -> CalibrationPlan:
    """Calibrate all products of the three graphs.

    Args:
        system: The float32 graphs.
        cells: What to calibrate on.
        estimator: How activations' thresholds are found.
        smooth: Search smoothing factors.
        seed: Of the rows that are kept.
    """
    statistics = {
        name: {p.name: ChannelStatistics(p, seed=seed) for p in graph.products()}
        for name, graph in system.graphs.items()
    }
    for taps in system.passes(cells, "ranges"):
        for name, found in taps.items():
            add_channels(statistics[name], found)
    settled = [
        _settle(name, graph, product, statistics[name][product.name], smooth=smooth)
        for name, graph in system.graphs.items()
        for product in graph.products()
    ]
    if estimator is not Estimator.max:
        histograms = {
            name: {s.product.name: s.histogram for s in settled if s.graph == name}
            for name in system.graphs
        }
        for taps in system.passes(cells, "distributions"):
            for name, found in taps.items():
                add_counts(histograms[name], found)
    recipes: dict[str, GraphRecipe] = {name: GraphRecipe() for name in system.graphs}
    reports = []
    for item in settled:
        recipe, report = _finish(item, system.graphs[item.graph], estimator)
        recipes[item.graph].products[item.product.name] = recipe
        reports.append(report)
    return CalibrationPlan(recipes=recipes, reports=tuple(reports))


def _settle(
    name: str, graph: StoredGraph, product: Product, found: ChannelStatistics, *, smooth: bool
) -> _Settled:
    """Choose a product's smoothing; the range of its input is known then."""
    fold = find_fold(graph, product)
    factors, strength = np.ones(product.inputs, np.float32), 0.0
    if fold is not None and smooth:
        chosen = search_smoothing(graph.matrix(product), found.largest, found.rows, fold)
        factors, strength = chosen.factors, chosen.strength
    largest = float((found.largest / factors).max(initial=0.0))
    histogram = Histogram(largest, np.float32(1) / factors if strength else None)
    return _Settled(name, product, found, fold, strength, factors, histogram)


def _finish(
    item: _Settled, graph: StoredGraph, estimator: Estimator
) -> tuple[ProductRecipe, ProductReport]:
    smoothed = item.strength > 0
    limit = item.histogram.largest
    if estimator is not Estimator.max:
        limit = threshold(item.histogram, estimator)
    scale = scale_of(limit)
    recipe = ProductRecipe(
        form=Form.int8,
        scale=float(scale),
        factors=item.factors if smoothed else None,
        fold=item.fold if smoothed else None,
    )
    matrix = graph.matrix(item.product)
    report = ProductReport(
        graph=item.graph,
        product=item.product.name,
        inputs=item.product.inputs,
        outputs=item.product.outputs,
        largest=float(item.statistics.largest.max(initial=0.0)),
        strength=item.strength,
        foldable=item.fold is not None,
        threshold=limit,
        sqnr=output_sqnr(matrix, item.statistics.rows[:JUDGED_ROWS], scale, item.factors),
    )
    return recipe, report


def output_sqnr(matrix: Float32, rows: Float32, scale: np.float32, factors: Float32) -> float:
    """Signal to quantisation noise of a product's output, in dB, on some of its channels.

    Args:
        matrix: Weight [K, N].
        rows: Inputs [n, K].
        scale: Of the smoothed input.
        factors: [K] of smoothing.
    """
    weight = judged_channels(matrix) * factors[:, None]
    exact = (rows / factors) @ weight
    found = fake_quantise(rows / factors, scale) @ fake_quantise(weight, channel_scales(weight))
    signal = float(np.square(exact, dtype=np.float64).sum())
    noise = float(np.square(found - exact, dtype=np.float64).sum())
    if noise == 0:
        return SQNR_MOST
    return min(float(10 * np.log10(max(signal, 1e-30) / noise)), SQNR_MOST)
