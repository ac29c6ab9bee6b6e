"""The files of a bundle are as they were written: names inside the folder, lengths, SHA-256."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from c2t.runtime.bundle.manifest import MANIFEST_NAME, FileEntry
from c2t.runtime.system.errors import BundleError, TrustError
from c2t.runtime.system.portable.file_names import name_problem
from c2t.runtime.system.portable.open_flags import BINARY, NO_LINK, NO_WAIT

if TYPE_CHECKING:
    from c2t.runtime.trust.folder import SignedFolder

READ_BLOCK = 4 << 20  # bytes
COPY_HINT = "copy the bundle again from its source, or export it again"

Progress = Callable[[int], None]  # called with the number of bytes done since the last call


@dataclass(frozen=True)
class FileState:
    """What changes when a file is written to or exchanged; its content is not looked at."""

    device: int
    inode: int
    bytes: int
    changed: int  # ns

    @staticmethod
    def of(path: Path) -> FileState:
        """The state of a file now; of a link its own, not that of the file behind it."""
        return FileState.of_status(path.lstat())

    @staticmethod
    def of_status(status: os.stat_result) -> FileState:
        """The state that the operating system gives."""
        return FileState(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def sha256_of(path: Path, progress: Progress | None = None) -> str:
    """SHA-256 of a file as 64 hexadecimal digits.

    Raises:
        OSError: It cannot be read, is a link or no regular file.
    """
    return _hashed(path, progress)[0]


def _hashed(path: Path, progress: Progress | None) -> tuple[str, FileState]:
    """SHA-256 of a file, and the state of the very file that was read."""
    # A link would lead elsewhere; opening a pipe would wait for its writer.
    handle = os.open(path, os.O_RDONLY | NO_LINK | NO_WAIT | BINARY)
    digest = hashlib.sha256()
    with os.fdopen(handle, "rb", buffering=0) as stream:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        while block := stream.read(READ_BLOCK):
            digest.update(block)
            if progress is not None:
                progress(len(block))
    return digest.hexdigest(), FileState.of_status(status)


def file_entries(
    folder: Path, names: Iterable[str], *, progress: Progress | None = None
) -> dict[str, FileEntry]:
    """Length and SHA-256 of the named files of a folder.

    Args:
        names: Plain names of its files.
        progress: Called with the number of bytes hashed since its last call.

    Raises:
        OSError: One cannot be read, is a link or no regular file.
    """
    ordered = sorted(names)
    with ThreadPoolExecutor(max_workers=2) as pool:
        hashed = list(pool.map(lambda name: _hashed(folder / name, progress), ordered))
    return {
        name: FileEntry(bytes=state.bytes, sha256=digest)
        for name, (digest, state) in zip(ordered, hashed, strict=True)
    }


def check_hashes(
    folder: Path, entries: Mapping[str, FileEntry], *, progress: Progress | None = None
) -> dict[str, FileState]:
    """Compare SHA-256 of files with what the manifest says.

    Args:
        folder: The bundle's folder.
        entries: Length and hash by name, of the files to check.
        progress: Called with the number of bytes hashed since its last call.

    Returns:
        The state in which each file was hashed.

    Raises:
        BundleError: Lists every file that differs, or names one that cannot be read.
    """
    names = sorted(entries)
    try:
        with ThreadPoolExecutor(max_workers=2) as pool:  # hashlib releases the interpreter lock
            hashed = list(pool.map(lambda name: _hashed(folder / name, progress), names))
    except OSError as error:
        problem = f"cannot read {error.filename}: {error.strerror}"
        raise BundleError(problem, hint=COPY_HINT) from error
    changed = [
        n for n, (digest, _) in zip(names, hashed, strict=True) if digest != entries[n].sha256
    ]
    if changed:
        problem = f"changed since the bundle was written (SHA-256 differs): {', '.join(changed)}"
        raise BundleError(problem, hint=COPY_HINT)
    return {name: state for name, (_, state) in zip(names, hashed, strict=True)}


def check_signed_files(signed: SignedFolder, entries: Mapping[str, FileEntry]) -> None:
    """Compare what a manifest says of its files with what was signed.

    So the hashes of the manifest are the signed ones, and comparing files with them is enough. Only
    files that were signed and that no manifest lists, such as a note for people, are hashed here.

    Raises:
        TrustError: A file is not what was signed.
    """
    signed.compare({name: entry.sha256 for name, entry in entries.items()})
    others = sorted(signed.files.keys() - entries.keys() - {MANIFEST_NAME})
    try:
        signed.compare({name: sha256_of(signed.folder / name) for name in others})
    except OSError as error:
        problem = f"cannot read {error.filename}: {error.strerror}"
        raise TrustError(problem, hint=COPY_HINT) from error


def is_plain_name(name: str) -> bool:
    """Whether a name stays in its folder, on every system: "..", "C:x" and "nul" do not."""
    return name not in ("", ".", "..") and not name_problem(name)


def check_files(folder: Path, entries: Mapping[str, FileEntry]) -> dict[str, FileState]:
    """Check that every listed file is a regular file of the folder, and as long as it was.

    Links are refused, also those that stay inside: what a link leads to can change at any time.

    Returns:
        The state of each file.

    Raises:
        BundleError: Lists every file that is not.
    """
    problems: list[str] = []
    states = {}
    for name, entry in entries.items():
        if name == MANIFEST_NAME or not is_plain_name(name):
            problems.append(f"{name!r} is not a plain file name: a path may not leave the folder")
            continue
        try:
            status = (folder / name).lstat()
        except OSError:
            problems.append(f"{name} is missing")
            continue
        if stat.S_ISLNK(status.st_mode):
            problems.append(f"{name} is a link; a bundle holds the files themselves")
        elif not stat.S_ISREG(status.st_mode):
            problems.append(f"{name} is no regular file")
        elif status.st_size != entry.bytes:
            problems.append(f"{name} has {status.st_size:,} bytes, expected {entry.bytes:,}")
        states[name] = FileState.of_status(status)
    if problems:
        problem = f"the bundle {folder} is damaged: {'; '.join(problems)}"
        raise BundleError(problem, hint=COPY_HINT)
    return states
