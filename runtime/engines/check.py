"""Whether an engine would run here, and all reasons why it would not.

One decision: an engine counts only after a small real run. A package that merely exists may be a
stray folder of that name on the path, or may lack a library that it needs.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from c2t.runtime.engines.gpu.onnxruntime_graph import (
    PROVIDER,
    TENSORRT_PROVIDER,
    load_cuda_libraries,
)
from c2t.runtime.engines.onnxruntime_library import load_onnxruntime, onnxruntime_errors
from c2t.runtime.engines.tensorrt_library import Target, load_tensorrt, message_log, start
from c2t.runtime.system.errors import C2TError, first_line
from c2t.runtime.system.machine import Machine

# A graph of one Identity node, opset 24, which every provider can run.
IDENTITY_GRAPH = bytes.fromhex(
    "080a3a370a100a017812017922084964656e746974791201675a0f0a0178120a0a08080112040a020801620f0a017912"
    "0a0a08080112040a02080142040a001018"
)
GPU_WHEEL = "onnxruntime-gpu"
# CUDA's version of the driver that onnxruntime-gpu 1.31 and the CUDA packages of `[gpu]` need.
LEAST_CUDA = (13, 0)
# The libraries that the CUDA provider is linked with, by the names that the loader looks for.
SONAMES: tuple[str, ...]
TENSORRT_SONAMES: tuple[str, ...]
if sys.platform == "win32":
    SONAMES = ("cudart64_13.dll", "cublas64_13.dll", "cublasLt64_13.dll", "curand64_10.dll")
    TENSORRT_SONAMES = ("nvinfer_10.dll", "nvonnxparser_10.dll", "cudnn64_9.dll")
else:
    SONAMES = ("libcudart.so.13", "libcublas.so.13", "libcublasLt.so.13", "libcurand.so.10")
    TENSORRT_SONAMES = ("libnvinfer.so.10", "libnvonnxparser.so.10", "libcudnn.so.9")
# ONNX Runtime's provider of an engine.
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": PROVIDER, "tensorrt-ep": TENSORRT_PROVIDER}


@dataclass(frozen=True, kw_only=True)
class EngineCheck:
    """Whether an engine would run here, and if not, every reason why."""

    name: str
    runs: bool
    version: str | None
    reasons: tuple[str, ...]


def gpu_reasons(machine: Machine) -> list[str]:
    """Why no engine can use a GPU here; empty where one may."""
    if machine.gpu_problem:
        return [machine.gpu_problem]
    version = tuple(int(part) for part in (machine.cuda_driver or "0").split("."))
    if version < LEAST_CUDA:
        least = ".".join(map(str, LEAST_CUDA))
        return [f"the NVIDIA driver is for CUDA {machine.cuda_driver}; CUDA {least} is needed"]
    return []


def check_onnxruntime(name: str, machine: Machine) -> EngineCheck:
    """Try an engine of ONNX Runtime.

    Args:
        name: A key of `PROVIDERS`.
        machine: This machine.
    """
    version, reasons, provider = None, list[str](), PROVIDERS[name]
    with _reporting(reasons):
        ort = load_onnxruntime()
        version = f"ONNX Runtime {ort.__version__}"
        if provider not in ort.get_available_providers():
            reasons.append(f"this ONNX Runtime was built without it; it needs {GPU_WHEEL}")
        elif name == "cpu":
            _run_identity(ort, provider, reasons)
        else:
            load_cuda_libraries(ort)
            extra = TENSORRT_SONAMES if name == "tensorrt-ep" else ()
            if missing := _missing((*SONAMES, *extra)):
                reasons.append(f"CUDA libraries are missing: {', '.join(missing)}")
            elif not gpu_reasons(machine):
                _run_identity(ort, provider, reasons)
                _run_kernel()
    if name != "cpu":
        reasons += gpu_reasons(machine)
    return EngineCheck(name=name, runs=not reasons, version=version, reasons=tuple(reasons))


def check_tensorrt(name: str, machine: Machine) -> EngineCheck:
    """Try an engine that runs plans.

    Args:
        name: A `Target`.
        machine: This machine.
    """
    version, reasons, target = None, list[str](), Target(name)
    try:
        library = load_tensorrt(target)
    except C2TError:
        reasons.append(f'not installed: pip install "c2t[{name}]"')
    else:
        title = {Target.tensorrt: "TensorRT", Target.rtx: "TensorRT-RTX"}[target]
        version = f"{title} {library.version}"
        if not gpu_reasons(machine):
            here = machine.gpus[0]
            if target is Target.rtx and here.sm not in library.gpus:
                known = ", ".join(library.gpus)
                reasons.append(f"it is for GPUs of {known}; the {here.name} is {here.sm}")
            with _reporting(reasons):
                start(library, "Runtime", message_log(library))
                _run_kernel()
    reasons += gpu_reasons(machine)
    return EngineCheck(name=name, runs=not reasons, version=version, reasons=tuple(reasons))


def _run_identity(ort: Any, provider: str, reasons: list[str]) -> None:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(IDENTITY_GRAPH, options, providers=[provider])
    # ONNX Runtime falls back to the CPU without an error if a CUDA library is missing.
    if provider not in session.get_providers():
        reasons.append("it was asked for, and ONNX Runtime fell back to the CPU")


def _run_kernel() -> None:
    """Compile and run a kernel of ours on the GPU.

    Raises:
        KernelError: It does not compile or run, or gives wrong numbers.
    """
    import numpy as np

    from c2t.kernels.cuda.device import CudaDevice
    from c2t.kernels.cuda.memory import DeviceArray
    from c2t.kernels.errors import KernelError
    from c2t.kernels.tokens.cuda import DeviceTokenTable, launch_token_rows

    device = CudaDevice()
    rows = np.arange(12, dtype=np.float32).reshape(3, 4)
    table = DeviceTokenTable.upload(rows)
    ids = DeviceArray.upload(np.array([2, 0], np.int32))
    out = DeviceArray.allocate((2, 4), np.float32)
    launch_token_rows(
        device,
        table,
        token_ids=ids.pointer,
        given=0,
        out=out.pointer,
        count=2,
        dtype="float32",
    )
    device.synchronize()
    if not np.array_equal(out.download(), rows[[2, 0]]):
        problem = f"a kernel gives wrong numbers on {device.name}"
        raise KernelError(problem, hint="update the NVIDIA driver")


def _missing(sonames: tuple[str, ...]) -> list[str]:
    """The libraries that the loader does not find."""
    missing = []
    for name in sonames:
        try:
            ctypes.CDLL(name)
        except OSError:
            missing.append(name)
    return missing


@contextlib.contextmanager
def _reporting(reasons: list[str]) -> Iterator[None]:
    """Turn what a broken installation raises into a reason."""
    try:
        yield
    except C2TError as error:
        reasons.append(error.problem)
    except (OSError, ImportError) as error:  # a library that does not load
        reasons.append(f"{type(error).__name__}: {first_line(error)}")
    except onnxruntime_errors() as error:
        reasons.append(f"{type(error).__name__}: {first_line(error)}")
