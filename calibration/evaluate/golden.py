"""The golden cells of a quantised bundle: what it says itself of the cells of its original.

`c2t verify` asks whether a bundle works on another machine as it did where it was made. A quantised
bundle need not say what PyTorch said, so its own texts take the place of those.
"""

from __future__ import annotations

from dataclasses import replace

from c2t.runtime.bundle.bundle import Bundle, GoldenCells
from c2t.runtime.bundle.manifest import GOLDEN_NAME
from c2t.runtime.cells.encoded_cells import EncodedCells
from c2t.runtime.describe.describer import DescribeOptions, Describer
from c2t.runtime.system.checked_read import json_bytes
from c2t.runtime.system.errors import CalibrationError
from c2t.runtime.system.progress import tracked


def write_golden(bundle: Bundle, *, threads: int | None = None) -> int:
    """Describe the golden cells anew and write them; returns how many texts stayed the same.

    Raises:
        CalibrationError: A golden cell can no longer be described.
    """
    golden = bundle.golden.cells
    chunk = EncodedCells.of_tokens([cell.gene_tokens for cell in golden])
    describer = Describer(bundle, DescribeOptions(threads=threads, engine="cpu"))
    cells = []
    described = tracked("expected texts", describer.describe([chunk]), len(golden), unit="cells")
    for cell, found in zip(golden, described, strict=True):
        if found.text is None:
            problem = f"a golden cell cannot be described any more: {found.error}"
            raise CalibrationError(problem)
        cells.append(replace(cell, token_ids=found.tokens, text=found.text))
    (bundle.path / GOLDEN_NAME).write_bytes(json_bytes(GoldenCells(cells=tuple(cells))))
    return sum(a.token_ids == b.token_ids for a, b in zip(golden, cells, strict=True))
