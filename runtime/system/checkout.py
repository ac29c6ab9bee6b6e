"""Which commit an unreleased c2t is of: read from the checkout's own files, without running git."""

from __future__ import annotations

import re
from pathlib import Path

import c2t

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_BYTES_MAX = 4 << 20  # a list of packed references


def checkout_commit(root: Path | None = None) -> str | None:
    """The commit that c2t's checkout is at; what was changed since is not looked for.

    Args:
        root: The folder of the package; by default where c2t was imported from.

    Returns:
        40 or 64 hexadecimal digits; None where c2t is installed, or the files are read otherwise.
    """
    try:
        folder = (root or Path(c2t.__file__).parent).resolve() / ".git"
        if folder.is_file():  # of a second working tree: "gitdir: PATH"
            folder = folder.parent / _read(folder).removeprefix("gitdir: ")
        head = _read(folder / "HEAD")
        shared = folder / "commondir"
        places = [folder, folder / _read(shared)] if shared.is_file() else [folder]
        if head.startswith("ref: "):
            head = _follow(head.removeprefix("ref: "), places)
    except (OSError, UnicodeDecodeError):
        return None
    return head if _COMMIT.fullmatch(head) else None


def _follow(name: str, places: list[Path]) -> str:
    """What a reference points to; "" if nothing says it."""
    for place in places:
        if (place / name).is_file():
            return _read(place / name)
    for place in places:
        if (place / "packed-refs").is_file():
            for line in _read(place / "packed-refs").splitlines():
                commit, _, packed = line.partition(" ")
                if packed == name:
                    return commit
    return ""


def _read(path: Path) -> str:
    with path.open(encoding="utf-8") as stream:
        return stream.read(_BYTES_MAX).strip()
