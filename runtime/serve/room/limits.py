"""How much a room takes at a time, and how it says that this is too much."""

from __future__ import annotations

from dataclasses import dataclass

from c2t.runtime.system.errors import C2TError


class OverloadedError(C2TError):
    """There is too much to do already.

    Attributes:
        retry_after: Seconds after which it makes sense to ask again.
    """

    def __init__(self, problem: str, *, hint: str, retry_after: int) -> None:
        super().__init__(problem, hint=hint)
        self.retry_after = retry_after


class StoppingError(C2TError):
    """The service is about to stop, and takes nothing new."""


class JobCancelled(Exception):  # noqa: N818 - an answer, not an error
    """Whoever wanted these cells does not want them any more."""


@dataclass(frozen=True, kw_only=True)
class RoomLimits:
    """How much a room takes at a time.

    Args:
        waiting_cells: Cells of requests that no worker has begun.
        queues: Different settings; each has workers with buffers of their own.
    """

    waiting_cells: int = 4096
    queues: int = 4
