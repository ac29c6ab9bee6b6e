"""Describing with scripted texts: this package as a contestant, one cell or a whole file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Protocol

from c2t.runtime.bench.whole.acceptance import Acceptance
from c2t.runtime.bench.whole.scripted import Script, ScriptedDecoder, ScriptedDrafter
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.cells.encoded_cells import EncodedCells, GeneTokenArray
from c2t.runtime.cells.options import CellOptions
from c2t.runtime.cells.reader import open_cells
from c2t.runtime.describe.worker import Worker
from c2t.runtime.engine_protocol import Engines
from c2t.runtime.fields.open import open_fields
from c2t.runtime.system.errors import EngineError
from c2t.runtime.system.timing import StageClock


class WholePeer(Protocol):
    """Writes texts of a given length for cells, with the bundle's weights."""

    @property
    def name(self) -> str:
        """Its name in a report."""
        ...

    def write(self, cells: Sequence[GeneTokenArray], tokens: int) -> None:
        """Write `tokens` tokens for each of the cells, which are one batch."""
        ...


@dataclass(frozen=True, kw_only=True)
class Written:
    """What was written for some cells.

    Args:
        seconds: For all of them.
        tokens: Text tokens of each that has a text.
    """

    seconds: float
    tokens: tuple[int, ...]


class ScriptedRun:
    """Describes cells with texts and drafts of a script; everything else is what users run.

    Args:
        engines: Opened with `clock`, for `batch_size` rows.
        acceptance: Texts and drafts.
        batch_size: Cells that are written at the same time.
        clock: Records the stages.
    """

    def __init__(
        self,
        bundle: Bundle,
        engines: Engines,
        acceptance: Acceptance,
        *,
        batch_size: int,
        clock: StageClock,
    ) -> None:
        self._bundle = bundle
        self.clock = clock
        generation = bundle.manifest.generation
        script = Script(
            acceptance,
            vocabulary_size=bundle.manifest.decoder.vocabulary_size,
            eos=generation.eos_token_ids,
        )
        self.most_tokens = max(map(len, script.texts))
        self._worker = Worker(
            bundle,
            replace(
                engines,
                decoder=ScriptedDecoder(engines.decoder, script, drafts=acceptance.drafts),
            ),
            replace(generation, max_new_tokens=self.most_tokens, num_beams=1),
            batch_size=batch_size,
            drafter=ScriptedDrafter(script) if acceptance.drafts else None,
            clock=clock,
            fields=open_fields(bundle),
        )

    def cells(self, cells: Sequence[GeneTokenArray]) -> Written:
        """Describe cells whose genes are encoded."""
        return self._timed([EncodedCells.of_tokens(cells)])

    def file(self, path: Path, limit: int) -> Written:
        """Describe the first cells of a file, reading included."""
        since = perf_counter()
        with open_cells(path, self._bundle, CellOptions(limit=limit)) as reader:
            written = self._timed(self.clock.iterate("read", reader.chunks()))
        return replace(written, seconds=perf_counter() - since)

    def _timed(self, chunks: Iterable[EncodedCells]) -> Written:
        since = perf_counter()
        described = list(self._worker.describe(chunks))
        seconds = perf_counter() - since
        errors = [cell.error for cell in described if cell.error and cell.engine_failed]
        if errors:
            raise EngineError(errors[0], hint="run `c2t verify` on the bundle")
        return Written(
            seconds=seconds,
            tokens=tuple(len(cell.tokens) for cell in described if cell.text is not None),
        )
