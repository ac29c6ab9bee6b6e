"""A model that writes known descriptions of rows, and runs of it into files."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from c2t.runtime.describe.description import Description
from c2t.runtime.output.write import (
    Run,
    describe_to_files,
)

N = 12
AWKWARD = 'a "T cell", from\nblood; café\r\n=1+1'


def description(cell: str, *, genes_used: int, error: str | None = None) -> Description:
    return Description(
        cell=cell,
        text=None,
        confidence=None,
        cell_type_confidence=None,
        genes_used=genes_used,
        error=error,
    )


class FakeModel:
    """Describes rows; stops with `stop` before row `at`, if asked to."""

    def __init__(
        self,
        *,
        rows: Sequence[int] = range(N),
        at: int = -1,
        stop: type[BaseException] = KeyboardInterrupt,
    ) -> None:
        self.rows, self.at, self.stop, self.seen = rows, at, stop, list[int]()

    def __call__(self, start: int) -> Iterator[Description]:
        for row in self.rows[start:]:
            if row == self.at:
                raise self.stop
            self.seen.append(row)
            if row == 3:
                yield description("cell3", genes_used=0, error="no counts")
            else:
                text = AWKWARD if row == 5 else f"text {row}"
                cell_type = None if row == 6 else 0.25
                yield replace(
                    description(f"cell{row}", genes_used=10 + row),
                    text=text,
                    confidence=row / 16,
                    cell_type_confidence=cell_type,
                )


def make_run(cells: Path, **changes: Any) -> Run:
    run = Run(
        cells=cells,
        rows=np.arange(N),
        bundle="b" * 64,
        options={"beams": "1"},
        about={"bundle": "tiny", "bundle_sha256": "b" * 64, "generation": {"num_beams": 1}},
        c2t_version="0",
    )
    return replace(run, **changes)


def write(cells: Path, target: Path, model: FakeModel | None = None, **options: Any) -> Any:
    return describe_to_files(make_run(cells), (target,), model or FakeModel(), **options)
