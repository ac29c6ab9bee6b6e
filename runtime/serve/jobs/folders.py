"""The jobs' folder: what lies where, who may use it, and how things in it become lasting.

    lock                  held while a service uses the folder
    state.sqlite3         which jobs there are, and how far (store.py)
    incoming/ID/          uploads under way; emptied at each start
    jobs/ID/request.json  what was asked for
    jobs/ID/input/NAME    the file of cells, if it was sent
    jobs/ID/journal       its results so far, and in the end all of them
    jobs/ID/index         where each line of the journal begins
    jobs/ID/picture/      places of the cells in a plane
    jobs/ID/results/      files made when they were asked for

One decision: the state is the truth. A folder without a state was left by a kill and is removed.
"""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from c2t.runtime.serve.jobs.errors import JobError, StorageError
from c2t.runtime.system.portable.file_lock import try_lock
from c2t.runtime.system.portable.file_names import name_problem
from c2t.runtime.system.portable.sync import sync_path

NAME_BYTES_MAX = 200
LINKS_PREFIX = ".open-"  # of folders with a link to a file that is open
OUT_OF_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
ROOM_HINT = "make room on its disk, or remove jobs"


@dataclass(frozen=True)
class JobFolder:
    """Where the parts of one job lie.

    Args:
        path: Its folder.
    """

    path: Path

    @property
    def request(self) -> Path:
        """What was asked for, JSON."""
        return self.path / "request.json"

    @property
    def input(self) -> Path:
        """Folder of the file that was sent."""
        return self.path / "input"

    @property
    def journal(self) -> Path:
        """The results; see `c2t.runtime.output.journal`."""
        return self.path / "journal"

    @property
    def index(self) -> Path:
        """Where each line of the journal begins."""
        return self.path / "index"

    @property
    def picture(self) -> Path:
        """Folder of what places the cells in a plane."""
        return self.path / "picture"

    @property
    def columns(self) -> Path:
        """The columns of a job that has ended."""
        return self.picture / "columns"

    @property
    def columns_so_far(self) -> Path:
        """The columns of a job that runs."""
        return self.picture / "columns_so_far"

    @property
    def groups(self) -> Path:
        """The groups of the cells, where they were asked for; see `groups.py`."""
        return self.path / "groups"

    @property
    def results(self) -> Path:
        """Folder of the files that were asked for."""
        return self.path / "results"

    def bytes(self) -> int:
        """Size of all files in it."""
        total = 0
        for folder, _, names in os.walk(self.path):
            for name in names:
                try:
                    total += os.lstat(os.path.join(folder, name)).st_size  # noqa: PTH118
                except FileNotFoundError:
                    continue
        return total

    def tidy(self) -> None:
        """Remove what a kill left of opening a file."""
        for links in self.path.glob(f"{LINKS_PREFIX}*"):
            shutil.rmtree(links, ignore_errors=True)

    def forget_files(self) -> None:
        """Remove the files that were made of its results."""
        shutil.rmtree(self.results, ignore_errors=True)
        self.columns.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove all of it; what cannot be removed now is at the next start."""
        shutil.rmtree(self.path, ignore_errors=True)


class Folders:
    """The folder of all jobs, locked for this process.

    Args:
        root: It is made if it is not there.

    Raises:
        StorageError: It cannot be made, belongs to somebody else, or another service uses it.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(os.path.abspath(root))  # noqa: PTH100 - links stay: they may be moved
        with storing(f"the jobs' folder {root}"):
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            _check_private(self.root)
            for folder in (self.root / "incoming", self.root / "jobs"):
                folder.mkdir(mode=0o700, exist_ok=True)
            self._lock = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _lock(self._lock, self.root)
        except BaseException:
            os.close(self._lock)
            raise

    @property
    def state(self) -> Path:
        """The data base of states."""
        return self.root / "state.sqlite3"

    def job(self, job_id: str) -> JobFolder:
        """Where a job lies."""
        return JobFolder(self.root / "jobs" / job_id)

    def incoming(self, job_id: str) -> JobFolder:
        """Where a job lies that is being made."""
        return JobFolder(self.root / "incoming" / job_id)

    def clean(self, known: set[str]) -> None:
        """Remove what a kill left: jobs that were never made, or were being removed.

        Args:
            known: Jobs that there are.
        """
        for folder in (self.root / "incoming").iterdir():
            JobFolder(folder).remove()
        for folder in (self.root / "jobs").iterdir():
            if folder.name not in known:
                JobFolder(folder).remove()

    def put_in_place(self, job_id: str) -> JobFolder:
        """Let a job that was being made be one, on the disk when this returns."""
        made, place = self.incoming(job_id), self.job(job_id)
        for folder, _, names in os.walk(made.path):
            for name in names:
                sync_path(Path(folder) / name)
            sync_path(Path(folder))
        made.path.rename(place.path)
        sync_path(place.path.parent)
        return place

    def check_room(self, wanted: int) -> None:
        """Refuse bytes that the disk has no room for.

        Raises:
            StorageError: There are fewer.
        """
        free = shutil.disk_usage(self.root).free
        if wanted > free:
            problem = f"the file has {wanted:,} bytes; the disk of the jobs has room for {free:,}"
            raise StorageError(problem, hint=ROOM_HINT)

    def close(self) -> None:
        """Let others use the folder."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def check_name(name: str) -> str:
    """The name of a file that is sent, if a file can be called so.

    Raises:
        JobError: It cannot.
    """
    said = name if name.isprintable() else ascii(name)
    problem = ""
    if not name or name.startswith("."):
        problem = f"a file cannot be called {said!r} here: it is empty or begins with a dot"
    elif any(sign in "/\\:" or not sign.isprintable() for sign in name):
        problem = f"a file cannot be called {said!r} here: it is a path, or not printable"
    elif len(os.fsencode(name)) > NAME_BYTES_MAX:
        problem = f"a file's name has at most {NAME_BYTES_MAX} bytes, not {len(name.encode()):,}"
    elif sys.platform == "win32" and (why := name_problem(name)):
        problem = f"a file cannot be called {said!r} here: it {why}"
    if problem:
        raise JobError(problem, hint="give a name such as cells.h5ad, without folders")
    return name


@contextmanager
def storing(what: str) -> Iterator[None]:
    """Turn an error of the file system or the data base into two lines.

    Args:
        what: What is being written.

    Raises:
        StorageError: Something could not be written.
    """
    try:
        yield
    except OSError as error:
        hint = ROOM_HINT if error.errno in OUT_OF_ROOM else "look at the jobs' folder, or name "
        hint += "" if error.errno in OUT_OF_ROOM else "another with --jobs-folder"
        problem = f"cannot write {what}: {error.strerror or error}"
        raise StorageError(problem, hint=hint) from error
    except sqlite3.Error as error:
        hint = ROOM_HINT if "full" in str(error) else "name a folder on a local disk with "
        hint += "" if "full" in str(error) else "--jobs-folder"
        problem = f"cannot write {what}: {error}"
        raise StorageError(problem, hint=hint) from error


def _check_private(root: Path) -> None:
    status = root.stat()
    if hasattr(os, "geteuid") and status.st_uid != os.geteuid():
        problem = f"the jobs' folder {root} belongs to another user"
        raise StorageError(problem, hint="name a folder of your own with --jobs-folder")
    if sys.platform != "win32" and status.st_mode & 0o077:
        if any(root.iterdir()) and not (root / "state.sqlite3").exists():
            # Somebody's home folder, by mistake: its rights are not ours to change.
            problem = f"the jobs' folder {root} holds other files, and others may read it"
            raise StorageError(problem, hint="name an empty folder with --jobs-folder")
        root.chmod(0o700)


def _lock(handle: int, root: Path) -> None:
    try:
        try_lock(handle)
    except BlockingIOError as error:
        problem = f"another service uses the jobs' folder {root}"
        raise StorageError(problem, hint="stop it, or pass another --jobs-folder") from error
    except OSError as error:
        problem = f"the jobs' folder {root} cannot be locked: {error.strerror}"
        hint = "name a folder on a local disk with --jobs-folder"
        raise StorageError(problem, hint=hint) from error
