"""A trail of a service in a test: told by threads, read as lines, and made to fail."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audit_cases import Files

from c2t.runtime.audit import trail as trail_module
from c2t.runtime.audit.texts import TextsHash
from c2t.runtime.serve.room.audit import ServiceAudit
from c2t.runtime.serve.room.messages import CellResult

SECONDS = 60


@dataclass(frozen=True)
class ServiceTrail:
    """A trail, and what tells it."""

    files: Files
    audit: ServiceAudit

    def lines(self, action: str | None = None) -> list[dict[str, Any]]:
        """The lines that are on the disk, of one action or all."""
        found = [json.loads(line) for line in self.files.trail.read_bytes().splitlines()]
        return [line for line in found if action in (None, line["action"])]

    def wait_for(self, action: str, count: int = 1) -> list[dict[str, Any]]:
        """Lines of an action, once there are so many."""
        until = time.monotonic() + SECONDS
        while len(found := self.lines(action)) < count:
            assert time.monotonic() < until, self.lines()
            time.sleep(0.01)
        return found


@contextmanager
def service_trail(folder: Path) -> Iterator[ServiceTrail]:
    """A trail in a folder; at the end it must be as it was written."""
    files = Files.new(folder)
    with files.open() as trail:
        with ServiceAudit(trail) as audit:
            yield ServiceTrail(files, audit)
        assert not files.check().faults


class Disk:
    """Lets lines fail as on a full disk."""

    def __init__(self, monkeypatch: Any) -> None:
        self.full = False
        sync = trail_module.sync

        def failing(handle: int) -> None:
            if self.full:
                raise OSError(28, "No space left on device")
            sync(handle)

        monkeypatch.setattr(trail_module, "sync", failing)


def hash_of(results: list[CellResult]) -> str:
    """The hash that a line must have of these results."""
    texts = TextsHash()
    for result in results:
        texts.add(result.cell, result.text, result.error)
    return texts.hexdigest()
