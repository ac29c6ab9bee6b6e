"""What an audit trail is told about the description of a file: who described which cells as what.

A line when the work begins, one for each chunk of cells, and one when the outputs are in place.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from c2t.runtime.audit.line import Action, Details
from c2t.runtime.audit.texts import TextsHash
from c2t.runtime.audit.trail import AuditTrail
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.hashes import sha256_of
from c2t.runtime.describe.description import Description
from c2t.runtime.output.cells_mark import source_sha256, source_states
from c2t.runtime.output.record import Record
from c2t.runtime.output.write import Describe, Run, Summary
from c2t.runtime.system.errors import CellFileError, OutputError

SCOPE = "describe"


class DescribeAudit:
    """The lines about one run.

    Args:
        trail: Takes them; None: nothing is said.
        cells: The file of cells, which is hashed.
        reason: Why settings are others than those of the run before.
        chunk_cells: Cells of a line.
    """

    def __init__(
        self, trail: AuditTrail | None, cells: Path, *, reason: str = "", chunk_cells: int
    ) -> None:
        self._trail = trail
        self._cells = cells
        self._file = cells
        self._state = source_states(self._file)  # before anything of it is read
        self._sha256 = ""
        self._reason = reason
        self._chunk_cells = chunk_cells
        self._all = TextsHash()
        self._chunk = TextsHash()

    def start(self, run: Run, bundle: Bundle, engine: str, *, more: Mapping[str, str]) -> None:
        """The work begins; settings of the installation that changed get a line of their own.

        Args:
            run: What is described, with the settings that change a text.
            bundle: With what.
            engine: Its name.
            more: Settings that change no text, and what else is written: groups, embeddings.
        """
        if self._trail is None:
            return
        self._sha256 = source_sha256(self._file)
        signer = bundle.trust.fingerprint if bundle.trust else ""
        settings = {
            "bundle": run.bundle,
            "engine": engine,
            "trusted key": signer or "none",
            "c2t": run.c2t_version,
            **{name: str(value) for name, value in run.about["generation"].items()},
        }
        self._trail.configure(SCOPE, settings, reason=self._reason)
        details = Details(
            scope=SCOPE,
            input=str(self._cells),
            input_sha256=self._sha256,
            bundle=run.bundle,
            signer=signer,
            engine=engine,
            settings={**run.options, **more},
            cells=len(run.rows),
        )
        self._trail.record(Action.start, details)

    def kept(self, records: Iterable[Record]) -> None:
        """Cells that an earlier run of the same kind has described."""
        if self._trail is None:
            return
        for record in records:
            self._all.add(record.cell, record.text, record.error)
            self._chunk.add(record.cell, record.text, record.error)
        self._flush(result="kept from an earlier run")

    def described(self, describe: Describe) -> Describe:
        """The same descriptions; a chunk of them gets a line when its last one was taken."""
        if self._trail is None:
            return describe

        def described(start: int) -> Iterator[Description]:
            for description in describe(start):
                yield description
                error = description.error or None
                self._all.add(str(description.cell), description.text, error)
                self._chunk.add(str(description.cell), description.text, error)
                if self._chunk.cells >= self._chunk_cells:
                    self._flush()

        return described

    @contextmanager
    def saying_all(self) -> Iterator[None]:
        """At the end of the block, or when it fails, the last cells get a line, too."""
        try:
            yield
        finally:
            self._flush()

    def _flush(self, *, result: str = "") -> None:
        """A line about the cells that have none yet."""
        chunk, self._chunk = self._chunk, TextsHash()
        if self._trail is None or not chunk.cells:
            return
        details = Details(
            scope=SCOPE,
            input=str(self._cells),
            first=self._all.cells - chunk.cells,
            cells=chunk.cells,
            failed=chunk.failed,
            text_sha256=chunk.hexdigest(),
            result=result,
        )
        self._trail.record(Action.chunk, details)

    def check_cells(self) -> None:
        """Refuse a file of cells that is not the one that was hashed.

        Raises:
            OutputError: It was written to or exchanged.
        """
        if self._trail is None:
            return
        try:
            same = source_states(self._file) == self._state
        except (OSError, CellFileError):
            same = False
        if not same:
            problem = f"{self._cells} changed while it was described"
            raise OutputError(problem, hint="run again with --restart")

    def stop(self, done: Summary) -> None:
        """All cells were described, and the outputs are in place."""
        if self._trail is None:
            return
        outputs = {name: sha256_of(Path(os.path.realpath(name))) for name in done.outputs}
        details = Details(
            scope=SCOPE,
            input=str(self._cells),
            input_sha256=self._sha256,
            cells=done.cells,
            failed=done.failed,
            text_sha256=self._all.hexdigest(),
            outputs=outputs,
            result="done",
        )
        self._trail.record(Action.stop, details)
