"""A tiny decoder with linears in int8; its scales are not calibrated."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_data import DECODERS


def quantised(folder: Path, chosen: Callable[[int], bool] = lambda _: True) -> Path:
    """A decoder, the chosen ones of whose linears are in int8."""
    pytest.importorskip("onnx")
    from c2t.calibration.quantise.quantised_graph import write_quantised
    from c2t.calibration.quantise.recipe import GraphRecipe, LinearRecipe
    from c2t.calibration.ranges.linears import StoredGraph
    from c2t.runtime.bundle.precision import Precision

    source = StoredGraph(DECODERS["sure"] / "decoder.onnx")
    recipe = LinearRecipe(precision=Precision.int8, scale=0.02)
    linears = {
        linear.name: recipe for number, linear in enumerate(source.linears()) if chosen(number)
    }
    write_quantised(source, folder / "decoder.onnx", GraphRecipe(linears=linears))
    return folder / "decoder.onnx"
