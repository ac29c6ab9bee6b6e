"""Real cells as a program would send them, and what `c2t describe` says of them."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from c2t.runtime.bundle.bundle import open_bundle
from c2t.runtime.cells.gene_matching import INDEX
from c2t.runtime.cells.reader import open_cells


@dataclass(frozen=True)
class Cells:
    """Cells of a file.

    Args:
        path: The file.
        counted: Each as `{"id": ..., "counts": {gene: count}}`.
        expected: What `describe` wrote of each, by its id.
    """

    path: Path
    counted: list[dict[str, Any]]
    expected: dict[str, dict[str, Any]]

    def wrong(self, results: list[dict[str, Any]]) -> int:
        """How many results differ from those of `describe` in anything but their last digits.

        A confidence is a mean of probabilities whose sixth digit depends on the batch.
        """
        return sum(not _alike(result, self.expected[result["cell"]]) for result in results)


def read_cells(path: Path, bundle: Path, folder: Path, *, limit: int | None = None) -> Cells:
    """Read cells, and describe them with the command line.

    Args:
        path: Raw counts.
        bundle: The model.
        folder: Takes the descriptions.
        limit: Only the first cells.
    """
    counted = []
    with open_cells(path, open_bundle(bundle)) as cells:
        # The names by which `describe` knows the genes: a symbol may mean another one, or none.
        column = cells.gene_report.column
        genes = cells.gene_names(None if column == INDEX else column)
        for rows in cells.rows(0, limit):
            for row in range(rows.shape[0]):
                part = slice(int(rows.indptr[row]), int(rows.indptr[row + 1]))
                pairs = zip(rows.indices[part].tolist(), rows.data[part].tolist(), strict=True)
                counts = {genes[at]: value for at, value in pairs if value and genes[at]}
                counted.append({"id": cells.cell_ids[len(counted)], "counts": counts})
    output = folder / "expected.jsonl"
    command = [sys.executable, "-c", "from c2t.cli import main; main()", "describe"]
    command += [str(bundle), str(path)]
    chosen = [] if limit is None else ["--limit", str(limit)]
    subprocess.run([*command, "-o", str(output), "--force", *chosen], check=True)
    lines = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    assert len({line["cell"] for line in lines}) == len(lines) == len(counted)
    return Cells(path, counted, {line["cell"]: line for line in lines})


def _alike(one: dict[str, Any], other: dict[str, Any]) -> bool:
    for name in ("confidence", "cell_type_confidence"):
        mine, theirs = one[name], other[name]
        if (mine is None) != (theirs is None):
            return False
        if mine is not None and abs(mine - theirs) > 2e-5:
            return False
    return all(one[name] == other[name] for name in ("cell", "text", "genes_used", "error"))
