"""Golden vectors: cells and texts with the vectors that PyTorch gave them when the bundle was made.

One decision: vectors are compared by their angle. What an engine rounds otherwise turns a vector by
little; another model, tokenizer or pooling turns it by much.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.engine_protocol import Float32
from c2t.runtime.system.checked_read import read_json
from c2t.runtime.system.errors import BundleError

GOLDEN_VECTORS = "golden_vectors.json"
BYTES_MAX = 64 << 20
GOLDEN_MAX = 256  # cells, and texts
# Of the cosine; float32 through 12 layers leaves 0.999999.
LEAST_COSINE = 0.9999
_HINT = "export the bundle again"


@dataclass(frozen=True, kw_only=True)
class GoldenCellVector:
    """A cell, and its vector in the joint space, of length 1."""

    gene_tokens: tuple[int, ...]
    vector: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class GoldenTextVector:
    """A text, and its vector in the joint space, of length 1."""

    text: str
    vector: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class GoldenVectors:
    """The contents of `golden_vectors.json`."""

    cells: tuple[GoldenCellVector, ...]
    texts: tuple[GoldenTextVector, ...]


def read_golden_vectors(bundle: Bundle) -> GoldenVectors:
    """The golden vectors of a bundle with a joint space.

    Raises:
        BundleError: There are none, too many, or some that can show nothing.
    """
    golden = read_json(
        bundle.file(GOLDEN_VECTORS),
        GoldenVectors,
        bytes_max=BYTES_MAX,
        error=BundleError,
        hint=_HINT,
    )
    spec, size = bundle.manifest.gene_input, bundle.manifest.space.size
    for count, what in ((len(golden.cells), "cells"), (len(golden.texts), "texts")):
        if not 0 < count <= GOLDEN_MAX:
            problem = f"{GOLDEN_VECTORS} has {count} {what}"
            raise BundleError(problem, hint=_HINT)
    for number, cell in enumerate(golden.cells):
        genes = cell.gene_tokens
        if not 0 < len(genes) <= spec.input_size or max(genes) >= spec.vocabulary_size:
            problem = f"golden cell {number} has gene tokens that the encoder does not take"
            raise BundleError(problem, hint=_HINT)
    for vector in (*(c.vector for c in golden.cells), *(t.vector for t in golden.texts)):
        if len(vector) != size or abs(float(np.linalg.norm(vector)) - 1) > 1e-3:
            problem = f"{GOLDEN_VECTORS} has a vector that is not {size} numbers of length 1"
            raise BundleError(problem, hint=_HINT)
    return golden


def differing(expected: Float32, found: Float32) -> Iterator[tuple[int, float]]:
    """Place and cosine of each vector that points elsewhere.

    Args:
        expected: [N, J] of length 1.
        found: [N, J]; NaN for one that was not computed.
    """
    cosines = (expected.astype(np.float64) * found).sum(axis=1)
    for place, cosine in enumerate(cosines.tolist()):
        if not cosine >= LEAST_COSINE:  # NaN is not
            yield place, cosine
