"""The files of a folder or of a zip archive, read alike: named, bounded, and never outside of it.

One decision: nothing is unpacked under the names that an archive gives. Members are read as
streams, links are refused, and the archive's own list is bounded before it is read.
"""

from __future__ import annotations

import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Protocol

from c2t.runtime.cells.formats.forms import Form
from c2t.runtime.system.errors import CellFileError
from c2t.runtime.system.portable.open_flags import BINARY, NO_LINK, NO_WAIT

# A zarr store of ten million cells has some hundred thousand chunks.
MEMBERS_MAX = 1_000_000
LIST_BYTES_MAX = 256 << 20  # of a zip archive's list of members
# Folders below the one that was given, and files in them, when matrices are looked for.
DEPTH_MAX, LOOKED_AT_MAX = 3, 10_000
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# The parts of an archive's end, and the beginning of each member in its list.
_END, _END_64, _LOCATOR_64, _LISTED = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07", b"PK\x01\x02"
_RECORD_BYTES, _LOCATOR_BYTES, _LISTED_BYTES = 56, 20, 46  # of the last, at least
ZARR_NAMES = frozenset((".zgroup", ".zattrs", ".zarray", ".zmetadata", "zarr.json"))
# What zipfile raises on damaged archives.
ZIP_ERRORS = (
    *(OSError, EOFError, ValueError, KeyError, RuntimeError, NotImplementedError, struct.error),
    *(zlib.error, zipfile.BadZipFile, zipfile.LargeZipFile, OverflowError, UnicodeDecodeError),
)


class Members(Protocol):
    """Files with relative names, "/" between their parts."""

    path: Path

    def names(self) -> list[str]:
        """All names, sorted."""

    def children(self, folder: str) -> list[str]:
        """The names of the files and folders in a folder, sorted; "" is the root."""

    def has(self, name: str) -> bool:
        """Whether there is a file of this name."""

    def size(self, name: str) -> int:
        """Bytes of a file, as its folder or archive states them."""

    def open(self, name: str) -> IO[bytes]:
        """Open a file for reading from its start; what is wrong raises `OSError` or zip's errors.

        Raises:
            CellFileError: It is a link, no regular file, or packed in a way that is not read.
        """

    def close(self) -> None:
        """Close the archive."""


class FolderMembers:
    """The files of a folder.

    Args:
        path: The folder. Links in it are not followed; the folder itself may be one.
        depth: Folders below it that are listed; None lists all.
        most: Files that it may have.
    """

    def __init__(self, path: Path, depth: int | None = None, most: int = MEMBERS_MAX) -> None:
        self.path = path
        self._depth = depth
        self._most = most
        self._names: list[str] | None = None
        self._checked: set[str] = {""}

    def names(self) -> list[str]:
        """All names, sorted."""
        if self._names is None:
            self._names = sorted(self._walk())
        return self._names

    def children(self, folder: str) -> list[str]:
        """The names of the files and folders in a folder, sorted; "" is the root."""
        self._check_folders(f"{folder}/" if folder else "")
        try:
            return sorted(entry.name for entry in os.scandir(self.path / folder))
        except OSError:
            return []

    def has(self, name: str) -> bool:
        """Whether there is a file of this name, or what is no file."""
        return os.path.lexists(self.path / name)

    def size(self, name: str) -> int:
        """Bytes of a file."""
        return (self.path / name).lstat().st_size

    def open(self, name: str) -> IO[bytes]:
        """Open a file for reading."""
        self._check_folders(name)
        place = self.path / name
        if place.is_symlink():
            raise _link(place)
        handle = os.open(place, os.O_RDONLY | NO_LINK | NO_WAIT | BINARY)
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            problem = f"{place} is no regular file"
            raise CellFileError(problem, hint="copy the store again from its source")
        return os.fdopen(handle, "rb")

    def close(self) -> None:
        """Do nothing: files are opened one by one."""

    def _check_folders(self, name: str) -> None:
        """Refuse links among the folders on the way to a file."""
        folder = name.rpartition("/")[0]
        if folder in self._checked:
            return
        self._check_folders(folder)
        if folder.rpartition("/")[2] in ("", ".", ".."):
            problem = f"{self.path}: {name!r} is not the name of a file in it"
            raise CellFileError(problem, hint="the store is damaged; copy it again")
        if (self.path / folder).is_symlink():
            raise _link(self.path / folder)
        self._checked.add(folder)

    def _walk(self) -> Iterator[str]:
        count = 0
        for folder, folders, files in os.walk(self.path):
            below = os.path.relpath(folder, self.path).replace(os.sep, "/")
            parts = [] if below == "." else below.split("/")
            if self._depth is not None and len(parts) >= self._depth:
                folders.clear()
            count += len(files)
            if count > self._most:
                problem = f"{self.path} has more than {self._most:,} files"
                raise CellFileError(problem, hint="give the folder with the files of the cells")
            yield from ("/".join((*parts, file)) for file in files)


class ZipMembers:
    """The files of a zip archive.

    Raises:
        CellFileError: It is damaged, or its list of members is too long.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        check_list(path)
        with reading_zip(path):
            self._archive = zipfile.ZipFile(path)
        infos = self._archive.infolist()  # a damaged one may have members without a name
        self._infos = {i.filename: i for i in infos if i.filename and i.filename[-1] != "/"}
        self._folders: dict[str, set[str]] | None = None

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted(self._infos)

    def children(self, folder: str) -> list[str]:
        """The names of the files and folders in a folder, sorted; "" is the root."""
        if self._folders is None:
            self._folders = {}
            for name in self._infos:
                parts = name.split("/")
                for depth in range(len(parts)):
                    here = self._folders.setdefault("/".join(parts[:depth]), set())
                    here.add(parts[depth])
        return sorted(self._folders.get(folder, ()))

    def has(self, name: str) -> bool:
        """Whether there is a file of this name."""
        return name in self._infos

    def size(self, name: str) -> int:
        """Bytes of a file when it is unpacked, as the archive states them."""
        return self._infos[name].file_size

    def open(self, name: str) -> IO[bytes]:
        """Open a file for reading."""
        info = self._infos[name]
        if info.compress_type not in _METHODS or info.flag_bits & 1:
            problem = f"{self.path}: {name} is encrypted, or packed by a method that is not read"
            raise CellFileError(problem, hint="unpack it, and give the folder")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise _link(self.path / name)
        return self._archive.open(info)

    def close(self) -> None:
        """Close the archive."""
        self._archive.close()


def looked_through(folder: Path) -> FolderMembers:
    """The files of a folder in which a matrix is looked for."""
    return FolderMembers(folder, DEPTH_MAX, LOOKED_AT_MAX)


def form_of_archive(path: Path) -> tuple[Form | None, str]:
    """What a zip archive holds that is read here, and the name of its first member.

    Raises:
        CellFileError: It is damaged.
    """
    members = ZipMembers(path)
    try:
        names = members.names()
    finally:
        members.close()
    form = None
    if any(name.rpartition("/")[2] in ZARR_NAMES for name in names):
        form = Form.zarr
    elif any(name.endswith((".mtx", ".mtx.gz")) for name in names):
        form = Form.matrix_market
    return form, names[0] if names else ""


def check_list(path: Path) -> None:
    """Refuse a zip archive whose list of members is too long to be read into memory.

    Raises:
        CellFileError: It is, or there is none, or it is not clear which one is meant.
    """
    with path.open("rb") as stream:
        length = stream.seek(0, os.SEEK_END)
        begin = stream.seek(max(0, length - (1 << 16) - 22))
        tail = stream.read()
        at = tail.rfind(_END)
        if at < 0 or len(tail) < at + 22:
            problem = f"{path} is a zip archive that is cut off: its list of members is missing"
            raise CellFileError(problem, hint="download or copy it again")
        count, listed = struct.unpack("<HI", tail[at + 10 : at + 16])
        end = begin + at  # of the list, but for what follows
        large = _large_record(stream, end)
        if large is not None:
            end -= _LOCATOR_BYTES + _RECORD_BYTES
            if len(large) != _RECORD_BYTES:
                problem = f"{path} is a zip archive whose end does not say where its list is"
                raise CellFileError(problem, hint="the file is damaged; download or copy it again")
            count, listed = struct.unpack("<QQ", large[32:48])
        if listed <= LIST_BYTES_MAX and listed // _LISTED_BYTES > MEMBERS_MAX:
            count = max(count, _listed_members(stream, end - listed, listed))
    if count > MEMBERS_MAX or listed > LIST_BYTES_MAX:
        problem = f"{path} is a zip archive of {count:,} members in a list of {listed:,} bytes; "
        problem += f"at most {MEMBERS_MAX:,} are read"
        raise CellFileError(problem, hint="unpack it, and give the folder")


def _large_record(stream: IO[bytes], end: int) -> bytes | None:
    """The record of a large archive's end, which is looked for only where `zipfile` reads it.

    Args:
        stream: The archive.
        end: Where its end in the first format begins.

    Returns:
        None: it has none. Empty: it should have, but there is none, or there are two.
    """
    place = end - _LOCATOR_BYTES
    locator = _bytes_at(stream, place, _LOCATOR_BYTES)
    if not locator.startswith(_LOCATOR_64):
        return None
    place -= _RECORD_BYTES
    record = _bytes_at(stream, place, _RECORD_BYTES)
    (stated,) = struct.unpack("<Q", locator[8:16])
    # Newer versions of `zipfile` go where the locator points; where that is no record, before it.
    twice = stated != place and _bytes_at(stream, stated, len(_END_64)) == _END_64
    return record if record.startswith(_END_64) and not twice else b""


def _bytes_at(stream: IO[bytes], place: int, count: int) -> bytes:
    if not 0 <= place < 1 << 62:
        return b""
    stream.seek(place)
    return stream.read(count)


def _listed_members(stream: IO[bytes], place: int, length: int) -> int:
    """How many members a list may have: `zipfile` reads all of it, whatever number is stated."""
    found, rest = 0, b""
    stream.seek(max(0, place))
    while length > 0 and (block := stream.read(min(length, 1 << 22))):
        length -= len(block)
        found += (rest + block).count(_LISTED)
        rest = block[-len(_LISTED) + 1 :]
    return found


@contextmanager
def reading_zip(path: Path) -> Iterator[None]:
    """Turn the errors of a damaged archive into one that names it.

    Raises:
        CellFileError: What is inside could not be read.
    """
    try:
        yield
    except ZIP_ERRORS as error:
        problem = f"{path} cannot be read: {' '.join(str(error).split()) or type(error).__name__}"
        raise CellFileError(problem, hint="the file is damaged; download or copy it again") from (
            error
        )


def _link(place: Path) -> CellFileError:
    problem = f"{place} is a link, which may lead out of the folder"
    return CellFileError(problem, hint="put the file itself there")
