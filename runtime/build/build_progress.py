"""How far a build is: TensorRT's nested phases as one number, and Ctrl-C heard in between.

One decision: a phase of n steps is worth the step of its parent that it is in, and each of its own
steps an n-th of that. So a bar never runs back, whatever phases a version of TensorRT has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from c2t.runtime.engines.tensorrt_library import TensorRT
from c2t.runtime.system.progress import Advance

WHOLE = 1000  # units of a bar


@dataclass
class _Phase:
    steps: int
    parent: str | None
    done: int = 0


class Phases:
    """The tree of phases that are being worked on.

    Args:
        advance: Told about each new unit of `WHOLE`.
    """

    def __init__(self, advance: Advance) -> None:
        self._advance = advance
        self._phases: dict[str, _Phase] = {}
        self._shown = 0

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """A phase of so many steps begins."""
        self._phases[name] = _Phase(max(1, steps), parent)

    def step(self, name: str) -> None:
        """A step of a phase is done."""
        phase = self._phases.get(name)
        if phase is not None:
            phase.done = min(phase.done + 1, phase.steps)
            self._show(phase)

    def finish(self, name: str) -> None:
        """A phase is done."""
        self._phases.pop(name, None)

    def _show(self, phase: _Phase) -> None:
        share, inner = 0.0, phase
        while True:
            share = (inner.done + share) / inner.steps
            outer = None if inner.parent is None else self._phases.get(inner.parent)
            if outer is None:
                break
            inner = outer
        units = int(min(share, 1.0) * WHOLE)
        if units > self._shown:
            self._advance(units - self._shown)
            self._shown = units


def progress_monitor(library: TensorRT, phases: Phases) -> Any:
    """TensorRT's progress monitor; `stopped` holds what interrupted the build, if anything did.

    Args:
        library: TensorRT.
        phases: Told of every step.
    """

    class Monitor(library.module.IProgressMonitor):  # type: ignore[name-defined, misc]  # known at run time
        def __init__(self) -> None:
            super().__init__()
            self.stopped: BaseException | None = None

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            phases.start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            try:
                phases.step(phase_name)
            except BaseException as stop:  # Ctrl-C: no exception may pass through the builder
                self.stopped = self.stopped or stop
            return self.stopped is None

        def phase_finish(self, phase_name: str) -> None:
            phases.finish(phase_name)

    return Monitor()
