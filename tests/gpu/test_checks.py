"""The checks of this folder on a fake of a GPU: what they demand can be met, and each can fail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes.cuda_driver import FakeDevice, FakeDriver, FakeGraph, at
from fakes.step_kernel import FakeStepKernel, LibraryGraph, StepDevice
from gpu_checks import (
    LOGIT_TOLERANCE,
    check_bundle_logits,
    check_choice,
    check_gene_embedding,
    check_rows_of_the_step_kernel,
    check_step_kernel,
    check_texts_of_the_cpu,
    check_token_rows,
    describe_cells,
    write_texts,
)
from tiny_data import random_vectors, tiny_decoder

from c2t.kernels.decoder_step.layout import MAX_FLOAT16_ROWS
from c2t.runtime.build.step_weights import write_step_weights
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.manifest import Generation
from c2t.runtime.engine_protocol import EngineOptions
from c2t.runtime.engines.choose import ChosenEngines, choose_engines
from c2t.runtime.engines.gpu import open as gpu_open
from c2t.runtime.engines.gpu import step_kernel
from c2t.runtime.engines.gpu.decoder import DeviceDecoder
from c2t.runtime.engines.gpu.open import open_onnxruntime_engines, upload_token_table
from c2t.runtime.graphs.half_precision import write_half_precision

GENERATION = Generation(max_new_tokens=16, no_repeat_ngram_size=3, eos_token_ids=())


class WrongDevice(FakeDevice):
    """A device whose kernels write their results, and then change one byte of them."""

    def launch(self, source: str, kernel: str, grid: Any, arguments: Any, **defines: int) -> None:
        super().launch(source, kernel, grid, arguments, **defines)
        result = {"token_rows": 4, "embed_genes": 9, "choose_tokens": 3}[kernel]
        at(arguments[result], (8,), "uint8")[[2, 6]] ^= 0x41


@pytest.mark.parametrize("device", [FakeDevice(), WrongDevice()], ids=["right", "wrong"])
@pytest.mark.parametrize(
    "check",
    [
        lambda device: check_token_rows(device, "float32", "float32"),
        lambda device: check_token_rows(device, "int8", "uint16"),
        lambda device: check_choice(device, 97, "float32"),
        lambda device: check_choice(device, 97, "float16"),
        lambda device: check_gene_embedding(device, 64, "float32", "float32"),
        lambda device: check_gene_embedding(device, 7, "float16", "uint16"),
        lambda device: check_gene_embedding(device, 8, "int8", "int8"),
    ],
)
def test_checks_of_kernels(
    driver: FakeDriver, check: Callable[[FakeDevice], None], device: FakeDevice
) -> None:
    if isinstance(device, WrongDevice):
        with pytest.raises(AssertionError):
            check(device)
    else:
        check(device)


@pytest.fixture
def step_decoder(
    driver: FakeDriver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Any, Any, FakeStepKernel]:
    """A decoder whose short steps a fake kernel runs, what it was made from, and the kernel."""
    tiny = tiny_decoder()
    half = tmp_path / "half"
    half.mkdir()
    write_half_precision(tiny.path, half / "decoder.onnx", dtype="float16")
    write_step_weights(tiny.path, half / "decoder.onnx")
    kernel = FakeStepKernel(half)
    monkeypatch.setattr(step_kernel, "pack_decoder", kernel.pack)
    monkeypatch.setattr(step_kernel, "launch_decoder_step", kernel.start)
    library = LibraryGraph(half / "decoder.onnx")
    sizes = tiny.engine.sizes
    graph, _ = step_kernel.with_step_kernel(
        lambda: library, StepDevice(), half, sizes, cuda_graph=True
    )
    table = upload_token_table(tiny.table, "float16")
    return DeviceDecoder(StepDevice(), graph, sizes, table), tiny, kernel


def test_check_of_the_step_kernel(step_decoder: tuple[Any, Any, FakeStepKernel]) -> None:
    decoder, tiny, kernel = step_decoder
    vectors = random_vectors(0)
    check_step_kernel(decoder, tiny.prompt, vectors)
    kernel.error = 1e3
    with pytest.raises(AssertionError, match=r"<= 0\.03"):
        check_step_kernel(decoder, tiny.prompt, vectors)


def test_check_of_rows_of_the_step_kernel(
    step_decoder: tuple[Any, Any, FakeStepKernel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only that it fails: the fake's library does not promise the same bits for all rows."""
    decoder, tiny, kernel = step_decoder

    def start(device: Any, weights: Any, scratch: Any, step: Any) -> None:
        kernel.error = 1e-3 * (step.tokens == MAX_FLOAT16_ROWS)
        kernel.start(device, weights, scratch, step)

    monkeypatch.setattr(step_kernel, "launch_decoder_step", start)
    with pytest.raises(AssertionError, match="Mismatched elements"):
        check_rows_of_the_step_kernel(decoder, tiny.prompt, random_vectors(0))


def test_texts_of_the_step_kernel(step_decoder: tuple[Any, Any, FakeStepKernel]) -> None:
    decoder, tiny, kernel = step_decoder
    vectors = [random_vectors(seed, count=1 + 4 * seed) for seed in range(3)]
    texts = write_texts(decoder, tiny.prompt, vectors, GENERATION)
    assert [len(text) for text in texts] == [GENERATION.max_new_tokens] * 3
    assert kernel.steps
    assert write_texts(decoder, tiny.prompt, vectors, GENERATION, captions=texts) == texts
    assert write_texts(decoder, tiny.prompt, vectors, GENERATION, rows=3) == texts


@pytest.fixture
def cuda_on_host(driver: FakeDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--engine cuda` on the host."""
    monkeypatch.setattr(gpu_open, "OnnxRuntimeDeviceGraph", lambda path, *_, **__: FakeGraph(path))
    monkeypatch.setattr(gpu_open, "CudaDevice", lambda number: FakeDevice())

    def choose(bundle: Bundle, name: str, *arguments: Any) -> ChosenEngines:
        if name == "cpu":
            return choose_engines(bundle, name, *arguments)
        return ChosenEngines(gpu_open.open_cuda_engines(bundle, *arguments), True, "a fake")

    monkeypatch.setattr("c2t.runtime.describe.describer.choose_engines", choose)


@pytest.mark.usefixtures("cuda_on_host")
def test_checks_of_a_bundle(bundle: Bundle, cells: list[list[int]]) -> None:
    decoder: Any = open_onnxruntime_engines(bundle, EngineOptions()).decoder
    check_bundle_logits(bundle, decoder, LOGIT_TOLERANCE["float32"])
    check_texts_of_the_cpu(bundle, cells)
    texts, label = describe_cells(bundle, cells, engine="cuda")
    assert len(texts) == len(cells) > 2
    assert "no GPU" in label


@pytest.mark.usefixtures("cuda_on_host")
def test_checks_of_a_bundle_fail(
    bundle: Bundle, cells: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = np.roll(bundle.token_embedding, 1, axis=0)
    monkeypatch.setattr(
        gpu_open, "upload_token_table", lambda _, dtype: upload_token_table(wrong, dtype)
    )
    decoder: Any = open_onnxruntime_engines(bundle, EngineOptions()).decoder
    with pytest.raises(AssertionError, match=r"<= 0\.001"):
        check_bundle_logits(bundle, decoder, LOGIT_TOLERANCE["float32"])
    with pytest.raises(AssertionError, match="batch_size"):
        check_texts_of_the_cpu(bundle, cells)
