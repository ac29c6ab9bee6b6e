"""Ontology similarity of a predicted term to the true one, by personalised PageRank.

Source: Cell2Text (arXiv 2509.24840), evaluation. PageRank with alpha 0.9 runs on the is_a graph,
edges parent -> child, from the true term. A term with score s >= 1e-4 gets log2(s / 1e-4 + 1), any
other term 1. As in networkx, mass that reaches a term without children restarts at the true term.

One decision: the scores are the exact fixed point, not an iteration stopped at a tolerance. With
personalisation p, dangling mass and restarts both go to p, so x = alpha A'x + c p for a number c.
Hence x is the series p + alpha A'p + alpha^2 A'A'p + ..., scaled to a sum of 1; in a graph without
cycles the series ends. networkx stops early at its default tolerance (1e-6 for each term). Over all
terms of the Cell Ontology of 2026-03-26, its similarities differ from these by up to 0.05; the
largest difference of a term is 0.002 on average.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from c2t.runtime.labels.ontology import Ontology

ALPHA = 0.9
SCORE_MIN = 1e-4
UNRELATED = 1.0  # similarity of a term with a lower score
# Terms of the series below this sum are left out.
SERIES_END = 1e-12


class OntologySimilarity:
    """Similarities of one ontology's terms; caches the scores of each true term."""

    def __init__(self, ontology: Ontology) -> None:
        self.ontology = ontology
        size = len(ontology)
        parents = np.array([parent for parent, _ in ontology.edges], dtype=np.int64)
        children = np.array([child for _, child in ontology.edges], dtype=np.int64)
        degree = np.bincount(parents, minlength=size)
        # [child, parent]: one product moves mass from parents to children.
        self._moves = csr_matrix((1.0 / degree[parents], (children, parents)), (size, size))
        self._scores: dict[int, NDArray[np.float64]] = {}

    def scores(self, start: int) -> NDArray[np.float64]:
        """PageRank [N] of all terms, personalised to one."""
        scores = self._scores.get(start)
        if scores is None:
            scores = self._scores[start] = self._pagerank(start)
        return scores

    def similarity(self, true: int, predicted: int | None) -> float:
        """Similarity of a predicted term to the true one; None: the label is no term."""
        if predicted is None:
            return UNRELATED
        score = float(self.scores(true)[predicted])
        return float(np.log2(score / SCORE_MIN + 1)) if score >= SCORE_MIN else UNRELATED

    def _pagerank(self, start: int) -> NDArray[np.float64]:
        part = np.zeros(len(self.ontology))
        part[start] = 1.0
        total = part.copy()
        # Each part is at most alpha times the one before, so this ends even with cycles.
        while part.sum() > SERIES_END:
            part = ALPHA * (self._moves @ part)
            total += part
        scores: NDArray[np.float64] = total / total.sum()
        return scores
