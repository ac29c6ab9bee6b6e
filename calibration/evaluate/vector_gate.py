"""The gate of bundles that write no text: vectors, scores and what a search finds.

One decision: texts to score with are the bundle's golden ones, so every bundle with a joint space
has some, and nobody has to write any.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from c2t.calibration.evaluate.evaluate_options import EvaluateOptions
from c2t.calibration.evaluate.quality_gate import GateResult
from c2t.calibration.metrics.bootstrap import Bootstrap
from c2t.calibration.results.gate import Tolerance
from c2t.calibration.results.vectors import FOUND, VectorComparison, vector_failures
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.cells.reader import open_cells
from c2t.runtime.describe.embedder import Embedder, EmbedOptions, joined_vectors
from c2t.runtime.engine_protocol import EngineOptions, Float32
from c2t.runtime.joint.golden import read_golden_vectors
from c2t.runtime.joint.scores import joint_scores
from c2t.runtime.joint.text_tower import TextTowerEngine
from c2t.runtime.system.errors import EvaluationError


@dataclass(frozen=True, eq=False, kw_only=True)
class Places:
    """Where one bundle puts the held-out cells and the golden texts.

    Args:
        cells: [B, J]; NaN for a cell that cannot be embedded.
        texts: [N, J].
    """

    cells: Float32
    texts: Float32


class VectorGate:
    """Judges quantised bundles against one reference, whose vectors are computed once.

    Args:
        reference: The float32 bundle, with a joint space.
        options: The held-out cells, and how to read them.
        tolerance: What a bundle may lose: `agreement` is that of the cells' best texts.
        threads: Of the engines; None: all cores.
    """

    def __init__(
        self,
        reference: Bundle,
        options: EvaluateOptions,
        *,
        tolerance: Tolerance,
        threads: int | None,
    ) -> None:
        self._reference, self._options = reference, options
        self._tolerance, self._threads = tolerance, threads
        self._texts = [text.text for text in read_golden_vectors(reference).texts]
        self._expected: Places | None = None

    def judge(self, judged: Bundle) -> GateResult:
        """Judge a quantised bundle on the held-out cells, against the float32 bundle.

        Raises:
            EvaluationError: No cell could be embedded.
            EngineError: No engine runs here.
        """
        if self._expected is None:
            self._expected = self._places(self._reference)
        vectors = compare_vectors(
            self._places(judged),
            self._expected,
            temperature=judged.manifest.space.temperature,
            options=self._options,
        )
        failures = tuple(vector_failures(vectors, self._tolerance))
        return GateResult(
            failures=failures, comparison=None, evaluation=None, examples=(), vectors=vectors
        )

    def _places(self, bundle: Bundle) -> Places:
        embedder = Embedder(bundle, EmbedOptions(threads=self._threads))
        with open_cells(self._options.cells, bundle, self._options.reading) as reader:
            cells = joined_vectors(embedder.embed(reader), embedder)
        assert cells.joint is not None
        tower = TextTowerEngine(bundle, EngineOptions(threads=self._threads))
        return Places(cells=cells.joint, texts=tower.encode(self._texts).vectors)


def compare_vectors(
    judged: Places, reference: Places, *, temperature: float, options: EvaluateOptions
) -> VectorComparison:
    """Compare where two bundles put the same cells and texts.

    Args:
        judged: Of the first bundle.
        reference: Of the second.
        temperature: Of the joint space.
        options: How intervals are computed.

    Raises:
        EvaluationError: Neither could embed any cell.
    """
    good = ~(np.isnan(judged.cells) | np.isnan(reference.cells)).any(axis=1)
    if not good.any():
        problem = "no held-out cell could be embedded"
        raise EvaluationError(problem, hint="look at the cells with `c2t embed`")
    ours, theirs = judged.cells[good], reference.cells[good]
    bootstrap = Bootstrap(len(ours), options.bootstrap)
    cosines = (ours.astype(np.float64) * theirs).sum(axis=1)
    scores = joint_scores(ours, judged.texts, temperature)
    expected = joint_scores(theirs, reference.texts, temperature)
    count = min(FOUND, len(ours))
    found, wanted = (np.argsort(-s, axis=0, kind="stable")[:count] for s in (scores, expected))
    same = [
        len(np.intersect1d(found[:, text], wanted[:, text])) / count
        for text in range(scores.shape[1])
    ]
    return VectorComparison(
        cells=len(ours),
        cosine=bootstrap.mean(cosines),
        least_cosine=float(cosines.min()),
        texts=scores.shape[1],
        same_best_text=bootstrap.mean(
            (scores.argmax(axis=1) == expected.argmax(axis=1)).astype(np.float64)
        ),
        score_difference=float(np.abs(scores - expected).mean()),
        same_found=float(np.mean(same)),
    )
