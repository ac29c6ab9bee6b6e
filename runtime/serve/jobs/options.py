"""Where jobs lie, how large they may be, and how long they are kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from c2t.runtime.system.state_folder import state_folder

DAY = 24 * 3600.0


@dataclass(frozen=True, kw_only=True)
class JobOptions:
    """What the jobs of a service may take.

    Args:
        folder: Where everything about jobs lies. Nobody else may read it, and one service at a
            time may use it.
        allowed: Folders whose files may be described by their path, with what lies below.
        upload_bytes: Most bytes of one file that is sent.
        stored_bytes: Most bytes of all files that were sent and are kept or under way.
        waiting: Most jobs that wait; more are refused.
        running: Jobs that are described at the same time.
        keep_seconds: A job that ended is removed after this time.
        keep_jobs: Most jobs that are kept after they ended; the oldest are removed.
        keep_bytes: Most bytes, inputs and results, of jobs that ended; the oldest are removed.
    """

    folder: Path
    allowed: tuple[Path, ...] = ()
    upload_bytes: int = 16 << 30
    stored_bytes: int = 64 << 30
    waiting: int = 64
    running: int = 1
    keep_seconds: float = 7 * DAY
    keep_jobs: int = 1000
    keep_bytes: int = 64 << 30


def default_folder(digest: str) -> Path:
    """Where the jobs of a bundle lie if nobody says: below the user's folder of states.

    Not in a temporary folder: a job survives a restart of the machine. One bundle's jobs cannot go
    on with another, so each bundle has a folder of its own.

    Args:
        digest: The bundle's.
    """
    return state_folder("jobs", digest[:16])
