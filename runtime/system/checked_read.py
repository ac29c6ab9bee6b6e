"""Small files of a stranger: bounded before they are read, checked while they are decoded.

JSON becomes a class that msgspec checks; an `.npz` file becomes arrays, without pickle. Every error
names the file, says the problem, and carries the hint and the class that the caller gives.

One decision for archives: the archive's own list of sizes is checked before anything is unpacked.
The list may lie, but `zipfile` stops at the stated size. A lie only makes a file unreadable.
"""

from __future__ import annotations

import errno
import stat
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from c2t.runtime.system.errors import C2TError

T = TypeVar("T")

# What NumPy writes. Other methods are unpacked in steps whose size the file decides.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)

# What zipfile, zlib and NumPy's parser of headers raise on damaged archives; found by changing
# 200,000 of them. Two more are subclasses of those: NotImplementedError and RecursionError.
_ARCHIVE_ERRORS = (
    *(OSError, EOFError, ValueError, TypeError, KeyError, IndexError, OverflowError, MemoryError),
    *(RuntimeError, SyntaxError, tokenize.TokenError, struct.error),
    *(zlib.error, zipfile.BadZipFile, zipfile.LargeZipFile),
)


def read_bounded(
    path: Path, *, bytes_max: int, error: type[C2TError], hint: str, what: str = ""
) -> bytes:
    """Read a file of at most `bytes_max` bytes.

    Args:
        path: The file.
        bytes_max: A longer file is refused before it is read.
        error: Class of the error to raise.
        hint: How to mend it.
        what: What the file should be ("a label map"), for the error's text.

    Raises:
        C2TError: Of the class `error`: missing, longer, or not readable.
    """
    try:
        length = _length(path)
        if length <= bytes_max:
            with path.open("rb") as stream:
                return stream.read(length)  # no more than that, even if the file grows meanwhile
    except OSError as cause:
        raise _unusable(path, what, cause.strerror or str(cause), error, hint) from cause
    raise _unusable(path, what, _too_long("has", length, bytes_max), error, hint)


def decode_json(
    content: bytes,
    kind: type[T],
    *,
    name: str | Path,
    error: type[C2TError],
    hint: str,
    what: str = "",
) -> T:
    """Decode JSON into a type that msgspec knows, strictly.

    Args:
        content: UTF-8 JSON.
        kind: A class, or a type such as `dict[str, int]`.
        name: The file, for the error's text.
        error: Class of the error to raise.
        hint: How to mend it.
        what: What the file should be ("a label map"), for the error's text.

    Raises:
        C2TError: Of the class `error`: no JSON, or other than the type says.
    """
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as cause:
        raise _unusable(name, what, str(cause), error, hint) from cause


def read_json(
    path: Path,
    kind: type[T],
    *,
    bytes_max: int,
    error: type[C2TError],
    hint: str,
    what: str = "",
) -> T:
    """Read a JSON file: `read_bounded`, then `decode_json`.

    Raises:
        C2TError: Of the class `error`; see the two.
    """
    content = read_bounded(path, bytes_max=bytes_max, error=error, hint=hint, what=what)
    return decode_json(content, kind, name=path, error=error, hint=hint, what=what)


def json_bytes(value: Any) -> bytes:
    """A JSON file's content, for programs and for people: one field a line.

    Args:
        value: A dataclass, or anything else that msgspec knows.
    """
    return msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n"


def read_arrays(
    path: Path,
    names: Sequence[str],
    *,
    bytes_max: int,
    error: type[C2TError],
    hint: str,
    what: str = "",
) -> dict[str, NDArray[Any]]:
    """Read arrays of an `.npz` file, in the order of `names`; others in it are left alone.

    Args:
        path: The file.
        names: The arrays that are wanted; all must be there.
        bytes_max: Most bytes that the file, and what is in it unpacked, may have.
        error: Class of the error to raise.
        hint: How to mend it.
        what: What the file should be ("a phrase table"), for the error's text.

    Raises:
        C2TError: Of the class `error`: missing, damaged, longer than that, without one of the
            arrays, or with Python objects in it.
    """

    def fail(reason: str) -> NoReturn:
        raise _unusable(path, what, reason, error, hint)

    @contextmanager
    def naming() -> Iterator[None]:
        try:
            yield
        except _ARCHIVE_ERRORS as cause:
            reason = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
            raise _unusable(path, what, reason, error, hint) from cause

    with naming():
        length = _length(path)
    if length > bytes_max:  # the list of members is read as a whole
        fail(_too_long("has", length, bytes_max))
    arrays: dict[str, NDArray[Any]] = {}
    with naming(), zipfile.ZipFile(path) as archive:
        members = {member.filename: member for member in archive.infolist()}
        unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > bytes_max:
            fail(_too_long("unpacks to", unpacked, bytes_max))
        if missing := [name for name in names if f"{name}.npy" not in members]:
            fail(f"it has no array named {', '.join(missing)}")
        if any(member.compress_type not in _METHODS for member in members.values()):
            fail("it is packed in a way that NumPy does not write")
        for name in names:
            with archive.open(members[f"{name}.npy"]) as packed:
                # `numpy.load` would choose by the file's first bytes what to read it as.
                arrays[name] = np.lib.format.read_array(packed, allow_pickle=False)
    return arrays


def _length(path: Path) -> int:
    """Bytes of a regular file; opening a pipe would wait for its writer, perhaps for ever."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        reason = "it is not a regular file"
        raise OSError(errno.EINVAL, reason)
    return status.st_size


def _too_long(verb: str, length: int, bytes_max: int) -> str:
    return f"it {verb} {length:,} bytes; at most {bytes_max:,} are read"


def _unusable(
    name: str | Path, what: str, reason: str, error: type[C2TError], hint: str
) -> C2TError:
    return error(f"{name} {f'is not {what}' if what else 'cannot be read'}: {reason}", hint=hint)


def read_lines(path: Path, *, bytes_max: int, error: type[C2TError], hint: str) -> list[str]:
    """The lines of a text file in UTF-8, with or without a byte order mark.

    Args:
        path: The file.
        bytes_max: Its largest length.
        error: Class of the error to raise.
        hint: How to mend it.

    Raises:
        C2TError: Of the class `error`: it cannot be read, is too long or not in UTF-8.
    """
    content = read_bounded(path, bytes_max=bytes_max, error=error, hint=hint)
    try:
        return content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as cause:
        problem = f"cannot read {path}: {cause}"
        raise error(problem, hint=hint) from cause
