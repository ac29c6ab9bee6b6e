"""Committed tiny decoders whose linears are in int8, by the same scale; needs onnx."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


def quantised(
    source: Path, folder: Path, chosen: Callable[[int], bool] = lambda number: True
) -> Path:
    """A decoder, the chosen ones of whose linears are in int8.

    Args:
        source: Its graph.
        folder: Where the new graph goes.
        chosen: Says of the number of a linear whether it is.
    """
    pytest.importorskip("onnx")
    from c2t.calibration.quantise.quantised_graph import write_quantised
    from c2t.calibration.quantise.recipe import GraphRecipe, LinearRecipe
    from c2t.calibration.ranges.linears import StoredGraph
    from c2t.runtime.bundle.precision import Precision

    graph = StoredGraph(source)
    recipe = LinearRecipe(precision=Precision.int8, scale=0.02)
    linears = {
        linear.name: recipe for number, linear in enumerate(graph.linears()) if chosen(number)
    }
    write_quantised(graph, folder / "decoder.onnx", GraphRecipe(linears=linears))
    return folder / "decoder.onnx"
