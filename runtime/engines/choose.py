"""Which engine describes cells: the one that is named, or the best that is installed and works.

One decision: nothing falls back in silence. A named engine that does not work is an error with its
reasons. A choice comes with a sentence that says which engines were passed over, and why.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.engine_protocol import EngineOptions, Engines
from c2t.runtime.engines.check import gpu_reasons
from c2t.runtime.engines.table import ENGINES, GPU_ORDER, EngineName
from c2t.runtime.system.errors import BundleError, C2TError, EngineError
from c2t.runtime.system.machine import Machine, look_at_machine
from c2t.runtime.system.timing import StageClock


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
        name: One of `EngineName`.
        options: How to open them.
        clock: Records the stages of the encoder.
        machine: This machine; None: look at it.

    Raises:
        EngineError: The named engine does not work here, or none does.
        BundleError: What an engine would read is not as it was written.
    """
    machine = machine or look_at_machine()
    check_engine_name(name, machine)
    if name != EngineName.auto:
        engines = ENGINES[name].open(bundle, options, clock)
        return ChosenEngines(engines, name != EngineName.cpu, f"engine {name}: named")
    passed = [f"no GPU engine: {reason}" for reason in gpu_reasons(machine)[:1]]
    for candidate in () if passed else GPU_ORDER:
        try:
            check_engine_name(candidate, machine)
            engines = ENGINES[candidate].open(bundle, options, clock)
        except BundleError:  # it is damaged, for whatever runs it
            raise
        except C2TError as error:
            passed.append(f"{candidate}: {error.problem}")
            continue
        why = "; ".join(passed) or "the best there is"
        return ChosenEngines(
            engines, True, f"engine {candidate} on {engines.settings['gpu']}: {why}"
        )
    engines = ENGINES["cpu"].open(bundle, options, clock)
    return ChosenEngines(engines, False, f"engine cpu: {'; '.join(passed)}")


def check_engine_name(name: str, machine: Machine | None = None) -> None:
    """Refuse an engine that does not work on this machine, before a bundle is opened for it.

    Args:
        name: One of `EngineName`; what `auto` takes is seen when it is opened.
        machine: This machine; None: look at it.

    Raises:
        EngineError: There is no such engine, or it does not work here, with all reasons.
    """
    names = [engine.value for engine in EngineName]
    if name not in names:
        problem = f"there is no engine {name!r}"
        raise EngineError(problem, hint=f"there are {', '.join(names)}")
    if name in (EngineName.auto, EngineName.cpu):
        return
    checked = ENGINES[name].check(machine or look_at_machine())
    if not checked.runs:
        problem = f"engine {name} does not work here: {'; '.join(checked.reasons)}"
        raise EngineError(problem, hint="run `c2t doctor`, or describe with --engine cpu")


def suits(opened: EngineOptions, wanted: EngineOptions, chosen: ChosenEngines) -> bool:
    """Whether engines that were opened with some options also serve others.

    Args:
        opened: The options of the engines.
        wanted: The others.
        chosen: The engines.
    """
    if replace(opened, rows=wanted.rows, capacity=wanted.capacity) != wanted:
        return False
    if not chosen.engines.fixed_shape:
        return True
    return opened.rows >= wanted.rows and opened.capacity >= wanted.capacity
