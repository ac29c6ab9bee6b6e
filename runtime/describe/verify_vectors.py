"""Golden vectors computed again: whether a joint space works here as where it was made."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from c2t.runtime.audit.line import Action, Details
from c2t.runtime.audit.trail import AuditTrail
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.cells.encoded_cells import EncodedCells
from c2t.runtime.describe.embedder import Embedder, joined_vectors
from c2t.runtime.engine_protocol import Float32
from c2t.runtime.joint.golden import GoldenVectors, differing, read_golden_vectors
from c2t.runtime.joint.text_tower import TextTowerEngine


@dataclass(frozen=True, kw_only=True)
class VectorVerification:
    """What golden cells and texts gave.

    Attributes:
        bundle: Its digest.
        engine: What ran the graphs.
        files: Files whose SHA-256 was compared; they all agreed, else there is no verification.
        cells: Golden cells that were embedded.
        texts: Golden texts that were.
        differences: What points elsewhere, a sentence each.
    """

    bundle: str
    engine: str
    files: int
    cells: int
    texts: int
    differences: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """What was found, in words."""
        whole = self.cells + self.texts
        return f"{whole - len(self.differences)} of {whole} golden vectors are as expected"


def verify_golden_vectors(bundle: Bundle) -> VectorVerification:
    """Compute the golden vectors of a bundle that was opened with its hashes checked.

    Raises:
        BundleError: It has no joint space, or no golden vectors.
        EngineError: A graph cannot be run.
    """
    golden = read_golden_vectors(bundle)
    engine, of_cells, of_texts = _computed(bundle, golden)
    pairs = (
        ("cell", [cell.vector for cell in golden.cells], of_cells),
        ("text", [text.vector for text in golden.texts], of_texts),
    )
    return VectorVerification(
        bundle=bundle.digest,
        engine=engine,
        files=len(bundle.manifest.files),
        cells=len(golden.cells),
        texts=len(golden.texts),
        differences=tuple(
            f"golden {what} {place} has a cosine of {cosine:.4f} with the expected vector"
            for what, expected, computed in pairs
            for place, cosine in differing(np.array(expected, np.float32), computed)
        ),
    )


def golden_vectors_of(bundle: Bundle, golden: GoldenVectors) -> GoldenVectors:
    """The same cells and texts with the vectors that a bundle gives them.

    Raises:
        EngineError: A graph cannot be run.
    """
    _, of_cells, of_texts = _computed(bundle, golden)
    return GoldenVectors(
        cells=tuple(
            replace(cell, vector=tuple(vector))
            for cell, vector in zip(golden.cells, of_cells.tolist(), strict=True)
        ),
        texts=tuple(
            replace(text, vector=tuple(vector))
            for text, vector in zip(golden.texts, of_texts.tolist(), strict=True)
        ),
    )


def _computed(bundle: Bundle, golden: GoldenVectors) -> tuple[str, Float32, Float32]:
    """The engine, and what it gives golden cells [N, J] and golden texts [M, J]."""
    embedder, tower = Embedder(bundle), TextTowerEngine(bundle)
    cells = EncodedCells.of_tokens([cell.gene_tokens for cell in golden.cells])
    found = joined_vectors(embedder.embed([cells]), embedder)
    assert found.joint is not None
    texts = tower.encode([text.text for text in golden.texts])
    return embedder.engine, found.joint, texts.vectors


def record_vectors(trail: AuditTrail, bundle: Bundle, result: VectorVerification) -> None:
    """Tell an audit trail what was found.

    Raises:
        AuditError: The trail takes no line.
    """
    details = Details(
        scope="verify",
        input=str(bundle.path),
        bundle=result.bundle,
        signer=bundle.trust.fingerprint if bundle.trust else "",
        engine=result.engine,
        cells=result.cells,
        failed=len(result.differences),
        result=result.sentence,
    )
    trail.record(Action.verify, details)
