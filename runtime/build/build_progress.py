"""How far a build is: TensorRT's nested phases as one number; and what stops a build.

One decision: a phase of n steps counts as the one step of its parent in which it runs, and each of
its own steps as an n-th of that. So a bar never runs back, whatever phases TensorRT has.
"""

from __future__ import annotations

from collections.abc import Callable
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
    """The tree of the phases that have begun and not finished.

    Args:
        advance: Called with the number of new units, of `WHOLE`.
    """

    def __init__(self, advance: Advance) -> None:
        self._advance = advance
        self._phases: dict[str, _Phase] = {}
        self._shown = 0

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """Begin a phase.

        Args:
            name: Its name; also of a phase that came before.
            parent: Name of the phase within which it runs.
            steps: Number of its steps.
        """
        self._phases[name] = _Phase(max(1, steps), parent)

    def step(self, name: str) -> None:
        """Count a step of a phase."""
        phase = self._phases.get(name)
        if phase is not None:
            phase.done = min(phase.done + 1, phase.steps)
            self._show(phase)

    def finish(self, name: str) -> None:
        """End a phase."""
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


def progress_monitor(library: TensorRT, phases: Phases, stopped: Callable[[], bool]) -> Any:
    """A progress monitor for TensorRT.

    Its `failed` is the first exception of counting, which ends the build too: none may pass through
    the builder.

    Args:
        library: TensorRT.
        phases: Counts the steps.
        stopped: Whether the build shall end; asked after each step.
    """

    class Monitor(library.module.IProgressMonitor):  # type: ignore[name-defined, misc]  # known at run time
        def __init__(self) -> None:
            super().__init__()
            self.failed: BaseException | None = None

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._keeping(phases.start, phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            self._keeping(phases.step, phase_name)
            return self.failed is None and not stopped()

        def phase_finish(self, phase_name: str) -> None:
            self._keeping(phases.finish, phase_name)

        def _keeping(self, count: Callable[..., None], *arguments: object) -> None:
            try:
                count(*arguments)
            except BaseException as error:
                self.failed = self.failed or error

    return Monitor()
