"""The kernel of short decoder steps on a GPU, beside ONNX Runtime's graph of the same weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

import pytest
from gpu_checks import check_rows_of_the_step_kernel, check_step_kernel, write_texts
from quantised_decoders import quantised
from tiny_data import DECODERS, random_vectors, tiny_decoder

from c2t.runtime.bundle.manifest import Generation

pytestmark = pytest.mark.gpu
Half: TypeAlias = tuple[Any, Path, Path | None]

GENERATION = Generation(max_new_tokens=24, no_repeat_ngram_size=3, eos_token_ids=())


@pytest.fixture(scope="module", params=["float16", "int8", "mixed"])
def half(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Half:
    """A tiny decoder, the folder of its half-precision graph, and its own graph where it is int8.

    Weights of the kernel are float16 beside that graph, or int8 in the decoder's own.
    """
    pytest.importorskip("onnx", reason="onnx is not installed: c2t[gpu]")
    from c2t.runtime.build.step_weights import write_step_weights
    from c2t.runtime.graphs.half_precision import write_half_precision

    decoder = tiny_decoder()
    half = tmp_path_factory.mktemp("half")
    if request.param == "float16":
        write_half_precision(decoder.path, half / "decoder.onnx", dtype="float16")
        write_step_weights(decoder.path, half / "decoder.onnx")
        return decoder, half, None
    folder = tmp_path_factory.mktemp("int8")
    every = 1 if request.param == "int8" else 3
    source = quantised(
        DECODERS["sure"] / "decoder.onnx", folder, lambda number: number % every == 0
    )
    write_half_precision(source, half / "decoder.onnx", dtype="float16", widen=True)
    return decoder, half, source


def open_decoder(half: Half, device: Any, *, cuda_graph: bool = True) -> Any:
    """The decoder with the kernel of short steps."""
    from c2t.runtime.engine_protocol import EngineOptions
    from c2t.runtime.engines.gpu.decoder import DeviceDecoder
    from c2t.runtime.engines.gpu.onnxruntime_graph import OnnxRuntimeDeviceGraph
    from c2t.runtime.engines.gpu.open import upload_token_table
    from c2t.runtime.engines.gpu.step_kernel import with_step_kernel

    tiny, folder, source = half
    options = EngineOptions(cuda_graph=cuda_graph)

    def library() -> OnnxRuntimeDeviceGraph:
        return OnnxRuntimeDeviceGraph(folder / "decoder.onnx", device, options)

    sizes = tiny.engine.sizes
    graph, said = with_step_kernel(
        library, device, folder, sizes, cuda_graph=cuda_graph, source=source
    )
    assert "one kernel" in said
    return DeviceDecoder(device, graph, sizes, upload_token_table(tiny.table, "float16"))


def cell_vectors(count: int) -> list[Any]:
    return [random_vectors(seed, count=1 + 4 * seed) for seed in range(count)]


def test_logits_are_those_of_the_library_or_the_cpu(half: Half, device: Any) -> None:
    decoder = open_decoder(half, device)
    check_step_kernel(decoder, half[0].prompt, cell_vectors(3)[-1])


def test_a_token_is_the_same_alone_and_among_others(half: Half, device: Any) -> None:
    decoder = open_decoder(half, device)
    check_rows_of_the_step_kernel(decoder, half[0].prompt, cell_vectors(3)[-1])


def test_a_text_does_not_depend_on_cuda_graphs(half: Half, device: Any) -> None:
    prompt, vectors = half[0].prompt, cell_vectors(5)
    recorded, single = (open_decoder(half, device, cuda_graph=on) for on in (True, False))
    for rows in (1, 3):
        texts = write_texts(recorded, prompt, vectors, GENERATION, rows=rows)
        assert write_texts(single, prompt, vectors, GENERATION, rows=rows) == texts


def test_a_text_does_not_depend_on_drafts(half: Half, device: Any) -> None:
    decoder = open_decoder(half, device)
    prompt, vectors = half[0].prompt, cell_vectors(5)
    texts = write_texts(decoder, prompt, vectors, GENERATION)
    wrong = [[token + (n % 10 == 9) for n, token in enumerate(text)] for text in texts]
    for captions in (texts, wrong):
        assert write_texts(decoder, prompt, vectors, GENERATION, captions=captions) == texts
