"""The states of all jobs in a data base: a row a job, written when its state changes.

One decision: SQLite holds states only. What cells became lies in the job's folder, and how many
are done follows from there, so that nothing is written here for a cell.
"""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import Any

import msgspec

from c2t.runtime.serve.jobs.errors import StorageError
from c2t.runtime.serve.jobs.folders import storing
from c2t.runtime.serve.jobs.state import JobState

LAYOUT = 1  # of the data base
OTHER_HINT = "pass another --jobs-folder, or use the c2t that made this one"
_WHAT = "the jobs' states"
_MAKE = """
CREATE TABLE IF NOT EXISTS job (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    key TEXT UNIQUE,
    request TEXT NOT NULL,
    document BLOB NOT NULL
)
"""


class StoredJob(msgspec.Struct, kw_only=True, frozen=True):
    """What is kept of a job's state.

    Args:
        state: As doors tell it.
        key: The Idempotency-Key that it was made with.
        request: SHA-256 of what was asked for, the cells included.
        input_bytes: Size of the file that was sent; 0 for one that lay here.
        bundle: Digest of the bundle that describes it.
        version: Of the c2t that describes it.
        about: Provenance that goes into results, once it is known.
    """

    state: JobState
    key: str | None
    request: str
    input_bytes: int
    bundle: str
    version: str
    about: dict[str, Any] | None = None


class Store:
    """The data base. Thread-safe.

    Args:
        path: It is made if it is not there.

    Raises:
        StorageError: It cannot be opened or made, or is of another version of c2t.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        with storing(_WHAT):
            self._base = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            try:
                self._open(path)
            except BaseException:
                self._base.close()
                raise

    def all(self) -> list[StoredJob]:
        """All jobs, in the order in which they were made.

        Raises:
            StorageError: The data base is damaged.
        """
        with self._lock, storing(_WHAT):
            rows = self._base.execute("SELECT id, document FROM job ORDER BY number").fetchall()
        jobs = []
        for job_id, document in rows:
            try:
                jobs.append(msgspec.json.decode(document, type=StoredJob))
            except msgspec.MsgspecError as error:
                problem = f"the state of job {job_id} cannot be read: {error}"
                hint = "pass another --jobs-folder, and keep this one if its results matter"
                raise StorageError(problem, hint=hint) from error
        return jobs

    def add(self, job: StoredJob) -> None:
        """Keep a new job; on the disk when this returns.

        Raises:
            StorageError: The disk is full.
        """
        row = (job.state.id, job.key, job.request, msgspec.json.encode(job))
        with self._lock, storing(_WHAT):
            self._base.execute(
                "INSERT INTO job (id, key, request, document) VALUES (?, ?, ?, ?)", row
            )

    def update(self, job: StoredJob) -> None:
        """Keep a job's new state; on the disk when this returns.

        Raises:
            StorageError: The disk is full.
        """
        with self._lock, storing(_WHAT):
            self._base.execute(
                "UPDATE job SET document = ? WHERE id = ?",
                (msgspec.json.encode(job), job.state.id),
            )

    def remove(self, job_id: str) -> None:
        """Forget a job.

        Raises:
            StorageError: The data base cannot be written.
        """
        with self._lock, storing(_WHAT):
            self._base.execute("DELETE FROM job WHERE id = ?", (job_id,))

    def close(self) -> None:
        """Close the data base."""
        with self._lock:
            self._base.close()

    def _open(self, path: Path) -> None:
        self._base.execute("PRAGMA journal_mode = WAL")
        self._base.execute(
            "PRAGMA synchronous = FULL"
        )  # a state that was told outlives a power cut
        (layout,) = self._base.execute("PRAGMA user_version").fetchone()
        if layout not in (0, LAYOUT):
            problem = f"{path} has layout {layout}; this c2t knows {LAYOUT}"
            raise StorageError(problem, hint=OTHER_HINT)
        self._base.execute(_MAKE)
        self._base.execute(f"PRAGMA user_version = {LAYOUT}")
