"""Small bundles whose files have block hashes, and what is hashed of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from c2t.runtime.bundle import checked_files, file_parts, hashes
from c2t.runtime.bundle.file_parts import Part
from c2t.runtime.bundle.hashes import file_entries
from c2t.runtime.bundle.manifest import MANIFEST_NAME
from c2t.runtime.bundle.manifest_file import parse_manifest, write_manifest

BLOCK = 5000  # bytes: tensors begin and end within blocks, and the last block is shorter
LONG = 10_000


def short_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of a few thousand bytes count as long, and have short blocks."""
    monkeypatch.setattr(file_parts, "LONG_BYTES", LONG)
    monkeypatch.setattr(checked_files, "LONG_BYTES", LONG)
    monkeypatch.setattr(file_parts, "BLOCK_BYTES", BLOCK)


def give_blocks(folder: Path) -> Path:
    """Write a bundle's manifest again, with block hashes of its long files."""
    manifest = parse_manifest((folder / MANIFEST_NAME).read_bytes())
    write_manifest(folder, manifest.replace(files=file_entries(folder, manifest.files)))
    return folder


def record_hashing(monkeypatch: pytest.MonkeyPatch) -> list[Part]:
    """A list that each part which is hashed from now on is added to."""
    hashed: list[Part] = []
    real = hashes._hashed

    def recorded(folder: Path, part: Part, progress: Any) -> Any:
        hashed.append(part)
        return real(folder, part, progress)

    monkeypatch.setattr(hashes, "_hashed", recorded)
    return hashed


def flip(path: Path, place: int) -> None:
    """Change one byte of a file."""
    with path.open("r+b") as file:
        file.seek(place)
        (old,) = file.read(1)
        file.seek(place)
        file.write(bytes([old ^ 1]))
