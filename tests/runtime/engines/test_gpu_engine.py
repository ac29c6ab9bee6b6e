"""A bundle described through the engines of a GPU that `fakes.cuda_driver` stands in for."""

from __future__ import annotations

import errno
import gc
import io
import threading
from collections.abc import Iterator
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_process import make_cells
from emulation.device import EmulatedSteps
from fakes.cuda_driver import OUT_OF_MEMORY, FakeDevice, FakeDriver, FakeGraph
from fakes.step_kernel import FakeStepKernel
from int8_bundles import write_quantised
from tiny_bundle import make_bundle
from tiny_data import tiny_cell
from tiny_models import TinySizes
from typer.testing import CliRunner

import c2t.cli
from c2t.kernels.errors import KernelError
from c2t.runtime.build.build_half_graphs import HalfGraphsOptions, build_half_graphs
from c2t.runtime.bundle.bundle import open_bundle
from c2t.runtime.cells import reader
from c2t.runtime.cells.encoded_cells import EncodedCells
from c2t.runtime.cells.formats.store import open_store
from c2t.runtime.describe import batch_size
from c2t.runtime.describe.describer import DescribeOptions, Describer
from c2t.runtime.describe.verify import verify_golden_cells
from c2t.runtime.describe.worker import Worker
from c2t.runtime.engine_protocol import EngineOptions, Engines
from c2t.runtime.engines.built.step_weights import DESCRIPTION_NAME
from c2t.runtime.engines.check import EngineCheck
from c2t.runtime.engines.gpu import open as device_engine
from c2t.runtime.engines.gpu import step_kernel
from c2t.runtime.engines.gpu.open import open_device_engines
from c2t.runtime.engines.gpu.step_kernel import with_step_kernel
from c2t.runtime.engines.table import ENGINES, Engine
from c2t.runtime.output import describe_file
from c2t.runtime.system.errors import EngineError


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    driver = FakeDriver()
    driver.install(monkeypatch)

    def open_fake(bundle: Any, options: Any, clock: Any) -> Engines:
        return open_device_engines(
            bundle,
            FakeDevice(),
            lambda graph: FakeGraph(bundle.file(graph)),
            name="host",
            version="1",
            clock=clock,
        )

    works = EngineCheck(name="cuda", runs=True, version="1", reasons=())
    monkeypatch.setitem(ENGINES, "cuda", Engine(open_fake, lambda machine: works))
    return driver


def test_golden_cells_have_their_texts(driver: FakeDriver, tiny_bundle_folder: Path) -> None:
    found = verify_golden_cells(open_bundle(tiny_bundle_folder), "cuda")
    assert found.cells > 0
    assert found.differences == ()
    assert found.engine == "host 1 (no GPU, sm_00; fp32 weights, float32 between layers)"


def test_embeddings_are_those_of_the_cpu(driver: FakeDriver, tiny_bundle_folder: Path) -> None:
    bundle = open_bundle(tiny_bundle_folder)
    cells = EncodedCells.of_tokens([tiny_cell(length, seed=length) for length in (5, 20, 48)])
    device, host = (
        list(Describer(bundle, DescribeOptions(engine=engine, embedding=True)).describe([cells]))
        for engine in ("cuda", "cpu")
    )
    for one, other in zip(device, host, strict=True):
        assert one.text == other.text
        np.testing.assert_allclose(one.embedding, other.embedding, atol=1e-5)


@pytest.mark.parametrize(("tokens", "runs"), [(0, [12, 2]), (2000, [14])])
def test_cells_of_one_length_are_encoded_together(
    driver: FakeDriver,
    tiny_bundle_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    tokens: int,
    runs: list[int],
) -> None:
    """Where the library takes them: as many as it has room for, and as are written together."""
    bundle = open_bundle(tiny_bundle_folder)
    cells = [tiny_cell(40, seed=seed) for seed in range(14)]
    expected = Describer(bundle, DescribeOptions(engine="cpu", batch_size=14))
    monkeypatch.setattr(FakeGraph, "batch_tokens", tokens)
    describer = Describer(bundle, DescribeOptions(engine="cuda", batch_size=14))
    encode, together = describer.engines.encoder.encode, []

    def counted(tokens: np.ndarray) -> np.ndarray:
        together.append(len(tokens))
        return encode(tokens)

    monkeypatch.setattr(describer.engines.encoder, "encode", counted)
    texts = [
        [each.text for each in one.describe([EncodedCells.of_tokens(cells)])]
        for one in (expected, describer)
    ]
    assert texts[0] == texts[1]
    assert together == runs


def test_cells_are_read_while_others_are_described(
    driver: FakeDriver, tiny_bundle_folder: Path
) -> None:
    bundle = open_bundle(tiny_bundle_folder)
    threads = []

    def chunks() -> Iterator[EncodedCells]:
        for seed in range(4):
            threads.append(threading.current_thread().name)
            yield EncodedCells.of_tokens([tiny_cell(9, seed=seed)])

    for engine, name in (("cpu", threading.current_thread().name), ("cuda", "c2t-reader")):
        describer = Describer(bundle, DescribeOptions(engine=engine, threads=1))
        threads.clear()
        assert [each.error for each in describer.describe(chunks())] == [None] * 4
        assert threads == [name] * 4


class FailingStream(io.BytesIO):
    """Takes three lines; then the disk is full."""

    def write(self, line: Any) -> int:
        if self.getvalue().count(b"\n") == 3:
            raise OSError(errno.ENOSPC, "the disk is full")
        return super().write(line)


@pytest.mark.parametrize("fails", ["the writer", "the engine"])
def test_no_thread_reads_a_file_that_is_closed(
    driver: FakeDriver,
    tmp_path: Path,
    tiny_bundle_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    fails: str,
) -> None:
    """Where work ends in the middle, too, while a traceback keeps what was under way alive."""
    at_close: list[list[str]] = []

    def names() -> list[str]:
        return [thread.name for thread in threading.enumerate()]

    def opened(*arguments: Any) -> Any:
        store = open_store(*arguments)
        close = store.close
        monkeypatch.setattr(store, "close", lambda: (at_close.append(names()), close()))
        return store

    def interrupted(*_: Any) -> None:
        assert "c2t-reader" in names()
        raise KeyboardInterrupt

    monkeypatch.setattr(reader, "open_store", opened)
    monkeypatch.setattr(describe_file, "CHUNK_CELLS", 2)
    options = describe_file.DescribeFileOptions(
        cells=make_cells(tmp_path / "cells.h5ad", 60),
        describing=DescribeOptions(engine="cuda", batch_size=2),
    )
    stream = io.BytesIO() if fails == "the engine" else FailingStream()
    if fails == "the engine":
        monkeypatch.setattr(Worker, "_finish", interrupted)
    bundle, run = open_bundle(tiny_bundle_folder), describe_file.describe_file
    with pytest.raises((OSError, KeyboardInterrupt)) as caught:
        run(bundle, options, stream=stream, report=print)
    assert isinstance(caught.value, KeyboardInterrupt) == (fails == "the engine")
    assert len(at_close) == 1
    assert "c2t-reader" not in at_close[0] + names()


def test_fewer_cells_at_a_time_where_the_memory_has_no_room_for_more(
    driver: FakeDriver, tiny_bundle_folder: Path
) -> None:
    bundle = open_bundle(tiny_bundle_folder)
    few = DescribeOptions(engine="cuda", batch_size=8)
    many = replace(few, batch_size=128)
    before = driver.free
    taken = {}
    for options in (few, many):
        opened = Describer(bundle, options)
        assert opened.options == options
        taken[options.batch_size] = before - driver.free
        expected = opened.reason
        del opened
        gc.collect()
        assert driver.free == before
    row = (taken[128] - taken[8]) // 120
    cells = EncodedCells.of_tokens([tiny_cell(9 + seed % 5, seed=seed) for seed in range(50)])
    texts = [[each.text for each in Describer(bundle, few).describe([cells])]]
    gc.collect()
    for room, size in ((127, 64), (16, 16), (15, 8)):
        driver.free = taken[8] + (room - 8) * row
        describer = Describer(bundle, many, least_batch_size=8)
        assert describer.options == replace(many, batch_size=size)
        said = f"; {size} cells at a time, as its memory has no room for 128"
        assert describer.reason == expected + said
        driver.free = before  # for the steps
        texts.append([each.text for each in describer.describe([cells])])
        assert texts[-1] == texts[0]
        del describer
        gc.collect()
    for least, room in ((8, 7), (None, 127), (96, 95)):
        driver.free = taken[8] + (room - 8) * row
        with pytest.raises(EngineError, match="no memory for the keys and values of"):
            Describer(bundle, many, least_batch_size=least)
        gc.collect()
    driver.free = 1000  # not even the weights fit: not for want of smaller batches
    with pytest.raises(EngineError, match="no memory for the text token table"):
        Describer(bundle, many, least_batch_size=8)


def test_the_command_goes_on_with_fewer_cells_only_where_it_chose_how_many(
    driver: FakeDriver, tiny_bundle_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    largest, limit = 0, 1 << 40

    def limited(size: int) -> tuple[int, int]:
        nonlocal largest
        largest = max(largest, size)
        return driver.cuMemAlloc(size) if size <= limit else (OUT_OF_MEMORY, 0)

    def described(*more: str) -> Any:
        words = ("describe", str(tiny_bundle_folder), str(cells), "--engine", "cuda", *more)
        return CliRunner().invoke(c2t.cli.app, words)

    monkeypatch.setattr("cuda.bindings.driver.cuMemAlloc", limited)
    monkeypatch.setattr(batch_size, "default_batch_size", lambda *_: 128)
    cells = make_cells(tmp_path / "cells.h5ad", 20)
    all_at_once = described()
    assert all_at_once.exit_code == 0
    assert "cells at a time" not in all_at_once.stderr
    limit = largest // 8 + 1
    fewer = described()
    assert "; 16 cells at a time, as its memory has no room for 128" in fewer.stderr
    assert fewer.stdout == all_at_once.stdout
    refused = described("--batch-size", "128")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "no memory for the keys and values of 128 cells" in refused.stderr


def test_a_model_that_does_not_fit(driver: FakeDriver, tiny_bundle_folder: Path) -> None:
    driver.free = 1000
    with pytest.raises(EngineError, match="the GPU has no memory for the text token table"):
        verify_golden_cells(open_bundle(tiny_bundle_folder), "cuda")


@pytest.fixture
def fake_cuda(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Path]:
    """`--engine cuda` on the host, with a cache of its own; returns the graphs that it opened."""
    FakeDriver().install(monkeypatch)
    monkeypatch.setenv("C2T_ENGINES", str(tmp_path))
    opened: list[Path] = []

    def open_graph(path: Path, *_: Any, **__: Any) -> FakeGraph:
        opened.append(path)
        return FakeGraph(path)

    monkeypatch.setattr(device_engine, "OnnxRuntimeDeviceGraph", open_graph)
    monkeypatch.setattr(device_engine, "CudaDevice", lambda number: FakeDevice())
    works = EngineCheck(name="cuda", runs=True, version="1", reasons=())
    monkeypatch.setitem(ENGINES, "cuda", replace(ENGINES["cuda"], check=lambda machine: works))
    return opened


def test_cuda_runs_the_half_precision_graphs_that_were_built(
    fake_cuda: list[Path], tiny_bundle_folder: Path
) -> None:
    bundle = open_bundle(tiny_bundle_folder)
    own = Describer(bundle, DescribeOptions(engine="cuda"))
    assert {path.parent for path in fake_cuda} == {bundle.path}
    assert "float32 between layers" in own.engines.label
    command = f"c2t build {bundle.path} --target cuda"
    assert own.engines.hint == f"half precision is faster on a GPU: `{command}` makes it"
    fake_cuda.clear()
    folder = Path(build_half_graphs(bundle, HalfGraphsOptions()).folder)
    half = Describer(bundle, DescribeOptions(engine="cuda"))
    assert {path.parent for path in fake_cuda} == {folder}
    assert "float16 between layers" in half.engines.label
    assert half.engines.hint == ""
    cells = EncodedCells.of_tokens([bundle.golden.cells[0].gene_tokens])
    (described,) = half.describe([cells])
    assert described.error is None
    assert described.tokens
    # A folder that is named is taken as it is.
    fake_cuda.clear()
    options = EngineOptions(graphs=bundle.path)
    assert "float32" in device_engine.open_cuda_engines(bundle, options).label
    assert {path.parent for path in fake_cuda} == {bundle.path}


def test_the_label_says_where_a_short_step_is_one_kernel(
    fake_cuda: list[Path],
    tiny_bundle_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        problem = "the blocks do not fit"
        raise KernelError(problem)

    said = "; a short step (of up to 16 tokens) is one kernel)"
    folder = tmp_path / "bundle"
    folder.mkdir()
    bundle = make_bundle(folder, TinySizes(decoder_width=32)).bundle  # heads of 8 numbers
    named = EngineOptions(graphs=Path(build_half_graphs(bundle, HalfGraphsOptions()).folder))
    kernel = FakeStepKernel(Path(str(named.graphs)))
    monkeypatch.setattr(step_kernel, "pack_decoder", kernel.pack)
    old = device_engine.open_cuda_engines(bundle, EngineOptions())
    assert "float16 between layers)" in old.label
    monkeypatch.setattr(FakeDevice, "arch", "sm_90")
    # A device that cannot start it is no error, and not silent.
    monkeypatch.setattr(step_kernel, "launch_decoder_step", refuse)
    label = device_engine.open_cuda_engines(bundle, EngineOptions()).label
    assert "; short steps without our kernel: the blocks do not fit)" in label
    monkeypatch.setattr(step_kernel, "launch_decoder_step", kernel.start)
    for options in (EngineOptions(), named):
        assert said in device_engine.open_cuda_engines(bundle, options).label
    # Heads of this bundle are of a size that the kernel does not take.
    other = open_bundle(tiny_bundle_folder)
    build_half_graphs(other, HalfGraphsOptions())
    label = device_engine.open_cuda_engines(other, EngineOptions()).label
    assert "float16 between layers)" in label
    # The bundle's own graphs have no description, and TensorRT's provider runs steps itself.
    own = device_engine.open_cuda_engines(bundle, EngineOptions(graphs=bundle.path))
    assert "float32 between layers)" in own.label
    plans = named.graphs / "plans"
    by_plans = device_engine.open_onnxruntime_engines(bundle, named, plans=plans)
    assert "float16 between layers)" in by_plans.label


def test_an_int8_bundle_is_described_with_int8_products(
    fake_cuda: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its texts stay longer with the CPU's than the library's, which quantises no activations.

    Not to their end: the encoder is the library's, and the words of a random decoder are hardly
    likelier than others.
    """
    folder = tmp_path / "bundle"
    folder.mkdir()
    source = make_bundle(folder, TinySizes(decoder_width=32)).bundle
    bundle = write_quantised(source, tmp_path / "int8", scale=0.05)
    own = device_engine.open_cuda_engines(bundle, EngineOptions())
    assert "(no GPU, sm_00; int8 weights, float32 between layers)" in own.label
    assert own.hint.endswith(f"`c2t build {bundle.path} --target cuda` makes it")
    build_half_graphs(bundle, HalfGraphsOptions())
    said = "; activations %s, int8 weights, float16 between layers"
    monkeypatch.setattr(device_engine, "CudaDevice", lambda number: EmulatedSteps())
    monkeypatch.setattr(
        device_engine, "with_step_kernel", lambda library, *_, **__: (library(), "")
    )
    library = Describer(bundle, DescribeOptions(engine="cuda"))
    assert f"{said % 'not quantised'})" in library.engines.label
    monkeypatch.setattr(device_engine, "with_step_kernel", with_step_kernel)
    fake_cuda.clear()
    kernel = Describer(bundle, DescribeOptions(engine="cuda"))
    assert {path.name for path in fake_cuda} == {"encoder.onnx", "projector.onnx"}
    quantised = said % "quantised in the decoder alone"
    steps = "steps and prompts are one kernel with int8 products, 64 tokens at a time"
    assert f"{quantised}; {steps})" in kernel.engines.label
    assert kernel.engines.hint == ""
    lengths = (5, 12, 20, 31, 40, 48)
    cells = EncodedCells.of_tokens([tiny_cell(length, seed=length) for length in lengths])
    cpu = Describer(bundle, DescribeOptions(engine="cpu"))
    expected, found, other = (list(each.describe([cells])) for each in (cpu, kernel, library))
    assert all(one.tokens for one in found)

    def same_tokens(texts: list[Any]) -> int:
        """Tokens up to the first that is not the CPU's, of all texts."""
        same = 0
        for one, cpus in zip(texts, expected, strict=True):
            pairs = zip(one.tokens, cpus.tokens, strict=False)
            same += sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        return same

    assert same_tokens(found) > same_tokens(other)


def test_a_damaged_description_stops_the_engine(
    fake_cuda: list[Path], tiny_bundle_folder: Path, tmp_path: Path
) -> None:
    bundle = open_bundle(tiny_bundle_folder)
    folder = Path(build_half_graphs(bundle, HalfGraphsOptions()).folder)
    (folder / DESCRIPTION_NAME).write_bytes(b"{}")
    # A folder that is named was not hashed.
    with pytest.raises(EngineError, match=rf"{DESCRIPTION_NAME} cannot be read") as caught:
        device_engine.open_cuda_engines(bundle, EngineOptions(graphs=folder))
    assert "--target cuda --force" in caught.value.hint


def test_damaged_graphs_are_no_reason_to_go_on_without(
    fake_cuda: list[Path], tiny_bundle_folder: Path
) -> None:
    bundle = open_bundle(tiny_bundle_folder)
    folder = Path(build_half_graphs(bundle, HalfGraphsOptions()).folder)
    (folder / "encoder.onnx").write_bytes(b"")
    with pytest.raises(EngineError, match=r"encoder\.onnx has 0 bytes, expected"):
        Describer(bundle, DescribeOptions(engine="cuda"))
    assert fake_cuda == []


def test_describe_says_what_makes_it_faster_once(
    fake_cuda: list[Path], tiny_bundle_folder: Path, call_c2t: Any, tmp_path: Path
) -> None:
    make_cells(tmp_path / "cells.h5ad", 2)
    words = ("describe", tiny_bundle_folder, tmp_path / "cells.h5ad", "--engine", "cuda")
    done = call_c2t(*words)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(f"`c2t build {tiny_bundle_folder} --target cuda`") == 1
    assert "hint: half precision is faster on a GPU" in done.stderr
