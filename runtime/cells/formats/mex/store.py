"""The cells of a MatrixMarket matrix with its names, in a folder or in a zip archive."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from c2t.runtime.cells.formats.archive_members import Members, reading_zip
from c2t.runtime.cells.formats.droplets import droplets_said
from c2t.runtime.cells.formats.mex.find import (
    CELLS_ARE_ROWS,
    MexFiles,
    find_mex,
    open_mex_members,
)
from c2t.runtime.cells.formats.mex.matrix_market import Header, MatrixText
from c2t.runtime.cells.formats.mex.names import (
    NameLines,
    cells_table,
    features_table,
    fits,
    read_lines,
)
from c2t.runtime.cells.formats.names_table import NamesTable
from c2t.runtime.cells.formats.opening import Opening
from c2t.runtime.cells.formats.row_numbers import numbers_said
from c2t.runtime.cells.formats.streams import reading, unpacked
from c2t.runtime.cells.sparse_rows import RowMatrix
from c2t.runtime.system.errors import CellFileError


def open_mex(path: Path, opening: Opening) -> MexStore:
    """Open a folder, a zip archive, or a matrix that lies beside its names.

    Raises:
        CellFileError: There are several matrices, names are missing, or something is damaged.
    """
    members, given = open_mex_members(path)
    with closing(members), reading_zip(members.path):
        return MexStore(path, members, find_mex(members, given, opening))


class MexStore:
    """The cells of a matrix, which is read into a temporary file at once.

    Args:
        path: What was given.
        members: The files; needed no longer when this is made.
        files: The matrix and its names.
    """

    silent_genes = True

    def __init__(self, path: Path, members: Members, files: MexFiles) -> None:
        self.name = path.resolve().name
        self._members = members
        with closing(_OpenText(members, files.matrix)) as text:
            header = text.header
            most = max(header.rows, header.columns)
            genes = self._names(files.genes, most)
            cells = self._names(files.cells, most)
            by_rows = _cells_are_rows(header, genes, cells, files)
            shape = header.rows, header.columns
            n_cells, n_genes = shape if by_rows else shape[::-1]
            self._var = features_table(genes, n_genes)
            self.obs = cells_table(cells, n_cells)
            del genes, cells
            spilled = text.read(cells_are_rows=by_rows)
        self._matrix: RowMatrix = spilled.matrix((n_cells, n_genes))
        said = f"{self.name}/{files.matrix}" if self.name != files.matrix else _with_folder(path)
        self.warnings = droplets_said(said, empty=spilled.empty_rows, barcodes=n_cells)
        self.warnings += numbers_said(self.obs.index(), files.cells)
        if files.left_out:
            self.warnings += (
                f"took {files.matrix}; {files.left_out} beside it holds the empty droplets too",
            )

    @property
    def locations(self) -> list[str]:
        """The only matrix."""
        return ["X"]

    def var(self, location: str) -> NamesTable:
        """The table of features."""
        return self._var

    def matrix(self, location: str) -> RowMatrix:
        """The cells."""
        return self._matrix

    def log_base(self) -> float | None:
        """A MatrixMarket file says nothing of a logarithm."""
        return None

    def uns_text(self, name: str) -> str:
        """It says nothing of the whole."""
        return ""

    def close(self) -> None:
        """Do nothing: the temporary file goes with the matrix."""

    def _names(self, name: str, most: int) -> NameLines:
        with reading(name), self._members.open(name) as stream:
            return read_lines(unpacked(stream), name, most)


def _cells_are_rows(header: Header, genes: NameLines, cells: NameLines, files: MexFiles) -> bool:
    """Which way a matrix lies: by the numbers of names.

    Raises:
        CellFileError: They fit neither way.
    """
    usual = fits(genes, header.rows) and fits(cells, header.columns)
    turned = fits(cells, header.rows) and fits(genes, header.columns)
    if usual and turned:
        return CELLS_ARE_ROWS.match(files.matrix.rpartition("/")[2]) is not None
    if not usual and not turned:
        problem = f"{files.matrix} has {header.rows:,} rows and {header.columns:,} columns, but "
        problem += f"{files.genes} has {len(genes):,} names and {files.cells} {len(cells):,}"
        raise CellFileError(problem, hint="take matrix and names of the same run")
    return turned


class _OpenText(MatrixText):
    """A matrix among members, and the streams that it is read from."""

    def __init__(self, members: Members, name: str) -> None:
        with reading(name):
            self._stream = members.open(name)
            try:
                super().__init__(unpacked(self._stream), name)
            except BaseException:
                self._stream.close()
                raise

    def close(self) -> None:
        """Close the streams."""
        self._stream.close()


def _with_folder(path: Path) -> str:
    return "/".join(path.resolve().parts[-2:])
