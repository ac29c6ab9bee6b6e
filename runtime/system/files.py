"""Files and folders that appear whole or not at all.

One decision: everything is written under a hidden name beside the target, on the same file system,
and one rename puts it in place. If an error or Ctrl-C stops the work, the target stays as it was.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from c2t.runtime.system.errors import OutputError
from c2t.runtime.system.portable.file_names import name_problem
from c2t.runtime.system.portable.open_flags import BINARY
from c2t.runtime.system.portable.sync import sync_path
from c2t.runtime.system.temporaries import (
    note_renaming,
    remove_litter,
    remove_notes,
    temporary_path,
    was_left_half_done,
)


def check_target(target: Path, *, force: bool = False) -> Path:
    """Refuse a file that cannot or must not be written; called before hours of work, not after.

    Args:
        target: The file to be written.
        force: Whether an existing file may be replaced.

    Returns:
        The absolute path with links followed, so that a link to a file stays a link.

    Raises:
        OutputError: The file exists, its place is a folder, or its folder is missing.
    """
    place = _resolved(target)
    if place.is_dir():
        problem = f"{target} is a folder; a file is to be written there"
        raise OutputError(problem, hint="name a file inside it")
    if place.exists() and not place.is_file():
        # A rename would put a file in its place, for all who use it.
        problem = f"{target} is a pipe or a device; a file is to be written there"
        raise OutputError(problem, hint="name a file, or leave the name out to print to the shell")
    if place.exists() and not force and not was_left_half_done(place):
        problem = f"{target} exists already"
        raise OutputError(problem, hint="pass --force to replace it, or choose another name")
    return place


def check_folder_target(
    target: Path, *, force: bool = False, marker: str = "manifest.json"
) -> Path:
    """Refuse a folder that cannot or must not be written; see `atomic_folder`.

    Returns:
        The absolute path with links followed.

    Raises:
        OutputError: Something else is there, or the folder to hold it is missing.
    """
    place = _resolved(target)
    if not os.path.lexists(place):
        return place
    if not place.is_dir():
        problem = f"{target} is a file; a folder is to be written there"
        raise OutputError(problem, hint="choose another name")
    if not any(place.iterdir()):
        return place
    if not force:
        problem = f"{target} exists already and is not empty"
        raise OutputError(problem, hint="pass --force to replace it, or choose another name")
    if not (place / marker).is_file():
        # --force with a mistyped name must not delete somebody's home folder.
        problem = f"{target} holds no {marker}, so it is not what would be replaced"
        raise OutputError(problem, hint="delete the folder yourself, or choose another name")
    return place


@contextlib.contextmanager
def atomic_file(target: Path, *, force: bool = False) -> Iterator[Path]:
    """Give a path to write to; when the block ends well, it becomes `target` in one step.

    Args:
        target: The file to write.
        force: Replace an existing file.

    Yields:
        An empty file beside the target, with the usual permissions; open and fill it.

    Raises:
        OutputError: See `check_target`; also when the place cannot be written.
    """
    with atomic_files([target], force=force) as (temporary,):
        yield temporary


@contextlib.contextmanager
def atomic_files(targets: Sequence[Path], *, force: bool = False) -> Iterator[list[Path]]:
    """Give paths to write to, which become the targets when all of them are on the disk.

    If the block fails, no target is there.

    Args:
        targets: The files to write.
        force: Replace existing files.

    Yields:
        For each target an empty file beside it, with the usual permissions; open and fill it.

    Raises:
        OutputError: See `check_target`; also when a place cannot be written.
    """
    places = [check_target(target, force=force) for target in targets]
    for place in places:
        remove_litter(place)
    temporaries = [temporary_path(place) for place in places]
    try:
        for target, temporary in zip(targets, temporaries, strict=True):
            _create(target, temporary)
        yield temporaries
        for temporary in temporaries:
            sync_path(temporary)
        for target in targets:
            check_target(target, force=force)
        _put_in_place(temporaries, places)
        for folder in {place.parent for place in places}:
            sync_path(folder)
    except BaseException:
        for temporary in temporaries:
            temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def atomic_folder(
    target: Path, *, force: bool = False, marker: str = "manifest.json"
) -> Iterator[Path]:
    """Give an empty folder to fill; when the block ends well, it becomes `target`.

    Args:
        target: The folder to write. An empty one may be there already.
        force: Replace an existing folder, if it holds a file called `marker`.
        marker: A file that an existing folder must hold, so that no other folder is replaced.

    Yields:
        The folder to fill, beside the target.

    Raises:
        OutputError: See `check_folder_target`; also when the place cannot be written.
    """
    remove_litter(Path(os.path.realpath(target)))  # may put back a folder that is to be checked
    place = check_folder_target(target, force=force, marker=marker)
    temporary = temporary_path(place)
    try:
        temporary.mkdir()
    except OSError as error:
        problem = f"cannot write {target}: {error.strerror}"
        raise OutputError(problem, hint="choose a place that you may write to") from error
    try:
        yield temporary
        for folder, _, names in os.walk(temporary):
            for name in names:
                sync_path(Path(folder) / name)
            sync_path(Path(folder))
        check_folder_target(target, force=force, marker=marker)
        _exchange(temporary, place)
        sync_path(place.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def write_text(target: Path, text: str, *, force: bool = False) -> None:
    """Write a small UTF-8 text file atomically; see `atomic_file`."""
    with atomic_file(target, force=force) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def _resolved(target: Path) -> Path:
    if sys.platform == "win32" and (why := name_problem(target.name)):
        problem = f"cannot write {target}: {target.name!r} {why}"
        raise OutputError(problem, hint="choose another name")
    place = Path(os.path.realpath(target))
    if not place.parent.is_dir():
        problem = f"cannot write {target}: there is no folder {place.parent}"
        command = "mkdir" if sys.platform == "win32" else "mkdir -p"
        raise OutputError(problem, hint=f"make it first: {command} {place.parent}")
    if not os.access(place.parent, os.W_OK | os.X_OK):
        problem = f"cannot write {target}: {place.parent} may not be written to"
        raise OutputError(problem, hint="choose a place that you may write to")
    longest = os.pathconf(place.parent, "PC_NAME_MAX") if hasattr(os, "pathconf") else 255
    if len(os.fsencode(temporary_path(place).name)) > longest:
        problem = f"cannot write {target}: its name is too long for a hidden file beside it"
        raise OutputError(problem, hint="choose a shorter name")
    return place


def _create(target: Path, temporary: Path) -> None:
    try:
        # O_EXCL and 0o666 (less the umask): tempfile's 0o600 would hide the result from colleagues.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | BINARY, 0o666))
    except OSError as error:
        problem = f"cannot write {target}: {error.strerror}"
        raise OutputError(problem, hint="choose a place that you may write to") from error


def _put_in_place(temporaries: Sequence[Path], places: Sequence[Path]) -> None:
    """Rename every file. Killed between two of them, the next run may replace the first."""
    if len(places) == 1:
        temporaries[0].replace(places[0])
        remove_notes(places[0])
        return
    notes = [note_renaming(*pair) for pair in zip(temporaries, places, strict=True)]
    for temporary, place in zip(temporaries, places, strict=True):
        temporary.replace(place)
    for note, place in zip(notes, places, strict=True):
        note.unlink()
        remove_notes(place)


def _exchange(temporary: Path, place: Path) -> None:
    """Rename `temporary` to `place`; a folder there changes places with it, and is deleted."""
    try:
        temporary.rename(place)  # also over an empty folder
    except OSError:
        if not place.is_dir():
            raise
    else:
        return
    if _swap(temporary, place):
        shutil.rmtree(temporary, ignore_errors=True)
        return
    aside = temporary_path(place, "old")
    try:
        place.rename(aside)
    except PermissionError as error:  # on Windows, while a file in it is open
        problem = f"cannot replace {place}: {error.strerror}"
        raise OutputError(problem, hint="close what uses it, or choose another name") from error
    try:
        temporary.rename(place)
    except BaseException:
        aside.rename(place)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _swap(one: Path, other: Path) -> bool:
    """Let two paths change places in one step; False where the system or its disk cannot."""
    try:
        renameat2 = ctypes.CDLL(None).renameat2
    except (AttributeError, OSError, TypeError):  # no Linux, or an old C library
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    paths = os.fsencode(one), os.fsencode(other)
    return bool(renameat2(here, paths[0], here, paths[1], exchange) == 0)
