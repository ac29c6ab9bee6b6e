"""A folder and its signature: exactly the files that were signed, and no link among them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from c2t.runtime.system.errors import TrustError
from c2t.runtime.trust.envelope import unseal
from c2t.runtime.trust.keys import TrustedKey
from c2t.runtime.trust.statement import HINT, SIGNATURE_NAME, read_statement

FILES_MAX = 10_000
NAMED = 5  # files that a message names; it counts the others


@dataclass(frozen=True, kw_only=True)
class SignedFolder:
    """The files of a folder that a key has signed. Their contents are still to be compared.

    Attributes:
        folder: Where they lie.
        files: SHA-256 of each in hexadecimal, by its path in the folder with "/".
        key: Whose signature it is.
        blocks_compared: See `c2t.runtime.trust.statement.Statement`.
    """

    folder: Path
    files: Mapping[str, str]
    key: TrustedKey
    blocks_compared: bool

    @staticmethod
    def open(folder: Path, key: TrustedKey) -> SignedFolder:
        """Check the signature of a folder, and which files lie in it.

        Raises:
            TrustError: Not signed by this key; a file that was not signed, or is gone; a link.
        """
        path = folder / SIGNATURE_NAME
        if not os.path.lexists(path):
            problem = f"{folder} is not signed: it has no {SIGNATURE_NAME}"
            raise TrustError(problem, hint=HINT)
        statement = read_statement(unseal(path, key), str(path))
        files = statement.files
        found = set(folder_files(folder, at_most=len(files) + 1))
        refuse("not signed", found - files.keys(), folder)
        refuse("signed, and not there", files.keys() - found, folder)
        return SignedFolder(
            folder=folder, files=files, key=key, blocks_compared=statement.blocks_compared
        )

    def compare(self, digests: Mapping[str, str]) -> None:
        """Compare SHA-256 of files, by their names, with those that were signed.

        Raises:
            TrustError: One is another, or was not signed.
        """
        other = [name for name, digest in digests.items() if self.files.get(name) != digest]
        refuse("not what was signed", other, self.folder)


def folder_files(folder: Path, *, at_most: int = FILES_MAX) -> Iterator[str]:
    """Paths of all files of a folder and its folders but the signature, with "/".

    Args:
        folder: Where to look.
        at_most: Files; a few more than these are looked at, and no more.

    Raises:
        TrustError: A link, a pipe or a device lies there, or a folder cannot be read.
    """
    count = 0
    folders = [""]
    while folders and count < at_most + NAMED:
        within = folders.pop()
        for name, mode in _entries(folder, within):
            if stat.S_ISDIR(mode):
                folders.append(f"{name}/")
            elif not stat.S_ISREG(mode):
                refuse("links or devices, which cannot be signed", [name], folder)
            elif name != SIGNATURE_NAME:
                count += 1
                yield name


def _entries(folder: Path, within: str) -> list[tuple[str, int]]:
    """Path and mode of each entry of a folder in a folder."""
    try:
        with os.scandir(folder / within) as entries:
            return sorted(
                (f"{within}{entry.name}", entry.stat(follow_symlinks=False).st_mode)
                for entry in entries
            )
    except OSError as error:
        problem = f"cannot read {folder / within}: {error.strerror}"
        raise TrustError(problem, hint="mend that and run the same command again") from error


def refuse(what: str, names: Iterable[str], folder: Path) -> None:
    """Raise an error that names some files, if there are any."""
    listed = sorted(names)
    if listed:
        more = f" and {len(listed) - NAMED:,} more" if len(listed) > NAMED else ""
        problem = f"files of {folder} are {what}: {', '.join(listed[:NAMED])}{more}"
        raise TrustError(problem, hint=HINT)
