"""The step kernel over a decoder's own int8 weights, and when it is not used."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from emulation.device import EmulatedDevice
from fakes.cuda_driver import FakeDriver
from fakes.step_kernel import LibraryGraph, StepDevice
from quantised_decoders import quantised
from tiny_data import DECODERS, tiny_decoder
from tolerance import FLOAT16_STEP

from c2t.kernels.cuda.memory import DeviceArray
from c2t.kernels.decoder_step.pack import DeviceStepWeights, pack_decoder
from c2t.runtime.bundle.manifest import Decoder
from c2t.runtime.engines.gpu import step_kernel
from c2t.runtime.engines.gpu.step_kernel import DecoderStepGraph, with_step_kernel
from c2t.runtime.graphs.half_precision import write_half_precision


@pytest.fixture
def sizes() -> Decoder:
    return tiny_decoder("sure").engine.sizes


@pytest.mark.parametrize("every", [1, 3])
def test_an_int8_decoder_s_own_weights_are_streamed(
    sizes: Decoder, tmp_path: Path, driver: FakeDriver, every: int
) -> None:
    """The kernel itself, emulated: it is compared with the half-precision graph at opening."""
    source = quantised(
        DECODERS["sure"] / "decoder.onnx", tmp_path, lambda number: number % every == 0
    )
    half = tmp_path / "half.onnx"
    write_half_precision(source, half, widen=True)
    graph = LibraryGraph(half)
    device = EmulatedDevice()
    made, said = with_step_kernel(graph, device, tmp_path, sizes, cuda_graph=True, source=source)
    assert said == "a short step is one kernel over int8 weights"
    assert isinstance(made, DecoderStepGraph)
    assert made.weights.layout.has_int8
    embeds = np.random.default_rng(1).normal(0, 0.02, (1, 5, sizes.hidden_size)).astype(np.float16)
    ours, theirs = (made._logits(each, sizes, embeds) for each in (made, graph))
    assert 0 < np.abs(ours - theirs).max() / np.abs(theirs).max() < FLOAT16_STEP


@pytest.mark.parametrize("part", ["scales", "norms"])
def test_int8_weights_that_are_packed_wrongly_are_not_used(
    sizes: Decoder, tmp_path: Path, driver: FakeDriver, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = quantised(DECODERS["sure"] / "decoder.onnx", tmp_path)
    half = tmp_path / "half.onnx"
    write_half_precision(source, half, widen=True)

    def pack(*arguments: Any) -> DeviceStepWeights:
        weights = pack_decoder(*arguments)
        numbers = getattr(weights, part).download()
        return replace(weights, **{part: DeviceArray.upload(3 * numbers[::-1])})

    monkeypatch.setattr(step_kernel, "pack_decoder", pack)
    graph = LibraryGraph(half)
    made, said = with_step_kernel(
        graph, EmulatedDevice(), tmp_path, sizes, cuda_graph=True, source=source
    )
    assert made is graph
    assert said.startswith("short steps without our kernel: its logits are")


def test_an_int8_decoder_that_is_not_known_is_the_library_s(
    sizes: Decoder, tmp_path: Path, driver: FakeDriver
) -> None:
    half = tmp_path / "half.onnx"
    write_half_precision(quantised(DECODERS["sure"] / "decoder.onnx", tmp_path), half, widen=True)
    model = onnx.load(
        quantised(DECODERS["sure"] / "decoder.onnx", tmp_path), load_external_data=False
    )
    next(n for n in model.graph.node if n.op_type == "RMSNormalization").op_type = "Other"
    (tmp_path / "decoder.onnx").write_bytes(model.SerializeToString())
    graph = LibraryGraph(half)
    source = tmp_path / "decoder.onnx"
    made, said = with_step_kernel(
        graph, StepDevice(), tmp_path, sizes, cuda_graph=True, source=source
    )
    assert made is graph
    assert said.startswith("short steps without our kernel: the decoder has ")
    assert "Other" in said
