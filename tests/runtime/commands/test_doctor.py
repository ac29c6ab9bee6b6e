"""The doctor's findings in set-ups that this machine does not have."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from c2t.kernels.native import ISA_NUMBER
from c2t.runtime.commands import doctor
from c2t.runtime.engines import check as engine_checks
from c2t.runtime.system import machine
from c2t.runtime.system.text_tables import render


def text_of(diagnosis: doctor.Diagnosis) -> str:
    return render(doctor.sections(diagnosis))


def test_cpu_engine_runs_a_graph_here() -> None:
    found = doctor.diagnose()
    cpu = found.engines[0]
    assert (cpu.name, cpu.runs, cpu.reasons) == ("cpu", True, ())
    assert cpu.version is not None
    assert cpu.version.startswith("ONNX Runtime 1.")
    assert found.problems == ()
    assert found.kernels.isa in (*ISA_NUMBER, "numpy")
    used = found.kernels.attention
    assert used in (None, "amx", "avx512", "avx2")
    (line,) = (line for line in text_of(found).splitlines() if "INT8 attention" in line)
    assert line.split("INT8 attention")[1].strip() == (
        used or "no: ONNX Runtime's float32 attention"
    )
    assert "problems" not in text_of(found)


def test_both_wheels_are_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_version", lambda name: "1.0")
    found = doctor.diagnose()
    (problem,) = found.problems
    assert "onnxruntime and onnxruntime-gpu are both installed" in problem
    assert "pip uninstall -y onnxruntime onnxruntime-gpu" in problem
    assert problem in text_of(found)


def test_without_onnxruntime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    found = doctor.diagnose()
    assert not any(engine.runs for engine in found.engines)
    assert found.problems == ('no engine runs here: pip install "c2t[cpu]"',)
    assert "ONNX Runtime cannot be imported" in found.engines[0].reasons[0]


def test_silent_fallback_to_the_cpu_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Session:
        def __init__(self, *_: Any, **__: Any) -> None: ...

        def get_providers(self) -> list[str]:
            return ["CPUExecutionProvider"]

    class Options: ...

    fake: Any = ModuleType("onnxruntime")
    fake.__version__ = "1.99"
    fake.get_available_providers = lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    fake.InferenceSession, fake.SessionOptions = Session, Options
    gpu = machine.Gpu(name="G", compute_capability="9.0", memory_bytes=1 << 34)
    here = replace(machine.look_at_machine(), gpus=(gpu,), cuda_driver="13.0", gpu_problem="")
    monkeypatch.setattr(engine_checks, "load_onnxruntime", lambda: fake)
    monkeypatch.setattr(engine_checks, "_missing", lambda sonames: [])
    monkeypatch.setattr(engine_checks, "_run_kernel", lambda: None)
    monkeypatch.setattr(doctor, "look_at_machine", lambda: here)
    found = doctor.diagnose()
    assert "fell back to the CPU" in found.engines[1].reasons[0]
    assert "G, sm 9.0, 17.2 GB" in text_of(found)
    assert "13.0" in text_of(found)


def test_stray_folder_is_not_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tensorrt").mkdir()  # importable, as a namespace package
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    tensorrt = doctor.diagnose().engines[2]
    assert tensorrt.version is None
    assert tensorrt.reasons[0] == 'not installed: pip install "c2t[tensorrt]"'
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)


def test_broken_engine_is_reported_not_thrown(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Any:
        message = "libcublas.so.13: cannot open shared object file\nmore"
        raise OSError(message)

    monkeypatch.setattr(engine_checks, "load_onnxruntime", broken)
    reasons = doctor.diagnose().engines[0].reasons
    assert reasons == ("OSError: libcublas.so.13: cannot open shared object file",)


def test_kernels_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    from c2t.kernels import native
    from c2t.kernels.errors import KernelError

    def refuse() -> None:
        problem = "C2T_FORCE_ISA=sve, which this processor or library lacks"
        raise KernelError(problem, hint="choose one of numpy, scalar")

    monkeypatch.setattr(native, "native_status", refuse)
    (problem,) = doctor.diagnose().problems
    assert problem.startswith("C2T_FORCE_ISA=sve")
    assert "hint: choose one of numpy" in problem


def test_a_driver_that_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = machine.Gpu(name="G", compute_capability="8.9", memory_bytes=1 << 34)
    here = replace(machine.look_at_machine(), gpus=(gpu,), cuda_driver="12.4", gpu_problem="")
    monkeypatch.setattr(doctor, "look_at_machine", lambda: here)
    for engine in doctor.diagnose().engines[1:]:
        assert not engine.runs
        assert engine.reasons[-1] == "the NVIDIA driver is for CUDA 12.4; CUDA 13.0 is needed"


def test_missing_cuda_libraries_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    fake: Any = ModuleType("onnxruntime")
    fake.__version__ = "1.99"
    fake.get_available_providers = lambda: ["CUDAExecutionProvider"]
    monkeypatch.setattr(engine_checks, "load_onnxruntime", lambda: fake)
    monkeypatch.setattr(engine_checks, "SONAMES", ("libnothing.so.13", "libc.so.6"))
    found = engine_checks.check_onnxruntime("cuda", machine.look_at_machine())
    assert found.reasons[0] == "CUDA libraries are missing: libnothing.so.13"
