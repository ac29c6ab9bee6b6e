"""The matrix of a MatrixMarket file: its header, and its entries in portions of bounded memory.

The format: Boisvert, Pozo, Remington, "The Matrix Market exchange formats", NISTIR 5935. Entries
count from 1. Only "coordinate" matrices of integers or reals, "general", hold counts.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.cells.formats.hdf5 import ROWS_MAX
from c2t.runtime.cells.formats.signature import MATRIX_MARKET
from c2t.runtime.cells.formats.spilled import SpilledEntries, check_room
from c2t.runtime.cells.formats.streams import line_blocks
from c2t.runtime.system.errors import CellFileError

COMMENT_BYTES_MAX = 1 << 20
LINE_BYTES_MAX = 4096
# "1 1 1\n" has 6 bytes, and no number that is written in a matrix has more than 30.
ENTRY_BYTES_MAX = 100
_BLANKS = (b"\n\n", b"\n\r", b"\n ", b"\n\t")  # where a line may have nothing but blanks
MANY_ENTRIES = 20_000_000
ENTRY_BYTES = 12  # in the temporary file
_AGAIN = "it is damaged; download it again, or write it again from its source"


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a MatrixMarket file says of itself.

    Args:
        rows: Rows.
        columns: Columns.
        entries: Entries that are listed.
        whole: Whether its values are said to be integers.
    """

    rows: int
    columns: int
    entries: int
    whole: bool


class MatrixText:
    """A MatrixMarket matrix that is read once, from its start.

    Args:
        stream: The text.
        key: What messages call it.

    Raises:
        CellFileError: It is none, or of a kind that holds no counts.
    """

    def __init__(self, stream: IO[bytes], key: str) -> None:
        self.key = key
        self._blocks = line_blocks(stream, key, longest=COMMENT_BYTES_MAX)
        self._rest = b""
        self.header = self._read_header()

    def entries(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]]:
        """Portions of the entries: rows and columns from 0, and values.

        Raises:
            CellFileError: It is damaged, or has other entries than it says.
        """
        header, found, read = self.header, 0, 0
        for block in self._remaining():
            read += len(block)
            numbers = _numbers(block, self.key)
            if not _three_a_line(block, len(numbers)):
                self._fail("has lines without exactly a row, a column and a value")
            numbers = numbers.reshape(-1, 3)
            found += len(numbers)
            if found > header.entries or read > ENTRY_BYTES_MAX * (header.entries + 1) + (1 << 20):
                self._fail(f"has more entries than the {header.entries:,} that it says")
            rows = self._places(numbers[:, 0], header.rows, "row")
            columns = self._places(numbers[:, 1], header.columns, "column")
            yield rows, columns, numbers[:, 2]
        if found < header.entries:
            self._fail(
                f"is cut off: it has {found:,} of the {header.entries:,} entries that it says"
            )

    def read(self, *, cells_are_rows: bool) -> SpilledEntries:
        """Read all entries into a temporary file.

        Args:
            cells_are_rows: Whether rows are cells, and columns genes.

        Raises:
            CellFileError: It is damaged, or there is no room for it.
        """
        header = self.header
        check_room(self.key, header.entries * ENTRY_BYTES)
        if header.entries > MANY_ENTRIES:
            warnings.warn(
                f"{self.key} is a text: its {header.entries:,} entries are read first, which takes "
                "minutes; the .h5 or .h5ad file of the same cells needs no such step",
                stacklevel=2,
            )
        spilled = SpilledEntries(self.key, "<i4" if header.whole else "<f4")
        for rows, columns, values in self.entries():
            if header.whole and ((values != np.floor(values)) | (np.abs(values) >= 1 << 31)).any():
                self._fail("says that it holds integers, but some are none, or too large")
            cells, genes = (rows, columns) if cells_are_rows else (columns, rows)
            with np.errstate(over="ignore"):  # a real beyond float32 is infinite, and said later
                spilled.append(cells, genes, values.astype(spilled.dtype))
        return spilled

    def _read_header(self) -> Header:
        content = b""
        for block in self._blocks:
            content += block
            begin = 0
            while (end := content.find(b"\n", begin)) >= 0:
                line = content[begin:end].strip()
                if begin == 0:
                    kind = _kind(line, self.key)
                elif line and not line.startswith(b"%"):
                    self._rest = content[end + 1 :]
                    return self._sizes(line, kind)
                begin = end + 1
            if begin > COMMENT_BYTES_MAX:
                self._fail(f"begins with more than {COMMENT_BYTES_MAX:,} bytes of remarks")
        self._fail("is cut off before its sizes")

    def _sizes(self, line: bytes, kind: str) -> Header:
        fields = line.split()
        if len(fields) != 3 or not all(field.isdigit() and len(field) < 19 for field in fields):
            self._fail(f"has the sizes {_shown(line)}, expected rows, columns and entries")
        rows, columns, entries = (int(field) for field in fields)
        if max(rows, columns) > ROWS_MAX or entries > rows * columns:
            self._fail(f"has {entries:,} entries in {rows:,} x {columns:,}")
        return Header(rows=rows, columns=columns, entries=entries, whole=kind == "integer")

    def _remaining(self) -> Iterator[bytes]:
        if self._rest:
            yield self._rest
        yield from self._blocks

    def _places(self, numbers: NDArray[np.float64], most: int, word: str) -> NDArray[np.int64]:
        outside = ~((numbers >= 1) & (numbers <= most)) | (numbers != np.floor(numbers))
        if outside.any():
            wrong = numbers[int(np.argmax(outside))]
            self._fail(f"has an entry in {word} {wrong:,.10g} of {most:,}")
        return numbers.astype(np.int64) - 1

    def _fail(self, what: str) -> NoReturn:
        problem = f"{self.key} {what}"
        raise CellFileError(problem, hint=_AGAIN)


def _kind(line: bytes, key: str) -> str:
    """The kind of values that a header states, "integer" or "real"."""
    if not line.startswith(MATRIX_MARKET):
        problem = f"{key} is no MatrixMarket matrix: it begins with {_shown(line)}"
        raise CellFileError(problem, hint="a matrix begins with %%MatrixMarket")
    words = line.decode("latin-1").lower().split()[1:]
    stated = (*words, *(("",) * 4))[:4]
    if stated[:2] != ("matrix", "coordinate") or stated[3] != "general":
        problem = f"{key} is a MatrixMarket file of another kind: {' '.join(words)[:80]}"
        hint = "write the counts as `matrix coordinate integer general`, as 10x and scipy do"
        raise CellFileError(problem, hint=hint)
    if stated[2] not in ("integer", "real"):
        problem = f"{key} holds `{stated[2]}` values, no counts"
        if stated[2] == "pattern":
            problem = f"{key} says only where counts are, not how many (`pattern`)"
        raise CellFileError(problem, hint="write the counts as integers or reals")
    return stated[2]


def _numbers(block: bytes, key: str) -> NDArray[Any]:
    """All numbers of a text with blanks between."""
    if block.isspace():  # which NumPy takes for a number
        return np.zeros(0)
    with warnings.catch_warnings():
        # NumPy warns of what is no number, and returns what stands before it.
        warnings.simplefilter("error", DeprecationWarning)
        try:
            return np.fromstring(block.decode("latin-1"), dtype=np.float64, sep=" ")
        except (DeprecationWarning, ValueError) as error:
            problem = f"{key} holds what is no number"
            raise CellFileError(problem, hint=_AGAIN) from error


def _three_a_line(block: bytes, numbers: int) -> bool:
    """Whether each line of a block that is not empty has three numbers of so many in all."""
    if any(blank in block for blank in _BLANKS) or block[:1].isspace():
        lines = [line for line in map(bytes.split, block.split(b"\n")) if line]
        return numbers == 3 * len(lines) and all(len(line) == 3 for line in lines)
    letters = np.frombuffer(block, np.uint8)
    blank = letters <= ord(" ")
    first = np.flatnonzero(blank[:-1] & ~blank[1:]) + 1  # of each number but the first one
    ends = np.flatnonzero(letters == ord("\n"))
    ends = ends if block.endswith(b"\n") else np.append(ends, len(block))
    if numbers != 3 * len(ends) or len(first) + 1 != numbers:
        return False
    # A line ends behind the beginning of its third number, and before that of the next line.
    return bool((first[1::3] < ends).all() and (first[2::3] > ends[:-1]).all())


def _shown(line: bytes) -> str:
    return ascii(line[:40].decode("latin-1"))
