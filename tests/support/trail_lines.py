"""Lines of an audit trail as a test reads them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


def lines_of(trail: Path) -> list[dict[str, Any]]:
    """The lines of a trail."""
    return [json.loads(line) for line in trail.read_bytes().splitlines()]


def actions(trail: Path) -> list[tuple[str, str]]:
    """What its lines are about: command and action."""
    return [(line["details"]["scope"], line["action"]) for line in lines_of(trail)]


def sha256(path: Path) -> str:
    """The hash of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def begun_and_done(trail: Path, scope: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The details of a run's two lines, the last of the trail."""
    assert actions(trail)[-2:] == [(scope, "start"), (scope, "stop")]
    start, stop = (line["details"] for line in lines_of(trail)[-2:])
    return start, stop
