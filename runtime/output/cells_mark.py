"""What tells one file of cells from another, or from itself after a change."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from c2t.runtime.bundle.hashes import FileState, sha256_of
from c2t.runtime.cells.formats.source_files import source_files
from c2t.runtime.system.errors import CellFileError, OutputError

# A file up to this many bytes is hashed whole, in about a second. Of a longer one, the samples and
# the time of its last change are compared.
WHOLE_BYTES = 1 << 30
SAMPLES = 256
SAMPLE_BYTES = 64 << 10
READ_BLOCK = 4 << 20


@dataclass(frozen=True, kw_only=True)
class CellsMark:
    """A file of cells, or the files of a folder, as they were when a run began.

    Args:
        name: Its name without folders.
        bytes: Its length.
        sha256: Of all of it, or of evenly spread samples of a longer one, its two ends included.
        changed: Time of its last change in ns, for a longer one; 0 for one that was hashed whole,
            so that a copy is the same file.
    """

    name: str
    bytes: int
    sha256: str
    changed: int

    @staticmethod
    def of(path: Path) -> CellsMark:
        """Look at a file, or at the files of a folder.

        Raises:
            OSError: Nothing is there, or it cannot be read.
            CellFileError: A folder holds too many files.
        """
        base = path if path.is_dir() else path.parent
        files = source_files(path)
        if files == [path]:
            return _of_file(path)
        marks = [_of_file(file) for file in files]
        digest = hashlib.sha256()
        for file, mark in zip(files, marks, strict=True):
            place = os.fsencode(file.relative_to(base).as_posix())
            digest.update(b"%d %s %d %s\n" % (len(place), place, mark.bytes, mark.sha256.encode()))
        return CellsMark(
            name=path.name,
            bytes=sum(mark.bytes for mark in marks),
            sha256=digest.hexdigest(),
            changed=max((mark.changed for mark in marks), default=0),
        )

    def check_unchanged(self, path: Path, *, hint: str) -> None:
        """Refuse a file that is not as it was when the run began.

        Args:
            path: Where it was.
            hint: How to go on.

        Raises:
            OutputError: It was written to, exchanged, or cannot be read any more.
        """
        try:
            same = CellsMark.of(path) == self
        except (OSError, CellFileError):
            same = False
        if not same:
            problem = f"{path} changed while it was described"
            raise OutputError(problem, hint=hint)


def source_states(path: Path) -> tuple[FileState, ...]:
    """The files that cells are read from, as they are now; cheap, for a second look.

    Raises:
        OSError: One is not there.
        CellFileError: A folder holds too many files.
    """
    return tuple(FileState.of(Path(os.path.realpath(file))) for file in source_files(path))


def source_sha256(path: Path) -> str:
    """The SHA-256 of a file; of a folder, that of the names and hashes of its files.

    Raises:
        OSError: It cannot be read.
        CellFileError: A folder holds too many files.
    """
    files = source_files(path)
    if files == [path]:
        return sha256_of(Path(os.path.realpath(path)))
    base, digest = path if path.is_dir() else path.parent, hashlib.sha256()
    for file in files:
        place = file.relative_to(base).as_posix()
        digest.update(f"{sha256_of(Path(os.path.realpath(file)))}  {place}\n".encode())
    return digest.hexdigest()


def _of_file(path: Path) -> CellsMark:
    status = path.stat()
    whole = status.st_size <= WHOLE_BYTES
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        if whole:
            while block := stream.read(READ_BLOCK):
                digest.update(block)
        else:
            last = status.st_size - SAMPLE_BYTES
            for number in range(SAMPLES):
                stream.seek(last * number // (SAMPLES - 1))
                digest.update(stream.read(SAMPLE_BYTES))
    return CellsMark(
        name=path.name,
        bytes=status.st_size,
        sha256=digest.hexdigest(),
        changed=0 if whole else status.st_mtime_ns,
    )
