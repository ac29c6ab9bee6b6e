"""`c2t verify`: does a bundle write the same texts on this machine as where it was made?

The hashes show that the files are as written. The golden cells show that the engine here computes
the same from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from c2t.runtime.audit.line import Action, Details
from c2t.runtime.audit.trail import AuditTrail
from c2t.runtime.bundle.bundle import Bundle, GoldenCell
from c2t.runtime.bundle.manifest_check import SIZE_MAX
from c2t.runtime.cells.encoded_cells import EncodedCells
from c2t.runtime.describe.cell_vectors import check_tokens, token_limits
from c2t.runtime.describe.describer import DescribeOptions, Describer
from c2t.runtime.describe.description import Description
from c2t.runtime.engines.table import EngineName
from c2t.runtime.system.errors import BundleError
from c2t.runtime.system.progress import tracked


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A golden cell that got another text."""

    cell: int
    first_token: int | None  # position of the first text token that differs; None: only words do
    expected: str
    found: str


@dataclass(frozen=True, kw_only=True)
class Verification:
    """The result of `c2t verify`.

    Attributes:
        files: Files whose SHA-256 was compared; they all agreed, else there is no verification.
        cells: Golden cells that were described.
        differences: Those with another text.
    """

    bundle: str
    engine: str
    files: int
    cells: int
    differences: tuple[Difference, ...]


def verify_golden_cells(bundle: Bundle, engine: str = EngineName.auto) -> Verification:
    """Describe the golden cells of a bundle that was opened with its hashes checked.

    Args:
        engine: See `c2t.runtime.engines.choose`.

    Raises:
        BundleError: There are no golden cells, or they hold tokens that there are not.
        EngineError: No engine runs here.
    """
    golden = bundle.golden.cells
    _check_golden(bundle, golden)
    describer = Describer(bundle, DescribeOptions(engine=engine, temperature=0.0))
    chunk = EncodedCells.of_tokens([cell.gene_tokens for cell in golden])
    described = tracked("verifying", describer.describe([chunk]), len(golden), unit="cells")
    return Verification(
        bundle=bundle.digest,
        engine=describer.engines.label,
        files=len(bundle.manifest.files),
        cells=len(golden),
        differences=tuple(
            _difference(number, cell, description)
            for number, (cell, description) in enumerate(zip(golden, described, strict=True))
            # Texts too: a tokenizer that was exchanged makes other words of the same tokens.
            if (description.tokens, description.text) != (cell.token_ids, cell.text)
        ),
    )


def record_verification(trail: AuditTrail, bundle: Bundle, result: Verification) -> None:
    """Tell an audit trail what was found.

    Raises:
        AuditError: The trail takes no line.
    """
    equal = result.cells - len(result.differences)
    details = Details(
        scope="verify",
        input=str(bundle.path),
        bundle=result.bundle,
        signer=bundle.trust.fingerprint if bundle.trust else "",
        engine=result.engine,
        cells=result.cells,
        failed=len(result.differences),
        result=f"{equal} of {result.cells} golden cells have the expected text",
    )
    trail.record(Action.verify, details)


def _check_golden(bundle: Bundle, golden: Sequence[GoldenCell]) -> None:
    """Refuse golden cells that can show nothing about an engine."""
    hint = "export the bundle again: nothing can be verified with it"
    if not golden:
        problem = "the bundle has no golden cells"
        raise BundleError(problem, hint=hint)
    limits, words = token_limits(bundle.manifest), bundle.manifest.decoder.vocabulary_size
    for number, cell in enumerate(golden):
        text = cell.token_ids
        # A file may hold any number: what is too large for an array is too large for a token.
        tokens = [min(max(token, -1), SIZE_MAX) for token in cell.gene_tokens]
        if wrong := check_tokens(np.array(tokens, np.int64), limits):
            problem = f"golden cell {number} cannot be described: {wrong}"
        elif not text or not (min(text) >= 0 and max(text) < words):
            problem = f"golden cell {number} has no text tokens, or some outside the vocabulary"
        else:
            continue
        raise BundleError(problem, hint=hint)


def _difference(number: int, cell: GoldenCell, description: Description) -> Difference:
    pairs = zip(cell.token_ids, description.tokens, strict=False)
    shorter = min(len(cell.token_ids), len(description.tokens))
    first = next((i for i, (a, b) in enumerate(pairs) if a != b), shorter)
    same = description.tokens == cell.token_ids
    return Difference(
        cell=number,
        first_token=None if same else first,
        expected=cell.text,
        found=description.text or f"(error: {description.error})",
    )
