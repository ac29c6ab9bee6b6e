"""`c2t verify`: does this bundle, on this machine, still say what was written with it?

The hashes show that the files are as written; the golden cells show that the engine here computes
what was meant with them.
"""

from __future__ import annotations

from dataclasses import dataclass

from c2t.runtime.bundle import Bundle, GoldenCell
from c2t.runtime.describe import Describer
from c2t.runtime.description import Description, EncodedCells


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A golden cell that got another text."""

    cell: int
    first_token: int  # position of the first text token that differs
    expected: str
    found: str


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What came out.

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


def verify_golden_cells(bundle: Bundle) -> Verification:
    """Describe the golden cells of a bundle that was opened with its hashes checked.

    Raises:
        EngineError: No engine runs here.
    """
    golden = bundle.golden.cells
    describer = Describer(bundle)
    chunk = EncodedCells.of_tokens([cell.gene_tokens for cell in golden])
    found = zip(golden, describer.describe([chunk]), strict=True)
    return Verification(
        bundle=bundle.digest,
        engine=describer.engines.label,
        files=len(bundle.manifest.files),
        cells=len(golden),
        differences=tuple(
            _difference(number, cell, description)
            for number, (cell, description) in enumerate(found)
            if description.tokens != cell.token_ids
        ),
    )


def _difference(number: int, cell: GoldenCell, description: Description) -> Difference:
    pairs = zip(cell.token_ids, description.tokens, strict=False)
    shorter = min(len(cell.token_ids), len(description.tokens))
    first = next((i for i, (a, b) in enumerate(pairs) if a != b), shorter)
    return Difference(
        cell=number,
        first_token=first,
        expected=cell.text,
        found=description.text or f"(error: {description.error})",
    )
