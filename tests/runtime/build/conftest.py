"""Tiny bundles whose graphs TensorRT builds, float32 and INT8."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_bundle import make_bundle
from tiny_models import TinySizes

from c2t.calibration.quantise.quantised_bundle import complete_manifest, write_quantised_bundle
from c2t.calibration.quantise.recipe import GraphRecipe, LinearRecipe
from c2t.calibration.ranges.linears import StoredGraph
from c2t.runtime.bundle.bundle import Bundle, open_bundle
from c2t.runtime.bundle.precision import Precision


def buildable_sizes(projector: str = "mlp") -> TinySizes:
    """Heads 8 wide do not build (no fused attention); 16, 32 and 64 do."""
    return TinySizes(decoder_width=128, encoder_width=32, decoder_ffn=256, projector=projector)


def write_quantised(source: Bundle, folder: Path, precision: str = "int8") -> Bundle:
    """A bundle with every linear in one precision; the scales are not calibrated."""
    recipes = {
        name: GraphRecipe(
            linears={
                linear.name: LinearRecipe(precision=Precision(precision), scale=0.05)
                for linear in StoredGraph(source.file(name)).linears()
            }
        )
        for name in source.manifest.graphs
    }
    folder.mkdir()
    complete_manifest(write_quantised_bundle(source, folder, recipes, precision=precision))
    return open_bundle(folder)


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Bundle]:
    """By projector and precision."""
    found = {}
    for projector in ("mlp", "perceiver", "qformer"):
        folder = tmp_path_factory.mktemp(projector)
        (folder / "fp32").mkdir()
        source = make_bundle(folder / "fp32", buildable_sizes(projector)).bundle
        found[projector, "fp32"] = source
        found[projector, "int8"] = write_quantised(source, folder / "int8")
    return found


@pytest.fixture(scope="session")
def quantised() -> Callable[..., Bundle]:
    """Makes a quantised bundle of a float32 one."""
    return write_quantised
