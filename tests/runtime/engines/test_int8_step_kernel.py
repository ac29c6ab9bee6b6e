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
from fakes.step_kernel import FakeStepKernel, LibraryGraph, StepDevice
from quantised_decoders import quantised
from step_checks import mean_difference
from tiny_data import DECODERS, tiny_decoder
from tolerance import INT8_STEP

from c2t.kernels.cuda.memory import DeviceArray
from c2t.kernels.decoder_step.pack import DeviceStepWeights, pack_decoder
from c2t.runtime.bundle.manifest import Decoder
from c2t.runtime.engines.gpu import step_kernel
from c2t.runtime.engines.gpu.decoder import DeviceDecoder
from c2t.runtime.engines.gpu.open import upload_token_table
from c2t.runtime.engines.gpu.step_kernel import DecoderStepGraph, with_step_kernel
from c2t.runtime.engines.known_decoder.recognise import recognise_decoder
from c2t.runtime.graphs.half_precision import write_half_precision


@pytest.fixture
def sizes() -> Decoder:
    return tiny_decoder("sure").engine.sizes


@pytest.mark.parametrize(("every", "rows"), [(1, 64), (3, 16)])
def test_an_int8_decoder_s_own_weights_are_streamed(
    sizes: Decoder, tmp_path: Path, driver: FakeDriver, every: int, rows: int
) -> None:
    """The kernel itself, emulated: it is compared with the CPU's at opening.

    Of a decoder with float16 linears, too, it has steps of 16 rows.
    """
    source = quantised(
        DECODERS["sure"] / "decoder.onnx", tmp_path, lambda number: number % every == 0
    )
    half = tmp_path / "half.onnx"
    write_half_precision(source, half, widen=True)
    graph = LibraryGraph(half)
    device = EmulatedDevice()
    made, said = with_step_kernel(graph, device, tmp_path, sizes, cuda_graph=True, source=source)
    assert said == f"steps and prompts are one kernel with int8 products, {rows} tokens at a time"
    assert isinstance(made, DecoderStepGraph)
    assert made.rows == rows
    assert made.max_bit_exact_rows is None
    embeds = np.random.default_rng(1).normal(0, 0.02, (1, 5, sizes.hidden_size)).astype(np.float16)
    ours, theirs = (made._logits(each, sizes, embeds) for each in (made, graph))
    known = recognise_decoder(source)
    expected = step_kernel._cpu_logits(known.sizes, known.host(), embeds)
    assert mean_difference(ours, expected) < INT8_STEP
    assert mean_difference(theirs, expected) > mean_difference(ours, expected)


@pytest.mark.parametrize(
    ("batch", "tokens", "groups"),
    [
        (1, 17, [(1, 17)]),
        (16, 2, [(16, 2)]),
        (64, 1, [(64, 1)]),
        (1, 64, [(1, 64)]),
        (65, 1, [(64, 1), (1, 1)]),
        (256, 1, [(64, 1)] * 4),
        (5, 20, [(3, 20), (2, 20)]),
        (2, 70, [(1, 64), (1, 6)] * 2),
    ],
)
def test_the_kernel_runs_all_steps_in_groups(
    sizes: Decoder,
    tmp_path: Path,
    driver: FakeDriver,
    monkeypatch: pytest.MonkeyPatch,
    batch: int,
    tokens: int,
    groups: list[tuple[int, int]],
) -> None:
    """Of at most 64 rows, where all linears are in int8; the library runs none."""
    source = quantised(DECODERS["sure"] / "decoder.onnx", tmp_path)
    half = tmp_path / "half"
    half.mkdir()
    write_half_precision(source, half / "decoder.onnx", widen=True)
    kernel = FakeStepKernel(half)
    monkeypatch.setattr(step_kernel, "pack_decoder", kernel.pack)
    monkeypatch.setattr(step_kernel, "launch_decoder_step", kernel.start)
    # The fake's steps are the library's, whose activations are not quantised.
    monkeypatch.setattr(step_kernel, "INT8_LOGIT_TOLERANCE", 2.0)
    graph = LibraryGraph(half / "decoder.onnx")
    made, said = with_step_kernel(graph, StepDevice(), half, sizes, cuda_graph=True, source=source)
    assert said == "steps and prompts are one kernel with int8 products, 64 tokens at a time"
    assert kernel.checked == [1, 16, 32, 64, 64, 8]  # the last two are one text
    graph.bound.clear()
    table = upload_token_table(tiny_decoder("sure").table, "float16")
    decoder = DeviceDecoder(StepDevice(), made, sizes, table)
    step = decoder.bind(decoder.new_cache(batch, 80), (0, batch), tokens, 1)
    step.token_ids[:] = 1
    step.position_ids[:] = np.arange(tokens)
    step.logit_rows[:] = tokens - 1
    step.run()
    assert [(group.batch, group.tokens) for group in kernel.steps] == groups
    assert graph.bound == []


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
