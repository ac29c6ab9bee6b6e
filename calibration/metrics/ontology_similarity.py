"""Ontology similarity: how near a predicted term is to the true one, by personalised PageRank.

Source: Cell2Text (arXiv 2509.24840), evaluation: PageRank with alpha 0.9 on the is_a graph, edges
parent -> child, started at the true term; a term with score s >= 1e-4 gets log2(s / 1e-4 + 1), any
other 1. PageRank is networkx's: mass that reaches a term without children starts again.

One decision: the scores are the fixed point itself, not an iteration stopped at a tolerance. With
personalisation p, dangling mass and restarts both go to p, so x = alpha A'x + c p for a number c: x
is the series p + alpha A'p + alpha^2 A'A'p + ..., scaled to a sum of 1. In a graph without cycles
the series ends. networkx with its default tolerance (1e-6 for each term) stops early: over all
terms of the Cell Ontology of 2026-03-26 its similarities are up to 0.05 away from these, on average
of the largest of each term 0.002.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from c2t.calibration.metrics.ontology import Ontology

ALPHA = 0.9
SCORE_MIN = 1e-4
UNRELATED = 1.0  # the similarity of a term that is not, or hardly, reached
# What is left of the series is then below this share of its sum.
SERIES_END = 1e-12


class OntologySimilarity:
    """Similarities of terms of one ontology; the scores of each true term are kept."""

    def __init__(self, ontology: Ontology) -> None:
        self.ontology = ontology
        size = len(ontology)
        parents = np.array([parent for parent, _ in ontology.edges], dtype=np.int64)
        children = np.array([child for _, child in ontology.edges], dtype=np.int64)
        degree = np.bincount(parents, minlength=size)
        # Transposed: [child, parent], so that one product moves mass from parents to children.
        self._moves = csr_matrix((1.0 / degree[parents], (children, parents)), (size, size))
        self._scores: dict[int, NDArray[np.float64]] = {}

    def scores(self, start: int) -> NDArray[np.float64]:
        """PageRank [N] of all terms, personalised to one."""
        found = self._scores.get(start)
        if found is None:
            found = self._scores[start] = self._pagerank(start)
        return found

    def similarity(self, true: int, predicted: int | None) -> float:
        """Similarity of a predicted term to the true one; None is a label that is no term."""
        if predicted is None:
            return UNRELATED
        score = float(self.scores(true)[predicted])
        return float(np.log2(score / SCORE_MIN + 1)) if score >= SCORE_MIN else UNRELATED

    def _pagerank(self, start: int) -> NDArray[np.float64]:
        part = np.zeros(len(self.ontology))
        part[start] = 1.0
        total = part.copy()
        # The parts shrink by alpha at least, so this ends in a graph with cycles, too.
        while part.sum() > SERIES_END:
            part = ALPHA * (self._moves @ part)
            total += part
        scores: NDArray[np.float64] = total / total.sum()
        return scores
