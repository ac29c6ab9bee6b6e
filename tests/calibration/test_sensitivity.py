"""A linear that is spoilt is the most sensitive one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tiny_bundle import make_bundle
from tiny_models import tiny_cell

from c2t.calibration.quantise.calibration_plan import make_plan
from c2t.calibration.quantise.estimator import Estimator
from c2t.calibration.quantise.recipe import GraphRecipe
from c2t.calibration.ranges.collect import TappedSystem
from c2t.calibration.ranges.system_inputs import CalibrationCell
from c2t.calibration.sensitivity import measure_divergence, rank
from c2t.runtime.bundle.manifest import GRAPHS


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("tiny")).bundle


def cell(length: int, *text: int) -> CalibrationCell:
    return CalibrationCell(
        gene_tokens=tiny_cell(length, seed=length).numpy().astype(np.int32), text_tokens=text
    )


@pytest.mark.parametrize("linked", [True, False])
def test_a_spoilt_linear_is_the_most_sensitive(bundle, tmp_path, monkeypatch, linked):
    if not linked:

        def refuse(*_: object) -> None:
            raise OSError

        monkeypatch.setattr("os.link", refuse)
    scratch = tmp_path
    cells = [cell(12, 9, 8, 7), cell(30, 5, 6, 7, 8, 9)]
    plan = make_plan(
        TappedSystem(bundle, threads=1), cells, estimator=Estimator.max, smooth=False, seed=0
    )
    spoilt = "layers.1.mlp.down"
    linears = dict(plan.recipes["decoder.onnx"].linears)
    linears[spoilt] = replace(linears[spoilt], scale=10 * linears[spoilt].scale)
    recipes = {**plan.recipes, "decoder.onnx": GraphRecipe(linears=linears)}
    ranked = rank(plan.reports)
    assert [s.sqnr for s in ranked] == sorted(s.sqnr for s in ranked)
    found = measure_divergence(
        bundle,
        recipes,
        ranked,
        cells,
        worst=len(ranked),
        scratch=scratch,
        threads=1,
    )
    assert found[0].linear == spoilt
    assert all(s.kl > 0 for s in found if s.graph == GRAPHS[2])
    assert found[0].kl > 3 * found[1].kl
    assert list(scratch.iterdir()) == []
