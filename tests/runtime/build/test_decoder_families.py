"""Decoders of every family for other backends: built, or refused by what their attention needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from family_bundles import bundle_of
from tiny_decoders import random_rows, tiny_decoder_of, write_tiny_graph
from tolerance import FLOAT16, worst_difference

from c2t.export.decoders.families import FAMILIES
from c2t.runtime.build.build_half_graphs import HalfGraphsOptions, build_half_graphs
from c2t.runtime.build.build_plans import BuildOptions, build_plans
from c2t.runtime.build.step_weights import write_step_weights
from c2t.runtime.bundle.attention import AttentionNeeds, attention_needs, check_attention
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.graph_content import read_content
from c2t.runtime.engines.built.plan_profiles import PlanUse
from c2t.runtime.engines.built.step_weights import DESCRIPTION_NAME
from c2t.runtime.engines.known_decoder.recognise import UnknownDecoderError, recognise_decoder
from c2t.runtime.engines.tensorrt_library import Target
from c2t.runtime.graphs.half_precision import write_half_precision
from c2t.runtime.graphs.window_mask import drop_wide_masks
from c2t.runtime.system.errors import BundleError, EngineError

# A window as wide as the positions needs no mask; without caps Gemma-2 builds.
PLAIN = {
    "mistral": {"sliding_window": None},
    "phi3": {"sliding_window": None, "partial_rotary_factor": 0.5},
    "qwen3": {"head_dim": 32},
    "gemma2": {"head_dim": 256, "sliding_window": 512, "attn_logit_softcapping": None},
}
# What the GPU's kernel lacks of each, as it is said.
LACKING = {
    "llama": "",
    "mistral": "a window of 24 positions",
    "qwen2": "biases",
    "qwen3": "norms of its heads",
    "gpt_neox": "biases",
    "gemma2": "norms behind attention and MLP",
    "phi3": "a window of 24 positions",
}
PLANS = BuildOptions(
    target=Target.rtx, gpus=("sm_89",), use=PlanUse(rows=2, max_new_tokens=8, draft=4)
)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_gpu_s_kernel_names_what_it_lacks(tmp_path: Path, family: str) -> None:
    path = write_tiny_graph(tiny_decoder_of(family), tmp_path)
    assert recognise_decoder(path).form.beyond_llama == LACKING[family]
    half = tmp_path / "half" / "decoder.onnx"
    half.parent.mkdir()
    write_half_precision(path, half)
    if family == "llama":
        write_step_weights(path, half)
        return
    with pytest.raises(UnknownDecoderError) as caught:
        write_step_weights(path, half)
    assert (
        caught.value.problem == f"the decoder has {LACKING[family]}, which the GPU's kernel lacks"
    )
    assert not (half.parent / DESCRIPTION_NAME).exists()


@pytest.mark.parametrize("family", FAMILIES)
def test_half_precision_graphs(tmp_path: Path, family: str) -> None:
    bundle = bundle_of(tmp_path / "bundle", family, **PLAIN.get(family, {}))
    said: list[str] = []
    options = HalfGraphsOptions(cache=tmp_path / "cache")
    build_half_graphs(bundle, options, report=said.append)
    known = family in ("llama", "mistral")
    assert any("short steps stay with ONNX Runtime" in line for line in said) != known


@pytest.mark.parametrize("family", FAMILIES)
def test_half_precision_numbers(tmp_path: Path, family: str) -> None:
    """On ONNX Runtime's CPU provider, which has the same operators."""
    model = tiny_decoder_of(family, spread=0.02, initializer_range=0.1)
    single = write_tiny_graph(model, tmp_path)
    half = tmp_path / "half.onnx"
    write_half_precision(single, half)
    onnx.checker.check_model(half, full_check=True)
    rows = random_rows(model.config, 40).numpy()
    found = []
    for path, dtype in ((single, np.float32), (half, np.float16)):
        session = onnxruntime.InferenceSession(path)
        every = np.tile(np.arange(40), (2, 1))
        inputs = {
            "inputs_embeds": rows.astype(dtype),
            "position_ids": every,
            "write_index": np.zeros(2, np.int64),
            "kv_length": np.full(2, 40),
            "logit_rows": every,
        }
        for entry in session.get_inputs():
            if entry.name.startswith("past_"):
                shape = (2, entry.shape[1], 44, entry.shape[3])
                inputs[entry.name] = np.zeros(shape, dtype)
        found.append(session.run(["logits"], inputs)[0])
    assert 0 < worst_difference(found[1], found[0]) < FLOAT16


def test_what_attention_needs(tmp_path: Path) -> None:
    path = write_tiny_graph(tiny_decoder_of("gemma2"), tmp_path)
    assert attention_needs(read_content(path, data=False)) == AttentionNeeds(softcap=5.0, window=24)
    graph = read_content(write_tiny_graph(tiny_decoder_of("mistral"), tmp_path), data=False)
    assert attention_needs(graph) == AttentionNeeds(softcap=0.0, window=24)
    check_attention(graph, "a library", error=EngineError, capacity=24)
    for capacity in (25, None):
        with pytest.raises(EngineError, match="see 24 positions only: not run with a library"):
            check_attention(graph, "a library", error=EngineError, capacity=capacity)
    path = write_tiny_graph(tiny_decoder_of("qwen2"), tmp_path)
    assert attention_needs(read_content(path, data=False)) == AttentionNeeds(softcap=0.0, window=0)


def test_masks_that_hide_nothing_are_dropped(tmp_path: Path) -> None:
    path = write_tiny_graph(tiny_decoder_of("gemma2"), tmp_path)
    model = onnx.load(path, load_external_data=False)
    assert drop_wide_masks(model, 25) == 0
    assert drop_wide_masks(model, 24) == 2  # every other of three layers
    kept = {node.op_type for node in model.graph.node}
    assert not {"Range", "Greater", "Sub"} & kept
    assert not [t.name for t in model.graph.initializer if t.name.startswith("window")]
    onnx.save(model, path)
    onnx.checker.check_model(path, full_check=True)


def test_a_soft_cap_is_refused_by_name(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path / "bundle", "gemma2", sliding_window=512)
    with pytest.raises(BundleError, match="caps its attention at 5: not run with ONNX") as caught:
        build_half_graphs(bundle, HalfGraphsOptions(cache=tmp_path / "cache"))
    assert "--engine cpu" in caught.value.hint
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
    @pytest.mark.parametrize("gpu", ["sm_86", "sm_89", "sm_120"])
    @pytest.mark.parametrize("family", FAMILIES)
    def test_every_family_builds(
        self,
        tmp_path: Path,
        quantised: Callable[..., Bundle],
        family: str,
        gpu: str,
        precision: str,
    ) -> None:
        bundle = bundle_of(tmp_path / "bundle", family, **PLAIN.get(family, {}))
        if precision == "int8":
            bundle = quantised(bundle, tmp_path / "int8")
        build_plans(bundle, replace(PLANS, gpus=(gpu,), cache=tmp_path / "cache"))

    @pytest.mark.slow
    def test_a_window_as_wide_as_the_cache_builds(self, tmp_path: Path) -> None:
        bundle = bundle_of(tmp_path / "bundle", "mistral", sliding_window=300)
        build_plans(bundle, replace(PLANS, cache=tmp_path / "cache"))

    def test_what_attention_lacks_is_refused_by_name(self, tmp_path: Path) -> None:
        options = replace(PLANS, cache=tmp_path / "cache")
        bundle = bundle_of(tmp_path / "capped", "gemma2", sliding_window=512)
        with pytest.raises(BundleError, match="caps its attention at 5: not run with"):
            build_plans(bundle, options)
        bundle = bundle_of(tmp_path / "narrow", "mistral")
        with pytest.raises(BundleError, match=r"see 24 positions only: not run with .* for caches"):
            build_plans(bundle, options)
        assert not (tmp_path / "cache").exists()
