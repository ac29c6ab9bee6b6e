"""The parts of `benchmarks/gpu_engines.py` on a fake of a GPU: they run to their end.

A GPU is rare, and must not be needed to find a wrong name in a part. The times mean nothing here.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fakes.cuda_driver import FakeDevice, FakeDriver, FakeGraph
from fakes.step_kernel import FakeStepKernel, StepDevice

from c2t.runtime.bundle.bundle import open_bundle
from c2t.runtime.engines.gpu import open as gpu_open
from c2t.runtime.engines.gpu import step_kernel

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def seconds_of(device: FakeDevice, run: Callable[[], Any]) -> float:
    since = perf_counter()
    run()
    return perf_counter() - since


@pytest.fixture
def parts(driver: FakeDriver, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The modules of the parts, on the fake."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    import gpu_cells
    import gpu_decoder
    import gpu_engines
    import gpu_kernels
    import gpu_step
    import preset_data

    for module in (gpu_decoder, gpu_kernels, gpu_step):
        monkeypatch.setattr(module, "device_seconds", seconds_of, raising=False)
        monkeypatch.setattr(module, "copy_bandwidth", lambda device: 1e9)
    monkeypatch.setattr(gpu_open, "OnnxRuntimeDeviceGraph", lambda path, *_, **__: FakeGraph(path))
    monkeypatch.setattr(gpu_open, "CudaDevice", lambda number: StepDevice())
    monkeypatch.setattr(StepDevice, "_kernels", {}, raising=False)
    return SimpleNamespace(
        cells=gpu_cells,
        decoder=gpu_decoder,
        engines=gpu_engines,
        kernels=gpu_kernels,
        step=gpu_step,
        data=preset_data,
    )


def test_times_of_kernels(parts: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts.kernels, "CudaDevice", FakeDevice)
    for name, value in {
        "GENES": 300,
        "POSITIONS": 64,
        "HIDDEN_SIZES": (8,),
        "VOCABULARY": 97,
    }.items():
        monkeypatch.setattr(parts.kernels, name, value)
    figures: dict[str, Any] = {}
    parts.kernels.time_kernels(argparse.Namespace(), lambda **new: figures.update(new))
    share = figures["embedding of 8"]["of_copy_bandwidth"]
    assert parts.engines.reached({"kernels": figures}) == {"embedding_of_copy_bandwidth": share}


def test_times_of_a_decoder(
    parts: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_models = pytest.importorskip("tiny_models", reason="needs c2t[export]")
    from tiny_bundle import make_bundle

    (tmp_path / "whole").mkdir()
    make_bundle(tmp_path / "whole", tiny_models.TinySizes(decoder_width=32))  # heads of 8 numbers
    parts.data.strip(tmp_path / "whole", tmp_path / "skeleton")
    skeleton = tmp_path / "skeleton"
    options = argparse.Namespace(scratch=tmp_path, skeleton=skeleton, skeleton_int8=None)
    figures: dict[str, Any] = {}

    def note(**new: Any) -> None:
        figures.update(new)

    parts.engines.fill(options, note)
    kernel = FakeStepKernel(tmp_path / "float16")

    def pack(*arguments: Any) -> SimpleNamespace:
        packed = kernel.pack(*arguments)
        return SimpleNamespace(**vars(packed), packed=np.zeros(1000))

    monkeypatch.setattr(step_kernel, "pack_decoder", pack)
    monkeypatch.setattr(step_kernel, "launch_decoder_step", kernel.start)
    monkeypatch.setattr(parts.decoder, "BATCHES", (2, 70))
    # The tiny decoder has 256 positions.
    monkeypatch.setattr(parts.decoder, "STEP_TOKENS", parts.decoder.STEP_TOKENS[:-1])
    for variant in ("float32", "float16-graphs", "float16"):
        parts.decoder.time_decoder(options, note, variant)
    assert figures["text"]["every draft right"]["same text"]
    assert set(figures["many_cells"]) == {"2 cells", "70 cells"}
    peer = {"step_seconds": 1, "prefill_seconds": 2}
    reached = parts.engines.reached({"decoder float16": dict(figures), "peer eager": peer})
    assert {"step_share_of_floor", "text_times_eager, no drafts"} <= set(reached)

    # The INT8 bundle is its skeleton, filled with random integers.
    from int8_bundles import write_quantised

    write_quantised(open_bundle(tmp_path / "whole"), tmp_path / "whole-int8")
    parts.data.strip(tmp_path / "whole-int8", tmp_path / "skeleton-int8")
    options.skeleton_int8 = tmp_path / "skeleton-int8"
    parts.engines.fill(options, note, int8=True)
    kernel.use(tmp_path / "int8")
    # The fake's steps are the library's, whose activations are not quantised.
    monkeypatch.setattr(step_kernel, "INT8_LOGIT_TOLERANCE", 1e9)
    monkeypatch.setattr(parts.decoder, "check_rows_of_the_step_kernel", lambda *_: None)
    figures.clear()
    parts.decoder.time_decoder(options, note, "int8")
    assert "one kernel with int8 products" in figures["engine"]
    reached = parts.engines.reached({"decoder int8": dict(figures)})
    several = {f"int8_{tokens}_tokens_share_of_floor" for tokens in (16, 32, 64, 128)}
    assert set(reached) == {"int8_step_share_of_floor", *several}
    monkeypatch.setattr(parts.cells, "BATCHES", (2, 3))
    monkeypatch.setattr(parts.cells, "GENERATED", 4)
    for variant, folder in (("int8", "int8"), ("float16", "float16")):
        kernel.use(tmp_path / folder)
        figures.clear()
        parts.cells.time_cells(options, note, variant)
        for batch in (2, 3):
            of_batch = figures[f"batches of {batch}"]
            assert of_batch["cells"] == 2 * batch
            assert "failed" not in of_batch
            assert {"read", "encoder", "prefill", "decode"} <= set(of_batch["stages"])

    # What a fake cannot show: the same bits for any number of rows, and clocks in the kernel.
    monkeypatch.setattr(parts.step, "check_rows_of_the_step_kernel", lambda *_: None)
    monkeypatch.setattr(parts.step, "phases", lambda *_: {})
    for variant, int8 in (("float16", False), ("int8", True)):
        kernel.use(tmp_path / variant)
        figures.clear()
        parts.step.take_step_apart(options, note, int8=int8)
        assert "without waiting, attention, copies" in figures
