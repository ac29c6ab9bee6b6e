"""`c2t doctor`: what is installed, which engines would run here, and why the others would not.

One decision: an engine counts only if it did something just now. A package that merely exists may
be a stray folder of that name on the path, or may lack a library that it needs.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib import metadata

import c2t
from c2t.runtime.errors import C2TError
from c2t.runtime.machine import Machine, look_at_machine
from c2t.runtime.onnxruntime_loader import load_onnxruntime
from c2t.runtime.report import Section, gigabytes

# A graph of one Identity node, opset 24: what a provider must at least be able to run.
IDENTITY_GRAPH = bytes.fromhex(
    "080a3a370a100a017812017922084964656e746974791201675a0f0a0178120a0a08080112040a020801620f0a017912"
    "0a0a08080112040a02080142040a001018"
)
CPU_WHEEL, GPU_WHEEL = "onnxruntime", "onnxruntime-gpu"
# Package and what it is for. Versions come from the metadata: torch takes seconds to import.
PACKAGES = (
    ("numpy", "everything"),
    ("anndata", "reading cells"),
    ("h5py", "reading cells"),
    ("tokenizers", "text tokens"),
    (CPU_WHEEL, "engine cpu"),
    (GPU_WHEEL, "engines cpu and cuda"),
    ("tensorrt", "engine tensorrt"),
    ("tensorrt-rtx-cu13", "engine rtx"),
    ("pyarrow", "writing .parquet"),
    ("torch", "export"),
    ("transformers", "export"),
    ("onnx", "export"),
    ("optimum-onnx", "export"),
)
NEXT_REASON = "\n    "  # each on a line of its own, under the first
NOT_YET = f"c2t {c2t.__version__} has no engine for it yet"


@dataclass(frozen=True, kw_only=True)
class Package:
    """One package; `version` is None where it is not installed."""

    name: str
    version: str | None
    purpose: str


@dataclass(frozen=True, kw_only=True)
class EngineCheck:
    """Whether an engine would run here, and if not, every reason why."""

    name: str
    runs: bool
    version: str | None
    reasons: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class KernelCheck:
    """Implementation of the kernels ("avx2", "numpy"; None: none runs), its library, and why."""

    isa: str | None
    library: str | None
    reason: str


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """All that was found.

    Attributes:
        kernels: Which implementation the kernels run with.
        telemetry: State of ONNX Runtime's telemetry.
        problems: What must be mended before cells can be described; none means well.
    """

    c2t: str
    python: str
    machine: Machine
    packages: tuple[Package, ...]
    engines: tuple[EngineCheck, ...]
    kernels: KernelCheck
    telemetry: str
    problems: tuple[str, ...]


def diagnose() -> Diagnosis:
    """Look at everything; takes about a second."""
    machine = look_at_machine()
    packages = tuple(Package(name=n, version=_version(n), purpose=why) for n, why in PACKAGES)
    engines = (
        _onnxruntime("cpu", "CPUExecutionProvider", machine),
        _onnxruntime("cuda", "CUDAExecutionProvider", machine),
        _tensorrt("tensorrt", machine),
        _tensorrt("rtx", machine),
    )
    kernels = _kernels()
    return Diagnosis(
        c2t=c2t.__version__,
        python=f"{platform.python_version()} ({platform.python_implementation()})",
        machine=machine,
        packages=packages,
        engines=engines,
        kernels=kernels,
        telemetry=_telemetry(),
        problems=tuple(_problems(packages, engines, kernels)),
    )


def sections(diagnosis: Diagnosis) -> list[Section]:
    """The diagnosis as a text for people; see `c2t.runtime.report`."""
    machine, kernels = diagnosis.machine, diagnosis.kernels
    free = machine.memory_available_bytes
    memory = gigabytes(machine.memory_bytes)
    rows = [
        ("system", machine.system),
        ("processor", f"{machine.cpu}, {machine.cores} cores"),
        ("instruction sets", ", ".join(machine.cpu_features) or "none of those that matter"),
        ("memory", memory if free is None else f"{memory}, {gigabytes(free)} free"),
    ]
    rows += [
        ("gpu", f"{g.name}, sm {g.compute_capability}, {gigabytes(g.memory_bytes)}")
        for g in machine.gpus
    ] or [("gpu", f"none: {machine.gpu_problem}")]
    if machine.cuda_driver:
        rows.append(("cuda driver", machine.cuda_driver))
    engines = [
        (e.name, f"yes, {e.version}" if e.runs else f"no: {NEXT_REASON.join(e.reasons)}")
        for e in diagnosis.engines
    ]
    packages = [
        (p.name, p.version or f"not installed (for {p.purpose})") for p in diagnosis.packages
    ]
    result = [
        Section("c2t", [("version", diagnosis.c2t), ("python", diagnosis.python)]),
        Section("machine", rows),
        Section("engines that would run here", engines),
        Section("kernels", [("implementation", f"{kernels.isa or 'none'}: {kernels.reason}")]),
        Section("packages", packages),
        Section("privacy", [("telemetry", diagnosis.telemetry)]),
    ]
    if diagnosis.problems:
        result.append(Section("problems", [("", problem) for problem in diagnosis.problems]))
    return result


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _onnxruntime(name: str, provider: str, machine: Machine) -> EngineCheck:
    version, reasons = None, list[str]()
    try:
        ort = load_onnxruntime()
        version = f"ONNX Runtime {ort.__version__}"
        if provider not in ort.get_available_providers():
            reasons.append(f"this ONNX Runtime was built without it; it needs {GPU_WHEEL}")
        elif name != "cuda" or machine.gpus:
            options = ort.SessionOptions()
            options.log_severity_level = 4
            session = ort.InferenceSession(IDENTITY_GRAPH, options, providers=[provider])
            # ONNX Runtime falls back to the CPU without an error if a CUDA library is missing.
            if provider not in session.get_providers():
                reasons.append("it was asked for, and ONNX Runtime fell back to the CPU")
    except C2TError as error:
        reasons.append(error.problem)
    except Exception as error:  # the doctor reports whatever a broken installation raises
        reasons.append(_line(error))
    if name == "cuda":
        reasons += _without_gpu(machine)
    return EngineCheck(name=name, runs=not reasons, version=version, reasons=tuple(reasons))


def _tensorrt(name: str, machine: Machine) -> EngineCheck:
    version, reasons = None, list[str]()
    try:
        if name == "rtx":
            from tensorrt_rtx import Builder, Logger, __version__
        else:
            from tensorrt import Builder, Logger, __version__
        version = f"{'TensorRT-RTX' if name == 'rtx' else 'TensorRT'} {__version__}"
        if machine.gpus and Builder(Logger(Logger.ERROR)) is None:
            reasons.append("its builder does not start")
    except ImportError:
        reasons.append(f'not installed: pip install "c2t[{name}]"')
    except Exception as error:  # as above
        reasons.append(_line(error))
    reasons += _without_gpu(machine)
    return EngineCheck(name=name, runs=False, version=version, reasons=tuple(reasons))


def _without_gpu(machine: Machine) -> list[str]:
    return [*([machine.gpu_problem] if machine.gpu_problem else []), NOT_YET]


def _kernels() -> KernelCheck:
    """Which implementation the kernels run with."""
    from c2t.kernels import native_status

    try:
        status = native_status()
    except C2TError as error:  # an implementation was asked for that is not there
        return KernelCheck(isa=None, library=None, reason=str(error).replace("\n\n", "; "))
    library = None if status.library is None else str(status.library)
    return KernelCheck(isa=status.isa, library=library, reason=status.reason)


def _telemetry() -> str:
    state = os.environ.get("ORT_DISABLE_TELEMETRY")
    return "off (ORT_DISABLE_TELEMETRY=1)" if state == "1" else f"unknown: {state!r}"


def _problems(
    packages: tuple[Package, ...], engines: tuple[EngineCheck, ...], kernels: KernelCheck
) -> list[str]:
    installed = {package.name for package in packages if package.version}
    problems: list[str] = []
    if {CPU_WHEEL, GPU_WHEEL} <= installed:
        problems.append(
            f"{CPU_WHEEL} and {GPU_WHEEL} are both installed and overwrite each other's files: "
            f"pip uninstall -y {CPU_WHEEL} {GPU_WHEEL}, then install one of them"
        )
    if not any(engine.runs for engine in engines):
        problems.append('no engine runs here: pip install "c2t[cpu]"')
    if kernels.isa is None:
        problems.append(kernels.reason)
    return problems


def _line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
