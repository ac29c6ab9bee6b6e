"""Which parts are in place: a file of lines beside them, until the manifest says so.

The first line is the mark of the run, each other one is about a part, with its checksum. It is held
locked by the run that writes the folder.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType

import msgspec

from c2t.runtime.output.journal import (
    RESTART_HINT,
    RunMark,
    check_same_run,
    checked_line,
    line_content,
    open_locked,
)
from c2t.runtime.output.parts.manifest import PartEntry, check_part
from c2t.runtime.output.parts.plan import PartPlan
from c2t.runtime.system.checked_read import decode_json
from c2t.runtime.system.errors import OutputError

PROGRESS = ".parts.partial"


class PartsProgress:
    """The parts that are in place; use it as a context manager.

    Args:
        folder: Where the parts lie.
        mark: What this run is.
        plan: What parts there are to be.
        restart: Forget what an earlier run left.

    Attributes:
        entries: The parts in place, in their order. Those of an earlier run were hashed again.

    Raises:
        OutputError: They belong to another run, or were changed; or the folder is in use.
    """

    def __init__(self, folder: Path, mark: RunMark, plan: PartPlan, *, restart: bool) -> None:
        self.path = folder / PROGRESS
        self.entries: list[PartEntry] = []
        self._folder, self._plan = folder, plan
        self._stream = open_locked(self.path)
        try:
            if restart:
                self._stream.truncate(0)
            self._resume(mark)
        except BaseException:
            self._stream.close()
            raise

    def __enter__(self) -> PartsProgress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stream.close()

    @property
    def cells(self) -> int:
        """Cells of the parts in place."""
        return sum(entry.rows for entry in self.entries)

    def append(self, entry: PartEntry) -> None:
        """One more part is in place."""
        self._write(checked_line(msgspec.json.encode(entry)))
        self.entries.append(entry)

    def remove(self) -> None:
        """Delete the file: the manifest is in place, or there is nothing to keep."""
        self.path.unlink(missing_ok=True)

    def _write(self, line: bytes) -> None:
        try:
            self._stream.write(line)
            self._stream.flush()
            os.fsync(self._stream.fileno())
        except OSError as error:
            problem = f"cannot write {self.path}: {error.strerror}"
            hint = "make room and run the same command again: it goes on from there"
            raise OutputError(problem, hint=hint) from error

    def _resume(self, mark: RunMark) -> None:
        self._stream.seek(0)
        header = self._stream.readline()
        if not header.endswith(b"\n"):
            self._stream.truncate(0)
            self._write(msgspec.json.encode(mark) + b"\n")
            return
        check_same_run(self.path, header, mark)
        end = len(header)
        for number, line in enumerate(iter(self._stream.readline, b"")):
            if not line.endswith(b"\n"):  # cut off by a kill
                break
            self.entries.append(self._entry(line, number))
            end += len(line)
        self._stream.truncate(end)
        self._stream.seek(end)

    def _entry(self, line: bytes, number: int) -> PartEntry:
        where = f"{self.path}, line {number + 2},"
        entry = decode_json(
            line_content(line, where), PartEntry, name=where, error=OutputError, hint=RESTART_HINT
        )
        planned = self._plan.part(number) if number < len(self._plan) else None
        found = (entry.file, entry.first, entry.rows)
        if planned is None or found != (planned.name, planned.first, planned.cells):
            problem = f"{where} is about another part than the {number + 1:,}-th"
            raise OutputError(problem, hint=RESTART_HINT)
        check_part(self._folder, entry)
        return entry
