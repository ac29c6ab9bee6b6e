"""The files of a bundle are as they were written: names inside the folder, lengths, SHA-256.

One decision: each thread opens its part of a file and reads it through a small buffer, so that
hashing takes all cores and a megabyte a core.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from c2t.kernels.native import core_count
from c2t.runtime.bundle.file_parts import Part, block_bytes, blocks, stated_parts, whole
from c2t.runtime.bundle.manifest import MANIFEST_NAME, BlockHashes, FileEntry
from c2t.runtime.system.errors import BundleError, TrustError
from c2t.runtime.system.portable.file_names import name_problem
from c2t.runtime.system.portable.open_flags import BINARY, NO_LINK, NO_WAIT

if TYPE_CHECKING:
    from c2t.runtime.trust.folder import SignedFolder

READ_BYTES = 1 << 20  # at a time, by each thread; stays in its core's cache
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
    return _hashed(path.parent, whole(path.name), progress)[0]


def _hashed(folder: Path, part: Part, progress: Progress | None) -> tuple[str, FileState]:
    """SHA-256 of a part of a file, and the state of the very file that was read."""
    path = folder / part.name
    # A link would lead elsewhere; opening a pipe would wait for its writer.
    handle = os.open(path, os.O_RDONLY | NO_LINK | NO_WAIT | BINARY)
    digest = hashlib.sha256()
    with os.fdopen(handle, "rb", buffering=0) as stream:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        stream.seek(part.start)
        left = status.st_size if part.end is None else part.end - part.start
        buffer = memoryview(bytearray(min(READ_BYTES, max(left, 1))))
        while part.is_whole or left > 0:  # what is appended meanwhile belongs to the whole
            count = stream.readinto(buffer if part.is_whole else buffer[:left])
            if not count:
                break
            digest.update(buffer[:count])
            left -= count
            if progress is not None:
                progress(count)
    return digest.hexdigest(), FileState.of_status(status)


def hash_parts(
    folder: Path, parts: Sequence[Part], *, progress: Progress | None = None
) -> list[tuple[str, FileState]]:
    """SHA-256 of parts of files of a folder, on all cores.

    Args:
        folder: Where they lie.
        parts: Of files. Of a file that is hashed as a whole, too, only that is progress.
        progress: Called with the number of bytes hashed since its last call, by one thread at a
            time.

    Returns:
        By part, and the state of the file that was read.

    Raises:
        OSError: One cannot be read, is a link or no regular file.
    """
    wholes = {part.name for part in parts if part.is_whole}
    lock = threading.Lock()

    def advance(count: int) -> None:
        if progress is not None:
            with lock:
                progress(count)

    def hashed(part: Part) -> tuple[str, FileState]:
        counts = part.is_whole or part.name not in wholes
        return _hashed(folder, part, advance if counts else None)

    # Whole files first: a long one may keep a core busy longer than all blocks the others.
    order = sorted(range(len(parts)), key=lambda place: not parts[place].is_whole)
    found: list[tuple[str, FileState] | None] = [None] * len(parts)
    with ThreadPoolExecutor(max_workers=core_count()) as pool:  # hashlib releases the GIL
        results = pool.map(hashed, [parts[place] for place in order])
        for place, result in zip(order, results, strict=True):
            found[place] = result
    return [result for result in found if result is not None]


def compare_parts(
    folder: Path,
    parts: Sequence[Part],
    entries: Mapping[str, FileEntry],
    *,
    progress: Progress | None = None,
) -> tuple[list[FileState], list[str]]:
    """Compare parts of files with their hashes, and the files with their lengths.

    Args:
        folder: Where they lie.
        parts: Of files, with their hashes.
        entries: Of these files.
        progress: See `hash_parts`.

    Returns:
        By part, the state of the file that was read; and the names of files that differ, sorted.

    Raises:
        OSError: One cannot be read, is a link or no regular file.
    """
    hashed = hash_parts(folder, parts, progress=progress)
    changed = {
        part.name
        for part, (digest, state) in zip(parts, hashed, strict=True)
        # Blocks end where the file did: bytes behind them would belong to none.
        if digest != part.sha256 or state.bytes != entries[part.name].bytes
    }
    return [state for _, state in hashed], sorted(changed)


def is_content(content: bytes, entry: FileEntry, *, wholly: bool = False) -> bool:
    """Whether bytes that were read are what a file should hold, on all cores.

    Args:
        content: All of the file.
        entry: What it should be, without `c2t.runtime.bundle.file_parts.block_problems`.
        wholly: Compare the SHA-256 of all of it, too, where there are hashes of blocks.
    """
    view = memoryview(content)

    def fits(part: Part) -> bool:
        return hashlib.sha256(view[part.start : part.end]).hexdigest() == part.sha256

    parts = stated_parts("", entry, wholly=wholly)
    with ThreadPoolExecutor(max_workers=core_count()) as pool:
        return len(content) == entry.bytes and all(pool.map(fits, parts))


def file_entries(
    folder: Path, names: Iterable[str], *, progress: Progress | None = None
) -> dict[str, FileEntry]:
    """Length and SHA-256 of the named files of a folder; of long files also that of their blocks.

    Args:
        names: Plain names of its files.
        progress: Called with the number of bytes hashed since its last call.

    Raises:
        OSError: One cannot be read, is a link or no regular file, or is being written to.
    """
    lengths = {name: (folder / name).lstat().st_size for name in sorted(names)}
    sizes = {name: block_bytes(length) for name, length in lengths.items()}
    parts = [whole(name) for name in lengths]
    for name, size in sizes.items():
        parts += blocks(name, lengths[name], size) if size else []
    digests: dict[str, list[str]] = {name: [] for name in lengths}
    states: dict[str, set[FileState]] = {name: set() for name in lengths}
    for part, (digest, state) in zip(
        parts, hash_parts(folder, parts, progress=progress), strict=True
    ):
        digests[part.name].append(digest)
        states[part.name].add(state)
    for name, seen in states.items():
        if {state.bytes for state in seen} != {lengths[name]} or len(seen) > 1:
            raise OSError(errno.EBUSY, "it is being written to", str(folder / name))
    return {
        name: FileEntry(
            bytes=lengths[name],
            sha256=first,
            blocks=BlockHashes(bytes=sizes[name], sha256=tuple(others)) if others else None,
        )
        for name, (first, *others) in digests.items()
    }


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
