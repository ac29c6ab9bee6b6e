"""What a file is, by its first bytes: a form that is read here, or what helps with another one.

One decision: the name is not believed. Most files that are mistaken for `.h5ad` have that suffix.
"""

from __future__ import annotations

import bz2
import lzma
import shlex
import zlib
from dataclasses import dataclass
from pathlib import Path

from c2t.runtime.cells.formats.archive_members import form_of_archive
from c2t.runtime.cells.formats.converters import with_installation
from c2t.runtime.cells.formats.forms import Form
from c2t.runtime.system.errors import CellFileError

HDF5 = b"\x89HDF\r\n\x1a\n"
MATRIX_MARKET = b"%%MatrixMarket"
HEAD_BYTES = 1024
# A first line that is longer than the head, with so many words in it, names cells or genes.
WORDS_OF_A_HEADER = 20
_R_CONVERT = (
    "in R, `zellkonverter::writeH5AD(x, 'cells.h5ad')` writes a SingleCellExperiment; "
    "`as.SingleCellExperiment(x)` makes one of a Seurat object"
)


@dataclass(frozen=True)
class FileKind:
    """What a file is, and how cells come from it.

    Args:
        what: "a gzip archive", for a sentence that begins with the path.
        hint: The command that helps.
        form: What it is read as; None for what is not read.
    """

    what: str
    hint: str
    form: Form | None = None


def form_of_file(path: Path) -> Form:
    """The form of a file that cells are read from; what is something else is refused.

    Raises:
        CellFileError: It is something else, or empty; says what.
        OSError: It cannot be read.
    """
    with path.open("rb") as stream:
        head = stream.read(HEAD_BYTES)
        offset = 512
        found = head.startswith(HDF5)
        while not found:  # HDF5 allows a block of the user's before it, of 512 bytes times 2**n
            stream.seek(offset)
            start = stream.read(len(HDF5))
            if len(start) < len(HDF5):
                break
            found = start == HDF5
            offset *= 2
    if found:
        return Form.hdf5
    kind = file_kind(path, head)
    if kind.form is not None:
        return kind.form
    problem = f"{path} is {kind.what}, not an .h5ad file"
    raise CellFileError(problem, hint=with_installation(kind.hint))


def file_kind(path: Path, head: bytes) -> FileKind:
    """Tell what a file is.

    Args:
        path: Its name, for the command in the hint.
        head: Its first bytes, up to `HEAD_BYTES`.
    """
    quoted = shlex.quote(str(path))
    if not head:
        return FileKind("empty (0 bytes)", "the download or copy did not finish: fetch it again")
    for name, suffix, tool, start in _PACKED:
        if head.startswith(start):
            return _packed(path, head, name, suffix, tool)
    if path.suffix.lower() == ".cloupe":
        return FileKind("a file of the Loupe Browser (.cloupe)", _RUN)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _zipped(path, head)
    if head[257:262] == b"ustar":
        return FileKind("a tar archive", f"unpack it: `tar xf {quoted}`")
    if (kind := _r_object(head)) is not None:
        return kind
    if head.startswith(MATRIX_MARKET):
        return FileKind("a MatrixMarket matrix", "", Form.matrix_market)
    for start, what, hint in _STARTS:
        if head.startswith(start):
            return FileKind(what, hint.format(path=quoted, python=repr(str(path))))
    return _text(path, head)


# Name, suffix, the tool that unpacks, and the first bytes.
_PACKED = (
    ("gzip", ".gz", "gunzip", b"\x1f\x8b"),
    ("bzip2", ".bz2", "bunzip2", b"BZh"),
    ("xz", ".xz", "unxz", b"\xfd7zXZ\x00"),
    ("zstd", ".zst", "unzstd", b"\x28\xb5\x2f\xfd"),
)

_PANDAS = (
    'python -c "import pandas, anndata; '
    "anndata.AnnData(pandas.{reader}).write_h5ad('cells.h5ad')\"` makes one of a table of "
    "cells x genes (transpose it with `.T` if its rows are genes)"
)
_RUN = "give the counts of its run: filtered_feature_bc_matrix.h5, or the folder of that name"
_COUNT = "count them first, with Cell Ranger, STARsolo or alevin-fry, and give the filtered matrix"
_CYTOMETRY = (
    "a flow cytometry file (.fcs)",
    "it holds some proteins of each cell, and no genes: give the RNA counts of the cells",
)
_STARTS = (
    (
        b"version https://git-lfs",
        "a Git LFS pointer that stands for the file",
        "fetch the file itself: `git lfs pull`",
    ),
    (b"FCS2.0", *_CYTOMETRY),
    (b"FCS3.", *_CYTOMETRY),
    (b"\x89PNG\r\n", "a picture (PNG)", _RUN),
    (b"\xff\xd8\xff", "a picture (JPEG)", _RUN),
    (b"II*\0", "a picture (TIFF)", _RUN),
    (b"MM\0*", "a picture (TIFF)", _RUN),
    (b"II+\0", "a picture (TIFF)", _RUN),
    (b"BAM\x01", "aligned reads (BAM)", _COUNT),
    (b"CRAM", "aligned reads (CRAM)", _COUNT),
    (b"PAR1", "a Parquet table", "`" + _PANDAS.replace("{reader}", "read_parquet({python})")),
    (b"ARROW1", "an Arrow table", "`" + _PANDAS.replace("{reader}", "read_feather({python})")),
    (
        b"\x93NUMPY",
        "a NumPy array without names of cells and genes",
        "put it into an AnnData object with its names, and write that with `write_h5ad`",
    ),
    (b"7z\xbc\xaf'\x1c", "a 7-Zip archive", "unpack it: `7z x {path}`"),
    (b"Rar!", "a RAR archive", "unpack it: `unrar x {path}`"),
    (b"%PDF", "a PDF document", "fetch the cells themselves; this is a document about them"),
    (b"CDF\x01", "a netCDF file", "write the cells with anndata's `write_h5ad`"),
    (b"SQLite format 3", "an SQLite database", "write the cells with anndata's `write_h5ad`"),
    (b"\x80\x04", "a Python pickle", "load it where it was made, and write it with `write_h5ad`"),
    (b"\x80\x05", "a Python pickle", "load it where it was made, and write it with `write_h5ad`"),
)


def _packed(path: Path, head: bytes, name: str, suffix: str, tool: str) -> FileKind:
    """What a compressed file is: R compresses its own, so the inside is looked at."""
    inside = _unpack_start(head, name)
    if (kind := _r_object(inside)) is not None:
        return kind
    quoted = shlex.quote(str(path))
    if inside[257:262] == b"ustar":
        return FileKind(f"a tar archive packed with {name}", f"unpack it: `tar xf {quoted}`")
    of = ""
    if inside.startswith(HDF5):
        if name == "gzip":
            return FileKind("HDF5 packed with gzip", "", Form.packed_hdf5)
    elif inside:
        kind = file_kind(path.with_suffix(""), inside)
        if name == "gzip" and kind.form in (Form.matrix_market, Form.table):
            return kind
        if inside.startswith(b"BAM\x01"):
            return kind
        of = f" of {kind.what}"
    if path.name.endswith(suffix):
        unpacked = str(path)[: -len(suffix)]
        return FileKind(
            f"packed with {name}{of}",
            f"unpack it: `{tool} -k {quoted}`, then describe {shlex.quote(unpacked)}",
        )
    target = shlex.quote(str(path.with_name(f"{path.stem}.unpacked{path.suffix}")))
    return FileKind(f"packed with {name}{of}", f"unpack it: `{tool} -c < {quoted} > {target}`")


def _unpack_start(head: bytes, name: str) -> bytes:
    """The first bytes inside; none if they cannot be unpacked."""
    try:
        if name == "gzip":
            return zlib.decompressobj(wbits=31).decompress(head, HEAD_BYTES)
        if name == "bzip2":
            return bz2.BZ2Decompressor().decompress(head, HEAD_BYTES)
        if name == "xz":
            # The file states the size of its dictionary: bounded.
            unpacker = lzma.LZMADecompressor(memlimit=128 << 20)
            return unpacker.decompress(head, HEAD_BYTES)
    except (zlib.error, lzma.LZMAError, OSError, EOFError):
        pass
    return b""


def _zipped(path: Path, head: bytes) -> FileKind:
    """What a zip archive holds, by the names of its members."""
    form, first = form_of_archive(path)
    quoted = shlex.quote(str(path))
    if form is not None:
        return FileKind(f"a zip archive with {form.value}", "", form)
    if first == "[Content_Types].xml":
        return FileKind(
            "an Excel workbook", "`" + _PANDAS.format(reader=f"read_excel({str(path)!r})")
        )
    if first.endswith(".npy"):
        return FileKind(
            "a NumPy archive (.npz)",
            "put its matrix into an AnnData object with the names, and write that with "
            "`write_h5ad`",
        )
    return FileKind(
        f"a zip archive of {first or 'nothing that can be named'}",
        f"unpack it: `unzip {quoted}`, and describe the file in it",
    )


def _r_object(head: bytes) -> FileKind | None:
    """An R object, however it was saved."""
    if head[:5] in (b"RDX2\n", b"RDX3\n", b"RDA2\n", b"RDA3\n"):
        return FileKind("an R workspace (.RData)", f"`load` it; {_R_CONVERT}")
    binary = head[:2] == b"X\n" and head[2:5] == b"\0\0\0" and head[5:6] in (b"\x02", b"\x03")
    if binary or head[:4] in (b"A\n2\n", b"A\n3\n"):
        return FileKind("an R object (.rds)", f"`readRDS` it; {_R_CONVERT}")
    if head[:3] == b"\x0b\x0e\x0a":
        return FileKind("an R object (.qs)", f"`qs::qread` it; {_R_CONVERT}")
    return None


def _text(path: Path, head: bytes) -> FileKind:
    """What a text file is; also takes what is no text."""
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    again = "its address gave a page instead of the file: open it in a browser, or log in first"
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<script", b"<!--")):
        return FileKind("a web page (HTML)", again)
    if start.startswith((b"<?xml", b"<error")):
        return FileKind("an XML document", f"{again} (servers answer with XML what went wrong)")
    binary = b"\0" in head or sum(byte < 9 or 13 < byte < 32 for byte in head)
    if binary or not _decodes(head):
        shown = head[:8].hex(" ")
        return FileKind(
            f"no kind of file that is known here (it begins with {shown})",
            "write the cells with anndata's `write_h5ad`, or download the file again",
        )
    if start.startswith((b"{", b"[")):
        return FileKind("JSON text", again.replace("a page", "a message"))
    lines = head.removeprefix(b"\xef\xbb\xbf").splitlines()
    lines = [line for line in lines if not line.startswith(b"#")]
    line = lines[0] if lines else b""
    for mark, name in ((b"\t", "tab"), (b",", "comma"), (b";", "semicolon"), (b" ", "space")):
        if mark in line and (mark != b" " or _is_spaced_table(head)):
            return FileKind(f"a text table ({name}-separated)", "", Form.table)
    return FileKind("a text file", "write the cells with anndata's `write_h5ad`")


def _is_spaced_table(head: bytes) -> bool:
    """Whether a text with spaces is a table of numbers, as R's `write.table` makes it."""
    lines = head.splitlines()[1:-1] or head.splitlines()[1:]
    if not lines:
        return len(head.split()) > WORDS_OF_A_HEADER
    fields = [line.replace(b'"', b"").split()[1:] for line in lines if line.strip()]
    return bool(fields) and all(
        of_line and all(field.replace(b".", b"", 1).isdigit() for field in of_line)
        for of_line in fields
    )


def _decodes(head: bytes) -> bool:
    """Whether this is UTF-8; the last character may be cut off."""
    return any(_is_utf8(head[: len(head) - cut]) for cut in range(4))


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True
