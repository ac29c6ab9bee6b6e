"""Which engine describes cells: the one that is named, or the best that is installed and works.

One decision: nothing falls back in silence. A named engine that does not work is an error with its
reasons; a choice comes with a sentence that says what was passed over, and why.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.engine_protocol import EngineOptions, Engines
from c2t.runtime.engines.check import check_engine, gpu_reasons
from c2t.runtime.engines.cpu.encoder import open_engines
from c2t.runtime.system.errors import C2TError, EngineError
from c2t.runtime.system.machine import Machine, look_at_machine
from c2t.runtime.system.timing import StageClock

AUTO = "auto"
# The best first, then the CPU. ONNX Runtime's TensorRT provider is not among them: its first start
# takes minutes.
GPU_ORDER = ("tensorrt", "rtx", "cuda")
CHOICES = (AUTO, "cpu", "cuda", "tensorrt", "rtx", "tensorrt-ep")


@dataclass(frozen=True)
class ChosenEngines:
    """Opened engines, and one sentence on why these."""

    engines: Engines
    on_gpu: bool
    reason: str


def choose_engines(
    bundle: Bundle,
    name: str,
    options: EngineOptions,
    clock: StageClock | None = None,
    *,
    machine: Machine | None = None,
) -> ChosenEngines:
    """Open the engines of a bundle.

    Args:
        bundle: The bundle.
        name: One of `CHOICES`.
        options: How to open them.
        clock: Records the stages.
        machine: This machine, looked at already.

    Raises:
        EngineError: The named engine does not work here, or none does.
    """
    if name not in CHOICES:
        problem = f"there is no engine {name!r}"
        raise EngineError(problem, hint=f"there are {', '.join(CHOICES)}")
    if name == "cpu":
        return ChosenEngines(open_engines(bundle, options, clock), False, "engine cpu: named")
    machine = machine or look_at_machine()
    if name != AUTO:
        return ChosenEngines(
            _open_named(bundle, name, options, clock, machine), True, f"engine {name}: named"
        )
    passed = [f"no GPU engine: {reason}" for reason in gpu_reasons(machine)[:1]]
    for candidate in () if passed else GPU_ORDER:
        try:
            engines = _open_named(bundle, candidate, options, clock, machine)
        except C2TError as error:
            passed.append(f"{candidate}: {error.problem}")
            continue
        why = "; ".join(passed) or "the best there is"
        return ChosenEngines(
            engines, True, f"engine {candidate} on {engines.settings['gpu']}: {why}"
        )
    engines = open_engines(bundle, options, clock)
    return ChosenEngines(engines, False, f"engine cpu: {'; '.join(passed)}")


def _open_named(
    bundle: Bundle,
    name: str,
    options: EngineOptions,
    clock: StageClock | None,
    machine: Machine,
) -> Engines:
    """One engine on a GPU.

    Raises:
        EngineError: It does not work here, with all reasons.
    """
    found = check_engine(name, machine)
    if not found.runs:
        problem = f"engine {name} does not work here: {'; '.join(found.reasons)}"
        raise EngineError(problem, hint="run `c2t doctor`, or describe with --engine cpu")
    return _opener(name)(bundle, options, clock)


def _opener(name: str) -> Callable[[Bundle, EngineOptions, StageClock | None], Engines]:
    """What opens an engine; what it needs is loaded now, not where the CPU does the work."""
    from c2t.runtime.engines.built.folder import plan_cache
    from c2t.runtime.engines.gpu import open as device_engine
    from c2t.runtime.engines.tensorrt_library import Target

    if name == "cuda":
        return device_engine.open_cuda_engines
    if name == "tensorrt-ep":
        return lambda bundle, options, clock: device_engine.open_onnxruntime_engines(
            bundle,
            options,
            clock,
            plans=plan_cache(bundle) / f"onnxruntime-{bundle.digest[:12]}",
        )
    return lambda bundle, options, clock: device_engine.open_plan_engines(
        bundle, Target(name), options, clock
    )
