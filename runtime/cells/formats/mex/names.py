"""The files with the names of a matrix's features and cells: one a line, with or without a header.

The number of lines is known from the matrix before they are read, so that is what is read.
"""

from __future__ import annotations

import csv
from typing import IO

from c2t.runtime.cells.formats.names_table import NamesTable
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
    )
)
# The columns of a file of features without a header, as scanpy's `read_10x_mtx` calls them.
_FEATURE_COLUMNS = ("gene_ids", "gene_symbols", "feature_types")


def read_lines(stream: IO[bytes], key: str, most: int) -> list[list[str]]:
    """Read the fields of all lines; empty ones at the end are left out.

    Args:
        stream: The text.
        key: What messages call it.
        most: Lines that it may have.

    Raises:
        CellFileError: It has more, is no UTF-8, or is damaged.
    """
    found: list[list[str]] = []
    held = 0
    separator = "," if ".csv" in key.lower() else "\t"
    for number, line in enumerate(lines(stream, key, longest=NAME_LINE_BYTES_MAX)):
        held += len(line) + 64
        if number > most + 1 or held > NAMES_BYTES_MAX:
            problem = f"{key} has more than {most:,} names, which the matrix has"
            raise CellFileError(problem, hint="take the names of the same run as the matrix")
        try:
            text = line.decode().removeprefix("\ufeff" if number == 0 else "")
        except UnicodeDecodeError as error:
            problem = f"{key}, line {number + 1:,}: {error}"
            raise CellFileError(problem, hint="write the names in UTF-8") from error
        fields = _fields(text, separator, key)
        if len(fields) > COLUMNS_MAX:
            problem = f"{key}, line {number + 1:,} has {len(fields):,} fields"
            raise CellFileError(problem, hint="give a file with one name a line")
        found.append(fields)
    while found and not any(found[-1]):
        found.pop()
    return found


def features_table(found: list[list[str]], count: int, key: str) -> NamesTable:
    """The table of features.

    Args:
        found: The lines of the file.
        count: Features of the matrix.
        key: The file.

    Raises:
        CellFileError: There are more or fewer names.
    """
    header, rows = _split(found, count, key)
    width = max((len(row) for row in rows), default=1)
    columns = [[row[n] if n < len(row) else "" for row in rows] for n in range(width)]
    if header is not None:
        return NamesTable("var", columns[0], dict(_named(header, columns)))
    if width == 1:
        return NamesTable("var", columns[0])
    named = dict(zip(_FEATURE_COLUMNS, columns, strict=False))
    return NamesTable("var", named.pop("gene_symbols"), named)


def cells_table(found: list[list[str]], count: int, key: str) -> NamesTable:
    """The table of cells; columns beside the names are taken where a header calls them.

    Raises:
        CellFileError: There are more or fewer names.
    """
    header, rows = _split(found, count, key)
    names = [row[0] if row else "" for row in rows]
    if header is None:
        return NamesTable("obs", names)
    columns = [[row[n] if n < len(row) else "" for row in rows] for n in range(len(header))]
    return NamesTable("obs", names, dict(_named(header, columns)))


def fits(found: list[list[str]], count: int) -> bool:
    """Whether lines are so many names, with or without a header."""
    return len(found) == count or (len(found) == count + 1 and _is_header(found[0]))


def _is_header(fields: list[str]) -> bool:
    return not fields or fields[0].strip().lower() in _HEADERS


def _split(
    found: list[list[str]], count: int, key: str
) -> tuple[list[str] | None, list[list[str]]]:
    """The header, where there is one, and the other lines."""
    if not fits(found, count):
        problem = f"{key} has {len(found):,} names, but the matrix has {count:,}"
        raise CellFileError(problem, hint="take the names of the same run as the matrix")
    return (None, found) if len(found) == count else (found[0], found[1:])


def _named(header: list[str], columns: list[list[str]]) -> list[tuple[str, list[str]]]:
    return [
        (name or f"column {n + 1}", column)
        for n, (name, column) in enumerate(zip(header, columns, strict=False))
        if n > 0
    ]


def _fields(text: str, separator: str, key: str) -> list[str]:
    if '"' not in text:
        return text.split(separator)
    try:
        return next(csv.reader([text], delimiter=separator), [""])
    except csv.Error as error:
        problem = f"{key}: {error}"
        raise CellFileError(problem, hint="write the names without quotes") from error
