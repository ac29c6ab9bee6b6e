"""From cells to a recipe: ranges, smoothing factors, scales, and each linear's own error.

Two passes over the cells. The first finds channel ranges, from which smoothing is chosen. The
second counts smoothed activations in histograms, for the estimators that need the distribution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from c2t.calibration.quantise.estimator import Estimator
from c2t.calibration.quantise.float_prefix import FloatPrefix, widened_linears
from c2t.calibration.quantise.recipe import GraphRecipe, LinearRecipe
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
from c2t.calibration.ranges.linears import Float32, Linear, StoredGraph
from c2t.calibration.ranges.system_inputs import CalibrationCell
from c2t.calibration.results.calibration import LinearReport
from c2t.runtime.bundle.manifest import DECODER_GRAPH
from c2t.runtime.bundle.precision import Precision
from c2t.runtime.system.progress import progress_bar

# Reported where there is no error at all, in dB.
SQNR_MAX = 200.0
# A signal of 0 counts as this much power: its logarithm must be finite.
POWER_MIN = 1e-30


@dataclass(frozen=True, eq=False, kw_only=True)
class CalibrationPlan:
    """Recipes by graph file, every linear quantised, and a report of each linear.

    Args:
        recipes: By graph file.
        reports: Of each linear.
        prefix: What stays out of int8, with all that it does; None: nothing does.
    """

    recipes: dict[str, GraphRecipe]
    reports: tuple[LinearReport, ...]
    prefix: FloatPrefix | None = None


@dataclass(frozen=True, eq=False)
class _Settled:
    """A linear after the first pass: its smoothing is chosen, its histogram still empty."""

    graph: str
    linear: Linear
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
    float_prefix: bool | None = None,
) -> CalibrationPlan:
    """Calibrate all linears of the three graphs.

    Args:
        system: The float32 graphs.
        cells: Cells to calibrate on.
        estimator: How thresholds of activations are found.
        smooth: Whether smoothing factors are searched.
        seed: Seed of the choice of rows that are kept.
        float_prefix: Whether what all prompts begin with stays float32; None: where it widens the
            range of a linear's input, see `c2t.calibration.quantise.float_prefix`.
    """
    statistics = {
        name: {p.name: ChannelStatistics(p, seed=seed) for p in graph.linears()}
        for name, graph in system.graphs.items()
    }
    run = system.run_prefix(cells)
    if run is not None:
        add_channels(statistics[DECODER_GRAPH], run.taps, of_prefix=True)
    for taps in system.passes(cells, "ranges", run):
        for name, graph_taps in taps.items():
            add_channels(statistics[name], graph_taps)
    prefix = None
    if run is not None and float_prefix is not False:
        widened = widened_linears(statistics[DECODER_GRAPH])
        if widened or float_prefix:
            prefix = FloatPrefix(token_ids=run.token_ids, caches=run.caches, widened=widened)
            for channels in statistics[DECODER_GRAPH].values():
                channels.forget_prefix()
    linears = [
        (name, graph, linear) for name, graph in system.graphs.items() for linear in graph.linears()
    ]
    settled = []
    with progress_bar("smoothing", len(linears), unit="linears") as advance:
        for name, graph, linear in linears:
            channels = statistics[name][linear.name]
            settled.append(_settle(name, graph, linear, channels, smooth=smooth))
            advance(1)
    if estimator is not Estimator.max:
        histograms = {
            name: {s.linear.name: s.histogram for s in settled if s.graph == name}
            for name in system.graphs
        }
        if run is not None and prefix is None:
            add_counts(histograms[DECODER_GRAPH], run.taps)
        for taps in system.passes(cells, "distributions", run):
            for name, graph_taps in taps.items():
                add_counts(histograms[name], graph_taps)
    recipes: dict[str, GraphRecipe] = {name: GraphRecipe() for name in system.graphs}
    reports = []
    with progress_bar("scales", len(settled), unit="linears") as advance:
        for item in settled:
            recipe, report = _finish(item, system.graphs[item.graph], estimator)
            recipes[item.graph].linears[item.linear.name] = recipe
            reports.append(report)
            advance(1)
    return CalibrationPlan(recipes=recipes, reports=tuple(reports), prefix=prefix)


def _settle(
    name: str, graph: StoredGraph, linear: Linear, channels: ChannelStatistics, *, smooth: bool
) -> _Settled:
    """Choose a linear's smoothing; the range of its smoothed input follows from it."""
    fold = find_fold(graph, linear)
    factors, strength = np.ones(linear.inputs, np.float32), 0.0
    if fold is not None and smooth:
        chosen = search_smoothing(graph.matrix(linear), channels.largest, channels.rows, fold)
        factors, strength = chosen.factors, chosen.strength
    largest = float((channels.largest / factors).max(initial=0.0))
    histogram = Histogram(largest, np.float32(1) / factors if strength else None)
    return _Settled(name, linear, channels, fold, strength, factors, histogram)


def _finish(
    item: _Settled, graph: StoredGraph, estimator: Estimator
) -> tuple[LinearRecipe, LinearReport]:
    smoothed = item.strength > 0
    limit = item.histogram.largest
    if estimator is not Estimator.max:
        limit = threshold(item.histogram, estimator)
    scale = scale_of(limit)
    recipe = LinearRecipe(
        precision=Precision.int8,
        scale=float(scale),
        factors=item.factors if smoothed else None,
        fold=item.fold if smoothed else None,
    )
    matrix = graph.matrix(item.linear)
    report = LinearReport(
        graph=item.graph,
        linear=item.linear.name,
        inputs=item.linear.inputs,
        outputs=item.linear.outputs,
        largest=float(item.statistics.largest.max(initial=0.0)),
        strength=item.strength,
        foldable=item.fold is not None,
        threshold=limit,
        sqnr=output_sqnr(matrix, item.statistics.rows[:JUDGED_ROWS], scale, item.factors),
    )
    return recipe, report


def output_sqnr(matrix: Float32, rows: Float32, scale: np.float32, factors: Float32) -> float:
    """Signal-to-quantisation-noise ratio of a linear's output, in dB, on some of its channels.

    Args:
        matrix: Weight [K, N].
        rows: Inputs [n, K].
        scale: Scale of the smoothed input.
        factors: [K] of smoothing.
    """
    weight = judged_channels(matrix) * factors[:, None]
    exact = (rows / factors) @ weight
    near = fake_quantise(rows / factors, scale) @ fake_quantise(weight, channel_scales(weight))
    return sqnr(exact, near)


def sqnr(exact: Float32, near: Float32) -> float:
    """Signal-to-quantisation-noise ratio in dB; at most `SQNR_MAX`."""
    signal = float(np.square(exact, dtype=np.float64).sum())
    noise = float(np.square(near - exact, dtype=np.float64).sum())
    if noise == 0:
        return SQNR_MAX
    return min(float(10 * np.log10(max(signal, POWER_MIN) / noise)), SQNR_MAX)
