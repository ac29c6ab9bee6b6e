"""Files that are described where they lie: only those in allowed folders, wherever links lead.

One decision: a path is judged once its links are followed, and then opened without following any
(`opening.py`). So what is read is what was judged, even if somebody exchanges a folder meanwhile.
"""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from c2t.runtime.serve.jobs.errors import PathRefusedError
from c2t.runtime.serve.jobs.folders import LINKS_PREFIX
from c2t.runtime.serve.jobs.inputs.opening import exchanged, open_without_links
from c2t.runtime.serve.jobs.state import PATH_BYTES_MAX
from c2t.runtime.system.portable.file_names import name_problem

OPEN_FILES = Path("/proc/self/fd")  # Linux: an open file has a path of its own


class AllowedFolders:
    """The folders whose files may be described by their path.

    Args:
        folders: They must be there.
        private: A folder that is never allowed: the jobs' own.

    Raises:
        PathRefusedError: One is not there, or no folder.
    """

    def __init__(self, folders: Sequence[Path], *, private: Path) -> None:
        self._private = Path(os.path.realpath(private))
        self._folders = []
        for folder in folders:
            place = Path(os.path.realpath(folder))
            if not place.is_dir():
                problem = f"{folder} is no folder, so no files in it can be allowed"
                raise PathRefusedError(problem, hint="give --allow-folder a folder that is there")
            self._folders.append(place)

    def find(self, path: str) -> Path:
        """Where a path leads, if that is a file in an allowed folder.

        Raises:
            PathRefusedError: It is not, or it is no regular file.
        """
        place = self._judged(path)
        os.close(self._opened(place, path))
        return place

    @contextmanager
    def open(self, place: Path, folder: Path) -> Iterator[Path]:
        """Open a file that was found, and give a path that leads to what was opened.

        Args:
            place: From `find`; it is judged again.
            folder: Where the path may lie: a private folder.

        Yields:
            A path of the same name. It leads to the open file, whatever is renamed meanwhile;
            where the system has no such paths, to the place. On Windows it is the place: neither
            the file nor its folders can be renamed while it is open.

        Raises:
            PathRefusedError: As `find`.
        """
        handle = self._opened(self._judged(str(place)), str(place))
        try:
            if sys.platform == "win32":
                yield place
                return
            with tempfile.TemporaryDirectory(prefix=LINKS_PREFIX, dir=folder) as links:
                link = Path(links) / place.name
                own = OPEN_FILES / str(handle)
                link.symlink_to(own if own.exists() else place)
                if not os.path.samestat(link.stat(), os.fstat(handle)):
                    raise exchanged(str(place))
                yield link
        finally:
            os.close(handle)

    def _judged(self, path: str) -> Path:
        refused = PathRefusedError(
            f"{path if path.isprintable() else ascii(path)} is not in a folder whose files may be "
            "described here",
            hint=self._hint(),
        )
        if not self._may_be_followed(path):
            raise refused
        try:
            if len(os.fsencode(path)) > PATH_BYTES_MAX:
                raise refused
            place = Path(os.path.realpath(path))
        except (OSError, ValueError) as error:
            raise refused from error
        allowed = self._base(place) is not None and not place.is_relative_to(self._private)
        if not allowed or not str(place).isprintable():  # names go into states and headers
            raise refused
        return place

    def _may_be_followed(self, path: str) -> bool:
        """Whether looking at a path is harmless, before anything is known of it.

        On Windows, a share's machine would be told this user's name and password's hash, and
        opening a device may do something.
        """
        if not os.path.isabs(path) or "\0" in path:  # noqa: PTH117
            return False
        if sys.platform != "win32":
            return True
        drive, *names = Path(path).parts
        if drive.startswith("\\\\") and not any(f.drive[:2] == "\\\\" for f in self._folders):
            return False
        return not any(name_problem(name) for name in names)

    def _base(self, place: Path) -> Path | None:
        """The allowed folder that holds a place."""
        inside = (folder for folder in self._folders if place.is_relative_to(folder))
        return next((folder for folder in inside if folder != place), None)

    def _hint(self) -> str:
        if not self._folders:
            return "send the file itself, or start the service with --allow-folder FOLDER"
        return f"send the file itself, or move it to {' or '.join(map(str, self._folders))}"

    def _opened(self, place: Path, said: str) -> int:
        """Open a judged place without following links."""
        base = self._base(place)
        assert base is not None
        handle = open_without_links(base, place, said)
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise exchanged(said)
        return handle
