"""The files of installed packages, compared with the hashes that their wheels brought (RECORD).

One decision: what cannot be compared is no pass. A package without hashes, one that is edited in
place, and a file that no package has brought are named like one that was changed. Only compiled
copies in `__pycache__`, which Python makes itself, are left out.
"""

from __future__ import annotations

import base64
import binascii
import csv
import hashlib
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import Distribution
from pathlib import Path

from c2t.runtime.qualify.packages import Installed

ALGORITHMS = frozenset({"sha256", "sha384", "sha512"})
CACHE = "__pycache__"


@dataclass(frozen=True, kw_only=True)
class FileCheck:
    """A file, its expected hash, and the one that it has.

    Attributes:
        name: Below its package's folder, or the bundle's.
        expected: In hexadecimal digits; None: nothing says which it should have.
        found: None: it is not there, or cannot be read.
    """

    name: str
    expected: str | None
    found: str | None

    @property
    def right(self) -> bool:
        """Whether it is as it should be."""
        return self.expected is not None and self.expected == self.found


@dataclass(frozen=True, kw_only=True)
class PackageCheck:
    """A package, and its files.

    Attributes:
        files: All that RECORD has a hash of, and those that it does not know.
        problem: Why its files cannot be compared at all; "": they were.
    """

    name: str
    version: str
    files: tuple[FileCheck, ...]
    problem: str

    @property
    def faults(self) -> tuple[str, ...]:
        """What is not as it should be, a few words each."""
        words = [f"{self.name}: {self.problem}"] if self.problem else []
        for file in self.files:
            if file.right:
                continue
            how = "not there" if file.found is None else "changed"
            how = "not of the package" if file.expected is None else how
            words.append(f"{file.name} ({how})")
        return tuple(words)


def check_packages(installed: Installed) -> tuple[PackageCheck, ...]:
    """Compare the files of all packages that c2t runs on; reads each once."""
    listed: set[str] = set()
    for other in installed.every.values():
        listed.update(str(_place(other, row[0])) for row in _rows(other))
    walked: set[Path] = set()
    with ThreadPoolExecutor(max_workers=2) as pool:  # hashlib releases the interpreter lock
        checks = []
        for name in installed.running:
            package = installed.every[name]
            rows = [row for row in _rows(package) if row[1]]
            hashed = pool.map(lambda row, of=package: _compare(of, row), rows)
            files = list(hashed)
            files += _unlisted(package, rows, listed, walked)
            checks.append(
                PackageCheck(
                    name=name,
                    version=package.version,
                    files=tuple(files),
                    problem=_problem(package, rows),
                )
            )
    return tuple(checks)


def _problem(package: Distribution, rows: list[list[str]]) -> str:
    place = _edited_in(package)
    if place is not None:
        return f"it is installed editable: its code in {place} can change at any time"
    return "" if rows else "it has no RECORD with hashes, so its files cannot be compared"


def _edited_in(package: Distribution) -> str | None:
    """The folder of a package that is edited in place."""
    text = package.read_text("direct_url.json")
    try:
        about = json.loads(text) if text else {}
        return str(about["url"]) if about["dir_info"]["editable"] else None
    except (ValueError, KeyError, TypeError):
        return None


def _rows(package: Distribution) -> list[list[str]]:
    """Name, hash and size of each file."""
    text = package.read_text("RECORD") or ""
    return [row for row in csv.reader(text.splitlines()) if len(row) == 3]


def _place(package: Distribution, name: str) -> Path:
    return Path(os.path.normpath(str(package.locate_file(name))))


def _compare(package: Distribution, row: list[str]) -> FileCheck:
    algorithm, _, value = row[1].partition("=")
    try:
        expected = base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)).hex()
    except (binascii.Error, ValueError):
        expected = ""
    found = None
    place = _place(package, row[0])
    if algorithm in ALGORITHMS and place.is_file():  # a pipe would wait for its writer
        try:
            with place.open("rb") as stream:
                found = hashlib.file_digest(stream, algorithm).hexdigest()
        except OSError:
            found = None
    return FileCheck(name=row[0], expected=expected or row[1], found=found)


def _unlisted(
    package: Distribution, rows: list[list[str]], listed: set[str], walked: set[Path]
) -> Iterator[FileCheck]:
    """Files in a package's folders that no package has brought: they may be imported, too."""
    paths = [Path(row[0]) for row in rows]
    # A path from the root, as pip writes it across drives, would have the whole disk walked.
    tops = {p.parts[0] for p in paths if len(p.parts) > 1 and not p.is_absolute()} - {".."}
    for top in sorted(tops):
        folder = _place(package, top)
        if folder in walked:
            continue
        walked.add(folder)
        for inside, folders, names in os.walk(folder):
            folders[:] = sorted(name for name in folders if name != CACHE)
            for name in sorted(names):
                path = Path(inside) / name
                if str(path) not in listed:
                    shown = str(path.relative_to(folder.parent))
                    yield FileCheck(name=shown, expected=None, found="")
