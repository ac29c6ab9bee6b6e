"""Which bytes of a bundle's files were compared with their hashes, and which must be before use.

One decision: whoever is given a file, or a tensor of one, gets it from here, after what he may read
of it was compared. So an engine that reads a tenth of a file has a tenth of it hashed, and nothing
is read that was not.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from c2t.runtime.bundle.file_parts import LONG_BYTES, Part, stated_parts
from c2t.runtime.bundle.hashes import COPY_HINT, FileState, Progress, compare_parts
from c2t.runtime.bundle.manifest import FileEntry
from c2t.runtime.system.errors import BundleError

# Given the number of bytes that are about to be hashed, shows how far that is.
Showing = Callable[[int], AbstractContextManager[Progress]]


class CheckedFiles:
    """The files of a folder, and what is known of them. Any thread may ask.

    Args:
        folder: Where they lie.
        entries: Length and hashes, by plain name.
        states: The state of each when its name and length were checked.
        on_use: Compare what is asked for before it is handed out.
        wholly: A file's own SHA-256 counts, too, where there are hashes of its blocks.
    """

    def __init__(
        self,
        folder: Path,
        entries: Mapping[str, FileEntry],
        states: Mapping[str, FileState],
        *,
        on_use: bool = False,
        wholly: bool = False,
    ) -> None:
        self._folder = folder
        self._entries = entries
        self._states = dict(states)
        self._wholly = wholly
        self._unchecked = self._all_parts()
        self._used: set[str] = set()  # what they hold was compared, at least in part
        self._on_use = on_use
        self._showing: Showing = _show_nothing
        self._lock = threading.RLock()

    def check_on_use(self, showing: Showing | None = None, *, wholly: bool = False) -> None:
        """Compare short files now, and what is asked for of others before it is handed out.

        Args:
            showing: Shows the progress of what takes longer than a moment.
            wholly: A file's own SHA-256 counts, too, from now on.

        Raises:
            BundleError: A short file differs.
        """
        self._on_use = True
        if wholly and not self._wholly:
            self._wholly = True
            self._unchecked = self._all_parts()
        self._showing = showing or _show_nothing
        self.check(at_most=LONG_BYTES)

    def check(
        self,
        *,
        at_most: int | None = None,
        wholly: bool = False,
        progress: Progress | None = None,
    ) -> None:
        """Compare files now.

        Args:
            at_most: Bytes; longer files are left out. None: of any length.
            wholly: Compare a file's own SHA-256, too, where there are hashes of its blocks.
            progress: Called with the number of bytes hashed since its last call.

        Raises:
            BundleError: Lists every file that differs, or names one that cannot be read.
        """
        entries = {
            name: entry
            for name, entry in self._entries.items()
            if at_most is None or entry.bytes <= at_most
        }
        wholly = wholly or self._wholly
        with self._lock:
            self._used -= entries.keys()  # all of what they hold is compared anew
            parts = [
                part
                for name, entry in entries.items()
                for part in stated_parts(name, entry, wholly=wholly)
            ]
            self._compare(parts, progress)

    def need(self, names: Iterable[str]) -> None:
        """All of these files is about to be read.

        Raises:
            BundleError: One differs, or changed after it was checked.
        """
        names = tuple(names)
        self._need([part for name in names for part in self._unchecked[name]])
        self.check_unchanged(names)

    def need_range(self, name: str, start: int, end: int) -> None:
        """These bytes of a file are about to be read; others of it will not be.

        Raises:
            BundleError: They differ, or the file changed after it was checked.
        """
        touched = [
            part
            for part in self._unchecked[name]
            if part.is_whole or (part.start < end and start < (part.end or 0))
        ]
        self._need(touched)
        self.check_unchanged([name])

    def check_unchanged(self, names: Iterable[str] | None = None) -> None:
        """Refuse files that were written to, or exchanged, since they were checked.

        Args:
            names: The files to look at; None: all.

        Raises:
            BundleError: Names the first one.
        """
        for name in self._states if names is None else names:
            if self._state(name) != self._states[name]:
                self._refuse_changed(name)

    def _all_parts(self) -> dict[str, dict[Part, None]]:
        """By name, in order; a file may have thousands, each of which is looked for.

        Other threads may read what is there: it is exchanged, never changed.
        """
        return {
            name: dict.fromkeys(stated_parts(name, entry, wholly=self._wholly))
            for name, entry in self._entries.items()
        }

    def _state(self, name: str) -> FileState | None:
        """A file's state now; None where it is gone."""
        try:
            return FileState.of(self._folder / name)
        except OSError:
            return None

    def _need(self, parts: list[Part]) -> None:
        if not (self._on_use and parts):
            return
        with self._lock:
            # Another thread may have compared them meanwhile.
            parts = [part for part in parts if part in self._unchecked[part.name]]
            if not parts:
                return
            wholes = {part.name for part in parts if part.is_whole}
            total = sum(
                self._entries[part.name].bytes if part.end is None else part.end - part.start
                for part in parts
                if part.is_whole or part.name not in wholes
            )
            with (self._showing if total > LONG_BYTES else _show_nothing)(total) as progress:
                self._compare(parts, progress)

    def _compare(self, parts: list[Part], progress: Progress | None) -> None:
        try:
            states, changed = compare_parts(self._folder, parts, self._entries, progress=progress)
        except OSError as error:
            problem = f"cannot read {error.filename}: {error.strerror}"
            raise BundleError(problem, hint=COPY_HINT) from error
        if changed:
            problem = (
                f"changed since the bundle was written (SHA-256 differs): {', '.join(changed)}"
            )
            raise BundleError(problem, hint=COPY_HINT)
        for part, state in zip(parts, states, strict=True):
            # Its parts are of one file: that which was compared first.
            if part.name in self._used and state != self._states[part.name]:
                self._refuse_changed(part.name)
            self._states[part.name] = state
            self._used.add(part.name)
        for name in {part.name for part in parts}:
            done = {part for part in parts if part.name == name}
            left = (part for part in self._unchecked[name] if part not in done)
            self._unchecked[name] = dict.fromkeys(left)

    def _refuse_changed(self, name: str) -> None:
        problem = f"{name} of the bundle has changed since it was checked"
        raise BundleError(problem, hint="open the bundle again when nothing writes to it")


def _show_nothing(_total: int) -> AbstractContextManager[Progress]:
    return nullcontext(lambda _count: None)
