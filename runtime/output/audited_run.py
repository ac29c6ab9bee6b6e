"""What an audit trail is told of a run that answers all at once: two lines, begun and done.

One decision: results that were printed are hashed as well, as lines of JSON. So a trail says what
came out, whether or not a file holds it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from c2t.runtime.audit.line import Action, Details
from c2t.runtime.audit.trail import AuditTrail
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.hashes import sha256_of
from c2t.runtime.output.cells_mark import source_sha256, source_states
from c2t.runtime.system.errors import CellFileError, OutputError

PRINTED = "standard output"


class RunAudit:
    """The lines about one run.

    Args:
        trail: Takes them; None: nothing is said.
        cells: The file of cells, which is hashed.
        scope: The command.
        reason: Why settings are others than those of the run before.
    """

    def __init__(
        self, trail: AuditTrail | None, cells: Path, *, scope: str, reason: str = ""
    ) -> None:
        self._trail = trail
        self._cells = cells
        self._scope = scope
        self._reason = reason
        self._state = source_states(cells) if trail is not None else ()  # before it is read
        self._sha256 = ""
        self._printed = hashlib.sha256()
        self._has_printed = False

    def start(
        self,
        bundle: Bundle,
        *,
        engine: str,
        cells: int,
        version: str,
        settings: Mapping[str, str],
        files: Mapping[str, Path | None],
    ) -> None:
        """The work begins; settings that changed get a line of their own.

        Args:
            bundle: The model.
            engine: What runs the graphs.
            cells: Chosen cells.
            version: Of c2t.
            settings: All that changes what comes out, by name.
            files: Inputs besides the cells, whose hashes are settings, too.
        """
        if self._trail is None:
            return
        self._sha256 = source_sha256(self._cells)
        signer = bundle.trust.fingerprint if bundle.trust else ""
        hashed = {
            name: sha256_of(Path(os.path.realpath(path)))
            for name, path in files.items()
            if path is not None
        }
        installed = {
            "bundle": bundle.digest,
            "engine": engine,
            "trusted key": signer or "none",
            "c2t": version,
        }
        self._trail.configure(self._scope, installed, reason=self._reason)
        details = Details(
            scope=self._scope,
            input=str(self._cells),
            input_sha256=self._sha256,
            bundle=bundle.digest,
            signer=signer,
            engine=engine,
            settings={**settings, **hashed},
            cells=cells,
        )
        self._trail.record(Action.start, details)

    def printed(self, line: bytes) -> None:
        """A result goes to standard output: as a line of JSON, newline included."""
        self._has_printed = True
        if self._trail is not None:
            self._printed.update(line)

    def check_cells(self) -> None:
        """Refuse a file of cells that is not the one that was hashed.

        Raises:
            OutputError: It was written to or exchanged.
        """
        if self._trail is None:
            return
        try:
            same = source_states(self._cells) == self._state
        except (OSError, CellFileError):
            same = False
        if not same:
            problem = f"{self._cells} changed while it was looked at"
            raise OutputError(problem, hint="run again")

    def stop(self, *, cells: int, failed: int, outputs: Iterable[str]) -> None:
        """All is done, and the outputs are in place."""
        if self._trail is None:
            return
        hashes = {name: sha256_of(Path(os.path.realpath(name))) for name in outputs}
        if self._has_printed:
            hashes[PRINTED] = self._printed.hexdigest()
        details = Details(
            scope=self._scope,
            input=str(self._cells),
            input_sha256=self._sha256,
            cells=cells,
            failed=failed,
            outputs=hashes,
            result="done",
        )
        self._trail.record(Action.stop, details)
