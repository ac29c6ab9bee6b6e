"""Which engine is chosen, what is said about it, and what a named one that does not work says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from c2t.runtime.bundle.bundle import Bundle, open_bundle
from c2t.runtime.describe.verify import verify_golden_cells
from c2t.runtime.engine_protocol import EngineOptions
from c2t.runtime.engines.check import EngineCheck
from c2t.runtime.engines.choose import choose_engines
from c2t.runtime.engines.table import ENGINES, Engine, EngineName
from c2t.runtime.system.errors import EngineError
from c2t.runtime.system.machine import Gpu, Machine, look_at_machine

OPTIONS = EngineOptions(threads=1)


@pytest.fixture(scope="module")
def bundle(tiny_bundle_folder: Path) -> Bundle:
    return open_bundle(tiny_bundle_folder)


@pytest.fixture
def workstation() -> Machine:
    gpu = Gpu(name="G", compute_capability="8.9", memory_bytes=1 << 34)
    return replace(look_at_machine(), gpus=(gpu,), cuda_driver="13.0", gpu_problem="")


def without_gpu() -> Machine:
    problem = "no NVIDIA driver (libcuda.so.1 is not found)"
    return replace(look_at_machine(), gpus=(), cuda_driver=None, gpu_problem=problem)


def test_auto_without_a_gpu_says_why(bundle: Bundle) -> None:
    chosen = choose_engines(bundle, "auto", OPTIONS, machine=without_gpu())
    assert not chosen.on_gpu
    assert chosen.engines.name == "onnxruntime-cpu"
    expected = "engine cpu: no GPU engine: no NVIDIA driver (libcuda.so.1 is not found)"
    assert chosen.reason == expected


@pytest.mark.parametrize("name", ["cuda", "tensorrt", "rtx", "tensorrt-ep"])
def test_a_named_engine_never_falls_back(bundle: Bundle, name: str) -> None:
    with pytest.raises(EngineError, match=f"engine {name} does not work here.*no NVIDIA driver"):
        choose_engines(bundle, name, OPTIONS, machine=without_gpu())
    with pytest.raises(EngineError, match="there is no engine 'gpu'"):
        choose_engines(bundle, "gpu", OPTIONS)


def test_auto_takes_the_first_that_opens(
    bundle: Bundle, workstation: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = {"tensorrt": ("not installed",), "rtx": (), "cuda": ()}

    opened: Any = SimpleNamespace(settings={"gpu": "G, sm_89"})

    def fake(name: str) -> Engine:
        def check(machine: Machine) -> EngineCheck:
            return EngineCheck(
                name=name, runs=not checks[name], version="1", reasons=tuple(checks[name])
            )

        def open_it(*_: Any) -> Any:
            if name == "rtx":
                problem = "there are no plans"
                raise EngineError(problem)
            return opened

        return Engine(open_it, check)

    for name in checks:
        monkeypatch.setitem(ENGINES, name, fake(name))
    chosen = choose_engines(bundle, "auto", OPTIONS, machine=workstation)
    assert chosen.engines is opened
    assert chosen.on_gpu
    assert chosen.reason == (
        "engine cuda on G, sm_89: tensorrt: engine tensorrt does not work here: not installed; "
        "rtx: there are no plans"
    )
    checks["cuda"] = ("libcublas.so.13 is missing",)
    chosen = choose_engines(bundle, "auto", OPTIONS, machine=workstation)
    assert not chosen.on_gpu
    assert "libcublas.so.13 is missing" in chosen.reason


def test_plans_that_are_not_there_name_the_command(
    bundle: Bundle, workstation: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The real library, the real search for plans; only the look at the GPU is a fake."""
    pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed: c2t[rtx]")
    from c2t.runtime.engines.built import open_plans

    monkeypatch.setenv("C2T_ENGINES", str(tmp_path))
    monkeypatch.setattr(open_plans, "look_at_machine", lambda: workstation)
    works = EngineCheck(name="rtx", runs=True, version="1", reasons=())
    monkeypatch.setitem(ENGINES, "rtx", replace(ENGINES["rtx"], check=lambda machine: works))
    with pytest.raises(EngineError, match="there are no plans of") as caught:
        choose_engines(bundle, "rtx", OPTIONS, machine=workstation)
    assert "c2t build" in caught.value.hint
    assert "--target rtx --gpu sm_89" in caught.value.hint


def test_rtx_is_not_chosen_on_a_gpu_that_it_refuses(workstation: Machine) -> None:
    """An H200 answered a plan of it with "unsupported cc"; the library itself knows its GPUs."""
    pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed: c2t[rtx]")
    hopper = replace(workstation.gpus[0], name="NVIDIA H200", compute_capability="9.0")
    for machine, refused in ((workstation, False), (replace(workstation, gpus=(hopper,)), True)):
        found = ENGINES["rtx"].check(machine)
        assert any("the NVIDIA H200 is sm_90" in r for r in found.reasons) is refused


def test_every_name_has_an_engine() -> None:
    assert {name.value for name in EngineName} == {"auto", *ENGINES}


def test_verify_names_its_engine(bundle: Bundle) -> None:
    assert verify_golden_cells(bundle, "cpu").engine.startswith("onnxruntime-cpu 1.")


@pytest.mark.gpu
@pytest.mark.skipif(bool(look_at_machine().gpu_problem), reason=look_at_machine().gpu_problem)
def test_cuda_gives_the_texts_of_the_cpu(bundle: Bundle) -> None:
    found = verify_golden_cells(bundle, "cuda")
    assert found.engine.startswith("onnxruntime-cuda")
    assert found.differences == ()
