"""Cells described for judging: their texts in memory, and engines that stay open for forcing."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from c2t.calibration.evaluate.comparison import Forced, force
from c2t.calibration.evaluate.teacher_forcing import TeacherForcing
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.cells.encoded_cells import GeneTokenArray
from c2t.runtime.cells.options import CellOptions
from c2t.runtime.cells.reader import CellReader, open_cells
from c2t.runtime.describe.describer import Describer
from c2t.runtime.describe.description import Description
from c2t.runtime.system.errors import EvaluationError
from c2t.runtime.system.progress import progress_bar


@dataclass(frozen=True, eq=False, kw_only=True)
class DescribedCells:
    """A bundle and its descriptions of B cells.

    Args:
        describer: Its open engines.
        descriptions: [B].
        seconds: Time to describe, without opening the engines.
    """

    bundle: Bundle
    describer: Describer
    descriptions: list[Description]
    seconds: float

    @property
    def texts(self) -> list[str | None]:
        """[B]; None where a cell could not be described."""
        return [description.text for description in self.descriptions]

    @property
    def failed(self) -> int:
        """Cells without a text."""
        return sum(text is None for text in self.texts)


def describe_cells(
    bundle: Bundle, describer: Describer, reader: CellReader, *, label: str = "describing"
) -> DescribedCells:
    """Describe all cells of a reader.

    Args:
        describer: Its open engines.
        reader: The cells.
        label: Name of the work on the progress bar.

    Raises:
        EvaluationError: No cell could be described.
        EngineError: The engine fails for all cells.
    """
    descriptions = []
    since = time.perf_counter()
    with progress_bar(label, reader.n_cells, unit="cells") as advance:
        for description in describer.describe(reader):
            descriptions.append(description)
            advance(1)
    described = DescribedCells(
        bundle=bundle,
        describer=describer,
        descriptions=descriptions,
        seconds=time.perf_counter() - since,
    )
    if described.failed == len(descriptions):
        problem = f"none of the {len(descriptions):,} cells could be described"
        problem += f": {descriptions[0].error}" if descriptions else ""
        raise EvaluationError(problem, hint="look at the cells with `c2t describe`")
    return described


def force_cells(
    judged: DescribedCells, reference: DescribedCells, cells: Path, reading: CellOptions
) -> list[Forced | None]:
    """Score the reference's texts with both bundles.

    Args:
        judged: The judged bundle's descriptions of B cells.
        reference: The other bundle's.
        cells: The file of cells.
        reading: How to read it.

    Returns:
        [B] figures; None for a cell without a text in either.
    """
    longest = max(len(description.tokens) for description in reference.descriptions)
    systems = [
        TeacherForcing(d.bundle, d.describer.engines, longest=longest) for d in (judged, reference)
    ]
    pairs = list(zip(judged.descriptions, reference.descriptions, strict=True))
    wanted = [a.text is not None and b.text is not None for a, b in pairs]
    with (
        open_cells(cells, judged.bundle, reading) as first,
        open_cells(cells, reference.bundle, reading) as second,
        progress_bar("comparing", sum(wanted), unit="cells") as advance,
    ):
        texts = [description.tokens for description in reference.descriptions]
        forced = force(systems[0], systems[1], _wanted(first, second, wanted, texts))
        figures: list[Forced | None] = []
        for is_wanted in wanted:
            figures.append(next(forced) if is_wanted else None)
            advance(int(is_wanted))
        return figures


def _wanted(
    first: CellReader, second: CellReader, wanted: Sequence[bool], texts: Sequence[Sequence[int]]
) -> Iterator[tuple[GeneTokenArray, GeneTokenArray, Sequence[int]]]:
    """Gene tokens for both bundles, and the text, of each wanted cell."""
    cell = 0
    for a, b in zip(first.chunks(), second.chunks(), strict=True):
        for judged, reference in zip(a.tokens, b.tokens, strict=True):
            if wanted[cell]:
                yield judged, reference, texts[cell]
            cell += 1
