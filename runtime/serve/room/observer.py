"""What a service can be watched by: a protocol for metrics, and one that watches nothing."""

from __future__ import annotations

from typing import Literal, Protocol

from c2t.runtime.describe.queue import QueueObserver

CellOutcome = Literal["text", "error", "cancelled"]


class Observer(QueueObserver, Protocol):
    """Told what happens in the room; must be quick, and safe in any thread."""

    def cell_done(self, outcome: CellOutcome) -> None:
        """A cell of a request or a job left the room."""

    def rejected(self, reason: str) -> None:
        """A request was turned away: "overloaded", "settings", "stopping"."""


class NoObserver:
    """Watches nothing."""

    def cell_waited(self, seconds: float) -> None:
        """Do nothing."""

    def batch(self, cells: int) -> None:
        """Do nothing."""

    def first_token(self, seconds: float) -> None:
        """Do nothing."""

    def token_time(self, seconds: float) -> None:
        """Do nothing."""

    def cell_done(self, outcome: CellOutcome) -> None:
        """Do nothing."""

    def rejected(self, reason: str) -> None:
        """Do nothing."""


NO_OBSERVER: Observer = NoObserver()
