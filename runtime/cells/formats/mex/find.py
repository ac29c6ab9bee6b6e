"""Finds a matrix and its names in a folder or a zip archive, whatever its maker calls them.

One decision: names belong to a matrix if they lie beside it, and what stands before their usual
ends ("features.tsv") is what the matrix's name begins with. Where several matrices could be meant,
none is taken: they are listed.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from c2t.runtime.cells.formats.archive_members import (
    FolderMembers,
    Members,
    ZipMembers,
    looked_through,
)
from c2t.runtime.cells.formats.droplets import FILTERED_WORDS, RAW_WORDS, words
from c2t.runtime.cells.formats.opening import PARTS_SHOWN, Opening, check_no_part, choose_part
from c2t.runtime.system.errors import CellFileError

MATRICES = (".mtx", ".mtx.gz")
# The ends of the names of files with names: 10x 3 and 2, DRAGEN, BD, STARsolo, Parse, kallisto,
# alevin-fry, Seurat's exports. The first that is there is taken.
GENES = (
    *("features.tsv", "genes.tsv", "all_genes.csv", "genes.csv", "features.csv", "features.txt"),
    *("genes.txt", "gene_names.txt", "gene_names.csv", "gene_names.tsv", "gene.tsv", "feature.tsv"),
    "cols.txt",
)
CELLS = (
    *("barcodes.tsv", "cell_metadata.csv", "barcodes.csv", "barcodes.txt", "cells.tsv"),
    *("cells.csv", "cells.txt", "barcode.tsv", "cell_names.txt", "rows.txt"),
)
# Matrices whose rows are cells, where the numbers of names do not tell.
CELLS_ARE_ROWS = re.compile(
    r"(?:DGE|count_matrix|.*cells_x_genes|quants_mat)\.mtx(?:\.gz)?\Z", re.IGNORECASE
)
_SIGNS = "._- "


@dataclass(frozen=True, kw_only=True)
class MexFiles:
    """A matrix with its names, by their names among the members.

    Args:
        matrix: The matrix.
        genes: The names of its features.
        cells: The names of its cells.
        left_out: Another matrix of the same cells, with the empty droplets; "" for none.
    """

    matrix: str
    genes: str
    cells: str
    left_out: str = ""


def open_mex_members(path: Path) -> tuple[Members, str | None]:
    """The files among which the names of a matrix are, and the matrix if a file was given."""
    if path.is_dir():
        return looked_through(path), None
    if path.name.endswith(MATRICES):
        return FolderMembers(path.parent, 0), path.name
    with path.open("rb") as stream:
        zipped = stream.read(2) == b"PK"
    return (ZipMembers(path), None) if zipped else (FolderMembers(path.parent, 0), path.name)


def find_mex(members: Members, given: str | None, opening: Opening) -> MexFiles:
    """Choose the matrix, and find its names.

    Args:
        members: From `open_mex_members`.
        given: The matrix that was given as a file.
        opening: Which one is wanted of several.

    Raises:
        CellFileError: There are several matrices and none is asked for, or names are missing.
    """
    names = members.names()
    if given is not None:
        check_no_part(opening, given)
        return _with_names(members.path, given, names)
    matrices = _matrices(names)
    if not matrices:
        problem = f"{members.path} has no matrix: no file in it ends in .mtx or .mtx.gz"
        raise CellFileError(problem, hint="give the folder with matrix.mtx.gz")
    left_out = ""
    if opening.part is None and (pair := _filtered(matrices)) is not None:
        matrix, left_out = pair
    else:
        matrix = _choose(members.path, matrices, opening)
    return _with_names(members.path, matrix, names, left_out)


def possible_files(members: Members, given: str | None) -> list[str]:
    """The matrices that `find_mex` may choose from, and their names, sorted.

    Args:
        members: From `open_mex_members`.
        given: The matrix that was given as a file.
    """
    names, found = members.names(), set()
    for matrix in _matrices(names) if given is None else [given]:
        found.add(matrix)
        with suppress(CellFileError):  # its names are missing
            files = _with_names(members.path, matrix, names)
            found |= {files.genes, files.cells}
    return sorted(found)


def _matrices(names: Sequence[str]) -> list[str]:
    return [name for name in names if name.endswith(MATRICES) and not _is_hidden(name)]


def _choose(path: Path, matrices: Sequence[str], opening: Opening) -> str:
    if len(matrices) == 1 and opening.part is None:
        return matrices[0]
    folders = {name.rpartition("/")[0]: name for name in matrices}
    if opening.part is not None:  # a folder with one matrix, or a matrix
        part = opening.part.rstrip("/")
        inside = [name for name in matrices if name.rpartition("/")[0] == part]
        if len(inside) == 1:
            return inside[0]
        return choose_part(matrices, opening, f"{path} has {len(matrices):,} matrices")
    shown = ", ".join(matrices[:PARTS_SHOWN]) + (", …" if len(matrices) > PARTS_SHOWN else "")
    problem = f"{path} has {len(matrices):,} matrices: {shown}"
    likely = next((name for name in matrices if words(name) & FILTERED_WORDS), matrices[0])
    folder = likely.rpartition("/")[0]
    if path.is_dir():
        one = folder if folder and len(folders) == len(matrices) else likely
        hint = f"give one of them, such as {shlex.quote(str(path / one))}"
    else:
        hint = f"choose one of them: `--part {shlex.quote(likely)}`"
    raise CellFileError(problem, hint=hint)


def _filtered(matrices: Sequence[str]) -> tuple[str, str] | None:
    """The filtered matrix of two that are of one run, and the other one."""
    if len(matrices) != 2:
        return None
    one, other = matrices
    if _without_words(one) != _without_words(other):
        return None
    for matrix, left_out in ((one, other), (other, one)):
        if words(matrix) & FILTERED_WORDS and not words(left_out) & FILTERED_WORDS:
            return matrix, left_out
    return None


def _without_words(name: str) -> list[str]:
    """The words of a name, but those that tell cells from droplets."""
    found = re.findall(r"[A-Za-z0-9]+", name)
    return [word for word in found if word.lower() not in RAW_WORDS | FILTERED_WORDS]


def _with_names(path: Path, matrix: str, names: Sequence[str], left_out: str = "") -> MexFiles:
    folder, _, own = matrix.rpartition("/")
    stem = own.removesuffix(".gz").removesuffix(".mtx")
    beside = [name for name in names if name.rpartition("/")[0] == folder and name != matrix]
    genes, cells = (_companion(stem, beside, ends) for ends in (GENES, CELLS))
    if not genes or not cells:
        missing = "genes" if not genes else "cells"
        usual = "features.tsv.gz" if not genes else "barcodes.tsv.gz"
        problem = f"{path}: beside {matrix} there is no file with the names of its {missing}"
        prefix = re.sub(r"matrix\Z", "", stem)
        prefix = prefix if prefix != stem else ""
        hint = f"put it there, called {prefix}{usual}: one name a line, in the matrix's order"
        raise CellFileError(problem, hint=hint)
    return MexFiles(matrix=matrix, genes=genes, cells=cells, left_out=left_out)


def _companion(stem: str, beside: Sequence[str], ends: Sequence[str]) -> str:
    """The file of names of a matrix: of the longest beginning that they share; "" for none."""
    best, found = (-1, 0, 0), ""
    for name in beside:
        own = name.rpartition("/")[2]
        plain = own.removesuffix(".gz")
        for order, end in enumerate(ends):
            if not plain.lower().endswith(end):
                continue
            prefix = plain[: -len(end)]
            bare = prefix.rstrip(_SIGNS)
            if bare == prefix and prefix:  # "mygenes.tsv" has another end
                continue
            if bare == stem or not bare or (stem.startswith(bare) and stem[len(bare)] in _SIGNS):
                rank = (len(bare), -order, int(own != plain))
                if rank > best:
                    best, found = rank, name
            break
    return found


def _is_hidden(name: str) -> bool:
    """What macOS adds to zip archives."""
    return name.startswith("__MACOSX/") or name.rpartition("/")[2].startswith(".")
