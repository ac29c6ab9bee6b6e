"""What many clients saw, counted."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from typing import Any


class Tally:
    """Outcomes by door and kind of call. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._outcomes: dict[str, Counter[str]] = defaultdict(Counter)
        self._failures: list[str] = []
        self.cells = 0
        self.wrong = 0

    def saw(self, kind: str, outcome: object, *, cells: int = 0, wrong: int = 0) -> None:
        """A call ended.

        Args:
            kind: Door and kind of call.
            outcome: Its status.
            cells: Cells whose results were compared with those of `describe`.
            wrong: Those that differed.
        """
        with self._lock:
            self._outcomes[kind][str(outcome)] += 1
            self.cells += cells
            self.wrong += wrong

    def failed(self, kind: str, what: object) -> None:
        """Something happened that must not."""
        with self._lock:
            self._outcomes[kind]["FAILED"] += 1
            if len(self._failures) < 50:
                self._failures.append(f"{kind}: {what}"[:500])
                print(self._failures[-1], flush=True)

    @property
    def failures(self) -> list[str]:
        """The first things that must not happen."""
        return list(self._failures)

    def report(self) -> dict[str, Any]:
        """All counts."""
        with self._lock:
            return {
                kind: dict(sorted(seen.items())) for kind, seen in sorted(self._outcomes.items())
            }
