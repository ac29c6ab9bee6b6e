"""How this package writes a JSON file: for programs, but so that people can read it."""

from __future__ import annotations

from typing import Any

import msgspec


def json_bytes(value: Any) -> bytes:
    """A file's content: a dataclass, or anything else that msgspec knows, one field a line."""
    return msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n"
