"""Texts compared with cells in a joint space: the score of each text for each cell, and for groups.

One decision: scores are kept, vectors are not. A million cells and ten texts take 40 MB.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.tasks import SEARCH
from c2t.runtime.cells.encoded_cells import EncodedCells
from c2t.runtime.cells.reader import CellReader
from c2t.runtime.describe.embedder import Embedder
from c2t.runtime.describe.several_texts import several_texts
from c2t.runtime.engine_protocol import EngineOptions
from c2t.runtime.joint.scores import joint_scores
from c2t.runtime.joint.text_tower import EncodedTexts, TextTowerEngine
from c2t.runtime.system.errors import C2TError
from c2t.runtime.system.machine import look_at_machine
from c2t.runtime.system.text_tables import gigabytes


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoredCells:
    """Scores of B cells in their order.

    Attributes:
        ids: Names of the cells.
        index: [B] int64, position of each in its file.
        queries: The N texts.
        scores: [B, N] float32; NaN for a cell with an error.
        errors: Why a cell has none; None where it has.
    """

    ids: Sequence[str]
    index: NDArray[np.int64]
    queries: tuple[str, ...]
    scores: NDArray[np.float32]
    errors: Sequence[str | None]

    def __len__(self) -> int:
        return len(self.ids)

    def best(self, query: int, count: int) -> list[int]:
        """Places of the cells with the highest scores for a text, best first.

        Of equal ones the first comes first. Cells with an error are none of them.
        """
        return best_places(self.scores[:, query], count)


def best_places(scores: NDArray[np.floating], count: int) -> list[int]:
    """Places of the highest of some scores, best first; NaN is none of them."""
    known = np.flatnonzero(~np.isnan(scores))
    order = np.argsort(-scores[known], kind="stable")[:count]
    return [int(place) for place in known[order]]


class Searcher:
    """Compares texts with cells; threads may share it.

    Args:
        bundle: A bundle with a joint space of cells and texts.
        queries: Different texts.
        embedder: Has the encoder; made of the same bundle.
        tower: Has the text tower, likewise; None: opened here.

    Attributes:
        texts: The texts in the space; its `warnings` say which were cut.

    Raises:
        BundleError: The bundle cannot search.
        C2TError: A text is empty, there twice, or far too long; one string instead of several.
        EngineError: The text tower fails.
    """

    def __init__(
        self,
        bundle: Bundle,
        queries: Sequence[str],
        embedder: Embedder,
        *,
        tower: TextTowerEngine | None = None,
    ) -> None:
        bundle.manifest.need_task(SEARCH)
        queries = several_texts(queries, "text")
        repeated = sorted(query for query, count in Counter(queries).items() if count > 1)
        if repeated:
            problem = f"the text {repeated[0][:60]!r} is there twice"
            raise C2TError(problem, hint="give different texts")
        self._embedder = embedder
        self._temperature = bundle.manifest.space.temperature
        tower = tower or TextTowerEngine(bundle, EngineOptions(threads=embedder.options.threads))
        self.texts: EncodedTexts = tower.encode(queries)

    def search(self, cells: CellReader | Iterable[EncodedCells]) -> Iterator[ScoredCells]:
        """Scores of cells, in their order, some at a time.

        Args:
            cells: A cell reader, or chunks of encoded cells.

        Raises:
            CellFileError: The file cannot be read further.
            EngineError: The engine fails for every cell of the first batches.
        """
        for part in self._embedder.embed(cells):
            assert part.joint is not None
            scores = joint_scores(part.joint, self.texts.vectors, self._temperature)
            yield ScoredCells(
                ids=part.ids,
                index=part.index,
                queries=self.texts.texts,
                scores=scores.astype(np.float32),
                errors=part.errors,
            )


def joined_scores(parts: Iterable[ScoredCells], queries: Sequence[str]) -> ScoredCells:
    """The scores of some parts, one part after another, as one; of no part: no cells."""
    found = list(parts)
    if not found:
        return ScoredCells(
            ids=[],
            index=np.zeros(0, np.int64),
            queries=tuple(queries),
            scores=np.zeros((0, len(queries)), np.float32),
            errors=[],
        )
    return ScoredCells(
        ids=[name for part in found for name in part.ids],
        index=np.concatenate([part.index for part in found]),
        queries=found[0].queries,
        scores=np.concatenate([part.scores for part in found]),
        errors=[error for part in found for error in part.errors],
    )


def check_memory(cells: int, numbers: int, *, what: str) -> None:
    """Refuse results that would take more than half of this machine's memory.

    Args:
        cells: How many.
        numbers: float32 that are kept of each.
        what: What they are, in words.

    Raises:
        C2TError: They would.
    """
    need, memory = 4 * cells * numbers, look_at_machine().memory_bytes
    if memory and need > memory // 2:
        problem = (
            f"{what} of {cells:,} cells need {gigabytes(need)} of memory; this machine has "
            f"{gigabytes(memory)}"
        )
        raise C2TError(problem, hint="take some of the cells at a time, with --cells")
