"""Quantised bundles, whose scales are not calibrated."""

from __future__ import annotations

from pathlib import Path

from c2t.calibration.quantise.quantised_bundle import complete_manifest, write_quantised_bundle
from c2t.calibration.quantise.recipe import GraphRecipe, LinearRecipe
from c2t.calibration.ranges.linears import StoredGraph
from c2t.runtime.bundle.bundle import Bundle, open_bundle
from c2t.runtime.bundle.precision import Precision


def write_quantised(
    source: Bundle, folder: Path, precision: str = "int8", *, scale: float = 0.05
) -> Bundle:
    """A bundle with every linear in one precision, and one scale for all activations."""
    recipes = {
        name: GraphRecipe(
            linears={
                linear.name: LinearRecipe(precision=Precision(precision), scale=scale)
                for linear in StoredGraph(source.file(name)).linears()
            }
        )
        for name in source.manifest.graphs
    }
    folder.mkdir()
    complete_manifest(write_quantised_bundle(source, folder, recipes, precision=precision))
    return open_bundle(folder)
