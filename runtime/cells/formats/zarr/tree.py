"""The groups, attributes and files of a zarr store, in a folder or in a zip archive.

One decision: each node's own description is read, never the consolidated one of the root: that is
a copy, which may name what is not there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from c2t.runtime.cells.formats.archive_members import (
    ZARR_NAMES,
    FolderMembers,
    Members,
    ZipMembers,
    reading_zip,
)
from c2t.runtime.cells.formats.streams import reading
from c2t.runtime.system.checked_read import decode_json
from c2t.runtime.system.errors import CellFileError

# The root's description may hold a copy of all others.
JSON_BYTES_MAX = 64 << 20
_HINT = "the store is damaged; copy it again from its source"


class Tree:
    """The nodes of a store, by their paths: "obs/cell_type".

    Args:
        path: A folder, or a zip archive.

    Raises:
        CellFileError: It holds no zarr store, or is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.name = path.resolve().name
        self._members: Members = FolderMembers(path) if path.is_dir() else ZipMembers(path)
        self._root = "" if path.is_dir() else self._root_of_archive()
        self._nodes: dict[str, dict[str, Any]] = {}

    def kind(self, place: str) -> str:
        """What is at a place: "array", "group", or "" for nothing."""
        described = self._described(place)
        return str(described.get("node_type", ""))

    def attributes(self, place: str) -> dict[str, Any]:
        """The attributes of a node; none where nothing is."""
        attributes = self._described(place).get("attributes")
        return attributes if isinstance(attributes, dict) else {}

    def array_description(self, place: str) -> Any:
        """What is stated of an array."""
        return self._described(place).get("array")

    def children(self, place: str) -> list[str]:
        """The names of the nodes in a group, sorted."""
        names = self._members.children(self._name(place))
        return [name for name in names if self.kind(join(place, name))]

    def size(self, place: str) -> int | None:
        """Bytes of a file below a node; None if there is none."""
        name = self._name(place)
        with reading_zip(self._members.path):
            return self._members.size(name) if self._members.has(name) else None

    def read(self, place: str, most: int, *, start: int = 0, count: int | None = None) -> bytes:
        """Read a file below a node, or some of its bytes.

        Args:
            place: The file.
            most: Bytes that it may have, or that may be asked for.
            start: The first byte.
            count: How many; None for all.

        Raises:
            CellFileError: It is longer, damaged, a link, or no file.
        """
        name = self._name(place)
        key = f"{self.name}/{place}"
        with reading(key):
            size = self._members.size(name)
            wanted = size - start if count is None else count
            if wanted > most or wanted < 0 or start < 0 or start + wanted > size:
                problem = f"{key} has {size:,} bytes; {wanted:,} from {start:,} on are stated, and "
                problem += f"at most {most:,} are read"
                raise CellFileError(problem, hint=_HINT)
            with self._members.open(name) as stream:
                stream.seek(start)
                content = stream.read(wanted)
        if len(content) != wanted:
            problem = f"{key} ends after {len(content):,} of {wanted:,} bytes"
            raise CellFileError(problem, hint=_HINT)
        return content

    def close(self) -> None:
        """Close the archive."""
        self._members.close()

    def _described(self, place: str) -> dict[str, Any]:
        """The node in the terms of format 3, with what is stated of an array under "array"."""
        if place not in self._nodes:
            self._nodes[place] = self._describe(place)
        return self._nodes[place]

    def _describe(self, place: str) -> dict[str, Any]:
        described = self._json(join(place, "zarr.json"))
        if described is not None:
            return {**described, "array": described}
        array, group = self._json(join(place, ".zarray")), self._json(join(place, ".zgroup"))
        if array is None and group is None:
            return {}
        return {
            "node_type": "group" if array is None else "array",
            "attributes": self._json(join(place, ".zattrs")) or {},
            "array": array,
        }

    def _json(self, place: str) -> dict[str, Any] | None:
        if self.size(place) is None:
            return None
        content = self.read(place, JSON_BYTES_MAX)
        return decode_json(
            content,
            dict[str, Any],
            name=f"{self.name}/{place}",
            error=CellFileError,
            hint=_HINT,
        )

    def _name(self, place: str) -> str:
        parts = place.split("/") if place else []
        if any(part in ("", ".", "..") or "\0" in part or "\\" in part for part in parts):
            problem = f"{self.name}: {place!r} is not the place of a node"
            raise CellFileError(problem, hint=_HINT)
        return "/".join([*([self._root] if self._root else []), *parts])

    def _root_of_archive(self) -> str:
        """The folder of an archive that is the store."""
        folders = [
            name.rpartition("/")[0]
            for name in self._members.names()
            if name.rpartition("/")[2] in ZARR_NAMES
        ]
        return min(folders, key=lambda folder: (folder.count("/") + bool(folder), folder))


def join(place: str, name: str) -> str:
    """The place of a node in a group."""
    return f"{place}/{name}" if place else name


def check_name(name: Any, key: str) -> str:
    """A name of a member that an attribute states.

    Raises:
        CellFileError: It is a path, or no text.
    """
    if not isinstance(name, str) or "/" in name or name in ("", ".", "..") or "\\" in name:
        problem = f"{key}: {name!r} is not the name of a member"
        raise CellFileError(problem, hint=_HINT)
    return name
