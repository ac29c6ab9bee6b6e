"""`c2t doctor`: what is installed, which engines would run here, and why the others would not.

One decision: it judges engines by the checks that choosing one makes (`c2t.runtime.engines.check`),
so that what it says is what happens.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib import metadata

import c2t
from c2t.runtime.engines.check import GPU_WHEEL, EngineCheck
from c2t.runtime.engines.table import ENGINES
from c2t.runtime.system.checkout import checkout_commit
from c2t.runtime.system.errors import C2TError
from c2t.runtime.system.machine import Machine, look_at_machine
from c2t.runtime.system.text_tables import Section, gigabytes

CPU_WHEEL = "onnxruntime"
# Package and what it is for. Versions come from the metadata: torch takes seconds to import.
PACKAGES = (
    ("numpy", "everything"),
    ("h5py", "reading cells"),
    (CPU_WHEEL, "engine cpu"),
    (GPU_WHEEL, "engines cpu and cuda"),
    ("tensorrt", "engine tensorrt"),
    ("tensorrt-rtx-cu13", "engine rtx"),
    ("pyarrow", "writing .parquet"),
    ("torch", "export"),
    ("transformers", "export"),
    ("onnx", "export, calibrate and build"),
    ("optimum-onnx", "export"),
    ("tokenizers", "export"),
    ("anndata", "AnnData objects of your own, and the demo"),
    ("scipy", "evaluate, calibrate and bench"),
)
NEXT_REASON = "\n    "  # each on a line of its own, under the first


@dataclass(frozen=True, kw_only=True)
class Package:
    """One package; `version` is None where it is not installed."""

    name: str
    version: str | None
    purpose: str


@dataclass(frozen=True, kw_only=True)
class KernelCheck:
    """Implementation of the kernels ("avx2", "numpy"; None: none runs), its library, and why.

    Attributes:
        attention: What INT8 attention runs with in INT8 bundles; None: ONNX Runtime's is used.
    """

    isa: str | None
    library: str | None
    reason: str
    attention: str | None


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What is installed here, and what would run.

    Attributes:
        commit: The commit of an unreleased c2t; None where it is installed from a package.
        kernels: Which implementation the kernels run with.
        telemetry: State of ONNX Runtime's telemetry.
        problems: What must be mended before cells can be described; empty where all is well.
    """

    c2t: str
    commit: str | None
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
    engines = tuple(engine.check(machine) for engine in ENGINES.values())
    kernels = _kernels()
    return Diagnosis(
        c2t=c2t.__version__,
        commit=checkout_commit(),
        python=f"{platform.python_version()} ({platform.python_implementation()})",
        machine=machine,
        packages=packages,
        engines=engines,
        kernels=kernels,
        telemetry=_telemetry(),
        problems=tuple(_problems(packages, engines, kernels)),
    )


def sections(diagnosis: Diagnosis) -> list[Section]:
    """The diagnosis as a text for people; see `c2t.runtime.system.text_tables`."""
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
    commit = diagnosis.commit
    version = diagnosis.c2t if commit is None else f"{diagnosis.c2t}, a checkout at {commit[:12]}"
    result = [
        Section("c2t", [("version", version), ("python", diagnosis.python)]),
        Section("machine", rows),
        Section("engines that would run here", engines),
        Section(
            "kernels",
            [
                ("implementation", f"{kernels.isa or 'none'}: {kernels.reason}"),
                ("INT8 attention", kernels.attention or "no: ONNX Runtime's float32 attention"),
            ],
        ),
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


def _kernels() -> KernelCheck:
    """Which implementation the kernels run with."""
    from c2t.kernels.attention.cpu import attention_isa
    from c2t.kernels.native import native_status
    from c2t.runtime.engines.cpu.int8_attention import FAST

    try:
        status, attention = native_status(), attention_isa()
    except C2TError as error:  # an implementation was asked for that is not there
        reason = str(error).replace("\n\n", "; ")
        return KernelCheck(isa=None, library=None, reason=reason, attention=None)
    return KernelCheck(
        isa=status.isa,
        library=None if status.library is None else str(status.library),
        reason=status.reason,
        attention=attention if attention in FAST else None,
    )


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
