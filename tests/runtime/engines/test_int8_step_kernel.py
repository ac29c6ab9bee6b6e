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
from fakes.step_kernel import FakeStepKernel, Library, LibraryGraph, StepDevice
from quantised_decoders import quantised
from step_checks import mean_difference
from tiny_data import DECODERS, tiny_decoder
from tolerance import INT8_STEP

from c2t.kernels.cuda.memory import DeviceArray
from c2t.kernels.decoder_step.pack import DeviceStepWeights, pack_decoder
from c2t.kernels.errors import KernelError
from c2t.runtime.bundle.manifest import Decoder
from c2t.runtime.engines.gpu import step_kernel
from c2t.runtime.engines.gpu.decoder import DeviceDecoder
from c2t.runtime.engines.gpu.onnxruntime_graph import OnnxRuntimeDeviceGraph
from c2t.runtime.engines.gpu.open import upload_token_table
from c2t.runtime.engines.gpu.step_kernel import DecoderStepGraph, with_step_kernel
from c2t.runtime.engines.known_decoder.recognise import recognise_decoder
from c2t.runtime.graphs.half_precision import write_half_precision
from c2t.runtime.system.errors import EngineError


@pytest.fixture
def sizes() -> Decoder:
    return tiny_decoder("sure").engine.sizes


def write_half(source: Path, folder: Path, dtype: str = "float16") -> Path:
    """The half-precision graph of an INT8 decoder, in a folder of its own."""
    folder.mkdir()
    write_half_precision(source, folder / "decoder.onnx", dtype=dtype, widen=True)
    return folder


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
    half = write_half(source, tmp_path / "half")
    library = Library(half)
    device = EmulatedDevice()
    made, said = with_step_kernel(library, device, half, sizes, cuda_graph=True, source=source)
    assert said == f"steps and prompts are one kernel with int8 products, {rows} tokens at a time"
    assert isinstance(made, DecoderStepGraph)
    assert made.rows == rows
    assert made.max_bit_exact_rows is None
    assert library.opened == []
    graph = LibraryGraph(half / "decoder.onnx")
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
    """Of at most 64 rows, where all linears are in int8; the library's graph is not opened."""
    source = quantised(DECODERS["sure"] / "decoder.onnx", tmp_path)
    half = write_half(source, tmp_path / "half")
    kernel = FakeStepKernel(half)
    monkeypatch.setattr(step_kernel, "pack_decoder", kernel.pack)
    monkeypatch.setattr(step_kernel, "launch_decoder_step", kernel.start)
    # The fake's steps are the library's, whose activations are not quantised.
    monkeypatch.setattr(step_kernel, "INT8_LOGIT_TOLERANCE", 2.0)
    library = Library(half)
    made, said = with_step_kernel(
        library, StepDevice(), half, sizes, cuda_graph=True, source=source
    )
    assert said == "steps and prompts are one kernel with int8 products, 64 tokens at a time"
    assert kernel.checked == [1, 16, 32, 64, 64, 8]  # the last two are one text
    table = upload_token_table(tiny_decoder("sure").table, "float16")
    decoder = DeviceDecoder(StepDevice(), made, sizes, table)
    step = decoder.bind(decoder.new_cache(batch, 80), (0, batch), tokens, 1)
    step.token_ids[:] = 1
    step.position_ids[:] = np.arange(tokens)
    step.logit_rows[:] = tokens - 1
    step.run()
    assert [(group.batch, group.tokens) for group in kernel.steps] == groups
    assert library.opened == []


@pytest.mark.parametrize("part", ["scales", "norms"])
def test_int8_weights_that_are_packed_wrongly_are_not_used(
    sizes: Decoder, tmp_path: Path, driver: FakeDriver, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = quantised(DECODERS["sure"] / "decoder.onnx", tmp_path)
    half = write_half(source, tmp_path / "half")

    def pack(*arguments: Any) -> DeviceStepWeights:
        weights = pack_decoder(*arguments)
        numbers = getattr(weights, part).download()
        return replace(weights, **{part: DeviceArray.upload(3 * numbers[::-1])})

    monkeypatch.setattr(step_kernel, "pack_decoder", pack)
    free, library = driver.free, Library(half)

    def open_library() -> LibraryGraph:
        assert driver.free == free  # what the kernel had is not held beside it
        return library()

    made, said = with_step_kernel(
        open_library, EmulatedDevice(), half, sizes, cuda_graph=True, source=source
    )
    assert [made] == library.opened
    assert said.startswith("short steps without our kernel: its logits are")


def test_an_int8_decoder_that_is_not_known_is_the_library_s(
    sizes: Decoder, tmp_path: Path, driver: FakeDriver
) -> None:
    source = quantised(DECODERS["sure"] / "decoder.onnx", tmp_path)
    half = write_half(source, tmp_path / "half")
    model = onnx.load(source, load_external_data=False)
    next(n for n in model.graph.node if n.op_type == "RMSNormalization").op_type = "Other"
    source.write_bytes(model.SerializeToString())
    library = Library(half)
    made, said = with_step_kernel(
        library, StepDevice(), half, sizes, cuda_graph=True, source=source
    )
    assert [made] == library.opened
    assert said.startswith("short steps without our kernel: the decoder has ")
    assert "Other" in said


@pytest.mark.usefixtures("driver")
def test_it_is_a_graph_like_the_library_s_that_is_not_opened(
    sizes: Decoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DecoderStepGraph, "check", lambda *_: None)
    source = quantised(DECODERS["sure"] / "decoder.onnx", tmp_path)
    half = write_half(source, tmp_path / "half")
    library = Library(half)
    device = EmulatedDevice()
    made, _ = with_step_kernel(library, device, half, sizes, cuda_graph=True, source=source)
    assert library.opened == []
    assert isinstance(made, DecoderStepGraph)
    assert made.library is None
    assert made.dtypes == library().dtypes
    assert made.cache_capacity is None
    assert made.batch_tokens == OnnxRuntimeDeviceGraph.batch_tokens
    table = upload_token_table(tiny_decoder("sure").table, "float16")
    decoder = DeviceDecoder(device, made, sizes, table)
    assert decoder.clone().graph is made
    assert decoder.new_cache(1, 33).capacity == 33


@pytest.mark.usefixtures("driver")
@pytest.mark.parametrize("reason", ["device", "memory", "start", "CPU"])
def test_the_library_is_opened_where_the_kernel_is_not_used(
    sizes: Decoder,
    tmp_path: Path,
    driver: FakeDriver,
    monkeypatch: pytest.MonkeyPatch,
    reason: str,
) -> None:
    """Once, and the label says why."""

    def refuse(*_: object) -> None:
        problem = "too many blocks"
        raise KernelError(problem)

    device = StepDevice()
    said = "short steps without our kernel: "
    if reason == "device":
        device.arch, said = "sm_75", ""
    elif reason == "memory":
        driver.free = 1000
        said += "the GPU has no memory for the decoder's weights"
    elif reason == "start":
        monkeypatch.setattr(step_kernel, "launch_decoder_step", refuse)
        said += "too many blocks"
    else:
        monkeypatch.setattr(step_kernel, "step_kernels", lambda: None)
        said += "no kernel of this CPU can be compared with it"
    source = quantised(DECODERS["sure"] / "decoder.onnx", tmp_path)
    half = write_half(source, tmp_path / "half")
    if reason != "memory":
        monkeypatch.setattr(step_kernel, "pack_decoder", FakeStepKernel(half).pack)
    library = Library(half)
    made, found = with_step_kernel(library, device, half, sizes, cuda_graph=True, source=source)
    assert [made] == library.opened
    assert found.startswith(said)
    assert bool(found) == bool(said)


@pytest.mark.usefixtures("driver")
def test_a_library_that_does_not_open_is_asked_once(sizes: Decoder, tmp_path: Path) -> None:
    """Of an INT8 bundle's decoder without linears in int8, the library runs prompts."""
    asked = []

    def refuse() -> LibraryGraph:
        asked.append(1)
        problem = "the CUDA provider does not start"
        raise EngineError(problem)

    source = quantised(DECODERS["sure"] / "decoder.onnx", tmp_path, lambda _: False)
    half = write_half(source, tmp_path / "half")
    with pytest.raises(EngineError, match="does not start"):
        with_step_kernel(refuse, StepDevice(), half, sizes, cuda_graph=True, source=source)
    assert asked == [1]


@pytest.mark.usefixtures("driver")
def test_int8_weights_beside_a_bfloat16_graph_are_not_streamed(
    sizes: Decoder, tmp_path: Path
) -> None:
    source = quantised(DECODERS["sure"] / "decoder.onnx", tmp_path)
    half = write_half(source, tmp_path / "half", "bfloat16")
    graph: Any = object()  # the CPU has no bfloat16
    made = with_step_kernel(
        lambda: graph, StepDevice(), half, sizes, cuda_graph=True, source=source
    )
    assert made == (graph, "")


@pytest.mark.usefixtures("driver")
def test_a_damaged_graph_is_an_error_although_it_is_not_opened(
    sizes: Decoder, tmp_path: Path
) -> None:
    source = quantised(DECODERS["sure"] / "decoder.onnx", tmp_path)
    half = write_half(source, tmp_path / "half")
    (half / "decoder.onnx").write_bytes(b"{")
    library = Library(half)
    with pytest.raises(EngineError, match=r"decoder\.onnx is not an ONNX graph") as caught:
        with_step_kernel(library, StepDevice(), half, sizes, cuda_graph=True, source=source)
    assert "--target cuda --force" in caught.value.hint
    assert library.opened == []
