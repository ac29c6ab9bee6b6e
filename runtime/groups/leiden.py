"""Clusters of cells by their embeddings: nearest neighbours, then Leiden, as scanpy does it.

One decision: the neighbours are exact and the seed is fixed, so the same embeddings give the same
clusters. scikit-learn searches in blocks, so memory is bounded.

Sources: Traag, Waltman, van Eck, "From Louvain to Leiden" (2019), as in igraph; `scanpy.tl.leiden`
for the number of neighbours and the objective (modularity with a resolution).
"""

from __future__ import annotations

import random
import threading
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.groups.components import ReadEmbeddings, principal_components
from c2t.runtime.groups.labels import NO_GROUP, GroupLabels, few_cells
from c2t.runtime.system.errors import C2TError

NEIGHBOURS = 15
SEED = 0
# Runs of Leiden, each as long as it improves; the partition of highest modularity is taken, which
# varies less than that of one run.
RUNS = 8
# Clusters of fewer cells than this, on average, are more likely of chance than of types. Of users'
# own groups less is asked: `c2t.runtime.groups.column`.
FEW_CELLS = 5
_generator = threading.Lock()  # igraph has one generator of random numbers for all threads


def check_leiden() -> None:
    """Refuse to compute clusters where that could only fail at the end.

    Raises:
        C2TError: igraph or scikit-learn is not installed.
    """
    _import_libraries()


def leiden_groups(embeddings: ReadEmbeddings, cells: int, *, resolution: float) -> GroupLabels:
    """Clusters of cells.

    Args:
        embeddings: See `c2t.runtime.groups.components.principal_components`.
        cells: How many there are.
        resolution: The higher, the more clusters.

    Returns:
        Groups "0", "1", …, the largest first; cells without an embedding are in none.
    """
    points = principal_components(embeddings, cells)
    usable = (
        np.flatnonzero(np.isfinite(points).all(axis=1)) if points.shape[1] else np.zeros(0, int)
    )
    codes = np.full(cells, NO_GROUP, np.int32)
    found = _clusters(points[usable], resolution)
    # The largest first; of equal ones, that of the first cell.
    sizes = np.bincount(found) if len(found) else np.zeros(0, int)
    first = np.full(len(sizes), cells)
    np.minimum.at(first, found, np.arange(len(found)))
    order = np.lexsort((first, -sizes))
    rank = np.empty(len(order), np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    codes[usable] = rank[found]
    return GroupLabels([str(number) for number in range(len(sizes))], codes)


def leiden_warnings(labels: GroupLabels) -> list[str]:
    """What is doubtful about clusters, a sentence each."""
    few = few_cells(labels, "leiden", least=FEW_CELLS)
    return [f"{sentence}; a lower resolution gives fewer groups" for sentence in few]


def leiden_settings(resolution: float) -> dict[str, Any]:
    """All that the clusters depend on, for the files that hold them."""
    return {
        "resolution": resolution,
        "neighbours": NEIGHBOURS,
        "seed": SEED,
        "runs": RUNS,
        "objective": "modularity",
        "igraph": version("igraph"),
        "scikit_learn": version("scikit-learn"),
    }


def _clusters(points: NDArray[np.float32], resolution: float) -> NDArray[np.int64]:
    """A cluster for each of some points [n, k]."""
    count = len(points)
    if count <= 1:
        return np.zeros(count, np.int64)
    igraph, neighbors = _import_libraries()
    search = neighbors.NearestNeighbors(
        n_neighbors=min(NEIGHBOURS, count - 1), algorithm="brute", n_jobs=-1
    )
    near = search.fit(points).kneighbors(return_distance=False)  # a point is not its own neighbour
    one, other = np.repeat(np.arange(count), near.shape[1]), near.ravel().astype(np.int64)
    # As one number, so that a pair that is found from both ends is an edge once.
    pairs = np.unique(np.minimum(one, other) * count + np.maximum(one, other))
    graph = igraph.Graph(n=count, edges=np.stack(np.divmod(pairs, count), axis=1))
    with _generator:
        best, modularity = np.zeros(count, np.int64), -np.inf
        try:
            for run in range(RUNS):
                igraph.set_random_number_generator(random.Random(SEED + run))
                found = graph.community_leiden("modularity", resolution=resolution, n_iterations=-1)
                # igraph rounds nothing, yet equal partitions may differ in the last bit.
                quality = round(graph.modularity(found.membership, resolution=resolution), 9)
                if quality > modularity:
                    best, modularity = np.array(found.membership, np.int64), quality
        finally:
            igraph.set_random_number_generator(random)
    return best


def _import_libraries() -> tuple[Any, Any]:
    """Import igraph and scikit-learn's neighbours.

    Raises:
        C2TError: One is not installed.
    """
    try:
        import igraph
        import sklearn.neighbors
    except ImportError as error:
        problem = f"clusters need igraph and scikit-learn, which cannot be imported: {error}"
        hint = 'run `pip install "c2t[groups]"`, or name a column of obs with your own clusters'
        raise C2TError(problem, hint=hint) from error
    return igraph, sklearn.neighbors
