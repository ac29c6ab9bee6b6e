"""Bundles of gene sentences for other backends: one graph is built, and no encoder looked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_sentences import sentence_bundle, write_sentence_model

from c2t.runtime.build.build_half_graphs import HalfGraphsOptions, build_half_graphs
from c2t.runtime.build.build_plans import BuildOptions, build_plans
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.engines.built.plan_profiles import PlanUse
from c2t.runtime.engines.tensorrt_library import Target
from c2t.runtime.system.errors import BundleError

PLANS = BuildOptions(
    target=Target.rtx, gpus=("sm_89",), use=PlanUse(rows=2, max_new_tokens=8, draft=4)
)


@pytest.fixture(scope="module")
def pythia(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    place = tmp_path_factory.mktemp("pythia")
    return sentence_bundle(place / "bundle", write_sentence_model(place / "model", "gpt_neox"))


@pytest.fixture(scope="module")
def gemma(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    place = tmp_path_factory.mktemp("gemma")
    return sentence_bundle(place / "bundle", write_sentence_model(place / "model", "gemma2"))


def test_half_precision_graphs(pythia: Bundle, tmp_path: Path) -> None:
    build_half_graphs(pythia, HalfGraphsOptions(cache=tmp_path / "cache"))
    (folder,) = (tmp_path / "cache").iterdir()
    assert {path.stem for path in folder.glob("*.onnx")} == {"decoder"}


def test_a_soft_cap_is_refused_by_name(gemma: Bundle, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="caps its attention at 5: not run with ONNX"):
        build_half_graphs(gemma, HalfGraphsOptions(cache=tmp_path / "cache"))
    assert not (tmp_path / "cache").exists()


class TestPlans:
    """With the real TensorRT for RTX, for a GPU that is not here."""

    @pytest.fixture(autouse=True)
    def library(self) -> None:
        pytest.importorskip(
            "tensorrt_rtx", reason="tensorrt-rtx-cu13 is not installed", exc_type=ImportError
        )

    @pytest.mark.slow
    @pytest.mark.parametrize("precision", ["fp32", "int8"])
    def test_plans(
        self,
        pythia: Bundle,
        tmp_path: Path,
        quantised: Callable[..., Bundle],
        precision: str,
    ) -> None:
        bundle = pythia if precision == "fp32" else quantised(pythia, tmp_path / "int8")
        build_plans(bundle, replace(PLANS, cache=tmp_path / "cache"))
        (folder,) = (tmp_path / "cache").iterdir()
        assert {path.name for path in folder.glob("*.plan")} == {"decoder.plan"}

    def test_a_soft_cap_is_refused_by_name(self, gemma: Bundle, tmp_path: Path) -> None:
        with pytest.raises(BundleError, match="caps its attention at 5: not run with"):
            build_plans(gemma, replace(PLANS, cache=tmp_path / "cache"))
