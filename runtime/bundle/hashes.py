"""The files of a bundle are as they were written: names inside the folder, lengths, SHA-256."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from c2t.runtime.bundle.manifest import MANIFEST_NAME, FileEntry
from c2t.runtime.system.errors import BundleError

READ_BLOCK = 4 << 20  # bytes
COPY_HINT = "copy the bundle again from its source, or export it again"

Progress = Callable[[int], None]  # called with the number of bytes done since the last call


def sha256_of(path: Path, progress: Progress | None = None) -> str:
    """SHA-256 of a file as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(READ_BLOCK):
            digest.update(block)
            if progress is not None:
                progress(len(block))
    return digest.hexdigest()


def file_entries(
    folder: Path, names: Iterable[str], *, progress: Progress | None = None
) -> dict[str, FileEntry]:
    """Length and SHA-256 of the named files of a folder.

    Args:
        folder: The folder.
        names: Plain names of its files.
        progress: Called with the number of bytes hashed since its last call.
    """
    ordered = sorted(names)
    with ThreadPoolExecutor(max_workers=2) as pool:
        digests = list(pool.map(lambda name: sha256_of(folder / name, progress), ordered))
    return {
        name: FileEntry(bytes=(folder / name).stat().st_size, sha256=digest)
        for name, digest in zip(ordered, digests, strict=True)
    }


@dataclass(frozen=True)
class FileState:
    """What changes when a file is written to or exchanged; its content is not looked at."""

    device: int
    inode: int
    bytes: int
    changed: int  # ns

    @staticmethod
    def of(path: Path) -> FileState:
        """The state of a file now."""
        status = path.lstat()
        return FileState(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


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
        BundleError: Lists every file that differs.
    """
    names = sorted(entries)
    states = {name: FileState.of(folder / name) for name in names}
    with ThreadPoolExecutor(max_workers=2) as pool:  # hashlib releases the interpreter lock
        digests = list(pool.map(lambda name: sha256_of(folder / name, progress), names))
    changed = [n for n, digest in zip(names, digests, strict=True) if digest != entries[n].sha256]
    if changed:
        problem = f"changed since the bundle was written (SHA-256 differs): {', '.join(changed)}"
        raise BundleError(problem, hint=COPY_HINT)
    return states


def is_plain_name(name: str) -> bool:
    """Whether a name stays in its folder: "..", absolute paths and drive letters do not."""
    return name not in ("", ".", "..") and not any(c in name for c in "/\\:\0")


def check_files(folder: Path, entries: Mapping[str, FileEntry]) -> None:
    """Check that every listed file is a regular file of the folder, and as long as it was.

    Links are refused, also those that stay inside: what a link leads to can change at any time.

    Raises:
        BundleError: Lists every file that is not.
    """
    problems: list[str] = []
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
    if problems:
        problem = f"the bundle {folder} is damaged: {'; '.join(problems)}"
        raise BundleError(problem, hint=COPY_HINT)
