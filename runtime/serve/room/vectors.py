"""Cells embedded, and compared with texts, for requests.

One decision: they take turns with the other analyses of the room, and read cells as those do.
"""

from __future__ import annotations

from c2t.runtime.bundle.tasks import EMBED, SEARCH
from c2t.runtime.cells.encoded_cells import EncodedCells
from c2t.runtime.describe.embedder import joined_vectors
from c2t.runtime.describe.model import Model
from c2t.runtime.describe.searcher import Searcher, joined_scores
from c2t.runtime.serve.room.analyses import Analyses, Unwanted
from c2t.runtime.serve.room.vector_messages import (
    EmbedRequest,
    EmbedResponse,
    ScoreResult,
    SearchRequest,
    SearchResponse,
    VectorResult,
)
from c2t.runtime.system.errors import EngineError

DIGITS = 6  # of a score


class VectorAnalyses:
    """Embeds and searches with a room's model. Threads may share it.

    Args:
        analyses: Those of the room: has the turns, the reader and the audit trail.
    """

    def __init__(self, analyses: Analyses) -> None:
        self._analyses = analyses

    def embed(self, request: EmbedRequest, *, unwanted: Unwanted = lambda: False) -> EmbedResponse:
        """Vectors of the cells of a request.

        Args:
            request: Cells.
            unwanted: Asked between batches.

        Raises:
            C2TError: The bundle cannot embed; cells that cannot be read; too much to do.
            JobCancelled: Nobody wants the answer.
        """
        analyses = self._analyses
        with analyses.turned(unwanted, EMBED):
            model = analyses.model
            cells, warnings = analyses.read(request.cells, request.settings)
            embedder = model.embedder()
            parts = analyses.until(embedder.embed([cells]), unwanted)
            found = joined_vectors(parts, embedder)
            results = [
                VectorResult(
                    cell=str(name),
                    embedding=None if error else found.embedding[place].tolist(),
                    joint=None if error or found.joint is None else found.joint[place].tolist(),
                    genes_used=int(found.genes_used[place]),
                    error=error,
                )
                for place, (name, error) in enumerate(zip(found.ids, found.errors, strict=True))
            ]
            response = EmbedResponse(results, list(warnings))
            said = f"{len(results):,} cells of a request"
            analyses.record(request, response, "cells were embedded", said, embedder.engine)
        return response

    def search(
        self, request: SearchRequest, *, unwanted: Unwanted = lambda: False
    ) -> SearchResponse:
        """Scores of texts for the cells of a request.

        Args:
            request: Cells and texts.
            unwanted: Asked between batches.

        Raises:
            C2TError: The bundle cannot search; texts or cells that cannot be read; too much to do.
            JobCancelled: Nobody wants the answer.
        """
        analyses = self._analyses
        with analyses.turned(unwanted, SEARCH):
            model = analyses.model
            cells, warnings = analyses.read(request.cells, request.settings)
            embedder = model.embedder()
            searcher = Searcher(model.bundle, request.texts, embedder, tower=model.text_tower)
            found = joined_scores(analyses.until(searcher.search([cells]), unwanted), request.texts)
            results = [
                ScoreResult(
                    cell=str(name),
                    scores=None if error else [round(float(s), DIGITS) for s in own],
                    error=error,
                )
                for name, own, error in zip(found.ids, found.scores, found.errors, strict=True)
            ]
            response = SearchResponse(results, [*warnings, *searcher.texts.warnings])
            said = f"{len(results):,} cells of a request"
            analyses.record(request, response, "texts were searched", said, embedder.engine)
        return response


def warm_up_vectors(model: Model) -> None:
    """Open the towers, and embed a cell and, where there are texts, a text.

    Raises:
        EngineError: No engine runs here, or it fails.
    """
    bundle = model.bundle
    spec = bundle.manifest.gene_input
    ends = [[t] if t is not None else [] for t in (spec.cls_token, spec.eos_token)]
    tokens = [*ends[0], *bundle.genes.token[:1].tolist(), *ends[1]]
    (found,) = model.embedder().embed([EncodedCells.of_tokens([tokens])])
    if found.errors[0]:
        raise EngineError(found.errors[0], hint="run `c2t info` on the bundle")
    if bundle.manifest.space.text is not None:
        model.text_tower.encode(["cell"])
