"""What a folder of parts says of itself: `manifest.json`, written last.

One decision: a folder with a manifest is complete, a folder without one is not. Whoever copies or
reads parts can check each by its SHA-256.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from c2t.runtime.bundle.hashes import sha256_of
from c2t.runtime.output.cells_mark import CellsMark
from c2t.runtime.system.checked_read import decode_json
from c2t.runtime.system.errors import OutputError

MANIFEST = "manifest.json"
MANIFEST_FORMAT = "c2t parts 1"
GROUPS, CELL_GROUPS = "groups.csv", "cell_groups.parquet"  # beside the parts of grouped cells
ERRORS_KEPT = 10  # the most frequent ones of a part, with their numbers
REPAIR_HINT = "copy the folder again from its source, or describe again with --force"


class PartEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One part as it was written.

    Attributes:
        file: Its name.
        first: Its first cell's place among the cells that were described.
        rows: Its cells.
        bytes: Its length.
        sha256: Its hash.
        failed: Cells with an error instead of a text.
        errors: The most frequent errors, with the number of their cells.
    """

    file: str
    first: int
    rows: int
    bytes: int
    sha256: str
    failed: int
    errors: dict[str, int]


class PartsManifest(msgspec.Struct, frozen=True, kw_only=True):
    """All that says what was described, with what, and where it lies.

    Attributes:
        format: `MANIFEST_FORMAT`.
        c2t_version: Version of c2t that described the cells.
        bundle_sha256: Digest of the bundle.
        cells: The file of cells as it was.
        rows: Cells described.
        rows_sha256: SHA-256 of their rows in that file (int64, little-endian).
        failed: Those with an error instead of a text.
        settings: All settings that change a text.
        about: Provenance: bundle, engine, how counts and genes were read.
        parts: In the order of the cells.
        beside: SHA-256 of the other files of the run, by name. Manifests before groups were hashed
            have none.
    """

    format: str
    c2t_version: str
    bundle_sha256: str
    cells: CellsMark
    rows: int
    rows_sha256: str
    failed: int
    settings: dict[str, str]
    about: dict[str, Any]
    parts: tuple[PartEntry, ...]
    beside: dict[str, str] = {}


def errors_of(entries: Iterable[PartEntry]) -> Counter[str]:
    """The errors of several parts together."""
    errors = Counter[str]()
    for entry in entries:
        errors.update(entry.errors)
    return errors


def read_manifest(folder: Path) -> PartsManifest:
    """Read a folder's manifest.

    Raises:
        OutputError: There is none, or it is not one of ours.
    """
    try:
        content = (folder / MANIFEST).read_bytes()
    except OSError as error:
        problem = f"{folder} has no {MANIFEST} that can be read: {error.strerror}"
        hint = "its run is not finished: run the same command again"
        raise OutputError(problem, hint=hint) from error
    manifest = decode_json(
        content, PartsManifest, name=folder / MANIFEST, error=OutputError, hint=REPAIR_HINT
    )
    if manifest.format != MANIFEST_FORMAT:
        problem = f"{folder / MANIFEST} has the format {manifest.format!r}"
        raise OutputError(problem, hint=f"this c2t reads {MANIFEST_FORMAT!r}")
    return manifest


def check_part(folder: Path, entry: PartEntry) -> None:
    """Refuse a part that is not as it was written.

    Raises:
        OutputError: It is missing, or its content is another.
    """
    _check_file(folder / entry.file, entry.sha256, length=entry.bytes)


def _check_file(path: Path, sha256: str, *, length: int | None = None) -> None:
    try:
        same = length in (None, path.stat().st_size) and sha256_of(path) == sha256
    except OSError as error:
        problem = f"{path} cannot be read: {error.strerror}"
        raise OutputError(problem, hint=REPAIR_HINT) from error
    if not same:
        problem = f"{path} is not as it was written: its SHA-256 is another"
        raise OutputError(problem, hint=REPAIR_HINT)


def check_parts(folder: Path) -> PartsManifest:
    """Read a manifest, and compare every part and every file beside them with it.

    Raises:
        OutputError: Names the first file that is missing or differs.
    """
    manifest = read_manifest(folder)
    following = 0
    for number, entry in enumerate(manifest.parts):
        if Path(entry.file).name != entry.file or entry.first != following or entry.rows < 1:
            problem = f"{folder / MANIFEST} has a part {number} that does not follow the others"
            raise OutputError(problem, hint=REPAIR_HINT)
        check_part(folder, entry)
        following += entry.rows
    for name, sha256 in manifest.beside.items():
        if name not in (GROUPS, CELL_GROUPS):
            problem = f"{folder / MANIFEST} names {name!r}, which is no file of such a folder"
            raise OutputError(problem, hint=REPAIR_HINT)
        _check_file(folder / name, sha256)
    if following != manifest.rows:
        problem = f"the parts of {folder} hold {following:,} of {manifest.rows:,} cells"
        raise OutputError(problem, hint=REPAIR_HINT)
    return manifest
