"""The files with the names of a matrix's features and cells: one a line, with or without a header.

The number of lines is known from the matrix before they are read, so that is what is read.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import IO

from c2t.runtime.cells.formats.names_table import NamesTable
from c2t.runtime.cells.formats.row_numbers import name_column
from c2t.runtime.cells.formats.streams import lines
from c2t.runtime.system.errors import CellFileError

NAME_LINE_BYTES_MAX = 1 << 16
NAMES_BYTES_MAX = 4 << 30
COLUMNS_MAX = 256
# First fields of a header. A name too many that is none of them is an error: to leave out a name
# would shift all others.
_HEADERS = frozenset(
    (
        *("", "x", "id", "ids", "name", "names", "index", "gene", "genes", "gene_id", "gene_ids"),
        *("gene_name", "gene_names", "gene_symbol", "symbol", "symbols", "feature", "features"),
        *("feature_id", "feature_name", "ensembl_id", "barcode", "barcodes", "cell", "cells"),
        *("cell_id", "cell_ids", "cell_name", "cellid", "bc", "bc_wells", "cell_barcode"),
        "unnamed: 0",
    )
)
# The columns of a file of features without a header, as scanpy's `read_10x_mtx` calls them.
_FEATURE_COLUMNS = ("gene_ids", "gene_symbols", "feature_types")


@dataclass(frozen=True)
class NameLines:
    """The lines of a file of names. They are split when they are used: millions of them are kept.

    Args:
        key: The file.
        separator: Between the fields of a line.
        lines: Without their ends.
    """

    key: str
    separator: str
    lines: list[str]

    def __len__(self) -> int:
        return len(self.lines)

    def fields(self, number: int) -> list[str]:
        """The fields of a line.

        Raises:
            CellFileError: Its quotes do not fit, or it has too many.
        """
        text = self.lines[number]
        fields = (
            _fields(text, self.separator, self.key) if '"' in text else text.split(self.separator)
        )
        if len(fields) > COLUMNS_MAX:
            problem = f"{self.key}, line {number + 1:,} has {len(fields):,} fields"
            raise CellFileError(problem, hint="give a file with one name a line")
        return fields


def read_lines(stream: IO[bytes], key: str, most: int) -> NameLines:
    """Read all lines; empty ones at the end are left out.

    Args:
        stream: The text.
        key: What messages call it.
        most: Lines that it may have.

    Raises:
        CellFileError: It has more, is no UTF-8, or is damaged.
    """
    found: list[str] = []
    held = 0
    for number, line in enumerate(lines(stream, key, longest=NAME_LINE_BYTES_MAX)):
        held += len(line) + 64
        if number > most + 1 or held > NAMES_BYTES_MAX:
            problem = f"{key} has more than {most:,} names, which the matrix has"
            raise CellFileError(problem, hint="take the names of the same run as the matrix")
        try:
            found.append(line.decode().removeprefix("\ufeff" if number == 0 else ""))
        except UnicodeDecodeError as error:
            problem = f"{key}, line {number + 1:,}: {error}"
            raise CellFileError(problem, hint="write the names in UTF-8") from error
    while found and not found[-1].strip():
        found.pop()
    return NameLines(key, "," if ".csv" in key.lower() else "\t", found)


def features_table(found: NameLines, count: int) -> NamesTable:
    """The table of features.

    Args:
        found: The lines of the file.
        count: Features of the matrix.

    Raises:
        CellFileError: There are more or fewer names.
    """
    header, columns = _columns(found, count)
    if header is not None:
        place = name_column(header, columns, distinct=False)
        return NamesTable("var", columns[place], _named(header, columns, place))
    if len(columns) == 1:
        return NamesTable("var", columns[0])
    named = dict(zip(_FEATURE_COLUMNS, columns, strict=False))
    return NamesTable("var", named.pop("gene_symbols"), named)


def cells_table(found: NameLines, count: int) -> NamesTable:
    """The table of cells; columns beside the names are taken where a header calls them.

    Raises:
        CellFileError: There are more or fewer names.
    """
    if len(found) == count:
        names = [
            line if found.separator not in line and '"' not in line else found.fields(number)[0]
            for number, line in enumerate(found.lines)
        ]
        return NamesTable("obs", names)
    header, columns = _columns(found, count)
    header = header or []
    place = name_column(header, columns, distinct=True)
    return NamesTable("obs", columns[place], _named(header, columns, place))


def fits(found: NameLines, count: int) -> bool:
    """Whether lines are so many names, with or without a header."""
    if len(found) == count:
        return True
    return len(found) == count + 1 and found.fields(0)[0].strip().lower() in _HEADERS


def _columns(found: NameLines, count: int) -> tuple[list[str] | None, list[list[str]]]:
    """The header, where there is one, and the columns of the other lines."""
    if not fits(found, count):
        problem = f"{found.key} has {len(found):,} names, but the matrix has {count:,}"
        raise CellFileError(problem, hint="take the names of the same run as the matrix")
    header = None if len(found) == count else found.fields(0)
    rows = [found.fields(number) for number in range(header is not None, len(found))]
    width = max(map(len, rows), default=1)
    if header is not None:
        if rows and all(len(row) == len(header) + 1 for row in rows):  # as R writes names of rows
            header = ["", *header]
        width = max(len(header), 1)
    return header, [[row[n] if n < len(row) else "" for row in rows] for n in range(width)]


def _named(header: list[str], columns: list[list[str]], names: int) -> dict[str, list[str]]:
    """The columns beside the names, and beside numbers of lines that stand before them."""
    return {
        name or f"column {n + 1}": column
        for n, (name, column) in enumerate(zip(header, columns, strict=False))
        if n not in (0, names)
    }


def _fields(text: str, separator: str, key: str) -> list[str]:
    try:
        return next(csv.reader([text], delimiter=separator), [""])
    except csv.Error as error:
        problem = f"{key}: {error}"
        raise CellFileError(problem, hint="write the names without quotes") from error
