"""The step kernel in its place: what it is given, and which steps and decoders it runs.

The kernel itself is a fake, see `fakes.step_kernel`.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from fakes.cuda_driver import FakeDevice, FakeDriver
from fakes.step_kernel import FakeStepKernel, LibraryGraph, StepDevice
from msgspec import structs
from tiny_data import DECODERS, TinyDecoder, random_vectors, tiny_decoder

from c2t.kernels.decoder_step.layout import MAX_FLOAT16_ROWS
from c2t.kernels.decoder_step.sizes import StepSizes
from c2t.kernels.decoder_step.weights import HostLayer
from c2t.kernels.errors import KernelError
from c2t.runtime.build.step_weights import write_step_weights
from c2t.runtime.bundle.manifest import Decoder, Generation
from c2t.runtime.engines.built.step_weights import DESCRIPTION_NAME, SMALL_NAME
from c2t.runtime.engines.gpu import step_kernel
from c2t.runtime.engines.gpu.decoder import DeviceDecoder
from c2t.runtime.engines.gpu.graph import DeviceTensor
from c2t.runtime.engines.gpu.open import upload_token_table
from c2t.runtime.engines.gpu.step_kernel import BoundDecoderStep, DecoderStepGraph, with_step_kernel
from c2t.runtime.generation.drafts import Drafter
from c2t.runtime.generation.greedy import GreedySearch
from c2t.runtime.generation.phrase_table import build_phrase_table
from c2t.runtime.generation.sequence import GeneratedSequence
from c2t.runtime.graphs.half_precision import write_half_precision
from c2t.runtime.system.errors import EngineError

GENERATION = Generation(max_new_tokens=20, no_repeat_ngram_size=2, eos_token_ids=(4, 8, 15))
MATRICES = ("qkv", "output", "gate_up", "down")


@pytest.fixture(scope="module")
def decoder() -> tuple[TinyDecoder, Path]:
    """A decoder, and the folder of its float32 graph."""
    return tiny_decoder("sure"), DECODERS["sure"]


def write_half(source: Path, folder: Path, dtype: str = "float16") -> Path:
    """The decoder's half-precision graph, and the description of its weights."""
    folder.mkdir()
    write_half_precision(source / "decoder.onnx", folder / "decoder.onnx", dtype=dtype)
    write_step_weights(source / "decoder.onnx", folder / "decoder.onnx")
    return folder


@pytest.fixture
def folder(decoder: tuple[TinyDecoder, Path], tmp_path: Path) -> Path:
    """A half-precision decoder in float16."""
    return write_half(decoder[1], tmp_path / "half")


@pytest.fixture
def sizes(decoder: tuple[TinyDecoder, Path]) -> Decoder:
    return decoder[0].engine.sizes


@pytest.fixture
def kernel(driver: FakeDriver, folder: Path, monkeypatch: pytest.MonkeyPatch) -> FakeStepKernel:
    kernel = FakeStepKernel(folder)
    monkeypatch.setattr(step_kernel, "pack_decoder", kernel.pack)
    monkeypatch.setattr(step_kernel, "launch_decoder_step", kernel.start)
    return kernel


def opened(
    folder: Path, sizes: Decoder, *, device: FakeDevice | None = None, cuda_graph: bool = True
) -> tuple[LibraryGraph, Any]:
    """The library's graph, and what is made of it."""
    graph = LibraryGraph(folder / "decoder.onnx")
    device = device or StepDevice()
    made, said = with_step_kernel(lambda: graph, device, folder, sizes, cuda_graph=cuda_graph)
    assert said == ("a short step (of up to 16 tokens) is one kernel" if made is not graph else "")
    graph.bound.clear()  # what the kernel was compared with
    return graph, made


def engine_of(graph: Any, tiny: TinyDecoder) -> DeviceDecoder:
    table = upload_token_table(tiny.table, "float16")
    return DeviceDecoder(StepDevice(), graph, tiny.engine.sizes, table)


def greedy(
    engine: DeviceDecoder, tiny: TinyDecoder, captions: list[list[int]], *, rows: int = 3
) -> list[GeneratedSequence]:
    vectors = [random_vectors(seed, count=1 + 4 * seed) for seed in range(5)]
    prompts = tiny.runner(engine)
    drafter = Drafter(build_phrase_table(captions)) if captions else None
    search = GreedySearch(
        engine, prompts, generation=GENERATION, rows=rows, capacity=80, drafter=drafter
    )
    found = dict(search.run(tiny.cells(vectors)))
    return [found[i] for i in range(len(vectors))]


@pytest.mark.parametrize("cuda_graph", [True, False])
@pytest.mark.parametrize("drafts", [False, True])
def test_texts_do_not_depend_on_who_runs_short_steps(
    decoder: tuple[TinyDecoder, Path],
    folder: Path,
    kernel: FakeStepKernel,
    driver: FakeDriver,
    drafts: bool,
    cuda_graph: bool,
) -> None:
    tiny, _ = decoder
    plain = engine_of(LibraryGraph(folder / "decoder.onnx"), tiny)
    captions = [list(s.token_ids) for s in greedy(plain, tiny, [])[:4]] if drafts else []
    expected = greedy(plain, tiny, captions)
    assert driver.launches == 0
    graph, made = opened(folder, tiny.engine.sizes, cuda_graph=cuda_graph)
    found = greedy(engine_of(made, tiny), tiny, captions)
    assert [text.token_ids for text in found] == [text.token_ids for text in expected]
    # Prompts of more rows are the library's, everything else is ours.
    assert graph.bound
    assert all(rows * tokens > MAX_FLOAT16_ROWS for rows, tokens in graph.bound)
    assert {1, 3} <= {step.batch for step in kernel.steps}
    assert (driver.launches > 0) == cuda_graph


def test_drafts_of_one_cell_at_a_time_keep_within_exact_rows(
    decoder: tuple[TinyDecoder, Path], folder: Path, kernel: FakeStepKernel
) -> None:
    tiny, _ = decoder
    plain = engine_of(LibraryGraph(folder / "decoder.onnx"), tiny)
    texts = greedy(plain, tiny, [], rows=1)
    captions = [list(text.token_ids) for text in texts]
    graph, made = opened(folder, tiny.engine.sizes)
    found = greedy(engine_of(made, tiny), tiny, captions, rows=1)
    assert [text.token_ids for text in found] == [text.token_ids for text in texts]
    of = tiny.prompts.of_vectors
    prompts = [len(of(random_vectors(seed, 1 + 4 * seed))) for seed in range(5)]
    assert max(prompts) > MAX_FLOAT16_ROWS
    # The library runs prompts alone, and no draft behind one; steps have drafts of up to 15.
    assert {tokens for _, tokens in graph.bound} <= set(prompts)
    assert max(step.tokens for step in kernel.steps) in range(8, MAX_FLOAT16_ROWS + 1)


def test_what_the_kernel_is_given(
    decoder: tuple[TinyDecoder, Path], folder: Path, kernel: FakeStepKernel
) -> None:
    tiny, _ = decoder
    engine = engine_of(opened(folder, tiny.engine.sizes)[1], tiny)
    cache = engine.new_cache(5, 24)
    step = engine.bind(cache, (2, 4), 3, 2)
    step.token_ids[:] = [[7, 50, 3], [1, 2, 90]]
    step.write_index[:] = [4, 9]
    step.position_ids[:] = step.write_index[:, None] + np.arange(3)
    step.logit_rows[:] = [[0, 2], [1, 2]]
    step.run()
    (given,) = kernel.steps
    assert (given.batch, given.tokens, given.logits_per_cell, given.capacity) == (2, 3, 2, 24)
    row = tiny.engine.sizes.kv_heads * 24 * tiny.engine.sizes.head_size
    assert given.cache == cache.buffer.pointer + 2 * 2 * row
    assert given.cache_stride == 5 * row  # past the rows that are not run, too
    keys_and_values = cache.buffer.download()
    written = np.abs(keys_and_values.astype(np.float32)).sum(axis=(0, 1, 3, 5)) > 0
    positions = [[], [], [4, 5, 6], [9, 10, 11], []]
    assert [np.flatnonzero(row).tolist() for row in written] == positions


def test_more_places_than_rows_are_the_library_s(
    decoder: tuple[TinyDecoder, Path], folder: Path, kernel: FakeStepKernel
) -> None:
    tiny, _ = decoder
    graph, made = opened(folder, tiny.engine.sizes)
    engine = engine_of(made, tiny)
    engine.bind(engine.new_cache(2, 32), (0, 2), 2, 9)
    assert graph.bound == [(2, 2)]


@pytest.mark.parametrize(
    ("rows", "tokens", "ours"), [(1, 16, True), (4, 4, True), (1, 17, False), (4, 5, False)]
)
def test_more_than_sixteen_rows_are_the_library_s(
    decoder: tuple[TinyDecoder, Path],
    folder: Path,
    kernel: FakeStepKernel,
    rows: int,
    tokens: int,
    ours: bool,
) -> None:
    tiny, _ = decoder
    graph, made = opened(folder, tiny.engine.sizes)
    engine = engine_of(made, tiny)
    step = engine.bind(engine.new_cache(rows, 32), (0, rows), tokens, 1)
    step.position_ids[:] = np.arange(tokens)
    step.run()
    assert len(kernel.steps) == ours
    assert graph.bound == ([] if ours else [(rows, tokens)])


@pytest.mark.parametrize("cuda_graph", [True, False])
def test_a_step_is_recorded_only_where_cuda_graphs_are_wanted(
    folder: Path, sizes: Decoder, kernel: FakeStepKernel, cuda_graph: bool
) -> None:
    _, made = opened(folder, sizes, cuda_graph=cuda_graph)
    names = ("inputs_embeds", "position_ids", "write_index", "logit_rows", "logits")
    tensors = {name: DeviceTensor(64, (1, 1, 1), "float16") for name in names}
    cache = (1, sizes.kv_heads, 8, sizes.head_size)
    for address, name in ((128, "past_key.0"), (256, "past_value.0")):
        tensors[name] = DeviceTensor(address, cache, "float16")
    bound = made.bind(tensors, repeated=True)
    assert isinstance(bound, BoundDecoderStep)
    assert bound.recordable == cuda_graph
    assert not made.bind(tensors, repeated=False).recordable
    assert kernel.steps == []


def test_it_is_a_graph_like_the_library_s(
    folder: Path, sizes: Decoder, kernel: FakeStepKernel
) -> None:
    graph = LibraryGraph(folder / "decoder.onnx")
    graph.cache_capacity = 77
    made, _ = with_step_kernel(lambda: graph, StepDevice(), folder, sizes, cuda_graph=True)
    assert isinstance(made, DecoderStepGraph)
    assert kernel.checked == [1, MAX_FLOAT16_ROWS]  # in both sizes that it is compiled in
    assert made.dtypes == graph.dtypes
    assert made.cache_capacity == 77


@pytest.mark.parametrize("error", [1e3, np.nan])
def test_a_kernel_that_gives_other_logits_is_not_used(
    folder: Path, sizes: Decoder, kernel: FakeStepKernel, error: float
) -> None:
    kernel.error = error
    graph = LibraryGraph(folder / "decoder.onnx")
    made, said = with_step_kernel(lambda: graph, StepDevice(), folder, sizes, cuda_graph=True)
    assert made is graph
    assert said.startswith("short steps without our kernel: its logits are")


def test_weights_are_those_of_the_bundle(
    decoder: tuple[TinyDecoder, Path], folder: Path, sizes: Decoder, kernel: FakeStepKernel
) -> None:
    """Matrices are the float16 of the bundle's; norms and rotary tables are the bundle's."""
    opened(folder, sizes)
    ((layout, packed),) = kernel.packed
    assert not layout.has_int8
    assert layout.sizes == StepSizes(
        layers=2,
        hidden_size=32,
        intermediate_size=48,
        heads=4,
        kv_heads=2,
        head_size=8,
        vocabulary_size=97,
    )
    graph = onnx.load(decoder[1] / "decoder.onnx").graph
    stored = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    (product,) = (node for node in graph.node if node.op_type == "Gemm")
    same(packed.lm_head, stored[product.input[1]].astype(np.float16))
    same(packed.norm, stored["norm.weight"])
    same(packed.cosines, stored["rotary.cos"])
    same(packed.sines, stored["rotary.sin"])
    assert packed.scale == np.float32(sizes.head_size**-0.5)
    norm = next(node for node in graph.node if node.op_type == "RMSNormalization")
    (epsilon,) = (a.f for a in norm.attribute if a.name == "epsilon")
    assert packed.epsilon == epsilon
    layers: list[HostLayer] = list(packed.layers)
    assert len(layers) == sizes.layers
    for number, layer in enumerate(layers):
        prefix = f"layers.{number}"
        same(layer.attention_norm, stored[f"{prefix}.attention.norm.weight"])
        same(layer.mlp_norm, stored[f"{prefix}.mlp.norm.weight"])
        for matrix, name in (
            (layer.qkv, "attention.qkv"),
            (layer.o, "attention.output"),
            (layer.gate_up, "mlp.gate_up"),
            (layer.down, "mlp.down"),
        ):
            same(matrix, stored[f"{prefix}.{name}.weight"].astype(np.float16))
            assert isinstance(matrix, np.memmap)  # gigabytes are not read twice


def same(found: np.ndarray, expected: np.ndarray) -> None:
    """Bit for bit, type and shape."""
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    assert found.flags.c_contiguous
    assert found.tobytes() == expected.tobytes()


def test_folders_without_a_description_keep_the_library_s_graph(
    folder: Path, sizes: Decoder, kernel: FakeStepKernel
) -> None:
    (folder / DESCRIPTION_NAME).unlink()
    graph, made = opened(folder, sizes)
    assert made is graph
    assert kernel.packed == []


@pytest.mark.parametrize(("arch", "ours"), [("sm_75", False), ("sm_80", True), ("sm_120", True)])
def test_devices_too_old_keep_the_library_s_graph(
    folder: Path, sizes: Decoder, kernel: FakeStepKernel, arch: str, ours: bool
) -> None:
    device = StepDevice()
    device.arch = arch
    graph, made = opened(folder, sizes, device=device)
    assert (made is not graph) == len(kernel.packed) == ours


def test_bfloat16_keeps_the_library_s_graph(
    decoder: tuple[TinyDecoder, Path], sizes: Decoder, kernel: FakeStepKernel, tmp_path: Path
) -> None:
    other = write_half(decoder[1], tmp_path / "bfloat16", dtype="bfloat16")
    graph: Any = SimpleNamespace()  # the CPU has no bfloat16
    assert with_step_kernel(lambda: graph, StepDevice(), other, sizes, cuda_graph=True) == (
        graph,
        "",
    )
    assert kernel.packed == []


def test_sizes_the_kernel_does_not_take_keep_the_library_s_graph(
    folder: Path, sizes: Decoder, kernel: FakeStepKernel
) -> None:
    """An MLP of 44 is no multiple of 8: the description is cut to it, and fits all the same."""
    path = folder / DESCRIPTION_NAME
    description = json.loads(path.read_text())
    for layer in description["layers"]:
        layer["down"]["shape"], layer["gate_up"]["shape"] = [44, 32], [32, 88]
    path.write_text(json.dumps(description))
    graph, made = opened(folder, sizes)
    assert made is graph
    assert kernel.packed == []


@pytest.mark.parametrize("name", [DESCRIPTION_NAME, SMALL_NAME])
def test_a_damaged_description_is_an_error(
    folder: Path, sizes: Decoder, kernel: FakeStepKernel, name: str
) -> None:
    (folder / name).write_bytes(b"{")
    with pytest.raises(EngineError, match=rf"{name} cannot be read") as caught:
        opened(folder, sizes)
    assert "--target cuda --force" in caught.value.hint


def test_a_description_of_another_decoder_is_an_error(
    folder: Path, sizes: Decoder, kernel: FakeStepKernel
) -> None:
    with pytest.raises(EngineError, match="it has 2 layers, the decoder 3"):
        opened(folder, structs.replace(sizes, layers=3))


def test_weights_that_do_not_fit_twice(folder: Path, sizes: Decoder, driver: FakeDriver) -> None:
    """The library runs all of it, and the label says why."""
    driver.free = 1000
    graph = LibraryGraph(folder / "decoder.onnx")
    made, said = with_step_kernel(lambda: graph, StepDevice(), folder, sizes, cuda_graph=True)
    assert made is graph
    assert said.startswith("short steps without our kernel: the GPU has no memory for the decoder")


def test_a_kernel_that_does_not_start(
    folder: Path, sizes: Decoder, kernel: FakeStepKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        problem = "too many blocks"
        raise KernelError(problem)

    monkeypatch.setattr(step_kernel, "launch_decoder_step", refuse)
    graph = LibraryGraph(folder / "decoder.onnx")
    made, said = with_step_kernel(lambda: graph, StepDevice(), folder, sizes, cuda_graph=True)
    assert made is graph
    assert said == "short steps without our kernel: too many blocks"


def test_a_bug_is_no_reason_to_go_on_without(
    folder: Path, sizes: Decoder, kernel: FakeStepKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        message = "no such attribute"
        raise AttributeError(message)

    monkeypatch.setattr(step_kernel, "launch_decoder_step", fail)
    graph = LibraryGraph(folder / "decoder.onnx")
    with pytest.raises(AttributeError):
        with_step_kernel(lambda: graph, StepDevice(), folder, sizes, cuda_graph=True)
