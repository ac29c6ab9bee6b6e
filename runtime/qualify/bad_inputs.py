"""OQ: what cannot be read as counts over known genes is refused, and said why."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import h5py

from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.cells.counted_cells import CountedCellReader
from c2t.runtime.cells.genes.coverage import USUAL_GENES
from c2t.runtime.cells.reader import open_cells
from c2t.runtime.qualify.checks import Check, judged
from c2t.runtime.system.errors import C2TError

GENES = 40  # of each cell that is tried


def check_bad_inputs(bundle: Bundle, folder: Path) -> list[Check]:
    """Try each bad input.

    Args:
        bundle: An open one.
        folder: An empty one, for files.
    """
    reader = CountedCellReader(bundle)
    takes_any = bundle.manifest.gene_sentence is not None
    names = list(USUAL_GENES[:GENES])
    if not takes_any:
        names = [name.decode() for name in bundle.genes.ensembl_id[:GENES].tolist()]

    def cell(value: float, genes: list[str] = names) -> str:
        counts = {gene: float(n % 5 + 1) for n, gene in enumerate(genes)}
        counts[genes[0]] = value
        read = reader.read([counts], ["cell"])
        return (read.cells.errors[0] if read.cells.errors else None) or ""

    def file(path: Path) -> str:
        with open_cells(path, bundle):
            return ""

    cases: dict[str, Callable[[], str]] = {
        "a file that is not there": lambda: file(folder / "nowhere.h5ad"),
        "a text called .h5ad": lambda: file(_text(folder)),
        "an .h5ad file cut off in the middle": lambda: file(_cut(folder)),
        "an .h5ad file without counts": lambda: file(_empty(folder)),
        "a negative count": lambda: cell(-1.0),
        "a count that is no number": lambda: cell(math.nan),
    }
    if not takes_any:
        strange = [f"no-gene-{n}" for n in range(GENES)]
        cases["genes that the bundle does not know"] = lambda: cell(1.0, strange)
    return [_judge(name, case) for name, case in cases.items()]


def _judge(name: str, case: Callable[[], str]) -> Check:
    try:
        said = case()
    except C2TError as error:
        said = error.problem
    return judged(
        "OQ",
        f"refuses {name}",
        expected="refused, with the reason",
        actual=f"refused: {said}" if said else "taken for cells",
        passed=bool(said),
    )


def _text(folder: Path) -> Path:
    path = folder / "text.h5ad"
    path.write_text("cell,gene,count\n", encoding="ascii", newline="")
    return path


def _empty(folder: Path) -> Path:
    path = folder / "empty.h5ad"
    with h5py.File(path, "w") as file:
        file.create_group("obs")
    return path


def _cut(folder: Path) -> Path:
    path = folder / "cut.h5ad"
    with h5py.File(path, "w") as file:
        file.create_dataset("X", data=[[1.0] * 1000] * 10)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path
