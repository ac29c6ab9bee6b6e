"""A text table of counts (`.csv`, `.tsv`): cells x genes, or genes x cells.

One decision: names say which way it lies. The names of the lines and those of the columns are
looked up among the bundle's genes; where that does not tell, the user is asked.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.cells.formats.hdf5 import ROWS_MAX
from c2t.runtime.cells.formats.names_table import NamesTable
from c2t.runtime.cells.formats.opening import Opening
from c2t.runtime.cells.formats.row_numbers import name_column, numbers_said
from c2t.runtime.cells.formats.spilled import SpilledEntries
from c2t.runtime.cells.formats.streams import lines, reading, unpacked
from c2t.runtime.cells.formats.text_layout import Layout, Line, find_layout, split_line
from c2t.runtime.cells.sparse_rows import RowMatrix
from c2t.runtime.system.errors import CellFileError

CELLS_X_GENES, GENES_X_CELLS = "cells-x-genes", "genes-x-cells"
# Lines that are looked at before the table is read, and their bytes.
LOOKED_AT, LOOKED_AT_BYTES = 200, 16 << 20
NAMES_LOOKED_AT = 2000
NAMES_BYTES_MAX = 4 << 30
# The share of names that must be genes, and how many times more than in the other direction.
SHARE_LEAST, TIMES_MORE = 0.05, 3.0
ENTRIES_AT_ONCE = 1 << 20


def open_text_table(path: Path, opening: Opening) -> TextTableStore:
    """Open a table, packed with gzip or not.

    Raises:
        CellFileError: It is no table of counts, which way it lies is not clear, or it is damaged.
    """
    with reading(str(path)), path.open("rb") as packed:
        return TextTableStore(path.name, lines(unpacked(packed), path.name), opening)


class TextTableStore:
    """The cells of a table, which is read into a temporary file at once.

    Args:
        name: Of the table, for messages.
        text: Its lines; needed no longer when this is made.
        opening: Which way it lies, or how genes are told from cells.
    """

    silent_genes = True

    def __init__(self, name: str, text: Iterator[bytes], opening: Opening) -> None:
        self.name = name
        first = next(text, b"").removeprefix(b"\xef\xbb\xbf")
        rest = (line for line in chain([first], text) if line.strip() and line[:1] != b"#")
        head = next(rest, b"")
        some: list[bytes] = []
        while len(some) < LOOKED_AT and sum(map(len, some)) < LOOKED_AT_BYTES:
            line = next(rest, None)
            if line is None:
                break
            some.append(line)
        layout = find_layout(head, some, name)
        beginnings = [split_line(line, layout, name, n + 2) for n, line in enumerate(some)]
        turned = _is_turned(layout, beginnings, opening, name)
        names, entries = _read(chain(some, rest), layout, name, turned=turned)
        place = name_column([layout.corner, *layout.further], names, distinct=not turned)
        beside = zip(layout.further, names[1:], strict=True)
        of_lines = NamesTable(
            "var" if turned else "obs",
            names[place],
            {title: column for n, (title, column) in enumerate(beside, 1) if n != place},
        )
        of_columns = NamesTable("obs" if turned else "var", layout.columns)
        self.obs, self._var = (of_columns, of_lines) if turned else (of_lines, of_columns)
        self._matrix: RowMatrix = entries.matrix((self.obs.rows, self._var.rows))
        way = "genes x cells" if turned else "cells x genes"
        said = f"{name} is read as a table of {way}: {self.obs.rows:,} cells"
        self.warnings: tuple[str, ...] = (
            f"{said}, {self._var.rows:,} genes",
            *numbers_said(self.obs.index(), name),
        )

    @property
    def locations(self) -> list[str]:
        """The only matrix."""
        return ["X"]

    def var(self, location: str) -> NamesTable:
        """The table of genes."""
        return self._var

    def matrix(self, location: str) -> RowMatrix:
        """The cells."""
        return self._matrix

    def log_base(self) -> float | None:
        """A table says nothing of a logarithm."""
        return None

    def uns_text(self, name: str) -> str:
        """A table says nothing of the whole."""
        return ""

    def close(self) -> None:
        """Do nothing: the temporary file goes with the matrix."""


def _is_turned(layout: Layout, beginnings: Sequence[Line], opening: Opening, name: str) -> bool:
    """Whether lines are genes, and columns cells.

    Raises:
        CellFileError: It is not clear, or the first column holds counts of a gene.
    """
    known = opening.genes_known
    corner = layout.corner
    if known is not None and corner and known([corner]) and _all_numbers(beginnings):
        problem = f"{name}: the first column has no names, but the counts of `{corner}`"
        raise CellFileError(problem, hint="put a column with the names of the cells before it")
    if opening.part is not None:
        if opening.part not in (CELLS_X_GENES, GENES_X_CELLS):
            problem = f"{name} has no part `{opening.part}`"
            hint = f"say which way it lies: `--part {CELLS_X_GENES}` or `--part {GENES_X_CELLS}`"
            raise CellFileError(problem, hint=hint)
        return opening.part == GENES_X_CELLS
    columns = layout.columns[:: max(1, len(layout.columns) // NAMES_LOOKED_AT)]
    by_place = [[line.names[n] for line in beginnings] for n in range(layout.width)]
    of_columns = _share(columns, known)
    of_lines = max(_share(names, known) for names in by_place)
    high, low = max(of_columns, of_lines), min(of_columns, of_lines)
    if high >= SHARE_LEAST and high >= TIMES_MORE * low:
        return of_lines > of_columns
    problem = f"which way {name} lies is not clear: of the names looked at, {of_lines:.0%} of the "
    problem += f"lines (`{by_place[0][0]}`) and {of_columns:.0%} of the columns (`{columns[0]}`) "
    problem += "are genes that the bundle knows"
    hint = f"say it: `--part {CELLS_X_GENES}` (a line a cell) or `--part {GENES_X_CELLS}`"
    raise CellFileError(problem, hint=hint)


def _share(names: Sequence[str], known: Callable[[Sequence[str]], int] | None) -> float:
    return 0.0 if known is None or not names else known(names) / len(names)


def _all_numbers(beginnings: Sequence[Line]) -> bool:
    return all(line.names[0].replace(".", "", 1).isdigit() for line in beginnings)


def _read(
    text: Iterator[bytes], layout: Layout, name: str, *, turned: bool
) -> tuple[list[list[str]], SpilledEntries]:
    """Read all lines: their names, by column in front, and their counts."""
    names: list[list[str]] = [[] for _ in range(layout.width)]
    entries = SpilledEntries(name, "<f4")
    waiting: list[tuple[int, NDArray[np.int64], NDArray[np.float32]]] = []
    count = held = 0
    for number, line in enumerate(text):
        here = split_line(line, layout, name, number + 2)
        held += sum(len(word) + 64 for word in here.names)
        if number >= ROWS_MAX or held > NAMES_BYTES_MAX:
            problem = f"{name} has more than {number:,} lines"
            raise CellFileError(problem, hint="write the cells with anndata's `write_h5ad`")
        for column, word in zip(names, here.names, strict=True):
            column.append(word)
        values = _values(here, layout, name, number + 2)
        places = np.flatnonzero(values)  # NaN too
        waiting.append((number, places, values[places]))
        count += len(places)
        if count > ENTRIES_AT_ONCE:
            _append(entries, waiting, turned=turned)
            waiting, count = [], 0
    _append(entries, waiting, turned=turned)
    if not names[0]:
        problem = f"{name} has a first line of names, and no counts after it"
        raise CellFileError(problem, hint="download or copy it again")
    return names, entries


def _append(
    entries: SpilledEntries,
    waiting: Sequence[tuple[int, NDArray[np.int64], NDArray[np.float32]]],
    *,
    turned: bool,
) -> None:
    if not waiting:
        return
    lengths = [len(places) for _, places, _ in waiting]
    line = np.repeat(np.array([number for number, _, _ in waiting]), lengths)
    column = np.concatenate([places for _, places, _ in waiting])
    values = np.concatenate([values for _, _, values in waiting])
    rows, columns = (column, line) if turned else (line, column)
    entries.append(rows, columns, values)


def _values(line: Line, layout: Layout, name: str, number: int) -> NDArray[np.float32]:
    """The counts of a line."""
    text = line.rest.replace(b'"', b"") if b'"' in line.rest else line.rest
    mark = " " if layout.separator in b"\t " else layout.separator.decode()
    with warnings.catch_warnings():
        # NumPy warns of what is no number, and returns what stands before it.
        warnings.simplefilter("error", DeprecationWarning)
        try:
            values = np.fromstring(text.decode("latin-1"), dtype=np.float64, sep=mark)
        except (DeprecationWarning, ValueError):
            values = np.zeros(0)
    if len(values) != len(layout.columns):
        raise _bad_line(text, layout, name, number)
    with np.errstate(over="ignore"):  # beyond float32 is infinite, and said later
        return values.astype(np.float32)


def _bad_line(text: bytes, layout: Layout, name: str, number: int) -> CellFileError:
    """Say what is wrong with a line of counts."""
    fields = text.split(layout.separator)
    problem = f"{name}, line {number:,} has {len(fields):,} counts for {len(layout.columns):,} "
    problem += "columns"
    hint = "the table is damaged or cut off; write it again"
    if len(fields) == len(layout.columns):
        for field, column in zip(fields, layout.columns, strict=True):
            try:
                float(field)
            except ValueError:
                shown = ascii(field[:40].decode("latin-1"))
                problem = f"{name}, line {number:,}: {shown} in column `{column}` is no number"
                hint = "leave out columns that are no counts, or put them first; write 0 for "
                hint += "nothing, and a point in decimal numbers"
                break
    return CellFileError(problem, hint=hint)
