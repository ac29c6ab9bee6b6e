"""How well texts find cells: the first ten cells of each query, counted by a stated rule.

One decision: where fewer than ten cells are right, only as many are looked at. Else a rare type
could not be found however well it is told from the others.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import hypergeom
from transformers import PreTrainedTokenizerFast

from c2t.examples.demo_search.texts import Query
from c2t.examples.demo_search.tower import JointModel, token_rows

LOOKED_AT = 10


@dataclass(frozen=True, kw_only=True)
class Found:
    """What one query found.

    Attributes:
        query: The phrase.
        right: How many cells are right, of all that were searched.
        looked_at: Cells that were looked at, the best ones.
        right_of_these: How many of them are right.
        majority: More than half of them are.
        any: At least one is.
        majority_by_chance: Chance of a majority for cells drawn blindly.
        any_by_chance: Chance that one drawn blindly is right.
        first: Cell types of the cells looked at, and how many there are of each.
    """

    query: str
    right: int
    looked_at: int
    right_of_these: int
    majority: bool
    any: bool
    majority_by_chance: float
    any_by_chance: float
    first: dict[str, int]


def judge(
    query: Query,
    scores: NDArray[np.floating[Any]],
    right: NDArray[np.bool_],
    names: Sequence[str],
) -> Found:
    """Look at the cells with the highest scores.

    Args:
        query: What was searched for.
        scores: [N] of the cells.
        right: [N] whether each is right.
        names: [N] their types.
    """
    count = int(right.sum())
    looked_at = min(LOOKED_AT, count)
    best = np.argsort(-scores, kind="stable")[:looked_at]
    hits, half = int(right[best].sum()), looked_at // 2
    types = [names[cell] for cell in best]
    blind = hypergeom(len(right), count, looked_at)
    return Found(
        query=query.text,
        right=count,
        looked_at=looked_at,
        right_of_these=hits,
        majority=hits > half,
        any=hits > 0,
        majority_by_chance=round(float(blind.sf(half)), 4),
        any_by_chance=round(float(blind.sf(0)), 4),
        first={name: types.count(name) for name in dict.fromkeys(types)},
    )


def majority_within_sets(
    scores: NDArray[np.floating[Any]], right: NDArray[np.bool_], sets: NDArray[np.str_]
) -> float:
    """Chance that most of the best cells are right, had each been drawn blindly from its data set.

    What a query finds by the data set alone, whose genes and depth anything can tell, is this.

    Args:
        scores: [N] of the cells.
        right: [N] whether each is right.
        sets: [N] names of their data sets.
    """
    looked_at = min(LOOKED_AT, int(right.sum()))
    best = np.argsort(-scores, kind="stable")[:looked_at]
    chances = np.ones(1)  # of 0, 1, 2, ... right ones
    for name in sets[best]:
        share = right[sets == name].mean()
        chances = np.convolve(chances, (1 - share, share))
    return float(chances[looked_at // 2 + 1 :].sum())


def summary(found: Sequence[Found]) -> dict[str, Any]:
    """Shares of the queries, and what chance gives."""
    return {
        "queries": len(found),
        "majority": float(np.mean([f.majority for f in found])),
        "any": float(np.mean([f.any for f in found])),
        "precision": round(float(np.mean([f.right_of_these / f.looked_at for f in found])), 4),
        "majority_by_chance": round(float(np.mean([f.majority_by_chance for f in found])), 4),
        "any_by_chance": round(float(np.mean([f.any_by_chance for f in found])), 4),
        "by_query": [asdict(f) for f in found],
    }


@torch.no_grad()
def text_vectors(
    model: JointModel, tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]
) -> NDArray[np.float32]:
    """Vectors [T, J] of texts."""
    longest = model.text_model.config.max_position_embeddings
    vectors: NDArray[np.float32] = model.texts(
        *token_rows(tokenizer, texts, longest=longest)
    ).numpy()
    return vectors


@torch.no_grad()
def cell_vectors(model: JointModel, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vectors [N, J] of cells."""
    vectors: NDArray[np.float32] = model.cells(torch.from_numpy(embeddings)).numpy()
    return vectors
