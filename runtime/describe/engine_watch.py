"""Tells an engine that is broken from cells that cannot be described."""

from __future__ import annotations

from c2t.runtime.system.errors import EngineError

# If an engine fails for this many cells before it works for one, the engine is at fault.
FAILURES_AT_START = 3


class EngineWatch:
    """Says when an engine is broken: it failed for the first cells, and never worked."""

    def __init__(self) -> None:
        self._has_worked = False
        self._failures = 0

    def worked(self) -> None:
        """The engine did its work for a cell."""
        self._has_worked = True

    def failed(self, error: str) -> None:
        """The engine failed for a cell.

        Raises:
            EngineError: It has failed for the first few cells, and never worked.
        """
        self._failures += 1
        if not self._has_worked and self._failures >= FAILURES_AT_START:
            problem = f"the first {self._failures} cells all failed: {error}"
            raise EngineError(problem, hint="run `c2t doctor`")
